//! A peer for threads that wait: the same session, pumped by whoever is in a call, who also runs handlers meanwhile.

mod served;
mod told;

use std::cell::Cell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use panpipe_link::blocking::Shared;
use panpipe_link::panpipe::{Body, Failure, Flags, Payload, Side};
use panpipe_link::{Address, CallId, Endpoint, ErrorKind, Link, Panpipe, Ran, Result};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use self::told::{Answer, Incoming, Told, Work, taken};
use crate::blocking::remote_to_python;
use crate::interrupt::Interruptible;
use crate::service::{Registry, Topic, running_deadline};
use crate::{error, failure, peer, value};

/// Handlers that wait may have further ones run in the same thread, one in the other, this deep.
const DEEPEST: usize = 64;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// What a step of waiting brought.
enum Step<T> {
    Done(T),
    Work(Work),
}

/// The next of a stream.
enum Next {
    Item(Payload),
    End,
    Failed(Failure),
}

/// What a blocking `panpipe.Peer` does.
#[pyclass(frozen, module = "panpipe")]
pub(crate) struct WaitingCore {
    shared: Shared<Panpipe, Told>,
    timeout: Duration,
    reconnects: bool,
    is_remote: bool,
    service: Option<Py<Registry>>,
    subscriptions: std::sync::Mutex<HashMap<u64, (Py<Topic>, u64)>>,
}

impl WaitingCore {
    pub(crate) fn new(link: Link, address: &Address, side: Side, service: Option<Py<Registry>>) -> Self {
        let shared = Shared::over(Endpoint::open_quiet(link, address, side), Told::default());
        // The hello goes out at once: the other side may wait for it.
        shared.with(|_, _| ());
        WaitingCore {
            shared,
            timeout: address.timeout,
            reconnects: address.reconnect && side == Side::Client,
            is_remote: address.reaches_other_machines(),
            service,
            subscriptions: Default::default(),
        }
    }

    /// Waits until `check` has an answer, and runs handlers meanwhile.
    fn wait<T>(
        slf: &Bound<'_, Self>,
        deadline: Option<Instant>,
        doing: &str,
        mut check: impl FnMut(&mut Endpoint<Panpipe>, &mut Told) -> Option<Result<T>>,
    ) -> PyResult<T> {
        let py = slf.py();
        let may_work = DEPTH.get() < DEEPEST;
        loop {
            let mut wait = Interruptible::new(py);
            let step = slf.get().shared.wait_for(deadline, &mut wait, doing, |endpoint, told| {
                let step = match check(endpoint, told) {
                    Some(done) => done.map(Step::Done),
                    None if may_work => Ok(Step::Work(told.work.pop_front()?)),
                    None => return None,
                };
                if endpoint.wants_write() {
                    endpoint.flush();
                }
                Some(step)
            });
            match wait.result(step)? {
                Step::Done(done) => return Ok(done),
                Step::Work(work) => {
                    DEPTH.set(DEPTH.get() + 1);
                    let worked = Self::work(slf, work);
                    DEPTH.set(DEPTH.get() - 1);
                    worked?;
                }
            }
        }
    }

    /// Does something with the session.
    fn act<T>(&self, py: Python<'_>, doing: &str, act: impl FnOnce(&mut Panpipe) -> Result<T>) -> PyResult<T> {
        error::result(py, self.shared.with(|endpoint, _| endpoint.session_for(doing).and_then(act)))
    }

    /// Begins a call: its id.
    fn begin(
        &self,
        py: Python<'_>,
        method: &str,
        flags: Flags,
        (positional, named): (&Bound<'_, PyTuple>, Option<&Bound<'_, PyDict>>),
        deadline: Option<Instant>,
    ) -> PyResult<CallId> {
        let now = Instant::now();
        let begun = value::with_arguments(positional, named, &mut Vec::new(), |payload| {
            let flags = flags.raw(payload.flags.is_raw()).named(payload.flags.is_named());
            self.shared.with(|endpoint, told| {
                let session = endpoint.session_for("calling")?;
                let call = session.call(method, flags, payload.body, deadline, now)?;
                if flags.is_stream() {
                    told.streams.insert(call.0, Incoming::default());
                }
                Ok(call)
            })
        });
        let begun = begun.map_err(|fault| value::invalid(py, fault, "", &format!("calling {method}")))?;
        error::result(py, begun)
    }

