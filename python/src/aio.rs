//! The asyncio face: a connection on a loop's `add_reader` and `add_writer`.

use std::collections::VecDeque;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use bytes::Bytes;
use panpipe_link::panpipe::Side;
use panpipe_link::{Address, CallId, Endpoint, ErrorKind, Event, Input, Link, PANPIPE, Progress, Ran, Result};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBool;
use pyo3::{PyTraverseError, PyVisit, intern};

use crate::blocking::{numbers, remote_to_python, seconds};
use crate::peer::PeerCore;
use crate::watch::Watch;
use crate::{error, message};

/// A connection on its way.
#[pyclass(module = "panpipe")]
pub(crate) struct Connecting {
    address: Address,
    connecting: Option<panpipe_link::Connecting>,
}

#[pymethods]
impl Connecting {
    #[new]
    fn new(py: Python<'_>, address: &str, has_service: bool) -> PyResult<Self> {
        let address = error::result(py, panpipe_link::parse(address))?;
        if has_service {
            error::result(py, address.check_speaks(PANPIPE))?;
        }
        Ok(Connecting { address, connecting: None })
    }

    /// Whether `begin` may wait for a resolver.
    fn may_block(&self) -> bool {
        panpipe_link::may_block(&self.address)
    }

    #[getter]
    fn timeout(&self) -> f64 {
        self.address.timeout.as_secs_f64()
    }

    fn begin(&mut self, py: Python<'_>) -> PyResult<()> {
        let address = &self.address;
        self.connecting = Some(error::result(py, py.detach(|| panpipe_link::connect(address)))?);
        Ok(())
    }

    /// A core once connected, else the descriptor to wait on and whether it is to become writable, rather than readable, or
    /// a pause in seconds.
    fn advance<'py>(&mut self, py: Python<'py>, event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let connecting = self.connecting.as_mut().ok_or_else(|| PyRuntimeError::new_err("begin was not called"))?;
        match error::result(py, connecting.advance())? {
            Progress::Connected(link) => new_core(link, &self.address, Side::Client, event_loop),
            Progress::WaitWritable(socket) => Ok((socket.as_raw_fd(), true).into_pyobject(py)?.into_any()),
            Progress::WaitReadable(socket) => Ok((socket.as_raw_fd(), false).into_pyobject(py)?.into_any()),
            Progress::WaitFor(pause) => Ok(pause.as_secs_f64().into_pyobject(py)?.into_any()),
        }
    }

    /// The error for a connection that did not come about in time.
    fn timed_out(&self, py: Python<'_>) -> PyErr {
        match &self.connecting {
            Some(connecting) => error::to_python(py, &connecting.timed_out()),
            None => PyRuntimeError::new_err("begin was not called"),
        }
    }
}

/// Two connected cores inside this program.
#[pyfunction]
pub(crate) fn open_pair<'py>(
    event_loop: &Bound<'py, PyAny>,
    kind: &str,
    has_service: bool,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let py = event_loop.py();
    let address = error::result(py, panpipe_link::pair_address(kind))?;
    if has_service {
        error::result(py, address.check_speaks(PANPIPE))?;
    }
    let (one, other) = error::result(py, panpipe_link::pair(&address))?;
    Ok((new_core(one, &address, Side::Client, event_loop)?, new_core(other, &address, Side::Server, event_loop)?))
}

/// The core that the protocol asks for, which is the link's own where its listener tells peers apart.
pub(crate) fn new_core<'py>(
    link: Link,
    address: &Address,
    side: Side,
    event_loop: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    match link.address_of(address).protocol == PANPIPE {
        true => Ok(Bound::new(py, PeerCore::new(link, address, side, event_loop)?)?.into_any()),
        false => Ok(Bound::new(py, Core::new(link, address, event_loop)?)?.into_any()),
    }
}

