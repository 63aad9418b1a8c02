//! Connections for threads that wait: `poll`, and at most one thread that reads for all.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use panpipe_wire::{Address, CallId, Error, ErrorKind, Event, PLAIN, Ran, Result};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, read, write};

use crate::endpoint::{Endpoint, Input};
use crate::os_error;
use crate::transport::{Accepted, Listener, Progress, Remote, WaitingRead};

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
    let mut connecting = crate::connect(address)?;
    let deadline = deadline(Some(timeout.unwrap_or(address.timeout)));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(connecting.timed_out());
        }
        match connecting.advance()? {
            Progress::Connected(link) => return Ok(Blocking::new(Endpoint::new(link, address))),
            Progress::WaitWritable(socket) => wait.poll(&mut [PollFd::new(&socket, PollFlags::OUT)], left)?,
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
    let deadline = deadline(timeout);
    let descriptors = listener.descriptors();
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let pause = match listener.accept()? {
            Accepted::Link(link) => return Ok(Some(Blocking::new(Endpoint::new(link, listener.address())))),
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

/// A connection that any number of threads may use at once.
///
/// One waiting thread reads and hands the others what is theirs; a thread that sends waits on its own.
pub struct Blocking {
    state: Mutex<State>,
    /// Calls the reading thread back when another one closes; a socket does so by itself.
    closer: Option<Arc<OwnedFd>>,
}

struct State {
    endpoint: Endpoint,
    /// The ends of calls that their threads have not taken yet.
    outcomes: Vec<(CallId, Result<Bytes>)>,
    /// A thread is waiting for input on behalf of all.
    has_reader: bool,
    /// The bells of the threads that wait for the reading one.
    followers: Vec<Arc<OwnedFd>>,
    /// The last read left nothing behind: waiting comes before reading.
    drained: bool,
}

impl Blocking {
    /// A connection over `endpoint`.
    pub fn new(mut endpoint: Endpoint) -> Self {
        endpoint.allow_waiting_reads();
        // Without one a close is noticed when the next input comes.
        let closer = if endpoint.is_socket() { None } else { new_bell().ok() };
        let state = State { endpoint, outcomes: Vec::new(), has_reader: false, followers: Vec::new(), drained: true };
        Blocking { state: Mutex::new(state), closer }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address that errors name.
    pub fn address(&self) -> Arc<str> {
        Arc::clone(self.lock().endpoint.address())
    }

    /// What was known of the other end when the connection was made.
    pub fn remote(&self) -> Remote {
        self.lock().endpoint.remote()
    }

    /// Datagrams from the other side that were dropped for want of room, as [`Endpoint::dropped`].
    pub fn dropped(&self) -> u64 {
        self.lock().endpoint.dropped()
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
                    state.outcomes.push((call, outcome));
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
            let place = state.outcomes.iter().position(|(ended, _)| *ended == call)?;
            has_ended = true;
            Some(state.outcomes.swap_remove(place).1)
        });
        if has_ended {
            return outcome;
        }
        // The waiting has failed, not the call.
        let mut state = self.lock();
        state.endpoint.abandon(call);
        state.outcomes.retain(|(ended, _)| *ended != call);
        let doing = format!("calling {}", state.endpoint.address());
        outcome.map_err(|error| error.met_while(doing).at(state.endpoint.address()).ran(Ran::Maybe))
    }

    /// Writes what waits and closes; threads that wait get `closed`.
    ///
    /// # Errors
    /// `deadline-exceeded` or `connection-lost` when something could not be written; the connection is closed then too.
    pub fn close(&self, timeout: Option<Duration>, wait: &mut impl Wait) -> Result<()> {
        let state = self.lock();
        if state.endpoint.check_usable("closing").is_err() {
            return Ok(());
        }
        let finished = match state.endpoint.delays_close() {
            true => self.finish(state, deadline(timeout), wait, "closing", Endpoint::delays_close),
            false => Ok(state),
        };
        let failed = finished.map(drop).err();
        let gone = self.leave(wait);
        failed.map_or(gone, Err)
    }

    /// Closes with what waits unwritten, and waits for a child at the other end to end.
    ///
    /// # Errors
    /// What ends the waiting; the child then ends by itself.
    pub fn leave(&self, wait: &mut impl Wait) -> Result<()> {
        let mut state = self.lock();
        if state.endpoint.check_usable("closing").is_err() {
            return Ok(());
        }
        state.endpoint.close();
        state.call_followers();
        if let Some(closer) = &self.closer {
            let _ = write(&**closer, &1u64.to_ne_bytes());
        }
        let Some(mut child) = state.endpoint.take_child() else { return Ok(()) };
        drop(state);
        loop {
            let now = Instant::now();
            let Some(again) = child.advance(now) else { return Ok(()) };
            let left = again.saturating_duration_since(now);
            wait.poll(&mut [PollFd::new(child.descriptor(), PollFlags::IN)], Some(left))?;
        }
    }

    /// Hands the descriptors over, as [`Endpoint::detach`].
    ///
    /// # Errors
    /// Those of `detach`; `busy` while another thread waits here.
    pub fn detach(&self) -> Result<(OwnedFd, Option<OwnedFd>)> {
        let mut state = self.lock();
        if state.has_reader || !state.followers.is_empty() {
            return Err(state.endpoint.error(ErrorKind::Busy, "detaching").because("another thread waits for input"));
        }
        state.endpoint.detach()
    }

    /// Lets what an earlier send has left go first, if it is much.
    fn wait_for_room(
        &self,
        deadline: Option<Instant>,
        wait: &mut impl Wait,
        doing: &str,
    ) -> Result<MutexGuard<'_, State>> {
        let state = self.lock();
        match state.endpoint.is_congested() {
            true => self.finish_sending(state, deadline, wait, doing),
            false => Ok(state),
        }
    }

    fn finish_sending<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
        wait: &mut impl Wait,
        doing: &str,
    ) -> Result<MutexGuard<'a, State>> {
        self.finish(state, deadline, wait, doing, Endpoint::has_unwritten)
    }

    fn finish<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
        wait: &mut impl Wait,
        doing: &str,
        is_waiting: fn(&Endpoint) -> bool,
    ) -> Result<MutexGuard<'a, State>> {
        if !is_waiting(&state.endpoint) && state.endpoint.output_failure().is_none() {
            return Ok(state);
        }
        self.wait_until(state, deadline, wait, doing, |state, _| {
            if let Some(failure) = state.endpoint.output_failure() {
                return Some(Err(failure.clone()));
            }
            (!is_waiting(&state.endpoint)).then_some(Ok(()))
        })?;
        Ok(self.lock())
    }

    /// Pumps the endpoint until `check` has an answer.
    fn wait_until<'a, T>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
        wait: &mut impl Wait,
        doing: &str,
        mut check: impl FnMut(&mut State, Instant) -> Option<Result<T>>,
    ) -> Result<T> {
        let mut bell = None;
        let answer = loop {
            let now = Instant::now();
            state.collect_outcomes(now);
            if let Some(answer) = check(&mut state, now) {
                break answer;
            }
            if deadline.is_some_and(|deadline| deadline <= now) {
                let error = Error::new(ErrorKind::DeadlineExceeded, format!("{doing} {}", state.endpoint.address()));
                break Err(error.at(state.endpoint.address()).because("not within the timeout"));
            }
            // Who is not interested in more must not keep others from reading.
            let reads = !state.has_reader && state.endpoint.wants_read();
            if reads && !state.drained {
                state.read();
                continue;
            }
            let until = [deadline, state.endpoint.next_deadline()].into_iter().flatten().min();
            let timeout = until.map(|until| until.saturating_duration_since(now));
            let waited;
            (state, waited) = self.wait_once(state, reads, &mut bell, timeout, wait);
            if let Err(error) = waited {
                break Err(error);
            }
        };
        state.call_followers();
        answer
    }

    /// Waits once, as the reading thread or as one that is called by it.
    fn wait_once<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        reads: bool,
        bell: &mut Option<Arc<OwnedFd>>,
        timeout: Option<Duration>,
        wait: &mut impl Wait,
    ) -> (MutexGuard<'a, State>, Result<()>) {
        if reads && let Some(read) = state.endpoint.begin_waiting_read() {
            return self.read_once(state, read, timeout, wait);
        }
        let (reader, writer) = (Arc::clone(state.endpoint.reader()), Arc::clone(state.endpoint.writer()));
        let input = match reads {
            true => {
                state.has_reader = true;
                reader
            }
            false => match follow(&mut state, bell) {
                Ok(bell) => bell,
                Err(error) => return (state, Err(error)),
            },
        };
        let waits_for_room = state.endpoint.wants_write();
        drop(state);

        let wanted = [
            (&input, PollFlags::IN, true),
            (&writer, PollFlags::OUT, waits_for_room),
            (self.closer.as_ref().unwrap_or(&input), PollFlags::IN, self.closer.is_some()),
        ];
        let fds = wanted.iter().filter(|(_, _, wanted)| *wanted);
        let mut fds: Vec<_> = fds.map(|(fd, flags, _)| PollFd::new(*fd, *flags)).collect();
        let waited = wait.poll(&mut fds, timeout);
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let input_ready = ready.next().unwrap_or(false);
        let output_ready = waits_for_room && ready.next().unwrap_or(false);

        let mut state = self.lock();
        if reads {
            state.has_reader = false;
            if input_ready {
                state.read();
            }
        } else if let Some(bell) = bell.as_ref() {
            state.followers.retain(|follower| !Arc::ptr_eq(follower, bell));
            // Silences the bell; it may be silent already.
            let _ = read(&**bell, &mut [0; 8]);
        }
        if output_ready {
            state.endpoint.flush();
        }
        if reads {
            state.call_followers();
        }
        (state, waited)
    }
}

