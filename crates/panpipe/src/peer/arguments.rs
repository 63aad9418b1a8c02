//! Arguments that go on as a stream: at the caller, and at the handler.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use panpipe_link::panpipe::{Body, Flags};
use panpipe_link::{CallId, ErrorKind, Result};
use panpipe_values::with_value;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Peer;
use super::call::read;
use super::state::Shared;

/// Sends the arguments of a call that go on as a stream.
///
/// Dropping it without [`finish`](Self::finish) cancels the call, so that a cut is never taken for the end.
pub struct Arguments<I> {
    /// Keeps the connection open as long as this is wanted.
    peer: Peer,
    call: Option<CallId>,
    items: PhantomData<fn(I)>,
}

impl<I> Arguments<I> {
    pub(super) fn new(peer: Peer, call: Option<CallId>) -> Self {
        Arguments { peer, call, items: PhantomData }
    }

    /// Says that this was the last.
    pub fn finish(mut self) {
        if let Some(call) = self.call.take() {
            let mut state = self.peer.shared().lock();
            if let Ok(session) = state.endpoint.session_for("streaming to") {
                session.end(call);
            }
            state.cork();
        }
    }
}

impl<I: Serialize> Arguments<I> {
    /// Sends an item, when the handler has taken enough of those before.
    ///
    /// # Errors
    /// `closed` when the handler takes no more: the call's answer says why; `too-large`, `unsupported`.
    pub async fn send(&mut self, item: &I) -> Result<()> {
        let Some(call) = self.call else {
            let state = self.peer.shared().lock();
            return Err(state.endpoint.error(ErrorKind::Closed, "streaming to").because("the call was never made"));
        };
        poll_fn(|cx| {
            let mut state = self.peer.shared().lock();
            let has_room = state.endpoint.session_for("streaming to").map_or(true, |session| session.has_room(call));
            if has_room {
                return Poll::Ready(());
            }
            match state.slot(call) {
                Some(slot) if slot.outcome.is_none() => slot.sender = Some(cx.waker().clone()),
                _ => return Poll::Ready(()),
            }
            Poll::Pending
        })
        .await;
        let mut scratch = Vec::new();
        let sent = with_value(item, &mut scratch, |sent| {
            let mut state = self.peer.shared().lock();
            let session = state.endpoint.session_for("streaming to")?;
            session.item(call, Flags::NONE.raw(sent.raw), Body::Slice(sent.bytes))?;
            state.begin_writing();
            Ok(())
        });
        sent.map_err(|error| {
            let state = self.peer.shared().lock();
            state.endpoint.error(ErrorKind::Unsupported, "streaming to").because(error)
        })?
    }
}

impl<I> Drop for Arguments<I> {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.peer.shared().lock().cancel(call, "its arguments were dropped before their end");
        }
    }
}

/// The arguments that go on as a stream, at the handler.
pub struct Items<T> {
    shared: Arc<Shared>,
    call: CallId,
    items: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + 'static> Items<T> {
    pub(crate) fn new(shared: Arc<Shared>, call: CallId) -> Self {
        Items { shared, call, items: PhantomData }
    }

    /// The next item; `None` when the caller has sent its last.
    ///
    /// # Errors
    /// `bad-peer` for an item that does not fit the type.
    pub async fn next(&mut self) -> Option<Result<T>> {
        poll_fn(|cx| self.poll_next_item(cx)).await
    }

    fn poll_next_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let mut state = self.shared.lock();
        let Some(serving) = state.serving.get_mut(&self.call.0) else { return Poll::Ready(None) };
        if let Some(payload) = serving.items.pop_front() {
            state.taken(self.call, payload.bytes.len());
            drop(state);
            return Poll::Ready(Some(read(&self.shared, payload)));
        }
        if serving.items_ended || serving.stopped.is_some() {
            return Poll::Ready(None);
        }
        serving.taker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T: DeserializeOwned + 'static> futures_core::Stream for Items<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_next_item(cx)
    }
}
