//! The task of a connection, which answers calls and does what no caller waits for.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use panpipe_link::{Address, Backoff, Link};
use tokio::io::unix::AsyncFd;

use super::answering::answer;
use super::state::{Inbound, Shared};
use crate::opening::{gone, open};

/// How long a connection that has ended or was dropped may take to write what was sent on it.
const LINGER: Duration = Duration::from_secs(10);

/// What a driver is to do next.
enum Step {
    /// Begin handlers.
    Answer(VecDeque<Inbound>),
    /// Make the connection again.
    Dial,
    /// Write what is left, and close.
    Linger,
    /// It is closed.
    End,
}

/// Answers, flushes and keeps time for a connection until it is closed.
pub(super) async fn drive(end: End) {
    let shared = &end.0;
    let mut timer: Option<AsyncFd<Arc<OwnedFd>>> = None;
    let mut dialling: Option<Dialling> = None;
    loop {
        let step = poll_fn(|cx| {
            if let Some(Poll::Ready(link)) = dialling.as_mut().map(|dialling| dialling.as_mut().poll(cx)) {
                dialling = None;
                let mut state = shared.lock();
                if let Err(error) = state.renew(link, &shared.address) {
                    state.endpoint.fail_output(error);
                }
            }
            poll_drive(shared, &mut timer, cx)
        });
        match step.await {
            Step::Answer(batch) => answer(shared, batch).await,
            Step::Dial => dialling = Some(Box::pin(dial(shared.address.clone()))),
            Step::Linger => {
                let flushed = poll_fn(|cx| {
                    let state = &mut *shared.lock();
                    state.readiness.poll_flush(&mut state.endpoint, cx)
                });
                let _ = tokio::time::timeout(LINGER, flushed).await;
                break;
            }
            Step::End => break,
        }
    }
    let shared = Arc::clone(shared);
    drop(end);
    let child = shared.lock().endpoint.take_child();
    drop(shared);
    if let Some(child) = child {
        gone(child).await;
    }
}

type Dialling = Pin<Box<dyn Future<Output = Link> + Send>>;

/// Makes a connection again, however often it takes.
async fn dial(address: Address) -> Link {
    let mut backoff = Backoff::new(&address);
    loop {
        tokio::time::sleep(backoff.pause()).await;
        match open(&address).await {
            Ok(link) => return link,
            Err(error) => tracing::debug!(%error, "the connection is not there yet"),
        }
    }
}

/// Closes the connection when its driver ends, also when the runtime ends it, be it before it has begun.
pub(super) struct End(pub(super) Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let (inbound, serving) = {
            let mut state = self.0.lock();
            state.close();
            (std::mem::take(&mut state.inbound), std::mem::take(&mut state.serving))
        };
        // Their topics are not locked here.
        drop(inbound);
        for (_, serving) in serving {
            if let Some(task) = serving.task {
                task.abort();
            }
            if let Some(taker) = serving.taker {
                taker.wake();
            }
        }
    }
}

fn poll_drive(shared: &Shared, timer: &mut Option<AsyncFd<Arc<OwnedFd>>>, cx: &mut Context<'_>) -> Poll<Step> {
    let mut state = shared.lock();
    let state = &mut *state;
    if !state.driver.as_ref().is_some_and(|driver| driver.will_wake(cx.waker())) {
        state.driver = Some(cx.waker().clone());
    }
    // Whoever reads for all gets a turn, and so do those whom it wakes: what they send goes out together.
    if std::mem::take(&mut state.leader_is_woken) && state.inbound.is_empty() {
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    while state.poll_alarm(timer, cx).is_ready() {}
    if state.input_waits && !state.endpoint.is_closed() {
        while state.read(shared) {
            if !state.inbound.is_empty() {
                break;
            }
        }
    }
    if !state.inbound.is_empty() {
        // There may be more input; it is looked at when these have begun.
        state.input_waits = true;
        return Poll::Ready(Step::Answer(std::mem::take(&mut state.inbound)));
    }
    state.corked = false;
    let _ = state.readiness.poll_flush(&mut state.endpoint, cx);
    // What can never be sent ends the calls that wait for it.
    if state.endpoint.output_failure().is_some() && state.ended.is_none() {
        state.dispatch(std::time::Instant::now());
    }
    state.keep_time();
    // The loop has to know of an alarm that is new.
    while state.poll_alarm(timer, cx).is_ready() {}
    state.wake_senders();
    if state.endpoint.is_closed() {
        return Poll::Ready(Step::End);
    }
    if state.dropped || state.ended.is_some() {
        return Poll::Ready(Step::Linger);
    }
    if state.lost.take().is_some() {
        return Poll::Ready(Step::Dial);
    }
    Poll::Pending
}
