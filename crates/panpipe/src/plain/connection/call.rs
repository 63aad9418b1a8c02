//! A call, from when it is made to its reply.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use panpipe_link::{CallId, Error, ErrorKind, Result};

use super::{Shared, State, Waiting};

/// A call on its way; awaiting it gives the reply.
#[must_use = "dropping a call gives it up; await it, or use `send` when no reply is expected"]
pub struct Call<'a> {
    pub(super) shared: &'a Shared,
    pub(super) state: Progress,
}

pub(super) enum Progress {
    /// Waiting for room to be sent in.
    Waiting(Box<[u8]>, Option<Instant>),
    Sent(CallId),
    /// Over: with an error that is still to be told, or told already.
    Ended(Option<Error>),
}

impl Future for Call<'_> {
    type Output = Result<Bytes>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Call { shared, state: progress } = &mut *self;
        if let Progress::Waiting(message, deadline) = progress {
            let has_room = shared.poll_room(cx, State::has_room).is_ready();
            let mut state = shared.lock();
            *progress = if has_room {
                state.begin_call(message, *deadline)
            } else if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                let error = state.endpoint.error(ErrorKind::DeadlineExceeded, "calling");
                Progress::Ended(Some(error.because("no room to send it in within the timeout")))
            } else {
                state.set_alarm(*deadline)?;
                return Poll::Pending;
            };
        }
        let call = match progress {
            Progress::Sent(call) => *call,
            Progress::Ended(Some(error)) => return Poll::Ready(Err(error.clone())),
            _ => panic!("a call was polled after it had ended"),
        };
        let mut state = shared.lock();
        loop {
            if let Some(outcome) = state.slot(call).outcome.take() {
                state.finish(call);
                state.hand_over(Waiting::Call(call));
                *progress = Progress::Ended(None);
                return Poll::Ready(outcome);
            }
            if !state.lead(Waiting::Call(call), shared, cx) {
                break;
            }
        }
        match &mut state.slot(call).waker {
            Some(waker) => waker.clone_from(cx.waker()),
            waker => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Progress::Sent(call) = self.state {
            let mut state = self.shared.lock();
            state.endpoint.abandon(call);
            state.finish(call);
            state.hand_over(Waiting::Call(call));
        }
    }
}
