//! Many peers at once that want nothing, or never come to the point.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use crate::peer::{Peer, Server};
use crate::place::{Folder, address};
use crate::stream::{Stream, frame};
use crate::{Result, process};

/// What each may cost a server. What Node's engine keeps for a connection is not ours to judge.
const MOST_MEMORY: usize = 16 << 10;

/// The descriptors of this process suffice for one crowd of ten thousand at a time.
static TURN: Mutex<()> = Mutex::new(());

pub(crate) fn idle_connections(peer: Peer, folder: &Folder) -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let spare = 500;
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).saturating_sub(spare);
    let count = 10_000.min(descriptors as usize);
    let server = serve(peer, folder)?;
    let mut one = Stream::connect(&server.places[0].address)?;
    // Large enough to need more than the smallest room, and as a warm-up of everything that is not per connection.
    let large = "x".repeat(16 << 10);
    (0..100).try_for_each(|_| call(&mut one, &large))?;
    let before = process::memory(server.places[0].pid)?;

    let mut idle = Vec::new();
    for _ in 0..count {
        let mut client = Stream::connect(&server.places[0].address)?;
        call(&mut client, &large)?;
        idle.push(client);
    }
    call(&mut one, "x")?;
    let each = process::memory(server.places[0].pid)?.saturating_sub(before) / count;
    match each > MOST_MEMORY {
        true => Err(format!("{count} idle connections take {each} bytes each").into()),
        false => Ok(()),
    }
}

pub(crate) fn frames_that_trickle(peer: Peer, folder: &Folder) -> Result<()> {
    const COUNT: usize = 1000;
    let (server, quiet) = (serve(peer, folder)?, serve(peer, folder)?);
    let mut bystander = Stream::connect(&server.places[0].address)?;
    let mut elsewhere = Stream::connect(&quiet.places[0].address)?;
    for client in [&mut bystander, &mut elsewhere] {
        (0..500).try_for_each(|_| call(client, "warm"))?;
    }
    let pid = server.places[0].pid;
    let before = process::memory(pid)?;
    let path = server.places[0].address.trim_start_matches("unix:").split('?').next().unwrap_or_default();
    let slow = (0..COUNT).map(|_| UnixStream::connect(path)).collect::<std::io::Result<Vec<_>>>()?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // One byte a second of each, for ever: a frame of a megabyte.
        scope.spawn(|| {
            let bytes = [&(1u32 << 20).to_be_bytes()[..], &[b'x'; 60]].concat();
            let begun = Instant::now();
            for sent in 0..bytes.len() * COUNT {
                let due = Duration::from_secs(1) * (sent as u32) / COUNT as u32;
                sleep(due.saturating_sub(begun.elapsed()));
                if over.load(Ordering::Relaxed) {
                    return;
                }
                // A server that has had enough of one may close it.
                let _ = (&slow[sent % COUNT]).write(&bytes[sent / COUNT..][..1]);
            }
        });
        let judged = judge_trickle(pid, &mut bystander, &mut elsewhere);
        over.store(true, Ordering::Relaxed);
        judged
    })?;
    let each = process::memory(pid)?.saturating_sub(before) / COUNT;
    match each > MOST_MEMORY && peer.name != "node" {
        true => Err(format!("a frame that has begun takes {each} bytes").into()),
        false => Ok(()),
    }
}

/// While the crowd trickles: whether the server has time for others, and how much it spends.
fn judge_trickle(pid: u32, bystander: &mut Stream, elsewhere: &mut Stream) -> Result<()> {
    sleep(Duration::from_millis(200));
    // What is busy is so in each of three seconds; a machine that does much else makes any work dearer for a while.
    let mut spent = Duration::MAX;
    for _ in 0..3 {
        let before = process::cpu_time(pid)?;
        sleep(Duration::from_secs(1));
        spent = spent.min(process::cpu_time(pid)? - before);
        if spent <= Duration::from_millis(100) {
            break;
        }
    }
    if spent > Duration::from_millis(100) {
        return Err(format!("it spends {spent:?} of a second on bytes that lead nowhere").into());
    }
    let mut delay = String::new();
    // A crowd that delays others does so each time.
    for _ in 0..5 {
        // In turns, so that whatever else this machine does meanwhile meets both.
        let (mut here, mut there) = (Vec::new(), Vec::new());
        for _ in 0..9 {
            there.push(slowest_in_a_hundred(elsewhere)?);
            here.push(slowest_in_a_hundred(bystander)?);
        }
        let (here, there) = (median(here), median(there));
        if here <= 2 * there + Duration::from_millis(1) {
            return Ok(());
        }
        delay = format!("a call takes {here:?}, and {there:?} where there is no crowd");
    }
    Err(delay.into())
}

/// How long all but one in a hundred calls take at most.
fn slowest_in_a_hundred(client: &mut Stream) -> Result<Duration> {
    let mut took = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        call(client, "bystander")?;
        took.push(begun.elapsed());
    }
    took.sort();
    Ok(took[took.len() * 99 / 100 - 1])
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values[values.len() / 2]
}

fn serve(peer: Peer, folder: &Folder) -> Result<Server> {
    Ok(peer.serve(vec![address("unix", "framing=length&connections=20000", folder)?])?)
}

fn call(client: &mut Stream, text: &str) -> Result<()> {
    client.write_all(&frame(text))?;
    match client.receive()?.eq_ignore_ascii_case(text) {
        true => Ok(()),
        false => Err("another reply than that to the call".into()),
    }
}
