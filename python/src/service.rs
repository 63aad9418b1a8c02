//! What answers calls: the methods and topics of a service, by name.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use bytes::Bytes;
use panpipe_link::panpipe::{Body, Flags, Policy};
use panpipe_link::{Address, CallId, Error, ErrorKind, PANPIPE, Result};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};

use crate::peer::PeerCore;
use crate::waiting::WaitingCore;
use crate::{error, value};

/// How a method runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    /// It is called, here and now, and what it returns is the answer.
    Here,
    /// Python is asked to begin it: a coroutine, a generator, a thread.
    Apart,
}

/// A method, as calls find it.
#[pyclass(frozen, module = "panpipe")]
pub(crate) struct Handler {
    pub(crate) function: Py<PyAny>,
    pub(crate) runs: Runs,
    pub(crate) is_stream: bool,
    /// It takes what the caller streams.
    pub(crate) takes_items: bool,
    /// How many positional arguments there must be.
    least: usize,
    /// Their types, `None` for any; where it is missing itself, Python fits them.
    exact: Option<Vec<Option<Py<PyType>>>>,
    /// `panpipe._method.Method`, which fits what does not fit at once.
    pub(crate) method: Py<PyAny>,
}

#[pymethods]
impl Handler {
    #[new]
    fn new(
        method: &Bound<'_, PyAny>,
        function: Py<PyAny>,
        is_apart: bool,
        is_stream: bool,
        takes_items: bool,
        least: usize,
        exact: Option<Vec<Option<Py<PyType>>>>,
    ) -> Self {
        let runs = if is_apart { Runs::Apart } else { Runs::Here };
        Handler { function, runs, is_stream, takes_items, least, exact, method: method.clone().unbind() }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.function)?;
        visit.call(&self.method)
    }
}

impl Handler {
    /// Whether these arguments fit without a look from Python.
    #[inline]
    pub(crate) fn fits(&self, positional: &Bound<'_, PyTuple>, named: Option<&Bound<'_, PyDict>>) -> bool {
        let count = positional.len();
        self.exact.as_ref().is_some_and(|exact| {
            let is_exact = |(given, wanted): (Borrowed<'_, '_, PyAny>, &Option<Py<PyType>>)| {
                wanted.as_ref().is_none_or(|wanted| given.get_type_ptr() == wanted.as_ptr().cast())
            };
            named.is_none()
                && (self.least..=exact.len()).contains(&count)
                && positional.iter_borrowed().zip(exact).all(is_exact)
        })
    }
}

/// The methods and topics of a service.
#[pyclass(frozen, module = "panpipe")]
#[derive(Default)]
pub(crate) struct Registry {
    handlers: std::sync::Mutex<HashMap<String, Py<Handler>>>,
    topics: std::sync::Mutex<HashMap<String, Py<Topic>>>,
}

#[pymethods]
impl Registry {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn add_method(&self, name: String, handler: Py<Handler>) {
        lock(&self.handlers).insert(name, handler);
    }

    fn add_topic(&self, name: String, topic: Py<Topic>) {
        lock(&self.topics).insert(name, topic);
    }
}

impl Registry {
    #[inline]
    pub(crate) fn method<'py>(&self, py: Python<'py>, name: &str) -> Option<Bound<'py, Handler>> {
        lock(&self.handlers).get(name).map(|handler| handler.bind(py).clone())
    }

    pub(crate) fn topic<'py>(&self, py: Python<'py>, name: &str) -> Option<Bound<'py, Topic>> {
        lock(&self.topics).get(name).map(|topic| topic.bind(py).clone())
    }
}

/// Says whether a service, which may answer plain messages too, can be served at an address.
#[pyfunction]
pub(crate) fn check_service(py: Python<'_>, address: &str, has_plain: bool) -> PyResult<()> {
    let checked = panpipe_link::parse(address).and_then(|address| check_answered(&address, has_plain));
    error::result(py, checked)
}

