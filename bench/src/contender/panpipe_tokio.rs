//! panpipe on tokio, as a user writes it.

use std::collections::VecDeque;
use std::time::Instant;

use panpipe::Bytes;
use panpipe::plain::{Connection, connect, listen};

use super::measure::{Measured, Rate, RoundTrips, Sink, check, check_count, message};
use super::{END, Role, Task, WINDOW, Workload, announce};
use crate::Outcome;

pub(super) async fn serve(role: Role, address: &str) -> Outcome<()> {
    match role {
        Role::Echo => {
            let server = panpipe::plain::serve(address, |message: Bytes| async move { message }).await?;
            announce(server.address())?;
            server.wait().await?;
        }
        Role::Sink => {
            let listener = listen(address).await?;
            announce(listener.address())?;
            while let Some(peer) = listener.accept().await? {
                let mut sink = Sink::default();
                while let Some(message) = peer.recv().await? {
                    if let Some(count) = sink.take(&message)? {
                        peer.send(count).await?;
                    }
                }
            }
        }
    }
    Ok(())
}

pub(super) async fn measure(task: Task, address: &str) -> Outcome<Measured> {
    let peer = connect(address).await?;
    match task.workload {
        Workload::RoundTrip => round_trips(task, peer).await,
        Workload::InFlight => in_flight(task, peer).await,
        Workload::Stream => send_stream(task, peer).await,
    }
}

async fn round_trips(task: Task, peer: Connection) -> Outcome<Measured> {
    let message = message(task.size, 0);
    let mut times = RoundTrips::begin(task.span);
    loop {
        check(&peer.call(&message).await?, &message, times.is_first())?;
        if !times.tick() {
            break;
        }
    }
    check(&peer.call(&message).await?, &message, true)?;
    Ok(times.end())
}

/// Keeps the window full: a call is on its way before it is awaited, and replies come in order.
async fn in_flight(task: Task, peer: Connection) -> Outcome<Measured> {
    let messages: Vec<_> = (0..WINDOW).map(|number| message(task.size, number)).collect();
    let mut rate = Rate::begin(task.span);
    let mut calls: VecDeque<_> = messages.iter().map(|message| peer.call(message)).collect();
    let mut next = 0;
    while let Some(call) = calls.pop_front() {
        let message = &messages[next % WINDOW];
        check(&call.await?, message, rate.operations() < WINDOW as u64)?;
        next += 1;
        if rate.tick() {
            calls.push_back(peer.call(message));
        }
    }
    rate.end()
}

async fn send_stream(task: Task, peer: Connection) -> Outcome<Measured> {
    let message = message(task.size, 0);
    let mut measured = Measured { operations: 0, value: 0.0 };
    for span in [task.span.warm, task.span.measured] {
        let begun = Instant::now();
        let mut sent = 0;
        while begun.elapsed() < span {
            peer.send(&message).await?;
            sent += 1;
        }
        check_count(&peer.call(END).await?, sent)?;
        measured.value = (sent * task.size as u64) as f64 / begun.elapsed().as_secs_f64() / 1e6;
        measured.operations += sent;
    }
    Ok(measured)
}
