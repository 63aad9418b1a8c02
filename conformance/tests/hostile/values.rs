//! Values in every pairing of languages, compared as bytes: each of `vectors/protocol/values.json` goes from the suite
//! to a client, on to a server, back to the client, and back to the suite.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use panpipe_conformance::{Began, Failure, MeetRequest, Meeting, ValuesRequest, from_hex};
use serde::Deserialize;
use serde_json::Value as Data;

use crate::frames::{self, CALL, ERROR, Frame, RAW, REPLY};
use crate::peer::{PROTOCOL_CLIENTS, PROTOCOL_SERVERS, Peer};
use crate::place::Folder;
use crate::stream::{Listener, Stream};
use crate::victim::{Shared, Victim};
use crate::websocket_bridge::reached_by;
use crate::{Case, Result, text};

#[derive(Clone, Deserialize)]
struct Vector {
    name: String,
    hex: String,
    #[serde(default)]
    value: Data,
    #[serde(default)]
    reads: bool,
    #[serde(default)]
    path: String,
}

fn vectors() -> Vec<Vector> {
    let mut file = serde_json::Deserializer::from_str(include_str!("../../../vectors/protocol/values.json"));
    // The deepest values are deeper, as data, than serde_json reads by default.
    file.disable_recursion_limit();
    Vec::deserialize(&mut file).expect("values.json is right")
}

/// Those that must be refused. Nothing at all is nil as a reply, and no argument.
fn mistakes() -> Vec<Vector> {
    vectors().into_iter().filter(|vector| !vector.path.is_empty() && !vector.hex.is_empty()).collect()
}

pub(crate) fn cases(folder: &Arc<Folder>) -> Vec<Case> {
    let mut cases = Vec::new();
    for &server in PROTOCOL_SERVERS {
        let victim = Shared::<Victim>::default();
        let (own, own_folder) = (Arc::clone(&victim), Arc::clone(folder));
        cases.push(Case::new(format!("values::{}_refuses_arguments_that_break_a_rule", server.name), move || {
            refuses(Victim::shared(&own, server, "unix", &own_folder)?)
        }));
        for &client in PROTOCOL_CLIENTS {
            let (victim, folder) = (Arc::clone(&victim), Arc::clone(folder));
            cases.push(Case::new(format!("values::{}_to_{}", server.name, client.name), move || {
                let victim = Victim::shared(&victim, server, "unix", &folder)?;
                come_back(victim, client, [server.name, client.name], &folder)
            }));
        }
    }
    for &client in PROTOCOL_CLIENTS {
        let folder = Arc::clone(folder);
        let name = format!("values::{}_refuses_replies_that_break_a_rule", client.name);
        cases.push(Case::new(name, move || refuses_replies(client, &folder)));
    }
    cases
}

/// Whether the server names the place of each mistake, and its connection lives.
fn refuses(victim: &Victim) -> Result<()> {
    let mut client = victim.client()?;
    let mut wrong = Vec::new();
    for vector in mistakes() {
        // Behind a value is another argument.
        if vector.name == "something after the value" {
            continue;
        }
        let answer = client.call(0, "values", &from_hex(&vector.hex))?;
        let (code, message) = answer.why();
        let place = vector.path.strip_prefix("value").unwrap_or_default();
        if answer.kind != ERROR || code != "invalid-arguments" || !message.contains(place) {
            wrong.push(format!("{} is answered with the kind {} {code} {message}", vector.name, answer.kind));
        }
    }
    match wrong[..] {
        [] => Ok(()),
        _ => Err(wrong.join("\n").into()),
    }
}

/// Whether a client says of each reply what is wrong with it, and its connection lives: another call is answered.
fn refuses_replies(client: Peer, folder: &Folder) -> Result<()> {
    let mut replies: Vec<_> = mistakes().iter().map(|mistake| (mistake.name.clone(), from_hex(&mistake.hex))).collect();
    replies.push(("nesting of a million".to_owned(), [vec![0x91; 1_000_000], vec![0xc0]].concat()));
    let mut meetings = Vec::new();
    for (_, reply) in &replies {
        let listener = Listener::unix(folder.path())?;
        let began = vec![Began::Call, Began::Call];
        let address = reached_by(client, listener.address("protocol=panpipe")?)?;
        meetings.push(Meeting { address, began });
        let reply = reply.clone();
        thread::spawn(move || listener.accept().map(|stream| answer_badly(stream, &reply).map_err(text)));
    }
    let process = client.ask("meet", &MeetRequest { meetings })?;
    let mut wrong = Vec::new();
    for (name, _) in &replies {
        match &process.next_answer::<Vec<Option<Failure>>>()?[..] {
            [Some(bad), None] if bad.code == "bad-peer" && bad.ran.as_deref() == Some("maybe") => {}
            ends => wrong.push(format!("{name}: {ends:?}")),
        }
    }
    match wrong[..] {
        [] => Ok(()),
        _ => Err(wrong.join("\n").into()),
    }
}

/// Answers the first of two calls with `reply` and the second with nil.
fn answer_badly(mut stream: Stream, reply: &[u8]) -> Result<()> {
    stream.write_all(&frames::hello())?;
    let mut ids = Vec::new();
    while let Some(frame) = Frame::read(&mut stream)? {
        if frame.kind == CALL {
            ids.push(frame.id);
        }
        if let [first, second] = ids[..] {
            ids.clear();
            stream.write_all(&frames::frame(REPLY, 0, first, &[reply]))?;
            stream.write_all(&frames::frame(REPLY, 0, second, &[&[0xc0]]))?;
        }
    }
    Ok(())
}

