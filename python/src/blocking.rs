//! The blocking face.

use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use panpipe_link::panpipe::Side;
use panpipe_link::{Accepted, Address, Blocking, Endpoint, Error, ErrorKind, Link, PANPIPE, Remote, blocking};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::aio::new_core;
use crate::interrupt::Interruptible;
use crate::service::Registry;
use crate::waiting::WaitingCore;
use crate::{error, message};

/// A number of seconds from Python as a duration.
pub(crate) fn seconds(timeout: Option<f64>) -> PyResult<Option<Duration>> {
    let wrong = |_| PyValueError::new_err("a timeout is a number of seconds, zero or more");
    timeout.map(|timeout| Duration::try_from_secs_f64(timeout).map_err(wrong)).transpose()
}

/// What is known of the other end, as `panpipe._remote.Remote`.
pub(crate) fn remote_to_python<'py>(py: Python<'py>, remote: &Remote) -> PyResult<Bound<'py, PyAny>> {
    static REMOTE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let Remote { transport, address, uid, gid, pid } = remote;
    REMOTE.import(py, "panpipe._remote", "Remote")?.call1((*transport, address.as_deref(), *uid, *gid, *pid))
}

/// Descriptors as numbers, the same twice where one does for both.
pub(crate) fn numbers((reader, writer): (OwnedFd, Option<OwnedFd>)) -> (i32, i32) {
    let reader = reader.into_raw_fd();
    (reader, writer.map_or(reader, OwnedFd::into_raw_fd))
}

/// A connection to a peer. Any number of threads may use it at once.
#[pyclass(frozen, module = "panpipe")]
pub(crate) struct Connection {
    connection: Blocking,
    timeout: Duration,
    text: bool,
}

impl Connection {
    fn new(connection: Blocking, address: &Address) -> Self {
        Connection { connection, timeout: address.timeout, text: address.text_messages }
    }
}

#[pymethods]
impl Connection {
    #[getter]
    fn address(&self) -> String {
        self.connection.address().to_string()
    }

    #[getter]
    fn remote<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        remote_to_python(py, &self.connection.remote())
    }

    #[getter]
    fn dropped(&self) -> u64 {
        self.connection.dropped()
    }

    #[pyo3(signature = (message, *, timeout=None))]
    fn call<'py>(&self, message: &Bound<'py, PyAny>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        let py = message.py();
        let timeout = seconds(timeout)?.unwrap_or(self.timeout);
        let reply = message::with_bytes(message, |message| {
            let mut wait = Interruptible::new(py);
            let reply = self.connection.call(message, Some(timeout), &mut wait);
            wait.result(reply)
        })?;
        message::to_python(py, &reply, self.text)
    }

    #[pyo3(signature = (message, *, timeout=None))]
    fn send(&self, message: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<()> {
        let timeout = seconds(timeout)?;
        message::with_bytes(message, |bytes| {
            let mut wait = Interruptible::new(message.py());
            let sent = self.connection.send(bytes, timeout, &mut wait);
            wait.result(sent)
        })
    }

    #[pyo3(signature = (*, timeout=None))]
    fn recv<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut wait = Interruptible::new(py);
        let received = self.connection.recv(seconds(timeout)?, &mut wait);
        let message = wait.result(received)?;
        message.map(|message| message::to_python(py, &message, self.text)).transpose()
    }

    /// The numbers to read from and to write to, now the caller's.
    fn detach(&self, py: Python<'_>) -> PyResult<(i32, i32)> {
        Ok(numbers(error::result(py, self.connection.detach())?))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let mut wait = Interruptible::new(py);
        let closed = self.connection.close(Some(self.timeout), &mut wait);
        wait.result(closed)
    }

    fn __enter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close(py)
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.recv(py, None)
    }

    fn __repr__(&self) -> String {
        format!("<panpipe.Connection {}>", self.connection.address())
    }
}

/// What the protocol makes of a link, which is its own where its listener tells peers apart: a connection, or a core for
/// `panpipe.Peer`.
fn connection<'py>(
    py: Python<'py>,
    link: Link,
    address: &Address,
    side: Side,
    service: Option<Py<Registry>>,
) -> PyResult<Bound<'py, PyAny>> {
    match link.address_of(address).protocol == PANPIPE {
        true => Ok(Bound::new(py, WaitingCore::new(link, address, side, service))?.into_any()),
        false => {
            let connection = Connection::new(Blocking::new(Endpoint::new(link, address)), address);
            Ok(Bound::new(py, connection)?.into_any())
        }
    }
}

/// Connects to an address.
#[pyfunction]
#[pyo3(signature = (address, timeout, service))]
pub(crate) fn connect<'py>(
    py: Python<'py>,
    address: &str,
    timeout: Option<f64>,
    service: Option<Py<Registry>>,
) -> PyResult<Bound<'py, PyAny>> {
    let address = error::result(py, panpipe_link::parse(address))?;
    if service.is_some() {
        error::result(py, address.check_speaks(PANPIPE))?;
    }
    let mut wait = Interruptible::new(py);
    let link = blocking::connect_link(&address, seconds(timeout)?, &mut wait);
    connection(py, wait.result(link)?, &address, Side::Client, service)
}

