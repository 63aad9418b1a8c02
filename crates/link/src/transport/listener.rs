//! A listening address: where links come from.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use panpipe_wire::{Address, Error, ErrorKind, Result};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags, accept_with, shutdown};

use super::arrivals::{Arrivals, Found};
use super::fifo::Reception;
use super::link::{self, Link};
use super::mem::Meeting;
use super::remote::Allow;
use super::senders::Senders;
use super::socket_file::SocketFile;
use super::unix;
use crate::fork;

/// The pauses after which an accept that failed for want of descriptors or memory is tried again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A listening address.
pub struct Listener {
    address: Address,
    source: Source,
    pause: Mutex<Duration>,
    closed: AtomicBool,
    forks: u64,
}

/// Where links come from.
pub(crate) enum Source {
    /// Listening sockets, and what makes links of those that they accept.
    Sockets {
        sockets: Vec<Arc<OwnedFd>>,
        link: fn(OwnedFd) -> Link,
        file: Mutex<Option<SocketFile>>,
        /// Who is let in; anybody who gets so far when `None`.
        allow: Option<Allow>,
        /// Others hold the same sockets, and may go on listening.
        is_inherited: bool,
    },
    /// Listening sockets, and those who came and have not said yet what they speak.
    Arrivals(Box<Arrivals>),
    /// Sockets that everybody sends to.
    Senders { senders: Arc<Senders>, file: Mutex<Option<SocketFile>> },
    /// One link that is there already.
    One(Mutex<Option<Link>>),
    /// A name inside this process.
    Meeting(Meeting),
    /// A FIFO with another one for the replies.
    Fifo(Reception),
}

/// What an accept brought.
pub enum Accepted {
    /// A new link.
    Link(Link),
    /// Nobody waits: try again when a descriptor is readable.
    Nobody,
    /// Descriptors or memory ran out: try again after this time, whatever the descriptors say.
    Pause(Duration),
    /// No more will come.
    Finished,
}

impl Listener {
    pub(crate) fn new(address: Address, source: Source) -> Self {
        Listener {
            address,
            source,
            pause: Mutex::new(SHORTEST_PAUSE),
            closed: AtomicBool::new(false),
            forks: fork::watch(),
        }
    }

    /// The real address, with the port or the name that was picked: connect to this.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Connections that a server of it holds at once; more wait in the backlog until one goes.
    pub fn most_connections(&self) -> usize {
        unix::most_connections(&self.address)
    }

    /// The descriptors to wait on; none when the only link is there already.
    pub fn descriptors(&self) -> Vec<Arc<OwnedFd>> {
        match &self.source {
            Source::Sockets { sockets, .. } => sockets.clone(),
            Source::Arrivals(arrivals) => vec![Arc::clone(arrivals.descriptor())],
            Source::Senders { senders, .. } => senders.descriptors(),
            Source::One(_) => Vec::new(),
            Source::Meeting(meeting) => vec![Arc::clone(meeting.bell())],
            Source::Fifo(reception) => vec![Arc::clone(reception.descriptor())],
        }
    }

    /// Says whether what comes here can be answered.
    ///
    /// # Errors
    /// `unsupported` where the only link there is just reads.
    pub fn check_replies(&self) -> Result<()> {
        let Source::One(link) = &self.source else { return Ok(()) };
        match lock(link).as_ref().and_then(Link::one_way) {
            Some(reason) => {
                let error = Error::new(ErrorKind::Unsupported, format!("answering on {}", self.address.text()));
                Err(error.because(reason).at(self.address.text()))
            }
            None => Ok(()),
        }
    }

    /// Takes a link that waits.
    ///
    /// # Errors
    /// `io` when listening itself is broken; what ails one link or the machine for a while is no error. `closed` in a fork
    /// of the process that listens, unless what listens is a socket, which accepts for all who have it.
    pub fn accept(&self) -> Result<Accepted> {
        if self.closed.load(Ordering::Acquire) {
            return Ok(Accepted::Finished);
        }
        if !matches!(self.source, Source::Sockets { .. }) && self.forks != fork::generation() {
            let error = Error::new(ErrorKind::Closed, format!("accepting on {}", self.address.text()));
            let reason = "it belongs to the process that this one was forked from; listen anew";
            return Err(error.because(reason).at(self.address.text()));
        }
        let accepted = match &self.source {
            Source::Sockets { sockets, link, allow, .. } => self.accept_from(sockets, *link, allow.as_ref()),
            Source::Arrivals(arrivals) => self.accept_arrival(arrivals),
            Source::Senders { senders, .. } => self.accept_sender(senders),
            Source::One(link) => Ok(match lock(link).take() {
                Some(link) => Accepted::Link(link),
                None => Accepted::Finished,
            }),
            Source::Meeting(meeting) => meeting.take().map(|link| link.map_or(Accepted::Nobody, Accepted::Link)),
            Source::Fifo(reception) => reception.accept(),
        };
        accepted.map_err(|errno| self.error(errno))
    }

