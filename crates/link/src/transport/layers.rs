//! What lies between a stream socket and a session: TLS, WebSocket, or one over the other.

use std::cell::RefCell;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::BytesMut;
use panpipe_wire::websocket::{Carries, Role, WebSocket};
use panpipe_wire::{Address, ErrorKind, PANPIPE};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use super::stream::{Broken, Stream};

/// What one read of the socket may bring.
const READ: usize = 64 << 10;

/// Reads of the socket that bring no whole message, before others get their turn.
const READS: usize = 16;

/// Bytes of frames that may wait for the socket before no more messages are taken.
const WAITING: usize = 64 << 10;

/// Payloads from this size on are written from where they lie, where nothing changes them on the way.
const COPIED: usize = 16 << 10;

/// The largest frame of the panpipe protocol: its head, its longest name and its body.
const LARGEST_FRAME: usize = 16 + 255 + (1 << 20);

/// A close that this side wants (RFC 6455, section 7.4.1).
const NORMAL: u16 = 1000;

/// Layers over a stream socket.
pub(crate) struct Layers {
    stream: Stream,
    /// What the handshake has read beyond its end.
    begun: BytesMut,
    frames: Option<Frames>,
}

/// The messages of a WebSocket.
struct Frames {
    websocket: WebSocket,
    /// Where a message ends means nothing.
    is_stream: bool,
    role: Role,
    masks: Masks,
    largest: usize,
    /// Frames, or their rest, that wait for the socket.
    output: Vec<u8>,
    written: usize,
    broken: Option<Broken>,
    has_read_all: bool,
}

impl Layers {
    /// The bytes of a stream, of which `begun` was read.
    pub(crate) fn bytes(stream: Stream, begun: BytesMut) -> Self {
        Layers { stream, begun, frames: None }
    }

    /// The messages of a WebSocket after its upgrade, behind which `begun` has been read.
    pub(crate) fn messages(stream: Stream, begun: BytesMut, role: Role, address: &Address) -> Self {
        let carries = match address.protocol {
            PANPIPE => Carries::Stream,
            _ if address.text_messages => Carries::Text,
            _ => Carries::Binary,
        };
        let largest = if address.protocol == PANPIPE { LARGEST_FRAME } else { address.max };
        let frames = Frames {
            websocket: WebSocket::new(role, largest, carries),
            is_stream: carries == Carries::Stream,
            role,
            masks: Masks::default(),
            largest,
            output: Vec::new(),
            written: 0,
            broken: None,
            has_read_all: true,
        };
        // An idle connection keeps no room.
        let begun = if begun.is_empty() { BytesMut::new() } else { begun };
        Layers { stream, begun, frames: Some(frames) }
    }

    pub(crate) fn socket(&self) -> &Arc<OwnedFd> {
        self.stream.socket()
    }

    /// Why it broke, where a layer knows.
    pub(crate) fn broken(&self) -> Option<&Broken> {
        self.frames.as_ref().and_then(|frames| frames.broken.as_ref()).or(self.stream.broken())
    }

    /// Whether what comes may still say why nothing can be written any more.
    pub(crate) fn expects_last_words(&self) -> bool {
        self.broken().is_none() && self.frames.as_ref().is_none_or(|frames| frames.websocket.closed().is_none())
    }

    /// The largest message, where it moves messages and no stream.
    pub(crate) fn largest_packet(&self) -> Option<usize> {
        self.frames.as_ref().filter(|frames| !frames.is_stream).map(|frames| frames.largest)
    }

