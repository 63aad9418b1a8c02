//! The calls of the other side, and what answers them.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use panpipe_link::panpipe::{Flags, Policy, Request};
use panpipe_link::{CallId, ErrorKind, Ran};
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use super::{PeerCore, Running, Stream, policy};
use crate::server::logger;
use crate::service::{Handler, Runs, run_for, seconds_left, stopped};
use crate::value::{self, Fault};

/// What a handler attached to its error is passed on up to this size.
const MOST_DATA: usize = 1 << 20;

/// Whether a handler has ever begun here, which calls may inherit their deadline from. Asking Python costs every call.
static HAS_BEGUN_HANDLERS: AtomicBool = AtomicBool::new(false);

#[inline]
pub(super) fn has_begun_handlers() -> bool {
    HAS_BEGUN_HANDLERS.load(Relaxed)
}

type Arguments<'py> = (Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>);

/// Why a request was not begun.
enum Refusal {
    /// This says why.
    Known(ErrorKind, String),
    /// What Python raised says why.
    Raised(PyErr),
}

impl From<PyErr> for Refusal {
    fn from(raised: PyErr) -> Self {
        Refusal::Raised(raised)
    }
}

impl PeerCore {
    pub(super) fn on_call(slf: &Bound<'_, Self>, request: &Request) -> PyResult<()> {
        let (call, flags) = (request.id, request.flags);
        if flags.is_topic() {
            return Self::on_subscribe(slf, request);
        }
        let found = Self::find(slf, request).and_then(|found| {
            let (handler, _) = &found;
            let name = request.name();
            let refusal = match (handler.get().is_stream, flags.is_stream(), handler.get().takes_items) {
                (true, false, _) => Some(format!("{name} streams, and was called for a reply alone")),
                (false, true, _) => Some(format!("{name} does not stream, and was called for items")),
                (.., false) if flags.has_arguments() => Some(format!("{name} takes no stream of arguments")),
                _ => None,
            };
            refusal.map_or(Ok(found), |refusal| Err(Refusal::Known(ErrorKind::InvalidArguments, refusal)))
        });
        let (handler, arguments) = match found {
            Ok(found) => found,
            Err(refusal) => return Self::refuse(slf, call, refusal),
        };
        if handler.get().takes_items {
            let stream = if flags.has_arguments() { Stream::default() } else { Stream::empty() };
            slf.borrow_mut().streams.insert(call.0, stream);
            return Self::begin_apart(slf, &handler, &arguments, request, true);
        }
        let arguments = match fit(&handler, arguments) {
            Ok(arguments) => arguments,
            Err(refusal) => return Self::refuse(slf, call, refusal),
        };
        if handler.get().runs == Runs::Apart {
            return Self::begin_apart(slf, &handler, &arguments, request, true);
        }
        match Self::run(slf, &handler, &arguments, request.deadline) {
            Ok(result) => Self::answer(slf, call, &result, request.deadline),
            Err(raised) => Self::answer_raised(slf, call, raised),
        }
    }

    pub(super) fn on_send(slf: &Bound<'_, Self>, request: Request) -> PyResult<()> {
        let py = slf.py();
        if request.flags.is_topic() {
            let published = Self::on_publish(slf, &request);
            slf.borrow_mut().give_back(&request);
            return published;
        }
        let found = Self::find(slf, &request);
        let found = found.and_then(|(handler, arguments)| match handler.get().takes_items {
            true => Ok((handler, arguments)),
            false => fit(&handler, arguments).map(|arguments| (handler, arguments)),
        });
        let (handler, arguments) = match found {
            Ok(found) => found,
            Err(refusal) => {
                slf.borrow_mut().give_back(&request);
                return match refusal {
                    Refusal::Known(kind, reason) => log(py, &format!("{}: {kind}: {reason}", request.name()), None),
                    Refusal::Raised(raised) => log(py, request.name(), Some(raised)),
                };
            }
        };
        if handler.get().runs == Runs::Apart {
            let id = request.id.0;
            slf.borrow_mut().sends.insert(id, request.clone());
            return Self::begin_apart(slf, &handler, &arguments, &request, false);
        }
        let outcome = Self::run(slf, &handler, &arguments, None);
        slf.borrow_mut().give_back(&request);
        match outcome {
            Ok(_) => Ok(()),
            Err(raised) if raised.is_instance_of::<PyException>(py) => log(py, request.name(), Some(raised)),
            Err(raised) => Err(raised),
        }
    }

