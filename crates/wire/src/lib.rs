//! The sans-IO core of panpipe: bytes in, events out. No I/O, no clock, no runtime.
//!
//! # The driver's contract
//!
//! A [`Session`] never waits and never calls the system. Whoever drives it, for ever:
//!
//! 1. **appends what it read** to [`Input::room`] while [`Input::wants_more`] holds, or says [`Input::end`] once;
//! 2. **takes events** with the `next_event` of its protocol ([`Plain::next_event`]) until it answers `None`;
//! 3. **writes** [`Session::outbox`] and tells [`Session::written`] how much of it went;
//! 4. **keeps time**: when [`Session::next_deadline`] passes, it takes events again with the new `now`.
//!
//! A step may come at any time and in any order. An [`Event::Ended`] is the last event.

mod address;
pub use address::{Accepts, Address, COMMON as COMMON_OPTIONS, Method, OptionInfo};

mod error;
pub use error::{Error, ErrorKind, Ran, Result};

mod framing;
pub use framing::{Head, Info as FramingInfo, all as framings};

mod http;

mod input;
pub use input::Input;

pub mod panpipe;
pub use panpipe::{Panpipe, PanpipeEvent};

mod plain;
pub use plain::{CallId, Event, Plain};

mod protocol;
pub use protocol::{Info as ProtocolInfo, PANPIPE, PLAIN, all as protocols};

mod session;
pub use session::Session;

mod spare;

pub mod websocket;
