//! A peer on an asyncio loop: a session of the panpipe protocol, with calls both ways.

mod events;
pub(crate) use events::item_to_python;

mod served;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use panpipe_link::panpipe::{Flags, Payload, Request, Side};
use panpipe_link::{Address, CallId, Endpoint, Error, ErrorKind, Link, Panpipe, Ran, Result};
use pyo3::exceptions::{PyStopAsyncIteration, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit, intern};

use crate::aio::Child;
use crate::blocking::remote_to_python;
use crate::service::{Registry, Topic, running_deadline};
use crate::watch::Watch;
use crate::{error, failure, value};

/// Items that one side of a call gets, or room to send some in.
#[derive(Default)]
struct Stream {
    items: VecDeque<Payload>,
    end: Option<End>,
    /// Futures of those who wait for an item, and for room.
    reader: Option<Py<PyAny>>,
    writer: Option<Py<PyAny>>,
}

/// How a stream has ended.
enum End {
    Done,
    Failed(PyErr),
}

/// What runs for a call of the other side.
enum Running {
    /// A task of the loop, which answers.
    Task(Py<PyAny>),
    /// A subscription, and its number there.
    Subscription(Py<Topic>, u64),
}

/// What a peer of `panpipe.aio` does on its loop.
#[pyclass(module = "panpipe")]
pub(crate) struct PeerCore {
    endpoint: Endpoint<Panpipe>,
    watch: Watch,
    timeout: Duration,
    service: Option<Py<Registry>>,
    /// `panpipe.aio.Peer`, which begins what runs apart; there from the start to the end.
    peer: Option<Py<PyAny>>,
    /// The futures of calls of this side, and of flushes.
    calls: HashMap<u64, Py<PyAny>>,
    /// The streams of calls of both sides.
    streams: HashMap<u64, Stream>,
    /// What runs for calls of the other side, and what stopped it.
    running: HashMap<u64, Running>,
    stopped: HashMap<u64, ErrorKind>,
    /// One-way messages whose handlers run.
    sends: HashMap<u64, Request>,
    /// Futures of those who wait for room to send, until nothing is written or nothing runs; they look themselves.
    waiters: Vec<Py<PyAny>>,
    /// Events are left that this turn did not get to.
    has_more: bool,
    is_draining: bool,
    is_remote: bool,
    reconnects: bool,
    /// Why the connection is over, if this side did not close it.
    ended: Option<Error>,
    scratch: Vec<u8>,
}

impl PeerCore {
    pub(crate) fn new(link: Link, address: &Address, side: Side, event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let has_more = link.has_begun();
        Ok(PeerCore {
            endpoint: Endpoint::open(link, address, side),
            watch: Watch::new(event_loop)?,
            timeout: address.timeout,
            service: None,
            peer: None,
            calls: HashMap::new(),
            streams: HashMap::new(),
            running: HashMap::new(),
            stopped: HashMap::new(),
            sends: HashMap::new(),
            waiters: Vec::new(),
            has_more,
            is_draining: false,
            is_remote: address.reaches_other_machines(),
            reconnects: address.reconnect && side == Side::Client,
            ended: None,
            scratch: Vec::new(),
        })
    }

    /// The session, if it can be used for `doing`.
    #[inline]
    fn session(&mut self, doing: &str) -> Result<&mut Panpipe> {
        match &self.ended {
            None => self.endpoint.session_for(doing),
            Some(ended) => {
                let doing = format!("{doing} {}", self.endpoint.address());
                Err(ended.clone().met_while(doing).ran(Ran::No))
            }
        }
    }

    /// Lends the buffer that values are encoded in.
    #[inline]
    fn with_scratch<T>(slf: &Bound<'_, Self>, use_it: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        // Code of the user's that runs for a value may come back here.
        let mut scratch = std::mem::take(&mut slf.borrow_mut().scratch);
        let result = use_it(&mut scratch);
        slf.borrow_mut().scratch = scratch;
        result
    }

