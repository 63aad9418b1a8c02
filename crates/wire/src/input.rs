//! What arrived and was not taken yet, and how the input ended.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

use bytes::BytesMut;

use crate::error::Error;
use crate::http::HttpGuard;
use crate::spare;

/// Whole messages beyond this many bytes stay in the system's buffers until some are taken.
const READ_AHEAD: usize = 64 << 10;

/// Bytes that one read may bring: the first, and the most that it grows to while reads fill it.
const SMALLEST_READ: usize = 4 << 10;
const LARGEST_READ: usize = 256 << 10;

/// The input of a session: the bytes that arrived, the room for more, and its end.
pub struct Input {
    bytes: BytesMut,
    /// How many bytes it was made for; zero while it has room for no more than it holds.
    size: usize,
    is_lent: bool,
    /// The frame that is being received needs at least this many bytes here.
    needed: usize,
    read_size: usize,
    /// No more than so many bytes are to come here before they were looked at; zero is no limit.
    most: usize,
    /// The room beyond them.
    beyond: BytesMut,
    /// What comes goes elsewhere first.
    diverted: Option<Diverted>,
    has_ended: bool,
    /// How that is told to those who waited for more.
    ending: Cow<'static, str>,
    /// Why nothing more can be received.
    failure: Option<Error>,
    /// Looks for an HTTP request in what arrives first, and how much of that it has seen.
    guard: Option<HttpGuard>,
    guarded: usize,
}

/// The rest of a part of a long message, which is read to where it is to lie.
struct Diverted {
    bytes: BytesMut,
    /// The room behind that part.
    beyond: BytesMut,
    end: usize,
}

impl Input {
    pub(crate) fn new() -> Self {
        Input {
            bytes: BytesMut::new(),
            size: 0,
            is_lent: false,
            needed: 0,
            read_size: SMALLEST_READ,
            most: 0,
            beyond: BytesMut::new(),
            diverted: None,
            has_ended: false,
            ending: Cow::Borrowed("the other side closed"),
            failure: None,
            guard: None,
            guarded: 0,
        }
    }

    /// Ends the session when what arrives first is an HTTP request: a web page can make a browser send one to any port of
    /// this machine, and must not be able to have it answered.
    pub fn refuse_http(&mut self) {
        self.guard = Some(HttpGuard::new());
    }

    /// Whether more input would be of use; without it, enough whole messages wait to be taken.
    pub fn wants_more(&self) -> bool {
        let has_room = match &self.diverted {
            Some(diverted) => diverted.bytes.len() < diverted.end,
            None if self.most > 0 => self.bytes.len() < self.most,
            None => self.bytes.len() < READ_AHEAD || self.bytes.len() < self.needed,
        };
        !self.is_over() && has_room
    }

