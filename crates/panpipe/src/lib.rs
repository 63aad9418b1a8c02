//! Connects any two processes over any IPC method: the method is only an address.
//!
//! ```no_run
//! # async fn example() -> panpipe::Result<()> {
//! let peer = panpipe::connect("tcp://localhost:9999?framing=raw").await?;
//! let reply = peer.call("Hello, server!").await?;
//! # Ok(()) }
//! ```
//!
//! The other side, for any number of clients:
//!
//! ```no_run
//! # async fn example() -> panpipe::Result<()> {
//! let upper = |message: panpipe::Bytes| async move { message.to_ascii_uppercase() };
//! let server = panpipe::serve("tcp://localhost:9999?framing=raw", upper).await?;
//! println!("listening on {}", server.address());
//! server.wait().await
//! # }
//! ```
//!
//! A program as a child, which ends with the connection, and with this process in any case:
//!
//! ```no_run
//! # async fn example() -> panpipe::Result<()> {
//! let child = panpipe::spawn(["python3", "worker.py"], "framing=lines").await?;
//! let reply = child.call("Hello, child!").await?;
//! child.close().await
//! # }
//! ```
//!
//! These need a tokio runtime with I/O and time enabled. [`blocking`] needs none.
//! Addresses, framings and error codes are listed in `docs/reference.md`.

pub mod blocking;

mod connection;
pub use connection::{Call, Connection, connect, pair, spawn};

mod listener;
pub use listener::{Listener, listen};

mod readiness;

mod server;
pub use server::{Handler, Reply, Server, serve};

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
