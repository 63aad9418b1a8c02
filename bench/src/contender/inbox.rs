//! The `length` framing as a bare program writes it by hand.

use std::ops::Range;

/// A read may bring this much: as panpipe's own, when its reads are full.
const ROOM: usize = 256 << 10;

/// A buffer that takes in whatever a read brings and gives out whole messages.
pub(super) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Inbox { bytes: vec![0; ROOM], start: 0, end: 0 }
    }

    /// Where the next read goes.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.bytes.len() - self.start < self.announced().max(ROOM / 2) {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            // A frame that is larger than the buffer then fills it, and nothing behind the frame has to be moved.
            self.bytes.resize(self.announced().max(self.bytes.len()), 0);
        }
        &mut self.bytes[self.end..]
    }

    pub(super) fn filled(&mut self, count: usize) {
        self.end += count;
    }

    /// Takes the next whole message, as a place in [`get`](Self::get).
    pub(super) fn take(&mut self) -> Option<Range<usize>> {
        let bytes = &self.bytes[self.start..self.end];
        let (head, rest) = bytes.split_first_chunk()?;
        let count = u32::from_be_bytes(*head) as usize;
        if rest.len() < count {
            return None;
        }
        let begin = self.start + head.len();
        self.start = begin + count;
        Some(begin..self.start)
    }

    /// The size of the frame that has begun to arrive; 0 when that is not known.
    fn announced(&self) -> usize {
        let head = self.bytes[self.start..self.end].first_chunk();
        head.map_or(0, |head| head.len() + u32::from_be_bytes(*head) as usize)
    }

    pub(super) fn get(&self, place: Range<usize>) -> &[u8] {
        &self.bytes[place]
    }
}

/// What goes before a message.
pub(super) fn head(message: &[u8]) -> [u8; 4] {
    (message.len() as u32).to_be_bytes()
}

/// Appends a frame.
pub(super) fn encode(message: &[u8], frames: &mut Vec<u8>) {
    frames.extend_from_slice(&head(message));
    frames.extend_from_slice(message);
}
