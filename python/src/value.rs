//! Values of the panpipe protocol (docs/protocol.md, "Values"): MessagePack and Python objects, without a step between.

mod decoding;
mod encoding;

pub(crate) use decoding::{decode, decode_arguments};
pub(crate) use encoding::{with_arguments, with_value};

use std::fmt;

use panpipe_link::panpipe::Body;
use panpipe_link::{Error, ErrorKind};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyString};

use crate::error;

/// Arrays and maps may lie in each other this deep.
const DEEPEST: usize = 64;

/// What keeps a value from being written or read.
pub(crate) enum Fault {
    /// A value that the model has no place for, or bytes that are none.
    Value {
        /// Where: `arguments[0].user.when`; built from the inside out.
        path: String,
        /// Why.
        reason: String,
    },
    /// Code of the user's that ran meanwhile, as a property of a dataclass, has raised.
    Raised(PyErr),
}

impl Fault {
    fn new(reason: impl Into<String>) -> Self {
        Fault::Value { path: String::new(), reason: reason.into() }
    }

    /// The same fault, seen from the array, map or argument that `part` is one of.
    pub(crate) fn within(mut self, part: impl fmt::Display) -> Self {
        if let Fault::Value { path, .. } = &mut self {
            path.insert_str(0, &part.to_string());
        }
        self
    }
}

impl From<PyErr> for Fault {
    fn from(raised: PyErr) -> Self {
        Fault::Raised(raised)
    }
}

/// A key as a path says it.
struct Key<'a, 'py>(&'a Bound<'py, PyAny>);

impl fmt::Display for Key<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(text) = self.0.cast::<PyString>() else {
            return match self.0.cast::<PyBool>() {
                Ok(bool) => write!(f, "[{}]", bool.is_true()),
                Err(_) => write!(f, "[{}]", self.0),
            };
        };
        let text = text.to_string_lossy();
        let is_word = text.chars().all(|each| each.is_ascii_alphanumeric() || each == '_');
        match is_word && !text.is_empty() && !text.starts_with(|each: char| each.is_ascii_digit()) {
            true => write!(f, ".{text}"),
            false => write!(f, "[{text:?}]"),
        }
    }
}

/// One array or map further in.
fn deeper(depth: usize) -> Result<usize, Fault> {
    match depth < DEEPEST {
        true => Ok(depth + 1),
        false => Err(Fault::new(format!("nested more than {DEEPEST} deep"))),
    }
}

/// 1970, from which times are counted.
fn epoch(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static EPOCH: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let made = EPOCH.get_or_try_init(py, || {
        let datetime = py.import("datetime")?;
        let utc = datetime.getattr("timezone")?.getattr("utc")?;
        Ok::<_, PyErr>(datetime.getattr("datetime")?.call1((1970, 1, 1, 0, 0, 0, 0, utc))?.unbind())
    })?;
    Ok(made.bind(py))
}

/// The payload of one value and whether it is raw, for the tests of `vectors/protocol/values.json`.
#[pyfunction]
pub(crate) fn encode_value<'py>(value: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyBytes>, bool)> {
    let py = value.py();
    let encoded = with_value(value, &mut Vec::new(), |payload| {
        let bytes = match &payload.body {
            Body::Slice(bytes) => PyBytes::new(py, bytes),
            Body::Shared(bytes) => PyBytes::new(py, bytes),
        };
        (bytes, payload.flags.is_raw())
    });
    encoded.map_err(|fault| raised(fault, "value"))
}

/// The value of a payload, for the tests of `vectors/protocol/values.json`.
#[pyfunction]
pub(crate) fn decode_value<'py>(py: Python<'py>, payload: &[u8], is_raw: bool) -> PyResult<Bound<'py, PyAny>> {
    let value = if is_raw { decode(py, payload, true) } else { decoding::read_whole(py, payload) };
    value.map_err(|fault| raised(fault, "value"))
}

/// The exception for a value of the user's own that cannot be sent: `invalid-arguments`, met while `doing`.
pub(crate) fn invalid(py: Python<'_>, fault: Fault, root: &str, doing: &str) -> PyErr {
    match fault.within(root) {
        Fault::Value { path, reason } => {
            let error = Error::new(ErrorKind::InvalidArguments, doing);
            error::to_python(py, &error.because(format!("{path}: {reason}")))
        }
        Fault::Raised(raised) => raised,
    }
}

fn raised(fault: Fault, root: &str) -> PyErr {
    match fault.within(root) {
        Fault::Value { path, reason } => PyValueError::new_err(format!("{path}: {reason}")),
        Fault::Raised(raised) => raised,
    }
}
