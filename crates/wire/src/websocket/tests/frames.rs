//! The section `frames` of the vectors.

use serde_json::Value;

use super::super::frame::{LAST, MASKED};
use super::super::*;
use super::vectors::{CHUNKS, bytes, cases, describe, read, text};
use crate::error::ErrorKind;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The bytes that this part of a case's `sends` is, which `sender` sends.
fn encode(part: &Value, sender: Role) -> Vec<u8> {
    if let Some(times) = part["times"].as_u64() {
        let parts = part["frames"].as_array().cloned().unwrap_or_else(|| vec![part["frame"].clone()]);
        return parts.iter().flat_map(|part| encode(part, sender)).collect::<Vec<_>>().repeat(times as usize);
    }
    if let Some(raw) = part.get("raw") {
        return bytes(raw);
    }
    let opcode = match part["op"].as_str() {
        Some("continuation") => 0,
        Some("text") => 1,
        Some("binary") => 2,
        Some("close") => 8,
        Some("ping") => 9,
        Some("pong") => 10,
        Some(other) => panic!("the op {other}"),
        None => part["op"].as_u64().unwrap() as u8,
    };
    let mut payload = match (part.get("hex"), part.get("text"), part["code"].as_u64()) {
        (Some(hex), ..) => bytes(hex),
        (_, Some(value), _) => text(value).into_bytes(),
        (.., Some(code)) => (code as u16).to_be_bytes().to_vec(),
        _ => Vec::new(),
    };
    if let Some(reason) = part.get("reason") {
        payload.extend(text(reason).into_bytes());
    }
    let announced = match &part["announces"] {
        Value::Null => payload.len() as u64,
        Value::String(digits) => digits.parse().unwrap(),
        number => number.as_u64().unwrap(),
    };
    let first = if part["fin"] == false { 0 } else { LAST };
    let mut frame = vec![first | (part["rsv"].as_u64().unwrap_or(0) as u8) << 4 | opcode];
    let shortest = match announced {
        0..=125 => 0,
        126..=0xffff => 16,
        _ => 64,
    };
    match part["form"].as_u64().unwrap_or(shortest) {
        0 => frame.push(announced as u8),
        16 => frame.extend([&[126][..], &(announced as u16).to_be_bytes()].concat()),
        _ => frame.extend([&[127][..], &announced.to_be_bytes()].concat()),
    }
    let mask = part.get("mask").map(|mask| <[u8; 4]>::try_from(bytes(mask)).unwrap());
    if mask.is_some() || part["masked"].as_bool().unwrap_or(sender == Role::Client) {
        let mask = mask.unwrap_or(MASK);
        frame[1] |= MASKED;
        frame.extend(mask);
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
    }
    [frame, payload].concat()
}

/// What came of a case.
#[derive(Debug, PartialEq)]
struct Outcome {
    messages: Vec<Vec<u8>>,
    pong: Option<Vec<u8>>,
    /// The code of the Close that was sent, if one was, and if that has one.
    close: Option<Option<u16>>,
    code: Option<&'static str>,
}

/// The frames that an end has sent, each with its opcode and its payload; read by the other end's rules.
fn sent(mut output: &[u8], sender: Role) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = output {
        assert_eq!(first & 0xf0, LAST, "whole frames without reserved bits");
        assert_eq!(second & MASKED != 0, sender == Role::Client);
        let length = usize::from(second & !MASKED);
        assert!(length <= 125, "control frames are short");
        let (mask, rest) = rest.split_at(if sender == Role::Client { 4 } else { 0 });
        let (payload, rest) = rest.split_at(length);
        let mut payload = payload.to_vec();
        if let Ok(mask) = mask.try_into() {
            mask::apply(mask, &mut payload);
        }
        frames.push((first & 0xf, payload));
        output = rest;
    }
    frames
}

