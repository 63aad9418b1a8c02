//! Many connections of one listener, on one `epoll` descriptor that any loop can wait on.

use std::collections::{HashSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use panpipe_wire::{Address, Error, Event, PLAIN, Result};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use slab::Slab;

use crate::endpoint::{Endpoint, Input};
use crate::os_error;
use crate::transport::{Accepted, Listener};

/// Replies wait this long at most for others to share a write with.
const CORKED: Duration = Duration::from_micros(100);

/// Requests of one connection that are handed over before others get their turn.
const BATCH: usize = 64;

/// A connection that has ended but has replies to write is given this long.
const LINGER: Duration = Duration::from_secs(10);

/// Names a connection of one server; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    place: usize,
    serial: u64,
}

/// What a server tells its face.
#[derive(Debug)]
pub enum ServerEvent {
    /// A message came; until [`Server::reply`] or [`Server::fail`] is called, this connection hands over no other.
    Request {
        /// Who is to get the reply.
        from: Token,
        /// The message.
        message: Bytes,
    },
    /// A connection was closed because its peer went away inside a message or broke a rule.
    Lost(Error),
    /// A datagram was dropped, as one above `max`; those that come after it do not suffer.
    Refused(Error),
}

struct Connection {
    serial: u64,
    endpoint: Endpoint,
    /// A handler has its request.
    is_busy: bool,
    /// It stands in the queue of connections that may have something to hand over.
    is_queued: bool,
    /// The last read left something behind, which no readiness will announce again in time.
    undrained: bool,
    /// When its last request was handed over.
    handed_over: Instant,
    /// Since when replies wait to be written.
    corked_since: Option<Instant>,
    /// The peer has finished; closed when the replies are written, or then.
    closes_by: Option<Instant>,
    registered: EventFlags,
}

/// Many connections of one listener.
///
/// A face waits until [`descriptor`](Self::descriptor) is readable or [`next_deadline`](Self::next_deadline) passes,
/// calls [`turn`](Self::turn), and takes [`next_event`](Self::next_event)s until there are none.
pub struct Server {
    epoll: OwnedFd,
    listener: Listener,
    most_connections: usize,
    connections: Slab<Connection>,
    /// Connections that may have something to hand over, in turn, and what the first may still hand over in its.
    queue: VecDeque<usize>,
    turn_left: usize,
    /// Connections that a deadline concerns.
    corked: HashSet<usize>,
    ending: HashSet<usize>,
    serials: u64,
    accepts: bool,
    /// Accepting goes on whatever the number of connections.
    always_accepts: bool,
    accept_again: Option<Instant>,
    finished: bool,
}

/// The listener's descriptors are told from the connections' places by this.
const LISTENER: u64 = u64::MAX;

impl Server {
    /// Serves the connections of `listener`.
    ///
    /// # Errors
    /// `busy` when descriptors run out; `unsupported` where the address means another protocol than plain.
    pub fn new(listener: Listener) -> Result<Self> {
        listener.address().check_speaks(PLAIN)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(|errno| failed(&listener, errno))?;
        let always_accepts = listener.serve();
        let mut server = Server {
            epoll,
            most_connections: listener.most_connections(),
            listener,
            connections: Slab::new(),
            queue: VecDeque::new(),
            turn_left: BATCH,
            corked: HashSet::new(),
            ending: HashSet::new(),
            serials: 0,
            accepts: false,
            always_accepts,
            accept_again: None,
            finished: false,
        };
        server.set_accepting(true).map_err(|errno| failed(&server.listener, errno))?;
        if server.listener.descriptors().is_empty() {
            server.accept()?;
        }
        Ok(server)
    }

    /// The real address.
    pub fn address(&self) -> &Address {
        self.listener.address()
    }

