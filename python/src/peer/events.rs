//! What a session tells, handed to whoever waits for it.

use std::time::Instant;

use panpipe_link::panpipe::Payload;
use panpipe_link::{CallId, ErrorKind, PanpipeEvent};
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::{End, PeerCore, Running, Stream, resolve};
use crate::value::{self, Fault};
use crate::{error, failure};

/// Events that are handed over before a loop's other callbacks get their turn.
const TURN: usize = 1024;

/// After so many it looks whether what they have brought forth should go out already.
const GLANCE: usize = 16;

impl PeerCore {
    /// Takes in what has come, tells everybody, and writes what that brought forth.
    pub(super) fn pump(slf: &Bound<'_, Self>, reads: bool) -> PyResult<()> {
        let py = slf.py();
        if reads {
            slf.borrow_mut().endpoint.on_readable();
        }
        let dispatched = Self::dispatch(slf);
        let mut this = slf.borrow_mut();
        let this = &mut *this;
        if !matches!(dispatched, Ok(false)) {
            this.has_more = true;
            this.watch.end_turn_soon(py, Instant::now())?;
        }
        if !this.watch.is_corked() {
            this.endpoint.flush();
        }
        this.wake_waiters(py)?;
        this.watch.update(py, &this.endpoint)?;
        dispatched.map(drop)
    }

    /// Hands over every event there is.
    pub(super) fn dispatch_all(slf: &Bound<'_, Self>) -> PyResult<()> {
        while Self::dispatch(slf)? {}
        Ok(())
    }

    /// Hands over the events of a turn; whether more are left.
    fn dispatch(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let mut now = Instant::now();
        for count in 1..=TURN {
            let Some(event) = slf.borrow_mut().endpoint.next_event(now) else { return Ok(false) };
            Self::handle(slf, event)?;
            if count % GLANCE == 0 {
                now = Instant::now();
                let mut this = slf.borrow_mut();
                if this.watch.overlaps(now) {
                    this.endpoint.flush();
                }
            }
        }
        Ok(true)
    }

    #[inline]
    fn handle(slf: &Bound<'_, Self>, event: PanpipeEvent) -> PyResult<()> {
        let py = slf.py();
        match event {
            PanpipeEvent::Call(request) => Self::on_call(slf, &request),
            PanpipeEvent::Send(request) => Self::on_send(slf, request),
            PanpipeEvent::Reply { call, payload } => Self::on_reply(slf, call, &payload),
            PanpipeEvent::Failed { call, failure } => {
                let raised = failure::to_python(py, failure, slf.borrow().endpoint.address());
                Self::on_failed(slf, call, raised)
            }
            PanpipeEvent::Item { call, payload } => slf.borrow_mut().on_item(py, call, payload),
            PanpipeEvent::End { call } => slf.borrow_mut().end_stream(py, call, End::Done),
            PanpipeEvent::Opened { call } | PanpipeEvent::Flushed { flush: call } => {
                let future = slf.borrow_mut().calls.remove(&call.0);
                future.map_or(Ok(()), |future| resolve(future.bind(py), Ok(py.None().into_bound(py))))
            }
            PanpipeEvent::Cancelled { call, why } => Self::on_cancelled(slf, call, why),
            PanpipeEvent::Room { call } => {
                let mut this = slf.borrow_mut();
                let writer = this.streams.get_mut(&call.0).and_then(|stream| stream.writer.take());
                writer.map_or(Ok(()), |writer| resolve(writer.bind(py), Ok(py.None().into_bound(py))))
            }
            PanpipeEvent::Draining => {
                slf.borrow_mut().is_draining = true;
                Ok(())
            }
            // Connections are made again above, each with a session of its own.
            PanpipeEvent::Lost(error) | PanpipeEvent::Ended(error) => Self::on_ended(slf, error.as_ref()),
        }
    }

    #[inline]
    fn on_reply(slf: &Bound<'_, Self>, call: CallId, payload: &Payload) -> PyResult<()> {
        let py = slf.py();
        let (future, has_streams) = {
            let mut this = slf.borrow_mut();
            (this.calls.remove(&call.0), !this.streams.is_empty())
        };
        if let Some(future) = future {
            let value = value::decode(py, &payload.bytes, payload.flags.is_raw());
            resolve(
                future.bind(py),
                value.map_err(|fault| failure::refused(py, fault, "reply", slf.borrow().endpoint.address())),
            )?;
        }
        match has_streams {
            true => slf.borrow_mut().end_stream(py, call, End::Done),
            false => Ok(()),
        }
    }

