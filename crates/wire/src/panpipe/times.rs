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
    /// When writing was looked at last, how much was written then, and since when nothing more is.
    looked: Instant,
    written: u64,
    stuck: Option<Instant>,
}

impl Times {
    pub(crate) fn new(now: Instant, needs_life_signs: bool) -> Self {
        let heard = needs_life_signs.then_some(now);
        Times { hello_by: None, heard, has_asked: false, looked: now, written: 0, stuck: None }
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

    /// Says that the other side may be silent for as long as it likes.
    pub(crate) fn expect_no_signs(&mut self) {
        self.heard = None;
    }

    /// Where `unwritten` bytes wait, and so many were written since the beginning.
    pub(crate) fn look(&mut self, now: Instant, unwritten: usize, written: u64) -> Option<Due> {
        self.looked = now;
        if unwritten <= STALLED {
            self.stuck = None;
        } else if self.stuck.is_none() || written != self.written {
            (self.stuck, self.written) = (Some(now), written);
        } else if self.stuck.is_some_and(|since| now >= since + STALL) {
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
        // What has come to wait since the last look is looked at then, and its time begins.
        let stall = (unwritten > STALLED).then_some(self.stuck.unwrap_or(self.looked) + STALL);
        self.hello_by.into_iter().chain(heard).chain(stall).min()
    }
}
