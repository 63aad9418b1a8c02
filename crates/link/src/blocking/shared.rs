//! What threads share of a connection: at most one of them reads, for all.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use panpipe_wire::{Error, ErrorKind, Result, Session};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::io::{read, write};

use super::{Wait, deadline};
use crate::endpoint::{Endpoint, Input};
use crate::os_error;
use crate::transport::{Remote, WaitingRead};

/// Where a reading thread puts what is another's.
pub trait Mail<S: Session> {
    /// Takes the events that the endpoint has, whoever waits for them.
    fn collect(&mut self, endpoint: &mut Endpoint<S>, now: Instant);
}

/// A connection that any number of threads may use at once.
///
/// One waiting thread reads and hands the others what is theirs; a thread that sends waits on its own.
pub struct Shared<S: Session, M> {
    state: Mutex<State<S, M>>,
    /// Calls the reading thread back when another one closes; a socket does so by itself.
    closer: Option<Arc<OwnedFd>>,
}

pub(super) struct State<S: Session, M> {
    pub(super) endpoint: Endpoint<S>,
    pub(super) mail: M,
    /// A thread is waiting for input on behalf of all.
    has_reader: bool,
    /// The bells of the threads that wait for the reading one.
    followers: Vec<Arc<OwnedFd>>,
    /// The last read left nothing behind: waiting comes before reading.
    drained: bool,
}

impl<S: Session, M: Mail<S>> Shared<S, M> {
    /// A connection over `endpoint`, with an empty mail.
    pub fn over(mut endpoint: Endpoint<S>, mail: M) -> Self {
        endpoint.allow_waiting_reads();
        // Without one a close is noticed when the next input comes.
        let closer = if endpoint.is_socket() { None } else { new_bell().ok() };
        let state = State { endpoint, mail, has_reader: false, followers: Vec::new(), drained: true };
        Shared { state: Mutex::new(state), closer }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<S, M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the endpoint and the mail, and writes what that queues as far as the system takes it now.
    pub fn with<T>(&self, act: impl FnOnce(&mut Endpoint<S>, &mut M) -> T) -> T {
        let mut state = self.lock();
        let state = &mut *state;
        let result = act(&mut state.endpoint, &mut state.mail);
        if state.endpoint.wants_write() {
            state.endpoint.flush();
        }
        result
    }

    /// Takes in what has come, without waiting.
    pub fn look(&self) {
        let mut state = self.lock();
        // Another thread that reads takes it in itself.
        if !state.has_reader && state.endpoint.wants_read() {
            state.read();
            state.mail_events(Instant::now());
            state.call_followers();
        }
    }

    /// Waits until `check` has an answer; it is asked again whenever something has come.
    ///
    /// # Errors
    /// `deadline-exceeded` while `doing` that, what ends the waiting, and what `check` answers.
    pub fn wait_for<T>(
        &self,
        deadline: Option<Instant>,
        wait: &mut impl Wait,
        doing: &str,
        mut check: impl FnMut(&mut Endpoint<S>, &mut M) -> Option<Result<T>>,
    ) -> Result<T> {
        self.wait_until(self.lock(), deadline, wait, doing, |state, _| check(&mut state.endpoint, &mut state.mail))
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

    pub(super) fn finish<'a>(
        &'a self,
        state: MutexGuard<'a, State<S, M>>,
        deadline: Option<Instant>,
        wait: &mut impl Wait,
        doing: &str,
        is_waiting: fn(&Endpoint<S>) -> bool,
    ) -> Result<MutexGuard<'a, State<S, M>>> {
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
    pub(super) fn wait_until<'a, T>(
        &'a self,
        mut state: MutexGuard<'a, State<S, M>>,
        deadline: Option<Instant>,
        wait: &mut impl Wait,
        doing: &str,
        mut check: impl FnMut(&mut State<S, M>, Instant) -> Option<Result<T>>,
    ) -> Result<T> {
        let mut bell = None;
        let answer = loop {
            let now = Instant::now();
            state.mail_events(now);
            if let Some(answer) = check(&mut state, now) {
                break answer;
            }
            if deadline.is_some_and(|deadline| deadline <= now) {
                let error = Error::new(ErrorKind::DeadlineExceeded, format!("{doing} {}", state.endpoint.address()));
                break Err(error.at(state.endpoint.address()).because("not within the timeout"));
            }
            // What the session says by itself, as a grant of credit, goes out before anybody waits.
            if state.endpoint.wants_write() {
                state.endpoint.flush();
                // It may be what is waited for.
                if !state.endpoint.wants_write() {
                    continue;
                }
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
        mut state: MutexGuard<'a, State<S, M>>,
        reads: bool,
        bell: &mut Option<Arc<OwnedFd>>,
        timeout: Option<Duration>,
        wait: &mut impl Wait,
    ) -> (MutexGuard<'a, State<S, M>>, Result<()>) {
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

impl<S: Session, M: Mail<S>> Shared<S, M> {
    /// Waits in the read itself, which saves a system call and, between CPUs, a fifth of a round trip.
    fn read_once<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<S, M>>,
        mut read: WaitingRead,
        timeout: Option<Duration>,
        wait: &mut impl Wait,
    ) -> (MutexGuard<'a, State<S, M>>, Result<()>) {
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

impl<S: Session, M: Mail<S>> State<S, M> {
    fn read(&mut self) {
        self.drained = self.endpoint.on_readable() == Input::Drained;
    }

    fn mail_events(&mut self, now: Instant) {
        self.mail.collect(&mut self.endpoint, now);
    }

    fn call_followers(&mut self) {
        for bell in self.followers.drain(..) {
            let _ = write(&*bell, &1u64.to_ne_bytes());
        }
    }
}

/// Registers the calling thread's bell, which is made when it is first needed.
fn follow<S: Session, M>(state: &mut State<S, M>, bell: &mut Option<Arc<OwnedFd>>) -> Result<Arc<OwnedFd>> {
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
