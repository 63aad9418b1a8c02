//! What servers must stand beside broken rules: much at once, much that is claimed, and clients that are slow or deaf.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::frames::{self, CALL, CANCEL, ERROR, Frame, GOODBYE, MORE, PING, RAW, REPLY};
use crate::peer::{PROTOCOL_SERVERS, Peer};
use crate::place::Folder;
use crate::stream::Stream;
use crate::victim::{Shared, Victim};
use crate::{Case, PLACES, Result, process};

type Assault = fn(&Victim, Peer) -> Result<()>;

const ASSAULTS: &[(&str, Assault)] = &[
    ("nesting_beyond_64_fails_its_call_alone", deep_nesting),
    ("what_is_claimed_costs_no_memory", claims),
    ("ten_thousand_calls_cancelled_at_once_hold_their_places", cancelled_calls),
    ("a_flood_of_frames_that_carry_nothing_delays_nobody", empty_frames),
    ("a_flood_of_pings_whose_pongs_are_not_read_costs_little", deaf_flood),
    ("a_thousand_who_trickle_are_closed_in_time_and_delay_nobody", tricklers),
    ("clients_that_never_read_their_replies_cost_little_and_are_closed", deaf_clients),
];

pub(crate) fn cases(folder: &Arc<Folder>) -> Vec<Case> {
    let mut cases = Vec::new();
    let victims: Vec<_> = PROTOCOL_SERVERS
        .iter()
        .flat_map(|&peer| PLACES.map(|place| (peer, place, Shared::<(Victim, Mutex<()>)>::default())))
        .collect();
    for &(name, assault) in ASSAULTS.iter().rev() {
        for (peer, place, victim) in &victims {
            let (peer, place, victim, folder) = (*peer, *place, Arc::clone(victim), Arc::clone(folder));
            cases.push(Case::new(format!("{place}::server::{}::{name}", peer.name), move || {
                let start = || Ok((Victim::start(peer, place, &folder).map_err(crate::text)?, Mutex::new(())));
                let (victim, one_at_a_time) = victim.get_or_init(start).as_ref().map_err(String::clone)?;
                // Its memory and its haste are to be this assault's alone.
                let _alone = one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
                assault(victim, peer)?;
                victim.still_serves()
            }));
        }
    }
    cases
}

/// Fails unless the server has at most so many bytes more than it had.
fn costs_at_most(victim: &Victim, before: usize, budget: usize) -> Result<()> {
    match process::memory(victim.pid())?.saturating_sub(before) {
        more if more > budget => Err(format!("{more} bytes more than before, where {budget} are allowed").into()),
        _ => Ok(()),
    }
}

const MIB: usize = 1 << 20;

fn deep_nesting(victim: &Victim, _: Peer) -> Result<()> {
    let mut client = victim.client()?;
    for (depth, kind) in [(64, REPLY), (65, ERROR), (1_000_000, ERROR)] {
        for nesting in [&b"\x91"[..], b"\x81\x01"] {
            let levels = if nesting.len() == 1 { depth } else { depth.min(500_000) };
            let payload = [nesting.repeat(levels), vec![0xc0]].concat();
            let answer = client.call(0, "values", &payload)?;
            let is_told = kind == REPLY || answer.why().0 == "invalid-arguments";
            if answer.kind != kind || !is_told {
                return Err(
                    format!("{levels} levels are answered with the kind {} {:?}", answer.kind, answer.why()).into()
                );
            }
        }
    }
    Ok(())
}

