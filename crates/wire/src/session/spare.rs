//! Room for bytes that the sessions of a thread share: one that has nothing to hold does not keep any.

use std::cell::Cell;
use std::thread::LocalKey;

use bytes::BytesMut;

/// Larger room goes back to the system.
const MOST: usize = 1 << 20;

type Place = LocalKey<Cell<Option<BytesMut>>>;

thread_local! {
    // Two, since a message lies in the one while its reply is written into the other.
    pub(super) static INBOX: Cell<Option<BytesMut>> = const { Cell::new(None) };
    pub(super) static OUTBOX: Cell<Option<BytesMut>> = const { Cell::new(None) };
}

/// What lies there, empty.
#[inline]
pub(super) fn take(from: &'static Place) -> BytesMut {
    // While a thread ends its places may be gone.
    from.try_with(Cell::take).ok().flatten().unwrap_or_default()
}

/// Leaves `room`, which was made for `size` bytes, for the next who needs some.
///
/// The size is told, since messages that were cut off `room` and are still held are not part of its capacity.
#[inline]
pub(super) fn give(to: &'static Place, mut room: BytesMut, size: usize) {
    if size <= MOST {
        room.clear();
        let _ = to.try_with(|place| place.set(Some(room)));
    }
}
