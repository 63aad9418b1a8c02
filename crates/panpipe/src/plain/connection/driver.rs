//! The task of a connection, which does what no caller waits for.

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::unix::AsyncFd;

use super::Shared;
use crate::opening::gone;

/// How long a dropped connection may take to write what was sent on it.
const LINGER: Duration = Duration::from_secs(10);

/// Flushes and keeps time for a connection until it is closed.
pub(super) async fn drive(end: End) {
    let shared = &end.0;
    let mut timer: Option<AsyncFd<Arc<OwnedFd>>> = None;
    let mut has_deferred = false;
    let dropped = poll_fn(|cx| poll_drive(shared, &mut timer, &mut has_deferred, cx)).await;
    if dropped {
        let flushed = poll_fn(|cx| shared.readiness.poll_flush(&mut shared.lock().endpoint, cx));
        let _ = tokio::time::timeout(LINGER, flushed).await;
    }
    let shared = Arc::clone(shared);
    drop(end);
    let child = shared.lock().endpoint.take_child();
    drop(shared);
    if let Some(child) = child {
        gone(child).await;
    }
}

/// Closes the connection when its driver ends, also when the runtime ends it, be it before it has begun.
pub(super) struct End(pub(super) Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.endpoint.close();
        state.dispatch();
        for (_, waker) in state.receivers.drain(..) {
            waker.wake();
        }
        if let Some(waker) = state.leader_waker.take() {
            waker.wake();
        }
        state.wake_senders();
    }
}

/// Ready when the connection is to be closed: `true` when its user has let go of it.
fn poll_drive(
    shared: &Shared,
    timer: &mut Option<AsyncFd<Arc<OwnedFd>>>,
    has_deferred: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<bool> {
    let mut state = shared.lock();
    let state = &mut *state;
    state.corked = false;
    let flushed = shared.readiness.poll_flush(&mut state.endpoint, cx).is_ready();
    if flushed || !state.endpoint.is_congested() {
        state.wake_senders();
    }
    // What can never be sent ends the calls that wait for it.
    if state.endpoint.output_failure().is_some() {
        state.dispatch();
    }
    if state.dropped || state.endpoint.is_closed() {
        return Poll::Ready(state.dropped);
    }
    while state.poll_alarm(timer, cx).is_ready() {}
    if !state.driver.as_ref().is_some_and(|driver| driver.will_wake(cx.waker())) {
        state.driver = Some(cx.waker().clone());
    }
    if state.input_waits && state.somebody_waits() {
        // Whoever reads for all was woken too and gets one turn to do so; then this task does.
        if std::mem::replace(has_deferred, true) {
            *has_deferred = false;
            while state.read(shared, None) {}
        } else {
            cx.waker().wake_by_ref();
        }
    } else {
        *has_deferred = false;
    }
    Poll::Pending
}
