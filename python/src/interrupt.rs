//! Waiting in a thread of Python: others run meanwhile, and Ctrl-C gets through.

use std::time::Duration;

use panpipe_link::{Error, ErrorKind, Result, Wait};
use pyo3::prelude::*;

use crate::error;

/// Waits without the GIL and looks for signals afterwards.
pub(crate) struct Interruptible<'py> {
    py: Python<'py>,
    raised: Option<PyErr>,
}

impl<'py> Interruptible<'py> {
    pub(crate) fn new(py: Python<'py>) -> Self {
        Interruptible { py, raised: None }
    }

    /// The result as Python has it: what a signal handler raised comes first.
    pub(crate) fn result<T>(self, result: Result<T>) -> PyResult<T> {
        match (self.raised, result) {
            (Some(raised), Err(_)) => Err(raised),
            (_, result) => error::result(self.py, result),
        }
    }
}

impl Wait for Interruptible<'_> {
    /// A signal that arrives between the last look and the wait is found after this long.
    const LONGEST: Option<Duration> = Some(Duration::from_secs(1));

    fn run<T: Send>(&mut self, waiting: impl FnOnce() -> T + Send) -> Result<T> {
        let waited = self.py.detach(waiting);
        if let Err(raised) = self.py.check_signals() {
            self.raised = Some(raised);
            return Err(Error::new(ErrorKind::Cancelled, "waiting"));
        }
        Ok(waited)
    }
}
