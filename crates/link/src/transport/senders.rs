//! Sockets that many send to: a link for each sender, and one queue in the system for all of them.
//!
//! Whoever needs input reads the sockets for all and puts what came into the mailboxes of those that it is from.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Buf, BytesMut};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};
use rustix::net::{AddressFamily, SendFlags, SocketAddrAny, SocketAddrUnix, sendto};

use super::datagram::{self, Packet, recv_from};
use super::listener::lock;
use crate::fork;

/// Senders at once. Datagrams know no close: for one more the sender that was heard least recently is let go.
const MOST_SENDERS: usize = 1024;

/// With those that are let go, and whose links somebody still holds.
const MOST_MAILBOXES: usize = MOST_SENDERS + 64;

/// What may wait in one mailbox and in all together, each message counted with what it costs beside its bytes.
const MOST_OF_ONE: usize = 256 << 10;
const MOST_OF_ALL: usize = 16 << 20;
const MESSAGE_COST: usize = 64;

/// Links at once whose waiting watches the sockets: who began to wait last. The system allows a file to be seen through
/// two others by a hundred at most (fs/eventpoll.c, path_limits), a loop may see each of them twice, and each wakes up for
/// the input of all.
const MOST_WATCHERS: usize = 32;

/// Bytes that go past the mailbox of the link that reads, in one turn.
const MOST_AT_ONCE: usize = 64 << 10;

/// Datagrams that one turn reads before others get theirs.
const TURN: usize = 1024;

/// Sockets that many send to.
pub(crate) struct Senders {
    sockets: Vec<OwnedFd>,
    /// Readable while a socket is, unless they are left alone for now.
    readable: Arc<OwnedFd>,
    /// Readable while a new sender waits to be accepted.
    newcomers: Arc<OwnedFd>,
    /// Bytes of the largest message.
    most: usize,
    /// What finds no room is dropped and counted; elsewhere it stays in the system's queue, and senders wait.
    may_drop: bool,
    forks: u64,
    /// Somebody accepts all the time, and so reads for all.
    is_served: AtomicBool,
    state: Mutex<State>,
}

/// A sender: which socket it sent to, and its name if it has one. Those without are one.
type Name = (usize, Option<SocketAddrAny>);

#[derive(Default)]
struct State {
    /// The senders that are not let go.
    numbers: HashMap<Name, u64>,
    mailboxes: HashMap<u64, Mailbox>,
    last_number: u64,
    /// Those that nobody has accepted yet, from the oldest.
    waiting: VecDeque<u64>,
    /// Those whose links watch the sockets, from the oldest.
    watchers: VecDeque<u64>,
    /// Whether `newcomers` is readable.
    rings: bool,
    /// What is in all mailboxes together, and in how many there is too much.
    size: usize,
    full: usize,
    /// Whether the last turn of reading has emptied the sockets.
    is_drained: bool,
    /// The sockets are left alone until there is room.
    is_paused: bool,
    is_closed: bool,
    /// Counts what was heard, as a clock.
    heard: u64,
    dropped: u64,
}

struct Mailbox {
    name: Name,
    /// Each behind its length.
    messages: BytesMut,
    count: usize,
    heard: u64,
    dropped: u64,
    /// Nothing more will come.
    has_ended: bool,
    bell: Option<Arc<OwnedFd>>,
    rings: bool,
    /// The bell and, while it watches, the sockets; `None` where others read for it.
    both: Option<Arc<OwnedFd>>,
}

impl Mailbox {
    fn size(&self) -> usize {
        self.messages.len() + self.count * MESSAGE_COST
    }

    fn ring(&mut self) {
        if let Some(bell) = self.bell.as_ref().filter(|_| !self.rings) {
            self.rings = true;
            ring(bell);
        }
    }

    fn silence(&mut self) {
        if let Some(bell) = self.bell.as_ref().filter(|_| self.rings) {
            self.rings = false;
            silence(bell);
        }
    }
}