/// The address of a child: a program with its arguments, and options.
#[pyfunction]
pub(crate) fn spawn_address(py: Python<'_>, command: Vec<String>, options: &str) -> PyResult<String> {
    let address = error::result(py, panpipe_link::spawn_address(command, options))?;
    Ok(address.text().to_string())
}

/// Two connected connections inside this program.
#[pyfunction]
pub(crate) fn pair<'py>(
    py: Python<'py>,
    kind: &str,
    services: (Option<Py<Registry>>, Option<Py<Registry>>),
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let address = error::result(py, panpipe_link::pair_address(kind))?;
    if services.0.is_some() || services.1.is_some() {
        error::result(py, address.check_speaks(PANPIPE))?;
    }
    let (one, other) = error::result(py, panpipe_link::pair(&address))?;
    let one = connection(py, one, &address, Side::Client, services.0)?;
    Ok((one, connection(py, other, &address, Side::Server, services.1)?))
}

/// A listening address. Iterating it accepts connections.
#[pyclass(frozen, module = "panpipe")]
pub(crate) struct Listener {
    address: Address,
    /// `None` once closed, or handed to a server.
    listener: Mutex<Option<std::sync::Arc<panpipe_link::Listener>>>,
}

impl Listener {
    fn open(&self, py: Python<'_>, doing: &str) -> PyResult<std::sync::Arc<panpipe_link::Listener>> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        listener.clone().ok_or_else(|| {
            let error = Error::new(ErrorKind::Closed, format!("{doing} {}", self.address.text()));
            error::to_python(py, &error.because("this side has closed the listener").at(self.address.text()))
        })
    }

    /// Hands the listener over to a server.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<panpipe_link::Listener> {
        let open = self.open(py, "serving")?;
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::sync::Arc::into_inner(open).ok_or_else(|| {
            let error = Error::new(ErrorKind::Busy, format!("serving {}", self.address.text()));
            error::to_python(py, &error.because("another thread accepts here").at(self.address.text()))
        })
    }
}

#[pymethods]
impl Listener {
    #[getter]
    fn address(&self) -> &str {
        self.address.text()
    }

    #[getter]
    fn dropped(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.open(py, "asking")?.dropped())
    }

    #[pyo3(signature = (*, timeout=None))]
    fn accept<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Option<Bound<'py, PyAny>>> {
        static WRAP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let listener = self.open(py, "accepting on")?;
        let mut wait = Interruptible::new(py);
        let accepted = blocking::accept_link(&listener, seconds(timeout)?, &mut wait);
        let Some(link) = wait.result(accepted)? else { return Ok(None) };
        let accepted = connection(py, link, &self.address, Side::Server, None)?;
        Ok(Some(WRAP.import(py, "panpipe._waiting", "wrap")?.call1((accepted,))?))
    }

    #[getter]
    fn _most_connections(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.open(py, "serving")?.most_connections())
    }

    /// The numbers of the descriptors to wait on.
    fn _descriptors(&self, py: Python<'_>) -> PyResult<Vec<i32>> {
        use std::os::fd::AsRawFd;
        Ok(self.open(py, "accepting on")?.descriptors().iter().map(|fd| fd.as_raw_fd()).collect())
    }

    fn close(&self) {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listener) = listener {
            // Another thread may be accepting, and finds that no more will come.
            listener.close();
        }
    }

    fn __enter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyAny>) {
        self.close();
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.accept(py, None)
    }

    fn __repr__(&self) -> String {
        format!("<panpipe.Listener {}>", self.address.text())
    }
}

/// Listens on an address.
#[pyfunction]
pub(crate) fn listen(py: Python<'_>, address: &str) -> PyResult<Listener> {
    let address = error::result(py, panpipe_link::parse(address))?;
    let listener = error::result(py, py.detach(|| panpipe_link::listen(&address)))?;
    let address = listener.address().clone();
    Ok(Listener { address, listener: Mutex::new(Some(std::sync::Arc::new(listener))) })
}

/// What an accept without waiting brought: a core, `None` for nobody, a pause in seconds, or `False` at the end.
#[pyfunction]
pub(crate) fn accept_core<'py>(
    py: Python<'py>,
    listener: &Listener,
    event_loop: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let open = listener.open(py, "accepting on")?;
    match error::result(py, open.accept())? {
        Accepted::Link(link) => new_core(link, &listener.address, Side::Server, event_loop),
        Accepted::Nobody => Ok(py.None().into_bound(py)),
        Accepted::Pause(pause) => Ok(pause.as_secs_f64().into_pyobject(py)?.into_any()),
        Accepted::Finished => Ok(pyo3::types::PyBool::new(py, false).to_owned().into_any()),
    }
}
