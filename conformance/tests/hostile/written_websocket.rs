//! The WebSocket by hand, from RFC 6455 and `vectors/websocket.md` alone: nothing here may share a mistake with panpipe.

use std::io::{Read, Write};

use base64::Engine;
use serde_json::Value as Data;

use crate::Result;
use crate::stream::Stream;

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PONG: u8 = 10;

/// What a client's frames are masked with unless a case says otherwise.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The longest head that anybody reads here.
const LONGEST_HEAD: usize = 64 << 10;

/// Who sends a frame, and so whether it is masked.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Sender {
    Client,
    Server,
}

/// What the vectors call a text.
pub(crate) fn text(value: &Data) -> String {
    match (value.as_str(), &value["repeat"], value["join"].as_array()) {
        (Some(text), ..) => text.to_owned(),
        (None, _, Some(parts)) => parts.iter().map(text).collect(),
        (None, repeated, None) => {
            repeated[0].as_str().unwrap_or_default().repeat(repeated[1].as_u64().unwrap_or_default() as usize)
        }
    }
}

/// What they call bytes.
pub(crate) fn bytes(value: &Data) -> Vec<u8> {
    panpipe_conformance::from_hex(&text(value))
}

/// The bytes that a part of a case's `sends` is.
pub(crate) fn encode(part: &Data, sender: Sender) -> Vec<u8> {
    if let Some(times) = part["times"].as_u64() {
        let frames = part["frames"].as_array().cloned().unwrap_or_else(|| vec![part["frame"].clone()]);
        return frames.iter().flat_map(|frame| encode(frame, sender)).collect::<Vec<_>>().repeat(times as usize);
    }
    if let Some(raw) = part.get("raw") {
        return bytes(raw);
    }
    let opcode = match part["op"].as_str() {
        Some("continuation") => 0,
        Some("text") => TEXT,
        Some("binary") => BINARY,
        Some("close") => CLOSE,
        Some("ping") => 9,
        Some("pong") => PONG,
        Some(op) => panic!("no frame is called {op}"),
        None => part["op"].as_u64().unwrap_or_default() as u8,
    };
    let mut payload = match (part.get("hex"), part.get("text"), part["code"].as_u64()) {
        (Some(hex), ..) => bytes(hex),
        (_, Some(value), _) => text(value).into_bytes(),
        (.., Some(code)) => (code as u16).to_be_bytes().to_vec(),
        _ => Vec::new(),
    };
    payload.extend(part.get("reason").map(text).unwrap_or_default().into_bytes());
    let announced = match &part["announces"] {
        Data::Null => payload.len() as u64,
        Data::String(digits) => digits.parse().expect("it announces a number"),
        number => number.as_u64().expect("it announces a number"),
    };
    let first = u8::from(part["fin"] != false) << 7 | (part["rsv"].as_u64().unwrap_or_default() as u8) << 4 | opcode;
    let shortest = match announced {
        0..=125 => 0,
        126..=0xffff => 16,
        _ => 64,
    };
    let mut frame = match part["form"].as_u64().unwrap_or(shortest) {
        0 => vec![first, announced as u8],
        16 => [&[first, 126][..], &(announced as u16).to_be_bytes()].concat(),
        _ => [&[first, 127][..], &announced.to_be_bytes()].concat(),
    };
    let mask = part.get("mask").map(|mask| <[u8; 4]>::try_from(bytes(mask)).expect("a mask has four bytes"));
    if mask.is_some() || part["masked"].as_bool().unwrap_or(sender == Sender::Client) {
        let mask = mask.unwrap_or(MASK);
        frame[1] |= 0x80;
        frame.extend(mask);
        apply(mask, &mut payload);
    }
    [frame, payload].concat()
}

