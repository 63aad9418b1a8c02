//! Those who have come to a TCP port and have not said yet what they speak: the handshake of TLS, the first bytes, the
//! request of a browser. Who is let in becomes a link.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use panpipe_wire::Address;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use slab::Slab;

use self::arrival::{Arrival, Outcome};
use super::gate::Gate;
use super::link::{Link, error};
use super::listener::{accept_from, lock};
use crate::Alarm;

mod arrival;
mod files;
pub(super) use files::{Files, Given};

/// How long everything may take before somebody is let in.
const TIME: Duration = Duration::from_secs(5);

/// Those who may be here at once, readers of files among them. Who comes beyond that waits in the backlog until one of them
/// goes, or gives way.
const MOST: usize = 64;

/// What one call looks at before others get their turn.
const TURN: usize = 256;

const SOCKETS: u64 = u64::MAX;
const ALARM: u64 = u64::MAX - 1;

/// Those who have come and are not let in yet.
pub(crate) struct Arrivals {
    gate: Gate,
    sockets: Vec<Arc<OwnedFd>>,
    /// An epoll set of all that is waited for here.
    watch: Arc<OwnedFd>,
    state: Mutex<State>,
}

struct State {
    arrivals: Slab<Arrival>,
    alarm: Alarm,
    /// The sockets are in the set.
    listens: bool,
}

/// What a look at the arrivals has found.
pub(crate) enum Found {
    Link(Link),
    Nobody,
    /// There is more to look at.
    More,
}

impl Arrivals {
    /// Those who come to `sockets`, for whom `gate` decides.
    pub(crate) fn new(gate: Gate, sockets: Vec<Arc<OwnedFd>>, address: &Address) -> panpipe_wire::Result<Self> {
        let failed = |errno| error(errno, format!("listening on {}", address.text())).at(address.text());
        let watch = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        let alarm = Alarm::new()?;
        epoll::add(&watch, alarm.descriptor(), EventData::new_u64(ALARM), EventFlags::IN).map_err(failed)?;
        let mut state = State { arrivals: Slab::new(), alarm, listens: false };
        state.listen(&watch, &sockets, true).map_err(failed)?;
        Ok(Arrivals { gate, sockets, watch: Arc::new(watch), state: Mutex::new(state) })
    }

    /// The descriptor to wait on.
    pub(crate) fn descriptor(&self) -> &Arc<OwnedFd> {
        &self.watch
    }

