//! What a client counts, times and checks while it measures.

use std::time::{Duration, Instant};

use crate::Outcome;

/// How long to warm up, and how long to measure after that.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) warm: Duration,
    pub(super) measured: Duration,
}

/// The result of a measurement.
pub(super) struct Measured {
    /// Operations done in all, with those of the warm-up.
    pub(super) operations: u64,
    /// The median in microseconds, or operations per second, or megabytes (10⁶) per second.
    pub(super) value: f64,
}

/// Times each round trip.
pub(super) struct RoundTrips {
    warm_until: Instant,
    until: Instant,
    last: Instant,
    operations: u64,
    nanoseconds: Vec<u64>,
}

impl RoundTrips {
    pub(super) fn begin(span: Span) -> Self {
        let now = Instant::now();
        let warm_until = now + span.warm;
        RoundTrips {
            warm_until,
            until: warm_until + span.measured,
            last: now,
            operations: 0,
            nanoseconds: Vec::with_capacity(1 << 16),
        }
    }

    /// A round trip has ended and the next one begins now, if this says so.
    pub(super) fn tick(&mut self) -> bool {
        let now = Instant::now();
        if self.last >= self.warm_until {
            self.nanoseconds.push(now.duration_since(self.last).as_nanos() as u64);
        }
        self.last = now;
        self.operations += 1;
        // A stall of the system may outlast the measurement; it is then measured.
        now < self.until || self.nanoseconds.is_empty()
    }

    pub(super) fn is_first(&self) -> bool {
        self.operations == 0
    }

    pub(super) fn end(mut self) -> Measured {
        let middle = self.nanoseconds.len() / 2;
        let (_, median, _) = self.nanoseconds.select_nth_unstable(middle);
        Measured { operations: self.operations, value: *median as f64 / 1e3 }
    }
}

/// Counts operations per second.
pub(super) struct Rate {
    warm_until: Instant,
    until: Instant,
    operations: u64,
    counted: Option<(Instant, u64)>,
    ended: Option<(Instant, u64)>,
}

impl Rate {
    /// The clock is looked at once in this many operations.
    const EVERY: u64 = 64;

    pub(super) fn begin(span: Span) -> Self {
        let warm_until = Instant::now() + span.warm;
        Rate { warm_until, until: warm_until + span.measured, operations: 0, counted: None, ended: None }
    }

    /// An operation has ended; another one may begin if this says so.
    pub(super) fn tick(&mut self) -> bool {
        self.operations += 1;
        if self.operations.is_multiple_of(Self::EVERY) && self.ended.is_none() {
            let now = Instant::now();
            // One mark a look: a stall of the system may outlast the measurement, and is then measured.
            match self.counted {
                None if now >= self.warm_until => self.counted = Some((now, self.operations)),
                Some(_) if now >= self.until => self.ended = Some((now, self.operations)),
                _ => {}
            }
        }
        self.ended.is_none()
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    pub(super) fn end(self) -> Outcome<Measured> {
        match (self.counted, self.ended) {
            (Some((begun, before)), Some((ended, after))) if after > before => {
                let value = (after - before) as f64 / ended.duration_since(begun).as_secs_f64();
                Ok(Measured { operations: self.operations, value })
            }
            _ => Err("too few operations after the warm-up".into()),
        }
    }
}

/// A message of `size` bytes that differs from those of other numbers.
pub(super) fn message(size: usize, number: usize) -> Vec<u8> {
    (0..size).map(|place| (place * 7 + place / 251 + number) as u8).collect()
}

/// Checks a reply: its length always, its content if `whole`.
pub(super) fn check(reply: &[u8], message: &[u8], whole: bool) -> Outcome<()> {
    if reply.len() != message.len() || (whole && reply != message) {
        return Err("the reply is not the message that was sent".into());
    }
    Ok(())
}

/// What a sink counts.
#[derive(Default)]
pub(super) struct Sink {
    count: u64,
    size: usize,
}

impl Sink {
    /// Takes a message; the answer if it asks for one.
    pub(super) fn take(&mut self, taken: &[u8]) -> Outcome<Option<[u8; 8]>> {
        if taken == super::END {
            return Ok(Some(std::mem::take(&mut self.count).to_be_bytes()));
        }
        if self.size == 0 {
            self.size = taken.len();
            check(taken, &message(self.size, 0), true)?;
        }
        if taken.len() != self.size {
            return Err("a message is not as long as those before it".into());
        }
        self.count += 1;
        Ok(None)
    }
}

/// Checks a sink's answer against what was sent.
pub(super) fn check_count(answer: &[u8], sent: u64) -> Outcome<()> {
    if answer != sent.to_be_bytes() {
        return Err(format!("{sent} messages were sent, and the sink counted otherwise").into());
    }
    Ok(())
}
