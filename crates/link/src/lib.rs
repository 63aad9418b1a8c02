//! panpipe's transports: an address becomes a non-blocking descriptor. No runtime, no thread.
//!
//! A face opens an [`Endpoint`] or a [`Listener`] and then only waits for readiness:
//! when a descriptor is readable it calls [`Endpoint::on_readable`], when it is writable [`Endpoint::flush`],
//! and after either, or when [`Endpoint::next_deadline`] passes, it takes [`Endpoint::next_event`]s.
//! [`Blocking`] and [`Server`] do this with `poll` and `epoll`, for faces that have no loop of their own.

mod alarm;
pub use alarm::Alarm;

mod backoff;
pub use backoff::Backoff;

pub mod blocking;
pub use blocking::{Blocking, Wait, WaitFor};

mod clock;
pub use clock::Clock;

mod endpoint;
pub use endpoint::{Endpoint, Input};

mod fork;
mod os_error;

mod packets;
pub use packets::{Packets, Room};

mod server;
pub use server::{Server, ServerEvent, Token};

mod transport;
pub use transport::{
    Accepted, Child, Connecting, Link, Listener, Progress, Remote, address_with_command, claim_to_read, connect,
    lacks_command, listen, may_block, methods, pair, pair_address, parse, spawn_address,
};

#[cfg(feature = "tls")]
pub use transport::Fingerprint;

mod whole_writes;

pub use panpipe_wire::{
    Address, COMMON_OPTIONS, CallId, Error, ErrorKind, Event, FramingInfo, Method, OptionInfo, PANPIPE, PLAIN, Panpipe,
    PanpipeEvent, ProtocolInfo, Ran, Result, Session, framings, panpipe, protocols,
};
