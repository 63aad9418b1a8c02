//! Crowds at the door of a WebSocket: who has not been let in costs little, and keeps nobody out for long.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::peer::{PANPIPE_SERVERS, Peer};
use crate::stream::Stream;
use crate::web_victim::WebVictim;
use crate::written_websocket::open;
use crate::{Case, Result, process};

/// So many come at once, of whom a listener receives 64 at a time, for 5 seconds each.
const CROWD: usize = 200;

/// How long somebody who comes last has to wait behind them, and what a busy machine adds.
const MOST_WAITING: Duration = Duration::from_secs(5 * (CROWD as u64 / 64) + 3);

/// What all of them may cost, of whom 64 have 8 KiB each looked at; V8 collects late.
const MOST_MEMORY: usize = 4 << 20;
const MOST_MEMORY_OF_NODE: usize = 24 << 20;

const BEGINNING: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ";

/// What a head may have at most, in bytes.
const LONGEST_HEAD: usize = 8 << 10;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &peer in PANPIPE_SERVERS.iter().filter(|peer| peer.name != "command_program") {
        let mut case = |name: &str, run: fn(Peer) -> Result<()>| {
            cases.push(Case::new(format!("ws::server::{}::{name}", peer.name), move || run(peer)));
        };
        case("200_who_say_nothing_keep_nobody_out", |peer| Crowd::come(peer)?.lets_others_in(b""));
        case("200_who_say_a_byte_a_second_keep_nobody_out", |peer| Crowd::come(peer)?.lets_others_in(BEGINNING));
        case("200_heads_without_an_end_cost_little", heads_without_an_end);
    }
    cases
}

/// Those who have come, and whom they have come to.
struct Crowd {
    streams: Vec<Stream>,
    victim: WebVictim,
    peer: Peer,
    memory: usize,
}

impl Crowd {
    fn come(peer: Peer) -> Result<Self> {
        let victim = WebVictim::start(peer, vec!["ws://localhost:0?protocol=plain".to_owned()])?;
        let memory = process::memory(victim.pid())?;
        let streams = (0..CROWD).map(|_| Stream::connect(victim.address(0))).collect::<std::io::Result<_>>()?;
        Ok(Crowd { streams, victim, peer, memory })
    }

    /// Whether somebody who asks as he should is let in while each of these says a byte of `says` a second.
    fn lets_others_in(mut self, says: &[u8]) -> Result<()> {
        let mut streams = std::mem::take(&mut self.streams);
        let is_over = AtomicBool::new(false);
        let begun = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| trickle(&mut streams, says, &is_over));
            let entering = scope.spawn(|| open(self.victim.address(0), false).map(drop).map_err(crate::text));
            let mut costs = Ok(());
            while !entering.is_finished() {
                costs = costs.and_then(|()| self.costs_little());
                thread::sleep(Duration::from_millis(50));
            }
            is_over.store(true, Ordering::Relaxed);
            entering.join().map_err(|_| "entering panicked")??;
            costs
        })?;
        match begun.elapsed() {
            waited if waited > MOST_WAITING => Err(format!("who came after the crowd waited for {waited:?}").into()),
            _ => Ok(()),
        }
    }

    /// Whether the bystander is answered, and the server has hardly grown.
    fn costs_little(&self) -> Result<()> {
        self.victim.still_serves()?;
        let most = if self.peer.name == "node" { MOST_MEMORY_OF_NODE } else { MOST_MEMORY };
        match process::memory(self.victim.pid())?.saturating_sub(self.memory) {
            more if more > most => Err(format!("the crowd costs {more} bytes").into()),
            _ => Ok(()),
        }
    }
}

/// A byte a second of each, until somebody else has come in.
fn trickle(streams: &mut [Stream], says: &[u8], is_over: &AtomicBool) {
    let begun = Instant::now();
    for (second, byte) in (1..).zip(says) {
        for stream in &mut *streams {
            // It may have been sent away.
            let _ = stream.write(&[*byte]);
        }
        while begun.elapsed() < Duration::from_secs(second) {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Heads of which one byte is missing, for as long as the first of them are listened to.
fn heads_without_an_end(peer: Peer) -> Result<()> {
    let mut crowd = Crowd::come(peer)?;
    let head = [BEGINNING, &vec![b'a'; LONGEST_HEAD - 1 - BEGINNING.len()]].concat();
    for stream in &mut crowd.streams {
        stream.write_all(&head)?;
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        crowd.costs_little()?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
