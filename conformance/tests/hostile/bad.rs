//! Every case of `vectors/protocol/bad.json`, to every server and to every client.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use panpipe_conformance::{Began, Failure, MeetRequest, Meeting};
use serde::Deserialize;
use serde_json::Value as Data;

use crate::frames::{self, CALL, Frame, GOODBYE, REPLY, Written};
use crate::peer::{PROTOCOL_CLIENTS, PROTOCOL_SERVERS, Peer};
use crate::place::Folder;
use crate::stream::{Listener, Stream};
use crate::victim::{Shared, Victim};
use crate::websocket_bridge::reached_by;
use crate::{Case, PLACES, Result, text};

#[derive(Clone, Deserialize)]
struct Bad {
    name: String,
    side: String,
    #[serde(default = "yes")]
    hello: bool,
    #[serde(default)]
    before: Vec<HashMap<String, Data>>,
    reads: Vec<Data>,
    code: String,
    says: String,
}

fn yes() -> bool {
    true
}

fn vectors(side: &str) -> Vec<Bad> {
    let all: Vec<Bad> =
        serde_json::from_str(include_str!("../../../vectors/protocol/bad.json")).expect("bad.json is right");
    all.into_iter().filter(|bad| bad.side == side).collect()
}

pub(crate) fn cases(folder: &Arc<Folder>) -> Vec<Case> {
    let mut cases = Vec::new();
    for &peer in PROTOCOL_SERVERS {
        for place in PLACES {
            let victim = Shared::<Victim>::default();
            for bad in vectors("server") {
                let name = format!("{place}::server::{}::{}", peer.name, bad.name.replace(' ', "_"));
                let (victim, folder) = (Arc::clone(&victim), Arc::clone(folder));
                cases.push(Case::new(name, move || {
                    let victim = Victim::shared(&victim, peer, place, &folder)?;
                    break_server(&bad, victim)?;
                    victim.still_serves()
                }));
            }
        }
    }
    for &peer in PROTOCOL_CLIENTS {
        for place in if peer.only_knows_websockets() { &["ws"][..] } else { &PLACES } {
            let met = Arc::new(OnceLock::new());
            for (number, bad) in vectors("client").into_iter().enumerate() {
                let name = format!("{place}::client::{}::{}", peer.name, bad.name.replace(' ', "_"));
                let (met, folder) = (Arc::clone(&met), Arc::clone(folder));
                cases.push(Case::new(name, move || {
                    let met = met
                        .get_or_init(|| meet_all(peer, place, &folder).map_err(text))
                        .as_ref()
                        .map_err(String::clone)?;
                    judge(&bad, met[number].as_ref().map_err(String::clone)?)
                }));
            }
        }
    }
    cases
}

/// Sends what breaks a rule, and looks at how the server ends the connection.
fn break_server(bad: &Bad, victim: &Victim) -> Result<()> {
    let mut stream = victim.connect()?;
    if bad.hello {
        stream.write_all(&frames::hello())?;
    }
    let answered = bad.before.iter().any(|step| step.get("do").is_some_and(|does| does.get("reply").is_some()));
    for reads in bad.before.iter().filter_map(|step| step.get("reads")) {
        stream.write_all(&bytes(reads.as_array().ok_or("no frames")?, |frame| real_method(frame, answered))?)?;
    }
    if answered {
        while Frame::read(&mut stream)?.ok_or("it ended before the reply")?.kind != REPLY {}
    }
    // It may have closed before all of it was written.
    let _ = stream.write_all(&bytes(&bad.reads, |frame| real_method(frame, answered))?);
    let (code, message) = goodbye(&mut stream)?;
    if code != bad.code || !message.contains(&bad.says) {
        return Err(format!("{} that says {:?} is wanted, not {code:?}: {message:?}", bad.code, bad.says).into());
    }
    victim.has_told(&message)
}

/// The method that the standard service has for what the vectors call `m`: it never answers and takes no item.
fn real_method(frame: &mut Written, answered: bool) {
    if frame.method.as_deref() != Some("m") {
        return;
    }
    let method = match frame.has("STREAM") {
        _ if answered => "most_running",
        true => "endless",
        false if frame.has("ARGUMENTS") => "swallow",
        false => "hang",
    };
    frame.method = Some(method.to_owned());
    if !frame.payload.is_null() && !frame.has("RAW") {
        frame.flags.push("RAW".to_owned());
    }
}

