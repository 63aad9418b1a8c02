//! What is sent: messages, pongs and a Close.

use super::frame::{FrameHead, MOST_CONTROL, Opcode};
use super::{Carries, Role, WebSocket, mask};

/// So many bytes are masked as soon as they are copied, while they lie in the nearest cache.
const STRIDE: usize = 16 << 10;

impl WebSocket {
    /// Appends a whole message to `output`; where strings are carried it must be UTF-8. After a Close nothing is appended.
    #[inline]
    pub fn send(&mut self, message: &[u8], mask: [u8; 4], output: &mut Vec<u8>) {
        self.write(self.opcode(), message, mask, output);
    }

    /// What goes before a message of `length` bytes that a server writes from where it lies: a client's has to be masked,
    /// and goes out with [`send`](Self::send).
    #[inline]
    pub fn head(&self, length: usize) -> FrameHead {
        FrameHead::new(self.opcode(), length, None)
    }

    /// Whether [`control`](Self::control) has something to say.
    #[inline]
    pub fn has_control(&self) -> bool {
        !self.has_sent_close && (self.has_ping || self.closed.is_some())
    }

    /// Appends what is due: the pong of the latest ping, or the reply to the other side's Close, after which it sends nothing.
    pub fn control(&mut self, mask: [u8; 4], output: &mut Vec<u8>) {
        if let Some(closed) = &self.closed {
            let code = closed.code.map(u16::to_be_bytes);
            let payload = code.as_ref().map_or(&[][..], |code| code);
            self.write_close(payload, mask, output);
        } else if std::mem::take(&mut self.has_ping) {
            let ping = std::mem::take(&mut self.ping);
            self.write(Opcode::Pong, &ping, mask, output);
        }
    }

    /// Appends a Close, once, with as much of `reason` as it has room for: 123 bytes. Nothing is sent after it.
    pub fn close(&mut self, code: u16, reason: &str, mask: [u8; 4], output: &mut Vec<u8>) {
        let mut payload = code.to_be_bytes().to_vec();
        let end = (0..=MOST_CONTROL - payload.len()).rev().find(|&end| reason.is_char_boundary(end)).unwrap_or(0);
        payload.extend_from_slice(&reason.as_bytes()[..end]);
        self.write_close(&payload, mask, output);
    }

    fn write_close(&mut self, payload: &[u8], mask: [u8; 4], output: &mut Vec<u8>) {
        self.write(Opcode::Close, payload, mask, output);
        self.has_sent_close = true;
    }

    #[inline]
    fn opcode(&self) -> Opcode {
        match self.carries {
            Carries::Text => Opcode::Text,
            Carries::Binary | Carries::Stream => Opcode::Binary,
        }
    }

    #[inline]
    fn write(&self, opcode: Opcode, payload: &[u8], mask: [u8; 4], output: &mut Vec<u8>) {
        if self.has_sent_close {
            return;
        }
        let is_masked = self.role == Role::Client;
        let head = FrameHead::new(opcode, payload.len(), is_masked.then_some(mask));
        output.reserve(head.as_slice().len() + payload.len());
        output.extend_from_slice(head.as_slice());
        if !is_masked {
            output.extend_from_slice(payload);
            return;
        }
        let mut mask = mask;
        for part in payload.chunks(STRIDE) {
            let start = output.len();
            output.extend_from_slice(part);
            mask = mask::apply(mask, &mut output[start..]);
        }
    }
}
