//! How a connection ends: what a Close says (RFC 6455, section 7.4), and why this side has to say one.

use crate::error::ErrorKind;

/// What was to be said is said.
pub(super) const NORMAL: u16 = 1000;

/// The end goes away.
const GOING_AWAY: u16 = 1001;

/// Bytes that are no frames, or frames that may not be here.
pub(super) const PROTOCOL_ERROR: u16 = 1002;

/// A type of message that this end does not take.
pub(super) const UNSUPPORTED: u16 = 1003;

/// Text that is not UTF-8.
pub(super) const INVALID_TEXT: u16 = 1007;

/// More of something than is allowed.
pub(super) const POLICY: u16 = 1008;

/// A message that is too large.
pub(super) const TOO_LARGE: u16 = 1009;

/// What breaks the connection: it is to be closed with this code, and nothing more of it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The code of the Close that says so.
    pub close: u16,
    /// What it is to the user.
    pub kind: ErrorKind,
    /// Why.
    pub reason: String,
}

impl Violation {
    #[cold]
    pub(super) fn new(close: u16, reason: impl Into<String>) -> Self {
        let kind = match close {
            TOO_LARGE | POLICY => ErrorKind::TooLarge,
            _ => ErrorKind::BadPeer,
        };
        Violation { close, kind, reason: reason.into() }
    }
}

/// What a Close says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its code, where it has one.
    pub code: Option<u16>,
    /// Its reason, at most 123 bytes, of the other side.
    pub reason: String,
}

impl Closed {
    /// What the payload of a Close says.
    pub(super) fn read(payload: &[u8]) -> Result<Closed, Violation> {
        let (code, reason) = match payload {
            [] => return Ok(Closed { code: None, reason: String::new() }),
            [_] => return Err(Violation::new(PROTOCOL_ERROR, "a Close with half a code")),
            [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        };
        if !may_be_sent(code) {
            return Err(Violation::new(PROTOCOL_ERROR, format!("a Close with the code {code}, which nobody may send")));
        }
        match std::str::from_utf8(reason) {
            Ok(reason) => Ok(Closed { code: Some(code), reason: reason.to_owned() }),
            Err(_) => Err(Violation::new(INVALID_TEXT, "a Close whose reason is not UTF-8")),
        }
    }

    /// What it is to those who wait for more: nothing when the other side had said all, else `connection-lost` and why.
    pub fn failure(&self) -> Option<(ErrorKind, String)> {
        let code = self.code.filter(|code| ![NORMAL, GOING_AWAY].contains(code))?;
        let reason = match self.reason.as_str() {
            "" => format!("the other side closed with the code {code}"),
            reason => format!("the other side closed with the code {code}: {reason:?}"),
        };
        Some((ErrorKind::ConnectionLost, reason))
    }
}

/// Whether a Close may have this code: those of section 7.4.1 and of the registry that are not only for use inside a
/// program, and those of libraries and programs.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