    /// Whether the handshake has read what the descriptor will not announce again.
    pub(crate) fn has_begun(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Whether a read that leaves room has read all there was.
    pub(crate) fn has_read_all(&self) -> bool {
        self.frames.as_ref().map_or_else(|| self.stream.has_emptied(true), |frames| frames.has_read_all)
    }

    /// Whether the next read tells of an end that has come already, and that no readiness announces.
    pub(crate) fn has_end(&self) -> bool {
        self.stream.has_end() || self.frames.as_ref().is_some_and(Frames::has_end)
    }

    /// Appends what has arrived to `inbox`, whole messages behind their lengths; zero at the end.
    ///
    /// All that is read of the socket is taken in, so that its readiness is the whole truth. `INPROGRESS` says that much
    /// was read and no message is whole yet.
    pub(crate) fn read(&mut self, inbox: &mut BytesMut) -> Result<usize, Errno> {
        let Some(frames) = &mut self.frames else {
            if self.begun.is_empty() {
                return self.stream.read(inbox);
            }
            inbox.extend_from_slice(&self.begun);
            return Ok(std::mem::take(&mut self.begun).len());
        };
        with_scratch(|scratch| {
            for _ in 0..READS {
                if let Some(ended) = frames.ended() {
                    return ended;
                }
                scratch.clear();
                let has_emptied = match self.begun.is_empty() {
                    true => match self.stream.read(scratch) {
                        Ok(0) => return frames.cut(),
                        read => self.stream.has_emptied(read? < READ),
                    },
                    false => {
                        scratch.extend_from_slice(&std::mem::take(&mut self.begun));
                        false
                    }
                };
                let before = inbox.len();
                frames.receive(scratch, inbox, &mut self.stream);
                frames.has_read_all = has_emptied && !frames.has_end();
                match inbox.len() - before {
                    0 => {}
                    count => return Ok(count),
                }
            }
            frames.ended().unwrap_or(Err(Errno::INPROGRESS))
        })
    }

    /// Takes messages, each behind its length, or bytes, as far as there is room for them.
    pub(crate) fn write(&mut self, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let Some(frames) = &mut self.frames else { return self.stream.write(parts) };
        if frames.waiting() >= WAITING {
            frames.flush(&mut self.stream)?;
        }
        if frames.waiting() >= WAITING {
            return Err(Errno::AGAIN);
        }
        let taken = frames.take(parts, &mut self.stream)?;
        match frames.flush(&mut self.stream) {
            Err(Errno::AGAIN) => Ok(taken),
            flushed => flushed.map(|()| taken),
        }
    }

    /// Whether anything that was taken waits for the socket.
    pub(crate) fn has_unwritten(&self) -> bool {
        self.frames.as_ref().is_some_and(|frames| frames.waiting() > 0) || self.stream.wants_write()
    }

    /// Writes what was taken.
    pub(crate) fn flush(&mut self) -> Result<(), Errno> {
        if let Some(frames) = &mut self.frames {
            frames.flush(&mut self.stream)?;
        }
        self.stream.flush()
    }

    /// Reads something that nobody wants; zero at the end.
    pub(crate) fn discard(&mut self) -> Result<usize, Errno> {
        self.stream.discard()
    }

    /// Says to the other side that nothing more comes, as far as the system takes that now.
    ///
    /// To one that has cut the connection, or was told already why it ends, no close says that all went well.
    pub(crate) fn end_output(&mut self) {
        if let Some(frames) = self.frames.as_mut().filter(|frames| frames.broken.is_none()) {
            frames.close(NORMAL, "");
        }
        let _ = self.flush();
        self.stream.end_output();
    }
}

impl Frames {
    fn has_end(&self) -> bool {
        self.broken.is_some() || self.websocket.closed().is_some()
    }

    /// How the input has ended, once all that came before was told.
    fn ended(&mut self) -> Option<Result<usize, Errno>> {
        if self.broken.is_some() {
            return Some(Err(Errno::CONNABORTED));
        }
        match self.websocket.closed()?.failure() {
            None => Some(Ok(0)),
            Some((kind, reason)) => {
                self.broken = Some(Broken { kind, reason });
                Some(Err(Errno::CONNABORTED))
            }
        }
    }

    /// The socket has ended, and no close came before.
    fn cut(&mut self) -> Result<usize, Errno> {
        let reason = "the connection was cut, without a close of the WebSocket".into();
        self.broken = Some(Broken { kind: ErrorKind::ConnectionLost, reason });
        Err(Errno::CONNABORTED)
    }