/// Says whether everybody who may come to an address would be answered.
fn check_answered(address: &Address, has_plain: bool) -> Result<()> {
    let framing = address.accepts.as_ref().and_then(|accepts| accepts.framing);
    match framing {
        None => address.check_speaks(PANPIPE),
        Some(_) if has_plain => Ok(()),
        Some(framing) => {
            let reason =
                format!("{framing} in accept brings plain messages: give the service a handler of them with plain");
            let error = Error::new(ErrorKind::Unsupported, format!("listening on {}", address.text()));
            Err(error.because(reason).at(address.text()))
        }
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The connection of somebody who has subscribed.
pub(crate) enum Outlet {
    /// On a loop.
    Loop(Py<PeerCore>),
    /// Of threads that wait.
    Threads(Py<WaitingCore>),
}

impl Outlet {
    fn has_room(&self, py: Python<'_>, call: CallId) -> bool {
        match self {
            Outlet::Loop(core) => core.borrow_mut(py).has_room(call),
            Outlet::Threads(core) => core.get().has_room(call),
        }
    }

    /// Sends an item; whether the subscriber is there still.
    fn publish(&self, py: Python<'_>, call: CallId, flags: Flags, item: Bytes) -> PyResult<bool> {
        match self {
            Outlet::Loop(core) => PeerCore::publish(core.bind(py), call, flags, item),
            Outlet::Threads(core) => core.get().publish(py, call, flags, item),
        }
    }
}

/// Somebody who has subscribed.
struct Subscriber {
    outlet: Outlet,
    call: CallId,
    policy: Policy,
}

/// A topic and those who have subscribed to it.
#[pyclass(module = "panpipe")]
pub(crate) struct Topic {
    retains: bool,
    retained: Option<(Flags, Bytes)>,
    /// In the order in which they came.
    subscribers: BTreeMap<u64, Subscriber>,
    last: u64,
}

#[pymethods]
impl Topic {
    #[new]
    fn new(retains: bool) -> Self {
        Topic { retains, retained: None, subscribers: BTreeMap::new(), last: 0 }
    }

    /// How many have subscribed.
    #[getter]
    fn subscribers(&self) -> usize {
        self.subscribers.len()
    }

    /// A future that is done when it is worth looking again whether those with the policy `block` have room; `None`
    /// when they have it.
    fn room<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.blocked(py) {
            None => Ok(None),
            Some(Subscriber { outlet: Outlet::Loop(core), call, .. }) => {
                core.borrow_mut(py).room_comes(py, *call).map(Some)
            }
            Some(_) => Err(PyRuntimeError::new_err("a subscriber on a blocking connection has no room")),
        }
    }

    /// Publishes a value; whether there was room for it.
    fn publish(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = slf.py();
        if slf.borrow().blocked(py).is_some() {
            return Ok(false);
        }
        let encoded = value::with_value(value, &mut Vec::new(), |payload| match payload.body {
            Body::Slice(bytes) => (payload.flags, Bytes::copy_from_slice(bytes)),
            Body::Shared(bytes) => (payload.flags, bytes),
        });
        let (flags, bytes) = encoded.map_err(|fault| value::invalid(py, fault, "value", "publishing"))?;
        Self::publish_encoded(slf, flags.is_raw(), bytes)?;
        Ok(true)
    }
}

impl Topic {
    /// A subscriber with the policy `block` that has no room.
    fn blocked(&self, py: Python<'_>) -> Option<&Subscriber> {
        let mut blocking = self.subscribers.values().filter(|subscriber| subscriber.policy == Policy::Block);
        blocking.find(|subscriber| !subscriber.outlet.has_room(py, subscriber.call))
    }

    /// Gives an item to everybody who has subscribed.
    pub(crate) fn publish_encoded(slf: &Bound<'_, Self>, is_raw: bool, bytes: Bytes) -> PyResult<()> {
        let py = slf.py();
        let flags = Flags::NONE.raw(is_raw);
        let mut gone = Vec::new();
        {
            let mut this = slf.borrow_mut();
            if this.retains {
                this.retained = Some((flags, bytes.clone()));
            }
            for (number, subscriber) in &this.subscribers {
                let sent = subscriber.outlet.publish(py, subscriber.call, flags, bytes.clone())?;
                if !sent {
                    gone.push(*number);
                }
            }
        }
        for number in gone {
            slf.borrow_mut().subscribers.remove(&number);
        }
        Ok(())
    }

    /// Adds a subscriber: its number, and what is retained for it.
    pub(crate) fn subscribe(&mut self, outlet: Outlet, call: CallId, policy: Policy) -> (u64, Option<(Flags, Bytes)>) {
        self.last += 1;
        self.subscribers.insert(self.last, Subscriber { outlet, call, policy });
        (self.last, self.retained.clone())
    }

    pub(crate) fn unsubscribe(&mut self, number: u64) {
        self.subscribers.remove(&number);
    }
}

/// For whom a plain handler runs: the peer, and when the call is out of time.
type Running = (Py<PyAny>, Option<Instant>);

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// Runs a plain handler with what [`running`] tells.
#[inline]
pub(crate) fn run_for<T>(
    py: Python<'_>,
    peer: Option<Py<PyAny>>,
    deadline: Option<Instant>,
    run: impl FnOnce() -> T,
) -> T {
    let now = peer.map(|peer| (peer, deadline));
    let before = RUNNING.with(|running| running.replace(now));
    let result = run();
    let own = RUNNING.with(|running| running.replace(before));
    if let Some((peer, _)) = own {
        peer.drop_ref(py);
    }
    result
}

/// When the plain handler that runs in this thread is out of time.
pub(crate) fn running_deadline() -> Option<Instant> {
    RUNNING.with(|running| running.borrow().as_ref().and_then(|(_, deadline)| *deadline))
}

/// The peer that the plain handler running in this thread works for, and the seconds that are left.
#[pyfunction]
pub(crate) fn running(py: Python<'_>) -> Option<(Py<PyAny>, Option<f64>)> {
    RUNNING.with(|running| {
        running.borrow().as_ref().map(|(peer, deadline)| (peer.clone_ref(py), deadline.map(seconds_left)))
    })
}

/// The seconds until an instant.
pub(crate) fn seconds_left(deadline: Instant) -> f64 {
    deadline.saturating_duration_since(Instant::now()).as_secs_f64()
}
