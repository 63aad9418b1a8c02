//! The workloads of the contenders on tokio.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::message::{check, check_count, message};
use crate::timing::{Measured, Rate, RoundTrips};
use crate::{END, Outcome, Task, Workload};

/// A client's end of a connection.
pub trait Peer: Send + 'static {
    /// Sends a message one way.
    fn send(&mut self, message: &Bytes) -> impl Future<Output = Outcome<()>> + Send;

    /// Sends a message and waits for the reply.
    fn call(&mut self, message: &Bytes) -> impl Future<Output = Outcome<impl AsRef<[u8]> + Send>> + Send;
}

/// Runs a contender on a runtime of one thread.
///
/// # Errors
///
/// Those of the contender and of tokio.
pub fn on_tokio<T>(contender: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(contender)
}

/// Measures over a connection, or over as many as the task says; clones share one.
///
/// # Errors
///
/// Those of the connections, a wrong reply, and a workload that is not one of calls and messages.
pub async fn measure<P: Peer + Clone>(task: Task, connect: impl AsyncFn() -> Outcome<P>) -> Outcome<Measured> {
    match task.workload {
        Workload::RoundTrip => round_trips(task, connect().await?).await,
        Workload::Stream => stream(task, connect().await?).await,
        Workload::InFlight => calls(task, vec![connect().await?; task.count]).await,
        Workload::Crowd => {
            let mut peers = Vec::new();
            for _ in 0..task.count {
                peers.push(connect().await?);
            }
            calls(task, peers).await
        }
        Workload::Topics | Workload::Subscribers => Err("this contender has no topics".into()),
    }
}

/// The median of calls one after another.
///
/// # Errors
///
/// Those of the connection, and a wrong reply.
pub async fn round_trips(task: Task, mut peer: impl Peer) -> Outcome<Measured> {
    let message = Bytes::from(message(task.size, 0));
    let mut times = RoundTrips::begin(task.span);
    loop {
        check(peer.call(&message).await?.as_ref(), &message, times.is_first())?;
        if !times.tick() {
            break;
        }
    }
    check(peer.call(&message).await?.as_ref(), &message, true)?;
    Ok(times.end())
}

/// Calls per second of a task for each peer, which calls again as soon as it is answered.
///
/// # Errors
///
/// Those of the connections, and a wrong reply.
pub async fn calls<P: Peer>(task: Task, peers: Vec<P>) -> Outcome<Measured> {
    let rate = Arc::new(Mutex::new(Rate::begin(task.span, task.count)));
    let mut callers = JoinSet::new();
    for (number, mut peer) in peers.into_iter().enumerate() {
        let (rate, message) = (rate.clone(), Bytes::from(message(task.size, number)));
        callers.spawn(async move {
            let mut is_first = true;
            loop {
                check(peer.call(&message).await?.as_ref(), &message, is_first)?;
                is_first = false;
                if !lock(&rate).tick() {
                    return Outcome::Ok(());
                }
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    lock(&rate).end()
}

/// Messages per second that a sink receives, until it has acknowledged the last.
///
/// # Errors
///
/// Those of the connection, and a wrong count.
pub async fn stream(task: Task, mut peer: impl Peer) -> Outcome<Measured> {
    let message = Bytes::from(message(task.size, 0));
    let mut measured = Measured { operations: 0, value: 0.0 };
    for span in [task.span.warm, task.span.measured] {
        let begun = Instant::now();
        let mut sent = 0;
        while begun.elapsed() < span {
            peer.send(&message).await?;
            sent += 1;
        }
        check_count(peer.call(&Bytes::from_static(END)).await?.as_ref(), sent)?;
        measured.value = sent as f64 / begun.elapsed().as_secs_f64();
        measured.operations += sent;
    }
    Ok(measured)
}

fn lock(rate: &Mutex<Rate>) -> MutexGuard<'_, Rate> {
    rate.lock().unwrap_or_else(PoisonError::into_inner)
}
