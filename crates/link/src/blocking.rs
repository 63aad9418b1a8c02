//! Connections for threads that wait: `poll`, and at most one thread that reads for all.

mod shared;
pub use shared::{Mail, Shared};

use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use bytes::Bytes;
use panpipe_wire::{Address, CallId, Error, ErrorKind, Event, PLAIN, Plain, Ran, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use self::shared::State;
use crate::endpoint::Endpoint;
use crate::os_error;
use crate::transport::{Accepted, Link, Listener, Progress};

/// How a thread waits; Python lets others run meanwhile and looks for Ctrl-C.
pub trait Wait {
    /// The longest time to wait at a stretch, where a wake-up may be missed.
    const LONGEST: Option<Duration> = None;

    /// Runs what waits, which may return early for no reason.
    ///
    /// # Errors
    /// Whatever ends the waiting, such as `cancelled`.
    fn run<T: Send>(&mut self, waiting: impl FnOnce() -> T + Send) -> Result<T>;

    /// Waits with `poll` until one of `fds` is ready, or `timeout` has passed; may return early for no reason.
    ///
    /// # Errors
    /// Those of [`run`](Self::run), and `io`.
    fn poll(&mut self, fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<()> {
        let timeout =
            timeout.into_iter().chain(Self::LONGEST).min().and_then(|timeout| Timespec::try_from(timeout).ok());
        match self.run(|| poll(fds, timeout.as_ref()))? {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::new(os_error::kind(errno), "waiting").because(os_error::text(errno))),
        }
    }
}

/// Waits and does nothing else.
pub struct WaitFor;

impl Wait for WaitFor {
    fn run<T: Send>(&mut self, waiting: impl FnOnce() -> T + Send) -> Result<T> {
        Ok(waiting())
    }
}

/// Connects, waiting for as long as the address's `timeout` or the given one says.
///
/// # Errors
/// Those of [`transport::connect`](crate::connect), `deadline-exceeded`, and `unsupported` for an address that means another
/// protocol than plain.
pub fn connect(address: &Address, timeout: Option<Duration>, wait: &mut impl Wait) -> Result<Blocking> {
    address.check_speaks(PLAIN)?;
    Ok(Blocking::new(Endpoint::new(connect_link(address, timeout, wait)?, address)))
}

/// The link of a connection, as [`connect`].
///
/// # Errors
/// Those of [`connect`].
pub fn connect_link(address: &Address, timeout: Option<Duration>, wait: &mut impl Wait) -> Result<Link> {
    let mut connecting = crate::connect(address)?;
    let deadline = deadline(Some(timeout.unwrap_or(address.timeout)));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(connecting.timed_out());
        }
        match connecting.advance()? {
            Progress::Connected(link) => return Ok(link),
            Progress::WaitWritable(socket) => wait.poll(&mut [PollFd::new(&socket, PollFlags::OUT)], left)?,
            Progress::WaitReadable(socket) => wait.poll(&mut [PollFd::new(&socket, PollFlags::IN)], left)?,
            Progress::WaitFor(pause) => wait.poll(&mut [], Some(left.map_or(pause, |left| left.min(pause))))?,
        }
    }
}

/// Waits for the next connection of `listener`; `None` when no more will come.
///
/// # Errors
/// `deadline-exceeded` after `timeout`; `io` when listening is broken; `unsupported` for an address that means another
/// protocol than plain.
pub fn accept(listener: &Listener, timeout: Option<Duration>, wait: &mut impl Wait) -> Result<Option<Blocking>> {
    listener.address().check_speaks(PLAIN)?;
    let link = accept_link(listener, timeout, wait)?;
    Ok(link.map(|link| Blocking::new(Endpoint::new(link, listener.address()))))
}

/// The link of the next connection, as [`accept`].
///
/// # Errors
/// Those of [`accept`].
pub fn accept_link(listener: &Listener, timeout: Option<Duration>, wait: &mut impl Wait) -> Result<Option<Link>> {
    let deadline = deadline(timeout);
    let descriptors = listener.descriptors();
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let pause = match listener.accept()? {
            Accepted::Link(link) => return Ok(Some(link)),
            Accepted::Finished => return Ok(None),
            Accepted::Nobody => None,
            Accepted::Pause(pause) => Some(pause),
        };
        if left.is_some_and(|left| left.is_zero()) {
            let address = listener.address().text();
            let error = Error::new(ErrorKind::DeadlineExceeded, format!("accepting on {address}")).at(address);
            return Err(error.because("nobody came within the timeout"));
        }
        let mut fds: Vec<_> = descriptors.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        match pause {
            Some(pause) => wait.poll(&mut [], Some(left.map_or(pause, |left| left.min(pause))))?,
            None => wait.poll(&mut fds, left)?,
        }
    }
}