fn play(case: &Value, role: Role, chunk: usize) -> Outcome {
    let sender = if role == Role::Server { Role::Client } else { Role::Server };
    let carries = match case["carries"].as_str() {
        Some("text") => Carries::Text,
        Some("frames") => Carries::Stream,
        _ => Carries::Binary,
    };
    let most = case["max"].as_u64().unwrap_or(16 << 20) as usize;
    let mut websocket = WebSocket::new(role, most, carries);
    let (mut inbox, mut output) = (BytesMut::new(), Vec::new());
    let wire: Vec<u8> = case["sends"].as_array().unwrap().iter().flat_map(|part| encode(part, sender)).collect();
    let passes = case["close"] == 1000 && case["code"].is_null();
    let goodbye = if passes { encode(&serde_json::json!({"op": "close", "code": 1000}), sender) } else { Vec::new() };

    let mut failure = None;
    for part in wire.chunks(chunk.min(wire.len()).max(1)).chain([&goodbye[..]]) {
        let received = websocket.receive(&mut part.to_vec(), &mut inbox);
        if let Err(violation) = received {
            websocket.control(MASK, &mut output);
            websocket.close(violation.close, &violation.reason, MASK, &mut output);
            failure = Some(violation.kind);
            break;
        }
        if websocket.has_control() {
            websocket.control(MASK, &mut output);
        }
    }
    let code = match (failure, websocket.closed()) {
        (Some(kind), _) => Some(kind),
        (None, Some(closed)) => closed.failure().map(|(kind, _)| kind),
        (None, None) => Some(ErrorKind::ConnectionLost),
    };

    let mut messages = Vec::new();
    while !inbox.is_empty() {
        let length = u32::from_be_bytes(*inbox.first_chunk().unwrap()) as usize;
        messages.push(inbox.split_to(4 + length)[4..].to_vec());
    }
    let frames = sent(&output, role);
    let (closes, pongs): (Vec<_>, Vec<_>) = frames.iter().partition(|(opcode, _)| *opcode == 8);
    assert!(closes.len() <= 1 && frames.last().is_none_or(|last| closes.is_empty() || last.0 == 8));
    assert!(pongs.iter().all(|(opcode, _)| *opcode == 10));
    let close = closes.first().map(|(_, payload)| payload.first_chunk().copied().map(u16::from_be_bytes));
    let pong = pongs.last().map(|(_, payload)| payload.clone());
    Outcome { messages, pong, close, code: code.map(ErrorKind::code) }
}

fn expected(case: &Value) -> Outcome {
    let message = |value: &Value| value.get("hex").map_or_else(|| text(value).into_bytes(), bytes);
    Outcome {
        messages: case["messages"].as_array().into_iter().flatten().map(message).collect(),
        pong: case.get("pong").map(bytes),
        close: case.get("close").map(|close| close.as_u64().map(|code| code as u16)),
        code: case["code"].as_str().map(|code| ErrorKind::named(code).unwrap().code()),
    }
}

#[test]
fn the_frames_of_the_vectors_come_out_as_they_say() {
    let vectors = read();
    for case in cases(&vectors, "frames", 200) {
        let mut outcome = expected(case);
        for role in [Role::Server, Role::Client] {
            let other = if role == Role::Server { "client" } else { "server" };
            if case["against"] == other {
                continue;
            }
            for chunk in CHUNKS {
                let played = play(case, role, chunk);
                if case.get("pong").is_none() {
                    // Whether an early ping has its pong before the connection ends depends on the cut.
                    outcome.pong.clone_from(&played.pong);
                }
                assert_eq!(played, outcome, "{role:?}, in pieces of {chunk}: {}", describe(case));
            }
        }
    }
}

