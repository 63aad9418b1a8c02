//! The first words of a connection, and the last: docs/protocol.md, "Hello" and "Goodbye".

use super::frame::{Flags, HEAD, Head, Kind};
use super::output::{Body, Message};
use super::{CALLS, Panpipe, Side};
use crate::error::ErrorKind;

/// What a hello begins with.
const MAGIC: &[u8; 7] = b"panpipe";

/// The version that is spoken here.
const VERSION: u8 = 1;

/// A hello's body has at most so many bytes.
const MOST_HELLO: u32 = 4096;

/// So many of the first bytes are shown of what is no hello.
const SHOWN: usize = 32;

/// The map of an error that this side says itself.
pub(super) fn failure(code: &str, message: &str, is_unrun: bool) -> Vec<u8> {
    let mut map = vec![if is_unrun { 0x83 } else { 0x82 }];
    let mut text = |text: &str| {
        let text = &text.as_bytes()[..text.floor_char_boundary(usize::from(u16::MAX))];
        match text.len() {
            length @ ..32 => map.push(0xa0 | length as u8),
            length @ ..256 => map.extend_from_slice(&[0xd9, length as u8]),
            length => map.extend_from_slice(&[0xda, (length >> 8) as u8, length as u8]),
        }
        map.extend_from_slice(text);
    };
    [("code", code), ("message", message), ("ran", "no")][..2 + usize::from(is_unrun)].iter().for_each(|(key, value)| {
        text(key);
        text(value);
    });
    map
}

impl Panpipe {
    pub(super) fn push_hello(&mut self) {
        self.is_greeted = true;
        let mut body = MAGIC.to_vec();
        body.push(VERSION);
        body.push(0x82);
        for (key, value) in [("max", self.max), ("calls", CALLS)] {
            body.push(0xa0 | key.len() as u8);
            body.extend_from_slice(key.as_bytes());
            body.push(0xce);
            body.extend_from_slice(&u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes());
        }
        self.output.push(Message::with(Kind::Hello, Flags::NONE, 0, Body::Slice(&body)));
        if self.serving.is_draining {
            self.output.push(Message::bare(Kind::Goodbye, 0));
        }
    }

    /// Looks at what came first; whether all of a hello is there.
    pub(super) fn read_hello(&mut self) -> bool {
        let prefix = self.frame_prefix();
        let arrived = &self.input[prefix.min(self.input.len())..];
        if !begins_like_hello(arrived) {
            let shown = arrived[..arrived.len().min(SHOWN)].escape_ascii().to_string();
            let advice = match self.side {
                Side::Client => "it has no panpipe protocol; with a framing, as framing=raw, messages are plain",
                Side::Server => "it does not speak the panpipe protocol; with a framing, as framing=raw, messages are plain",
            };
            self.break_off(ErrorKind::BadPeer, format!("the other side began with \"{shown}\": {advice}"));
            return false;
        }
        let Some(head) = Head::read(arrived) else {
            self.input.need(prefix + HEAD);
            return false;
        };
        let total = prefix + HEAD + head.length as usize;
        if let Some(&version) = arrived.get(HEAD + MAGIC.len())
            && version != VERSION
        {
            let reason = format!("this side speaks version {VERSION} of the panpipe protocol, the other {version}");
            self.break_off(ErrorKind::Version, reason);
            return false;
        }
        if self.input.len() < total {
            self.input.need(total);
            return false;
        }
        let hello = self.input.take(total).freeze();
        match read_settings(&hello[prefix + HEAD + MAGIC.len() + 1..]) {
            Some((max, calls)) => {
                self.peer_max = max;
                self.peer_calls = calls;
            }
            None => {
                self.break_off(ErrorKind::BadPeer, "its hello has settings that are none".into());
                return false;
            }
        }
        self.has_greeted = true;
        self.times.has_greeted();
        if !self.is_greeted {
            self.push_hello();
        }
        true
    }
}

fn begins_like_hello(bytes: &[u8]) -> bool {
    let length = bytes.first_chunk().map_or(0, |length| u32::from_be_bytes(*length));
    let fixed = [0, 0, 0, 0, Kind::Hello as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let matches = |range: std::ops::Range<usize>, wanted: &[u8]| {
        let arrived = bytes.get(range.start..range.end.min(bytes.len())).unwrap_or_default();
        wanted.starts_with(arrived)
    };
    let has_length = bytes.len() < 4 || (MAGIC.len() as u32 + 1..=MOST_HELLO).contains(&length);
    matches(0..2, &[0, 0]) && has_length && matches(4..HEAD, &fixed[4..]) && matches(HEAD..HEAD + MAGIC.len(), MAGIC)
}

/// What a hello says of the largest payload and the number of calls.
fn read_settings(_settings: &[u8]) -> Option<(usize, usize)> {
    Some((16 << 20, CALLS))
}

/// What the error of a goodbye says.
pub(super) fn reason(payload: &[u8]) -> String {
    payload.escape_ascii().to_string()
}