    fn give_back(&mut self, request: &Request) {
        if let Ok(session) = self.session("receiving from") {
            session.handled(request);
        }
    }

    /// The handler of a request, and its arguments as they came.
    #[inline]
    fn find<'py>(slf: &Bound<'py, Self>, request: &Request) -> Result<(Bound<'py, Handler>, Arguments<'py>), Refusal> {
        let py = slf.py();
        let handler = slf.borrow().service.as_ref().and_then(|service| service.get().method(py, request.name()));
        let Some(handler) = handler else {
            return Err(Refusal::Known(ErrorKind::NotFound, format!("no method is called {:?}", request.name())));
        };
        let payload = request.payload();
        let flags = payload.flags;
        match value::decode_arguments(py, &payload.bytes, flags.is_raw(), flags.is_named()) {
            Ok(arguments) => Ok((handler, arguments)),
            Err(Fault::Value { path, reason }) => {
                Err(Refusal::Known(ErrorKind::InvalidArguments, format!("{path}: {reason}")))
            }
            Err(Fault::Raised(raised)) => Err(Refusal::Raised(raised)),
        }
    }

    /// Runs a plain handler.
    #[inline]
    fn run<'py>(
        slf: &Bound<'py, Self>,
        handler: &Bound<'py, Handler>,
        (positional, named): &Arguments<'py>,
        deadline: Option<Instant>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let peer = slf.borrow().peer.as_ref().map(|peer| peer.clone_ref(py));
        let function = handler.get().function.bind(py);
        run_for(py, peer, deadline, || match named {
            None => function.call1(positional),
            Some(named) => function.call(positional, Some(named)),
        })
    }

    /// Has Python begin a handler that is a task.
    fn begin_apart(
        slf: &Bound<'_, Self>,
        handler: &Bound<'_, Handler>,
        (positional, named): &Arguments<'_>,
        request: &Request,
        is_call: bool,
    ) -> PyResult<()> {
        let py = slf.py();
        let Some(peer) = slf.borrow().peer.as_ref().map(|peer| peer.clone_ref(py)) else { return Ok(()) };
        let left = request.deadline.map(seconds_left);
        let method = &handler.get().method;
        let fits = !handler.get().takes_items;
        let begin = if is_call { intern!(py, "_begin") } else { intern!(py, "_begin_send") };
        HAS_BEGUN_HANDLERS.store(true, Relaxed);
        let task = peer.call_method1(py, begin, (request.id.0, method, positional, named, left, fits))?;
        slf.borrow_mut().running.insert(request.id.0, Running::Task(task));
        Ok(())
    }

    /// Answers with what a plain handler returned.
    #[inline]
    fn answer(
        slf: &Bound<'_, Self>,
        call: CallId,
        result: &Bound<'_, PyAny>,
        deadline: Option<Instant>,
    ) -> PyResult<()> {
        let py = slf.py();
        let fault = match Self::reply_with(slf, call, result) {
            Ok(()) => return Ok(()),
            Err(fault) => fault,
        };
        if result.hasattr(intern!(py, "__await__"))? {
            let Some(peer) = slf.borrow().peer.as_ref().map(|peer| peer.clone_ref(py)) else { return Ok(()) };
            HAS_BEGUN_HANDLERS.store(true, Relaxed);
            let task = peer.call_method1(py, intern!(py, "_await"), (call.0, result, deadline.map(seconds_left)))?;
            slf.borrow_mut().running.insert(call.0, Running::Task(task));
            return Ok(());
        }
        Self::answer_raised(slf, call, unanswerable(fault, "result"))
    }

    #[inline]
    fn reply_with(slf: &Bound<'_, Self>, call: CallId, result: &Bound<'_, PyAny>) -> Result<(), Fault> {
        Self::with_scratch(slf, |scratch| {
            value::with_value(result, scratch, |payload| {
                if let Ok(session) = slf.borrow_mut().session("answering") {
                    session.reply(call, payload.flags, payload.body);
                }
            })
        })
    }

    /// Answers with what a handler raised; what is meant to end the program, such as KeyboardInterrupt, goes on.
    fn answer_raised(slf: &Bound<'_, Self>, call: CallId, raised: PyErr) -> PyResult<()> {
        static TO_MAP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = slf.py();
        let to_map = TO_MAP.import(py, "panpipe._error", "to_map")?;
        let map = to_map.call1((raised.clone_ref(py).into_value(py), pyo3::wrap_pyfunction!(can_send, py)?))?;
        slf.borrow_mut().fail_encoded(map.cast::<PyDict>()?, call)?;
        match raised.is_instance_of::<PyException>(py) {
            true => Ok(()),
            false => Err(raised),
        }
    }

    fn refuse(slf: &Bound<'_, Self>, call: CallId, refusal: Refusal) -> PyResult<()> {
        match refusal {
            Refusal::Known(kind, reason) => slf.borrow_mut().fail_with(slf.py(), call, kind, &reason, Ran::No),
            Refusal::Raised(raised) => Self::answer_raised(slf, call, raised),
        }
    }

    fn on_subscribe(slf: &Bound<'_, Self>, request: &Request) -> PyResult<()> {
        let py = slf.py();
        let call = request.id;
        let topic = slf.borrow().service.as_ref().and_then(|service| service.get().topic(py, request.name()));
        let Some(topic) = topic else {
            let refusal = Refusal::Known(ErrorKind::NotFound, format!("no topic is called {:?}", request.name()));
            return Self::refuse(slf, call, refusal);
        };
        let payload = request.payload();
        let policy = match value::decode(py, &payload.bytes, payload.flags.is_raw()) {
            Ok(settings) => policy(&settings)?,
            Err(_) => Err("settings that are no value".into()),
        };
        let policy: Policy = match policy {
            Ok(policy) => policy,
            Err(reason) => return Self::refuse(slf, call, Refusal::Known(ErrorKind::InvalidArguments, reason)),
        };
        let (number, retained) = topic.borrow_mut().subscribe(slf, call, policy);
        let mut this = slf.borrow_mut();
        this.running.insert(call.0, Running::Subscription(topic.unbind(), number));
        if let Ok(session) = this.session("answering") {
            session.open(call, policy);
        }
        drop(this);
        if let Some((flags, item)) = retained {
            Self::publish(slf, call, flags, item)?;
        }
        Ok(())
    }

    /// Passes on what the other side publishes on a topic of this one.
    fn on_publish(slf: &Bound<'_, Self>, request: &Request) -> PyResult<()> {
        let py = slf.py();
        let topic = slf.borrow().service.as_ref().and_then(|service| service.get().topic(py, request.name()));
        let Some(topic) = topic else {
            return log(py, &format!("{}: not-found: no such topic", request.name()), None);
        };
        let payload = request.payload();
        // Nobody is to get what is no value.
        match value::decode(py, &payload.bytes, payload.flags.is_raw()) {
            Ok(_) => {
                crate::service::Topic::publish_encoded(&topic, Flags::NONE.raw(payload.flags.is_raw()), payload.bytes)
            }
            Err(_) => log(py, &format!("{}: invalid-arguments: no value was published", request.name()), None),
        }
    }
}