impl Senders {
    /// Takes `sockets` on, whose messages have at most `most` bytes.
    pub(crate) fn new(sockets: Vec<OwnedFd>, most: usize, may_drop: bool) -> Result<Arc<Self>, Errno> {
        let readable = epoll::create(CreateFlags::CLOEXEC)?;
        for socket in &sockets {
            epoll::add(&readable, socket, EventData::new_u64(0), EventFlags::IN)?;
        }
        Ok(Arc::new(Senders {
            sockets,
            readable: Arc::new(readable),
            newcomers: new_bell()?,
            most,
            may_drop,
            forks: fork::watch(),
            is_served: AtomicBool::new(false),
            state: Mutex::default(),
        }))
    }

    /// What to wait on before the next [`accept`](Self::accept).
    pub(crate) fn descriptors(&self) -> Vec<Arc<OwnedFd>> {
        vec![Arc::clone(&self.readable), Arc::clone(&self.newcomers)]
    }

    /// Says that [`accept`](Self::accept) is called whenever there is input: links then wait for their own alone.
    pub(crate) fn serve(&self) {
        self.is_served.store(true, Ordering::Release);
    }

    /// Datagrams that were dropped for want of room, here and in the system.
    pub(crate) fn dropped(&self) -> u64 {
        lock(&self.state).dropped + self.sockets.iter().map(datagram::dropped).sum::<u64>()
    }

    /// The next new sender.
    pub(crate) fn accept(self: &Arc<Self>) -> Result<Option<Sender>, Errno> {
        let mut state = lock(&self.state);
        let mut left = TURN;
        // Who is served by this alone must get what is theirs, also while new ones wait.
        while (state.waiting.is_empty() || self.is_served.load(Ordering::Acquire))
            && self.pump(&mut state, &mut left, None)?
        {}
        let first = state.waiting.pop_front();
        // What is left in a socket when the turn is over may be announced by nothing else.
        self.announce(&mut state, left == 0);
        let Some(number) = first else { return Ok(None) };
        let made = new_bell().and_then(|bell| Ok((self.new_both(&bell)?, bell)));
        let (both, bell) = match made {
            Ok(made) => made,
            Err(errno) => {
                state.waiting.push_front(number);
                self.announce(&mut state, true);
                return Err(errno);
            }
        };
        let reader = Arc::clone(both.as_ref().unwrap_or(&bell));
        let mut name = (0, None);
        if let Some(mailbox) = state.mailboxes.get_mut(&number) {
            name.clone_from(&mailbox.name);
            mailbox.bell = Some(bell);
            mailbox.both = both;
            mailbox.ring();
        }
        Ok(Some(Sender { senders: Arc::clone(self), number, name, reader, has_read_all: false }))
    }

    /// Rings while somebody waits to be accepted, or there is `more`.
    fn announce(&self, state: &mut State, more: bool) {
        match more || !state.waiting.is_empty() {
            is if is == state.rings => return,
            true => ring(&self.newcomers),
            false => silence(&self.newcomers),
        }
        state.rings = !state.rings;
    }

