//! A read that waits for input by itself, for a thread that has nothing else to wait for.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::link::Reading;

/// A socket's timeout is set anew only for waits shorter than this; longer ones come back and wait again.
const LONGEST: Duration = Duration::from_secs(1);

/// A read under way, apart from its connection, so that others can use that meanwhile.
pub(crate) struct WaitingRead {
    socket: Arc<OwnedFd>,
    reading: Reading,
    /// The connection's own, lent.
    pub(crate) inbox: BytesMut,
    /// The timeout that the socket has.
    pub(crate) timeout: Option<Duration>,
    pub(crate) outcome: Result<usize, Errno>,
    /// How often the link had been renewed when it began.
    pub(crate) renewals: u32,
    /// Whether the read was given more room than it used.
    pub(crate) was_short: bool,
}

impl WaitingRead {
    /// A read from a socket that waits, with the timeout that it has, into `inbox`.
    pub(crate) fn new(
        socket: Arc<OwnedFd>,
        reading: Reading,
        timeout: Option<Duration>,
        renewals: u32,
        inbox: BytesMut,
    ) -> Self {
        WaitingRead { socket, reading, inbox, timeout, renewals, outcome: Err(Errno::AGAIN), was_short: true }
    }

    /// Waits for input, for at most `timeout`, and reads it.
    pub(crate) fn run(&mut self, timeout: Option<Duration>) {
        let timeout = timeout.map(|timeout| timeout.clamp(Duration::from_micros(1), LONGEST));
        if self.timeout != timeout {
            if let Err(errno) = set_socket_timeout(&self.socket, Timeout::Recv, timeout) {
                self.outcome = Err(errno);
                return;
            }
            self.timeout = timeout;
        }
        let room = self.inbox.capacity() - self.inbox.len();
        self.outcome = self.reading.read(&self.socket, &mut self.inbox, RecvFlags::empty());
        self.was_short = self.outcome.is_ok_and(|count| count < room);
        // A signal is the caller's to look at; it then comes back.
        if self.outcome == Err(Errno::INTR) {
            self.outcome = Err(Errno::AGAIN);
        }
    }
}
