//! Messages as Python values: bytes, or strings where the address says `text=true`.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// Calls `use_it` with the bytes of `message`: bytes and strings as they lie, any other buffer copied.
///
/// # Errors
/// TypeError for what is neither, and what `use_it` answers.
pub(crate) fn with_bytes<T>(message: &Bound<'_, PyAny>, use_it: impl FnOnce(&[u8]) -> PyResult<T>) -> PyResult<T> {
    if let Ok(bytes) = message.cast::<PyBytes>() {
        return use_it(bytes.as_bytes());
    }
    if let Ok(text) = message.cast::<PyString>() {
        return use_it(text.to_str()?.as_bytes());
    }
    let buffer = PyBuffer::<u8>::get(message).map_err(|_| {
        let kind = message.get_type().name().map_or_else(|_| "that".into(), |name| name.to_string());
        PyTypeError::new_err(format!("a message is bytes or a string, not {kind}"))
    })?;
    use_it(&buffer.to_vec(message.py())?)
}

/// The Python value of a message; the session has checked that it is text where it should be.
pub(crate) fn to_python<'py>(py: Python<'py>, message: &[u8], text: bool) -> PyResult<Bound<'py, PyAny>> {
    match text {
        false => Ok(PyBytes::new(py, message).into_any()),
        true => Ok(PyString::from_bytes(py, message)?.into_any()),
    }
}
