//! Bare tokio streams: one `write_all` a frame, reads that take whatever there is.

use std::ops::Range;

use bytes::{Buf, Bytes};
use panpipe_bench_measure::concurrent::{Peer, round_trips, stream};
use panpipe_bench_measure::{Measured, Rate, Role, Sink, Task, Workload, announce, check, message};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::Place;
use super::inbox::{Inbox, encode, head};
use crate::Outcome;

/// A larger message is written from where it lies, after its head; a smaller one is copied next to it.
const COPIED: usize = 128 << 10;

pub(super) async fn serve(role: Role, place: Place) -> Outcome<()> {
    match place {
        Place::Unix(path) => {
            let listener = UnixListener::bind(&path)?;
            announce(&format!("unix:{path}"))?;
            loop {
                answer(role, listener.accept().await?.0).await?;
            }
        }
        Place::Tcp(place) => {
            let listener = TcpListener::bind(place).await?;
            announce(&format!("tcp://{}", listener.local_addr()?))?;
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                answer(role, stream).await?;
            }
        }
    }
}

/// Answers everything that a read brought with one write.
async fn answer(role: Role, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Outcome<()> {
    let mut inbox = Inbox::new();
    let mut frames = Vec::new();
    let mut sink = Sink::default();
    loop {
        match stream.read(inbox.room()).await? {
            0 => return Ok(()),
            count => inbox.filled(count),
        }
        frames.clear();
        while let Some(place) = inbox.take() {
            let message = inbox.get(place);
            match role {
                Role::Echo if message.len() > COPIED => {
                    stream.write_all(&frames).await?;
                    frames.clear();
                    write_large(&mut stream, message).await?;
                }
                Role::Echo => encode(message, &mut frames),
                Role::Sink => {
                    if let Some(count) = sink.take(message)? {
                        encode(&count, &mut frames);
                    }
                }
                Role::Topics(_) => return Err("bare sockets have no topics".into()),
            }
        }
        stream.write_all(&frames).await?;
    }
}

pub(super) async fn measure(task: Task, place: Place) -> Outcome<Measured> {
    match place {
        Place::Unix(path) => run(task, UnixStream::connect(path).await?).await,
        Place::Tcp(place) => {
            let stream = TcpStream::connect(place).await?;
            stream.set_nodelay(true)?;
            run(task, stream).await
        }
    }
}

async fn run(task: Task, socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Outcome<Measured> {
    let peer = Framed { stream: socket, inbox: Inbox::new(), frames: Vec::new() };
    match task.workload {
        Workload::RoundTrip => round_trips(task, peer).await,
        Workload::InFlight => in_flight(task, peer).await,
        Workload::Stream => stream(task, peer).await,
        Workload::Crowd | Workload::Topics | Workload::Subscribers => Err("not over a bare socket".into()),
    }
}

struct Framed<S> {
    stream: S,
    inbox: Inbox,
    frames: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Framed<S> {
    async fn read(&mut self) -> Outcome<()> {
        match self.stream.read(self.inbox.room()).await? {
            0 => Err("the server has closed".into()),
            count => {
                self.inbox.filled(count);
                Ok(())
            }
        }
    }

    async fn recv(&mut self) -> Outcome<Range<usize>> {
        loop {
            match self.inbox.take() {
                Some(place) => return Ok(place),
                None => self.read().await?,
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Peer for Framed<S> {
    async fn send(&mut self, message: &Bytes) -> Outcome<()> {
        if message.len() > COPIED {
            return write_large(&mut self.stream, message).await;
        }
        self.frames.clear();
        encode(message, &mut self.frames);
        Ok(self.stream.write_all(&self.frames).await?)
    }

    async fn call(&mut self, message: &Bytes) -> Outcome<impl AsRef<[u8]> + Send> {
        self.send(message).await?;
        let place = self.recv().await?;
        Ok(self.inbox.get(place))
    }
}

async fn write_large(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> Outcome<()> {
    Ok(stream.write_all_buf(&mut Buf::chain(head(message).as_slice(), message)).await?)
}

/// Keeps the window full by hand: for every reply that a read brought another request, all in one write.
async fn in_flight(task: Task, mut peer: Framed<impl AsyncRead + AsyncWrite + Unpin>) -> Outcome<Measured> {
    let messages: Vec<_> = (0..task.count).map(|number| message(task.size, number)).collect();
    let mut rate = Rate::begin(task.span, task.count);
    let mut outstanding = task.count;
    messages.iter().for_each(|message| encode(message, &mut peer.frames));
    let mut next = 0;
    loop {
        peer.stream.write_all(&peer.frames).await?;
        peer.frames.clear();
        peer.read().await?;
        while let Some(place) = peer.inbox.take() {
            // Replies come in order, and the next request is the same message again.
            let message = &messages[next % task.count];
            check(peer.inbox.get(place), message, rate.operations() < task.count as u64)?;
            next += 1;
            if rate.tick() {
                encode(message, &mut peer.frames);
            } else {
                outstanding -= 1;
            }
        }
        if outstanding == 0 {
            return rate.end();
        }
    }
}
