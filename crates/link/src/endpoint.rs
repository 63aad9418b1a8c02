//! One connection: a link and its session, pumped by whoever waits for readiness.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use panpipe_wire::{Address, Error, ErrorKind, Plain, Ran, Result, Session};
use rustix::io::Errno;

use crate::os_error;
use crate::transport::{Child, LastWords, Link, Remote, WaitingRead};
use crate::whole_writes::WholeWrites;

/// Bytes that may wait to be written before senders are asked to wait.
const CONGESTED: usize = 1 << 20;

/// What a turn of reading may bring before others get theirs.
const READ_BUDGET: usize = 1 << 20;

/// How soon to write again where no descriptor tells of room.
const RETRY: Duration = Duration::from_millis(1);

/// What a read told about the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Everything that had arrived was read: wait for readiness before the next read.
    Drained,
    /// More may have arrived already.
    MoreMayWait,
}

mod panpipe;
pub(crate) use panpipe::random;
mod plain;

/// One connection: a link and its session.
pub struct Endpoint<S: Session = Plain> {
    link: Link,
    remote: Remote,
    session: S,
    /// Its messages are datagrams, which may get lost on the way.
    is_datagrams: bool,
    is_lossy: bool,
    closed: bool,
    /// Why nothing more can be written, until the child at the other end says by its end why that is.
    broken: Option<Error>,
    whole_writes: Option<WholeWrites>,
    /// When to write again, where no descriptor tells of room.
    retry_at: Option<Instant>,
    /// How many datagrams are known not to have arrived.
    refused: u64,
    /// How often the link was renewed: a read that began before brings what is not wanted any more.
    renewals: u32,
    /// The timeout that waiting reads have set on the socket.
    read_timeout: Option<Duration>,
}

impl<S: Session> Endpoint<S> {
    /// A connection over `link`, configured by `address`, with a session of its protocol.
    fn over(link: Link, address: &Address, mut session: S) -> Self {
        if link.is_reached_by_browsers() {
            session.input_mut().refuse_http();
        }
        if let Some(most) = link.largest_packet() {
            session.use_packets(most, link.has_empty_packets());
        }
        match link.one_way() {
            Some(reason) if link.has_input() => {
                session.output_failed(session.error(ErrorKind::Unsupported, "sending to").because(reason));
            }
            Some(reason) => {
                let error = session.error(ErrorKind::Unsupported, "receiving from").because(reason);
                session.input_mut().fail(error);
            }
            None if !link.has_input() => session.input_mut().end(),
            None => {}
        }
        if let Some(may_be_lost) = link.loses_datagrams() {
            session.use_datagrams(may_be_lost);
        }
        if !link.has_receiver() {
            let error = session.error(ErrorKind::ConnectionLost, "sending to");
            session.output_failed(error.because("the sender has no name of its own, and cannot be answered"));
        }
        let remote = link.remote(address.method().scheme);
        let is_datagrams = link.loses_datagrams().is_some();
        let is_lossy = link.loses_datagrams() == Some(true);
        let whole_writes = link.whole_writes().map(WholeWrites::new);
        let has_begun = link.has_begun();
        let mut endpoint = Endpoint {
            link,
            remote,
            session,
            is_datagrams,
            is_lossy,
            closed: false,
            broken: None,
            whole_writes,
            retry_at: None,
            refused: 0,
            renewals: 0,
            read_timeout: None,
        };
        if has_begun {
            endpoint.on_readable();
        }
        endpoint
    }

    /// The address that errors name.
    pub fn address(&self) -> &Arc<str> {
        self.session.address()
    }

    /// What was known of the other end when the connection was made; its pid only as long as that process lives.
    pub fn remote(&self) -> Remote {
        let mut remote = self.remote.clone();
        remote.pid = remote.pid.and_then(|pid| self.link.living_peer(pid));
        remote
    }

    /// An error of this connection, met while `doing`, which is followed by the address.
    pub fn error(&self, kind: ErrorKind, doing: &str) -> Error {
        self.session.error(kind, doing)
    }

    /// The descriptor to wait on for input.
    pub fn reader(&self) -> &Arc<OwnedFd> {
        self.link.reader()
    }

    /// The descriptor to wait on for room to write; the reader's own on a socket.
    pub fn writer(&self) -> &Arc<OwnedFd> {
        self.link.writer()
    }