/// What a connection of `panpipe.aio` does on its loop.
#[pyclass(module = "panpipe")]
pub(crate) struct Core {
    endpoint: Endpoint,
    timeout: Duration,
    text: bool,
    watch: Watch,
    /// The futures of the calls that wait, from the oldest; the first is number `first_call`.
    calls: VecDeque<Option<Py<PyAny>>>,
    first_call: u64,
    /// Futures of those who wait for a message, or for room to send; they are only woken, and then look themselves.
    receivers: Vec<Py<PyAny>>,
    senders: Vec<Py<PyAny>>,
}

impl Core {
    pub(crate) fn new(link: Link, address: &Address, event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Core {
            endpoint: Endpoint::new(link, address),
            timeout: address.timeout,
            text: address.text_messages,
            watch: Watch::new(event_loop)?,
            calls: VecDeque::new(),
            first_call: 0,
            receivers: Vec::new(),
            senders: Vec::new(),
        })
    }

    fn settle(&mut self, py: Python<'_>, call: CallId, outcome: Result<Bytes>) -> PyResult<()> {
        let place = call.0.checked_sub(self.first_call).map(|place| place as usize);
        let future = place.and_then(|place| self.calls.get_mut(place)).and_then(Option::take);
        self.forget_settled();
        let Some(future) = future else { return Ok(()) };
        let set = match outcome {
            Ok(reply) => {
                let reply = message::to_python(py, &reply, self.text)?;
                future.call_method1(py, intern!(py, "set_result"), (reply,))
            }
            Err(error) => {
                let error = error::to_python(py, &error).into_value(py);
                future.call_method1(py, intern!(py, "set_exception"), (error,))
            }
        };
        // Its task was cancelled in this turn of the loop and has not had the time to say so.
        match set {
            Err(failure) if !future.call_method0(py, intern!(py, "cancelled"))?.is_truthy(py)? => Err(failure),
            _ => Ok(()),
        }
    }

    fn forget_settled(&mut self) {
        while self.calls.front().is_some_and(Option::is_none) {
            self.calls.pop_front();
            self.first_call += 1;
        }
    }

    fn dispatch(&mut self, py: Python<'_>) -> PyResult<()> {
        let now = Instant::now();
        while let Some(Event::Reply { call, outcome }) = self.endpoint.next_event(now, false) {
            self.settle(py, call, outcome)?;
        }
        // What waited for the end of a call, or for its time to be tried again, may be on its way.
        match self.senders.is_empty() {
            true => Ok(()),
            false => self.wake_senders(py),
        }
    }

    /// Brings what the loop watches into line with what the endpoint wants.
    fn watch(slf: &Bound<'_, Self>) -> PyResult<()> {
        let mut this = slf.borrow_mut();
        let this = &mut *this;
        this.watch.update(slf.py(), &this.endpoint)
    }

    /// Wakes those who wait for room, if there is some again or will never be.
    fn wake_senders(&mut self, py: Python<'_>) -> PyResult<()> {
        if self.endpoint.is_congested() {
            return Ok(());
        }
        wake(py, &mut self.senders)
    }
}

/// Forgets those who have given up, so that they do not pile up.
fn forget_done(py: Python<'_>, futures: &mut Vec<Py<PyAny>>) -> PyResult<()> {
    for place in (0..futures.len()).rev() {
        if futures[place].call_method0(py, intern!(py, "done"))?.is_truthy(py)? {
            futures.swap_remove(place);
        }
    }
    Ok(())
}

fn wake(py: Python<'_>, futures: &mut Vec<Py<PyAny>>) -> PyResult<()> {
    for future in futures.drain(..) {
        if !future.call_method0(py, intern!(py, "done"))?.is_truthy(py)? {
            future.call_method1(py, intern!(py, "set_result"), (py.None(),))?;
        }
    }
    Ok(())
}

#[pymethods]
impl Core {
    #[getter]
    fn address(&self) -> String {
        self.endpoint.address().to_string()
    }