    /// Begins a call: its id.
    #[inline]
    fn begin(
        slf: &Bound<'_, Self>,
        method: &str,
        flags: Flags,
        (positional, named): (&Bound<'_, PyTuple>, Option<&Bound<'_, PyDict>>),
        deadline: Option<Instant>,
        now: Instant,
    ) -> PyResult<CallId> {
        let py = slf.py();
        let begun = Self::with_scratch(slf, |scratch| {
            value::with_arguments(positional, named, scratch, |payload| {
                let mut this = slf.borrow_mut();
                let flags = flags.raw(payload.flags.is_raw()).named(payload.flags.is_named());
                let begun = this
                    .session("calling")
                    .and_then(|session| session.call(method, flags, payload.body, deadline, now));
                error::result(py, begun)
            })
        });
        begun.map_err(|fault| value::invalid(py, fault, "", &format!("calling {method}")))?
    }

    /// After something was sent: at once when nothing else is on its way, else at the end of the turn.
    #[inline]
    fn after_sending(&mut self, py: Python<'_>, is_alone: bool, now: Instant) -> PyResult<()> {
        if is_alone && !self.watch.is_corked() || self.watch.overlaps(now) {
            self.endpoint.flush();
        }
        self.watch.cork(py, &self.endpoint, now)
    }

    /// Whether an item of this call would be sent at once.
    pub(crate) fn has_room(&mut self, call: CallId) -> bool {
        self.session("publishing").is_ok_and(|session| session.has_room(call))
    }

    /// Sends an item to a subscriber; whether it is there still.
    pub(crate) fn publish(slf: &Bound<'_, Self>, call: CallId, flags: Flags, item: Bytes) -> PyResult<bool> {
        let py = slf.py();
        let mut this = slf.borrow_mut();
        let this = &mut *this;
        let Ok(session) = this.session("publishing") else { return Ok(false) };
        match session.item(call, flags, panpipe_link::panpipe::Body::Shared(item)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Lagged => {
                this.running.remove(&call.0);
                let answer = failure::known(py, ErrorKind::Lagged, "the subscriber was too slow", Ran::Maybe)?;
                this.send_failure(call, &answer);
                this.watch_output(py)?;
                return Ok(false);
            }
            Err(_) => return Ok(false),
        }
        this.watch_output(py)?;
        Ok(true)
    }

    /// A future that is done when an item of this call may be sent again.
    pub(crate) fn room_comes<'py>(&mut self, py: Python<'py>, call: CallId) -> PyResult<Bound<'py, PyAny>> {
        let future = self.watch.new_future(py)?;
        self.streams.entry(call.0).or_default().writer = Some(future.clone().unbind());
        Ok(future)
    }

    /// Has what waits to be written go out at the end of this turn.
    #[inline]
    fn watch_output(&mut self, py: Python<'_>) -> PyResult<()> {
        self.watch.cork(py, &self.endpoint, Instant::now())
    }

    fn wake_waiters(&mut self, py: Python<'_>) -> PyResult<()> {
        for future in self.waiters.drain(..) {
            resolve(future.bind(py), Ok(py.None().into_bound(py)))?;
        }
        Ok(())
    }
}

/// The deadline of a call with this timeout: no later than that of the handler that makes it.
fn deadline(py: Python<'_>, timeout: Option<Duration>, now: Instant) -> PyResult<Option<Instant>> {
    static INHERITED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let own = timeout.and_then(|timeout| now.checked_add(timeout));
    let inherited = match running_deadline() {
        None if served::has_begun_handlers() => {
            let left = INHERITED.import(py, "panpipe._context", "inherited")?.call0()?.extract::<Option<f64>>()?;
            left.map(duration).transpose()?.and_then(|left| now.checked_add(left))
        }
        running => running,
    };
    Ok(own.into_iter().chain(inherited).min())
}