impl Blocking {
    /// Waits in the read itself, which saves a system call and, between CPUs, a fifth of a round trip.
    fn read_once<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        mut read: WaitingRead,
        timeout: Option<Duration>,
        wait: &mut impl Wait,
    ) -> (MutexGuard<'a, State>, Result<()>) {
        state.has_reader = true;
        drop(state);
        let waited = wait.run(|| read.run(timeout));
        let mut state = self.lock();
        state.has_reader = false;
        // What was read before a signal is kept all the same.
        state.drained = state.endpoint.end_waiting_read(read) == Input::Drained;
        state.call_followers();
        (state, waited)
    }
}

impl State {
    fn read(&mut self) {
        self.drained = self.endpoint.on_readable() == Input::Drained;
    }

    /// Takes the ends of calls, whoever waits for them.
    fn collect_outcomes(&mut self, now: Instant) {
        while let Some(Event::Reply { call, outcome }) = self.endpoint.next_event(now, false) {
            self.outcomes.push((call, outcome));
        }
    }

    fn call_followers(&mut self) {
        for bell in self.followers.drain(..) {
            let _ = write(&*bell, &1u64.to_ne_bytes());
        }
    }
}

/// Registers the calling thread's bell, which is made when it is first needed.
fn follow(state: &mut State, bell: &mut Option<Arc<OwnedFd>>) -> Result<Arc<OwnedFd>> {
    let bell = match bell {
        Some(bell) => bell,
        None => bell.insert(new_bell()?),
    };
    state.followers.push(Arc::clone(bell));
    Ok(Arc::clone(bell))
}

/// A descriptor that is readable once somebody has written to it.
fn new_bell() -> Result<Arc<OwnedFd>> {
    let made = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
    made.map(Arc::new).map_err(|errno| Error::new(os_error::kind(errno), "waiting").because(os_error::text(errno)))
}

fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}
