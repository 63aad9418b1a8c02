//! A wait for a message that answers no call.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use panpipe_link::Result;

use super::{Shared, Waiting};

/// Somebody who waits for a message.
pub(super) struct Receiver<'a> {
    pub(super) shared: &'a Shared,
    pub(super) number: u64,
}

impl Future for Receiver<'_> {
    type Output = Result<Option<Bytes>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.lock();
        let who = Waiting::Receiver(self.number);
        loop {
            if let Poll::Ready(received) = state.take_message() {
                // One read may have brought something for the next one too.
                state.wake_receiver(Some(who));
                return Poll::Ready(received);
            }
            if !state.lead(who, self.shared, cx) {
                break;
            }
        }
        match state.receivers.iter_mut().find(|(receiver, _)| *receiver == who) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => state.receivers.push((who, cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Receiver<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let who = Waiting::Receiver(self.number);
        state.receivers.retain(|(receiver, _)| *receiver != who);
        state.hand_over(who);
    }
}
