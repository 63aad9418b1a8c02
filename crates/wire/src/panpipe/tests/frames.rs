//! Frames as data and as bytes: vectors/protocol/README.md.

use serde_json::{Value, json};

use super::super::frame::{Flags, HEAD, Head, Kind};

const KINDS: [Kind; 13] = [
    Kind::Hello,
    Kind::Call,
    Kind::Send,
    Kind::Reply,
    Kind::Error,
    Kind::Item,
    Kind::End,
    Kind::Credit,
    Kind::Cancel,
    Kind::Ping,
    Kind::Pong,
    Kind::Goodbye,
    Kind::Open,
];

/// Bytes that a large payload repeats.
pub(super) const UNIT: usize = 5;

const FLAGS: [(&str, u8); 7] = [
    ("MORE", Flags::MORE),
    ("RAW", Flags::RAW),
    ("NAMED", Flags::NAMED),
    ("STREAM", Flags::STREAM),
    ("ARGUMENTS", Flags::ARGUMENTS),
    ("TOPIC", Flags::TOPIC),
    ("LAGGED", Flags::LAGGED),
];

pub(super) fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Bytes written as hex, or as `{"repeat": [hex, count]}`; nothing when left out.
pub(super) fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => from_hex(text),
        other => from_hex(other["repeat"][0].as_str().unwrap()).repeat(other["repeat"][1].as_u64().unwrap() as usize),
    }
}

pub(super) fn flags(value: &Value) -> Flags {
    let names = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let bit = |name: &Value| FLAGS.iter().find(|(known, _)| Some(*known) == name.as_str()).unwrap().1;
    Flags(names.iter().map(bit).fold(0, |all, bit| all | bit))
}

/// A frame that is written as data.
pub(super) fn encode(frame: &Value) -> Vec<u8> {
    let name = frame["kind"].as_str().unwrap();
    let kind = *KINDS.iter().find(|kind| kind.to_string() == name).unwrap();
    let mut body = Vec::new();
    if let Some(total) = frame["total"].as_u64() {
        body.extend_from_slice(&(total as u32).to_be_bytes());
    }
    let is_later_piece = frame["piece"] == true;
    let method = frame["method"].as_str().unwrap_or_default();
    match kind {
        Kind::Hello => {
            body.extend_from_slice(b"panpipe");
            body.push(frame["version"].as_u64().unwrap() as u8);
            body.extend_from_slice(&bytes(&frame["settings"]));
        }
        Kind::Call if !is_later_piece => {
            body.extend_from_slice(&(frame["timeout"].as_u64().unwrap() as u32).to_be_bytes());
        }
        Kind::Credit => body.extend_from_slice(&(frame["credit"].as_u64().unwrap() as u32).to_be_bytes()),
        _ => {}
    }
    body.extend_from_slice(method.as_bytes());
    body.extend_from_slice(&bytes(&frame["payload"]));
    let head = Head {
        length: body.len() as u32,
        kind: kind as u8,
        flags: flags(&frame["flags"]),
        name: method.len() as u16,
        id: frame["id"].as_u64().unwrap_or(0),
    };
    [&head.write()[..], &body].concat()
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes as a script has them: large ones repeat their first [`UNIT`] bytes.
fn spelt(bytes: &[u8]) -> Value {
    let unit = &bytes[..UNIT.min(bytes.len())];
    let repeats = bytes.len() > 20 * UNIT && bytes.chunks(UNIT).all(|chunk| chunk == unit);
    if repeats { json!({"repeat": [to_hex(unit), bytes.len() / UNIT]}) } else { json!(to_hex(bytes)) }
}

/// `value` with what is not empty of flags and payload.
pub(super) fn with_payload(mut value: Value, flags: Flags, payload: &[u8]) -> Value {
    if flags != Flags::NONE {
        let names = FLAGS.iter().filter(|(_, bit)| flags.0 & bit != 0).map(|(name, _)| *name);
        value["flags"] = names.collect();
    }
    if !payload.is_empty() {
        value["payload"] = spelt(payload);
    }
    value
}

/// The frames of these bytes, each as `spell` has it.
pub(super) fn split(mut bytes: &[u8], spell: fn(Head, &[u8]) -> Value) -> Vec<Value> {
    let mut frames = Vec::new();
    while let Some(head) = Head::read(bytes) {
        let (frame, rest) = bytes.split_at(HEAD + head.length as usize);
        frames.push(spell(head, frame));
        bytes = rest;
    }
    frames
}

/// A frame that arrives: as it is, unless it is large.
pub(super) fn arriving(head: Head, frame: &[u8]) -> Value {
    if frame.len() < 1000 { json!(to_hex(frame)) } else { written(head, frame) }
}

/// A frame that was written, as data.
pub(super) fn written(head: Head, frame: &[u8]) -> Value {
    let kind = Kind::of(head.kind).unwrap();
    let mut body = &frame[HEAD..];
    let mut value = json!({"kind": kind.to_string()});
    if head.id != 0 {
        value["id"] = json!(head.id);
    }
    match kind {
        Kind::Hello => body = &[],
        Kind::Error => {
            let failure = panpipe_values::Failure::decode(body).unwrap();
            value["error"] = json!({"code": failure.code});
            if failure.did_not_run {
                value["error"]["ran"] = json!("no");
            }
            body = &[];
        }
        Kind::Call => {
            let (timeout, rest) = body.split_first_chunk().unwrap();
            value["timeout"] = json!(u32::from_be_bytes(*timeout));
            body = rest;
        }
        Kind::Credit => {
            value["credit"] = json!(u32::from_be_bytes(body.try_into().unwrap()));
            body = &[];
        }
        _ => {}
    }
    let (name, payload) = body.split_at(head.name.into());
    if !name.is_empty() {
        value["method"] = json!(std::str::from_utf8(name).unwrap());
    }
    with_payload(value, head.flags, payload)
}

#[test]
fn frames_are_those_of_the_vectors() {
    let text = include_str!("../../../../../vectors/protocol/frames.json");
    let rows: Vec<Value> = serde_json::from_str(text).unwrap();
    assert!(rows.len() >= 20);
    for row in rows {
        let wanted = bytes(&row["hex"]);
        assert_eq!(encode(&row["frame"]), wanted, "{}", row["name"]);
        let head = Head::read(&wanted).unwrap();
        assert_eq!(head.write(), wanted[..HEAD], "{}", row["name"]);
        assert!(Kind::of(head.kind).is_some(), "{}", row["name"]);
    }
}