    /// The writer under a number of its own, for a loop that takes each number once.
    ///
    /// # Errors
    /// `busy` when descriptors run out.
    pub fn writer_of_its_own(&self) -> Result<Arc<OwnedFd>> {
        self.link.writer_of_its_own().map_err(|errno| self.os_error(errno, "sending to"))
    }

    /// Says that nothing more can be sent because of `error`.
    pub fn fail_output(&mut self, error: Error) {
        self.session.output_failed(error);
    }

    /// Whether to wait for input.
    #[inline]
    pub fn wants_read(&self) -> bool {
        !self.closed && self.session.input().wants_more() && !self.session.is_detached()
    }

    /// Whether to wait for room to write.
    #[inline]
    pub fn wants_write(&self) -> bool {
        let waits = !self.session.outbox()[0].is_empty() || self.link.has_unwritten();
        !self.closed && self.broken.is_none() && self.retry_at.is_none() && waits
    }

    /// Whether anything that was sent is not with the system yet.
    #[inline]
    pub fn has_unwritten(&self) -> bool {
        !self.closed && (self.session.unwritten() > 0 || self.link.has_unwritten())
    }

    /// Whether a close has to wait until more is written: not for calls that wait for their turn, which it withdraws.
    #[inline]
    pub fn delays_close(&self) -> bool {
        !self.closed && (!self.session.outbox()[0].is_empty() || self.link.has_unwritten())
    }

    /// When to [`flush`](Self::flush) again, where no descriptor tells of room; part of
    /// [`next_deadline`](Self::next_deadline).
    #[inline]
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether each message stands for itself, so that one that is too large is no reason to close.
    pub fn moves_datagrams(&self) -> bool {
        self.link.loses_datagrams().is_some()
    }

    /// How many datagrams are known not to have arrived: each is an error of the descriptor, after which some loops watch
    /// it no more.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Datagrams from the other side that were dropped for want of room: those that the system counts for this
    /// connection alone, or those that found no room in this program.
    pub fn dropped(&self) -> u64 {
        self.link.dropped()
    }

    /// Whether so much waits to be written that senders should wait too.
    #[inline]
    pub fn is_congested(&self) -> bool {
        self.session.unwritten() >= CONGESTED
    }

    /// Reads what has arrived, within limits.
    pub fn on_readable(&mut self) -> Input {
        if self.session.is_detached() {
            return Input::Drained;
        }
        if self.check_usable("receiving from").is_err() {
            self.session.input_mut().end();
            return Input::Drained;
        }
        let mut budget = READ_BUDGET;
        while self.reads_on() {
            let inbox = self.session.input_mut().room();
            let room = inbox.capacity() - inbox.len();
            match self.link.read(inbox) {
                Ok(0) => {
                    self.end_input();
                    return Input::Drained;
                }
                // A short read has emptied a socket; whatever comes later makes it readable again. A terminal gives out
                // one line a read, however many there are, and a socket of packets one packet.
                Ok(count) if count < room && self.link.drains_at_once() => return Input::Drained,
                Ok(count) if count < room => {}
                Ok(count) => {
                    self.session.input_mut().read_was_full();
                    budget = budget.saturating_sub(count);
                    if budget == 0 && !self.link.has_end() {
                        return Input::MoreMayWait;
                    }
                }
                Err(Errno::AGAIN) => return Input::Drained,
                // Much came of a message that is not whole yet.
                Err(Errno::INPROGRESS) => return Input::MoreMayWait,
                // The child has closed its input and lives on.
                Err(Errno::PIPE) if self.broken.is_some() => {
                    if let Some(error) = self.broken.take() {
                        self.session.output_failed(error);
                    }
                    return Input::Drained;
                }
                Err(errno) if self.link.survives(errno) => self.refuse_datagram(errno, "receiving from"),
                Err(errno) => {
                    self.fail_input(errno);
                    if let Some(error) = self.broken.take() {
                        self.session.output_failed(error);
                    }
                    return Input::Drained;
                }
            }
        }
        Input::MoreMayWait
    }

    /// Whether there is room for what a read brings; an end takes none.
    fn reads_on(&self) -> bool {
        let input = self.session.input();
        input.wants_more() || self.link.has_end() && !input.is_over()
    }

    pub(crate) fn is_socket(&self) -> bool {
        self.link.is_socket()
    }

    /// Lets [`begin_waiting_read`](Self::begin_waiting_read) answer, where that is possible.
    pub(crate) fn allow_waiting_reads(&mut self) {
        self.link.allow_waiting_reads();
    }

