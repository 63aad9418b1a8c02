//! More clients than a server has descriptors for.

use std::thread::sleep;
use std::time::{Duration, Instant};

use panpipe_conformance::Serving;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::peer::Peer;
use crate::place::{Folder, address};
use crate::stream::Stream;
use crate::{Result, process};

/// Descriptors that are left, at least, and clients that find none.
const SEATS: u64 = 8;
const LATE: usize = 8;

pub(crate) fn running_out(peer: Peer, folder: &Folder) -> Result<()> {
    let server = peer.serve(vec![address("unix", "framing=length", folder)?])?;
    let server = &server.places[0];
    let mut first = Stream::connect(&server.address)?;
    call(&mut first)?;
    let mut seated = vec![first];
    let most = process::descriptors(server.pid)?.into_iter().max().ok_or("it has no descriptors")? + 1 + SEATS;
    let limit = set_limit(server, Some(most))?;
    let all_are_taken = || Ok::<_, Box<dyn std::error::Error>>(process::descriptors(server.pid)?.len() as u64 == most);
    while !all_are_taken()? {
        let mut client = Stream::connect(&server.address)?;
        call(&mut client)?;
        seated.push(client);
    }
    let mut late = (0..LATE).map(|_| Stream::connect(&server.address)).collect::<std::io::Result<Vec<_>>>()?;
    // What there is to say at once is said: a log line, the first pauses.
    sleep(Duration::from_millis(200));

    let (before, begun) = (process::cpu_time(server.pid)?, Instant::now());
    while begun.elapsed() < Duration::from_secs(1) {
        seated.iter_mut().try_for_each(call)?;
        sleep(Duration::from_millis(500));
    }
    let spent = process::cpu_time(server.pid)? - before;
    if !all_are_taken()? {
        return Err("there was no shortage".into());
    }
    if spent > Duration::from_millis(100) {
        return Err(format!("it spends {spent:?} of {:?} on a shortage", begun.elapsed()).into());
    }

    set_limit(server, limit)?;
    let begun = Instant::now();
    call(&mut Stream::connect(&server.address)?)?;
    // Node can only turn clients away, and says so.
    if peer.name != "node" {
        late.iter_mut().try_for_each(call)?;
    }
    match begun.elapsed() {
        late if late > Duration::from_secs(1) => Err(format!("a new client was served after {late:?}").into()),
        _ => Ok(()),
    }
}

fn call(client: &mut Stream) -> Result<()> {
    client.send(&["ping"])?;
    match client.receive()? {
        reply if reply == "PING" => Ok(()),
        reply => Err(format!("the reply is {reply:?}").into()),
    }
}

/// Sets the soft limit of descriptors, and answers what it was.
fn set_limit(server: &Serving, most: Option<u64>) -> Result<Option<u64>> {
    let pid = Pid::from_raw(server.pid.try_into()?).ok_or("no process")?;
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
    Ok(prlimit(Some(pid), Resource::Nofile, Rlimit { current: most, maximum: hard })?.current)
}