/// A connection of the plain protocol that any number of threads may use at once.
pub type Blocking = Shared<Plain, Outcomes>;

/// The ends of calls that their threads have not taken yet.
#[derive(Default)]
pub struct Outcomes(Vec<(CallId, Result<Bytes>)>);

impl Mail<Plain> for Outcomes {
    fn collect(&mut self, endpoint: &mut Endpoint, now: Instant) {
        while let Some(Event::Reply { call, outcome }) = endpoint.next_event(now, false) {
            self.0.push((call, outcome));
        }
    }
}

impl Blocking {
    /// A connection over `endpoint`.
    pub fn new(endpoint: Endpoint) -> Self {
        Self::over(endpoint, Outcomes::default())
    }

    /// Whether messages are strings.
    pub fn is_text(&self) -> bool {
        self.lock().endpoint.is_text()
    }

    /// Sends a message; returns once the system has it whole.
    ///
    /// # Errors
    /// `too-large`, `unsupported`, `connection-lost`, `closed`; `deadline-exceeded` when the peer does not
    /// read. Where the error says that it may have run, the rest of the message is sent before the next one.
    pub fn send(&self, message: &[u8], timeout: Option<Duration>, wait: &mut impl Wait) -> Result<()> {
        let deadline = deadline(timeout);
        let mut state = self.wait_for_room(deadline, wait, "sending to")?;
        state.endpoint.send(message, true)?;
        self.finish_sending(state, deadline, wait, "sending to").map(drop).map_err(|error| error.ran(Ran::Maybe))
    }

    /// Waits for the next message; `None` once the peer has closed between messages.
    ///
    /// Giving up loses nothing: what has arrived stays for the next call.
    ///
    /// # Errors
    /// `connection-lost`, `bad-peer`, `too-large`, `closed`, `deadline-exceeded`.
    pub fn recv(&self, timeout: Option<Duration>, wait: &mut impl Wait) -> Result<Option<Bytes>> {
        let state = self.lock();
        self.wait_until(state, deadline(timeout), wait, "receiving from", |state, now| {
            if let Err(error) = state.endpoint.check_usable("receiving from") {
                return Some(Err(error));
            }
            match state.endpoint.next_event(now, true)? {
                Event::Message(message) => Some(message.map(Some)),
                Event::Ended(None) => Some(Ok(None)),
                Event::Ended(Some(error)) => Some(Err(error)),
                Event::Reply { call, outcome } => {
                    state.mail.0.push((call, outcome));
                    None
                }
            }
        })
    }

    /// Sends a message and waits for the one that answers it.
    ///
    /// # Errors
    /// Those of `send` and `recv`, and `busy`; the error says whether the peer may have run the call.
    pub fn call(&self, message: &[u8], timeout: Option<Duration>, wait: &mut impl Wait) -> Result<Bytes> {
        let deadline = deadline(timeout);
        let mut state = self.wait_for_room(deadline, wait, "calling")?;
        let call = state.endpoint.call(message, deadline, true)?;
        let mut has_ended = false;
        let outcome = self.wait_until(state, None, wait, "calling", |state, _| {
            let place = state.mail.0.iter().position(|(ended, _)| *ended == call)?;
            has_ended = true;
            Some(state.mail.0.swap_remove(place).1)
        });
        if has_ended {
            return outcome;
        }
        // The waiting has failed, not the call.
        let mut state = self.lock();
        state.endpoint.abandon(call);
        state.mail.0.retain(|(ended, _)| *ended != call);
        let doing = format!("calling {}", state.endpoint.address());
        outcome.map_err(|error| error.met_while(doing).at(state.endpoint.address()).ran(Ran::Maybe))
    }

    /// Lets what an earlier send has left go first, if it is much.
    fn wait_for_room(
        &self,
        deadline: Option<Instant>,
        wait: &mut impl Wait,
        doing: &str,
    ) -> Result<MutexGuard<'_, State<Plain, Outcomes>>> {
        let state = self.lock();
        match state.endpoint.is_congested() {
            true => self.finish_sending(state, deadline, wait, doing),
            false => Ok(state),
        }
    }

    fn finish_sending<'a>(
        &'a self,
        state: MutexGuard<'a, State<Plain, Outcomes>>,
        deadline: Option<Instant>,
        wait: &mut impl Wait,
        doing: &str,
    ) -> Result<MutexGuard<'a, State<Plain, Outcomes>>> {
        self.finish(state, deadline, wait, doing, Endpoint::has_unwritten)
    }
}

fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}
