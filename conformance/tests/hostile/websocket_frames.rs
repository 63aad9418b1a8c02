//! Every case of `frames` in `vectors/websocket.json`: to every server, which answers what it gets; to every connection
//! that is accepted, and to every client, which tell what they receive.

use std::io::Write;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use panpipe_conformance::{Answer, Began, Failure, Job, MeetRequest, Meeting, Outcome, Serving, Step, to_hex};
use serde_json::Value as Data;

use crate::peer::{PANPIPE_LISTENERS, PANPIPE_SERVERS, PROTOCOL_CLIENTS, PROTOCOL_SERVERS, Peer, Process};
use crate::stream::{Listener, Stream};
use crate::victim::Shared;
use crate::web_victim::WebVictim;
use crate::written_websocket::{
    BINARY, CLOSE, Frame, PONG, Sender, TEXT, bytes, encode, goodbye, name_of, open, text, welcome, write_in_pieces,
};
use crate::{Case, Result, frames};

/// What is longer does not come byte by byte, but in pieces of a size that is odd.
const SHORT: usize = 600;
const PIECES: &[usize] = &[AT_ONCE, 1, 7];
const LARGE_PIECES: &[usize] = &[AT_ONCE, 1021];
const AT_ONCE: usize = 1 << 24;

/// How long a peer may take for one case: a net, not a measure.
const LONGEST: Duration = Duration::from_secs(15);

/// Where a case is played, as `against` says it.
const SERVER: &str = "server";
const CLIENT: &str = "client";

fn cases_against(side: &str, speaks_panpipe: bool) -> Vec<Data> {
    let vectors: Data =
        serde_json::from_str(include_str!("../../../vectors/websocket.json")).expect("websocket.json is right");
    let mut cases = vectors["frames"].as_array().cloned().unwrap_or_default();
    cases.retain(|case| {
        case["against"].as_str().is_none_or(|against| against == side)
            && (case["carries"] == "frames") == speaks_panpipe
    });
    assert!(!cases.is_empty(), "there are cases against each side");
    cases
}

/// The options of the end that a case is for.
fn options(case: &Data) -> String {
    let carries = match case["carries"].as_str() {
        None => "protocol=plain",
        Some("text") => "protocol=plain&text=true",
        Some("frames") => "protocol=panpipe",
        Some(other) => panic!("nobody carries {other}"),
    };
    case["max"].as_u64().map_or_else(|| carries.to_owned(), |max| format!("{carries}&max={max}"))
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let plain = PANPIPE_SERVERS.iter().filter(|peer| peer.name != "command_program");
    let servers = plain.map(|peer| (peer, false)).chain(PROTOCOL_SERVERS.iter().map(|peer| (peer, true)));
    for (&peer, speaks_panpipe) in servers {
        let victim = Shared::<WebVictim>::default();
        for case in cases_against(SERVER, speaks_panpipe) {
            let name = format!("ws::server::{}::frames::{}", peer.name, name_of(&case));
            let victim = Arc::clone(&victim);
            cases.push(Case::new(name, move || {
                let options = all_options(SERVER, speaks_panpipe);
                let addresses = options.iter().map(|options| format!("ws://localhost:0?{options}")).collect();
                let start = || WebVictim::start(peer, addresses).map_err(crate::text);
                let victim = victim.get_or_init(start).as_ref().map_err(String::clone)?;
                let place = all_options(SERVER, speaks_panpipe).iter().position(|each| *each == self::options(&case));
                let address = victim.address(place.ok_or("nobody listens with these options")?);
                for &size in pieces(&case, Sender::Client) {
                    let played = play(&case, open(address, speaks_panpipe)?, size, Side::Server);
                    played.map_err(|reason| format!("in pieces of {size}: {reason}"))?;
                    victim.still_serves()?;
                }
                Ok(())
            }));
        }
    }
    for (role, side, sender) in [("accepted", SERVER, Sender::Client), ("client", CLIENT, Sender::Server)] {
        for &peer in PANPIPE_LISTENERS {
            let played = Arc::new(OnceLock::new());
            for (number, case) in cases_against(side, false).iter().enumerate() {
                let name = format!("ws::{role}::{}::frames::{}", peer.name, name_of(case));
                let played = Arc::clone(&played);
                cases.push(Case::new(name, move || {
                    let all: &Vec<std::result::Result<(), String>> =
                        played.get_or_init(|| play_all(peer, &cases_against(side, false), sender));
                    Ok(all[number].clone()?)
                }));
            }
        }
    }
    for &peer in PROTOCOL_CLIENTS {
        for case in cases_against(CLIENT, true) {
            let name = format!("ws::client::{}::frames::{}", peer.name, name_of(&case));
            cases.push(Case::new(name, move || meet(peer, &case)));
        }
    }
    cases
}