fn come_back(victim: &Victim, client: Peer, languages: [&str; 2], folder: &Folder) -> Result<()> {
    let all = vectors();
    let sent: Vec<_> = all.iter().filter(|vector| vector.path.is_empty()).cloned().collect();
    let listener = Listener::unix(folder.path())?;
    let source = reached_by(client, listener.address("protocol=panpipe")?)?;
    let came = Arc::new(Mutex::new(Vec::new()));
    let (values, into) = (sent.iter().map(|vector| from_hex(&vector.hex)).collect::<Vec<_>>(), Arc::clone(&came));
    thread::spawn(move || listener.accept().map(|stream| be_source(stream, &values, &into).map_err(text)));
    let request =
        ValuesRequest { source, address: reached_by(client, victim.address().to_owned())?, count: sent.len() };
    let process = client.ask("values", &request)?;
    let mut wrong = Vec::new();
    for (number, vector) in sent.iter().enumerate() {
        let failure = process.next_answer::<Option<Failure>>()?;
        let came = came.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = came.iter().find(|(of, _)| *of == number).map(|(_, bytes)| bytes);
        let expected = expected(vector, &all, languages);
        let both_nan = bytes.zip(expected.as_ref()).is_some_and(|(one, other)| is_nan(one) && is_nan(other));
        if bytes != expected.as_ref() && !both_nan {
            wrong.push(format!("{}: {bytes:x?} comes back, and {expected:x?} is wanted; {failure:?}", vector.name));
        }
    }
    match wrong[..] {
        [] => Ok(()),
        _ => Err(wrong.join("\n").into()),
    }
}

/// What comes back of a value in its shortest form; nothing where one of the languages cannot hold it.
fn expected(vector: &Vector, all: &[Vector], languages: [&str; 2]) -> Option<Vec<u8>> {
    let limit = LIMITS
        .iter()
        .find(|(language, name, _)| *name == vector.name && languages.iter().any(|name| name.starts_with(language)));
    if let Some((_, _, hex)) = limit {
        return hex.map(from_hex);
    }
    let shortest = SHORTEST.iter().find(|(name, _)| *name == vector.name).map(|(_, hex)| from_hex(hex));
    let same = || all.iter().find(|other| !other.reads && other.path.is_empty() && other.value == vector.value);
    Some(shortest.unwrap_or_else(|| from_hex(&same().unwrap_or(vector).hex)))
}

/// How what the vectors only read is written, where no other vector has the same value.
const SHORTEST: &[(&str, &str)] = &[
    ("float 32, the smallest", "cb36a0000000000000"),
    ("text in a longer form", "a161"),
    ("text in a longer form, 8", "a161"),
    ("bytes in a longer form", "c401ff"),
    ("array in a longer form", "9102"),
    ("map in a longer form", "81a16101"),
    ("time in a longer form, 64", "d6ff00000001"),
    ("time in a longer form, 96", "d6ff00000001"),
];

/// What languages cannot hold: JavaScript's one kind of number, and milliseconds; Python's `1 == True`, and microseconds.
const LIMITS: &[(&str, &str, Option<&str>)] = &[
    ("node", "float 1", Some("01")),
    ("node", "float -3", Some("fd")),
    ("node", "time: a time with nanoseconds", Some("d7ff1d5353006553f100")),
    ("browser", "float 1", Some("01")),
    ("browser", "float -3", Some("fd")),
    ("browser", "time: a time with nanoseconds", Some("d7ff1d5353006553f100")),
    ("python", "time: a time with nanoseconds", Some("d7ff1d6f28006553f100")),
    ("python", "map with the keys 1, true and \"1\"", None),
];

/// A NaN is a NaN, whatever its other bits.
fn is_nan(bytes: &[u8]) -> bool {
    matches!(bytes, [0xcb, rest @ ..] if rest.try_into().is_ok_and(|bits| f64::from_be_bytes(bits).is_nan()))
}

/// Answers `take` with the value of that number, and keeps what `back` brings.
fn be_source(mut stream: Stream, values: &[Vec<u8>], came: &Mutex<Vec<(usize, Vec<u8>)>>) -> Result<()> {
    stream.write_all(&frames::hello())?;
    let mut last = 0;
    while let Some(frame) = Frame::read(&mut stream)? {
        if frame.kind != CALL {
            continue;
        }
        let (method, payload) = frame.method_and_payload();
        let reply = match method {
            b"take" => {
                last = match *payload {
                    [small @ 0..=127] | [0xcc, small] => usize::from(small),
                    [0xcd, high, low] => usize::from(u16::from_be_bytes([high, low])),
                    _ => return Err("no number".into()),
                };
                values[last].clone()
            }
            _ => {
                let bytes = if frame.flags & RAW == 0 { payload.to_vec() } else { lone_bytes(payload) };
                came.lock().unwrap_or_else(PoisonError::into_inner).push((last, bytes));
                vec![0xc0]
            }
        };
        stream.write_all(&frames::frame(REPLY, 0, frame.id, &[&reply]))?;
    }
    Ok(())
}

/// A bytes value in its shortest form.
fn lone_bytes(content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        0..=255 => vec![0xc4, length as u8],
        256..=65_535 => [&[0xc5][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[0xc6][..], &(length as u32).to_be_bytes()].concat(),
    };
    [head, content.to_vec()].concat()
}
