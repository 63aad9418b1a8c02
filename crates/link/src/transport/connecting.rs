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
use super::upgrading::{Plan, Upgraded, Upgrading, Waits};

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
    /// What follows once the socket is connected.
    then: Option<Plan>,
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
    /// The socket is connected, and more is to follow.
    Upgrading(Box<Upgrading>),
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
    /// Wait until this descriptor is readable, then advance again.
    WaitReadable(Arc<OwnedFd>),
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
            then: None,
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
            then: None,
            state,
            waits_for: NO_ANSWER,
            last: None,
            _folder: None,
        }
    }

    /// Goes on with a plan once the socket is connected.
    pub(crate) fn then(self, plan: Plan) -> Self {
        Connecting { then: Some(plan), ..self }
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
                State::Upgrading(mut upgrading) => {
                    let Some(plan) = &self.then else { return Err(self.misuse()) };
                    return Ok(match upgrading.advance(plan)? {
                        Upgraded::Link(link) => Progress::Connected(link),
                        Upgraded::Wait(socket, waits) => {
                            self.state = State::Upgrading(upgrading);
                            match waits {
                                Waits::Readable => Progress::WaitReadable(socket),
                                Waits::Writable => Progress::WaitWritable(socket),
                            }
                        }
                    });
                }
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
                        let socket = Arc::into_inner(socket).ok_or_else(|| self.misuse())?;
                        match self.connected(socket)? {
                            Some(link) => return Ok(Progress::Connected(link)),
                            None => continue,
                        }
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
                        Ok((socket, true)) => {
                            if let Some(link) = self.connected(socket)? {
                                return Ok(Progress::Connected(link));
                            }
                        }
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

    /// What becomes of a connected socket: a link, unless more is to follow.
    fn connected(&mut self, socket: OwnedFd) -> Result<Option<Link>> {
        let Some(plan) = &self.then else { return Ok(Some((self.link)(socket))) };
        // What is sent last in a handshake must not wait for what comes after it.
        let _ = sockopt::set_tcp_nodelay(&socket, true);
        self.state = State::Upgrading(Box::new(plan.begin(socket)?));
        Ok(None)
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
