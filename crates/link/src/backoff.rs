//! How long to wait before a lost connection is tried again.

use std::time::Duration;

use panpipe_wire::Address;

use crate::endpoint::random;

/// The first pause, and the longest: on another machine, and on this one.
const FIRST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_secs(5);
const MOST_LOCALLY: Duration = Duration::from_millis(250);

/// Pauses that double, each up to a fifth longer or shorter, so that many who lost one server do not come back at once.
pub struct Backoff {
    next: Duration,
    most: Duration,
}

impl Backoff {
    /// The pauses for an address.
    pub fn new(address: &Address) -> Self {
        let most = if address.reaches_other_machines() { MOST } else { MOST_LOCALLY };
        Backoff { next: FIRST, most }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.most);
        let share = (random() % 401) as u32;
        pause * (800 + share) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_most_and_differ() {
        let address = |text| crate::parse(text).unwrap_or_else(|error| panic!("{error}"));
        for (text, wanted) in [
            ("tcp://localhost:1", [100, 200, 400, 800, 1600, 3200, 5000, 5000]),
            ("unix:a", [100, 200, 250, 250, 250, 250, 250, 250]),
        ] {
            let mut backoff = Backoff::new(&address(text));
            for wanted in wanted {
                let pause = backoff.pause().as_millis() as i64;
                assert!((pause - wanted).abs() <= wanted / 5, "{pause} ms for {wanted}");
            }
        }
        let first = |_| Backoff::new(&address("unix:a")).pause();
        let pauses: std::collections::HashSet<_> = (0..20).map(first).collect();
        assert!(pauses.len() > 1);
    }
}
