//! panpipe on tokio, as a user writes it.

use std::collections::VecDeque;

use panpipe::Bytes;
use panpipe::plain::{Connection, connect, listen};
use panpipe_bench_measure::concurrent::{Peer, round_trips, stream};
use panpipe_bench_measure::{Measured, Rate, Role, Sink, Task, Workload, announce, check, message};

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
        Role::Topics(_) => return Err("plain messages have no topics".into()),
    }
    Ok(())
}

pub(super) async fn measure(task: Task, address: &str) -> Outcome<Measured> {
    let peer = connect(address).await?;
    match task.workload {
        Workload::RoundTrip => round_trips(task, Plain(peer)).await,
        Workload::InFlight => in_flight(task, peer).await,
        Workload::Stream => stream(task, Plain(peer)).await,
        Workload::Crowd | Workload::Topics | Workload::Subscribers => Err("not with plain messages".into()),
    }
}

struct Plain(Connection);

/// Keeps the window full: a call is on its way before it is awaited, and replies come in order.
async fn in_flight(task: Task, peer: Connection) -> Outcome<Measured> {
    let messages: Vec<_> = (0..task.count).map(|number| message(task.size, number)).collect();
    let mut rate = Rate::begin(task.span, task.count);
    let mut calls: VecDeque<_> = messages.iter().map(|message| peer.call(message)).collect();
    let mut next = 0;
    while let Some(call) = calls.pop_front() {
        let message = &messages[next % task.count];
        check(&call.await?, message, rate.operations() < task.count as u64)?;
        next += 1;
        if rate.tick() {
            calls.push_back(peer.call(message));
        }
    }
    rate.end()
}

impl Peer for Plain {
    async fn send(&mut self, message: &Bytes) -> Outcome<()> {
        Ok(self.0.send(message).await?)
    }

    async fn call(&mut self, message: &Bytes) -> Outcome<impl AsRef<[u8]> + Send> {
        Ok(self.0.call(message).await?)
    }
}
