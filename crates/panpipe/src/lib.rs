//! Connects any two processes over any IPC method: the method is only an address.
//!
//! These need a tokio runtime with I/O and time enabled. [`plain::blocking`] needs none.
//! Addresses, framings and error codes are listed in `docs/reference.md`.

mod listening;
mod opening;

pub mod plain;

mod readiness;

mod service;
pub use service::{
    Answer, Context, Encoded, HandlerError, ItemStream, MethodHandler, Outcome, Service, ServiceCall, StreamHandler,
    Subscriber, Subscription, Topic, WithContext,
};

pub use bytes::Bytes;
pub use panpipe_link::{
    COMMON_OPTIONS, Error, ErrorKind, FramingInfo, Method, OptionInfo, Ran, Remote, Result, framings, methods,
};
pub use panpipe_values::{Failure, Named, Timestamp, Value};
