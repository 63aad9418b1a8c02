//! Which of many deadlines comes next, at a cost that does not grow with those that were met.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Deadlines by id. What was met in time stays until it is in the way.
#[derive(Default)]
pub(crate) struct Deadlines(BinaryHeap<Reverse<(Instant, u64)>>);

impl Deadlines {
    /// Adds one, where `live` are still waited for, as `is_live` says of each.
    #[inline]
    pub(crate) fn add(&mut self, at: Instant, id: u64, live: usize, is_live: impl Fn(u64) -> bool) {
        if self.0.len() > 2 * live + 64 {
            self.0.retain(|Reverse((_, id))| is_live(*id));
        }
        self.0.push(Reverse((at, id)));
    }

    /// No deadline passes before this instant.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one that has passed.
    #[inline]
    pub(crate) fn pop(&mut self, now: Instant) -> Option<u64> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse((_, id))| id)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn comes_in_order_and_forgets_what_was_met() {
        let start = Instant::now();
        let mut deadlines = Deadlines::default();
        for id in 0..100_000 {
            deadlines.add(start + Duration::from_micros(id), id, 10, |known| known + 10 > id);
        }
        assert!(deadlines.0.len() < 200, "met ones are dropped");
        assert!(deadlines.pop(start).is_none());
        let mut last = 0;
        while let Some(id) = deadlines.pop(start + Duration::from_secs(1)) {
            assert!(id > last);
            last = id;
        }
        assert_eq!(last, 99_999);
    }
}
