//! Connects any two processes over any IPC method: the method is only an address.
//!
//! ```no_run
//! # async fn example() -> panpipe::Result<()> {
//! let peer = panpipe::connect("tcp://localhost:9999").await?;
//! let reply: String = peer.call("upper", "Hello, server!").await?;
//! # Ok(()) }
//! ```
//!
//! The other side, for any number of callers:
//!
//! ```no_run
//! # async fn example() -> panpipe::Result<()> {
//! let service = panpipe::Service::new()
//!     .method("upper", |text: String| async move { Ok(text.to_uppercase()) })
//!     .parameters(["text"]);
//! let mut server = panpipe::serve("tcp://localhost:9999", &service).await?;
//! println!("listening on {}", server.address());
//! server.wait().await
//! # }
//! ```
//!
//! Either end of a connection may hold a service, and both may call at once; there are [`Peer::stream`]s, topics to
//! [`Peer::subscribe`] to, and one-way messages to [`Peer::send`]. Peers that know nothing of panpipe are [`plain`]'s.
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
