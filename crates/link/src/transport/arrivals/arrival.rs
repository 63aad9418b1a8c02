//! One who has come and is not let in yet.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use panpipe_wire::websocket::{Answer, Refusal, Role, read_request};
use panpipe_wire::{Address, ErrorKind, Panpipe};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::super::gate::{Gate, Speaks};
use super::super::layers::Layers;
use super::super::link::Link;
use super::super::stream::Stream;
use super::TIME;
use super::files::Given;

/// A peer of plain messages may be a person, who types when it likes: the others speak at once.
const SILENCE: Duration = Duration::from_secs(1);

/// How long somebody is here before it gives way to others.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the other side may take for a piece of a file. The system announces room only when much of what it holds has
/// been taken, which may be a megabyte.
const PIECE_TIME: Duration = Duration::from_secs(30);

/// How long what was said last may take to arrive.
const LINGER: Duration = Duration::from_secs(2);

/// What is looked at before it must be clear: the longest head of a request, or hello.
const LOOK: usize = 8 << 10;

/// What one who has been answered may still send: it is read lest the answer be destroyed, and dropped.
const MOST_DROPPED: usize = 1 << 20;

/// One who has come.
pub(super) struct Arrival {
    stream: Stream,
    /// What has come: with TLS it was taken out of the socket, without it is still there.
    input: BytesMut,
    has_ended: bool,
    stage: Stage,
    came: Instant,
    deadline: Instant,
}

enum Stage {
    Handshake,
    FirstBytes,
    /// It gets an answer, and then a WebSocket of this address, or nothing more.
    Answer(Vec<u8>, usize, Option<Given>, Option<Box<Address>>),
    /// It is let in.
    Bytes(Box<Address>),
    Messages(Box<Address>),
    /// It has its answer, and so many bytes of it were dropped since.
    Lingers(usize),
}

/// What becomes of an arrival.
pub(super) enum Outcome {
    Stays,
    Goes,
    MayEnter,
}

impl Arrival {
    /// One who came over `socket`; `None` where that is broken already.
    pub(super) fn new(socket: OwnedFd, gate: &Gate, now: Instant) -> Option<Self> {
        let stream = gate.stream(socket).ok()?;
        let mut arrival = Arrival {
            stream,
            input: BytesMut::new(),
            has_ended: false,
            stage: Stage::Handshake,
            came: now,
            deadline: now + TIME,
        };
        if !arrival.stream.is_encrypted() {
            arrival.begin_first_bytes(gate, now);
        }
        Some(arrival)
    }

    pub(super) fn socket(&self) -> &Arc<OwnedFd> {
        self.stream.socket()
    }

