//! Serving in Python: one handler, many connections, one descriptor to wait on.

use std::os::fd::AsRawFd;
use std::time::Instant;

use panpipe_link::{ServerEvent, Token, Wait};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString};
use rustix::event::{PollFd, PollFlags};

use crate::blocking::Listener;
use crate::interrupt::Interruptible;
use crate::{error, message};

/// Requests that are handled before a loop's other callbacks get their turn.
const TURN: usize = 1024;

/// Coroutines that handlers have returned, each with a number to answer by.
type Begun = Vec<(u64, Py<PyAny>)>;

/// A server: in a loop of its own, or on asyncio's.
#[pyclass(module = "panpipe")]
pub(crate) struct Server {
    server: panpipe_link::Server,
    handler: Py<PyAny>,
    text: bool,
    /// Requests whose handlers are coroutines that have not answered yet, by the number that Python has for them.
    running: std::collections::HashMap<u64, Token>,
    last_running: u64,
    /// Those of them that this turn has brought.
    begun: Begun,
}

#[pymethods]
impl Server {
    #[new]
    fn new(py: Python<'_>, listener: &Listener, handler: Py<PyAny>) -> PyResult<Self> {
        let listener = listener.take(py)?;
        let text = listener.address().text_messages;
        let server = error::result(py, panpipe_link::Server::new(listener))?;
        Ok(Server { server, handler, text, running: Default::default(), last_running: 0, begun: Vec::new() })
    }

    #[getter]
    fn address(&self) -> &str {
        self.server.address().text()
    }

    fn fileno(&self) -> i32 {
        self.server.descriptor().as_raw_fd()
    }

    #[getter]
    fn dropped(&self) -> u64 {
        self.server.dropped()
    }

    #[getter]
    fn finished(&self) -> bool {
        self.server.is_finished()
    }

    /// Serves until nobody can come, or an interrupt.
    fn run(&mut self, py: Python<'_>) -> PyResult<()> {
        while !self.server.is_finished() {
            let now = Instant::now();
            let timeout = self.server.next_deadline(now).map(|deadline| deadline.saturating_duration_since(now));
            let mut wait = Interruptible::new(py);
            let waited = wait.poll(&mut [PollFd::new(self.server.descriptor(), PollFlags::IN)], timeout);
            wait.result(waited)?;
            let (_, coroutines) = self.turn(py)?;
            for (number, coroutine) in coroutines {
                self.fail(number);
                coroutine.call_method0(py, intern!(py, "close"))?;
                log(py, "%s", "an async handler needs panpipe.aio.serve, and its connection is closed")?;
            }
            // A handler may have run for long without a wait in between.
            py.check_signals()?;
        }
        Ok(())
    }

    /// Handles what has come.
    ///
    /// Answers the seconds after which to call again, whatever the descriptor says, and the coroutines that handlers
    /// have returned, each with a number to answer by. They are run by the caller, since they may use this server.
    fn turn(&mut self, py: Python<'_>) -> PyResult<(Option<f64>, Begun)> {
        error::result(py, self.server.turn(Instant::now()))?;
        for _ in 0..TURN {
            match self.server.next_event(Instant::now()) {
                Some(ServerEvent::Request { from, message }) => self.handle(py, from, &message)?,
                Some(ServerEvent::Lost(error)) => log(py, "connection closed: %s", &error.to_string())?,
                Some(ServerEvent::Refused(error)) => log(py, "message dropped: %s", &error.to_string())?,
                None => break,
            }
        }
        let now = Instant::now();
        let deadline = self.server.next_deadline(now);
        let again = deadline.map(|deadline| deadline.saturating_duration_since(now).as_secs_f64());
        Ok((again, std::mem::take(&mut self.begun)))
    }

    /// Answers a request whose handler was a coroutine.
    fn reply(&mut self, py: Python<'_>, number: u64, reply: &Bound<'_, PyAny>) -> PyResult<()> {
        match self.running.remove(&number) {
            Some(token) => self.answer(py, token, reply),
            None => Ok(()),
        }
    }