    /// Says that [`accept`](Self::accept) will be called whenever a descriptor is readable, until this is dropped.
    ///
    /// `true` where that must go on however many links there are: one socket brings the input of all of them.
    pub fn serve(&self) -> bool {
        if let Source::Senders { senders, .. } = &self.source {
            senders.serve();
        }
        matches!(self.source, Source::Senders { .. })
    }

    /// Datagrams that were dropped for want of room, here and in the system; zero where none are.
    pub fn dropped(&self) -> u64 {
        match &self.source {
            // In a forked child its lock may be held for ever.
            Source::Senders { senders, .. } if self.forks == fork::generation() => senders.dropped(),
            _ => 0,
        }
    }

    fn accept_sender(&self, senders: &Arc<Senders>) -> Result<Accepted, Errno> {
        match senders.accept() {
            Ok(Some(sender)) => {
                *lock(&self.pause) = SHORTEST_PAUSE;
                Ok(Accepted::Link(Link::sender(sender)))
            }
            Ok(None) => Ok(Accepted::Nobody),
            Err(errno) => self.survive(errno),
        }
    }

    fn pause(&self) -> Accepted {
        let mut pause = lock(&self.pause);
        let now = *pause;
        *pause = (now * 2).min(LONGEST_PAUSE);
        Accepted::Pause(now)
    }

    fn accept_from(
        &self,
        sockets: &[Arc<OwnedFd>],
        link: fn(OwnedFd) -> Link,
        allow: Option<&Allow>,
    ) -> Result<Accepted, Errno> {
        loop {
            match accept_from(sockets) {
                // Closed at once, with nothing said: a stranger learns nothing.
                Ok(Some(accepted)) if allow.is_some_and(|allow| !allow.lets_in(&accepted)) => {}
                Ok(Some(accepted)) => {
                    *lock(&self.pause) = SHORTEST_PAUSE;
                    return Ok(Accepted::Link(link(accepted)));
                }
                Ok(None) => return Ok(Accepted::Nobody),
                Err(errno) => return self.survive(errno),
            }
        }
    }

    fn accept_arrival(&self, arrivals: &Arrivals) -> Result<Accepted, Errno> {
        match arrivals.accept() {
            Ok(Found::Link(link)) => {
                *lock(&self.pause) = SHORTEST_PAUSE;
                Ok(Accepted::Link(link))
            }
            Ok(Found::Nobody) => Ok(Accepted::Nobody),
            Ok(Found::More) => Ok(Accepted::Pause(Duration::ZERO)),
            Err(errno) => self.survive(errno),
        }
    }

    fn survive(&self, errno: Errno) -> Result<Accepted, Errno> {
        match errno {
            // Closed meanwhile by another thread.
            Errno::INVAL if self.closed.load(Ordering::Acquire) => Ok(Accepted::Finished),
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Ok(self.pause()),
            errno => Err(errno),
        }
    }

    /// Stops listening and removes the socket file; who waits in an accept, in another thread, finds it finished.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        match &self.source {
            Source::Sockets { sockets, file, is_inherited, .. } => {
                // The path goes before the socket does: while we still listen nobody takes it for stale.
                drop(lock(file).take());
                if !is_inherited && self.forks == fork::generation() {
                    for socket in sockets {
                        let _ = shutdown(socket, Shutdown::Both);
                    }
                }
            }
            Source::Arrivals(arrivals) => {
                if self.forks == fork::generation() {
                    arrivals.close();
                }
            }
            Source::Senders { senders, file } => {
                drop(lock(file).take());
                if self.forks == fork::generation() {
                    senders.close();
                }
            }
            Source::One(link) => drop(lock(link).take()),
            Source::Meeting(meeting) => meeting.ring(),
            Source::Fifo(reception) => reception.close(),
        }
    }

    fn error(&self, errno: Errno) -> Error {
        link::error(errno, format!("accepting on {}", self.address.text())).at(self.address.text())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

/// Takes one who waits at any of the sockets.
///
/// # Errors
/// Those of accept(2) that do not concern the new connection alone.
pub(crate) fn accept_from(sockets: &[Arc<OwnedFd>]) -> Result<Option<OwnedFd>, Errno> {
    for socket in sockets {
        loop {
            match accept_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(accepted) => return Ok(Some(accepted)),
                Err(Errno::AGAIN) => break,
                // accept(2): errors of the new link itself, to be treated as if nobody had come.
                Err(
                    Errno::INTR
                    | Errno::CONNABORTED
                    | Errno::PROTO
                    | Errno::NETDOWN
                    | Errno::NOPROTOOPT
                    | Errno::HOSTDOWN
                    | Errno::NONET
                    | Errno::HOSTUNREACH
                    | Errno::OPNOTSUPP
                    | Errno::NETUNREACH
                    | Errno::PERM,
                ) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(None)
}

/// What a panicking holder left is still whole: each change here is a single store.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