    /// Whether nothing more is read.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.has_ended || self.failure.is_some()
    }

    /// Says that the first message ends here at the earliest; zero when it is there.
    pub(crate) fn need(&mut self, total: usize) {
        self.needed = total;
    }

    /// How many bytes have come that were not taken.
    pub(crate) fn arrived(&self) -> usize {
        self.bytes.len() + self.diverted.as_ref().map_or(0, |diverted| diverted.bytes.len())
    }

    /// Lets no more than so many bytes come before they are looked at, or any number: where they are to lie is known then.
    pub(crate) fn limit(&mut self, most: usize) {
        self.most = most;
    }

    /// Appends the next `count` bytes to come to these, which have room for them; see [`diverted`](Self::diverted).
    pub(crate) fn divert(&mut self, mut bytes: BytesMut, count: usize) {
        let end = bytes.len() + count;
        let beyond = bytes.split_off(end);
        self.diverted = Some(Diverted { bytes, beyond, end });
    }

    /// The bytes that others were appended to, once those are there.
    pub(crate) fn diverted(&mut self) -> Option<BytesMut> {
        let Diverted { mut bytes, beyond, end } =
            self.diverted.take_if(|diverted| diverted.bytes.len() >= diverted.end)?;
        // Who does not keep to the room has given more than was asked for.
        let more = bytes.split_off(end);
        self.bytes.extend_from_slice(&more);
        drop(more);
        bytes.unsplit(beyond);
        Some(bytes)
    }

    /// Takes back the room that was kept from a read.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if self.beyond.capacity() > 0 {
            self.bytes.unsplit(std::mem::take(&mut self.beyond));
        }
    }

    /// Where to append what was read. There is spare capacity for a good read.
    pub fn room(&mut self) -> &mut BytesMut {
        if self.diverted.is_none() {
            self.make_room();
        }
        match &mut self.diverted {
            Some(diverted) => &mut diverted.bytes,
            None => &mut self.bytes,
        }
    }

    fn make_room(&mut self) {
        self.settle();
        // What a peer announces is taken on trust only twice as far as what it has sent.
        let missing = self.needed.saturating_sub(self.bytes.len()).min(self.bytes.len().max(LARGEST_READ));
        let wanted = missing.max(self.read_size);
        let held = self.bytes.len();
        if self.size == 0 {
            let begun = std::mem::replace(&mut self.bytes, spare::take(spare::Room::Inbox));
            self.bytes.extend_from_slice(&begun);
        }
        // Small messages use up the room that is there before more is asked for.
        if self.bytes.capacity() - held < missing.max(self.read_size / 4) {
            self.bytes.reserve(wanted);
        }
        self.size = self.size.max(held + wanted);
        if self.most > held {
            self.beyond = self.bytes.split_off(self.most);
        }
    }

    /// The bytes with room for a good read, to be read into elsewhere; until they are
    /// [taken back](Self::take_back) nothing arrives.
    pub fn lend(&mut self) -> BytesMut {
        let bytes = std::mem::take(self.room());
        self.is_lent = true;
        bytes
    }

    /// Takes back what [`lend`](Self::lend) gave.
    pub fn take_back(&mut self, bytes: BytesMut) {
        match &mut self.diverted {
            Some(diverted) => diverted.bytes = bytes,
            None => self.bytes = bytes,
        }
        self.is_lent = false;
    }

    /// Lets other sessions use the room until more arrives.
    ///
    /// What has arrived of a long message stays where it is; what there is of a short one is worth less than the room.
    #[inline]
    pub(crate) fn share(&mut self) {
        if self.size == 0 || self.is_lent || self.bytes.len() > SMALLEST_READ {
            return;
        }
        let begun = BytesMut::from(&self.bytes[..]);
        let room = std::mem::replace(&mut self.bytes, begun);
        // Whoever appends may have put other room in the place of what it was given.
        let size = std::mem::take(&mut self.size).max(room.capacity());
        spare::give(spare::Room::Inbox, room, size);
    }

    /// Says that a read filled all the room it was given: the next may bring more.
    pub fn read_was_full(&mut self) {
        self.read_size = (self.read_size * 2).min(LARGEST_READ);
    }

    /// Says that the peer sends nothing more.
    pub fn end(&mut self) {
        self.has_ended = true;
    }

    /// The same, with how it ended, as `the other side closed`, for those who waited for more.
    pub fn end_as(&mut self, ending: String) {
        self.ending = ending.into();
        self.end();
    }

    /// Says that receiving is over because of `error`, a failure of the link. What had arrived can still be taken.
    pub fn fail(&mut self, error: Error) {
        self.has_ended = true;
        self.failure.get_or_insert(error);
    }

    /// Drops what has arrived and was not taken.
    pub fn discard(&mut self) {
        self.bytes.clear();
        self.diverted = None;
        self.needed = 0;
    }

    /// Whether nothing more will come.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub(crate) fn ending(&self) -> &str {
        &self.ending
    }

    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Ends the input because of what has arrived, of which nothing more is of use.
    pub(crate) fn refuse(&mut self, error: Error) {
        self.failure = Some(error);
        self.discard();
    }

    /// Takes the first `total` bytes.
    #[inline]
    pub(crate) fn take(&mut self, total: usize) -> BytesMut {
        self.needed = 0;
        self.guarded = self.guarded.saturating_sub(total);
        self.bytes.split_to(total)
    }

    /// Whether what arrived first is an HTTP request that must be refused.
    #[inline]
    pub(crate) fn is_http(&mut self) -> bool {
        self.guard.is_some() && self.look_for_http()
    }

    #[cold]
    fn look_for_http(&mut self) -> bool {
        let Some(guard) = &mut self.guard else { return false };
        // The bytes may be lent to a read that waits, and there are none then.
        let is_http = guard.saw(self.bytes.get(self.guarded..).unwrap_or_default());
        self.guarded = self.guarded.max(self.bytes.len());
        if guard.is_over() || is_http {
            self.guard = None;
        }
        is_http
    }
}

impl Deref for Input {
    type Target = BytesMut;

    #[inline]
    fn deref(&self) -> &BytesMut {
        &self.bytes
    }
}

impl DerefMut for Input {
    #[inline]
    fn deref_mut(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }
}
