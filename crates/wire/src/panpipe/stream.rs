//! The two ends of a stream: what may be sent, and what was sent and not taken yet.

use std::collections::VecDeque;

use bytes::Bytes;

use super::frame::Flags;

/// What a stream may have on its way before its consumer takes some, in bytes.
pub(crate) const WINDOW: i64 = 256 << 10;

/// What an item costs of the window beside its payload.
pub(crate) const ITEM_COST: usize = 64;

/// Counts of what was missed that come in a row: no sender has a reason for many.
const MOST_LAGGED: u32 = 1024;

/// Items, and bytes of them, that wait for the consumer at the sending end.
const MOST_ITEMS: usize = 1024;
const MOST_WAITING: usize = 1 << 20;

/// What to do with an item that finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Policy {
    /// The oldest that waits is dropped, and the consumer is told in its place.
    #[default]
    DropOldest,
    /// This one is dropped, and the consumer is told in its place.
    DropNewest,
    /// The subscription ends with `lagged`.
    Disconnect,
    /// Whoever sends waits for room.
    Block,
}

impl Policy {
    /// Every policy with its name.
    pub const ALL: [(&'static str, Policy); 4] = [
        ("drop-oldest", Policy::DropOldest),
        ("drop-newest", Policy::DropNewest),
        ("disconnect", Policy::Disconnect),
        ("block", Policy::Block),
    ];

    /// The policy of this name.
    pub fn named(name: &str) -> Option<Policy> {
        Policy::ALL.iter().find(|(known, _)| *known == name).map(|(_, policy)| *policy)
    }
}

/// An item that waits at the sending end.
pub(crate) enum Waiting {
    Item {
        flags: Flags,
        payload: Bytes,
    },
    /// So many were dropped here.
    Lagged(u64),
}

impl Waiting {
    fn size(&self) -> usize {
        match self {
            Waiting::Item { payload, .. } => payload.len(),
            Waiting::Lagged(_) => 0,
        }
    }
}

/// What becomes of an item.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// To be sent now.
    Now,
    /// It waits, or was dropped as the policy says.
    Later,
    /// There is no room, and the policy leaves the rest to the sender.
    Full,
}

/// The sending end.
pub(crate) struct Outgoing {
    window: i64,
    pub(crate) policy: Policy,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// The sender was told that there is no room, and wants to know when there is.
    pub(crate) is_blocked: bool,
    /// It sends nothing more.
    pub(crate) has_ended: bool,
    pub(crate) dropped: u64,
}

impl Outgoing {
    pub(crate) fn new(policy: Policy) -> Self {
        Outgoing {
            window: WINDOW,
            policy,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_blocked: false,
            has_ended: false,
            dropped: 0,
        }
    }

    /// Whether an item would be sent at once.
    pub(crate) fn has_room(&self) -> bool {
        self.window > 0 && self.waiting.is_empty()
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.waiting.is_empty()
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= MOST_ITEMS || self.waiting_bytes >= MOST_WAITING
    }

    /// Sends an item if it may go now, or has it wait; `keep` makes it one to be held.
    pub(crate) fn send(&mut self, size: usize, flags: Flags, may_go: bool, keep: impl FnOnce() -> Bytes) -> Sending {
        if may_go && self.has_room() {
            self.window -= if flags.is_lagged() { 0 } else { (size + ITEM_COST) as i64 };
            return Sending::Now;
        }
        if self.is_full() {
            match self.policy {
                Policy::Block | Policy::Disconnect => return Sending::Full,
                Policy::DropNewest => {
                    self.lag_at_end();
                    return Sending::Later;
                }
                Policy::DropOldest => self.drop_oldest(),
            }
        }
        self.waiting_bytes += size;
        self.waiting.push_back(Waiting::Item { flags, payload: keep() });
        Sending::Later
    }

    fn lag_at_end(&mut self) {
        self.dropped += 1;
        match self.waiting.back_mut() {
            Some(Waiting::Lagged(count)) => *count += 1,
            _ => self.waiting.push_back(Waiting::Lagged(1)),
        }
    }

    fn drop_oldest(&mut self) {
        let mut lagged = 0;
        while let Some(oldest) = self.waiting.pop_front() {
            match oldest {
                Waiting::Lagged(count) => lagged += count,
                item => {
                    self.waiting_bytes -= item.size();
                    lagged += 1;
                    self.dropped += 1;
                    break;
                }
            }
        }
        self.waiting.push_front(Waiting::Lagged(lagged));
    }