impl PeerCore {
    /// Answers a call of the other side whose handler was a task.
    pub(super) fn answer_task(slf: &Bound<'_, Self>, call: u64, result: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Err(fault) = Self::reply_with(slf, CallId(call), result) {
            Self::answer_raised(slf, CallId(call), unanswerable(fault, "result"))?;
        }
        Self::after_answer(slf, call)
    }

    /// Answers a call of the other side whose handler, a task, has raised.
    pub(super) fn answer_task_raised(slf: &Bound<'_, Self>, call: u64, raised: &Bound<'_, PyAny>) -> PyResult<()> {
        let answered = Self::answer_raised(slf, CallId(call), PyErr::from_value(raised.clone()));
        Self::after_answer(slf, call)?;
        answered
    }

    /// Answers a call of the other side whose handler was stopped.
    pub(super) fn answer_task_stopped(slf: &Bound<'_, Self>, call: u64) -> PyResult<()> {
        let py = slf.py();
        {
            let mut this = slf.borrow_mut();
            let why = this.stopped.remove(&call).unwrap_or(ErrorKind::Cancelled);
            let (kind, reason) = stopped(why);
            this.fail_with(py, CallId(call), kind, reason, Ran::Maybe)?;
        }
        Self::after_answer(slf, call)
    }

    /// Says that the handler of a one-way message, a task, has ended.
    pub(super) fn task_handled(&mut self, py: Python<'_>, id: u64) -> PyResult<()> {
        self.running.remove(&id);
        self.stopped.remove(&id);
        if let Some(request) = self.sends.remove(&id) {
            self.give_back(&request);
        }
        self.watch_output(py)
    }

    fn after_answer(slf: &Bound<'_, Self>, call: u64) -> PyResult<()> {
        let py = slf.py();
        let mut this = slf.borrow_mut();
        this.running.remove(&call);
        this.streams.remove(&call);
        this.stopped.remove(&call);
        // Others that run may answer in this turn, too, and share a write.
        let is_alone = this.running.is_empty();
        this.after_sending(py, is_alone, Instant::now())?;
        match this.waiters.is_empty() {
            true => Ok(()),
            false => this.wake_waiters(py),
        }
    }
}

