//! Crowds at the door of a WebSocket: who has not been let in costs little, and keeps nobody out for long.

use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::peer::{PANPIPE_SERVERS, Peer};
use crate::place::Folder;
use crate::stream::Stream;
use crate::web_victim::WebVictim;
use crate::written_websocket::{open, place_and_path, read_head};
use crate::{Case, Result, process};

/// So many come at once, of whom a listener receives 64 at a time. Each has a second before it gives way.
const CROWD: usize = 200;

/// How long somebody who comes last has to wait behind them, and what a busy machine adds.
const MOST_WAITING: Duration = Duration::from_secs(CROWD as u64 / 64 + 5);

/// What all of them may cost, of whom 64 have 8 KiB each looked at; V8 collects late.
const MOST_MEMORY: usize = 4 << 20;
const MOST_MEMORY_OF_NODE: usize = 24 << 20;

/// So many ask for a file and do not read it.
const READERS: usize = 70;

/// How long somebody who comes behind these has to wait: a second, and what a busy machine adds.
const MOST_WAITING_FOR_READERS: Duration = Duration::from_secs(4);

/// What they may cost beyond that: 64 have 64 KiB each on the way.
const MOST_MEMORY_OF_READERS: usize = 64 * (64 << 10);

/// The size of the file, in bytes: more than any two sockets hold.
const FILE: u64 = 64 << 20;

/// How long somebody lies still who reads it whole: longer than anybody has who asks for something.
const REST: Duration = Duration::from_millis(5500);

const BEGINNING: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ";

/// What a head may have at most, in bytes.
const LONGEST_HEAD: usize = 8 << 10;

pub(crate) fn cases(folder: &Arc<Folder>) -> Vec<Case> {
    let mut cases = Vec::new();
    for &peer in PANPIPE_SERVERS.iter().filter(|peer| peer.name != "command_program") {
        let mut case = |name: &str, run: fn(Peer, &Folder) -> Result<()>| {
            let folder = Arc::clone(folder);
            cases.push(Case::new(format!("ws::server::{}::{name}", peer.name), move || run(peer, &folder)));
        };
        case("200_who_say_nothing_keep_nobody_out", |peer, _| {
            Crowd::come(peer, CROWD, "")?.lets_others_in(b"", MOST_WAITING)
        });
        case("200_who_say_a_byte_a_second_keep_nobody_out", |peer, _| {
            Crowd::come(peer, CROWD, "")?.lets_others_in(BEGINNING, MOST_WAITING)
        });
        case("200_heads_without_an_end_cost_little", |peer, _| heads_without_an_end(peer));
        case("70_who_ask_for_a_file_and_do_not_read_keep_nobody_out", readers_who_do_not_read);
        case("a_file_is_read_to_its_end_by_who_takes_its_time", a_slow_reader);
    }
    cases
}

/// Those who have come, and whom they have come to.
struct Crowd {
    streams: Vec<Stream>,
    victim: WebVictim,
    memory: usize,
    most_memory: usize,
}

impl Crowd {
    fn come(peer: Peer, count: usize, options: &str) -> Result<Self> {
        let victim = WebVictim::start(peer, vec![format!("ws://localhost:0?protocol=plain{options}")])?;
        let memory = process::memory(victim.pid())?;
        let streams = (0..count).map(|_| Stream::connect(victim.address(0))).collect::<std::io::Result<_>>()?;
        let most_memory = if peer.name == "node" { MOST_MEMORY_OF_NODE } else { MOST_MEMORY };
        Ok(Crowd { streams, victim, memory, most_memory })
    }

    /// Whether somebody who asks as he should is soon let in while each of these says a byte of `says` a second.
    fn lets_others_in(mut self, says: &[u8], most_waiting: Duration) -> Result<()> {
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
            waited if waited > most_waiting => Err(format!("who came after the crowd waited for {waited:?}").into()),
            _ => Ok(()),
        }
    }

    /// Whether the bystander is answered, and the server has hardly grown.
    fn costs_little(&self) -> Result<()> {
        self.victim.still_serves()?;
        match process::memory(self.victim.pid())?.saturating_sub(self.memory) {
            more if more > self.most_memory => Err(format!("the crowd costs {more} bytes").into()),
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
    let mut crowd = Crowd::come(peer, CROWD, "")?;
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

/// The option for a folder with a file.
fn file(folder: &Folder) -> Result<String> {
    let site = folder.path();
    fs::create_dir(&site)?;
    fs::File::create(format!("{site}/file"))?.set_len(FILE)?;
    Ok(format!("&static={site}"))
}

fn ask_for_file(stream: &mut Stream, address: &str) -> Result<()> {
    let (place, _) = place_and_path(address);
    Ok(stream.write_all(format!("GET /file HTTP/1.1\r\nHost: {place}\r\n\r\n").as_bytes())?)
}

fn is_given(stream: &mut Stream) -> Result<()> {
    match read_head(stream)? {
        head if head.starts_with("HTTP/1.1 200 ") => Ok(()),
        head => Err(format!("the file is answered with {head:?}").into()),
    }
}

fn readers_who_do_not_read(peer: Peer, folder: &Folder) -> Result<()> {
    let mut crowd = Crowd::come(peer, READERS, &file(folder)?)?;
    crowd.most_memory += MOST_MEMORY_OF_READERS;
    for stream in &mut crowd.streams {
        ask_for_file(stream, crowd.victim.address(0))?;
    }
    is_given(&mut crowd.streams[0])?;
    crowd.lets_others_in(b"", MOST_WAITING_FOR_READERS)
}

fn a_slow_reader(peer: Peer, folder: &Folder) -> Result<()> {
    let mut crowd = Crowd::come(peer, 1, &file(folder)?)?;
    let stream = &mut crowd.streams[0];
    ask_for_file(stream, crowd.victim.address(0))?;
    is_given(stream)?;
    thread::sleep(REST);
    match std::io::copy(&mut stream.take(FILE + 1), &mut std::io::sink())? {
        FILE => Ok(()),
        count => Err(format!("{count} bytes of it came").into()),
    }
}