    /// Whether it only has to read what it was told.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.stage, Stage::Lingers(_))
    }

    /// From when on it gives way where others find no place: who has its answer has all that it came for.
    pub(super) fn gives_way_from(&self) -> Instant {
        if self.is_answered() { self.came } else { self.came + PATIENCE }
    }

    /// When it has no more time.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    fn begin_first_bytes(&mut self, gate: &Gate, now: Instant) {
        self.stage = Stage::FirstBytes;
        if gate.waits_for_people() {
            self.deadline = self.deadline.min(now + SILENCE);
        }
    }

    /// Goes as far as it can; `has_ended` says that the socket brings no more.
    pub(super) fn go_on(&mut self, gate: &Gate, has_ended: bool, now: Instant) -> Outcome {
        self.has_ended |= has_ended;
        loop {
            match &mut self.stage {
                Stage::Handshake => match self.stream.shake_hands() {
                    Ok(true) => self.begin_first_bytes(gate, now),
                    Ok(false) => return Outcome::Stays,
                    // The alert is written. It is to be read before the end.
                    Err(_) => self.linger(now),
                },
                Stage::FirstBytes => match self.look(gate, now) {
                    Ok(true) => {}
                    Ok(false) => return if self.has_ended { Outcome::Goes } else { Outcome::Stays },
                    Err(_) => return Outcome::Goes,
                },
                Stage::Answer(..) => match self.answer(now) {
                    Ok(true) => {}
                    Ok(false) => return Outcome::Stays,
                    Err(_) => return Outcome::Goes,
                },
                Stage::Bytes(_) | Stage::Messages(_) => return Outcome::MayEnter,
                Stage::Lingers(dropped) => match self.stream.discard() {
                    Ok(count) if count > 0 && *dropped < MOST_DROPPED => *dropped += count,
                    Err(Errno::AGAIN) => return Outcome::Stays,
                    Err(Errno::INTR) => {}
                    Ok(_) | Err(_) => return Outcome::Goes,
                },
            }
        }
    }

    /// What becomes of it when its time is over.
    pub(super) fn run_out_of_time(&mut self, gate: &Gate, now: Instant) -> Outcome {
        // It has begun to ask for something, and gets the time that everybody has.
        if matches!(self.stage, Stage::FirstBytes) && now < self.came + TIME && !self.is_person(gate) {
            self.deadline = self.came + TIME;
            return Outcome::Stays;
        }
        self.give_way(gate, now)
    }

    /// What becomes of it when it gets no more time.
    pub(super) fn give_way(&mut self, gate: &Gate, now: Instant) -> Outcome {
        match self.stage {
            Stage::FirstBytes if self.is_person(gate) => {
                self.stage = Stage::Bytes(gate.plain());
                Outcome::MayEnter
            }
            Stage::FirstBytes => {
                let answer = match gate.tell(&self.input) {
                    Some(Speaks::Http) => Refusal::new(408, "the request did not come in time").response(),
                    _ => self.refusal(gate, ErrorKind::DeadlineExceeded, "no hello came in time", now),
                };
                self.begin_answer(answer, None, None, now);
                self.go_on(gate, false, now)
            }
            _ => Outcome::Goes,
        }
    }

    /// The link of one who may enter.
    pub(super) fn into_link(self, gate: &Gate) -> Option<Link> {
        let is_encrypted = self.stream.is_encrypted();
        match self.stage {
            Stage::Bytes(address) if is_encrypted => {
                Some(Link::layered(Layers::bytes(self.stream, self.input)).meaning(*address))
            }
            Stage::Bytes(address) => {
                let link = Link::tcp(Arc::into_inner(self.stream.into_socket())?).meaning(*address);
                Some(if gate.is_guarded() { link.reached_by_browsers() } else { link })
            }
            Stage::Messages(address) => {
                let layers = Layers::messages(self.stream, self.input, Role::Server, &address);
                Some(Link::layered(layers).meaning(*address))
            }
            _ => None,
        }
    }

    /// Whether what has come may be what a person types, and is not the beginning of a request.
    fn is_person(&self, gate: &Gate) -> bool {
        gate.waits_for_people() && !matches!(gate.tell(&self.input), Some(Speaks::Http | Speaks::Panpipe))
    }

    /// Looks at what comes first; `true` where that tells how it goes on.
    fn look(&mut self, gate: &Gate, now: Instant) -> Result<bool, Errno> {
        if !gate.is_curious() {
            self.stage = Stage::Bytes(gate.only());
            return Ok(true);
        }
        self.peek()?;
        let speaks = match gate.tell(&self.input) {
            // What ends here will not get clearer.
            None if self.has_ended && !self.input.is_empty() => gate.otherwise(),
            None => return Ok(false),
            Some(speaks) => speaks,
        };
        match speaks {
            Speaks::Http => return self.read_request(gate, now),
            Speaks::Panpipe if !gate.has_panpipe() => {
                let answer =
                    self.refusal(gate, ErrorKind::Unsupported, "this address speaks plain messages alone", now);
                self.begin_answer(answer, None, None, now);
            }
            Speaks::Panpipe => match gate.knows_token(&self.input) {
                Some(true) => self.stage = Stage::Bytes(gate.panpipe()),
                Some(false) => {
                    let reason = "the token is missing or wrong";
                    let answer = self.refusal(gate, ErrorKind::Unauthenticated, reason, now);
                    self.begin_answer(answer, None, None, now);
                }
                None => return Ok(false),
            },
            Speaks::Plain => self.stage = Stage::Bytes(gate.plain()),
        }
        Ok(true)
    }

    /// Takes what has come into view.
    fn peek(&mut self) -> Result<(), Errno> {
        if self.stream.is_encrypted() {
            while self.input.len() < LOOK && !self.has_ended {
                match self.stream.read(&mut self.input) {
                    Ok(0) => self.has_ended = true,
                    Ok(_) => {}
                    Err(Errno::AGAIN) => break,
                    Err(errno) => return Err(errno),
                }
            }
            return Ok(());
        }
        self.input.resize(LOOK, 0);
        let peeked = loop {
            match recv(self.stream.socket(), &mut self.input[..], RecvFlags::DONTWAIT | RecvFlags::PEEK) {
                Err(Errno::INTR) => {}
                peeked => break peeked.map(|(count, _)| count),
            }
        };
        self.input.truncate(peeked.unwrap_or(0));
        match peeked {
            Ok(0) => self.has_ended = true,
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    /// Takes the first `count` bytes out of what has come.
    fn take(&mut self, count: usize) -> Result<(), Errno> {
        if self.stream.is_encrypted() {
            self.input.advance(count);
            return Ok(());
        }
        let mut left = count;
        while left > 0 {
            match recv(self.stream.socket(), &mut self.input[..left], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Errno::CONNRESET),
                Ok((count, _)) => left -= count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        self.input.clear();
        Ok(())
    }

    fn read_request(&mut self, gate: &Gate, now: Instant) -> Result<bool, Errno> {
        let (answer, size) = match read_request(&self.input) {
            Ok(None) => return Ok(false),
            Ok(Some((request, size))) => (gate.judge(&request), size),
            Err(refusal) => (Answer::Refuse(refusal), 0),
        };
        let (answer, given, address) = match answer {
            Answer::Upgrade { response, speaks_panpipe } => {
                self.take(size)?;
                (response, None, Some(gate.website(speaks_panpipe)))
            }
            Answer::File { path, head_only } => match gate.find(&path) {
                Ok((given, head)) => (head, Some(given).filter(|_| !head_only), None),
                Err(mut refusal) => {
                    refusal.head_only = head_only;
                    (refusal.response(), None, None)
                }
            },
            Answer::Refuse(refusal) => (refusal.response(), None, None),
        };
        self.begin_answer(answer, given, address, now);
        Ok(true)
    }

    /// What one gets who speaks panpipe and is not let in.
    fn refusal(&self, gate: &Gate, kind: ErrorKind, reason: &str, now: Instant) -> Vec<u8> {
        Panpipe::refusal(gate.address(), kind, reason, now).into()
    }

    fn begin_answer(&mut self, answer: Vec<u8>, given: Option<Given>, address: Option<Box<Address>>, now: Instant) {
        self.deadline = match given {
            Some(_) => now + PIECE_TIME,
            None => self.deadline.max(now + LINGER),
        };
        self.stage = Stage::Answer(answer, 0, given, address);
    }

    /// Writes the answer; `true` once all of it is with the system.
    fn answer(&mut self, now: Instant) -> Result<bool, Errno> {
        let Stage::Answer(bytes, written, given, address) = &mut self.stage else { return Ok(true) };
        loop {
            match self.stream.write(&[IoSlice::new(&bytes[*written..])]) {
                Ok(count) => *written += count,
                Err(Errno::AGAIN) => return Ok(false),
                Err(errno) => return Err(errno),
            }
            if *written < bytes.len() {
                continue;
            }
            bytes.clear();
            *written = 0;
            match given {
                Some(given) if !given.is_over() => {
                    // What was promised is not there any more: a cut says so.
                    if !given.read(bytes) {
                        return Err(Errno::IO);
                    }
                    self.deadline = now + PIECE_TIME;
                }
                _ => break,
            }
        }
        self.stream.flush()?;
        if self.stream.wants_write() {
            return Ok(false);
        }
        match address.take() {
            Some(address) => self.stage = Stage::Messages(address),
            None => self.linger(now),
        }
        Ok(true)
    }

    /// Waits for the other side to close, which has read what was said to it then.
    fn linger(&mut self, now: Instant) {
        self.stream.end_output();
        self.deadline = now + LINGER;
        self.stage = Stage::Lingers(0);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::super::super::gate::Secrets;
    use super::*;

    /// Larger than what two sockets hold, in bytes.
    const FILE: u64 = 4 << 20;

    #[test]
    fn who_reads_a_file_has_time_for_each_piece_and_not_for_all_of_it() {
        let folder = std::env::temp_dir().join(format!("panpipe-arrival-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::File::create(folder.join("file")).unwrap().set_len(FILE).unwrap();
        let address = crate::parse(&format!("ws://localhost:0?static={}", folder.display())).unwrap();
        let gate = Gate::new(&address, "localhost", 80, "", Secrets::of(&address).unwrap().unwrap());
        let ask = |now| {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            theirs.write_all(b"GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            theirs.set_nonblocking(true).unwrap();
            let mut arrival = Arrival::new(ours.into(), &gate, now).unwrap();
            assert!(matches!(arrival.go_on(&gate, false, now), Outcome::Stays));
            (arrival, theirs)
        };
        let begun = Instant::now();
        let (mut reader, mut theirs) = ask(begun);
        let (mut now, mut count) = (begun, 0);
        while !reader.is_answered() {
            assert!(now < reader.deadline());
            while let Ok(more) = theirs.read(&mut [0; 64 << 10]) {
                count += more as u64;
            }
            now += PIECE_TIME - Duration::from_millis(1);
            assert!(matches!(reader.go_on(&gate, false, now), Outcome::Stays));
        }
        while let Ok(more @ 1..) = theirs.read(&mut [0; 64 << 10]) {
            count += more as u64;
        }
        assert!(count > FILE && now > begun + 3 * PIECE_TIME, "{count} bytes in {:?}", now - begun);
        let (mut idler, _theirs) = ask(now);
        assert_eq!(idler.deadline(), now + PIECE_TIME);
        assert!(matches!(idler.go_on(&gate, false, now + PIECE_TIME), Outcome::Stays));
        assert_eq!(idler.deadline(), now + PIECE_TIME);
        assert!(matches!(idler.run_out_of_time(&gate, now + PIECE_TIME), Outcome::Goes));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
