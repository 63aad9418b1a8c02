//! The frames of RFC 6455, section 5.2.

/// The most bytes that a head has: two, eight of the length, four of the mask.
const MOST_HEAD: usize = 14;

/// The most bytes of a control frame's payload (section 5.5).
pub(super) const MOST_CONTROL: usize = 125;

/// The bit of the last frame of a message, and those of extensions, in the first byte.
pub(super) const LAST: u8 = 0x80;
pub(super) const RESERVED: u8 = 0x70;

/// The bit of a masked payload in the second byte.
pub(super) const MASKED: u8 = 0x80;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    /// The one with this number; the others are reserved.
    #[inline]
    pub(super) fn of(number: u8) -> Option<Opcode> {
        match number {
            0 => Some(Opcode::Continuation),
            1 => Some(Opcode::Text),
            2 => Some(Opcode::Binary),
            8 => Some(Opcode::Close),
            9 => Some(Opcode::Ping),
            10 => Some(Opcode::Pong),
            _ => None,
        }
    }

    /// Whether it may come between the frames of a message.
    #[inline]
    pub(super) fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// A frame whose payload is being received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) opcode: Opcode,
    pub(super) is_last: bool,
    /// The mask of the next byte, and of those behind it.
    pub(super) mask: [u8; 4],
    /// Bytes of the payload that are missing.
    pub(super) left: usize,
}

/// The head of a frame, at most 14 bytes, on the stack.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameHead {
    bytes: [u8; MOST_HEAD],
    len: u8,
}

impl FrameHead {
    /// The head of an unfragmented frame of `length` bytes, its length in the shortest form.
    #[inline]
    pub(super) fn new(opcode: Opcode, length: usize, mask: Option<[u8; 4]>) -> Self {
        let mut head = FrameHead::default();
        let bit = if mask.is_some() { MASKED } else { 0 };
        match length {
            0..=125 => head.push(&[LAST | opcode as u8, bit | length as u8]),
            126..=0xffff => {
                head.push(&[LAST | opcode as u8, bit | 126]);
                head.push(&(length as u16).to_be_bytes());
            }
            _ => {
                head.push(&[LAST | opcode as u8, bit | 127]);
                head.push(&(length as u64).to_be_bytes());
            }
        }
        if let Some(mask) = mask {
            head.push(&mask);
        }
        head
    }

    /// Appends bytes for which there is room.
    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }

    /// Appends the first of these bytes, as many as there is room for.
    pub(super) fn fill(&mut self, bytes: &[u8]) {
        let room = MOST_HEAD - usize::from(self.len);
        self.push(&bytes[..bytes.len().min(room)]);
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}