    fn receive(&mut self, bytes: &mut BytesMut, inbox: &mut BytesMut, stream: &mut Stream) {
        let received = self.websocket.receive(bytes, inbox);
        let has_control = self.websocket.has_control();
        if has_control {
            let mask = self.masks.next(self.role);
            self.websocket.control(mask, &mut self.output);
        }
        // The last of all: a ping that came before has its pong.
        if let Err(violation) = received {
            self.close(violation.close, &violation.reason);
            self.broken = Some(Broken { kind: violation.kind, reason: violation.reason });
        }
        if has_control || self.broken.is_some() {
            // What is not written now waits, as the rest of any message does; if that fails the next write says so.
            let _ = self.flush(stream);
        }
    }

    fn close(&mut self, code: u16, reason: &str) {
        let mask = self.masks.next(self.role);
        self.websocket.close(code, reason, mask, &mut self.output);
    }

    fn waiting(&self) -> usize {
        self.output.len() - self.written
    }

    /// Makes frames of messages until enough wait, and tells how many bytes of `parts` those are.
    fn take(&mut self, parts: &[IoSlice<'_>], stream: &mut Stream) -> Result<usize, Errno> {
        if self.is_stream {
            return self.take_bytes(parts, stream);
        }
        if let [head, message, tail] = parts {
            self.take_one(&[message], stream)?;
            return Ok(head.len() + message.len() + tail.len());
        }
        let mut taken = 0;
        let mut rest: &[u8] = parts.first().map_or(&[], |part| part);
        while self.waiting() < WAITING
            && let Some((length, after)) = rest.split_first_chunk()
            && let Some((message, after)) = after.split_at_checked(u32::from_be_bytes(*length) as usize)
        {
            match self.take_one(&[message], stream) {
                // It is met again, as the first.
                Err(_) if taken > 0 => break,
                outcome => outcome?,
            }
            taken += length.len() + message.len();
            rest = after;
        }
        Ok(taken)
    }

    /// Makes one message of bytes of a stream, as many as it may have.
    fn take_bytes(&mut self, parts: &[IoSlice<'_>], stream: &mut Stream) -> Result<usize, Errno> {
        let mut message: [&[u8]; 3] = [&[]; 3];
        let mut left = self.largest;
        for (part, taken) in parts.iter().zip(&mut message) {
            *taken = &part[..part.len().min(left)];
            left -= taken.len();
        }
        let count = self.largest - left;
        if count > 0 {
            self.take_one(&message, stream)?;
        }
        Ok(count)
    }

    fn take_one(&mut self, message: &[&[u8]], stream: &mut Stream) -> Result<(), Errno> {
        let length = message.iter().map(|part| part.len()).sum();
        if self.role == Role::Client || length < COPIED || stream.is_encrypted() || self.waiting() > 0 {
            // Of a stream each part may be a message of its own.
            for part in message.iter().filter(|part| !self.is_stream || !part.is_empty()) {
                let mask = self.masks.next(self.role);
                self.websocket.send(part, mask, &mut self.output);
            }
            return Ok(());
        }
        let head = self.websocket.head(length);
        let mut parts: [&[u8]; 4] = [head.as_slice(), &[], &[], &[]];
        parts[1..].iter_mut().zip(message).for_each(|(place, part)| *place = part);
        let mut skip = stream.write(&parts.map(IoSlice::new))?;
        for part in parts {
            let skipped = skip.min(part.len());
            skip -= skipped;
            self.output.extend_from_slice(&part[skipped..]);
        }
        Ok(())
    }

    fn flush(&mut self, stream: &mut Stream) -> Result<(), Errno> {
        while self.waiting() > 0 {
            match stream.write(&[IoSlice::new(&self.output[self.written..])]) {
                Ok(count) => self.written += count,
                Err(Errno::AGAIN) => return Err(Errno::AGAIN),
                Err(errno) => {
                    // It waits for nothing any more: a loop that went on asking for room would spin.
                    self.output = Vec::new();
                    self.written = 0;
                    return Err(errno);
                }
            }
        }
        self.written = 0;
        // An idle connection keeps no room.
        match self.output.capacity() > 4 << 10 {
            true => self.output = Vec::new(),
            false => self.output.clear(),
        }
        Ok(())
    }
}

/// What a client's frames are masked with: chance that a page cannot foresee (RFC 6455, section 10.3).
struct Masks {
    chance: [u8; 256],
    used: usize,
}

impl Default for Masks {
    fn default() -> Self {
        Masks { chance: [0; 256], used: 256 }
    }
}

impl Masks {
    fn next(&mut self, role: Role) -> [u8; 4] {
        if role == Role::Server {
            return [0; 4];
        }
        if self.used == self.chance.len() {
            // The system has chance to give from early in its start on, and does not fail then (getrandom(2)).
            let _ = getrandom(&mut self.chance[..], GetRandomFlags::empty());
            self.used = 0;
        }
        let mut mask = [0; 4];
        mask.copy_from_slice(&self.chance[self.used..self.used + 4]);
        self.used += 4;
        mask
    }
}

/// Lends `with` room for one read.
fn with_scratch<T>(with: impl FnOnce(&mut BytesMut) -> T) -> T {
    thread_local! {
        /// One for all connections of a thread: each would need as much, and use it for a moment.
        static SCRATCH: RefCell<BytesMut> = RefCell::default();
    }
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        scratch.reserve(READ);
        with(scratch)
    })
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;
    use crate::transport::link::Link;
    use crate::transport::tls::{ClientTls, ServerTls};
    use crate::transport::{pair, parse};
    use crate::{Endpoint, Event, Input};