    #[getter]
    fn remote<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        remote_to_python(py, &self.endpoint.remote())
    }

    #[getter]
    fn dropped(&self) -> u64 {
        self.endpoint.dropped()
    }

    #[getter]
    fn congested(&self) -> bool {
        self.endpoint.is_congested()
    }

    #[getter]
    fn unwritten(&self) -> bool {
        self.endpoint.delays_close()
    }

    /// Begins to watch the descriptors.
    fn start(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.borrow_mut().watch.start(slf)?;
        Self::watch(slf)
    }

    /// Sends a call; the future of its reply, or `None` when there is no room to send it in.
    fn call<'py>(
        slf: &Bound<'py, Self>,
        message: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        let timeout = seconds(timeout)?;
        {
            let this = slf.borrow();
            error::result(py, this.endpoint.check_usable("calling"))?;
            if this.endpoint.is_congested() {
                return Ok(None);
            }
        }
        let future = slf.borrow().watch.new_future(py)?;
        message::with_bytes(message, |message| {
            let mut this = slf.borrow_mut();
            let this = &mut *this;
            let now = Instant::now();
            let deadline = now.checked_add(timeout.unwrap_or(this.timeout));
            // A lone call goes out at once. While others are not yet answered more will follow in this turn, and they
            // share a write.
            let at_once = !this.watch.is_corked() && !this.endpoint.is_calling();
            error::result(py, this.endpoint.call(message, deadline, at_once))?;
            this.calls.push_back(Some(future.clone().unbind()));
            if let Some(deadline) = deadline {
                this.watch.wake_at(py, deadline)?;
            }
            if this.watch.overlaps(now) {
                this.endpoint.flush();
            }
            this.watch.cork(py, &this.endpoint, now)
        })?;
        Ok(Some(future))
    }

    /// Gives up the call whose reply this future waits for.
    fn abandon(&mut self, py: Python<'_>, future: &Bound<'_, PyAny>) -> PyResult<()> {
        let is_it = |call: &Option<Py<PyAny>>| call.as_ref().is_some_and(|call| call.is(future));
        if let Some(place) = self.calls.iter().position(is_it) {
            self.endpoint.abandon(CallId(self.first_call + place as u64));
            self.calls[place] = None;
            self.forget_settled();
        }
        self.dispatch(py)
    }

    fn send(slf: &Bound<'_, Self>, message: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        message::with_bytes(message, |message| {
            let mut this = slf.borrow_mut();
            // The first write of a turn goes out at once, the rest of the turn is joined.
            let at_once = !this.watch.is_corked();
            error::result(py, this.endpoint.send(message, at_once))?;
            match at_once {
                true => this.watch.end_turn_soon(py, Instant::now()),
                false => Ok(()),
            }
        })
    }

    /// The next message if it is there, `None` at the end of the input, `False` when one is still to come.
    fn recv_now<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let received = {
            let mut this = slf.borrow_mut();
            error::result(py, this.endpoint.check_usable("receiving from"))?;
            let now = Instant::now();
            loop {
                match this.endpoint.next_event(now, true) {
                    Some(Event::Reply { call, outcome }) => this.settle(py, call, outcome)?,
                    Some(Event::Message(message)) => {
                        let message = error::result(py, message)?;
                        break message::to_python(py, &message, this.text)?;
                    }
                    Some(Event::Ended(None)) => break py.None().into_bound(py),
                    Some(Event::Ended(Some(error))) => return Err(error::to_python(py, &error)),
                    None => break PyBool::new(py, false).to_owned().into_any(),
                }
            }
        };
        Self::watch(slf)?;
        Ok(received)
    }

    /// A future that is done when it is worth looking for a message again.
    fn readable(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let future = self.watch.new_future(py)?.unbind();
        forget_done(py, &mut self.receivers)?;
        self.receivers.push(future.clone_ref(py));
        Ok(future)
    }

    /// A future that is done when there is room to send again.
    fn writable(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let future = self.watch.new_future(py)?.unbind();
        forget_done(py, &mut self.senders)?;
        self.senders.push(future.clone_ref(py));
        Ok(future)
    }

    fn on_readable(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        {
            let mut this = slf.borrow_mut();
            let refused = this.endpoint.refused();
            while this.endpoint.wants_read() {
                let input = this.endpoint.on_readable();
                this.dispatch(py)?;
                if input == Input::Drained || !this.endpoint.is_calling() {
                    break;
                }
            }
            let this = &mut *this;
            wake(py, &mut this.receivers)?;
            // libuv, and so uvloop, stops to watch a descriptor that had an error, and must be asked anew.
            if this.endpoint.refused() > refused {
                this.watch.forget_reading(py)?;
            }
        }
        Self::watch(slf)
    }

    fn on_writable(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        {
            let mut this = slf.borrow_mut();
            this.endpoint.flush();
            this.wake_senders(py)?;
        }
        Self::watch(slf)
    }

    fn on_turn_end(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.borrow_mut().watch.uncork();
        Self::on_writable(slf)
    }

    fn on_time(&mut self, py: Python<'_>) -> PyResult<()> {
        self.watch.acknowledge_alarm();
        self.dispatch(py)?;
        // The session has only a bound on the next deadline; what it finds when it looks is exact.
        self.watch.update(py, &self.endpoint)
    }

    /// The error for what did not come about in time.
    fn timed_out(&self, py: Python<'_>, doing: &str) -> PyErr {
        let error = self.endpoint.error(ErrorKind::DeadlineExceeded, doing);
        error::to_python(py, &error.because("not within the timeout"))
    }

    /// The timeout of calls, in seconds.
    #[getter]
    fn timeout(&self) -> f64 {
        self.timeout.as_secs_f64()
    }

    /// The numbers to read from and to write to, now the caller's; the loop watches neither any more.
    fn detach(slf: &Bound<'_, Self>) -> PyResult<(i32, i32)> {
        let py = slf.py();
        let mut this = slf.borrow_mut();
        error::result(py, this.endpoint.check_usable("detaching"))?;
        // Before the descriptors have another owner.
        this.watch.stop(py, true)?;
        let detached = this.endpoint.detach();
        drop(this);
        if detached.is_err() {
            Self::start(slf)?;
        }
        let descriptors = error::result(py, detached)?;
        let mut this = slf.borrow_mut();
        let this = &mut *this;
        wake(py, &mut this.receivers)?;
        wake(py, &mut this.senders)?;
        Ok(numbers(descriptors))
    }

    /// Closes; waiting calls and receivers are told. The error says what could not be written.
    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let failed = {
            let mut this = slf.borrow_mut();
            let ours = this.endpoint.check_usable("closing").is_ok();
            // Before the descriptors close: a loop must not watch a number that may name another file soon.
            this.watch.stop(py, ours)?;
            let failed = match this.endpoint.output_failure() {
                // Closing twice is closing once.
                _ if this.endpoint.is_closed() => None,
                None if ours && this.endpoint.wants_write() => {
                    let error = this.endpoint.error(ErrorKind::DeadlineExceeded, "closing");
                    Some(error.because("not everything was written within the timeout").ran(Ran::Maybe))
                }
                failure => failure.cloned(),
            };
            this.endpoint.close();
            this.dispatch(py)?;
            let this = &mut *this;
            wake(py, &mut this.receivers)?;
            wake(py, &mut this.senders)?;
            failed
        };
        failed.map_or(Ok(()), |failed| Err(error::to_python(py, &failed)))
    }

    /// The child at the other end, to be waited for after `close`.
    fn child(&mut self) -> Option<Child> {
        self.endpoint.take_child().map(Child)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.watch.traverse(&visit)?;
        for future in self.calls.iter().flatten().chain(&self.receivers).chain(&self.senders) {
            visit.call(future)?;
        }
        Ok(())
    }

    fn __clear__(&mut self) {
        self.calls.clear();
        self.receivers.clear();
        self.senders.clear();
    }
}

/// A child on its way out.
#[pyclass(module = "panpipe")]
pub(crate) struct Child(pub(crate) panpipe_link::Child);

#[pymethods]
impl Child {
    /// The descriptor to wait on until it is readable.
    fn fileno(&self) -> i32 {
        self.0.descriptor().as_raw_fd()
    }

    /// Does what is due: the seconds until it is to be called again, or `None` when the child is gone.
    fn advance(&mut self) -> Option<f64> {
        let now = Instant::now();
        self.0.advance(now).map(|again| again.saturating_duration_since(now).as_secs_f64())
    }
}
