//! The calls of the other side, run by a thread that waits.

use panpipe_link::panpipe::Request;
use panpipe_link::{CallId, Error, ErrorKind, Ran};
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::WaitingCore;
use super::told::Work;
use crate::request::{self, Arguments, Refusal, log, log_refusal};
use crate::service::{Handler, Outlet, Runs, run_for};
use crate::{error, failure, value};

impl WaitingCore {
    pub(super) fn work(slf: &Bound<'_, Self>, work: Work) -> PyResult<()> {
        let py = slf.py();
        match work {
            Work::Call(request) if request.flags.is_topic() => Self::on_subscribe(slf, &request),
            Work::Call(request) => Self::on_call(slf, &request),
            Work::Send(request) => {
                let handled = Self::on_send(slf, &request);
                slf.get().shared.with(|endpoint, _| {
                    if let Ok(session) = endpoint.session_for("receiving from") {
                        session.handled(&request);
                    }
                });
                handled
            }
            Work::Unsubscribe(call, why) => {
                let subscription = slf.get().subscriptions().remove(&call.0);
                if let Some((topic, number)) = subscription {
                    topic.borrow_mut(py).unsubscribe(number);
                }
                slf.get().fail(call, &failure::stopped(py, why)?);
                Ok(())
            }
        }
    }

    fn on_call(slf: &Bound<'_, Self>, request: &Request) -> PyResult<()> {
        let py = slf.py();
        let call = request.id;
        let (handler, arguments) = match request::find(py, slf.get().service.as_ref(), request, true) {
            Ok(found) => found,
            Err(refusal) => return Self::refuse(slf, call, refusal),
        };
        match Self::run(slf, &handler, &arguments, request) {
            Ok(result) => Self::answer_with(slf, call, &result),
            Err(raised) => Self::answer_raised(slf, call, &raised),
        }
    }

    fn on_send(slf: &Bound<'_, Self>, request: &Request) -> PyResult<()> {
        let py = slf.py();
        let service = slf.get().service.as_ref();
        if request.flags.is_topic() {
            return request::publish(py, service, request);
        }
        let (handler, arguments) = match request::find(py, service, request, false) {
            Ok(found) => found,
            Err(refusal) => return log_refusal(py, request, refusal),
        };
        match Self::run(slf, &handler, &arguments, request) {
            Ok(_) => Ok(()),
            Err(raised) if raised.is_instance_of::<PyException>(py) => log(py, request.name(), Some(raised)),
            Err(raised) => Err(raised),
        }
    }

    /// Runs a handler in this thread, whatever it is.
    fn run<'py>(
        slf: &Bound<'py, Self>,
        handler: &Bound<'py, Handler>,
        (positional, named): &Arguments<'py>,
        request: &Request,
    ) -> PyResult<Bound<'py, PyAny>> {
        static PEER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = slf.py();
        let peer = PEER.import(py, "panpipe._waiting", "Peer")?.call1((slf,))?;
        let handler = handler.get();
        run_for(py, Some(peer.clone().unbind()), request.deadline, || match (handler.runs, named) {
            (Runs::Here, None) => handler.function.bind(py).call1(positional),
            (Runs::Here, Some(named)) => handler.function.bind(py).call(positional, Some(named)),
            (Runs::Apart, named) => {
                let arguments = (request.id.0, &handler.method, positional, named, !handler.takes_items);
                peer.call_method1(intern!(py, "_run"), arguments)
            }
        })
    }

    fn answer_with(slf: &Bound<'_, Self>, call: CallId, result: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let answered = value::with_value(result, &mut Vec::new(), |payload| {
            slf.get().shared.with(|endpoint, told| {
                told.streams.remove(&call.0);
                told.stopped.remove(&call.0);
                if let Ok(session) = endpoint.session_for("answering") {
                    session.reply(call, payload.flags, payload.body);
                }
            });
        });
        match answered {
            Ok(()) => Ok(()),
            Err(fault) => {
                let raised = match result.hasattr(intern!(py, "__await__"))? {
                    true => {
                        result.call_method0(intern!(py, "close"))?;
                        let error = Error::new(ErrorKind::Unsupported, "answering");
                        error::to_python(py, &error.because("an async handler needs panpipe.aio"))
                    }
                    false => failure::unanswerable(fault, "result"),
                };
                Self::answer_raised(slf, call, &raised)
            }
        }
    }

    /// Answers with what a handler raised; what is meant to end the program, such as KeyboardInterrupt, goes on.
    fn answer_raised(slf: &Bound<'_, Self>, call: CallId, raised: &PyErr) -> PyResult<()> {
        let py = slf.py();
        let stopped = slf.get().shared.with(|_, told| told.stopped.remove(&call.0));
        let answer = match stopped {
            Some(why) => failure::stopped(py, why)?,
            None => failure::raised(py, raised)?,
        };
        slf.get().fail(call, &answer);
        match raised.is_instance_of::<PyException>(py) {
            true => Ok(()),
            false => Err(raised.clone_ref(py)),
        }
    }

    fn refuse(slf: &Bound<'_, Self>, call: CallId, refusal: Refusal) -> PyResult<()> {
        match refusal {
            Refusal::Known(kind, reason) => {
                slf.get().fail(call, &failure::known(slf.py(), kind, &reason, Ran::No)?);
                Ok(())
            }
            Refusal::Raised(raised) => Self::answer_raised(slf, call, &raised),
        }
    }

    fn on_subscribe(slf: &Bound<'_, Self>, request: &Request) -> PyResult<()> {
        let py = slf.py();
        let call = request.id;
        let (topic, policy) = match request::find_topic(py, slf.get().service.as_ref(), request) {
            Ok(found) => found,
            Err(refusal) => return Self::refuse(slf, call, refusal),
        };
        let (number, retained) = topic.borrow_mut().subscribe(Outlet::Threads(slf.clone().unbind()), call, policy);
        slf.get().subscriptions().insert(call.0, (topic.unbind(), number));
        let why = slf.get().shared.with(|endpoint, told| {
            if let Ok(session) = endpoint.session_for("answering") {
                session.open(call, policy);
            }
            told.subscriptions.insert(call.0);
            told.stopped.remove(&call.0)
        });
        if let Some((flags, item)) = retained {
            slf.get().publish(py, call, flags, item)?;
        }
        match why {
            // It was cancelled before it stood.
            Some(why) => Self::work(slf, Work::Unsubscribe(call, why)),
            None => Ok(()),
        }
    }
}