    /// What a link waits on that may have to read the sockets itself: its bell, to which they are added.
    fn new_both(&self, bell: &Arc<OwnedFd>) -> Result<Option<Arc<OwnedFd>>, Errno> {
        if self.is_served.load(Ordering::Acquire) {
            return Ok(None);
        }
        let both = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&both, bell, EventData::new_u64(0), EventFlags::IN)?;
        Ok(Some(Arc::new(both)))
    }

    /// Lets a link that is about to wait watch the sockets, in place of the one that has for the longest time.
    fn watch(&self, state: &mut State, number: u64) -> Result<(), Errno> {
        let both = state.mailboxes.get(&number).and_then(|mailbox| mailbox.both.as_ref());
        let Some(both) = both.filter(|_| !state.watchers.contains(&number)) else { return Ok(()) };
        epoll::add(both, &self.readable, EventData::new_u64(1), EventFlags::IN)?;
        state.watchers.push_back(number);
        if state.watchers.len() > MOST_WATCHERS
            && let Some(oldest) = state.watchers.pop_front()
            && let Some(both) = state.mailboxes.get(&oldest).and_then(|mailbox| mailbox.both.as_ref())
        {
            let _ = epoll::delete(both, &self.readable);
        }
        Ok(())
    }

    /// Lets nobody new in. Links that were accepted live on.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.is_closed = true;
        self.is_served.store(false, Ordering::Release);
        while let Some(number) = state.waiting.pop_front() {
            self.forget(&mut state, number);
        }
        ring(&self.newcomers);
    }

    /// Reads what has come, at most `left` datagrams; whether there was any, and is more to read.
    fn pump(&self, state: &mut State, left: &mut usize, mut direct: Option<&mut Direct<'_>>) -> Result<bool, Errno> {
        let mut came = false;
        let mut emptied = 0;
        state.is_drained = false;
        for (place, socket) in self.sockets.iter().enumerate() {
            // One socket must not keep the others waiting.
            for _ in 0..64 {
                if *left == 0 || state.is_paused {
                    return Ok(false);
                }
                let direct = direct.as_deref_mut();
                match recv_from(socket, self.most, |from, packet| self.deliver(state, (place, from), &packet, direct)) {
                    Ok(()) => {}
                    Err(Errno::INTR) => continue,
                    Err(Errno::AGAIN) => {
                        emptied += 1;
                        break;
                    }
                    Err(errno) => return Err(errno),
                }
                came = true;
                *left -= 1;
            }
        }
        state.is_drained = emptied == self.sockets.len();
        Ok(came)
    }

    fn deliver(&self, state: &mut State, (place, from): Name, packet: &Packet<'_>, direct: Option<&mut Direct<'_>>) {
        let from = from.filter(|from| {
            let unix = || SocketAddrUnix::try_from(from.clone()).is_ok_and(|unix| unix.is_unnamed());
            from.address_family() != AddressFamily::UNIX || !unix()
        });
        let number = match state.numbers.get(&(place, from.clone())) {
            Some(number) => *number,
            None => match self.welcome(state, (place, from)) {
                Some(number) => number,
                None => {
                    state.dropped += 1;
                    return;
                }
            },
        };
        state.heard += 1;
        let heard = state.heard;
        let Some(mailbox) = state.mailboxes.get_mut(&number) else { return };
        mailbox.heard = heard;
        // What its own link reads need not lie in a mailbox before.
        if mailbox.count == 0
            && let Some(direct) = direct.filter(|direct| direct.number == number && direct.taken < MOST_AT_ONCE)
        {
            direct.taken += packet.append_to(direct.inbox);
            return;
        }
        let was = mailbox.size();
        let more = packet.size() + MESSAGE_COST;
        if self.may_drop && (was + more > MOST_OF_ONE || state.size + more > MOST_OF_ALL) {
            mailbox.dropped += 1;
            state.dropped += 1;
            return;
        }
        packet.append_to(&mut mailbox.messages);
        mailbox.count += 1;
        mailbox.ring();
        state.size += more;
        state.full += usize::from(was <= MOST_OF_ONE && was + more > MOST_OF_ONE);
        if !self.may_drop && is_full(state) {
            self.pause(state);
        }
    }

    /// Makes a mailbox for a new sender, if there is room for one more.
    fn welcome(&self, state: &mut State, name: Name) -> Option<u64> {
        if state.is_closed {
            return None;
        }
        if self.may_drop && state.mailboxes.len() >= MOST_MAILBOXES {
            return None;
        }
        state.last_number += 1;
        let number = state.last_number;
        state.numbers.insert(name.clone(), number);
        let mailbox = Mailbox {
            name,
            messages: BytesMut::new(),
            count: 0,
            heard: state.heard + 1,
            dropped: 0,
            has_ended: false,
            bell: None,
            rings: false,
            both: None,
        };
        state.mailboxes.insert(number, mailbox);
        state.waiting.push_back(number);
        self.announce(state, false);
        if state.numbers.len() > MOST_SENDERS {
            self.let_one_go(state);
        }
        Some(number)
    }

    /// Ends the sender that was heard least recently: there is room again once its link is gone.
    fn let_one_go(&self, state: &mut State) {
        let left = state.mailboxes.iter_mut().filter(|(_, mailbox)| !mailbox.has_ended);
        let Some((&number, mailbox)) = left.min_by_key(|(_, mailbox)| mailbox.heard) else { return };
        mailbox.has_ended = true;
        mailbox.ring();
        state.numbers.remove(&mailbox.name);
        // Nobody has it yet: it goes at once, where that is no loss of what arrives otherwise.
        let place = state.waiting.iter().position(|&waiting| waiting == number);
        if let Some(place) = place.filter(|_| self.may_drop) {
            state.waiting.remove(place);
            self.forget(state, number);
        }
    }

    fn forget(&self, state: &mut State, number: u64) {
        let Some(mailbox) = state.mailboxes.remove(&number) else { return };
        if state.numbers.get(&mailbox.name) == Some(&number) {
            state.numbers.remove(&mailbox.name);
        }
        if let Some(place) = state.watchers.iter().position(|&watcher| watcher == number) {
            state.watchers.remove(place);
            // A closed link may be held for long, and with it what it waited on.
            if let Some(both) = &mailbox.both {
                let _ = epoll::delete(both, &self.readable);
            }
            // Others may be waiting for what this one would have read for them.
            let waits = |(number, mailbox): &(&u64, &Mailbox)| {
                mailbox.both.is_some() && !mailbox.has_ended && !state.watchers.contains(number)
            };
            if let Some(next) = state.mailboxes.iter().find(waits).map(|(&number, _)| number) {
                let _ = self.watch(state, next);
            }
        }
        state.dropped += mailbox.count as u64;
        state.size -= mailbox.size();
        state.full -= usize::from(mailbox.size() > MOST_OF_ONE);
        self.resume(state);
    }

    /// Leaves the sockets alone: those who send wait.
    fn pause(&self, state: &mut State) {
        if !state.is_paused {
            state.is_paused = true;
            for socket in &self.sockets {
                let _ = epoll::delete(&self.readable, socket);
            }
        }
    }

    fn resume(&self, state: &mut State) {
        if state.is_paused && !is_full(state) {
            state.is_paused = false;
            for socket in &self.sockets {
                let _ = epoll::add(&self.readable, socket, EventData::new_u64(0), EventFlags::IN);
            }
        }
    }
}

