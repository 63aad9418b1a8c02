//! Blocking `read` and `write` on a bare socket: two system calls a round trip on each side.

use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::os::unix::net::{UnixListener, UnixStream};

use panpipe_bench_measure::{Measured, Role, Sink, Task, announce, blocking};

use super::Place;
use super::inbox::{Inbox, encode, head};
use crate::Outcome;

/// A larger message is written from where it lies; a smaller one is copied next to its head.
const COPIED: usize = 4 << 10;

pub(super) fn serve(role: Role, place: Place) -> Outcome<()> {
    match place {
        Place::Unix(path) => {
            let listener = UnixListener::bind(&path)?;
            announce(&format!("unix:{path}"))?;
            listener.incoming().try_for_each(|stream| answer(role, stream?))
        }
        Place::Tcp(place) => {
            let listener = TcpListener::bind(place)?;
            announce(&format!("tcp://{}", listener.local_addr()?))?;
            listener.incoming().try_for_each(|stream| {
                let stream = stream?;
                stream.set_nodelay(true)?;
                answer(role, stream)
            })
        }
    }
}

pub(super) fn measure(task: Task, place: Place) -> Outcome<Measured> {
    match place {
        Place::Unix(path) => blocking::measure(task, &mut Framed::new(UnixStream::connect(path)?)),
        Place::Tcp(place) => {
            let stream = TcpStream::connect(place)?;
            stream.set_nodelay(true)?;
            blocking::measure(task, &mut Framed::new(stream))
        }
    }
}

pub(super) fn answer(role: Role, stream: impl Read + Write) -> Outcome<()> {
    let mut peer = Framed::new(stream);
    let mut sink = Sink::default();
    while let Some(place) = peer.recv()? {
        let Framed { stream, inbox, frame } = &mut peer;
        let message = inbox.get(place);
        match role {
            Role::Echo => write_frame(stream, message, frame)?,
            Role::Sink => {
                if let Some(count) = sink.take(message)? {
                    write_frame(stream, &count, frame)?;
                }
            }
            Role::Topics(_) => return Err("bare sockets have no topics".into()),
        }
    }
    Ok(())
}

pub(super) struct Framed<S> {
    stream: S,
    inbox: Inbox,
    frame: Vec<u8>,
}

impl<S: Read + Write> Framed<S> {
    pub(super) fn new(stream: S) -> Self {
        Framed { stream, inbox: Inbox::new(), frame: Vec::new() }
    }

    fn recv(&mut self) -> Outcome<Option<Range<usize>>> {
        loop {
            if let Some(place) = self.inbox.take() {
                return Ok(Some(place));
            }
            match self.stream.read(self.inbox.room())? {
                0 => return Ok(None),
                count => self.inbox.filled(count),
            }
        }
    }
}

impl<S: Read + Write> blocking::Peer for Framed<S> {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        write_frame(&mut self.stream, message, &mut self.frame)
    }

    fn call(&mut self, message: &[u8]) -> Outcome<impl AsRef<[u8]>> {
        self.send(message)?;
        match self.recv()? {
            Some(place) => Ok(self.inbox.get(place)),
            None => Err("the server has closed".into()),
        }
    }
}

/// Writes a frame with one system call if it is taken whole.
fn write_frame(stream: &mut impl Write, message: &[u8], frame: &mut Vec<u8>) -> Outcome<()> {
    if message.len() < COPIED {
        frame.clear();
        encode(message, frame);
        stream.write_all(frame)?;
        return Ok(());
    }
    let head = head(message);
    let written = stream.write_vectored(&[IoSlice::new(&head), IoSlice::new(message)])?;
    if written < head.len() {
        stream.write_all(&head[written..])?;
    }
    stream.write_all(&message[written.saturating_sub(head.len())..])?;
    Ok(())
}