    /// Looks after those who are here, until one of them may go on.
    ///
    /// # Errors
    /// Those of accept(2) that concern the listener or this process.
    pub(crate) fn accept(&self) -> Result<Found, Errno> {
        let mut state = lock(&self.state);
        let now = Instant::now();
        for _ in 0..TURN {
            // One at a time: what is left keeps the set readable for the next call.
            let mut ready = [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }];
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let link = match epoll::wait(&self.watch, &mut ready[..], Some(&at_once)) {
                Err(Errno::INTR) => None,
                Err(errno) => return Err(errno),
                Ok(0) => return Ok(Found::Nobody),
                Ok(_) => match ready[0].data.u64() {
                    SOCKETS => self.welcome(&mut state, now)?,
                    ALARM => self.keep_time(&mut state, now),
                    place => self.look_after(&mut state, place as usize, ready[0].flags, now),
                },
            };
            if let Some(link) = link {
                return Ok(Found::Link(link));
            }
        }
        Ok(Found::More)
    }

    /// Takes in one who waits.
    fn welcome(&self, state: &mut State, now: Instant) -> Result<Option<Link>, Errno> {
        if state.arrivals.len() == MOST {
            let Some(place) = state.first_to_go().filter(|(_, from)| *from <= now).map(|(place, _)| place) else {
                return Ok(None);
            };
            let outcome = state.arrivals[place].give_way(&self.gate, now);
            let arrival = self.remove(state, place, now);
            if let Outcome::MayEnter = outcome {
                return Ok(arrival.into_link(&self.gate));
            }
            let _ = shutdown(arrival.socket(), Shutdown::Both);
        }
        let Some(socket) = accept_from(&self.sockets)? else { return Ok(None) };
        let Some(arrival) = Arrival::new(socket, &self.gate, now) else { return Ok(None) };
        let place = state.arrivals.insert(arrival);
        let data = EventData::new_u64(place as u64);
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        if let Err(errno) = epoll::add(&self.watch, state.arrivals[place].socket(), data, flags) {
            state.arrivals.remove(place);
            return Err(errno);
        }
        self.listen_for_room(state, now)?;
        // What has come already makes no event of its own.
        Ok(self.look_after(state, place, EventFlags::empty(), now))
    }

    fn look_after(&self, state: &mut State, place: usize, flags: EventFlags, now: Instant) -> Option<Link> {
        let arrival = state.arrivals.get_mut(place)?;
        let has_ended = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        let outcome = arrival.go_on(&self.gate, has_ended, now);
        self.settle(state, place, outcome, now)
    }

    fn settle(&self, state: &mut State, place: usize, outcome: Outcome, now: Instant) -> Option<Link> {
        match outcome {
            Outcome::Stays => {
                state.alarm.set(state.arrivals[place].deadline());
                // If this fails it is tried again when one goes.
                let _ = self.listen_for_room(state, now);
                None
            }
            Outcome::Goes => {
                // Whoever was forked meanwhile has the socket, too.
                let _ = shutdown(self.remove(state, place, now).socket(), Shutdown::Both);
                None
            }
            Outcome::MayEnter => self.remove(state, place, now).into_link(&self.gate),
        }
    }

    fn remove(&self, state: &mut State, place: usize, now: Instant) -> Arrival {
        let arrival = state.arrivals.remove(place);
        let _ = epoll::delete(&self.watch, arrival.socket());
        // If this fails it is tried again when the next one goes.
        let _ = self.listen_for_room(state, now);
        arrival
    }

    /// Listens as long as one more may come, and sees to it that it is asked again when one gives way.
    fn listen_for_room(&self, state: &mut State, now: Instant) -> Result<(), Errno> {
        let is_full = state.arrivals.len() == MOST;
        let full_until =
            is_full.then(|| state.first_to_go()).flatten().map(|(_, from)| from).filter(|from| *from > now);
        if let Some(from) = full_until {
            state.alarm.set(from);
        }
        state.listen(&self.watch, &self.sockets, full_until.is_none())
    }

    /// Lets go of those whose time is over, and listens again once somebody would give way; the alarm goes off again at once
    /// where one of them may go on.
    fn keep_time(&self, state: &mut State, now: Instant) -> Option<Link> {
        state.alarm.acknowledge();
        let due: Vec<_> =
            state.arrivals.iter().filter(|(_, arrival)| arrival.deadline() <= now).map(|(place, _)| place).collect();
        let mut link = None;
        for place in due {
            let outcome = state.arrivals[place].run_out_of_time(&self.gate, now);
            link = self.settle(state, place, outcome, now);
            if link.is_some() {
                break;
            }
        }
        if let Some(next) = state.arrivals.iter().map(|(_, arrival)| arrival.deadline()).min() {
            state.alarm.set(next);
        }
        // If this fails it is tried again when one goes.
        let _ = self.listen_for_room(state, now);
        link
    }

    /// Stops listening.
    pub(crate) fn close(&self) {
        for socket in &self.sockets {
            let _ = shutdown(socket, Shutdown::Both);
        }
        lock(&self.state).arrivals.clear();
    }
}

impl State {
    /// Who gives way first, and from when on: those who have their answer before the others, and who came first. Age alone
    /// decides, for whoever wants to stay can always send another byte.
    fn first_to_go(&self) -> Option<(usize, Instant)> {
        let all = self.arrivals.iter();
        let first = all.min_by_key(|(_, arrival)| (!arrival.is_answered(), arrival.gives_way_from()))?;
        Some((first.0, first.1.gives_way_from()))
    }

    fn listen(&mut self, watch: &OwnedFd, sockets: &[Arc<OwnedFd>], listens: bool) -> Result<(), Errno> {
        if self.listens == listens {
            return Ok(());
        }
        for socket in sockets {
            match listens {
                true => epoll::add(watch, socket, EventData::new_u64(SOCKETS), EventFlags::IN)?,
                false => epoll::delete(watch, socket)?,
            }
        }
        self.listens = listens;
        Ok(())
    }
}