fn is_full(state: &State) -> bool {
    state.full > 0 || state.size > MOST_OF_ALL || state.mailboxes.len() > MOST_MAILBOXES
}

/// Where the datagrams of the link that reads go, past its mailbox.
struct Direct<'a> {
    number: u64,
    inbox: &'a mut BytesMut,
    taken: usize,
}

/// One sender, as its link has it.
pub(crate) struct Sender {
    senders: Arc<Senders>,
    number: u64,
    name: Name,
    reader: Arc<OwnedFd>,
    /// Whether the last read left nothing behind, here and in the sockets.
    has_read_all: bool,
}

impl Sender {
    /// The descriptor to wait on.
    pub(crate) fn reader(&self) -> &Arc<OwnedFd> {
        &self.reader
    }

    /// Bytes of the largest message.
    pub(crate) fn most(&self) -> usize {
        self.senders.most
    }

    pub(crate) fn may_be_lost(&self) -> bool {
        self.senders.may_drop
    }

    /// Whether there is a name to send replies to.
    pub(crate) fn has_name(&self) -> bool {
        self.name.1.is_some()
    }

    /// Its name, as `127.0.0.1:54321`, a path or `@name`.
    pub(crate) fn name(&self) -> Option<String> {
        super::remote::name_of(self.name.1.clone()?)
    }

    /// Its datagrams that found no room here; what the system dropped is not known by sender.
    pub(crate) fn dropped(&self) -> u64 {
        lock(&self.senders.state).mailboxes.get(&self.number).map_or(0, |mailbox| mailbox.dropped)
    }

    /// Whether the last read left nothing behind: whatever comes later makes [`reader`](Self::reader) readable again.
    pub(crate) fn has_read_all(&self) -> bool {
        self.has_read_all
    }