    /// Waits for the answer of a call; whoever gives up the waiting gives up the call.
    fn answer(slf: &Bound<'_, Self>, call: CallId) -> PyResult<Answer> {
        let doing = format!("calling {}", slf.get().shared.address());
        let answer = Self::wait(slf, None, "calling", |_, told| told.answer(call, &doing));
        if answer.is_err() {
            slf.get().forget(call);
        }
        answer
    }

    fn reply<'py>(slf: &Bound<'py, Self>, answer: Answer) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let payload = match answer {
            Answer::Reply(payload) => payload,
            Answer::Failed(failure) => return Err(slf.get().failed(py, failure)),
        };
        let value = value::decode(py, &payload.bytes, payload.flags.is_raw());
        value.map_err(|fault| slf.get().refused(py, fault, "reply"))
    }

    fn failed(&self, py: Python<'_>, failure: Failure) -> PyErr {
        failure::to_python(py, failure, &self.shared.address())
    }

    fn refused(&self, py: Python<'_>, fault: value::Fault, root: &str) -> PyErr {
        failure::refused(py, fault, root, &self.shared.address())
    }

    fn forget(&self, call: CallId) {
        self.shared.with(|endpoint, told| {
            told.answers.remove(&call.0);
            told.streams.remove(&call.0);
            told.confirmed.remove(&call.0);
            if let Ok(session) = endpoint.session_for("cancelling") {
                session.cancel(call);
            }
        });
    }

    /// Whether an item of this call would be sent at once.
    pub(crate) fn has_room(&self, call: CallId) -> bool {
        self.shared.with(|endpoint, _| endpoint.session_for("publishing").is_ok_and(|session| session.has_room(call)))
    }

    /// Sends an item to a subscriber; whether it is there still.
    pub(crate) fn publish(&self, py: Python<'_>, call: CallId, flags: Flags, item: Bytes) -> PyResult<bool> {
        let sent =
            self.shared.with(|endpoint, _| endpoint.session_for("publishing")?.item(call, flags, Body::Shared(item)));
        if let Err(error) = &sent
            && error.kind() == ErrorKind::Lagged
        {
            self.fail(call, &failure::known(py, ErrorKind::Lagged, "the subscriber was too slow", Ran::Maybe)?);
        }
        Ok(sent.is_ok())
    }

    fn fail(&self, call: CallId, answer: &[u8]) {
        self.shared.with(|endpoint, told| {
            told.streams.remove(&call.0);
            told.stopped.remove(&call.0);
            if let Ok(session) = endpoint.session_for("answering") {
                session.fail(call, answer);
            }
        });
    }

    fn subscriptions(&self) -> std::sync::MutexGuard<'_, HashMap<u64, (Py<Topic>, u64)>> {
        self.subscriptions.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The deadline of a call with this timeout: no later than that of the handler that makes it.
fn deadline(timeout: Option<f64>) -> PyResult<Option<Instant>> {
    let now = Instant::now();
    let own = timeout.map(peer::duration).transpose()?.and_then(|timeout| now.checked_add(timeout));
    Ok(own.into_iter().chain(running_deadline()).min())
}

#[pymethods]
impl WaitingCore {
    #[getter]
    fn address(&self) -> String {
        self.shared.address().to_string()
    }

