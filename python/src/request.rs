//! A call or a one-way message of the other side: which handler it means, and whether its arguments fit.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use panpipe_link::ErrorKind;
use panpipe_link::panpipe::{Policy, Request};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::server::logger;
use crate::service::{Handler, Registry, Topic};
use crate::value::{self, Fault};

/// So much is logged of what goes wrong with one-way messages.
const MOST_LOGGED: u32 = 20;
const SECOND: Duration = Duration::from_secs(1);

/// Positional and named arguments.
pub(crate) type Arguments<'py> = (Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>);

/// Why a request was not begun.
pub(crate) enum Refusal {
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

/// The handler of a request, and its arguments as the function takes them; as they came where it takes what the caller
/// streams, since the stream is still to be put among them.
#[inline]
pub(crate) fn find<'py>(
    py: Python<'py>,
    service: Option<&Py<Registry>>,
    request: &Request,
    is_call: bool,
) -> Result<(Bound<'py, Handler>, Arguments<'py>), Refusal> {
    let Some(handler) = service.and_then(|service| service.get().method(py, request.name())) else {
        return Err(Refusal::Known(ErrorKind::NotFound, format!("no method is called {:?}", request.name())));
    };
    if is_call {
        check_streams(&handler, request)?;
    }
    let payload = request.payload();
    let flags = payload.flags;
    match value::decode_arguments(py, &payload.bytes, flags.is_raw(), flags.is_named()) {
        Ok(arguments) if handler.get().takes_items => Ok((handler, arguments)),
        Ok(arguments) => fit(&handler, arguments).map(|arguments| (handler, arguments)),
        Err(Fault::Value { path, reason }) => {
            Err(Refusal::Known(ErrorKind::InvalidArguments, format!("{path}: {reason}")))
        }
        Err(Fault::Raised(raised)) => Err(Refusal::Raised(raised)),
    }
}

#[inline]
fn check_streams(handler: &Bound<'_, Handler>, request: &Request) -> Result<(), Refusal> {
    let (flags, name) = (request.flags, request.name());
    let refusal = match (handler.get().is_stream, flags.is_stream()) {
        (true, false) => format!("{name} streams, and was called for a reply alone"),
        (false, true) => format!("{name} does not stream, and was called for items"),
        _ if flags.has_arguments() && !handler.get().takes_items => format!("{name} takes no stream of arguments"),
        _ => return Ok(()),
    };
    Err(Refusal::Known(ErrorKind::InvalidArguments, refusal))
}

#[inline]
fn fit<'py>(handler: &Bound<'py, Handler>, (positional, named): Arguments<'py>) -> Result<Arguments<'py>, Refusal> {
    if handler.get().fits(&positional, named.as_ref()) {
        return Ok((positional, None));
    }
    let py = handler.py();
    let bound = handler.get().method.call_method1(py, intern!(py, "bind"), (positional, named));
    let bound = bound.map_err(|unfit| {
        let said = unfit.value(py);
        match said.getattr("message").and_then(|message| message.extract()) {
            Ok(message) if said.hasattr("code").unwrap_or(false) => {
                Refusal::Known(ErrorKind::InvalidArguments, message)
            }
            _ => Refusal::Raised(unfit),
        }
    })?;
    let (positional, named) = bound.extract::<(Bound<'_, PyTuple>, Bound<'_, PyDict>)>(py)?;
    Ok((positional, Some(named)))
}

/// The topic of a subscription, and its policy.
pub(crate) fn find_topic<'py>(
    py: Python<'py>,
    service: Option<&Py<Registry>>,
    request: &Request,
) -> Result<(Bound<'py, Topic>, Policy), Refusal> {
    let Some(topic) = service.and_then(|service| service.get().topic(py, request.name())) else {
        return Err(Refusal::Known(ErrorKind::NotFound, format!("no topic is called {:?}", request.name())));
    };
    let invalid = |reason: &str| Err(Refusal::Known(ErrorKind::InvalidArguments, reason.to_owned()));
    if !request.flags.is_stream() {
        return invalid("a subscription takes items, and this call takes none");
    }
    let payload = request.payload();
    let Ok(settings) = value::decode(py, &payload.bytes, payload.flags.is_raw()) else {
        return invalid("settings that are no value");
    };
    if settings.is_none() {
        return Ok((topic, Policy::default()));
    }
    let Ok(settings) = settings.cast::<PyDict>() else { return invalid("settings that are not a map") };
    let Some(name) = settings.get_item("policy")? else { return Ok((topic, Policy::default())) };
    match name.extract::<String>().ok().and_then(|name| Policy::named(&name)) {
        Some(policy) => Ok((topic, policy)),
        None => {
            let known: Vec<_> = Policy::ALL.iter().map(|(name, _)| *name).collect();
            invalid(&format!("no policy is called {name}; known: {}", known.join(", ")))
        }
    }
}

/// Passes on what the other side publishes on a topic of this one.
pub(crate) fn publish(py: Python<'_>, service: Option<&Py<Registry>>, request: &Request) -> PyResult<()> {
    let Some(topic) = service.and_then(|service| service.get().topic(py, request.name())) else {
        return log(py, &format!("{}: not-found: no such topic", request.name()), None);
    };
    let payload = request.payload();
    // Nobody is to get what is no value.
    match value::decode(py, &payload.bytes, payload.flags.is_raw()) {
        Ok(_) => Topic::publish_encoded(&topic, payload.flags.is_raw(), payload.bytes),
        Err(_) => log(py, &format!("{}: invalid-arguments: what was published is no value", request.name()), None),
    }
}

/// Logs why a one-way message was not handled, of which nobody else hears.
pub(crate) fn log_refusal(py: Python<'_>, request: &Request, refusal: Refusal) -> PyResult<()> {
    match refusal {
        Refusal::Known(kind, reason) => log(py, &format!("{}: {kind}: {reason}", request.name()), None),
        Refusal::Raised(raised) => log(py, request.name(), Some(raised)),
    }
}

/// Logs what the handler of a one-way message, a task, has raised.
#[pyfunction]
pub(crate) fn log_send(py: Python<'_>, raised: &Bound<'_, PyAny>) -> PyResult<()> {
    log(py, "its handler failed", Some(PyErr::from_value(raised.clone())))
}

/// Logs why a one-way message was not handled. Of many in a second only some are logged: who sends them may be hostile.
pub(crate) fn log(py: Python<'_>, what: &str, raised: Option<PyErr>) -> PyResult<()> {
    static LOGGED: Mutex<Option<(Instant, u32)>> = Mutex::new(None);
    let count = {
        let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = logged.filter(|(since, _)| since.elapsed() < SECOND).unwrap_or((Instant::now(), 0));
        *logged = Some((since, count + 1));
        count
    };
    if count >= MOST_LOGGED {
        return Ok(());
    }
    let details = PyDict::new(py);
    if let Some(raised) = raised {
        details.set_item("exc_info", raised.into_value(py))?;
    }
    let text = match count + 1 == MOST_LOGGED {
        true => "a one-way message was not handled: %s (more in this second are not logged)",
        false => "a one-way message was not handled: %s",
    };
    logger(py)?.call_method("warning", (text, what), Some(&details)).map(drop)
}
