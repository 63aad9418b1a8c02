//! What a handler knows of its call.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use panpipe_link::CallId;
use serde::de::DeserializeOwned;

use crate::peer::{Items, Peer, Shared};

/// What a handler knows of the call that it answers, and of who made it.
#[derive(Clone, Default)]
pub struct Context {
    pub(crate) call: Option<(Arc<Shared>, CallId)>,
    pub(crate) deadline: Option<Instant>,
}

impl Context {
    /// When the caller stops waiting, if ever.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The peer that calls, to be called back; `None` where it has gone, or a handler is called without a connection.
    pub fn peer(&self) -> Option<Peer> {
        self.call.as_ref().and_then(|(shared, _)| Peer::of(shared))
    }

    /// The arguments that go on as a stream; `None` without a connection. There is nothing in it where the caller sends
    /// no such arguments.
    pub fn arguments<T: DeserializeOwned + 'static>(&self) -> Option<Items<T>> {
        self.call.as_ref().map(|(shared, call)| Items::new(Arc::clone(shared), *call))
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
