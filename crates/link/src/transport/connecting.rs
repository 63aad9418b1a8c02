//! A connection on its way: which addresses are left to try, and what to wait for.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use panpipe_wire::{Address, Error, ErrorKind, Result};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType, connect, socket_with, sockopt};

use super::link::{self, Link};

/// How long to leave a full backlog alone before asking again.
const BACKLOG_PAUSE: Duration = Duration::from_millis(5);

/// The pauses between attempts where nothing tells that the other side is ready.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

const NO_ANSWER: &str = "no answer";

/// A connection on its way.
pub struct Connecting {
    address: Address,
    kind: SocketType,
    link: fn(OwnedFd) -> Link,
    left: VecDeque<SocketAddrAny>,
    state: State,
    /// What the last attempt found missing.
    waits_for: &'static str,
    last: Option<Error>,
    /// A folder that the way leads through.
    _folder: Option<OwnedFd>,
}

enum State {
    Next,
    Begun(Arc<OwnedFd>),
    Trying(Attempt, Duration),
    Ready(Link),
    Taken,
}

/// What opens a link, if that is possible yet.
pub(crate) type Attempt = Box<dyn FnMut() -> Result<Tried> + Send + Sync>;

/// What an attempt has come to.
pub(crate) enum Tried {
    Opened(Link),
    /// Not yet, for the reason that completes "deadline-exceeded:".
    NotYet(&'static str),
}

/// How far a connection has come.
pub enum Progress {
    /// There it is.
    Connected(Link),
    /// Wait until this descriptor is writable, then advance again.
    WaitWritable(Arc<OwnedFd>),
    /// The other side is not ready, as with a full backlog; advance again after this time.
    WaitFor(Duration),
}

impl Connecting {
    /// Tries each of `left` with a socket of this `kind`, of which `link` makes a link.
    pub(crate) fn to(
        address: &Address,
        left: VecDeque<SocketAddrAny>,
        kind: SocketType,
        link: fn(OwnedFd) -> Link,
    ) -> Self {
        Connecting {
            address: address.clone(),
            kind,
            link,
            left,
            state: State::Next,
            waits_for: NO_ANSWER,
            last: None,
            _folder: None,
        }
    }

    /// One that is there already.
    pub(crate) fn ready(address: &Address, link: Link) -> Self {
        Self::without_sockets(address, State::Ready(link))
    }

    /// One that is attempted again and again.
    pub(crate) fn trying(address: &Address, attempt: impl FnMut() -> Result<Tried> + Send + Sync + 'static) -> Self {
        Self::without_sockets(address, State::Trying(Box::new(attempt), SHORTEST_PAUSE))
    }

    fn without_sockets(address: &Address, state: State) -> Self {
        Connecting {
            address: address.clone(),
            kind: SocketType::STREAM,
            link: Link::socket,
            left: VecDeque::new(),
            state,
            waits_for: NO_ANSWER,
            last: None,
            _folder: None,
        }
    }

    /// Keeps a folder open that the way leads through.
    pub(crate) fn through(self, folder: Option<OwnedFd>) -> Self {
        Connecting { _folder: folder, ..self }
    }

    /// The address it goes to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Goes as far as it can without waiting.
    ///
    /// # Errors
    /// `refused`, `not-found`, `permission`, `busy`, `io`: that of the last address that was tried.
    pub fn advance(&mut self) -> Result<Progress> {
        loop {
            match std::mem::replace(&mut self.state, State::Taken) {
                State::Ready(link) => return Ok(Progress::Connected(link)),
                State::Trying(mut attempt, pause) => match attempt()? {
                    Tried::Opened(link) => return Ok(Progress::Connected(link)),
                    Tried::NotYet(reason) => {
                        self.waits_for = reason;
                        self.state = State::Trying(attempt, (pause * 2).min(LONGEST_PAUSE));
                        return Ok(Progress::WaitFor(pause));
                    }
                },
                State::Begun(socket) => match outcome(&socket) {
                    Ok(true) => {
                        let socket = Arc::into_inner(socket);
                        return Ok(Progress::Connected((self.link)(socket.ok_or_else(|| self.misuse())?)));
                    }
                    Ok(false) => {
                        self.state = State::Begun(Arc::clone(&socket));
                        return Ok(Progress::WaitWritable(socket));
                    }
                    Err(errno) => self.failed(errno),
                },
                State::Next => {
                    let Some(next) = self.left.pop_front() else {
                        return Err(self.last.take().unwrap_or_else(|| self.misuse()));
                    };
                    match begin(&next, self.kind) {
                        Ok((socket, true)) => return Ok(Progress::Connected((self.link)(socket))),
                        Ok((socket, false)) => self.state = State::Begun(Arc::new(socket)),
                        Err(Errno::AGAIN) => {
                            self.left.push_front(next);
                            self.state = State::Next;
                            return Ok(Progress::WaitFor(BACKLOG_PAUSE));
                        }
                        Err(errno) => self.failed(errno),
                    }
                }
                State::Taken => return Err(self.misuse()),
            }
        }
    }

    /// The error for a connection that did not come about within its timeout.
    pub fn timed_out(&self) -> Error {
        let error = Error::new(ErrorKind::DeadlineExceeded, format!("connecting to {}", self.address.text()));
        error.because(format!("{} within {:?}", self.waits_for, self.address.timeout)).at(self.address.text())
    }

    fn failed(&mut self, errno: Errno) {
        self.last = Some(link::error(errno, format!("connecting to {}", self.address.text())).at(self.address.text()));
        self.state = State::Next;
    }

    fn misuse(&self) -> Error {
        let error = Error::new(ErrorKind::Closed, format!("connecting to {}", self.address.text()));
        error.because("this connection was taken already").at(self.address.text())
    }
}

/// Begins to connect; `true` when that was all.
fn begin(to: &SocketAddrAny, kind: SocketType) -> Result<(OwnedFd, bool), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(to.address_family(), kind, flags, None)?;
    match connect(&socket, to) {
        Ok(()) => Ok((socket, true)),
        Err(Errno::INPROGRESS | Errno::INTR) => Ok((socket, false)),
        // Only a Unix socket says so, of a full backlog; for TCP it is a lack of ports.
        Err(Errno::AGAIN) if to.address_family() != AddressFamily::UNIX => Err(Errno::NOBUFS),
        Err(errno) => Err(errno),
    }
}

/// Whether a connection that was begun has come about.
fn outcome(socket: &OwnedFd) -> Result<bool, Errno> {
    sockopt::socket_error(socket)??;
    match rustix::net::getpeername(socket) {
        Ok(_) => Ok(true),
        Err(Errno::NOTCONN) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Any socket address, from what the system's own types are.
pub(crate) fn any(address: &impl SocketAddrArg) -> SocketAddrAny {
    address.as_any()
}
