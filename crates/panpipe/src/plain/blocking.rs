//! The same API for threads that wait: no runtime, no task, only `poll`.
//!
//! ```no_run
//! # fn example() -> panpipe::Result<()> {
//! let peer = panpipe::plain::blocking::connect("tcp://localhost:9999?framing=raw")?;
//! let reply = peer.call("Hello, server!")?;
//! # Ok(()) }
//! ```

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use panpipe_link::{Blocking, Endpoint, Error, ErrorKind, Remote, Result, ServerEvent, Wait, WaitFor, blocking};
use rustix::event::{PollFd, PollFlags};

use super::server::Reply;

/// Connects to an address.
///
/// # Errors
/// Those of [`crate::plain::connect`].
pub fn connect(address: &str) -> Result<Connection> {
    let address = super::parse(address)?;
    let connection = blocking::connect(&address, None, &mut WaitFor)?;
    Ok(Connection { connection, timeout: address.timeout })
}

/// Two connected connections inside this program: `socket` (as when nothing is said), `pipe` or `one-way`, of which
/// the first end reads and the second writes, with the options of an address, as `pipe?framing=lines` or `framing=lines`.
///
/// # Errors
/// Those of [`crate::plain::pair`].
pub fn pair(kind: &str) -> Result<(Connection, Connection)> {
    let address = super::speaking_plain(panpipe_link::pair_address(kind)?)?;
    let (one, other) = panpipe_link::pair(&address)?;
    let connection =
        |link| Connection { connection: Blocking::new(Endpoint::new(link, &address)), timeout: address.timeout };
    Ok((connection(one), connection(other)))
}

/// Starts a program as a child of this process and connects to it, with the options of an address, such as
/// `framing=lines`.
///
/// # Errors
/// Those of [`crate::plain::spawn`].
pub fn spawn<S: AsRef<str>>(command: impl IntoIterator<Item = S>, options: &str) -> Result<Connection> {
    let address = panpipe_link::spawn_address(command, options)?;
    let connection = blocking::connect(&address, None, &mut WaitFor)?;
    Ok(Connection { connection, timeout: address.timeout })
}

/// A connection to a peer; any number of threads may use it at once. Dropping it closes it, and waits for a child at the
/// other end to end: seven seconds if it has to be killed.
pub struct Connection {
    connection: Blocking,
    timeout: Duration,
}

impl Connection {
    /// The address it was opened with.
    pub fn address(&self) -> Arc<str> {
        self.connection.address()
    }

    /// What was known of the other end when the connection was made.
    pub fn remote(&self) -> Remote {
        self.connection.remote()
    }

    /// Datagrams from the other side that were dropped for want of room; zero where none are.
    pub fn dropped(&self) -> u64 {
        self.connection.dropped()
    }

    /// Sends a message; returns once the system has it whole.
    ///
    /// # Errors
    /// `too-large`, `unsupported`, `closed`, `connection-lost`.
    pub fn send(&self, message: impl AsRef<[u8]>) -> Result<()> {
        self.connection.send(message.as_ref(), None, &mut WaitFor)
    }

    /// Waits for the next message; `None` once the peer has closed between messages.
    ///
    /// # Errors
    /// `connection-lost`, `bad-peer`, `too-large`, `closed`.
    pub fn recv(&self) -> Result<Option<Bytes>> {
        self.connection.recv(None, &mut WaitFor)
    }

    /// As [`recv`](Self::recv), for at most `timeout`; what has arrived stays for the next call.
    ///
    /// # Errors
    /// Those of `recv`, and `deadline-exceeded`.
    pub fn recv_within(&self, timeout: Duration) -> Result<Option<Bytes>> {
        self.connection.recv(Some(timeout), &mut WaitFor)
    }

    /// Sends a message and waits for the one that answers it, for the address's `timeout` at most.
    ///
    /// # Errors
    /// Those of `send` and `recv`, `busy` and `deadline-exceeded`; the error says whether the peer may have run it.
    pub fn call(&self, message: impl AsRef<[u8]>) -> Result<Bytes> {
        self.call_within(self.timeout, message)
    }