/// Lengths that nothing follows, and messages in pieces that never end.
fn claims(victim: &Victim, _: Peer) -> Result<()> {
    const CLIENTS: usize = 50;
    let before = process::memory(victim.pid())?;
    let mut clients = (0..CLIENTS).map(|_| victim.client()).collect::<Result<Vec<_>>>()?;
    for client in &mut clients {
        for claim in
            [b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
        {
            let answer = client.call(0, "values", claim)?;
            if answer.kind != ERROR || answer.why().0 != "invalid-arguments" {
                return Err(format!("{claim:x?} is answered with the kind {} {:?}", answer.kind, answer.why()).into());
            }
        }
        let id = client.id();
        let size = (16 * MIB as u32).to_be_bytes();
        let mut piece = frames::frame(CALL, MORE | RAW, id, &[&size, &[0; 4], b"echo", &[0; 1024]]);
        piece[6..8].copy_from_slice(&4u16.to_be_bytes());
        client.stream.write_all(&piece)?;
        client.stream.write_all(&frames::frame(PING, 0, 0, &[]))?;
    }
    // What 50 connections cost is allowed, at 64 KiB each; what they claim is 25,000 times as much.
    costs_at_most(victim, before, 4 * MIB)
}

fn cancelled_calls(victim: &Victim, _: Peer) -> Result<()> {
    const COUNT: u64 = 10_000;
    let before = process::memory(victim.pid())?;
    let mut stream = victim.connect()?;
    let mut bytes = frames::hello();
    for id in (0..COUNT).map(|number| 2 * number + 1) {
        bytes.extend(frames::call(id, 0, "hang", &[]));
        bytes.extend(frames::frame(CANCEL, 0, id, &[]));
    }
    let mut input = stream.try_clone()?;
    let reading = thread::spawn(move || {
        let (mut answers, mut why) = (0, None);
        while let Ok(Some(frame)) = Frame::read(&mut input) {
            answers += u64::from(frame.kind == ERROR);
            if frame.kind == GOODBYE {
                why = Some(frame.why());
            }
            if answers == COUNT {
                break;
            }
        }
        (answers, why)
    });
    // A server that has had enough closes while this is written.
    let _ = stream.write_all(&bytes);
    let (answers, why) = reading.join().map_err(|_| "the reader panicked")?;
    let is_right =
        answers == COUNT || why.as_ref().is_some_and(|(code, said)| code == "bad-peer" && said.contains("1024"));
    if !is_right {
        return Err(format!("{answers} calls were answered, and it closed with {why:?}").into());
    }
    let most = victim.client()?.call(0, "most_running", &[])?;
    let most = match most.body[..] {
        [few @ 0..=127] | [0xcc, few] => u64::from(few),
        [0xcd, high, low] => u64::from(u16::from_be_bytes([high, low])),
        _ => return Err(format!("{most:?} is no number").into()),
    };
    if most > 1024 {
        return Err(format!("{most} handlers ran at once").into());
    }
    // 1,024 handlers of up to 16 KiB in a debug build.
    costs_at_most(victim, before, 24 * MIB)
}

/// Floods within the limits: 1,024 frames that carry nothing, one that carries something, again and again.
fn empty_frames(victim: &Victim, peer: Peer) -> Result<()> {
    let mut client = victim.client()?;
    let before = process::memory(victim.pid())?;
    let mut empty = frames::frame(PING, 0, 0, &[]).repeat(340);
    empty.extend(frames::frame(200, 0, 0, &[]).repeat(340));
    empty.extend(frames::frame(8, 0, 0, &[&[0; 4]]).repeat(340));
    let mut input = client.stream.try_clone()?;
    // In bulk, so that nothing waits for it.
    thread::spawn(move || std::io::copy(&mut input, &mut std::io::sink()));
    let flood = Flood::new(move || {
        let note = [frames::text("flood"), vec![1]].concat();
        let id = client.id();
        client.stream.write_all(&empty)?;
        client.stream.write_all(&frames::send(id, 0, "note", &note))
    });
    flood.delays_nobody(victim)?;
    // V8 collects late what the system has read.
    costs_at_most(victim, before, if peer.name == "node" { 64 } else { 8 } * MIB)
}

/// Something that is done again and again while it is on.
struct Flood {
    is_on: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    has_flown: Arc<AtomicBool>,
}

impl Flood {
    fn new(mut once: impl FnMut() -> std::io::Result<()> + Send + 'static) -> Self {
        let flood = Flood { is_on: Arc::default(), is_over: Arc::default(), has_flown: Arc::default() };
        let (is_on, is_over, has_flown) = (flood.is_on.clone(), flood.is_over.clone(), flood.has_flown.clone());
        thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                match is_on.load(Ordering::Relaxed) {
                    true if once().is_ok() => has_flown.store(true, Ordering::Relaxed),
                    true => break,
                    false => thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        flood
    }

    /// Compares how long the bystander waits with the flood and without, in turns, so that whatever else this machine
    /// does meets both.
    fn delays_nobody(&self, victim: &Victim) -> Result<()> {
        let mut delay = String::new();
        for _ in 0..5 {
            let (mut with, mut without) = (Vec::new(), Vec::new());
            for _ in 0..3 {
                without.push(victim.slowest_in_a_hundred()?);
                self.is_on.store(true, Ordering::Relaxed);
                with.push(victim.slowest_in_a_hundred()?);
                self.is_on.store(false, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
            let (with, without) = (median(with), median(without));
            if !self.has_flown.load(Ordering::Relaxed) {
                return Err("there was no flood".into());
            }
            // What one read brings, 4,096 frames, is handled before the next client has its turn.
            if with <= 2 * without + Duration::from_millis(25) {
                return Ok(());
            }
            delay = format!("a call takes {with:?}, and {without:?} without the flood");
        }
        Err(delay.into())
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values[values.len() / 2]
}

/// A byte a second: half of a thousand never come to the end of their HELLO, half never to that of a call.
fn tricklers(victim: &Victim, peer: Peer) -> Result<()> {
    const HALF: usize = 500;
    let (quiet, mut best) = (victim.slowest_in_a_hundred()?, Duration::MAX);
    let before = process::memory(victim.pid())?;
    let mut silent = (0..HALF).map(|_| victim.connect()).collect::<std::io::Result<Vec<_>>>()?;
    let mut slow = (0..HALF).map(|_| victim.client()).collect::<Result<Vec<_>>>()?;
    let (hello, call) = (frames::hello(), frames::call(1, 0, "upper", &frames::text("slow")));
    let begun = Instant::now();
    let mut at = 0;
    while begun.elapsed() < Duration::from_secs(6) {
        for stream in &mut silent {
            // They are closed after five seconds.
            let _ = stream.write(&hello[at..][..1]);
        }
        for client in &mut slow {
            client.stream.write_all(&call[at..][..1])?;
        }
        at += 1;
        if at == 3 {
            // 32 KiB a connection, and twice that in Node, whose sockets alone take 20.
            costs_at_most(victim, before, 2 * HALF * if peer.name == "node" { 64 << 10 } else { 32 << 10 })?;
        }
        best = best.min(victim.slowest_in_a_hundred()?);
        thread::sleep(
            Duration::from_millis(1000)
                .saturating_sub(begun.elapsed().saturating_sub(Duration::from_secs(at as u64 - 1))),
        );
    }
    // A crowd that delays others does so each second.
    if best > 2 * quiet + Duration::from_millis(25) {
        return Err(format!("a call takes {best:?}, and {quiet:?} before the crowd came").into());
    }
    for stream in &mut silent {
        let mut code = None;
        while let Ok(Some(frame)) = Frame::read(stream) {
            if frame.kind == GOODBYE {
                code = Some(frame.why().0);
            }
        }
        if code.as_deref() != Some("deadline-exceeded") {
            return Err(format!("one without a HELLO ended with {code:?}").into());
        }
    }
    for client in &mut slow {
        client.stream.write_all(&call[at..])?;
        if client.answer(1)?.kind != REPLY {
            return Err("a slow call has no reply".into());
        }
    }
    Ok(())
}

/// Calls that are answered with much, by clients that read nothing: one goes on as long as it can, one keeps to the
/// window of its calls.
fn deaf_clients(victim: &Victim, peer: Peer) -> Result<()> {
    let before = process::memory(victim.pid())?;
    let mut most = 0;
    let mut clients = [victim.client()?, victim.client()?];
    // Of 65,000 bytes each. 8 MiB of replies may wait, and calls of 1 MiB; the system takes some, too.
    for (client, count) in clients.iter_mut().zip([200, 60]) {
        client.stream.limit_writes(Duration::from_secs(1))?;
        for _ in 0..count {
            let id = client.id();
            if client.stream.write_all(&frames::call(id, RAW, "echo", &[7; 65_000])).is_err() {
                break;
            }
            most = most.max(process::memory(victim.pid())?);
        }
    }
    // That is tried on unix alone: the buffers of tcp grow meanwhile, and its end stands behind them.
    let [_, patient] = &clients;
    if let Stream::Unix(_) = patient.stream {
        victim.has_told_within(Duration::from_secs(15), "read nothing for 10 seconds")?;
        most = most.max(process::memory(victim.pid())?);
    }
    match most.saturating_sub(before) {
        // 9 MiB, twice while they are moved from where they are made to where they wait, and 4 MiB of the other. V8
        // collects late, as above.
        more if more > if peer.name == "node" { 32 } else { 24 } * MIB => {
            Err(format!("{more} bytes for two clients that do not read").into())
        }
        _ => Ok(()),
    }
}

/// PINGs whose PONGs are not read.
fn deaf_flood(victim: &Victim, peer: Peer) -> Result<()> {
    let before = process::memory(victim.pid())?;
    let mut client = victim.client()?;
    client.stream.limit_writes(Duration::from_millis(200))?;
    let pings = frames::frame(PING, 0, 0, &[]).repeat(1000);
    let note = [frames::text("flood"), vec![1]].concat();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let id = client.id();
        let all = [&pings[..], &frames::send(id, 0, "note", &note)].concat();
        // A server that takes no more has stood it.
        if client.stream.write_all(&all).is_err() {
            break;
        }
        // V8 collects late, as above.
        costs_at_most(victim, before, if peer.name == "node" { 64 } else { 24 } * MIB)?;
    }
    Ok(())
}
