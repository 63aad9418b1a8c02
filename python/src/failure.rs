//! Errors that travel: what a peer answered as an exception, and an exception as the map that a peer is answered with.

use std::sync::Arc;

use bytes::Bytes;
use panpipe_link::panpipe::{Body, Failure};
use panpipe_link::{Error, ErrorKind, Ran};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::error;
use crate::value::{self, Fault};

/// What a handler attached to its error is passed on up to this size.
const MOST_DATA: usize = 1 << 20;

/// The exception for a call that got no reply.
pub(crate) fn to_python(py: Python<'_>, failure: Failure, address: &Arc<str>) -> PyErr {
    static FROM_MAP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let payload = match failure {
        Failure::Local(error) => return error::to_python(py, &error),
        Failure::Remote(payload) => payload,
    };
    let map = match value::decode(py, &payload, false) {
        Ok(map) => map,
        Err(fault) => return refused(py, fault, "error", address),
    };
    let made = FROM_MAP.import(py, "panpipe._error", "from_map");
    match made.and_then(|make| make.call1((map, format!("calling {address}"), &**address))) {
        Ok(exception) => PyErr::from_value(exception),
        Err(failed) => failed,
    }
}

/// The exception for a value of the other side that breaks the rules.
pub(crate) fn refused(py: Python<'_>, fault: Fault, root: &str, address: &Arc<str>) -> PyErr {
    match fault.within(root) {
        Fault::Value { path, reason } => {
            let error = Error::new(ErrorKind::BadPeer, format!("calling {address}")).at(address).ran(Ran::Maybe);
            error::to_python(py, &error.because(format!("{path}: {reason}")))
        }
        Fault::Raised(raised) => raised,
    }
}

/// The exception for an answer that has no place in a message.
pub(crate) fn unanswerable(fault: Fault, root: &str) -> PyErr {
    match fault.within(root) {
        Fault::Value { path, reason } => PyTypeError::new_err(format!("{path}: {reason}")),
        Fault::Raised(raised) => raised,
    }
}

/// The answer to a call that this side knows to have failed, encoded.
pub(crate) fn known(py: Python<'_>, kind: ErrorKind, reason: &str, ran: Ran) -> PyResult<Bytes> {
    let map = PyDict::new(py);
    map.set_item("code", kind.code())?;
    map.set_item("message", reason)?;
    if ran == Ran::No {
        map.set_item("ran", "no")?;
    }
    encode(&map)
}

/// The answer to a call whose handler has raised, encoded.
pub(crate) fn raised(py: Python<'_>, raised: &PyErr) -> PyResult<Bytes> {
    static TO_MAP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let to_map = TO_MAP.import(py, "panpipe._error", "to_map")?;
    let map = to_map.call1((raised.clone_ref(py).into_value(py), pyo3::wrap_pyfunction!(can_send, py)?))?;
    encode(map.cast::<PyDict>()?)
}

/// Why a handler was told to stop, as the answer to its call.
pub(crate) fn stopped(py: Python<'_>, why: ErrorKind) -> PyResult<Bytes> {
    let (kind, reason) = match why {
        ErrorKind::DeadlineExceeded => (why, "the handler was stopped: its time was over"),
        _ => (ErrorKind::Cancelled, "the handler was stopped: nobody waits for it any more"),
    };
    known(py, kind, reason, Ran::Maybe)
}

fn encode(map: &Bound<'_, PyDict>) -> PyResult<Bytes> {
    let encoded = value::with_value(map, &mut Vec::new(), |payload| match payload.body {
        Body::Slice(bytes) => Bytes::copy_from_slice(bytes),
        Body::Shared(bytes) => bytes,
    });
    encoded.map_err(|fault| value::invalid(map.py(), fault, "error", "answering"))
}

/// Whether a value can be passed on with an error.
#[pyfunction]
fn can_send(value: &Bound<'_, PyAny>) -> bool {
    let size = value::with_value(value, &mut Vec::new(), |payload| match &payload.body {
        Body::Slice(bytes) => bytes.len(),
        Body::Shared(bytes) => bytes.len(),
    });
    size.is_ok_and(|size| size <= MOST_DATA)
}
