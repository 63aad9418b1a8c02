//! `panpipe methods --measure`: how fast a transport is here, between two threads of this process.

use std::thread;
use std::time::{Duration, Instant};

use panpipe::plain::blocking::{Connection, connect, listen};
use panpipe::{ErrorKind, Result};

/// Time for each of the two figures of a transport.
const SPAN: Duration = Duration::from_millis(100);

/// A message that waits, and one that moves much.
const SMALL: usize = 64;
const LARGE: usize = 64 << 10;

/// Large messages between two answers of the receiver, so that what is counted has arrived.
const WINDOW: usize = 64;

/// The figures of a transport.
pub(crate) struct Measured {
    /// The median of the round trips of a small message.
    pub(crate) round_trip: Duration,
    /// Megabytes a second of large messages one way; `None` where a message may not be so large.
    pub(crate) rate: Option<f64>,
}

/// What ends a peer that has no other way to see that nobody comes any more.
const OVER: &str = "over";

/// Measures a transport at its trial address.
pub(crate) fn measure(trial: &str) -> Result<Measured> {
    let trial = &format!("{trial}?protocol=plain");
    let listener = match listen(trial) {
        // It only connects, to a peer that sends back what it gets.
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::InvalidAddress) => {
            let peer = connect(trial)?;
            return Ok(Measured { round_trip: round_trip(&peer)?, rate: Some(echo_rate(&peer)?) });
        }
        listener => listener?,
    };
    let address = listener.address().to_owned();
    let answering = thread::spawn(move || match listener.accept()? {
        Some(peer) => answer(&peer),
        None => Ok(()),
    });
    let peer = connect(&address)?;
    let measured = Measured { round_trip: round_trip(&peer)?, rate: rate(&peer)? };
    peer.send(OVER)?;
    match answering.join() {
        Ok(answered) => answered.map(|()| measured),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Sends small messages back, and counts large ones.
fn answer(peer: &Connection) -> Result<()> {
    let mut received = 0;
    while let Some(message) = peer.recv()?.filter(|message| message != OVER) {
        match message.len() {
            LARGE => received += 1,
            _ => peer.send(&message)?,
        }
        if received == WINDOW {
            received = 0;
            peer.send("all there")?;
        }
    }
    Ok(())
}

fn round_trip(peer: &Connection) -> Result<Duration> {
    let begun = Instant::now();
    let mut taken = Vec::new();
    while begun.elapsed() < SPAN {
        let sent = Instant::now();
        peer.call([b'x'; SMALL])?;
        taken.push(sent.elapsed());
    }
    taken.sort_unstable();
    Ok(taken[taken.len() / 2])
}

fn rate(peer: &Connection) -> Result<Option<f64>> {
    let message = [b'x'; LARGE];
    let begun = Instant::now();
    let mut moved = 0;
    while begun.elapsed() < SPAN {
        for _ in 0..WINDOW {
            match peer.send(message) {
                Err(error) if error.kind() == ErrorKind::TooLarge => return Ok(None),
                sent => sent?,
            }
        }
        peer.recv()?;
        moved += WINDOW * LARGE;
    }
    Ok(Some(moved as f64 / 1e6 / begun.elapsed().as_secs_f64()))
}

/// As [`rate`] with a peer that sends everything back: each byte is moved twice.
fn echo_rate(peer: &Connection) -> Result<f64> {
    let message = [b'x'; LARGE];
    let begun = Instant::now();
    let mut moved = 0;
    while begun.elapsed() < SPAN {
        peer.call(message)?;
        moved += 2 * LARGE;
    }
    Ok(moved as f64 / 1e6 / begun.elapsed().as_secs_f64())
}
