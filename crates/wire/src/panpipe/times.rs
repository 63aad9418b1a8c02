//! What a session does when nothing comes for a while: docs/protocol.md, "Hello" and "Life signs".

use std::time::{Duration, Instant};

/// A hello must be whole by then.
const HELLO: Duration = Duration::from_secs(5);

/// Silence after which the other side is asked for a sign of life, and after which it is lost.
const SILENCE: Duration = Duration::from_secs(20);

/// Who reads nothing for so long while more than this waits for it is closed.
const STALL: Duration = Duration::from_secs(10);
const STALLED: usize = 64 << 10;

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    NoHello,
    Ping,
    NoSign,
    Stalled,
}

pub(crate) struct Times {
    hello_by: Option<Instant>,
    /// When something came last, where that matters, and since when a ping asks for more.
    heard: Option<Instant>,
    asked: Option<Instant>,
    /// How much was written when writing was looked at last, and when that was.
    written: u64,
    progress: Instant,
}

impl Times {
    pub(crate) fn new(now: Instant, needs_life_signs: bool) -> Self {
        Times { hello_by: None, heard: needs_life_signs.then_some(now), asked: None, written: 0, progress: now }
    }

    pub(crate) fn expect_hello(&mut self, now: Instant) {
        self.hello_by = Some(now + HELLO);
    }

    pub(crate) fn has_greeted(&mut self) {
        self.hello_by = None;
    }

    /// Says that something came.
    pub(crate) fn heard(&mut self, now: Instant) {
        if let Some(heard) = &mut self.heard {
            *heard = now;
            self.asked = None;
        }
    }

    /// Where `unwritten` bytes wait, and so many were written since the beginning.
    pub(crate) fn look(&mut self, now: Instant, unwritten: usize, written: u64) -> Option<Due> {
        if unwritten <= STALLED || written != self.written {
            (self.written, self.progress) = (written, now);
        } else if now >= self.progress + STALL {
            return Some(Due::Stalled);
        }
        if self.hello_by.is_some_and(|by| by <= now) {
            self.hello_by = None;
            return Some(Due::NoHello);
        }
        let heard = self.heard?;
        match self.asked {
            // Counted from the ping: a process that slept for long has had no chance to hear anything.
            Some(asked) => (now >= asked + SILENCE).then_some(Due::NoSign),
            None if now >= heard + SILENCE => {
                self.asked = Some(now);
                Some(Due::Ping)
            }
            None => None,
        }
    }

    pub(crate) fn next(&self, unwritten: usize) -> Option<Instant> {
        let heard = self.heard.map(|heard| self.asked.unwrap_or(heard) + SILENCE);
        let stall = (unwritten > STALLED).then_some(self.progress + STALL);
        self.hello_by.into_iter().chain(heard).chain(stall).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_slept_asks_before_it_gives_up() {
        let begin = Instant::now();
        let mut times = Times::new(begin, true);
        let late = begin + 10 * SILENCE;
        assert_eq!(times.look(late, 0, 0), Some(Due::Ping));
        assert_eq!(times.look(late, 0, 0), None);
        assert_eq!(times.next(0), Some(late + SILENCE));
        times.heard(late);
        assert_eq!(times.look(late + SILENCE, 0, 0), Some(Due::Ping));
        assert_eq!(times.look(late + 2 * SILENCE, 0, 0), Some(Due::NoSign));
    }
}
