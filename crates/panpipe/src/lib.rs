//! Connects any two processes over any IPC method: the method is only an address.
//!
//! These need a tokio runtime with I/O and time enabled. [`plain::blocking`] needs none.
//! Addresses, framings and error codes are listed in `docs/reference.md`.

mod listening;
mod opening;

mod peer;
pub use peer::{
    Arguments, Call, ConnectionState, Items, Peer, Stream, Subscription, Update, connect, connect_with, pair, spawn,
};

pub mod plain;

mod readiness;

mod server;
pub use server::{Listener, Server, listen, serve};

mod service;
pub use service::{
    Answer, Context, Encoded, HandlerError, ItemStream, MethodHandler, Outcome, Service, ServiceCall, StreamHandler,
    Topic, WithContext,
};

pub use bytes::Bytes;
pub use panpipe_link::panpipe::Policy;
pub use panpipe_link::{
    COMMON_OPTIONS, Error, ErrorKind, FramingInfo, Method, OptionInfo, ProtocolInfo, Ran, Remote, Result, framings,
    methods, protocols,
};
pub use panpipe_values::{Failure, Named, Timestamp, Value};
