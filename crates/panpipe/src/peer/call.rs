//! A call, from when it is made to its reply.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use panpipe_link::panpipe::{Body, Failure, Payload};
use panpipe_link::{CallId, Error, ErrorKind, Ran, Result};
use panpipe_values::decode;
use serde::de::DeserializeOwned;

use super::state::{Prepared, Shared, State, Until};

/// A call on its way; awaiting it gives the reply, as any serde type.
#[must_use = "dropping a call cancels it; await it, or use `send` when no reply is expected"]
pub struct Call<'a, R> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) progress: Progress,
    pub(super) reply: PhantomData<fn() -> R>,
}

pub(super) enum Progress {
    /// Waiting for room to be sent in.
    Waiting(Box<Prepared>),
    Sent(CallId),
    /// Over: with an error that is still to be told, or told already.
    Ended(Option<Error>),
}

impl Progress {
    pub(super) fn call(&self) -> Option<CallId> {
        match self {
            Progress::Sent(call) => Some(*call),
            _ => None,
        }
    }

    /// Sends a call that waits for room, once there is some; ready when it is sent or over.
    pub(super) fn poll_sent(&mut self, shared: &Shared, cx: &mut Context<'_>) -> Poll<Result<CallId>> {
        if let Progress::Waiting(prepared) = self {
            let has_room = shared.poll_room(cx, Until::Room).is_ready();
            let mut state = shared.lock();
            let Prepared { method, flags, payload, deadline } = &**prepared;
            if has_room {
                *self = state.begin_call(method, *flags, Body::Slice(payload), *deadline, None);
            } else if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                let error = state.endpoint.error(ErrorKind::DeadlineExceeded, "calling");
                *self = Progress::Ended(Some(error.because("no room to send it in within the timeout")));
            } else {
                state.set_alarm(*deadline)?;
                return Poll::Pending;
            }
        }
        match self {
            Progress::Sent(call) => Poll::Ready(Ok(*call)),
            Progress::Ended(Some(error)) => Poll::Ready(Err(error.clone())),
            _ => panic!("a call was polled after it had ended"),
        }
    }
}

impl<R> Call<'_, R> {
    /// Says that it may run twice: with `reconnect=true` it is made again when the connection was lost meanwhile.
    pub fn idempotent(self) -> Self {
        if let Progress::Sent(call) = self.progress
            && let Ok(session) = self.shared.lock().endpoint.session_for("calling")
        {
            session.make_idempotent(call);
        }
        self
    }
}

impl<R: DeserializeOwned + 'static> Future for Call<'_, R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Call { shared, progress, .. } = &mut *self;
        let call = match progress.poll_sent(shared, cx) {
            Poll::Ready(Ok(call)) => call,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        };
        let mut state = shared.lock();
        loop {
            if let Some(outcome) = state.slot(call).and_then(|slot| slot.outcome.take()) {
                state.finish(call);
                let outcome = outcome.map_err(|failure| error_of(&state, failure));
                drop(state);
                *progress = Progress::Ended(None);
                return Poll::Ready(outcome.and_then(|payload| read(shared, payload)));
            }
            if !state.lead(call, shared, cx) {
                break;
            }
        }
        state.wait_for(call, cx);
        Poll::Pending
    }
}

impl<R> Drop for Call<'_, R> {
    fn drop(&mut self) {
        if let Progress::Sent(call) = self.progress {
            self.shared.lock().give_up(call);
        }
    }
}

/// The value of a payload, as another type.
pub(super) fn read<R: DeserializeOwned + 'static>(shared: &Shared, payload: Payload) -> Result<R> {
    decode(payload.bytes, payload.flags.is_raw()).map_err(|error| {
        let state = shared.lock();
        state.endpoint.error(ErrorKind::BadPeer, "calling").because(error).ran(Ran::Maybe)
    })
}

/// The error that the user of a call gets.
pub(super) fn error_of(state: &State, failure: Failure) -> Error {
    match failure {
        Failure::Local(error) => error,
        Failure::Remote(map) => match panpipe_values::Failure::decode(&map) {
            Ok(failure) => {
                let kind = ErrorKind::named(&failure.code).unwrap_or(ErrorKind::Remote);
                let ran = if failure.did_not_run { Ran::No } else { Ran::Maybe };
                state.endpoint.error(kind, "calling").because(failure).ran(ran)
            }
            Err(error) => state.endpoint.error(ErrorKind::BadPeer, "calling").because(error).ran(Ran::Maybe),
        },
    }
}