    fn is_readable(fd: &OwnedFd) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&at_once)).is_ok_and(|count| count > 0)
    }

    #[test]
    fn a_close_right_behind_a_message_is_told_without_more_input() {
        let (ours, theirs) = pair::sockets().unwrap();
        let address = parse("ws://localhost:1?protocol=plain").unwrap();
        let mut layers = Layers::messages(Stream::plain(ours), BytesMut::new(), Role::Client, &address);
        rustix::io::write(&theirs, b"\x82\x02hi\x88\x02\x03\xe8").unwrap();
        let mut inbox = BytesMut::new();
        assert_eq!(layers.read(&mut inbox), Ok(6));
        assert!(!is_readable(layers.socket()) && !layers.has_read_all(), "nothing will announce the end");
        assert_eq!(layers.read(&mut inbox), Ok(0));
        assert_eq!(&inbox[..], b"\0\0\0\x02hi");
    }

    #[test]
    fn what_a_read_of_tls_leaves_in_the_socket_is_read_too() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let path = std::env::temp_dir().join(format!("panpipe-layers-{}", std::process::id()));
        let (cert, key) = (path.with_extension("crt"), path.with_extension("key"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let (cert, key) = (cert.display(), key.display());
        let at = |options| parse(&format!("wss://localhost:1?protocol=plain&{options}")).unwrap();
        let (client, server) = (at(format!("ca={cert}")), at(format!("cert={cert}&key={key}")));
        let (ours, theirs) = pair::sockets().unwrap();
        let mut ours = Stream::connect(ours, &ClientTls::read(&client, "localhost", None).unwrap()).unwrap();
        let mut theirs = Stream::accept(theirs, &ServerTls::read(&server, None).unwrap()).unwrap();
        while !(ours.shake_hands().unwrap() & theirs.shake_hands().unwrap()) {}
        let endpoint = |stream, role, address| {
            let layers = Layers::messages(stream, BytesMut::new(), role, address);
            Endpoint::new(Link::layered(layers), address)
        };
        let (mut ours, mut theirs) = (endpoint(ours, Role::Client, &client), endpoint(theirs, Role::Server, &server));
        let message = [0; 1000];
        let sent = (0..2000).filter(|_| theirs.send(&message, true).is_ok()).count();
        let mut received = 0;
        while received < sent {
            theirs.flush();
            if ours.on_readable() == Input::Drained {
                // Who waits for edges is told only of what comes from now on.
                assert!(!is_readable(ours.reader()), "{received} of {sent}");
            }
            while let Some(event) = ours.next_event(std::time::Instant::now(), true) {
                assert!(matches!(event, Event::Message(Ok(message)) if message.len() == 1000));
                received += 1;
            }
        }
        for file in [cert.to_string(), key.to_string()] {
            std::fs::remove_file(file).unwrap();
        }
    }
}