    /// A read to be run without the endpoint, if it is all there is to wait for.
    pub(crate) fn begin_waiting_read(&mut self) -> Option<WaitingRead> {
        let possible = self.link.reads_may_wait() && self.wants_read() && !self.wants_write();
        let usable = possible && self.check_usable("receiving from").is_ok();
        usable.then(|| {
            let inbox = self.session.input_mut().lend();
            let (socket, reading) = (Arc::clone(self.reader()), self.link.reading());
            WaitingRead::new(socket, reading, self.read_timeout, self.renewals, inbox)
        })
    }

    /// Takes in what a waiting read brought.
    pub(crate) fn end_waiting_read(&mut self, read: WaitingRead) -> Input {
        self.session.input_mut().take_back(read.inbox);
        self.read_timeout = read.timeout;
        let is_shut = self.closed && self.moves_datagrams();
        if is_shut || read.renewals != self.renewals {
            // A socket of datagrams that is shut reads as empty ones.
            self.session.input_mut().discard();
            return Input::Drained;
        }
        match read.outcome {
            Ok(0) => self.end_input(),
            Ok(_) if !read.was_short => {
                self.session.input_mut().read_was_full();
                return Input::MoreMayWait;
            }
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(errno) if self.link.survives(errno) => self.refuse_datagram(errno, "receiving from"),
            Err(errno) => self.fail_input(errno),
        }
        Input::Drained
    }

    /// The peer has finished sending. If it is gone altogether, what waits to be sent finds that out now, and calls of
    /// which nothing has left are known not to have run.
    fn end_input(&mut self) {
        match self.broken.take() {
            Some(error) => self.fail_output_for_good(error),
            None => self.flush(),
        }
        match self.link.last_words() {
            None => self.session.input_mut().end(),
            Some(LastWords::Exited(how)) => self.session.input_mut().end_as(how),
            Some(LastWords::Failed(how)) => {
                let error = self.session.error(ErrorKind::ConnectionLost, "receiving from");
                self.session.input_mut().fail(error.because(how).ran(Ran::Maybe));
            }
        }
    }

    fn fail_input(&mut self, errno: Errno) {
        let error = self.os_error(errno, "receiving from").ran(Ran::Maybe);
        self.session.input_mut().fail(error);
    }

    fn refuse_datagram(&mut self, errno: Errno, doing: &str) {
        let error = self.os_error(errno, doing);
        self.refused += 1;
        self.session.datagram_refused(error);
    }

