//! WebSocket (RFC 6455), sans-IO: the upgrade of HTTP at either side, and the frames behind it.
//!
//! A server reads the head with [`read_request`] and lets a [`Policy`] judge it; a client says [`Upgrade::request`] and
//! reads the answer with [`Upgrade::read_response`]. Then each end has a [`WebSocket`], and whoever drives it:
//!
//! 1. gives **all that one read brought** to [`WebSocket::receive`], which appends whole messages to an inbox;
//! 2. writes messages with [`WebSocket::send`], and what [`WebSocket::control`] has to say when
//!    [`WebSocket::has_control`] holds;
//! 3. after a [`Violation`] says [`WebSocket::close`] with its code, and nothing else;
//! 4. stops reading when [`WebSocket::closed`] says that the other side has closed.
//!
//! Masks are arguments, four fresh random bytes for each frame of a client (section 5.3); a server's are ignored.
//! Extensions are neither offered nor accepted, so that nothing is compressed.

mod close;
pub use close::{Closed, Violation};

mod file;

mod file_type;
pub use file_type::file_head;

mod frame;
pub use frame::FrameHead;

mod head;

mod host;
pub use host::{HostRule, default_hosts, parse_hosts};

mod key;

mod mask;

mod origin;
pub use origin::{Origin, parse_origins};

mod policy;
pub use policy::{Answer, Policy};

mod receiving;

mod refusal;
pub use refusal::Refusal;

mod request;
pub use request::{Request, read_request};

mod response;
pub use response::Upgrade;

mod sending;

mod text;

mod token;
pub use token::Token;

use bytes::BytesMut;

use frame::Frame;
use receiving::Message;
use text::Text;

/// Which end of a connection this is: a client masks what it sends, a server does not (section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Who asked for the upgrade.
    Client,
    /// Who answered it.
    Server,
}

/// What messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Bytes: binary messages are sent, either type is received. Text must still be UTF-8.
    Binary,
    /// Strings: text messages are sent, either type is received and must be UTF-8.
    Text,
    /// The stream of the panpipe protocol: binary messages both ways, whose contents follow each other, however they are
    /// cut; text breaks the connection.
    Stream,
}

/// The subprotocol of the panpipe protocol.
const PANPIPE: &str = "panpipe";

/// The subprotocol of plain messages, for those who have to offer one.
const PLAIN: &str = "panpipe.plain";

/// One end of a connection after the upgrade.
///
/// It holds what has come of a message that is not whole yet, one ping of at most 125 bytes, and nothing else.
#[derive(Debug)]
pub struct WebSocket {
    role: Role,
    /// Bytes of the largest message.
    most: usize,
    carries: Carries,

    /// What has come of the head of the next frame.
    head: FrameHead,
    /// The frame that is being received, behind its head.
    frame: Option<Frame>,
    /// The message that is being received.
    message: Option<Message>,
    /// What has come of that message in earlier reads, behind room for its length.
    gathered: BytesMut,
    text: Text,
    /// What has come of the payload of a control frame.
    control: Vec<u8>,

    /// The payload of the latest ping, and whether it waits for its pong.
    ping: Vec<u8>,
    has_ping: bool,
    closed: Option<Closed>,
    has_sent_close: bool,
}

impl WebSocket {
    /// One end of a connection whose messages have at most `most` bytes, both ways, and never more than 2^32 - 1.
    pub fn new(role: Role, most: usize, carries: Carries) -> Self {
        WebSocket {
            role,
            most: most.min(u32::MAX as usize),
            carries,
            head: FrameHead::default(),
            frame: None,
            message: None,
            gathered: BytesMut::new(),
            text: Text::default(),
            control: Vec::new(),
            ping: Vec::new(),
            has_ping: false,
            closed: None,
            has_sent_close: false,
        }
    }

    /// What the other side said with its Close.
    pub fn closed(&self) -> Option<&Closed> {
        self.closed.as_ref()
    }

    /// Whether this end has said Close, after which it sends nothing.
    pub fn has_sent_close(&self) -> bool {
        self.has_sent_close
    }
}

#[cfg(test)]
mod tests;
