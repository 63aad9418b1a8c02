//! Bare tokio streams: one `write_all` a frame, reads that take whatever there is.

use std::ops::Range;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::inbox::{Inbox, encode};
use super::measure::{Measured, Rate, RoundTrips, Sink, check, check_count, message};
use super::{END, Place, Role, Task, WINDOW, Workload, announce};
use crate::Outcome;

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
                Role::Echo => encode(message, &mut frames),
                Role::Sink => {
                    if let Some(count) = sink.take(message)? {
                        encode(&count, &mut frames);
                    }
                }
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

async fn run(task: Task, stream: impl AsyncRead + AsyncWrite + Unpin) -> Outcome<Measured> {
    let peer = Framed { stream, inbox: Inbox::new(), frames: Vec::new() };
    match task.workload {
        Workload::RoundTrip => round_trips(task, peer).await,
        Workload::InFlight => in_flight(task, peer).await,
        Workload::Stream => send_stream(task, peer).await,
    }
}

struct Framed<S> {
    stream: S,
    inbox: Inbox,
    frames: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Framed<S> {
    async fn send(&mut self, message: &[u8]) -> Outcome<()> {
        self.frames.clear();
        encode(message, &mut self.frames);
        Ok(self.stream.write_all(&self.frames).await?)
    }

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

    async fn call(&mut self, message: &[u8]) -> Outcome<&[u8]> {
        self.send(message).await?;
        let place = self.recv().await?;
        Ok(self.inbox.get(place))
    }
}

async fn round_trips(task: Task, mut peer: Framed<impl AsyncRead + AsyncWrite + Unpin>) -> Outcome<Measured> {
    let message = message(task.size, 0);
    let mut times = RoundTrips::begin(task.span);
    loop {
        check(peer.call(&message).await?, &message, times.is_first())?;
        if !times.tick() {
            break;
        }
    }
    check(peer.call(&message).await?, &message, true)?;
    Ok(times.end())
}

/// Keeps the window full by hand: for every reply that a read brought another request, all in one write.
async fn in_flight(task: Task, mut peer: Framed<impl AsyncRead + AsyncWrite + Unpin>) -> Outcome<Measured> {
    let messages: Vec<_> = (0..WINDOW).map(|number| message(task.size, number)).collect();
    let mut rate = Rate::begin(task.span);
    let mut outstanding = WINDOW;
    messages.iter().for_each(|message| encode(message, &mut peer.frames));
    let mut next = 0;
    loop {
        peer.stream.write_all(&peer.frames).await?;
        peer.frames.clear();
        peer.read().await?;
        while let Some(place) = peer.inbox.take() {
            // Replies come in order, and the next request is the same message again.
            let message = &messages[next % WINDOW];
            check(peer.inbox.get(place), message, rate.operations() < WINDOW as u64)?;
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

async fn send_stream(task: Task, mut peer: Framed<impl AsyncRead + AsyncWrite + Unpin>) -> Outcome<Measured> {
    let message = message(task.size, 0);
    let mut measured = Measured { operations: 0, value: 0.0 };
    for span in [task.span.warm, task.span.measured] {
        let begun = Instant::now();
        let mut sent = 0;
        while begun.elapsed() < span {
            peer.send(&message).await?;
            sent += 1;
        }
        check_count(peer.call(END).await?, sent)?;
        measured.value = (sent * task.size as u64) as f64 / begun.elapsed().as_secs_f64() / 1e6;
        measured.operations += sent;
    }
    Ok(measured)
}