    /// The descriptor to wait on until it is readable.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.epoll
    }

    /// Datagrams that were dropped for want of room, as [`Listener::dropped`].
    pub fn dropped(&self) -> u64 {
        self.listener.dropped()
    }

    /// Whether nothing is left to serve and nobody can come: the end of a server on stdin.
    pub fn is_finished(&self) -> bool {
        self.finished && self.connections.is_empty()
    }

    /// Call [`turn`](Self::turn) at this instant, whatever the descriptor says; in the past when there is work left.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        if !self.queue.is_empty() {
            return Some(now);
        }
        let closes = self.ending.iter().filter_map(|&place| self.connections.get(place)?.closes_by);
        let flushes = self.corked.iter().filter_map(|&place| Some(self.connections.get(place)?.corked_since? + CORKED));
        let retries = self.corked.iter().filter_map(|&place| self.connections.get(place)?.endpoint.retry_at());
        closes.chain(flushes).chain(retries).chain(self.accept_again).min()
    }

    /// Takes in what the descriptors say, without waiting.
    ///
    /// # Errors
    /// `io` when listening itself is broken.
    pub fn turn(&mut self, now: Instant) -> Result<()> {
        if self.accept_again.is_some_and(|again| again <= now) {
            self.accept_again = None;
            self.accept()?;
        }
        self.keep_time(now);
        let mut ready = [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 256];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let count = match epoll::wait(&self.epoll, &mut ready[..], Some(&at_once)) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            waited => waited.map_err(|errno| failed(&self.listener, errno))?,
        };
        for event in &ready[..count] {
            match event.data.u64() {
                LISTENER => self.accept()?,
                place => self.on_ready(place as usize, event.flags),
            }
        }
        Ok(())
    }

    fn on_ready(&mut self, place: usize, flags: EventFlags) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        if flags.contains(EventFlags::OUT) {
            connection.endpoint.flush();
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR | EventFlags::RDHUP) {
            connection.undrained = connection.endpoint.on_readable() == Input::MoreMayWait;
        }
        self.enqueue(place);
        self.settle(place);
    }

    fn enqueue(&mut self, place: usize) {
        if let Some(connection) = self.connections.get_mut(place)
            && !connection.is_queued
            && !connection.is_busy
            && connection.closes_by.is_none()
        {
            connection.is_queued = true;
            self.queue.push_back(place);
        }
    }

    /// The next request, loss or refusal.
    ///
    /// A connection hands over what one read brought, up to 64 requests, before the others get their turn; its replies
    /// are written when its turn ends.
    pub fn next_event(&mut self, now: Instant) -> Option<ServerEvent> {
        while let Some(&place) = self.queue.front() {
            if self.turn_left > 0
                && let Some(event) = self.next_event_of(place, now)
            {
                self.turn_left -= 1;
                return Some(event);
            }
            let has_more = self.turn_left == 0;
            self.turn_left = BATCH;
            self.end_turn(place, has_more);
        }
        None
    }

    fn end_turn(&mut self, place: usize, has_more: bool) {
        self.queue.pop_front();
        if let Some(connection) = self.connections.get_mut(place) {
            connection.is_queued = false;
            let was_congested = connection.endpoint.is_congested();
            connection.endpoint.flush();
            connection.corked_since = None;
            self.corked.remove(&place);
            // With room again, requests that waited behind unread replies go on.
            if has_more || was_congested && !connection.endpoint.is_congested() {
                self.enqueue(place);
            }
        }
        self.settle(place);
    }

    fn next_event_of(&mut self, place: usize, now: Instant) -> Option<ServerEvent> {
        let connection = self.connections.get_mut(place)?;
        // A peer that does not read its replies gets no further requests handled.
        if connection.is_busy || connection.closes_by.is_some() || connection.endpoint.is_congested() {
            return None;
        }
        loop {
            match connection.endpoint.next_event(now, true) {
                Some(Event::Message(Ok(message))) => {
                    connection.is_busy = true;
                    connection.handed_over = now;
                    return Some(ServerEvent::Request { from: Token { place, serial: connection.serial }, message });
                }
                Some(Event::Message(Err(error))) if connection.endpoint.moves_datagrams() => {
                    return Some(ServerEvent::Refused(error));
                }
                Some(Event::Message(Err(error)) | Event::Ended(Some(error))) => {
                    connection.closes_by = Some(now + LINGER);
                    self.ending.insert(place);
                    return Some(ServerEvent::Lost(error));
                }
                Some(Event::Ended(None)) => {
                    connection.closes_by = Some(now + LINGER);
                    self.ending.insert(place);
                    return None;
                }
                Some(Event::Reply { .. }) => {}
                None if connection.undrained => {
                    connection.undrained = connection.endpoint.on_readable() == Input::MoreMayWait;
                }
                None => return None,
            }
        }
    }

    /// Answers a request; `None` sends nothing. The connection's next request may then be handed over.
    ///
    /// # Errors
    /// `too-large` or `unsupported` when the reply cannot be carried; the connection is closed then, as by
    /// [`fail`](Self::fail), since a later reply would be taken for this one.
    pub fn reply(&mut self, to: Token, message: Option<&[u8]>, now: Instant) -> Result<()> {
        let Some(connection) = self.connections.get_mut(to.place).filter(|found| found.serial == to.serial) else {
            return Ok(()); // the peer has gone meanwhile
        };
        connection.is_busy = false;
        let sent = match message {
            Some(message) => connection.endpoint.send(message, false),
            None => Ok(()),
        };
        // What fast handlers answer shares a write; a slow one must not hold back what is ready.
        let since = connection.corked_since.unwrap_or(connection.handed_over);
        if now.duration_since(since) >= CORKED {
            connection.endpoint.flush();
            connection.corked_since = None;
            self.corked.remove(&to.place);
        } else if connection.endpoint.wants_write() && connection.corked_since.is_none() {
            connection.corked_since = Some(now);
            self.corked.insert(to.place);
        }
        self.enqueue(to.place);
        match sent {
            // A peer that has gone is no failure of the handler.
            Err(error) if error.kind() != panpipe_wire::ErrorKind::ConnectionLost => {
                self.fail(to, now);
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Closes a connection whose request cannot be answered, once the replies before it are written. That of datagrams
    /// goes on: its sender would not notice, and what else has come from there would be lost.
    pub fn fail(&mut self, to: Token, now: Instant) {
        let Some(connection) = self.connections.get_mut(to.place).filter(|found| found.serial == to.serial) else {
            return;
        };
        connection.is_busy = false;
        if connection.endpoint.moves_datagrams() {
            return self.enqueue(to.place);
        }
        connection.endpoint.flush();
        connection.closes_by = Some(now + LINGER);
        self.ending.insert(to.place);
        self.settle(to.place);
    }

    /// Writes what waits, and lets go of connections whose time has come.
    fn keep_time(&mut self, now: Instant) {
        let late = |connection: &Connection| {
            connection.corked_since.is_some_and(|since| since + CORKED <= now)
                || connection.endpoint.retry_at().is_some_and(|at| at <= now)
        };
        let due: Vec<_> =
            self.corked.iter().copied().filter(|&place| self.connections.get(place).is_none_or(late)).collect();
        for place in due {
            self.corked.remove(&place);
            if let Some(connection) = self.connections.get_mut(place) {
                connection.endpoint.flush();
                connection.corked_since = None;
            }
            self.settle(place);
        }
        let over = |connection: &Connection| connection.closes_by.is_some_and(|by| by <= now);
        let over: Vec<_> =
            self.ending.iter().copied().filter(|&place| self.connections.get(place).is_some_and(over)).collect();
        for place in over {
            self.remove(place);
        }
    }

    /// Brings what is waited for into line with what the endpoint wants, and lets go of what has ended.
    fn settle(&mut self, place: usize) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        let endpoint = &connection.endpoint;
        if connection.closes_by.is_some() && !endpoint.has_unwritten() && !connection.is_busy {
            self.remove(place);
            return;
        }
        if endpoint.retry_at().is_some() {
            self.corked.insert(place);
        }
        let mut wanted = EventFlags::empty();
        if endpoint.wants_read() && connection.closes_by.is_none() {
            wanted |= EventFlags::IN;
        }
        if endpoint.wants_write() && connection.corked_since.is_none() {
            wanted |= EventFlags::OUT;
        }
        // With room again, requests that waited behind unread replies go on.
        let resumes = connection.registered.contains(EventFlags::OUT) && !wanted.contains(EventFlags::OUT);
        if wanted != connection.registered && self.register(place, wanted).is_err() {
            self.remove(place);
        } else if resumes {
            self.enqueue(place);
        }
    }

    fn register(&mut self, place: usize, wanted: EventFlags) -> rustix::io::Result<()> {
        let connection = &mut self.connections[place];
        let (reader, writer) = (connection.endpoint.reader(), connection.endpoint.writer());
        let data = EventData::new_u64(place as u64);
        if Arc::ptr_eq(reader, writer) {
            set_interest(&self.epoll, reader, data, connection.registered, wanted)?;
        } else {
            for (fd, flag) in [(reader, EventFlags::IN), (writer, EventFlags::OUT)] {
                set_interest(&self.epoll, fd, data, connection.registered & flag, wanted & flag)?;
            }
        }
        connection.registered = wanted;
        Ok(())
    }

    fn remove(&mut self, place: usize) {
        if self.connections[place].registered != EventFlags::empty() {
            // In a forked child the epoll set is the parent's too, and must be left alone.
            if self.connections[place].endpoint.check_usable("closing").is_ok() {
                let _ = self.register(place, EventFlags::empty());
            }
        }
        self.connections.remove(place);
        self.ending.remove(&place);
        self.corked.remove(&place);
        // Its descriptor is free: whoever waited for one can have it.
        if self.connections.len() < self.most_connections {
            self.accept_again = None;
            let _ = self.set_accepting(true);
        }
    }

    fn accept(&mut self) -> Result<()> {
        for _ in 0..BATCH {
            if self.connections.len() >= self.most_connections && !self.always_accepts {
                return self.set_accepting(false).map_err(|errno| failed(&self.listener, errno));
            }
            match self.listener.accept()? {
                Accepted::Link(link) => self.add(Endpoint::new(link, self.listener.address())),
                Accepted::Nobody => break,
                Accepted::Pause(pause) => {
                    self.accept_again = Some(Instant::now() + pause);
                    return self.set_accepting(false).map_err(|errno| failed(&self.listener, errno));
                }
                Accepted::Finished => {
                    self.finished = true;
                    break;
                }
            }
        }
        self.set_accepting(true).map_err(|errno| failed(&self.listener, errno))
    }

    fn add(&mut self, endpoint: Endpoint) {
        self.serials += 1;
        let place = self.connections.insert(Connection {
            serial: self.serials,
            endpoint,
            is_busy: false,
            is_queued: false,
            undrained: true,
            handed_over: Instant::now(),
            corked_since: None,
            closes_by: None,
            registered: EventFlags::empty(),
        });
        if self.register(place, EventFlags::IN).is_err() {
            self.remove(place);
            return;
        }
        self.enqueue(place);
    }

    fn set_accepting(&mut self, accepts: bool) -> rustix::io::Result<()> {
        if accepts == self.accepts {
            return Ok(());
        }
        let flags = |accepts| if accepts { EventFlags::IN } else { EventFlags::empty() };
        for fd in self.listener.descriptors() {
            set_interest(&self.epoll, &fd, EventData::new_u64(LISTENER), flags(self.accepts), flags(accepts))?;
        }
        self.accepts = accepts;
        Ok(())
    }
}

/// Changes what is waited for; nothing is asked of the system when nothing changes.
fn set_interest(
    epoll: &OwnedFd,
    fd: &Arc<OwnedFd>,
    data: EventData,
    was: EventFlags,
    wanted: EventFlags,
) -> rustix::io::Result<()> {
    match (was.is_empty(), wanted.is_empty()) {
        _ if was == wanted => Ok(()),
        (true, false) => epoll::add(epoll, fd.as_fd(), data, wanted),
        (false, true) => epoll::delete(epoll, fd.as_fd()),
        _ => epoll::modify(epoll, fd.as_fd(), data, wanted),
    }
}

fn failed(listener: &Listener, errno: rustix::io::Errno) -> Error {
    let error = Error::new(os_error::kind(errno), format!("serving {}", listener.address().text()));
    error.because(os_error::text(errno)).at(listener.address().text())
}