/// The arguments as the function takes them.
#[inline]
fn fit<'py>(handler: &Bound<'py, Handler>, (positional, named): Arguments<'py>) -> Result<Arguments<'py>, Refusal> {
    if handler.get().fits(&positional, named.as_ref()) {
        return Ok((positional, None));
    }
    let py = handler.py();
    let bound = handler.get().method.call_method1(py, intern!(py, "bind"), (positional, named));
    let bound =
        bound.map_err(|unfit| match unfit.value(py).getattr("message").and_then(|message| message.extract()) {
            Ok(message) if unfit.value(py).hasattr("code").unwrap_or(false) => {
                Refusal::Known(ErrorKind::InvalidArguments, message)
            }
            _ => Refusal::Raised(unfit),
        })?;
    let (positional, named) = bound.extract::<(Bound<'_, PyTuple>, Bound<'_, PyDict>)>(py)?;
    Ok((positional, Some(named)))
}

/// The exception for an answer that has no place in a message.
pub(super) fn unanswerable(fault: Fault, root: &str) -> PyErr {
    match fault.within(root) {
        Fault::Value { path, reason } => PyTypeError::new_err(format!("{path}: {reason}")),
        Fault::Raised(raised) => raised,
    }
}

/// Whether a value can be passed on with an error.
#[pyfunction]
fn can_send(value: &Bound<'_, PyAny>) -> bool {
    let mut scratch = Vec::new();
    let fits = value::with_value(value, &mut scratch, |payload| match &payload.body {
        panpipe_link::panpipe::Body::Slice(bytes) => bytes.len() <= MOST_DATA,
        panpipe_link::panpipe::Body::Shared(bytes) => bytes.len() <= MOST_DATA,
    });
    fits.unwrap_or(false)
}

/// Logs what the handler of a one-way message, a task, has raised.
#[pyfunction]
pub(crate) fn log_send(py: Python<'_>, raised: &Bound<'_, PyAny>) -> PyResult<()> {
    log(py, "its handler failed", Some(PyErr::from_value(raised.clone())))
}

/// Logs what happened to a one-way message, of which nobody else hears.
fn log(py: Python<'_>, what: &str, raised: Option<PyErr>) -> PyResult<()> {
    let details = PyDict::new(py);
    if let Some(raised) = raised {
        details.set_item("exc_info", raised.into_value(py))?;
    }
    logger(py)?.call_method("warning", ("a one-way message was not handled: %s", what), Some(&details)).map(drop)
}