pub(crate) fn duration(seconds: f64) -> PyResult<Duration> {
    let wrong = |_| PyValueError::new_err("a timeout is a number of seconds, zero or more, or None");
    Duration::try_from_secs_f64(seconds).map_err(wrong)
}

/// Ends the waiting of a future, unless whoever waited gave up in this turn of the loop and could not say so yet.
fn resolve(future: &Bound<'_, PyAny>, outcome: PyResult<Bound<'_, PyAny>>) -> PyResult<()> {
    let py = future.py();
    let set = match outcome {
        Ok(value) => future.call_method1(intern!(py, "set_result"), (value,)),
        Err(raised) => future.call_method1(intern!(py, "set_exception"), (raised.into_value(py),)),
    };
    match set {
        Err(failure) if !future.call_method0(intern!(py, "done"))?.is_truthy()? => Err(failure),
        _ => Ok(()),
    }
}

#[pymethods]
impl PeerCore {
    #[getter]
    fn address(&self) -> String {
        self.endpoint.address().to_string()
    }

    #[getter]
    fn remote<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        remote_to_python(py, &self.endpoint.remote())
    }

    /// Answers that came after their call had ended.
    #[getter]
    fn late_replies(&self) -> u64 {
        self.endpoint.session().counts().late_replies
    }

    #[getter]
    fn timeout(&self) -> f64 {
        self.timeout.as_secs_f64()
    }

    #[getter]
    fn congested(&self) -> bool {
        self.endpoint.is_congested() || self.endpoint.session().is_backed_up()
    }

    #[getter]
    fn unwritten(&self) -> bool {
        self.endpoint.has_unwritten() || self.endpoint.session().has_unsent()
    }

    /// Calls of the other side that are not answered.
    #[getter]
    fn serving(&self) -> usize {
        self.endpoint.session().serving()
    }

    #[getter]
    fn closed(&self) -> bool {
        self.endpoint.is_closed()
    }

    /// Whether the other side begins no more calls.
    #[getter]
    fn draining(&self) -> bool {
        self.is_draining
    }

    /// Whether the other side may be on another machine.
    #[getter]
    fn remote_machine(&self) -> bool {
        self.is_remote
    }

    /// Whether the address asks for a connection that was lost to be made again; only who connected can do that.
    #[getter]
    fn reconnects(&self) -> bool {
        self.reconnects
    }

    #[getter]
    fn ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Begins to watch the descriptors, for a `panpipe.aio.Peer` with its service.
    fn start(slf: &Bound<'_, Self>, peer: Py<PyAny>, service: Option<Py<Registry>>) -> PyResult<()> {
        let mut this = slf.borrow_mut();
        let this = &mut *this;
        this.peer = Some(peer);
        this.service = service;
        this.watch.start(slf)?;
        if this.has_more {
            this.watch.end_turn_soon(slf.py(), Instant::now())?;
        }
        this.watch.update(slf.py(), &this.endpoint)
    }

    /// Calls a method: the call's number, and the future of its reply. `streams` says that items follow.
    fn call<'py>(
        slf: &Bound<'py, Self>,
        method: &str,
        positional: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
        timeout: Option<f64>,
        streams: bool,
    ) -> PyResult<(u64, Bound<'py, PyAny>)> {
        let py = slf.py();
        let now = Instant::now();
        let deadline = deadline(py, timeout.map(duration).transpose()?, now)?;
        let flags = Flags::NONE.arguments(streams);
        let call = Self::begin(slf, method, flags, (positional, named), deadline, now)?;
        let mut this = slf.borrow_mut();
        let this = &mut *this;
        let future = this.watch.new_future(py)?;
        // A lone call goes out at once. While others are not yet answered more will follow in this turn, and they share
        // a write.
        let is_alone = this.calls.is_empty();
        this.calls.insert(call.0, future.clone().unbind());
        if streams {
            this.streams.insert(call.0, Stream::default());
        }
        this.after_sending(py, is_alone, now)?;
        if let Some(deadline) = deadline {
            this.watch.wake_at(py, deadline)?;
        }
        Ok((call.0, future))
    }

    /// Calls a method that streams: the call's number. `streams` says that items follow, too.
    fn stream(
        slf: &Bound<'_, Self>,
        method: &str,
        positional: &Bound<'_, PyTuple>,
        named: Option<&Bound<'_, PyDict>>,
        timeout: Option<f64>,
        streams: bool,
    ) -> PyResult<u64> {
        let py = slf.py();
        let now = Instant::now();
        let deadline = deadline(py, timeout.map(duration).transpose()?, now)?;
        let flags = Flags::NONE.stream(true).arguments(streams);
        let call = Self::begin(slf, method, flags, (positional, named), deadline, now)?;
        let mut this = slf.borrow_mut();
        this.streams.insert(call.0, Stream::default());
        this.after_sending(py, true, now)?;
        if let Some(deadline) = deadline {
            this.watch.wake_at(py, deadline)?;
        }
        Ok(call.0)
    }

    /// Subscribes to a topic: the call's number, and a future that is done when the subscription stands.
    fn subscribe<'py>(
        slf: &Bound<'py, Self>,
        topic: &str,
        settings: &Bound<'py, PyDict>,
    ) -> PyResult<(u64, Bound<'py, PyAny>)> {
        let py = slf.py();
        let now = Instant::now();
        let arguments = PyTuple::new(py, [settings])?;
        let call = Self::begin(slf, topic, Flags::NONE.stream(true).topic(true), (&arguments, None), None, now)?;
        let mut this = slf.borrow_mut();
        let future = this.watch.new_future(py)?;
        this.calls.insert(call.0, future.clone().unbind());
        this.streams.insert(call.0, Stream::default());
        this.after_sending(py, true, now)?;
        Ok((call.0, future))
    }

    /// Sends a one-way message, or publishes on a topic of the other side.
    fn send(
        slf: &Bound<'_, Self>,
        method: &str,
        positional: &Bound<'_, PyTuple>,
        named: Option<&Bound<'_, PyDict>>,
        is_topic: bool,
    ) -> PyResult<()> {
        let py = slf.py();
        let now = Instant::now();
        let sent = Self::with_scratch(slf, |scratch| {
            value::with_arguments(positional, named, scratch, |payload| {
                let mut this = slf.borrow_mut();
                let flags = payload.flags.topic(is_topic);
                let session = this.session("sending to");
                error::result(py, session.and_then(|session| session.send(method, flags, payload.body, now)))
            })
        });
        sent.map_err(|fault| value::invalid(py, fault, "", &format!("sending {method}")))??;
        let mut this = slf.borrow_mut();
        let this = &mut *this;
        // The first write of a turn goes out at once, the rest of the turn is joined.
        if !this.watch.is_corked() {
            this.endpoint.flush();
            return this.watch.end_turn_soon(py, now);
        }
        this.after_sending(py, false, now)
    }

    /// A future that is done when the other side has read all that was sent before.
    fn flush<'py>(slf: &Bound<'py, Self>) -> PyResult<(u64, Bound<'py, PyAny>)> {
        let py = slf.py();
        let mut this = slf.borrow_mut();
        let this = &mut *this;
        let now = Instant::now();
        let flush = this.session("flushing").and_then(|session| session.flush(now));
        let flush = error::result(py, flush)?;
        let future = this.watch.new_future(py)?;
        this.calls.insert(flush.0, future.clone().unbind());
        this.after_sending(py, true, now)?;
        Ok((flush.0, future))
    }

    /// Gives up a call of this side, or a flush.
    fn cancel(slf: &Bound<'_, Self>, call: u64) -> PyResult<()> {
        let py = slf.py();
        let mut this = slf.borrow_mut();
        let this = &mut *this;
        this.calls.remove(&call);
        let stream = this.streams.remove(&call);
        let Ok(session) = this.session("cancelling") else { return Ok(()) };
        session.cancel(CallId(call));
        this.watch_output(py)?;
        match stream.and_then(|stream| stream.writer) {
            Some(writer) => resolve(writer.bind(py), Ok(py.None().into_bound(py))),
            None => Ok(()),
        }
    }

    /// The next item of a call, or the number that `pending` is when it is still to come; StopAsyncIteration at the end.
    fn next_item<'py>(slf: &Bound<'py, Self>, call: u64, pending: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let item = {
            let mut this = slf.borrow_mut();
            let this = &mut *this;
            let Some(stream) = this.streams.get_mut(&call) else { return Err(PyStopAsyncIteration::new_err(())) };
            let Some(item) = stream.items.pop_front() else {
                return match stream.end.take() {
                    None => Ok(pending),
                    Some(end) => {
                        this.streams.remove(&call);
                        match end {
                            End::Done => Err(PyStopAsyncIteration::new_err(())),
                            End::Failed(raised) => Err(raised),
                        }
                    }
                };
            };
            if let Ok(session) = this.session("streaming from") {
                session.taken(CallId(call), item.bytes.len());
                this.watch_output(py)?;
            }
            item
        };
        item_to_python(py, &item).map_err(|fault| {
            // What follows is of no use to whoever cannot read this.
            let cancelled = match slf.borrow().endpoint.session().is_mine(CallId(call)) {
                true => Self::cancel(slf, call),
                false => Ok(()),
            };
            let refused = failure::refused(py, fault, "item", slf.borrow().endpoint.address());
            cancelled.err().unwrap_or(refused)
        })
    }

    /// A future that is done when it is worth looking for an item again.
    fn item_comes<'py>(&mut self, py: Python<'py>, call: u64) -> PyResult<Bound<'py, PyAny>> {
        let future = self.watch.new_future(py)?;
        match self.streams.get_mut(&call) {
            Some(stream) => stream.reader = Some(future.clone().unbind()),
            None => resolve(&future, Ok(py.None().into_bound(py)))?,
        }
        Ok(future)
    }

    /// Sends an item of a call; `None` when the next one may follow, else a future that is done when it may.
    fn item<'py>(slf: &Bound<'py, Self>, call: u64, item: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        let sent = Self::with_scratch(slf, |scratch| {
            value::with_value(item, scratch, |payload| {
                let mut this = slf.borrow_mut();
                let session = this.session("streaming to");
                error::result(py, session.and_then(|session| session.item(CallId(call), payload.flags, payload.body)))
            })
        });
        sent.map_err(|fault| match slf.borrow().endpoint.session().is_mine(CallId(call)) {
            true => value::invalid(py, fault, "item", "streaming"),
            false => failure::unanswerable(fault, "item"),
        })??;
        let mut this = slf.borrow_mut();
        let this = &mut *this;
        this.watch_output(py)?;
        match this.has_room(CallId(call)) {
            true => Ok(None),
            false => this.room_comes(py, CallId(call)).map(Some),
        }
    }

    /// Ends a call of this side whose arguments failed with `raised`, unless it has ended.
    fn abort(slf: &Bound<'_, Self>, call: u64, raised: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut this = slf.borrow_mut();
        if let Ok(session) = this.session("cancelling") {
            session.cancel(CallId(call));
        }
        this.watch_output(slf.py())?;
        drop(this);
        Self::on_failed(slf, CallId(call), PyErr::from_value(raised.clone()))
    }

    /// Ends the arguments of a call of this side.
    fn end(&mut self, py: Python<'_>, call: u64) -> PyResult<()> {
        if let Ok(session) = self.session("streaming to") {
            session.end(CallId(call));
        }
        self.watch_output(py)
    }

    /// A future that is done when something was written, came, or ended.
    fn change<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let future = self.watch.new_future(py)?;
        // Those who have given up do not pile up.
        let mut waiting = Vec::new();
        for waiter in self.waiters.drain(..) {
            if !waiter.call_method0(py, intern!(py, "done"))?.is_truthy(py)? {
                waiting.push(waiter);
            }
        }
        waiting.push(future.clone().unbind());
        self.waiters = waiting;
        Ok(future)
    }

    /// Answers a call of the other side whose handler was a task.
    fn reply(slf: &Bound<'_, Self>, call: u64, result: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::answer_task(slf, call, result)
    }

    /// Answers a call of the other side whose handler, a task, has raised.
    fn fail(slf: &Bound<'_, Self>, call: u64, raised: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::answer_task_raised(slf, call, raised)
    }

    /// Answers a call of the other side whose handler, a task, was stopped.
    fn stop(slf: &Bound<'_, Self>, call: u64) -> PyResult<()> {
        Self::answer_task_stopped(slf, call)
    }

    /// Says that the handler of a one-way message, a task, has ended.
    fn handled(&mut self, py: Python<'_>, id: u64) -> PyResult<()> {
        self.task_handled(py, id)
    }

    /// Begins no more calls of the other side, and tells it.
    fn say_goodbye(&mut self, py: Python<'_>) -> PyResult<()> {
        if let Ok(session) = self.session("closing") {
            session.say_goodbye();
        }
        self.watch_output(py)
    }

    /// Ends the subscriptions of the other side: nothing more comes.
    fn end_subscriptions(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::end_all_subscriptions(slf)
    }

    fn on_readable(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::pump(slf, true)
    }

    fn on_writable(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.borrow_mut().endpoint.flush();
        Self::pump(slf, false)
    }

    fn on_turn_end(slf: &Bound<'_, Self>) -> PyResult<()> {
        let has_more = {
            let mut this = slf.borrow_mut();
            this.watch.uncork();
            std::mem::take(&mut this.has_more)
        };
        match has_more {
            true => Self::pump(slf, false),
            false => {
                let mut this = slf.borrow_mut();
                let this = &mut *this;
                this.endpoint.flush();
                this.wake_waiters(slf.py())?;
                this.watch.update(slf.py(), &this.endpoint)
            }
        }
    }

    fn on_time(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.borrow_mut().watch.acknowledge_alarm();
        Self::pump(slf, false)
    }

    /// The error for what did not come about in time.
    fn timed_out(&self, py: Python<'_>, doing: &str) -> PyErr {
        let error = self.endpoint.error(ErrorKind::DeadlineExceeded, doing);
        error::to_python(py, &error.because("not within the timeout"))
    }

    /// Closes; whoever waits is told. Unless it `was_wanted`, errors go on to tell what ended the connection.
    fn close(slf: &Bound<'_, Self>, was_wanted: bool) -> PyResult<()> {
        let py = slf.py();
        {
            let mut this = slf.borrow_mut();
            let this = &mut *this;
            if was_wanted {
                this.ended = None;
            }
            let is_ours = this.endpoint.check_usable("closing").is_ok();
            // Before the descriptors close: a loop must not watch a number that may name another file soon.
            this.watch.stop(py, is_ours)?;
            this.endpoint.close();
        }
        Self::dispatch_all(slf)?;
        let mut this = slf.borrow_mut();
        this.peer = None;
        this.wake_waiters(py)
    }

    /// The child at the other end, to be waited for after `close`.
    fn child(&mut self) -> Option<Child> {
        self.endpoint.take_child().map(Child)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        self.watch.traverse(&visit)?;
        visit.call(&self.peer)?;
        visit.call(&self.service)?;
        for future in self.calls.values().chain(&self.waiters) {
            visit.call(future)?;
        }
        for stream in self.streams.values() {
            visit.call(&stream.reader)?;
            visit.call(&stream.writer)?;
        }
        for running in self.running.values() {
            match running {
                Running::Task(task) => visit.call(task)?,
                Running::Subscription(topic, _) => visit.call(topic)?,
            }
        }
        Ok(())
    }

    fn __clear__(&mut self) {
        self.peer = None;
        self.calls.clear();
        self.waiters.clear();
        self.streams.clear();
        self.running.clear();
    }
}