    pub(super) fn on_failed(slf: &Bound<'_, Self>, call: CallId, raised: PyErr) -> PyResult<()> {
        let py = slf.py();
        let mut this = slf.borrow_mut();
        let this = &mut *this;
        match this.calls.remove(&call.0) {
            Some(future) => {
                resolve(future.bind(py), Err(raised))?;
                this.end_stream(py, call, End::Done)
            }
            None => this.end_stream(py, call, End::Failed(raised)),
        }
    }

    fn on_item(&mut self, py: Python<'_>, call: CallId, payload: Payload) -> PyResult<()> {
        match self.streams.get_mut(&call.0) {
            Some(stream) => {
                stream.items.push_back(payload);
                wake(py, &mut stream.reader)
            }
            // Nobody wants it; the sender may go on to its end.
            None => {
                if let Ok(session) = self.session("streaming from") {
                    session.taken(call, payload.bytes.len());
                }
                Ok(())
            }
        }
    }

    fn end_stream(&mut self, py: Python<'_>, call: CallId, end: End) -> PyResult<()> {
        let Some(stream) = self.streams.get_mut(&call.0) else { return Ok(()) };
        stream.end = Some(end);
        wake(py, &mut stream.writer)?;
        wake(py, &mut stream.reader)
    }

    fn on_cancelled(slf: &Bound<'_, Self>, call: CallId, why: ErrorKind) -> PyResult<()> {
        let py = slf.py();
        let mut this = slf.borrow_mut();
        match this.running.get(&call.0) {
            Some(Running::Task(task)) => {
                let cancel = task.getattr(py, intern!(py, "cancel"))?;
                this.stopped.insert(call.0, why);
                // A task that is cancelled before it began would not answer.
                this.watch.call_soon(py, &cancel)
            }
            Some(Running::Subscription(..)) => {
                drop(this);
                let answer = failure::stopped(py, why)?;
                Self::end_subscription(slf, call, |this| this.send_failure(call, &answer))
            }
            None => Ok(()),
        }
    }

    /// Nothing comes any more: what waits in other ways than for a call is told.
    fn on_ended(slf: &Bound<'_, Self>, error: Option<&panpipe_link::Error>) -> PyResult<()> {
        let py = slf.py();
        let (futures, calls, peer) = {
            let mut this = slf.borrow_mut();
            this.ended = Some(error.cloned().unwrap_or_else(|| {
                let error = this.endpoint.error(ErrorKind::ConnectionLost, "receiving from");
                error.because("the other side closed")
            }));
            let calls: Vec<_> =
                this.streams.iter().filter(|(_, stream)| stream.end.is_none()).map(|(id, _)| *id).collect();
            let futures: Vec<_> = this.calls.drain().map(|(_, future)| future).collect();
            (futures, calls, this.peer.as_ref().map(|peer| peer.clone_ref(py)))
        };
        let lost = || {
            slf.borrow().ended.as_ref().map_or_else(|| PyRuntimeError::new_err(()), |error| error::to_python(py, error))
        };
        for future in futures {
            resolve(future.bind(py), Err(lost()))?;
        }
        for call in calls {
            let lost = lost();
            slf.borrow_mut().end_stream(py, CallId(call), End::Failed(lost))?;
        }
        match peer {
            Some(peer) => peer
                .call_method1(py, intern!(py, "_ended"), (error.map(|error| error::to_python(py, error)),))
                .map(drop),
            None => Ok(()),
        }
    }
}

/// An item as Python has it: its value, or how many were missed here.
pub(crate) fn item_to_python<'py>(py: Python<'py>, item: &Payload) -> Result<Bound<'py, PyAny>, Fault> {
    static MISSED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let value = value::decode(py, &item.bytes, item.flags.is_raw())?;
    match item.flags.is_lagged() {
        true => Ok(MISSED.import(py, "panpipe._missed", "Missed")?.call1((value,))?),
        false => Ok(value),
    }
}

/// Wakes whoever waits, if somebody does.
fn wake(py: Python<'_>, waiter: &mut Option<Py<PyAny>>) -> PyResult<()> {
    match waiter.take() {
        Some(waiter) => resolve(waiter.bind(py), Ok(py.None().into_bound(py))),
        None => Ok(()),
    }
}

impl Stream {
    /// The stream of a call whose arguments are all there.
    pub(super) fn empty() -> Self {
        Stream { end: Some(End::Done), ..Stream::default() }
    }
}
