//! panpipe's error as a Python exception.

use std::error::Error as _;

use panpipe_link::Error;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// The exception for `error`: the class of its code, made by `panpipe._error.make`.
pub(crate) fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let made = MAKE.import(py, "panpipe._error", "make").and_then(|make| {
        let source = error.source().map(ToString::to_string);
        let ran = error.may_have_run().to_string();
        make.call1((error.code(), error.doing(), error.address(), ran, source))
    });
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(failure) => failure,
    }
}

/// The result as Python has it.
pub(crate) fn result<T>(py: Python<'_>, result: panpipe_link::Result<T>) -> PyResult<T> {
    result.map_err(|error| to_python(py, &error))
}