/// The options of every case, each once; the first are the usual ones.
fn all_options(side: &str, speaks_panpipe: bool) -> Vec<String> {
    let mut all = vec![if speaks_panpipe { "protocol=panpipe" } else { "protocol=plain" }.to_owned()];
    for options in cases_against(side, speaks_panpipe).iter().map(options) {
        if !all.contains(&options) {
            all.push(options);
        }
    }
    all
}

fn wire(case: &Data, sender: Sender) -> Vec<u8> {
    case["sends"].as_array().into_iter().flatten().flat_map(|part| encode(part, sender)).collect()
}

fn pieces(case: &Data, sender: Sender) -> &'static [usize] {
    if wire(case, sender).len() <= SHORT { PIECES } else { LARGE_PIECES }
}

/// Which end is judged, and so what comes back.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    /// A server, which answers each message in upper case.
    Server,
    /// One that only receives, and sends as this one.
    Receiver(Sender),
}

/// The messages that a case delivers.
fn messages(case: &Data) -> Vec<Vec<u8>> {
    let message = |value: &Data| value.get("hex").map_or_else(|| text(value).into_bytes(), bytes);
    case["messages"].as_array().into_iter().flatten().map(message).collect()
}

/// Whether nothing that a case sends ends the connection.
fn passes(case: &Data) -> bool {
    let closes = |part: &Data| part["op"] == "close";
    case["close"] == 1000 && case["code"].is_null() && !case["sends"].as_array().into_iter().flatten().any(closes)
}

/// Sends what the case says, and judges what comes back.
fn play(case: &Data, mut stream: Stream, size: usize, side: Side) -> Result<()> {
    let (ours, theirs) = match side {
        Side::Server | Side::Receiver(Sender::Server) => (Sender::Client, Sender::Server),
        Side::Receiver(Sender::Client) => (Sender::Server, Sender::Client),
    };
    let replies: Vec<_> = match side {
        Side::Server if case["carries"] == "text" => {
            messages(case).into_iter().map(|text| String::from_utf8_lossy(&text).to_uppercase().into_bytes()).collect()
        }
        Side::Server => messages(case).iter().map(|message| message.to_ascii_uppercase()).collect(),
        Side::Receiver(_) => Vec::new(),
    };
    let reply_opcode = if case["carries"] == "text" { TEXT } else { BINARY };
    let pong = case.get("pong").map(bytes);
    write_in_pieces(&mut stream, &wire(case, ours), size);

    let (mut got, mut last_pong, mut close) = (Vec::new(), None, None);
    let mut has_said_goodbye = false;
    if case["cut"] == true {
        let _ = stream.end_output();
    }
    loop {
        let is_done = got.len() == replies.len() && (pong.is_none() || last_pong == pong);
        if passes(case) && is_done && !has_said_goodbye {
            stream.write_all(&goodbye(ours))?;
            has_said_goodbye = true;
        }
        let frame = match Frame::read(&mut stream, theirs) {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            // What it has not read when it closes destroys what is on its way.
            Err(_) if close.is_some() || case["cut"] == true => break,
            Err(reason) => return Err(reason),
        };
        match (frame.opcode, close) {
            (_, Some(_)) => return Err(format!("{frame:?} came behind a Close").into()),
            (CLOSE, None) => close = Some(frame.close_code()),
            (PONG, None) => last_pong = Some(frame.payload),
            (opcode, None) if case["carries"] != "frames" => {
                if opcode != reply_opcode || replies.get(got.len()) != Some(&frame.payload) {
                    return Err(format!("the reply {} is {frame:.200?}", got.len()).into());
                }
                got.push(frame.payload);
            }
            // Its HELLO.
            _ => {}
        }
    }
    let wanted = case.get("close").map(|code| code.as_u64().map(|code| code as u16));
    if close != wanted {
        return Err(format!("the Close is {close:?}, where {wanted:?} is wanted").into());
    }
    // Where none is named, one may have come.
    if pong.is_some() && last_pong != pong {
        return Err(format!("the last pong is {last_pong:?}, where {pong:?} is wanted").into());
    }
    if passes(case) && got.len() != replies.len() {
        return Err(format!("{} replies came, where {} are wanted", got.len(), replies.len()).into());
    }
    Ok(())
}

/// Plays each case in pieces of each size to a connection of one process after another; what breaks one is replaced.
fn play_all(peer: Peer, cases: &[Data], sender: Sender) -> Vec<std::result::Result<(), String>> {
    let all: Vec<_> =
        cases.iter().flat_map(|case| pieces(case, sender).iter().map(move |size| (case, *size))).collect();
    let mut results = Vec::new();
    while results.len() < all.len() {
        let rest = &all[results.len()..];
        if let Err(reason) = play_on(peer, rest, sender, &mut results) {
            results.push(Err(reason.to_string()));
        }
    }
    let mut results = results.into_iter();
    let one = |case: &Data| {
        // All of them, so that the next begins with its own.
        let of_case: Vec<_> = pieces(case, sender).iter().zip(results.by_ref()).collect();
        of_case
            .into_iter()
            .try_for_each(|(size, result)| result.map_err(|reason| format!("in pieces of {size}: {reason}")))
    };
    cases.iter().map(one).collect()
}

