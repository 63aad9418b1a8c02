//! What arrives: frames become messages.

use bytes::{BufMut, BytesMut};

use super::close::{INVALID_TEXT, POLICY, PROTOCOL_ERROR, TOO_LARGE, UNSUPPORTED};
use super::frame::{Frame, LAST, MASKED, MOST_CONTROL, Opcode, RESERVED};
use super::{Carries, Closed, Role, Violation, WebSocket, mask};

/// A message may have so many fragments: each costs a head, and an attacker nothing.
const MOST_FRAGMENTS: u16 = 4096;

/// Bytes of the length behind which a message stands in the inbox.
const LENGTH: usize = size_of::<u32>();

/// So many bytes are unmasked before they are copied, while they lie in the nearest cache.
const STRIDE: usize = 16 << 10;

/// A gathered message of so many bytes becomes the inbox, where that is empty, rather than being copied there.
const WORTH_GIVING: usize = 64 << 10;

/// A message that is being received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    is_text: bool,
    fragments: u16,
    /// Bytes that have come of it.
    length: usize,
    /// Where it stands in the inbox, if it began in this read.
    place: Option<usize>,
}

impl WebSocket {
    /// Takes in all that one read brought, and appends each whole message to `inbox` behind its length, a u32 in
    /// big-endian order; of a stream all that has come, and nothing between. The bytes may be changed: they are unmasked
    /// where they are. After a Close they are ignored.
    ///
    /// What is there of a message that is not whole yet is kept here, in memory that grows with what has come. When
    /// that message is long and `inbox` empty, that memory takes its place.
    ///
    /// # Errors
    /// What breaks the connection, with the code to close it with: `bad-peer`, and `too-large` for a message above the
    /// limit, as soon as the byte that decides is there, or of more than 4,096 fragments. The messages before it are in
    /// the inbox, and nothing may be given here again.
    pub fn receive(&mut self, mut bytes: &mut [u8], inbox: &mut BytesMut) -> Result<(), Violation> {
        let mut outcome = Ok(());
        while !bytes.is_empty() && self.closed.is_none() {
            match self.step(bytes, inbox) {
                Ok(taken) => bytes = &mut bytes[taken..],
                Err(violation) => {
                    outcome = Err(violation);
                    break;
                }
            }
        }
        if let Some(place) = self.message.as_mut().and_then(|message| message.place.take()) {
            self.gathered.extend_from_slice(&inbox[place..]);
            inbox.truncate(place);
        }
        outcome
    }

    /// Takes a head, with what is there of its payload, or more of a payload; how many bytes that were.
    #[inline]
    fn step(&mut self, bytes: &mut [u8], inbox: &mut BytesMut) -> Result<usize, Violation> {
        let mut taken = 0;
        let mut frame = match self.frame.take() {
            Some(frame) => frame,
            None => {
                let begun = self.head.as_slice().len();
                let found = if begun == 0 {
                    self.read_head(bytes)?
                } else {
                    self.head.fill(bytes);
                    self.read_head(self.head.as_slice())?
                };
                let Some((frame, size)) = found else {
                    if begun == 0 {
                        self.head.fill(bytes);
                    }
                    return Ok(bytes.len());
                };
                self.head.clear();
                taken = size - begun;
                self.begin(&frame, bytes.len() - taken, inbox);
                frame
            }
        };
        let there = frame.left.min(bytes.len() - taken);
        let payload = &mut bytes[taken..taken + there];
        if frame.opcode.is_control() {
            mask::apply(frame.mask, payload);
            frame.mask.rotate_left(there % 4);
            self.control.extend_from_slice(payload);
        } else {
            frame.mask = self.append(payload, frame.mask, inbox)?;
        }
        frame.left -= there;
        match frame.left {
            0 => self.end(&frame, inbox)?,
            _ => self.frame = Some(frame),
        }
        Ok(taken + there)
    }