/// What the vectors write, once `real` has made it fit what is there.
fn bytes(reads: &[Data], real: impl Fn(&mut Written)) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for read in reads {
        let times = read.get("times").and_then(Data::as_u64).unwrap_or(1);
        let step = read.get("step").and_then(Data::as_u64).unwrap_or(2);
        let (hex, frame) = (read.as_str().or_else(|| read.get("hex")?.as_str()), read.get("frame").unwrap_or(read));
        if let Some(hex) = hex {
            all.extend(panpipe_conformance::from_hex(hex).repeat(times as usize));
            continue;
        }
        let mut written: Written = serde_json::from_value(frame.clone())?;
        for _ in 0..times {
            let mut one = written.clone();
            real(&mut one);
            all.extend(one.bytes()?);
            if written.id > 0 {
                written.id += step;
            }
        }
    }
    Ok(all)
}

/// Reads to the end, and answers what the GOODBYE said.
fn goodbye(stream: &mut Stream) -> Result<(String, String)> {
    let mut said = None;
    loop {
        match Frame::read(stream) {
            Ok(Some(frame)) if frame.kind == GOODBYE => said = Some(frame.why()),
            Ok(Some(_)) => {}
            Ok(None) => return Ok(said.ok_or("it ended without a GOODBYE")?),
            Err(error) => return said.ok_or_else(|| format!("it ended without a GOODBYE: {error}").into()),
        }
    }
}

/// How a client met a server: how everything ended that it had begun, and the GOODBYE that it sent.
struct Met {
    ends: Vec<Option<Failure>>,
    goodbye: (String, String),
}

fn meet_all(peer: Peer, place: &str, folder: &Folder) -> Result<Vec<std::result::Result<Met, String>>> {
    let (mut meetings, mut said) = (Vec::new(), Vec::new());
    for bad in vectors("client") {
        let listener = if place == "unix" { Listener::unix(folder.path())? } else { Listener::tcp()? };
        let began = began(&bad);
        let address = reached_by(peer, listener.address("protocol=panpipe")?)?;
        meetings.push(Meeting { address, began: began.clone() });
        let (sender, receiver) = mpsc::channel();
        said.push(receiver);
        thread::spawn(move || {
            let goodbye =
                listener.accept().map_err(Into::into).and_then(|stream| break_client(&bad, began.len(), stream));
            // A client that has gone is judged by what it said.
            let _ = sender.send(goodbye.map_err(text));
        });
    }
    let process = peer.ask("meet", &MeetRequest { meetings })?;
    let met = said.into_iter().map(|said| {
        let ends = process.next_answer()?;
        let goodbye = said.recv_timeout(Duration::from_secs(10)).map_err(|missing| missing.to_string())??;
        Ok(Met { ends, goodbye })
    });
    Ok(met.collect())
}

/// A call that is never answered, and what the vector has begun.
fn began(bad: &Bad) -> Vec<Began> {
    let calls = bad.before.iter().filter_map(|step| step.get("do")?.get("call"));
    let of = |call: &Data| {
        let has = |flag: &str| call["flags"].as_array().is_some_and(|flags| flags.iter().any(|each| each == flag));
        match () {
            () if has("TOPIC") => Began::Subscription,
            () if has("STREAM") => Began::Stream,
            () => Began::Call,
        }
    };
    std::iter::once(Began::Call).chain(calls.map(of)).collect()
}

/// Waits for so many calls, sends what breaks a rule, and answers what the client's GOODBYE said.
fn break_client(bad: &Bad, began: usize, mut stream: Stream) -> Result<(String, String)> {
    let mut ids = Vec::new();
    while ids.len() < began {
        let frame = Frame::read(&mut stream)?.ok_or("it ended before its calls")?;
        if frame.kind == CALL {
            ids.push(frame.id);
        }
    }
    if bad.hello {
        stream.write_all(&frames::hello())?;
    }
    // The first call is not the vector's, and whoever was never called is beyond all of them.
    let real_id = |frame: &mut Written| {
        if frame.id > 0 {
            let place = 1 + (frame.id as usize - 1) / 2;
            frame.id = ids.get(place).copied().unwrap_or(1001);
        }
    };
    let _ = stream.write_all(&bytes(&bad.reads, real_id)?);
    goodbye(&mut stream)
}

fn judge(bad: &Bad, met: &Met) -> Result<()> {
    let Some(Some(end)) = met.ends.first() else { return Err(format!("the call ended well: {:?}", met.ends).into()) };
    let wanted = end.code == bad.code && end.text.contains(&bad.says) && end.ran.as_deref() == Some("maybe");
    if !wanted {
        return Err(format!("{} that says {:?} and maybe is wanted, not {end:?}", bad.code, bad.says).into());
    }
    match met.goodbye.0 == bad.code && met.goodbye.1.contains(&bad.says) {
        true => Ok(()),
        false => Err(format!("its GOODBYE says {:?}", met.goodbye).into()),
    }
}