#[test]
fn a_length_that_is_announced_takes_no_memory() {
    let announced = 1 << 30;
    let mut websocket = WebSocket::new(Role::Server, announced, Carries::Binary);
    let mut inbox = BytesMut::new();
    for frame in [
        serde_json::json!({"op": "binary", "text": "a whole one"}),
        serde_json::json!({"op": "binary", "announces": announced}),
    ] {
        websocket.receive(&mut encode(&frame, Role::Client), &mut inbox).unwrap();
    }
    let ten_bytes = &mut [1; 10];
    websocket.receive(ten_bytes, &mut inbox).unwrap();
    assert_eq!(websocket.gathered.len(), 4 + 10);
    assert!(websocket.gathered.capacity() + inbox.capacity() < 1000, "{}", websocket.gathered.capacity());
}

#[test]
fn a_long_message_is_given_to_an_inbox_that_is_empty() {
    let body = vec![7; 100_000];
    let mut wire = Vec::new();
    WebSocket::new(Role::Server, 1 << 20, Carries::Binary).send(&body, MASK, &mut wire);
    for before in [&b""[..], b"\0\0\0\x01a"] {
        let mut websocket = WebSocket::new(Role::Client, 1 << 20, Carries::Binary);
        let mut inbox = BytesMut::from(before);
        for part in wire.clone().chunks_mut(30_000) {
            websocket.receive(part, &mut inbox).unwrap();
        }
        assert_eq!(inbox, [before, &100_000_u32.to_be_bytes(), &body].concat()[..]);
        assert_eq!(websocket.gathered.capacity(), 0, "nothing is kept");
    }
}

#[test]
fn only_one_close_is_sent_and_nothing_after_it() {
    let reason = "ä".repeat(100);
    for role in [Role::Server, Role::Client] {
        let mut websocket = WebSocket::new(role, 100, Carries::Text);
        let mut output = Vec::new();
        websocket.close(1001, &reason, MASK, &mut output);
        assert!(websocket.has_sent_close());
        let payload = [&[3, 233][..], &reason.as_bytes()[..122]].concat();
        assert_eq!(sent(&output, role), [(8, payload)]);
        let length = output.len();
        websocket.send(b"a", MASK, &mut output);
        websocket.close(1000, "", MASK, &mut output);
        let sender = if role == Role::Server { Role::Client } else { Role::Server };
        for part in [serde_json::json!({"op": "ping"}), serde_json::json!({"op": "close"})] {
            websocket.receive(&mut encode(&part, sender), &mut BytesMut::new()).unwrap();
            assert!(!websocket.has_control());
            websocket.control(MASK, &mut output);
        }
        assert_eq!(output.len(), length);
    }
}

#[test]
fn a_close_is_answered_and_a_ping_before_it_is_not() {
    let mut websocket = WebSocket::new(Role::Server, 100, Carries::Binary);
    for part in [serde_json::json!({"op": "ping"}), serde_json::json!({"op": "close", "code": 1001})] {
        websocket.receive(&mut encode(&part, Role::Client), &mut BytesMut::new()).unwrap();
    }
    let mut output = Vec::new();
    websocket.control(MASK, &mut output);
    assert_eq!(sent(&output, Role::Server), [(8, vec![3, 233])]);
    assert!(!websocket.has_control() && websocket.has_sent_close());
}

#[test]
fn a_server_can_write_the_head_of_a_message_alone() {
    for (length, head) in [
        (0, &[0x82, 0][..]),
        (125, &[0x82, 125]),
        (126, &[0x82, 126, 0, 126]),
        (65_535, &[0x82, 126, 255, 255]),
        (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let mut websocket = WebSocket::new(Role::Server, 1 << 20, Carries::Stream);
        assert_eq!(websocket.head(length).as_slice(), head);
        let mut output = Vec::new();
        websocket.send(&vec![0; length], MASK, &mut output);
        assert_eq!((&output[..head.len()], output.len()), (head, head.len() + length));
    }
    let text = WebSocket::new(Role::Server, 1 << 20, Carries::Text);
    assert_eq!(text.head(1).as_slice(), [0x81, 1]);
}
