//! The workloads of the contenders that block.

use std::time::Instant;

use crate::message::{check, check_count, message};
use crate::timing::{Measured, RoundTrips};
use crate::{END, Outcome, Task, Workload};

/// A client's end of a connection.
pub trait Peer {
    /// Sends a message one way.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    fn send(&mut self, message: &[u8]) -> Outcome<()>;

    /// Sends a message and waits for the reply.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    fn call(&mut self, message: &[u8]) -> Outcome<impl AsRef<[u8]>>;
}

/// Measures over a connection.
///
/// # Errors
///
/// Those of the connection, a wrong reply, and a workload that one thread cannot do.
pub fn measure(task: Task, peer: &mut impl Peer) -> Outcome<Measured> {
    let message = message(task.size, 0);
    match task.workload {
        Workload::RoundTrip => round_trips(task, &message, peer),
        Workload::Stream => stream(task, &message, peer),
        _ => Err("one thread that blocks has one call in flight".into()),
    }
}

fn round_trips(task: Task, message: &[u8], peer: &mut impl Peer) -> Outcome<Measured> {
    let mut times = RoundTrips::begin(task.span);
    loop {
        check(peer.call(message)?.as_ref(), message, times.is_first())?;
        if !times.tick() {
            break;
        }
    }
    check(peer.call(message)?.as_ref(), message, true)?;
    Ok(times.end())
}

fn stream(task: Task, message: &[u8], peer: &mut impl Peer) -> Outcome<Measured> {
    let mut measured = Measured { operations: 0, value: 0.0 };
    for span in [task.span.warm, task.span.measured] {
        let begun = Instant::now();
        let mut sent = 0;
        while begun.elapsed() < span {
            peer.send(message)?;
            sent += 1;
        }
        check_count(peer.call(END)?.as_ref(), sent)?;
        measured.value = sent as f64 / begun.elapsed().as_secs_f64();
        measured.operations += sent;
    }
    Ok(measured)
}
