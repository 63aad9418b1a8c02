//! What an asyncio loop watches for a connection, and when it writes.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use panpipe_link::{Alarm, Endpoint, Session};
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit, intern};

use crate::error;

/// In a longer turn what was sent so far goes out once before its end, so that a peer on another CPU need not wait for
/// all of it. Measured: 40 % more calls a second on two CPUs, and 7 % fewer on one; more such flushes cost more there.
const OVERLAP: Duration = Duration::from_micros(25);

/// What the loop calls, of a connection's core.
struct Callbacks {
    on_readable: Py<PyAny>,
    on_writable: Py<PyAny>,
    on_turn_end: Py<PyAny>,
    on_time: Py<PyAny>,
}

/// A loop, and what it watches for one connection.
pub(crate) struct Watch {
    event_loop: Py<PyAny>,
    create_future: Py<PyAny>,
    /// There from the start to the end.
    callbacks: Option<Callbacks>,
    reading: Option<i32>,
    writing: Option<i32>,
    /// A flush is due at the end of this turn of the loop; what is sent until then shares its write.
    corked: bool,
    /// When the turn is so long that the peer could work meanwhile; past once it has got something to work on.
    overlaps_at: Option<Instant>,
    /// Goes off when the session has something to do; made when it is first needed.
    alarm: Option<Alarm>,
}