    /// As [`call`](Self::call), with a timeout of its own.
    ///
    /// # Errors
    /// Those of `call`.
    pub fn call_within(&self, timeout: Duration, message: impl AsRef<[u8]>) -> Result<Bytes> {
        self.connection.call(message.as_ref(), Some(timeout), &mut WaitFor)
    }

    /// Hands the descriptors over, for a child that says `fd:N`: one to read from and, where that is not the same, one
    /// to write to. The other end does not notice.
    ///
    /// # Errors
    /// `busy` while messages or calls are on their way, which would be lost, or another thread waits; `unsupported` for
    /// a FIFO; `closed`.
    pub fn detach(&self) -> Result<(OwnedFd, Option<OwnedFd>)> {
        self.connection.detach()
    }

    /// Writes what was sent, then closes; threads that wait get `closed`.
    ///
    /// # Errors
    /// `deadline-exceeded` or `connection-lost` when not everything could be written; it is closed then too.
    pub fn close(&self) -> Result<()> {
        self.connection.close(Some(self.timeout), &mut WaitFor)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Nothing ends this waiting.
        let _ = self.connection.leave(&mut WaitFor);
    }
}

/// Listens on an address.
///
/// # Errors
/// Those of [`crate::plain::listen`].
pub fn listen(address: &str) -> Result<Listener> {
    Ok(Listener { listener: panpipe_link::listen(&super::parse(address)?)? })
}

/// A listening address. Dropping it stops listening and removes its socket file.
pub struct Listener {
    listener: panpipe_link::Listener,
}

impl Listener {
    /// The real address, with the port or the name that was picked: connect to this.
    pub fn address(&self) -> &str {
        self.listener.address().text()
    }

    /// Datagrams that were dropped for want of room, by this program and by the system; zero where none are.
    pub fn dropped(&self) -> u64 {
        self.listener.dropped()
    }

    /// Waits for the next connection; `None` when no more will come.
    ///
    /// # Errors
    /// `io` when listening itself is broken.
    pub fn accept(&self) -> Result<Option<Connection>> {
        let timeout = self.listener.address().timeout;
        let connection = blocking::accept(&self.listener, None, &mut WaitFor)?;
        Ok(connection.map(|connection| Connection { connection, timeout }))
    }
}

/// Answers every message of every client of `listener` with `handler`, in this thread, until nobody can come.
///
/// A handler that takes its time delays every client; one that answers from memory is fast.
///
/// # Errors
/// `io` when listening itself is broken.
pub fn serve<R: Reply>(listener: Listener, mut handler: impl FnMut(Bytes) -> R) -> Result<()> {
    let mut server = panpipe_link::Server::new(listener.listener)?;
    while !server.is_finished() {
        let now = Instant::now();
        let timeout = server.next_deadline(now).map(|deadline| deadline.saturating_duration_since(now));
        WaitFor.poll(&mut [PollFd::new(server.descriptor(), PollFlags::IN)], timeout)?;
        server.turn(Instant::now())?;
        while let Some(event) = server.next_event(Instant::now()) {
            match event {
                ServerEvent::Request { from, message } => {
                    let reply = handler(message).into_reply();
                    let now = Instant::now();
                    let answered = match reply {
                        Ok(reply) => server.reply(from, reply.as_deref(), now),
                        Err(reason) => {
                            server.fail(from, now);
                            let doing = format!("handling {}", server.address().text());
                            Err(Error::new(ErrorKind::Closed, doing).because(reason))
                        }
                    };
                    if let Err(error) = answered {
                        tracing::warn!(%error, "connection closed");
                    }
                }
                ServerEvent::Lost(error) => tracing::warn!(%error, "connection closed"),
                ServerEvent::Refused(error) => tracing::warn!(%error, "message dropped"),
            }
        }
    }
    Ok(())
}