fn play_on(
    peer: Peer,
    rest: &[(&Data, usize)],
    sender: Sender,
    results: &mut Vec<std::result::Result<(), String>>,
) -> Result<()> {
    let listens = sender == Sender::Client;
    let listeners: Vec<_> = match listens {
        true => Vec::new(),
        false => rest.iter().map(|_| Listener::tcp()).collect::<std::io::Result<_>>()?,
    };
    let job = |(number, (case, _)): (usize, &(&Data, usize))| -> Result<Job> {
        let place = match listeners.get(number) {
            Some(listener) => listener.place()?,
            None => "localhost:0".to_owned(),
        };
        // One more than there are, for the end.
        let steps = vec![Step::Recv; messages(case).len() + 1];
        Ok(Job {
            address: format!("ws://{place}?timeout=5s&{}", options(case)),
            listen: listens,
            steps,
            ..Job::default()
        })
    };
    let jobs = rest.iter().enumerate().map(job).collect::<Result<_>>()?;
    let process = peer.converse(Vec::new(), jobs)?;
    for (number, (case, size)) in rest.iter().enumerate() {
        let played = match listeners.get(number) {
            Some(listener) => listener.accept().map_err(Into::into).and_then(|mut stream| {
                welcome(&mut stream)?;
                Ok(stream)
            }),
            None => connect(&process),
        };
        // It must tell what it has received whatever came back.
        let back = play(case, played?, *size, Side::Receiver(if listens { Sender::Server } else { Sender::Client }));
        let outcome = process.next_answer_within(LONGEST)?;
        results.push(back.and_then(|()| judge(case, &outcome)).map_err(crate::text));
    }
    Ok(())
}

fn connect(process: &Process) -> Result<Stream> {
    let [Serving { address, .. }] = process.next_answer_within(LONGEST)?;
    open(&address, false)
}

/// Whether a connection was told what the case says.
fn judge(case: &Data, outcome: &Outcome) -> Result<()> {
    let Outcome::Opened { answers } = outcome else {
        return Err(format!("there was no connection: {outcome:?}").into());
    };
    let wanted = messages(case).iter().map(|message| Answer::Other(to_hex(message))).collect::<Vec<_>>();
    let Some((end, received)) = answers.split_last() else { return Err("it tells nothing".into()) };
    if received != wanted {
        return Err(format!("it has received {received:.300?}, where {wanted:.300?} is wanted").into());
    }
    let is_right = match (end, case["code"].as_str()) {
        (Answer::Closed, None) => true,
        (Answer::Failure(failure), Some(code)) => failure.code == code && says_why(case, failure),
        _ => false,
    };
    match is_right {
        true => Ok(()),
        false => Err(format!("it has ended with {end:?}, where {} is wanted", case["code"]).into()),
    }
}

/// Whether an error names the code and the reason of the Close that ended the connection.
fn says_why(case: &Data, failure: &Failure) -> bool {
    let close = case["sends"].as_array().into_iter().flatten().find(|part| part["op"] == "close");
    match close.filter(|_| failure.code == "connection-lost" && case["cut"] != true) {
        Some(close) => [&close["code"], &close["reason"]]
            .into_iter()
            .all(|part| part.is_null() || failure.text.contains(part.to_string().trim_matches('"'))),
        None => true,
    }
}

/// Has a client of the panpipe protocol call a server that breaks a rule.
fn meet(peer: Peer, case: &Data) -> Result<()> {
    for &size in pieces(case, Sender::Server) {
        let listener = Listener::tcp()?;
        let address = format!("ws://{}?protocol=panpipe", listener.place()?);
        let (sender, receiver) = mpsc::channel();
        let of_thread = case.clone();
        thread::spawn(move || {
            let played = listener.accept().map_err(Into::into).and_then(|mut stream| {
                welcome(&mut stream)?;
                // Its HELLO and its call are on their way.
                Frame::read(&mut stream, Sender::Client)?.ok_or("it ended without a HELLO")?;
                stream.write_all(&crate::written_websocket::message(BINARY, &frames::hello(), Sender::Server))?;
                play(&of_thread, stream, size, Side::Receiver(Sender::Client))
            });
            let _ = sender.send(played.map_err(crate::text));
        });
        let process =
            peer.ask("meet", &MeetRequest { meetings: vec![Meeting { address, began: vec![Began::Call] }] })?;
        let ends: Vec<Option<Failure>> = process.next_answer_within(LONGEST)?;
        receiver.recv_timeout(LONGEST)??;
        match &ends[..] {
            [Some(failure)] if Some(&*failure.code) == case["code"].as_str() => {}
            _ => return Err(format!("in pieces of {size} the call has ended with {ends:?}").into()),
        }
    }
    Ok(())
}
