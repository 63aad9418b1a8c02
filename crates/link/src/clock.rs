//! A look at the clock that costs a fifth of the usual one.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// The clock is behind by a tick of the system at most (time(7); 100 to 1000 a second).
const TICK: Duration = Duration::from_millis(10);

/// Below this a tick is too much.
const EXACT_BELOW: Duration = Duration::from_secs(1);

/// Deadlines for many calls in a row.
#[derive(Clone, Copy)]
pub struct Clock {
    began: Instant,
    began_coarse: Timespec,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Clock { began: Instant::now(), began_coarse: clock_gettime(ClockId::MonotonicCoarse) }
    }

    /// The instant at which `timeout` will have passed: never earlier, and for a second or more up to a fiftieth of a
    /// second later.
    pub fn deadline_after(&self, timeout: Duration) -> Option<Instant> {
        if timeout < EXACT_BELOW {
            return Instant::now().checked_add(timeout);
        }
        self.now().checked_add(TICK)?.checked_add(timeout)
    }

    /// The present, behind by a tick of the system at most.
    pub fn now(&self) -> Instant {
        let passed = clock_gettime(ClockId::MonotonicCoarse) - self.began_coarse;
        self.began + Duration::try_from(passed).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early_and_hardly_late() {
        let clock = Clock::start();
        for _ in 0..1000 {
            for timeout in [Duration::from_micros(50), Duration::from_secs(10)] {
                let before = Instant::now();
                let deadline = clock.deadline_after(timeout).unwrap();
                assert!(deadline >= before + timeout);
                assert!(deadline <= Instant::now() + timeout + 2 * TICK);
            }
            std::thread::sleep(Duration::from_micros(20));
        }
    }
}