    /// Closes the connection of a request whose handler, a coroutine, has failed.
    fn fail(&mut self, number: u64) {
        if let Some(token) = self.running.remove(&number) {
            self.server.fail(token, Instant::now());
        }
    }
}

impl Server {
    fn handle(&mut self, py: Python<'_>, from: Token, request: &[u8]) -> PyResult<()> {
        let request = message::to_python(py, request, self.text)?;
        match self.handler.bind(py).call1((request,)) {
            Ok(reply) if is_awaitable(&reply)? => {
                self.last_running += 1;
                self.running.insert(self.last_running, from);
                self.begun.push((self.last_running, reply.unbind()));
                Ok(())
            }
            Ok(reply) => self.answer(py, from, &reply),
            Err(raised) => {
                self.server.fail(from, Instant::now());
                log_raised(py, raised)
            }
        }
    }

    fn answer(&mut self, py: Python<'_>, token: Token, reply: &Bound<'_, PyAny>) -> PyResult<()> {
        let now = Instant::now();
        if reply.is_none() {
            return error::result(py, self.server.reply(token, None, now));
        }
        let server = &mut self.server;
        let answered = message::with_bytes(reply, |reply| Ok(server.reply(token, Some(reply), now)));
        match answered {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => log(py, "connection closed: %s", &error.to_string()),
            Err(raised) => {
                self.server.fail(token, now);
                let raised = match raised.is_instance_of::<PyTypeError>(py) {
                    true => PyTypeError::new_err(format!("the handler's answer: {}", raised.value(py))),
                    false => raised,
                };
                log_raised(py, raised)
            }
        }
    }
}

fn is_awaitable(reply: &Bound<'_, PyAny>) -> PyResult<bool> {
    if reply.is_exact_instance_of::<PyBytes>() || reply.is_exact_instance_of::<PyString>() {
        return Ok(false);
    }
    reply.hasattr(intern!(reply.py(), "__await__"))
}

/// The logger of this package.
pub(crate) fn logger(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static LOGGER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let made = LOGGER.get_or_try_init(py, || {
        let logging = py.import("logging")?;
        Ok::<_, PyErr>(logging.call_method1("getLogger", ("panpipe",))?.unbind())
    })?;
    Ok(made.bind(py))
}

fn log(py: Python<'_>, format: &str, argument: &str) -> PyResult<()> {
    logger(py)?.call_method1("warning", (format, argument)).map(drop)
}

/// Logs what a handler raised; what is meant to end the program, such as KeyboardInterrupt, goes on.
fn log_raised(py: Python<'_>, raised: PyErr) -> PyResult<()> {
    if !raised.is_instance_of::<pyo3::exceptions::PyException>(py) {
        return Err(raised);
    }
    let details = PyDict::new(py);
    details.set_item("exc_info", raised.into_value(py))?;
    logger(py)?.call_method("error", ("a handler failed, and its connection is closed",), Some(&details)).map(drop)
}

/// Every transport there is, as data.
#[pyfunction]
pub(crate) fn methods(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let row = |method: &&'static panpipe_link::Method| {
        let row = PyDict::new(py);
        let texts = [
            ("scheme", method.scheme),
            ("form", method.form),
            ("reaches", method.reaches),
            ("good_for", method.good_for),
            ("not_for", method.not_for),
        ];
        for (name, text) in texts {
            row.set_item(name, text)?;
        }
        Ok(row)
    };
    panpipe_link::methods().iter().map(row).collect()
}

/// Every framing there is, as data.
#[pyfunction]
pub(crate) fn framings(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let row = |framing: &&'static panpipe_link::FramingInfo| {
        let row = PyDict::new(py);
        let texts = [
            ("name", framing.name),
            ("wire", framing.wire),
            ("good_for", framing.good_for),
            ("cannot_carry", framing.cannot_carry),
        ];
        for (name, text) in texts {
            row.set_item(name, text)?;
        }
        row.set_item("keeps_boundaries", framing.keeps_boundaries)?;
        Ok(row)
    };
    panpipe_link::framings().iter().map(row).collect()
}