    /// Take events again when this instant is reached.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.session.next_deadline().into_iter().chain(self.retry_at).min()
    }

    /// Writes what waits, as far as the system takes it.
    pub fn flush(&mut self) {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.retry_at = None;
        if self.session.is_detached() {
            return;
        }
        while !self.session.outbox()[0].is_empty() && self.broken.is_none() && self.check_usable("sending to").is_ok() {
            let parts = self.session.outbox();
            let written = match (&self.whole_writes, parts) {
                (Some(writes), [first, ..]) => self.link.write(&[IoSlice::new(&first[..writes.next()])]),
                (None, [first, [], _]) => self.link.write(&[IoSlice::new(first)]),
                (None, parts) => self.link.write(&parts.map(IoSlice::new)),
            };
            match written {
                Ok(count) => {
                    self.session.written(count);
                    if let Some(writes) = &mut self.whole_writes {
                        writes.written(count);
                    }
                }
                Err(Errno::AGAIN) => return self.wait_for_room(),
                Err(errno) if self.link.survives(errno) => {
                    self.refuse_datagram(errno, "sending to");
                    // This one tells of an earlier datagram; any other is about the first that waits.
                    if errno != Errno::CONNREFUSED {
                        self.session.skip_packet();
                    }
                }
                Err(errno) => self.fail_writing(errno),
            }
        }
        if self.broken.is_none() && self.link.has_unwritten() && self.check_usable("sending to").is_ok() {
            match self.link.flush() {
                Ok(()) | Err(Errno::AGAIN) => {}
                Err(errno) => self.fail_writing(errno),
            }
        }
    }

    fn wait_for_room(&mut self) {
        if self.link.has_no_writability() {
            self.retry_at = Instant::now().checked_add(RETRY);
        }
    }

    #[cold]
    fn fail_writing(&mut self, errno: Errno) {
        let error = self.os_error(errno, "sending to");
        // Whom a connected socket of datagrams cannot reach does not send to it either, and no end will say so.
        if self.moves_datagrams() && self.link.is_socket() {
            self.session.input_mut().fail(error.clone().ran(Ran::Maybe));
        }
        // What was read to its end says no more: a loop may look at the input first.
        match !self.session.input().has_ended() && self.link.expects_last_words() {
            true => self.broken = Some(error),
            false => self.fail_output_for_good(error),
        }
    }

    /// What could not be written fails with `error`, or better with what the child at the other end said by its end.
    fn fail_output_for_good(&mut self, error: Error) {
        self.session.output_failed(match self.link.last_words() {
            Some(LastWords::Exited(how) | LastWords::Failed(how)) => error.because(how),
            None => error,
        });
    }

    /// Why nothing more can be sent, if so; of an end that never could, nothing is lost.
    pub fn output_failure(&self) -> Option<&Error> {
        self.session.output_failure().filter(|_| self.link.has_output()).or(self.broken.as_ref())
    }

    /// Says whether the connection can still be used for `doing`.
    ///
    /// # Errors
    /// `closed` when this side closed it, or when it belongs to the process that this one was forked from.
    #[inline]
    pub fn check_usable(&self, doing: &str) -> Result<()> {
        match self.closed || !self.link.belongs_to_us() {
            true => self.refuse(doing),
            false => Ok(()),
        }
    }

    #[cold]
    fn refuse(&self, doing: &str) -> Result<()> {
        if self.closed {
            return Err(self.session.error(ErrorKind::Closed, doing).because("this side has closed the connection"));
        }
        let reason = "it belongs to the process that this one was forked from; connect anew";
        Err(self.session.error(ErrorKind::Closed, doing).because(reason))
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Closes: what waits is written as far as the system takes it now, the rest is dropped.
    ///
    /// A face that wants everything written flushes first.
    pub fn close(&mut self) {
        if self.closed {
            return;
        }
        if self.link.belongs_to_us() {
            self.session.withdraw_unsent();
            self.flush();
            self.link.end_output();
            if self.link.has_unread_input() {
                self.discard_input();
            }
            self.link.end_input();
        }
        self.closed = true;
        let error = self.session.error(ErrorKind::Closed, "closing").because("this side has closed the connection");
        self.session.output_failed(error.clone());
        self.session.input_mut().fail(error);
    }

    /// The child at the other end, to be waited for, once this side has closed.
    pub fn take_child(&mut self) -> Option<Child> {
        match self.closed && self.link.belongs_to_us() {
            true => self.link.take_child(),
            false => None,
        }
    }

    /// Hands the descriptors over, to wait as a program expects it, and closes without the other end noticing.
    ///
    /// The first is to read from; the second, where it is not the same one, to write to.
    ///
    /// # Errors
    /// `busy` while something is on its way, which would be lost; `unsupported` where the descriptors are not all there
    /// is to the connection; `closed`. The connection is as it was then.
    pub fn detach(&mut self) -> Result<(OwnedFd, Option<OwnedFd>)> {
        self.check_usable("detaching")?;
        self.flush();
        let refused = |kind, reason| Err(self.error(kind, "detaching").because(reason));
        if !self.session.is_idle() {
            return refused(ErrorKind::Busy, "messages or calls are on their way, and would be lost");
        }
        if !self.link.can_be_handed_over() {
            return refused(ErrorKind::Unsupported, "what else the connection holds cannot be handed over");
        }
        let descriptors = self.link.hand_over().map_err(|errno| self.os_error(errno, "detaching"))?;
        self.link.keep_open_for_others();
        self.close();
        Ok(descriptors)
    }

    /// Reads and drops what has arrived: a TCP close with unread input destroys what was sent before
    /// (RFC 1122, section 4.2.2.13).
    fn discard_input(&mut self) {
        let mut scratch = bytes::BytesMut::with_capacity(16 << 10);
        for _ in 0..64 {
            scratch.clear();
            if !self.link.discard(&mut scratch).is_ok_and(|count| count > 0) {
                return;
            }
        }
    }

    fn os_error(&self, errno: Errno, doing: &str) -> Error {
        if let Some(broken) = self.link.broken() {
            return self.session.error(broken.kind, doing).because(broken.reason.clone());
        }
        self.session.error(os_error::kind(errno), doing).because(os_error::text(errno))
    }
}

impl<S: Session> Drop for Endpoint<S> {
    fn drop(&mut self) {
        self.close();
    }
}