    /// Adds to the window; whether it stays within bounds.
    pub(crate) fn grant(&mut self, bytes: u32) -> bool {
        self.window += i64::from(bytes);
        self.window <= 1 << 31
    }

    /// The next that may be sent of what waits.
    pub(crate) fn next(&mut self) -> Option<Waiting> {
        if self.window <= 0 {
            return None;
        }
        let next = self.waiting.pop_front()?;
        if let Waiting::Item { payload, .. } = &next {
            self.waiting_bytes -= payload.len();
            self.window -= (payload.len() + ITEM_COST) as i64;
        }
        Some(next)
    }
}

/// A window that a sender at the other end draws on.
pub(crate) struct Window {
    size: i64,
    left: i64,
    taken: i64,
    /// Items in a row that cost nothing.
    lagged: u32,
}

impl Window {
    pub(crate) fn new(size: i64) -> Self {
        Window { size, left: size, taken: 0, lagged: 0 }
    }

    /// Charges what has come; whether it was allowed to come.
    #[inline]
    pub(crate) fn charge(&mut self, cost: usize) -> bool {
        let is_allowed = self.left > 0;
        self.left -= cost as i64;
        is_allowed
    }

    /// What was taken and is not given back yet, of which nothing else is missing.
    #[cfg(test)]
    pub(crate) fn held_back(&self) -> i64 {
        assert_eq!(self.left + self.taken, self.size);
        self.taken
    }

    /// Charges an item that has come; whether it was allowed to come.
    pub(crate) fn charge_item(&mut self, size: usize, is_lagged: bool) -> bool {
        if is_lagged {
            self.lagged += 1;
            return self.lagged <= MOST_LAGGED;
        }
        self.lagged = 0;
        self.charge(size + ITEM_COST)
    }

    /// Gives back what was taken; what is to be granted, once it is worth a frame.
    #[inline]
    pub(crate) fn give_back(&mut self, cost: usize) -> Option<u32> {
        self.taken += cost as i64;
        if self.taken < self.size / 2 {
            return None;
        }
        let granted = u32::try_from(self.taken).unwrap_or(u32::MAX);
        self.taken -= i64::from(granted);
        self.left += i64::from(granted);
        Some(granted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(policy: Policy) -> Outgoing {
        let mut stream = Outgoing::new(policy);
        while stream.has_room() {
            assert_eq!(stream.send(100_000, Flags::NONE, true, Bytes::new), Sending::Now);
        }
        for _ in 0..MOST_ITEMS {
            assert_eq!(stream.send(1, Flags::NONE, true, || Bytes::from_static(b"1")), Sending::Later);
        }
        stream
    }

    fn drain(stream: &mut Outgoing) -> (usize, Vec<(usize, u64)>) {
        stream.grant(1 << 30);
        let (mut items, mut lags) = (0, Vec::new());
        while let Some(next) = stream.next() {
            match next {
                Waiting::Item { .. } => items += 1,
                Waiting::Lagged(count) => lags.push((items, count)),
            }
        }
        (items, lags)
    }

    #[test]
    fn the_oldest_is_dropped_and_told_at_the_front() {
        let mut stream = fill(Policy::DropOldest);
        for _ in 0..5 {
            assert_eq!(stream.send(1, Flags::NONE, true, || Bytes::from_static(b"2")), Sending::Later);
        }
        assert_eq!(drain(&mut stream), (MOST_ITEMS, vec![(0, 5)]));
    }

    #[test]
    fn the_newest_is_dropped_and_told_in_its_place() {
        let mut stream = fill(Policy::DropNewest);
        for _ in 0..5 {
            assert_eq!(stream.send(1, Flags::NONE, true, Bytes::new), Sending::Later);
        }
        assert_eq!(drain(&mut stream), (MOST_ITEMS, vec![(MOST_ITEMS, 5)]));
    }

    #[test]
    fn others_are_told_that_there_is_no_room() {
        for policy in [Policy::Block, Policy::Disconnect] {
            assert_eq!(fill(policy).send(1, Flags::NONE, true, Bytes::new), Sending::Full);
        }
    }
}