impl Watch {
    /// Watches nothing yet.
    pub(crate) fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Watch {
            event_loop: event_loop.clone().unbind(),
            create_future: event_loop.getattr(intern!(event_loop.py(), "create_future"))?.unbind(),
            callbacks: None,
            reading: None,
            writing: None,
            corked: false,
            overlaps_at: None,
            alarm: None,
        })
    }

    /// Learns what to call.
    pub(crate) fn start(&mut self, core: &Bound<'_, PyAny>) -> PyResult<()> {
        self.callbacks = Some(Callbacks {
            on_readable: core.getattr("on_readable")?.unbind(),
            on_writable: core.getattr("on_writable")?.unbind(),
            on_turn_end: core.getattr("on_turn_end")?.unbind(),
            on_time: core.getattr("on_time")?.unbind(),
        });
        Ok(())
    }

    pub(crate) fn new_future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.create_future.bind(py).call0()
    }

    /// Whether what is sent now is to wait for the end of the turn.
    #[inline]
    pub(crate) fn is_corked(&self) -> bool {
        self.corked
    }

    /// Whether the turn has become so long that what waits should go out now; says so once.
    #[inline]
    pub(crate) fn overlaps(&mut self, now: Instant) -> bool {
        let is_due = self.overlaps_at.is_some_and(|at| at <= now);
        if is_due {
            self.overlaps_at = None;
        }
        is_due
    }

    /// Has what waits to be written go out at the end of this turn.
    #[inline]
    pub(crate) fn cork<S: Session>(&mut self, py: Python<'_>, endpoint: &Endpoint<S>, now: Instant) -> PyResult<()> {
        match endpoint.wants_write() && !self.corked && self.writing.is_none() {
            true => self.end_turn_soon(py, now),
            false => Ok(()),
        }
    }

    /// Has `on_turn_end` called once the loop has done what it has to do in this turn.
    pub(crate) fn end_turn_soon(&mut self, py: Python<'_>, now: Instant) -> PyResult<()> {
        let Some(callbacks) = &self.callbacks else { return Ok(()) };
        self.corked = true;
        self.overlaps_at = Some(now + OVERLAP);
        self.event_loop.call_method1(py, intern!(py, "call_soon"), (&callbacks.on_turn_end,)).map(drop)
    }

    /// Has the loop call something in its next turn.
    pub(crate) fn call_soon(&self, py: Python<'_>, callback: &Py<PyAny>) -> PyResult<()> {
        self.event_loop.call_method1(py, intern!(py, "call_soon"), (callback,)).map(drop)
    }

    /// The turn has ended.
    pub(crate) fn uncork(&mut self) {
        self.corked = false;
        self.overlaps_at = None;
    }

    /// Brings what the loop watches into line with what the endpoint wants.
    pub(crate) fn update<S: Session>(&mut self, py: Python<'_>, endpoint: &Endpoint<S>) -> PyResult<()> {
        let Some(callbacks) = &self.callbacks else { return Ok(()) };
        let reading = endpoint.wants_read().then(|| endpoint.reader().as_raw_fd());
        if reading != self.reading {
            let (add, remove) = (intern!(py, "add_reader"), intern!(py, "remove_reader"));
            watch(py, &self.event_loop, (self.reading, reading), (add, remove), &callbacks.on_readable)?;
            self.reading = reading;
        }
        let writing = (endpoint.wants_write() && !self.corked).then(|| endpoint.writer().as_raw_fd());
        if writing != self.writing {
            let (add, remove) = (intern!(py, "add_writer"), intern!(py, "remove_writer"));
            watch(py, &self.event_loop, (self.writing, writing), (add, remove), &callbacks.on_writable)?;
            self.writing = writing;
        }
        match endpoint.next_deadline() {
            Some(deadline) => self.wake_at(py, deadline),
            None => Ok(()),
        }
    }

    /// Has `on_time` called at `deadline` at the latest.
    #[inline]
    pub(crate) fn wake_at(&mut self, py: Python<'_>, deadline: Instant) -> PyResult<()> {
        if self.alarm.is_none() {
            let Some(callbacks) = &self.callbacks else { return Ok(()) };
            let alarm = error::result(py, Alarm::new())?;
            let fd = alarm.descriptor().as_raw_fd();
            self.event_loop.call_method1(py, intern!(py, "add_reader"), (fd, &callbacks.on_time))?;
            self.alarm = Some(alarm);
        }
        if let Some(alarm) = &mut self.alarm {
            alarm.set(deadline);
        }
        Ok(())
    }

    /// Has the next update begin anew to watch for input.
    pub(crate) fn forget_reading(&mut self, py: Python<'_>) -> PyResult<()> {
        match self.reading.take() {
            Some(fd) => self.event_loop.call_method1(py, intern!(py, "remove_reader"), (fd,)).map(drop),
            None => Ok(()),
        }
    }

    /// Says that `on_time` was called.
    pub(crate) fn acknowledge_alarm(&mut self) {
        if let Some(alarm) = &mut self.alarm {
            alarm.acknowledge();
        }
    }

    /// Watches nothing any more. What belongs to the process that this one was forked from is left alone.
    pub(crate) fn stop(&mut self, py: Python<'_>, is_ours: bool) -> PyResult<()> {
        let alarm = self.alarm.take();
        let timer = alarm.as_ref().map(|alarm| alarm.descriptor().as_raw_fd());
        let (reading, writing) = (self.reading.take(), self.writing.take());
        self.callbacks = None;
        if !is_ours {
            return Ok(());
        }
        for fd in [reading, timer].into_iter().flatten() {
            self.event_loop.call_method1(py, intern!(py, "remove_reader"), (fd,))?;
        }
        if let Some(fd) = writing {
            self.event_loop.call_method1(py, intern!(py, "remove_writer"), (fd,))?;
        }
        Ok(())
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        visit.call(&self.create_future)?;
        match &self.callbacks {
            Some(Callbacks { on_readable, on_writable, on_turn_end, on_time }) => {
                [on_readable, on_writable, on_turn_end, on_time].into_iter().try_for_each(|each| visit.call(each))
            }
            None => Ok(()),
        }
    }
}

fn watch(
    py: Python<'_>,
    event_loop: &Py<PyAny>,
    (was, is): (Option<i32>, Option<i32>),
    (add, remove): (&Bound<'_, pyo3::types::PyString>, &Bound<'_, pyo3::types::PyString>),
    callback: &Py<PyAny>,
) -> PyResult<()> {
    if let Some(fd) = was {
        event_loop.call_method1(py, remove, (fd,))?;
    }
    if let Some(fd) = is {
        event_loop.call_method1(py, add, (fd, callback))?;
    }
    Ok(())
}
