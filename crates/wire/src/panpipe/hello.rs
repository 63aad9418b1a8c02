//! The first words of a connection, and the last: docs/protocol.md, "Hello" and "Goodbye".

use bytes::Bytes;
use panpipe_values::{Failure, Value, decode};

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
pub(super) fn failure(code: ErrorKind, message: &str, did_not_run: bool) -> Vec<u8> {
    Failure { did_not_run, ..Failure::new(code.code(), message) }.encode()
}

/// What is left of the map of an error that the other side does not take for its size.
#[cold]
pub(super) fn shortened(payload: &[u8], most: usize) -> Vec<u8> {
    let whole = Failure::decode(payload).unwrap_or_else(|_| Failure::new(ErrorKind::Remote.code(), ""));
    let message = format!("the error is {} bytes, and may be {most} at most", payload.len());
    let short = Failure { did_not_run: whole.did_not_run, ..Failure::new(whole.code.clone(), message) }.encode();
    match short.len() > most {
        true => Failure { did_not_run: whole.did_not_run, ..Failure::new(whole.code, "") }.encode(),
        false => short,
    }
}

impl Panpipe {
    pub(super) fn push_hello(&mut self) {
        self.is_greeted = true;
        let mut body = MAGIC.to_vec();
        body.push(VERSION);
        body.push(0x82 + u8::from(self.is_quiet) + u8::from(self.token.is_some()));
        if self.is_quiet {
            body.extend_from_slice(b"\xa5quiet\xc3");
        }
        if let Some(token) = &self.token {
            body.extend_from_slice(b"\xa5token\xda");
            body.extend_from_slice(&(token.len() as u16).to_be_bytes());
            body.extend_from_slice(token.as_bytes());
        }
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
                Side::Client => "for a peer without panpipe say framing=raw, or what it uses",
                Side::Server => "for peers without panpipe serve with framing=raw, or what they use",
            };
            let reason = format!("the other side began with \"{shown}\" and not with the HELLO of panpipe; {advice}");
            self.break_off(ErrorKind::BadPeer, reason);
            return false;
        }
        let Some(head) = Head::read(arrived) else {
            self.input.need(prefix + HEAD);
            return false;
        };
        let total = prefix + HEAD + head.length as usize;
        let packet = self.input.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
        if prefix > 0 && prefix + packet != total {
            self.break_off(ErrorKind::BadPeer, "a packet that is not one frame".into());
            return false;
        }
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
            Ok(settings) => {
                self.peer_max = settings.max;
                self.peer_calls = settings.calls;
                if settings.is_quiet {
                    self.times.expect_no_signs();
                }
            }
            Err(reason) => {
                self.break_off(ErrorKind::BadPeer, format!("the settings of its HELLO: {reason}"));
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

/// What a hello says of its side.
struct Settings {
    max: usize,
    calls: usize,
    is_quiet: bool,
}

/// What a hello says, or what is wrong with it.
fn read_settings(settings: &[u8]) -> Result<Settings, String> {
    let settings = decode(Bytes::copy_from_slice(settings), false).map_err(|error| error.to_string())?;
    let Value::Map(_) = &settings else { return Err("they are no map".into()) };
    let number = |name, default, least| match settings.get(name) {
        None => Ok(default),
        Some(Value::Integer(number)) if *number >= least => Ok(usize::try_from(*number).unwrap_or(usize::MAX)),
        Some(_) => Err(format!("{name} is no integer of at least {least}")),
    };
    let is_quiet = match settings.get("quiet") {
        None => false,
        Some(Value::Bool(is_quiet)) => *is_quiet,
        Some(_) => return Err("quiet is no bool".into()),
    };
    Ok(Settings { max: number("max", 16 << 20, 0)?, calls: number("calls", CALLS, CALLS as i128)?, is_quiet })
}

/// Why the other side closes, as its goodbye says.
pub(super) struct Reason {
    pub(super) kind: ErrorKind,
    pub(super) text: String,
    /// Nothing that was sent on this connection has run.
    pub(super) nothing_ran: bool,
}

/// What the error of a goodbye says.
pub(super) fn reason(payload: &[u8]) -> Reason {
    match Failure::decode(payload) {
        Ok(failure) => Reason {
            kind: ErrorKind::named(&failure.code).unwrap_or(ErrorKind::ConnectionLost),
            text: format!("{}: {}", failure.code, failure.message),
            nothing_ran: failure.did_not_run,
        },
        Err(error) => Reason {
            kind: ErrorKind::BadPeer,
            text: format!("for a reason that cannot be read: {error}"),
            nothing_ran: false,
        },
    }
}

/// Whether bytes that come first can be the beginning of a HELLO: `None` while too few are there to be certain.
pub fn is_hello(first: &[u8]) -> Option<bool> {
    match begins_like_hello(first) {
        true if first.len() < HEAD + MAGIC.len() => None,
        is_hello => Some(is_hello),
    }
}

/// The token in the HELLO that `bytes` begin with; `None` while that is not whole.
pub fn token_of_hello(bytes: &[u8]) -> Option<Option<String>> {
    let head = Head::read(bytes)?;
    let hello = bytes.get(HEAD..HEAD + (head.length.min(MOST_HELLO) as usize))?;
    let settings = hello.get(MAGIC.len() + 1..).unwrap_or_default();
    let settings = decode(Bytes::copy_from_slice(settings), false).ok();
    Some(settings.and_then(|settings: Value| match settings.get("token") {
        Some(Value::Text(token)) => Some(token.to_string()),
        _ => None,
    }))
}
