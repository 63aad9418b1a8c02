//! Streams of replies, and subscriptions.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use panpipe_link::Result;
use panpipe_link::panpipe::Payload;
use panpipe_values::decode;
use serde::de::DeserializeOwned;

use super::Peer;
use super::call::{Progress, error_of, read};

/// The items with which a call is answered. Dropping it stops them, and the handler is told.
pub struct Stream<T> {
    /// Keeps the connection open as long as this is wanted.
    peer: Peer,
    progress: Progress,
    has_ended: bool,
    items: PhantomData<fn() -> T>,
}

impl<T> Stream<T> {
    pub(super) fn new(peer: Peer, progress: Progress) -> Self {
        Stream { peer, progress, has_ended: false, items: PhantomData }
    }

    /// The next item as it came; `None` at the end. With `until_open` a subscription that stands is an item, too.
    fn poll_payload(&mut self, cx: &mut Context<'_>, until_open: bool) -> Poll<Option<Result<Payload>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let call = match ready!(self.progress.poll_sent(self.peer.shared(), cx)) {
            Ok(call) => call,
            Err(error) => {
                self.has_ended = true;
                return Poll::Ready(Some(Err(error)));
            }
        };
        let shared = self.peer.shared();
        let mut state = shared.lock();
        loop {
            let Some(slot) = state.slot(call) else { return Poll::Ready(None) };
            if until_open && slot.is_open {
                state.hand_over(call);
                return Poll::Ready(None);
            }
            if let Some(payload) = slot.items.pop_front() {
                if !payload.flags.is_lagged() {
                    state.taken(call, payload.bytes.len());
                }
                // It may be long until this is polled again, and somebody must read.
                state.hand_over(call);
                return Poll::Ready(Some(Ok(payload)));
            }
            if let Some(outcome) = slot.outcome.take() {
                state.finish(call);
                self.has_ended = true;
                self.progress = Progress::Ended(None);
                return Poll::Ready(outcome.err().map(|failure| Err(error_of(&state, failure))));
            }
            if !state.lead(call, shared, cx) {
                break;
            }
        }
        state.wait_for(call, cx);
        Poll::Pending
    }
}

impl<T: DeserializeOwned + 'static> Stream<T> {
    /// The next item; `None` at the end. Safe to cancel.
    ///
    /// # Errors
    /// Those of [`Peer::call`](crate::Peer::call), and then nothing follows.
    pub async fn next(&mut self) -> Option<Result<T>> {
        poll_fn(|cx| self.poll_item(cx)).await
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let item = ready!(self.poll_payload(cx, false));
        Poll::Ready(item.map(|item| item.and_then(|payload| read(self.peer.shared(), payload))))
    }
}

impl<T: DeserializeOwned + 'static> futures_core::Stream for Stream<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_item(cx)
    }
}

impl<T> Drop for Stream<T> {
    fn drop(&mut self) {
        if let Progress::Sent(call) = self.progress {
            self.peer.shared().lock().give_up(call);
        }
    }
}

/// What a subscription brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update<T> {
    /// An item.
    Item(T),
    /// So many items were missed here: this side did not take those before in time.
    Lagged(u64),
}

/// The items of a topic. Dropping it ends the subscription.
pub struct Subscription<T>(Stream<T>);

impl<T: DeserializeOwned + 'static> Subscription<T> {
    pub(super) fn new(stream: Stream<T>) -> Self {
        Subscription(stream)
    }

    /// Waits until the subscription stands.
    pub(super) async fn stands(&mut self) -> Result<()> {
        match poll_fn(|cx| self.0.poll_payload(cx, true)).await {
            Some(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// The next item, or how many were missed; `None` when the topic has ended. Safe to cancel.
    ///
    /// # Errors
    /// `lagged` when the policy was to disconnect, `connection-lost`, and `bad-peer` for an item of another type.
    pub async fn next(&mut self) -> Option<Result<Update<T>>> {
        poll_fn(|cx| self.poll_update(cx)).await
    }

    fn poll_update(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Update<T>>>> {
        let Some(payload) = ready!(self.0.poll_payload(cx, false)) else { return Poll::Ready(None) };
        Poll::Ready(Some(payload.and_then(|payload| match payload.flags.is_lagged() {
            true => Ok(Update::Lagged(decode(payload.bytes, false).unwrap_or(0))),
            false => read(self.0.peer.shared(), payload).map(Update::Item),
        })))
    }
}

impl<T: DeserializeOwned + 'static> futures_core::Stream for Subscription<T> {
    type Item = Result<Update<T>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_update(cx)
    }
}
