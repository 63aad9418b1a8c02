//! Room for bytes that the sessions of a thread share: one that has nothing to hold does not keep any.

use std::cell::Cell;

use bytes::BytesMut;

/// Larger room goes back to the system.
const MOST: usize = 1 << 20;

/// What the room is for. A message lies in the one while its reply is written into the other.
#[derive(Clone, Copy)]
pub(crate) enum Room {
    Inbox,
    Outbox,
}

thread_local! {
    static SPARE: [Cell<Option<BytesMut>>; 2] = const { [Cell::new(None), Cell::new(None)] };
}

/// The room that is spare, or none.
#[inline]
pub(crate) fn take(room: Room) -> BytesMut {
    // While a thread ends there is none.
    SPARE.try_with(|spare| spare[room as usize].take()).ok().flatten().unwrap_or_default()
}

/// Leaves room, which was made for `size` bytes, for the next who needs some.
///
/// The size is told, since messages that were cut off and are still held are not part of the capacity.
#[inline]
pub(crate) fn give(room: Room, mut bytes: BytesMut, size: usize) {
    if size <= MOST {
        bytes.clear();
        let _ = SPARE.try_with(|spare| spare[room as usize].set(Some(bytes)));
    }
}
