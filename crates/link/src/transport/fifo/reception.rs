//! The listener of a FIFO with another one for replies: a connection begins with the first writer and ends with the last.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use panpipe_wire::ErrorKind;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::OFlags;
use rustix::io::{Errno, write};

use super::super::link::Link;
use super::super::listener::{Accepted, lock};
use super::super::made_file::MadeFile;
use super::Place;
use super::lock::Turn;
use crate::fork;

/// How long to leave the FIFO for replies alone when nobody has opened it yet.
const PAUSE: Duration = Duration::from_millis(5);

/// Where conversations begin, one after another.
pub(crate) struct Reception {
    /// An epoll set, readable when somebody has come or it was closed.
    watch: Arc<OwnedFd>,
    bell: OwnedFd,
    desk: Mutex<Option<Arc<Desk>>>,
}

/// What the listener and its conversation share.
struct Desk {
    place: Place,
    watch: Arc<OwnedFd>,
    state: Mutex<State>,
    _files: [Option<MadeFile>; 2],
    forks: u64,
}

enum State {
    /// The end to read from, in the epoll set.
    Waiting(Arc<OwnedFd>, Turn),
    /// A conversation has it.
    Talking,
    Over,
}

impl Reception {
    pub(super) fn open(
        place: Place,
        fifo: Arc<OwnedFd>,
        turn: Turn,
        files: [Option<MadeFile>; 2],
    ) -> Result<Self, Errno> {
        let watch = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        for fd in [&*fifo, &bell] {
            epoll::add(&watch, fd, EventData::new_u64(0), EventFlags::IN)?;
        }
        let state = Mutex::new(State::Waiting(fifo, turn));
        let desk = Desk { place, watch: Arc::clone(&watch), state, _files: files, forks: fork::watch() };
        Ok(Reception { watch, bell, desk: Mutex::new(Some(Arc::new(desk))) })
    }

    pub(crate) fn descriptor(&self) -> &Arc<OwnedFd> {
        &self.watch
    }

    pub(crate) fn accept(&self) -> Result<Accepted, Errno> {
        match &*lock(&self.desk) {
            Some(desk) => desk.accept(),
            None => Ok(Accepted::Finished),
        }
    }

    /// Begins no more conversations; who waits looks again.
    pub(crate) fn close(&self) {
        if lock(&self.desk).take().is_some_and(|desk| desk.forks == fork::generation()) {
            let _ = write(&self.bell, &1u64.to_ne_bytes());
        }
    }
}

impl Desk {
    fn accept(self: &Arc<Self>) -> Result<Accepted, Errno> {
        let mut state = lock(&self.state);
        let fifo = match &*state {
            State::Waiting(fifo, _) => Arc::clone(fifo),
            State::Talking => return Ok(Accepted::Nobody),
            State::Over => return Ok(Accepted::Finished),
        };
        let mut fds = [PollFd::new(&fifo, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        let events = fds[0].revents();
        if events.is_empty() {
            return Ok(Accepted::Nobody);
        }
        if !events.contains(PollFlags::IN) {
            // They went without a word. An end that is opened anew does not hang up before the next have come.
            self.open_anew(&mut state, &fifo)?;
            return Ok(Accepted::Nobody);
        }
        let reply = self.place.reply.as_deref().unwrap_or_default();
        let (writer, writing) = match self.place.transmit(reply) {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => return Ok(Accepted::Pause(PAUSE)),
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(Errno::NOENT),
            Err(_) => return Err(Errno::IO),
        };
        epoll::delete(&self.watch, &fifo)?;
        let next = if self.place.says("once") { State::Over } else { State::Talking };
        let State::Waiting(reader, reading) = std::mem::replace(&mut *state, next) else {
            return Ok(Accepted::Nobody);
        };
        let conversation = Conversation { desk: Arc::clone(self), fifo, _turns: [reading, writing] };
        Ok(Accepted::Link(self.place.finish(Link::pipes(reader, writer), conversation)))
    }

    /// Waits at an end that is opened anew, before `last` is closed, so that nothing is lost in between.
    fn open_anew(&self, state: &mut State, last: &Arc<OwnedFd>) -> Result<(), Errno> {
        let fifo = self.place.open(&self.place.path, OFlags::RDONLY);
        let fifo = Arc::new(fifo.ok().flatten().ok_or(Errno::NOENT)?);
        let turn = Turn::to_read_on(&fifo)?;
        epoll::add(&self.watch, &fifo, EventData::new_u64(0), EventFlags::IN)?;
        if matches!(state, State::Waiting(..)) {
            epoll::delete(&self.watch, last)?;
        }
        *state = State::Waiting(fifo, turn);
        Ok(())
    }
}

/// What a link of this listener holds: when it is closed, the next may come.
struct Conversation {
    desk: Arc<Desk>,
    fifo: Arc<OwnedFd>,
    _turns: [Turn; 2],
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // A forked child shares the epoll set with its parent.
        if self.desk.forks != fork::generation() {
            return;
        }
        let mut state = lock(&self.desk.state);
        if matches!(*state, State::Over) || self.desk.open_anew(&mut state, &self.fifo).is_ok() {
            return;
        }
        // The next accept meets the same obstacle, and says so.
        if let Ok(turn) = Turn::to_read_on(&self.fifo) {
            *state = State::Waiting(Arc::clone(&self.fifo), turn);
            let _ = epoll::add(&self.desk.watch, &self.fifo, EventData::new_u64(0), EventFlags::IN);
        }
    }
}
