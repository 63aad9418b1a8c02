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
    /// When something came last, where that matters, and whether a ping asks for more.
    heard: Option<Instant>,
    has_asked: bool,
    /// How much was written when writing was looked at last, and when that was.
    written: u64,
    progress: Instant,
}

impl Times {
    pub(crate) fn new(now: Instant, needs_life_signs: bool) -> Self {
        Times { hello_by: None, heard: needs_life_signs.then_some(now), has_asked: false, written: 0, progress: now }
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
            self.has_asked = false;
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
        let silence = now.saturating_duration_since(self.heard?);
        if silence >= 2 * SILENCE && self.has_asked {
            return Some(Due::NoSign);
        }
        (silence >= SILENCE && !std::mem::replace(&mut self.has_asked, true)).then_some(Due::Ping)
    }

    pub(crate) fn next(&self, unwritten: usize) -> Option<Instant> {
        let silence = if self.has_asked { 2 * SILENCE } else { SILENCE };
        let heard = self.heard.map(|heard| heard + silence);
        let stall = (unwritten > STALLED).then_some(self.progress + STALL);
        self.hello_by.into_iter().chain(heard).chain(stall).min()
    }
}