fn apply(mask: [u8; 4], payload: &mut [u8]) {
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// A whole message.
pub(crate) fn message(opcode: u8, payload: &[u8], sender: Sender) -> Vec<u8> {
    let hex = panpipe_conformance::to_hex(payload);
    encode(&serde_json::json!({"op": opcode, "hex": hex}), sender)
}

/// A Close with 1000.
pub(crate) fn goodbye(sender: Sender) -> Vec<u8> {
    encode(&serde_json::json!({"op": "close", "code": 1000}), sender)
}

/// A frame that came: panpipe sends whole messages.
#[derive(Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The next one, which must keep the rules of its `sender`; `None` at the end.
    pub(crate) fn read(stream: &mut Stream, sender: Sender) -> Result<Option<Self>> {
        let mut head = [0; 2];
        if stream.read(&mut head[..1])? == 0 {
            return Ok(None);
        }
        stream.read_exact(&mut head[1..])?;
        if head[0] & 0xf0 != 0x80 || (head[1] & 0x80 != 0) != (sender == Sender::Client) {
            return Err(format!("a frame begins with {head:02x?}").into());
        }
        let mut extended = [0; 8];
        let length = match head[1] & 0x7f {
            126 => {
                stream.read_exact(&mut extended[6..])?;
                u64::from_be_bytes(extended)
            }
            127 => {
                stream.read_exact(&mut extended)?;
                u64::from_be_bytes(extended)
            }
            short => short.into(),
        };
        let mut mask = [0; 4];
        if sender == Sender::Client {
            stream.read_exact(&mut mask)?;
        }
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload)?;
        apply(mask, &mut payload);
        Ok(Some(Frame { opcode: head[0] & 0xf, payload }))
    }

    /// The code of a Close, if it has one.
    pub(crate) fn close_code(&self) -> Option<u16> {
        self.payload.first_chunk().copied().map(u16::from_be_bytes)
    }
}

/// The head of a request or a response, up to its empty line; what follows stays unread.
pub(crate) fn read_head(stream: &mut Stream) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Err(format!("it ended inside a head: {:?}", String::from_utf8_lossy(&head)).into());
        }
        head.push(byte[0]);
        if head.len() > LONGEST_HEAD {
            return Err("a head has no end".into());
        }
    }
    Ok(String::from_utf8(head)?)
}

/// The value of a field of a head, whose name is written so.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// What answers a key (RFC 6455, section 4.2.2).
pub(crate) fn accept(key: &str) -> String {
    let digest = sha1_smol::Sha1::from([key, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat()).digest();
    base64::engine::general_purpose::STANDARD.encode(digest.bytes())
}

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The place that an address says, and the path as it stands in a request.
pub(crate) fn place_and_path(address: &str) -> (String, String) {
    let (_, rest) = address.split_once("://").unwrap_or_default();
    let rest = rest.split('?').next().unwrap_or_default();
    let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/".to_owned() } else { path.replace(' ', "%20").replace("%3F", "?") };
    (place.to_owned(), path)
}

/// A connection that was upgraded, with the subprotocol `panpipe` or without.
pub(crate) fn open(address: &str, speaks_panpipe: bool) -> Result<Stream> {
    let (place, path) = place_and_path(address);
    let subprotocol = if speaks_panpipe { "Sec-WebSocket-Protocol: panpipe\r\n" } else { "" };
    let mut stream = Stream::connect(address)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {place}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{subprotocol}\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let head = read_head(&mut stream)?;
    check_upgrade(&head, KEY, speaks_panpipe.then_some("panpipe"))?;
    Ok(stream)
}

/// Fails unless this is the right answer to a request with this key, which selects this subprotocol.
pub(crate) fn check_upgrade(head: &str, key: &str, subprotocol: Option<&str>) -> Result<()> {
    let is_right = head.starts_with("HTTP/1.1 101 ")
        && field(head, "Upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
        && field(head, "Connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade"))
        && field(head, "Sec-WebSocket-Accept") == Some(&accept(key))
        && field(head, "Sec-WebSocket-Extensions").is_none()
        && field(head, "Sec-WebSocket-Protocol") == subprotocol;
    match is_right {
        true => Ok(()),
        false => Err(format!("the upgrade is answered with {head:?}").into()),
    }
}

/// Reads the request of a client, and answers it as it should be; the request.
pub(crate) fn welcome(stream: &mut Stream) -> Result<String> {
    let request = read_head(stream)?;
    let key = field(&request, "Sec-WebSocket-Key").ok_or("the request has no key")?;
    let offers_panpipe = field(&request, "Sec-WebSocket-Protocol").is_some();
    let subprotocol = if offers_panpipe { "Sec-WebSocket-Protocol: panpipe\r\n" } else { "" };
    let accept = accept(key);
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{subprotocol}\r\n"
    );
    stream.write_all(answer.as_bytes())?;
    Ok(request)
}

/// Writes in pieces of this size; a side that has had enough closes meanwhile.
pub(crate) fn write_in_pieces(stream: &mut Stream, bytes: &[u8], size: usize) {
    for piece in bytes.chunks(size.min(bytes.len()).max(1)) {
        if stream.write_all(piece).is_err() {
            return;
        }
    }
}

/// A case's name as part of a test's.
pub(crate) fn name_of(case: &Data) -> String {
    let name = case["name"].as_str().unwrap_or_default();
    name.chars().map(|letter| if letter == ' ' { '_' } else { letter }).collect()
}
