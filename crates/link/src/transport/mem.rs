//! `mem:NAME`: inside one process. The names are its own, the links are socket pairs.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use panpipe_wire::{Address, Error, ErrorKind, Method, OptionInfo, PANPIPE, Result};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};

use super::chaos::{Chaos, Plan};
use super::connecting::Connecting;
use super::link::Link;
use super::listener::{Listener, Source, lock};
use super::{Transport, pair};

pub(super) const TRANSPORT: Transport = Transport {
    method: &Method {
        scheme: "mem",
        form: "mem:NAME",
        options: &[CHAOS],
        check: |address| match address.target() {
            "" => Err("the name is missing: mem:NAME".into()),
            _ => Ok(()),
        },
        moves_packets: false,
        protocol: PANPIPE,
        reaches: "this process",
        reliable: "yes",
        ordered: "yes",
        readers: "many",
        death: "it dies with this process",
        costs: "two copies: it is a socket pair",
        trial: Some("mem:panpipe-trial"),
        good_for: "tests, and parts of one program that may become two",
        not_for: "another process",
    },
    connect,
    listen,
    may_block: |_| false,
};

const CHAOS: OptionInfo = OptionInfo {
    name: "chaos",
    value: "a seed, a whole number below 2^64, or one followed by ,cut",
    default: "none",
    summary: "for tests: splits, joins and delays the bytes, the same each time, and with ,cut also cuts the connection",
    check: |value| Plan::parse(value).is_some(),
};

static NAMES: Mutex<BTreeMap<String, Arc<Place>>> = Mutex::new(BTreeMap::new());

/// Links that may wait to be accepted, as a socket's backlog.
const MOST_WAITING: usize = 1024;

struct Place {
    waiting: Mutex<VecDeque<OwnedFd>>,
    /// Readable while a link waits.
    bell: Arc<OwnedFd>,
}

/// The listener's end of a name; dropping it gives the name back.
pub(crate) struct Meeting {
    name: String,
    place: Arc<Place>,
    chaos: Option<Plan>,
    /// How many links were taken.
    taken: AtomicU64,
}

impl Meeting {
    pub(crate) fn bell(&self) -> &Arc<OwnedFd> {
        &self.place.bell
    }

    /// Makes whoever waits look again.
    pub(crate) fn ring(&self) {
        let _ = write(&self.place.bell, &1u64.to_ne_bytes());
    }

    pub(crate) fn take(&self) -> Result<Option<Link>, Errno> {
        let mut waiting = lock(&self.place.waiting);
        let socket = waiting.pop_front();
        if waiting.is_empty() {
            // Silences the bell; it may be silent already.
            let _ = read(&self.place.bell, &mut [0; 8]);
        }
        let number = self.taken.fetch_add(u64::from(socket.is_some()), Ordering::Relaxed);
        socket.map(|socket| link(socket, self.chaos.map(|plan| plan.of_another(number)))).transpose()
    }
}

/// A link that is as its address wants it.
fn link(socket: OwnedFd, chaos: Option<Plan>) -> Result<Link, Errno> {
    match chaos {
        Some(plan) => Chaos::new(socket, plan).map(Link::chaos),
        None => Ok(Link::socket(socket)),
    }
}

fn chaos(address: &Address) -> Option<Plan> {
    address.option("chaos").and_then(Plan::parse)
}

impl Drop for Meeting {
    fn drop(&mut self) {
        lock(&NAMES).remove(&self.name);
    }
}

fn connect(address: &Address) -> Result<Connecting> {
    let error = |kind| Error::new(kind, format!("connecting to {}", address.text())).at(address.text());
    let place = lock(&NAMES).get(address.target()).cloned();
    let place = place.ok_or_else(|| error(ErrorKind::Refused).because("nobody in this process listens there"))?;
    let mut waiting = lock(&place.waiting);
    if waiting.len() == MOST_WAITING {
        return Err(error(ErrorKind::Busy).because("1,024 connections wait to be accepted"));
    }
    let os_error = |errno| super::link::error(errno, format!("connecting to {}", address.text())).at(address.text());
    let (ours, theirs) = pair::sockets().map_err(os_error)?;
    let ours = link(ours, chaos(address)).map_err(os_error)?;
    waiting.push_back(theirs);
    let _ = write(&place.bell, &1u64.to_ne_bytes());
    Ok(Connecting::ready(address, ours))
}

/// Two links, each of which is the other's peer.
pub(super) fn connected(address: &Address) -> Result<(Link, Link), Errno> {
    let (ours, theirs) = pair::sockets()?;
    let chaos = chaos(address);
    Ok((link(ours, chaos)?, link(theirs, chaos.map(|plan| plan.of_another(1)))?))
}

fn listen(address: &Address) -> Result<Listener> {
    let doing = format!("listening on {}", address.text());
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| super::link::error(errno, doing.clone()).at(address.text()))?;
    let place = Arc::new(Place { waiting: Mutex::default(), bell: Arc::new(bell) });
    let name = address.target().to_owned();
    let mut names = lock(&NAMES);
    if names.contains_key(&name) {
        let error = Error::new(ErrorKind::AddressInUse, doing).because("this process listens there already");
        return Err(error.at(address.text()));
    }
    names.insert(name.clone(), Arc::clone(&place));
    drop(names);
    Ok(Listener::new(
        address.clone(),
        Source::Meeting(Meeting { name, place, chaos: chaos(address), taken: AtomicU64::new(0) }),
    ))
}
