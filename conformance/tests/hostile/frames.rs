//! Frames of the panpipe protocol, written and read by hand: nothing here may share a mistake with panpipe.

use std::io::Read;

use serde::Deserialize;
use serde_json::Value as Data;

use crate::Result;
use crate::stream::Stream;

pub(crate) const HELLO: u8 = 1;
pub(crate) const CALL: u8 = 2;
pub(crate) const SEND: u8 = 3;
pub(crate) const REPLY: u8 = 4;
pub(crate) const ERROR: u8 = 5;
pub(crate) const CANCEL: u8 = 9;
pub(crate) const PING: u8 = 10;
pub(crate) const GOODBYE: u8 = 12;

const KINDS: [&str; 13] =
    ["HELLO", "CALL", "SEND", "REPLY", "ERROR", "ITEM", "END", "CREDIT", "CANCEL", "PING", "PONG", "GOODBYE", "OPEN"];
const FLAGS: [&str; 7] = ["MORE", "RAW", "NAMED", "STREAM", "ARGUMENTS", "TOPIC", "LAGGED"];
pub(crate) const MORE: u8 = 1;
pub(crate) const RAW: u8 = 2;

/// A HELLO with no settings.
pub(crate) fn hello() -> Vec<u8> {
    frame(HELLO, 0, 0, &[b"panpipe\x01", &[0x80]])
}

/// A CALL without a timeout.
pub(crate) fn call(id: u64, flags: u8, method: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(CALL, flags, id, &[&[0; 4], method.as_bytes(), payload]);
    bytes[6..8].copy_from_slice(&(method.len() as u16).to_be_bytes());
    bytes
}

pub(crate) fn send(id: u64, flags: u8, method: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(SEND, flags, id, &[method.as_bytes(), payload]);
    bytes[6..8].copy_from_slice(&(method.len() as u16).to_be_bytes());
    bytes
}

/// Any frame that has no name.
pub(crate) fn frame(kind: u8, flags: u8, id: u64, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    [&(body.len() as u32).to_be_bytes()[..], &[kind, flags, 0, 0], &id.to_be_bytes(), &body].concat()
}

/// Bytes of a long text value.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [&[0xdb][..], &(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    name: usize,
    pub(crate) id: u64,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// The next one; `None` at the end.
    pub(crate) fn read(stream: &mut Stream) -> Result<Option<Self>> {
        let mut head = [0; 16];
        if stream.read(&mut head[..1])? == 0 {
            return Ok(None);
        }
        stream.read_exact(&mut head[1..])?;
        let mut body = vec![0; u32::from_be_bytes(head[..4].try_into()?) as usize];
        stream.read_exact(&mut body)?;
        let name = usize::from(u16::from_be_bytes([head[6], head[7]]));
        Ok(Some(Frame { kind: head[4], flags: head[5], name, id: u64::from_be_bytes(head[8..].try_into()?), body }))
    }

    /// Of a CALL.
    pub(crate) fn method_and_payload(&self) -> (&[u8], &[u8]) {
        self.body[4..].split_at(self.name)
    }

    /// What a GOODBYE says: its code and its message.
    pub(crate) fn why(&self) -> (String, String) {
        let value_of = |key: &[u8]| {
            let at = self.body.windows(key.len()).position(|part| part == key)?;
            short_text(&self.body[at + key.len()..])
        };
        (value_of(b"\xa4code").unwrap_or_default(), value_of(b"\xa7message").unwrap_or_default())
    }
}

/// The text value that `bytes` begin with.
fn short_text(bytes: &[u8]) -> Option<String> {
    let (head, length) = match *bytes.first()? {
        short @ 0xa0..=0xbf => (1, usize::from(short & 31)),
        0xd9 => (2, usize::from(*bytes.get(1)?)),
        0xda => (3, usize::from(u16::from_be_bytes([*bytes.get(1)?, *bytes.get(2)?]))),
        _ => return None,
    };
    Some(String::from_utf8_lossy(bytes.get(head..head + length)?).into_owned())
}

/// A frame as the vectors write it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Written {
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) flags: Vec<String>,
    #[serde(default)]
    pub(crate) id: u64,
    #[serde(default)]
    timeout: u32,
    pub(crate) method: Option<String>,
    #[serde(default)]
    pub(crate) payload: Data,
    total: Option<u32>,
    #[serde(default)]
    pub(crate) piece: bool,
    credit: Option<u32>,
    version: Option<u8>,
    settings: Option<String>,
}

impl Written {
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|each| each == flag)
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        let kind = 1 + KINDS.iter().position(|kind| *kind == self.kind).ok_or("no such kind")? as u8;
        let mut flags = 0;
        for flag in &self.flags {
            flags |= 1 << FLAGS.iter().position(|each| each == flag).ok_or("no such flag")?;
        }
        let mut body = Vec::new();
        if let Some(version) = self.version {
            body.extend(b"panpipe");
            body.push(version);
            body.extend(panpipe_conformance::from_hex(self.settings.as_deref().unwrap_or_default()));
        }
        if let (Some(total), false) = (self.total, self.piece) {
            body.extend(total.to_be_bytes());
        }
        if kind == CALL && !self.piece {
            body.extend(self.timeout.to_be_bytes());
        }
        body.extend(self.method.iter().flat_map(|method| method.bytes()));
        if let Some(credit) = self.credit {
            body.extend(credit.to_be_bytes());
        }
        body.extend(bytes_of(&self.payload));
        let mut bytes = frame(kind, flags, self.id, &[&body]);
        bytes[6..8].copy_from_slice(&(self.method.as_ref().map_or(0, String::len) as u16).to_be_bytes());
        Ok(bytes)
    }
}

/// Hexadecimal, or a part of it that repeats.
fn bytes_of(data: &Data) -> Vec<u8> {
    match data {
        Data::String(hex) => panpipe_conformance::from_hex(hex),
        Data::Object(repeat) => {
            let part = panpipe_conformance::from_hex(repeat["repeat"][0].as_str().unwrap_or_default());
            part.repeat(repeat["repeat"][1].as_u64().unwrap_or_default() as usize)
        }
        _ => Vec::new(),
    }
}
