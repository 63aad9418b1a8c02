//! What a client counts, times and checks while it measures.

use std::time::{Duration, Instant};

use crate::Outcome;

/// How long to warm up, and how long to measure after that.
#[derive(Clone, Copy)]
pub struct Span {
    /// Not counted.
    pub warm: Duration,
    /// Counted.
    pub measured: Duration,
}

/// The result of a measurement.
pub struct Measured {
    /// Operations done in all, with those of the warm-up.
    pub operations: u64,
    /// The median in microseconds, or operations per second.
    pub value: f64,
}

/// Times each round trip.
pub struct RoundTrips {
    warm_until: Instant,
    until: Instant,
    last: Instant,
    operations: u64,
    nanoseconds: Vec<u64>,
}

impl RoundTrips {
    /// The first one begins.
    pub fn begin(span: Span) -> Self {
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
    pub fn tick(&mut self) -> bool {
        let now = Instant::now();
        if self.last >= self.warm_until {
            self.nanoseconds.push(now.duration_since(self.last).as_nanos() as u64);
        }
        self.last = now;
        self.operations += 1;
        // A stall of the system may outlast the measurement; it is then measured.
        now < self.until || self.nanoseconds.is_empty()
    }

    /// Whether none has ended.
    pub fn is_first(&self) -> bool {
        self.operations == 0
    }

    /// The median.
    pub fn end(mut self) -> Measured {
        let middle = self.nanoseconds.len() / 2;
        let (_, median, _) = self.nanoseconds.select_nth_unstable(middle);
        Measured { operations: self.operations, value: *median as f64 / 1e3 }
    }
}

/// Counts operations per second.
pub struct Rate {
    warm_until: Instant,
    until: Instant,
    at_once: u64,
    operations: u64,
    counted: Option<(Instant, u64)>,
    ended: Option<(Instant, u64)>,
}

impl Rate {
    /// The clock is looked at once in this many operations.
    const EVERY: u64 = 64;

    /// The first one begins, of `at_once` that are under way at any time: as many have to end before any is counted, and
    /// twice as many are, however long it takes. What is counted is then not what was begun all together.
    pub fn begin(span: Span, at_once: usize) -> Self {
        let warm_until = Instant::now() + span.warm;
        let (until, at_once) = (warm_until + span.measured, at_once as u64);
        Rate { warm_until, until, at_once, operations: 0, counted: None, ended: None }
    }

    /// An operation has ended; another one may begin if this says so.
    pub fn tick(&mut self) -> bool {
        self.operations += 1;
        if self.operations.is_multiple_of(Self::EVERY) && self.ended.is_none() {
            let now = Instant::now();
            // One mark a look: a stall of the system may outlast the measurement, and is then measured.
            match self.counted {
                None if self.operations < self.at_once => {}
                Some((_, before)) if self.operations - before < 2 * self.at_once => {}
                None if now >= self.warm_until => self.counted = Some((now, self.operations)),
                Some(_) if now >= self.until => self.ended = Some((now, self.operations)),
                _ => {}
            }
        }
        self.ended.is_none()
    }

    /// How many have ended.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Operations per second.
    ///
    /// # Errors
    ///
    /// It was not told of the end, or of too little before it.
    pub fn end(&self) -> Outcome<Measured> {
        match (self.counted, self.ended) {
            (Some((begun, before)), Some((ended, after))) if after > before => {
                let value = (after - before) as f64 / ended.duration_since(begun).as_secs_f64();
                Ok(Measured { operations: self.operations, value })
            }
            _ => Err("too few operations after the warm-up".into()),
        }
    }
}
