//! The calls of the other side, and what answers them.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use panpipe_link::panpipe::{Body, Flags, Request};
use panpipe_link::{CallId, ErrorKind, Ran};
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;

use super::{PeerCore, Running, Stream, resolve};
use crate::failure;
use crate::request::{self, Arguments, Refusal, log, log_refusal};
use crate::service::{Handler, Outlet, Registry, Runs, run_for, seconds_left};
use crate::value::{self, Fault};

/// Whether a handler has ever begun here, which calls may inherit their deadline from. Asking Python costs every call.
static HAS_BEGUN_HANDLERS: AtomicBool = AtomicBool::new(false);

#[inline]
pub(super) fn has_begun_handlers() -> bool {
    HAS_BEGUN_HANDLERS.load(Relaxed)
}

impl PeerCore {
    pub(super) fn on_call(slf: &Bound<'_, Self>, request: &Request) -> PyResult<()> {
        let (call, flags) = (request.id, request.flags);
        if flags.is_topic() {
            return Self::on_subscribe(slf, request);
        }
        let (handler, arguments) = match request::find(slf.py(), Self::service(slf).as_ref(), request, true) {
            Ok(found) => found,
            Err(refusal) => return Self::refuse(slf, call, refusal),
        };
        if handler.get().takes_items {
            let stream = if flags.has_arguments() { Stream::default() } else { Stream::empty() };
            slf.borrow_mut().streams.insert(call.0, stream);
            return Self::begin_apart(slf, &handler, &arguments, request, true);
        }
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
            let published = request::publish(py, Self::service(slf).as_ref(), &request);
            slf.borrow_mut().give_back(&request);
            return published;
        }
        let found = request::find(py, Self::service(slf).as_ref(), &request, false);
        let (handler, arguments) = match found {
            Ok(found) => found,
            Err(refusal) => {
                slf.borrow_mut().give_back(&request);
                return log_refusal(py, &request, refusal);
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

    /// The service, held by itself: what looks for a handler runs code of the user's, who may come back here.
    #[inline]
    fn service(slf: &Bound<'_, Self>) -> Option<Py<Registry>> {
        slf.borrow().service.as_ref().map(|service| service.clone_ref(slf.py()))
    }

    fn give_back(&mut self, request: &Request) {
        if let Ok(session) = self.session("receiving from") {
            session.handled(request);
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
        Self::answer_raised(slf, call, failure::unanswerable(fault, "result"))
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
        let py = slf.py();
        let answer = failure::raised(py, &raised)?;
        slf.borrow_mut().send_failure(call, &answer);
        match raised.is_instance_of::<PyException>(py) {
            true => Ok(()),
            false => Err(raised),
        }
    }

    /// Answers a call of the other side with an encoded error.
    pub(super) fn send_failure(&mut self, call: CallId, answer: &[u8]) {
        if let Ok(session) = self.session("answering") {
            session.fail(call, answer);
        }
    }

    fn refuse(slf: &Bound<'_, Self>, call: CallId, refusal: Refusal) -> PyResult<()> {
        match refusal {
            Refusal::Known(kind, reason) => {
                let answer = failure::known(slf.py(), kind, &reason, Ran::No)?;
                slf.borrow_mut().send_failure(call, &answer);
                Ok(())
            }
            Refusal::Raised(raised) => Self::answer_raised(slf, call, raised),
        }
    }

    fn on_subscribe(slf: &Bound<'_, Self>, request: &Request) -> PyResult<()> {
        let call = request.id;
        let found = request::find_topic(slf.py(), Self::service(slf).as_ref(), request);
        let (topic, policy) = match found {
            Ok(found) => found,
            Err(refusal) => return Self::refuse(slf, call, refusal),
        };
        let (number, retained) = topic.borrow_mut().subscribe(Outlet::Loop(slf.clone().unbind()), call, policy);
        let mut this = slf.borrow_mut();
        this.running.insert(call.0, Running::Subscription(topic.unbind(), number));
        if let Ok(session) = this.session("answering") {
            session.open(call, policy);
        }
        drop(this);
        match retained {
            Some((flags, item)) => Self::publish(slf, call, flags, item).map(drop),
            None => Ok(()),
        }
    }

    /// Ends a subscription of the other side, which `answer` answers.
    pub(super) fn end_subscription(
        slf: &Bound<'_, Self>,
        call: CallId,
        answer: impl FnOnce(&mut Self),
    ) -> PyResult<()> {
        let py = slf.py();
        let mut this = slf.borrow_mut();
        let Some(Running::Subscription(topic, number)) = this.running.remove(&call.0) else { return Ok(()) };
        if let Some(writer) = this.streams.remove(&call.0).and_then(|stream| stream.writer) {
            resolve(writer.bind(py), Ok(py.None().into_bound(py)))?;
        }
        answer(&mut this);
        drop(this);
        topic.borrow_mut(py).unsubscribe(number);
        Ok(())
    }

    /// Ends every subscription of the other side, as done.
    pub(super) fn end_all_subscriptions(slf: &Bound<'_, Self>) -> PyResult<()> {
        let is_subscription = |running: &Running| matches!(running, Running::Subscription(..));
        let calls: Vec<_> =
            slf.borrow().running.iter().filter(|(_, running)| is_subscription(running)).map(|(id, _)| *id).collect();
        for call in calls.into_iter().map(CallId) {
            Self::end_subscription(slf, call, |this| {
                if let Ok(session) = this.session("answering") {
                    session.reply(call, Flags::NONE, Body::Slice(&[]));
                }
            })?;
        }
        slf.borrow_mut().watch_output(slf.py())
    }
}

impl PeerCore {
    /// Answers a call of the other side whose handler was a task.
    pub(super) fn answer_task(slf: &Bound<'_, Self>, call: u64, result: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Err(fault) = Self::reply_with(slf, CallId(call), result) {
            Self::answer_raised(slf, CallId(call), failure::unanswerable(fault, "result"))?;
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
            let answer = failure::stopped(py, why)?;
            this.send_failure(CallId(call), &answer);
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