    /// Appends what has come from it, as far as there is room; zero when it was let go.
    pub(crate) fn read(&mut self, inbox: &mut BytesMut) -> Result<usize, Errno> {
        let state = &mut *lock(&self.senders.state);
        let mut left = TURN;
        self.has_read_all = false;
        let is_served = self.senders.is_served.load(Ordering::Acquire);
        if !is_served {
            // Also where it stops before everything is read: the rest must wake it again.
            self.senders.watch(state, self.number)?;
        }
        loop {
            let Some(mailbox) = state.mailboxes.get_mut(&self.number) else { return Ok(0) };
            if mailbox.count > 0 {
                let was = mailbox.size();
                let taken = take(mailbox, inbox, self.senders.most);
                let is = mailbox.size();
                match mailbox.count == 0 && !mailbox.has_ended {
                    true => mailbox.silence(),
                    false => mailbox.ring(),
                }
                state.size -= was - is;
                state.full -= usize::from(was > MOST_OF_ONE && is <= MOST_OF_ONE);
                self.senders.resume(state);
                return Ok(taken);
            }
            if mailbox.has_ended {
                return Ok(0);
            }
            let mut direct = Direct { number: self.number, inbox, taken: 0 };
            let came = !is_served && self.senders.pump(state, &mut left, Some(&mut direct))?;
            if direct.taken > 0 {
                // Who watches the sockets is woken by what comes after this.
                let is_empty = state.mailboxes.get(&self.number).is_some_and(|mailbox| mailbox.count == 0);
                self.has_read_all = is_empty && state.is_drained && state.watchers.contains(&self.number);
                return Ok(direct.taken);
            }
            if !came {
                let Some(mailbox) = state.mailboxes.get_mut(&self.number) else { return Ok(0) };
                if left == 0 {
                    // Its own may still lie in the socket, and nothing else would announce it.
                    mailbox.ring();
                } else if mailbox.count == 0 && !mailbox.has_ended {
                    mailbox.silence();
                } else {
                    continue;
                }
                return Err(Errno::AGAIN);
            }
        }
    }

    pub(crate) fn send(&self, packet: &[u8]) -> Result<(), Errno> {
        let (place, Some(name)) = &self.name else { return Err(Errno::DESTADDRREQ) };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match sendto(&self.senders.sockets[*place], packet, flags, name) {
            Ok(_) => Ok(()),
            Err(errno @ (Errno::AGAIN | Errno::INTR | Errno::MSGSIZE)) => Err(errno),
            Err(Errno::NOBUFS | Errno::NOMEM) => Err(Errno::AGAIN),
            // It is gone, or may not be sent to; another with the same name is another sender.
            Err(_) => {
                let state = &mut *lock(&self.senders.state);
                if let Some(mailbox) = state.mailboxes.get_mut(&self.number) {
                    mailbox.has_ended = true;
                    mailbox.ring();
                    state.numbers.remove(&self.name);
                }
                Err(Errno::CONNRESET)
            }
        }
    }
}

impl Sender {
    /// Takes nothing more: what comes from there now is another sender's. Nobody waits for this one, so that others must
    /// watch the sockets in its place.
    pub(crate) fn close(&self) {
        // In a forked child what the parent waits on is left alone, and its lock may be held for ever.
        if self.senders.forks == fork::generation() {
            self.senders.forget(&mut lock(&self.senders.state), self.number);
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.close();
    }
}

/// Moves whole messages to `inbox`, the first in any case and others as far as there is room.
fn take(mailbox: &mut Mailbox, inbox: &mut BytesMut, most: usize) -> usize {
    let room = inbox.capacity() - inbox.len();
    let mut total = 0;
    while let Some(length) = mailbox.messages.get(total..).and_then(|message| message.first_chunk()) {
        let length = u32::from_be_bytes(*length) as usize;
        let size = size_of::<u32>() + if length > most { 0 } else { length };
        if total > 0 && total + size > room {
            break;
        }
        total += size;
        mailbox.count -= 1;
    }
    inbox.extend_from_slice(&mailbox.messages[..total]);
    match total == mailbox.messages.len() {
        true => mailbox.messages = BytesMut::new(),
        false => mailbox.messages.advance(total),
    }
    total
}

/// A descriptor that is readable once it was rung.
fn new_bell() -> Result<Arc<OwnedFd>, Errno> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map(Arc::new)
}

fn ring(bell: &OwnedFd) {
    let _ = write(bell, &1u64.to_ne_bytes());
}

/// It may be silent already.
fn silence(bell: &OwnedFd) {
    let _ = read(bell, &mut [0; 8]);
}