    #[getter]
    fn remote<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        remote_to_python(py, &self.shared.remote())
    }

    #[getter]
    fn late_replies(&self) -> u64 {
        self.shared.with(|endpoint, _| endpoint.session().counts().late_replies)
    }

    #[getter]
    fn timeout(&self) -> f64 {
        self.timeout.as_secs_f64()
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

    /// Whether the other side has gone, or is about to go, by all that has come.
    fn is_over(&self) -> bool {
        self.shared.look();
        self.shared.with(|_, told| told.ended.is_some() || told.is_draining)
    }

    /// Calls a method and waits for its reply.
    fn call<'py>(
        slf: &Bound<'py, Self>,
        method: &str,
        positional: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let call = slf.get().begin(slf.py(), method, Flags::NONE, (positional, named), deadline(timeout)?)?;
        Self::reply(slf, Self::answer(slf, call)?)
    }

    /// Calls a method that is given or gives items: the call's number.
    #[pyo3(signature = (method, positional, named, timeout, is_stream, has_items))]
    #[expect(clippy::too_many_arguments, reason = "they are one call, which Python puts together")]
    fn start(
        &self,
        py: Python<'_>,
        method: &str,
        positional: &Bound<'_, PyTuple>,
        named: Option<&Bound<'_, PyDict>>,
        timeout: Option<f64>,
        is_stream: bool,
        has_items: bool,
    ) -> PyResult<u64> {
        let flags = Flags::NONE.stream(is_stream).arguments(has_items);
        Ok(self.begin(py, method, flags, (positional, named), deadline(timeout)?)?.0)
    }

    /// Waits for the reply of a call that was started.
    fn finish<'py>(slf: &Bound<'py, Self>, call: u64) -> PyResult<Bound<'py, PyAny>> {
        Self::reply(slf, Self::answer(slf, CallId(call))?)
    }

    /// Subscribes to a topic and waits until that stands: the call's number.
    fn subscribe(
        slf: &Bound<'_, Self>,
        topic: &str,
        settings: &Bound<'_, PyDict>,
        timeout: Option<f64>,
    ) -> PyResult<u64> {
        let py = slf.py();
        let arguments = PyTuple::new(py, [settings])?;
        let flags = Flags::NONE.stream(true).topic(true);
        let call = slf.get().begin(py, topic, flags, (&arguments, None), None)?;
        let doing = format!("subscribing to {}", slf.get().shared.address());
        let opened =
            Self::wait(slf, deadline(timeout)?, "subscribing to", |_, told| match told.confirmed.remove(&call.0) {
                true => Some(Ok(None)),
                false => told.answer(call, &doing).map(|answer| answer.map(Some)),
            });
        match opened {
            Ok(None) => return Ok(call.0),
            Ok(Some(answer)) => {
                slf.get().forget(call);
                Self::reply(slf, answer)?;
            }
            Err(raised) => {
                slf.get().forget(call);
                return Err(raised);
            }
        }
        let error = slf.get().shared.with(|endpoint, _| endpoint.error(ErrorKind::BadPeer, "subscribing to"));
        Err(error::to_python(py, &error.because("a reply in place of a subscription")))
    }

    /// Sends a one-way message, or publishes on a topic of the other side; returns once the system has it.
    fn send(
        slf: &Bound<'_, Self>,
        method: &str,
        positional: &Bound<'_, PyTuple>,
        named: Option<&Bound<'_, PyDict>>,
        is_topic: bool,
    ) -> PyResult<()> {
        let py = slf.py();
        let now = Instant::now();
        let sent = value::with_arguments(positional, named, &mut Vec::new(), |payload| {
            let flags = payload.flags.topic(is_topic);
            slf.get()
                .shared
                .with(|endpoint, _| endpoint.session_for("sending to")?.send(method, flags, payload.body, now))
        });
        error::result(py, sent.map_err(|fault| value::invalid(py, fault, "", &format!("sending {method}")))?)?;
        Self::written(slf, None, "sending to")
    }

    /// Waits until the other side has read all that was sent before.
    fn flush(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<()> {
        let py = slf.py();
        let flush = slf.get().act(py, "flushing", |session| session.flush(Instant::now()))?;
        let doing = format!("flushing {}", slf.get().shared.address());
        let flushed = Self::wait(slf, deadline(timeout)?, "flushing", |_, told| {
            match (told.confirmed.remove(&flush.0), &told.ended) {
                (true, _) => Some(Ok(())),
                (false, Some(ended)) => Some(Err(ended.clone().met_while(&*doing))),
                (false, None) => None,
            }
        });
        if flushed.is_err() {
            slf.get().forget(flush);
        }
        flushed
    }

    /// Runs handlers until the other side has closed, or the timeout has passed.
    fn wait_for_end(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<()> {
        Self::wait(slf, deadline(timeout)?, "waiting for", |_, told| {
            told.ended.as_ref().map(|ended| match ended.kind() {
                ErrorKind::ConnectionLost if ended.may_have_run() == Ran::No => Ok(()),
                _ => Err(ended.clone()),
            })
        })
    }

    /// Waits for the next item of a call; `end` when there are no more.
    fn next_item<'py>(slf: &Bound<'py, Self>, call: u64, end: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let doing = format!("streaming from {}", slf.get().shared.address());
        let next = Self::wait(slf, None, "streaming from", |endpoint, told| {
            let Some(stream) = told.streams.get_mut(&call) else { return Some(Ok(Next::End)) };
            if let Some(item) = stream.items.pop_front() {
                taken(endpoint, CallId(call), &item);
                return Some(Ok(Next::Item(item)));
            }
            if stream.has_ended || told.stopped.contains_key(&call) {
                return Some(Ok(Next::End));
            }
            told.answer(CallId(call), &doing).map(|answer| {
                answer.map(|answer| match answer {
                    Answer::Reply(_) => Next::End,
                    Answer::Failed(failure) => Next::Failed(failure),
                })
            })
        })?;
        match next {
            Next::Item(item) => peer::item_to_python(py, &item).map_err(|fault| {
                slf.get().forget(CallId(call));
                slf.get().refused(py, fault, "item")
            }),
            Next::End => {
                slf.get().shared.with(|_, told| told.streams.remove(&call));
                Ok(end)
            }
            Next::Failed(failure) => {
                slf.get().shared.with(|_, told| told.streams.remove(&call));
                Err(slf.get().failed(py, failure))
            }
        }
    }

    /// Waits until a call has an item, has ended, or has room for another item of this side: whether it has that room.
    fn room(slf: &Bound<'_, Self>, call: u64) -> PyResult<bool> {
        Self::wait(slf, None, "streaming to", |endpoint, told| {
            let has_items = told.streams.get(&call).is_some_and(|stream| !stream.items.is_empty());
            if has_items || told.answers.contains_key(&call) || told.ended.is_some() || told.stopped.contains_key(&call)
            {
                return Some(Ok(false));
            }
            match endpoint.session_for("streaming to") {
                Ok(session) => session.has_room(CallId(call)).then_some(Ok(true)),
                Err(error) => Some(Err(error)),
            }
        })
    }

    /// Whether the handler of this call was told to stop.
    fn is_stopped(&self, call: u64) -> bool {
        self.shared.with(|_, told| told.stopped.contains_key(&call) || told.ended.is_some())
    }

    /// Sends an item of a call.
    fn item(slf: &Bound<'_, Self>, call: u64, item: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let mine = slf.get().shared.with(|endpoint, _| endpoint.session().is_mine(CallId(call)));
        let sent = value::with_value(item, &mut Vec::new(), |payload| {
            slf.get().shared.with(|endpoint, _| {
                endpoint.session_for("streaming to")?.item(CallId(call), payload.flags, payload.body)
            })
        });
        let sent = sent.map_err(|fault| match mine {
            true => value::invalid(py, fault, "item", "streaming"),
            false => failure::unanswerable(fault, "item"),
        })?;
        error::result(py, sent)
    }

    /// Ends the arguments of a call of this side.
    fn end(&self, py: Python<'_>, call: u64) -> PyResult<()> {
        self.act(py, "streaming to", |session| {
            session.end(CallId(call));
            Ok(())
        })
    }

    /// Gives up a call of this side.
    fn cancel(&self, call: u64) {
        self.forget(CallId(call));
    }

    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        this.shared.with(|endpoint, _| {
            if let Ok(session) = endpoint.session_for("closing") {
                session.say_goodbye();
            }
        });
        let is_usable =
            this.shared.with(|endpoint, told| endpoint.check_usable("closing").is_ok() && told.ended.is_none());
        let written = match is_usable {
            true => Self::written(slf, Instant::now().checked_add(this.timeout), "closing"),
            false => Ok(()),
        };
        let mut wait = Interruptible::new(py);
        let closed = this.shared.close(Some(this.timeout), &mut wait);
        let closed = wait.result(closed);
        for (_, (topic, number)) in std::mem::take(&mut *this.subscriptions()) {
            topic.borrow_mut(py).unsubscribe(number);
        }
        written.and(closed)
    }
}

impl WaitingCore {
    /// Waits until nothing of this side waits to be written.
    fn written(slf: &Bound<'_, Self>, deadline: Option<Instant>, doing: &str) -> PyResult<()> {
        let place = format!("{doing} {}", slf.get().shared.address());
        Self::wait(slf, deadline, doing, |endpoint, told| {
            if let Some(ended) = &told.ended {
                return Some(Err(ended.clone().met_while(&*place).ran(Ran::Maybe)));
            }
            let is_done = !endpoint.has_unwritten() && !endpoint.session().has_unsent();
            is_done.then_some(Ok(()))
        })
    }
}
