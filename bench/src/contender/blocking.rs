//! The workloads of the contenders that block.

use std::time::Instant;

use super::measure::{Measured, RoundTrips, check, check_count, message};
use super::{END, Task, Workload};
use crate::Outcome;

/// A client's end of a connection.
pub(super) trait Peer {
    fn send(&mut self, message: &[u8]) -> Outcome<()>;
    fn call(&mut self, message: &[u8]) -> Outcome<impl AsRef<[u8]>>;
}

pub(super) fn measure(task: Task, peer: &mut impl Peer) -> Outcome<Measured> {
    let message = message(task.size, 0);
    match task.workload {
        Workload::RoundTrip => round_trips(task, &message, peer),
        Workload::Stream => stream(task, &message, peer),
        Workload::InFlight => Err("one thread that blocks has one call in flight".into()),
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
        measured.value = (sent * task.size as u64) as f64 / begun.elapsed().as_secs_f64() / 1e6;
        measured.operations += sent;
    }
    Ok(measured)
}