    /// The frame that begins here and the bytes of its head, or nothing while that is not whole.
    ///
    /// The bytes are judged in order, each as soon as it is there.
    #[inline]
    fn read_head(&self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Violation> {
        let [first, rest @ ..] = bytes else { return Ok(None) };
        let is_last = first & LAST != 0;
        let opcode = self.read_opcode(*first)?;
        let [second, rest @ ..] = rest else { return Ok(None) };
        let is_masked = second & MASKED != 0;
        if is_masked != (self.role == Role::Server) {
            return Err(self.wrong_mask());
        }
        let short = second & !MASKED;
        if opcode.is_control() && usize::from(short) > MOST_CONTROL {
            return Err(Violation::new(PROTOCOL_ERROR, "a control frame of more than 125 bytes"));
        }
        let (length, rest) = match short {
            126 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                if rest.first().is_some_and(|byte| byte & 0x80 != 0) {
                    return Err(Violation::new(PROTOCOL_ERROR, "a length of more than 63 bits"));
                }
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*length), rest)
            }
            short => (u64::from(short), rest),
        };
        if short == 126 && length < 126 || short == 127 && length <= u64::from(u16::MAX) {
            let reason = format!("the length {length} in more bytes than it needs");
            return Err(Violation::new(PROTOCOL_ERROR, reason));
        }
        let before = self.message.map_or(0, |message| message.length);
        if !opcode.is_control() && length > (self.most - before) as u64 {
            return Err(self.too_large(before as u64 + length));
        }
        let (mask, rest) = match is_masked {
            true => match rest.split_first_chunk() {
                Some((mask, rest)) => (*mask, rest),
                None => return Ok(None),
            },
            false => ([0; 4], rest),
        };
        Ok(Some((Frame { opcode, is_last, mask, left: length as usize }, bytes.len() - rest.len())))
    }

    /// What a frame is by its first byte, if it may come now.
    #[inline]
    fn read_opcode(&self, first: u8) -> Result<Opcode, Violation> {
        let broken = |reason: &str| Err(Violation::new(PROTOCOL_ERROR, reason));
        if first & RESERVED != 0 {
            return broken("a reserved bit is set, and no extension was agreed on");
        }
        let Some(opcode) = Opcode::of(first & !LAST) else {
            let reason = format!("the reserved opcode {}", first & !LAST);
            return Err(Violation::new(PROTOCOL_ERROR, reason));
        };
        match (opcode, &self.message) {
            (Opcode::Continuation, None) => broken("a fragment goes on with a message that was not begun"),
            (Opcode::Continuation, Some(message)) if message.fragments == MOST_FRAGMENTS => {
                Err(Violation::new(POLICY, format!("a message of more than {MOST_FRAGMENTS} fragments")))
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => broken("a message begins inside another one"),
            (Opcode::Text, None) if self.carries == Carries::Stream => {
                Err(Violation::new(UNSUPPORTED, "a text message, where frames of panpipe are binary ones"))
            }
            (opcode, _) if opcode.is_control() && first & LAST == 0 => broken("a control frame in fragments"),
            _ => Ok(opcode),
        }
    }

    #[cold]
    fn wrong_mask(&self) -> Violation {
        let reason = match self.role {
            Role::Server => "a client's frame without a mask",
            Role::Client => "a server's frame with a mask",
        };
        Violation::new(PROTOCOL_ERROR, reason)
    }

    #[cold]
    fn too_large(&self, length: u64) -> Violation {
        Violation::new(TOO_LARGE, format!("a message may be {} bytes at most, and this one has {length}", self.most))
    }

    /// Begins a message with its first frame, of whose payload so many bytes are there at most.
    #[inline]
    fn begin(&mut self, frame: &Frame, there: usize, inbox: &mut BytesMut) {
        match (&mut self.message, frame.opcode) {
            (Some(message), Opcode::Continuation) => message.fragments += 1,
            (None, Opcode::Text | Opcode::Binary) => {
                let is_text = frame.opcode == Opcode::Text || self.carries == Carries::Text;
                if self.carries == Carries::Stream {
                    self.message = Some(Message { is_text, fragments: 1, length: 0, place: None });
                    return;
                }
                // What is not whole in this read is gathered, and need not be moved to there.
                let place = (frame.left <= there).then_some(inbox.len());
                match place {
                    Some(_) => {
                        inbox.reserve(LENGTH + frame.left);
                        inbox.put_u32(0);
                    }
                    None => self.gathered.put_u32(0),
                }
                self.message = Some(Message { is_text, fragments: 1, length: 0, place });
            }
            _ => self.control.clear(),
        }
    }

    /// Appends the next bytes of a message; the mask of those behind them.
    #[inline]
    fn append(&mut self, bytes: &mut [u8], mut mask: [u8; 4], inbox: &mut BytesMut) -> Result<[u8; 4], Violation> {
        let Some(message) = &mut self.message else { return Ok(mask) };
        let is_stream = self.carries == Carries::Stream;
        let whole = if is_stream || message.place.is_some() { inbox } else { &mut self.gathered };
        message.length += bytes.len();
        for part in bytes.chunks_mut(STRIDE) {
            if self.role == Role::Server {
                mask = mask::apply(mask, part);
            }
            if message.is_text && !self.text.goes_on(part) {
                return Err(invalid_text());
            }
            whole.extend_from_slice(part);
        }
        Ok(mask)
    }

    /// Ends a frame whose payload is there.
    #[inline]
    fn end(&mut self, frame: &Frame, inbox: &mut BytesMut) -> Result<(), Violation> {
        match frame.opcode {
            Opcode::Close => self.closed = Some(Closed::read(&self.control)?),
            Opcode::Ping => {
                std::mem::swap(&mut self.ping, &mut self.control);
                self.has_ping = true;
            }
            Opcode::Pong => {}
            _ if frame.is_last => return self.end_message(inbox),
            _ => {}
        }
        Ok(())
    }

    #[inline]
    fn end_message(&mut self, inbox: &mut BytesMut) -> Result<(), Violation> {
        if self.message.is_some_and(|message| message.is_text) && !self.text.ends() {
            return Err(invalid_text());
        }
        let Some(message) = self.message.take().filter(|_| self.carries != Carries::Stream) else { return Ok(()) };
        let length = (message.length as u32).to_be_bytes();
        if let Some(place) = message.place {
            inbox[place..place + LENGTH].copy_from_slice(&length);
            return Ok(());
        }
        let mut whole = std::mem::take(&mut self.gathered);
        whole[..LENGTH].copy_from_slice(&length);
        match inbox.is_empty() && whole.len() >= WORTH_GIVING {
            true => *inbox = whole,
            false => inbox.extend_from_slice(&whole),
        }
        Ok(())
    }
}

#[cold]
fn invalid_text() -> Violation {
    Violation::new(INVALID_TEXT, "text that is not UTF-8")
}
