//! The session of the plain protocol: messages in order, calls matched with replies by their order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};

use crate::address::Address;
use crate::error::{Error, ErrorKind, Ran, Result};
use crate::framing::{AnyFraming, Fault, Framing, Head, Scan};
use crate::http::HttpGuard;

/// Whole messages beyond this many bytes stay in the system's buffers until some are taken.
const READ_AHEAD: usize = 64 << 10;

/// Bytes that one read may bring: the first, and the most that it grows to while reads fill it.
const SMALLEST_READ: usize = 4 << 10;
const LARGEST_READ: usize = 256 << 10;

/// Messages that nobody receives may take so much, each counted with what it costs beside its bytes.
const MOST_UNASKED: usize = 1 << 20;
const MESSAGE_COST: usize = 64;

/// Memory that an empty outbox keeps.
const KEPT_OUTBOX: usize = 64 << 10;

/// Calls that may wait at once; more is a runaway loop, not a load.
const MOST_CALLS: usize = 64 << 10;

/// Names a call of one session; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// What a session tells its driver.
#[derive(Debug)]
pub enum Event {
    /// A message that answers no call; an error when it is not the text that it should be.
    Message(Result<Bytes>),
    /// The end of a call: its reply, or why there is none.
    Reply {
        /// Which call.
        call: CallId,
        /// Its reply.
        outcome: Result<Bytes>,
    },
    /// The peer has finished: between messages when `None`. Every later ask for a message answers this again.
    Ended(Option<Error>),
}

struct Call {
    deadline: Option<Instant>,
    /// Where its frame begins, counted in bytes since the session began.
    begins: u64,
    /// Nobody waits any more; its reply is still to come and must not answer the next call.
    abandoned: bool,
}

/// One connection's state: what arrived, what is to be written, and which calls wait.
pub struct Session {
    address: Arc<str>,
    framing: AnyFraming,
    tail: &'static [u8],
    max: usize,
    text: bool,
    refuses_empty: bool,

    inbox: BytesMut,
    /// The frame that is being received needs at least this many bytes in the inbox.
    needed: usize,
    read_size: usize,
    input_ended: bool,
    /// Why nothing more can be received.
    failure: Option<Error>,
    /// Looks for an HTTP request in what arrives first, and how much of the inbox it has seen.
    guard: Option<HttpGuard>,
    guarded: usize,

    outbox: BytesMut,
    queued: u64,
    written: u64,
    /// Why nothing more can be sent.
    output_failure: Option<Error>,

    /// Messages that were there before the calls that wait now, and so answer none of them.
    unasked: VecDeque<Bytes>,
    unasked_size: usize,

    calls: VecDeque<Call>,
    first_call: u64,
    /// No deadline is before this one.
    earliest: Option<Instant>,
    late_replies: u64,
}

impl Session {
    /// A session for one connection of `address`.
    pub fn new(address: &Address) -> Self {
        let framing = address.new_framing();
        Session {
            address: Arc::clone(address.text()),
            tail: framing.tail(),
            framing,
            max: address.max,
            text: address.text_messages,
            refuses_empty: false,
            inbox: BytesMut::new(),
            needed: 0,
            read_size: SMALLEST_READ,
            input_ended: false,
            failure: None,
            guard: None,
            guarded: 0,
            outbox: BytesMut::new(),
            queued: 0,
            written: 0,
            output_failure: None,
            unasked: VecDeque::new(),
            unasked_size: 0,
            calls: VecDeque::new(),
            first_call: 0,
            earliest: None,
            late_replies: 0,
        }
    }

    /// Ends the session when what arrives first is an HTTP request: a web page can make a browser send one to
    /// any port of this machine, and must not be able to have it answered.
    pub fn refuse_http(&mut self) {
        self.guard = Some(HttpGuard::new());
    }

    /// Says that the link moves packets of at most `most` bytes, and that an empty one reads as the end.
    ///
    /// In the inbox and the outbox each stands behind its length, a u32 in big-endian order: the driver makes packets
    /// of the one and the other of packets.
    pub fn use_packets(&mut self, most: usize) {
        self.refuses_empty = true;
        self.max = self.max.min(most);
    }

    /// Whether messages are strings.
    pub fn is_text(&self) -> bool {
        self.text
    }

    /// The address that errors name.
    pub fn address(&self) -> &Arc<str> {
        &self.address
    }

    /// Replies that came after their call had ended, and were dropped.
    pub fn late_replies(&self) -> u64 {
        self.late_replies
    }

    // Receiving.

    /// Whether more input would be of use; without it, enough whole messages wait to be taken.
    pub fn wants_input(&self) -> bool {
        !self.input_ended && self.failure.is_none() && (self.inbox.len() < READ_AHEAD || self.inbox.len() < self.needed)
    }

    /// Where to append what was read. There is spare capacity for a good read.
    pub fn inbox(&mut self) -> &mut BytesMut {
        // What a peer announces is taken on trust only twice as far as what it has sent.
        let missing = self.needed.saturating_sub(self.inbox.len()).min(self.inbox.len().max(LARGEST_READ));
        let wanted = missing.max(self.read_size);
        if self.inbox.capacity() - self.inbox.len() < wanted.min(SMALLEST_READ).max(missing) {
            self.inbox.reserve(wanted);
        }
        &mut self.inbox
    }

    /// Says that a read filled all the room it was given: the next may bring more.
    pub fn read_was_full(&mut self) {
        self.read_size = (self.read_size * 2).min(LARGEST_READ);
    }

    /// Says that the peer sends nothing more.
    pub fn input_ended(&mut self) {
        self.input_ended = true;
    }

    /// Says that receiving is over because of `error`, a failure of the link. What had arrived can still be taken.
    pub fn input_failed(&mut self, error: Error) {
        self.input_ended = true;
        self.failure.get_or_insert(error);
    }

    /// The next event at the instant `now`.
    ///
    /// A message that answers no call is taken only if `wants_message`, and so is the end.
    pub fn next_event(&mut self, now: Instant, wants_message: bool) -> Option<Event> {
        if self.earliest.is_some_and(|earliest| earliest <= now)
            && let Some(event) = self.expire(now)
        {
            return Some(event);
        }
        if self.output_failure.is_some()
            && let Some(event) = self.fail_unsent()
        {
            return Some(event);
        }
        if wants_message && let Some(message) = self.unasked.pop_front() {
            self.unasked_size -= message.len() + MESSAGE_COST;
            return Some(Event::Message(self.checked(message, "receiving from")));
        }
        while wants_message || !self.calls.is_empty() {
            match self.take_message() {
                Ok(Some(message)) => match self.calls.pop_front() {
                    None => return Some(Event::Message(self.checked(message, "receiving from"))),
                    Some(call) => {
                        self.first_call += 1;
                        if call.abandoned {
                            self.late_replies += 1;
                            continue;
                        }
                        let call = CallId(self.first_call - 1);
                        return Some(Event::Reply { call, outcome: self.checked(message, "calling") });
                    }
                },
                Ok(None) if !self.input_ended => return None,
                Ok(None) => return self.end(None, wants_message),
                Err(error) => return self.end(Some(error), wants_message),
            }
        }
        None
    }

    #[inline]
    fn take_message(&mut self) -> Result<Option<Bytes>> {
        if self.guard.is_some() {
            self.look_for_http();
        }
        if self.inbox.is_empty() {
            self.needed = 1;
            return self.take_partial();
        }
        match self.framing.scan(&self.inbox, self.max) {
            Ok(Scan::Frame(frame)) => {
                self.needed = 0;
                let total = frame.head + frame.body + frame.tail;
                self.guarded = self.guarded.saturating_sub(total);
                let mut message = self.inbox.split_to(total).freeze();
                message.truncate(frame.head + frame.body);
                message.advance(frame.head);
                Ok(Some(message))
            }
            Ok(Scan::Partial(missing)) => {
                self.needed = self.inbox.len() + missing;
                self.take_partial()
            }
            Err(fault) => {
                let error = self.fault("receiving from", fault);
                self.failure = Some(error.clone());
                self.inbox.clear();
                Err(error)
            }
        }
    }

    #[cold]
    fn look_for_http(&mut self) {
        let Some(guard) = &mut self.guard else { return };
        // The inbox may be lent to a read that waits, and is empty then.
        let is_http = guard.saw(self.inbox.get(self.guarded..).unwrap_or_default());
        self.guarded = self.guarded.max(self.inbox.len());
        if guard.is_over() {
            self.guard = None;
        }
        if is_http {
            let error = self.error(ErrorKind::BadPeer, "receiving from");
            self.failure = Some(error.because("an HTTP request, on a listener that does not speak HTTP"));
            self.inbox.clear();
            self.guard = None;
        }
    }

    /// What comes of a message that has not arrived whole.
    fn take_partial(&mut self) -> Result<Option<Bytes>> {
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            None if self.input_ended && !self.inbox.is_empty() => {
                let error = self.error(ErrorKind::ConnectionLost, "receiving from");
                Err(error.because("the other side closed inside a message"))
            }
            None => Ok(None),
        }
    }

    /// The end of a call of which nothing was sent before sending became impossible: its reply will never come.
    #[cold]
    fn fail_unsent(&mut self) -> Option<Event> {
        while self.calls.back().is_some_and(|call| call.begins >= self.written) {
            if self.calls.pop_back().is_some_and(|call| !call.abandoned) {
                let call = CallId(self.first_call + self.calls.len() as u64);
                let failure = self.output_failure.clone().unwrap_or_else(|| self.error(ErrorKind::Io, "calling"));
                return Some(Event::Reply {
                    call,
                    outcome: Err(failure.met_while(self.doing("calling")).ran(Ran::No)),
                });
            }
        }
        None
    }

    /// The end of the input: first each call that waits is told, then whoever waits for a message.
    fn end(&mut self, error: Option<Error>, wants_message: bool) -> Option<Event> {
        while let Some(call) = self.calls.pop_front() {
            self.first_call += 1;
            if call.abandoned {
                continue;
            }
            let outcome = Err(match &error {
                Some(error) => error.clone().met_while(self.doing("calling")),
                None => {
                    self.error(ErrorKind::ConnectionLost, "calling").because("the other side closed before it answered")
                }
            }
            .ran(self.ran(&call)));
            return Some(Event::Reply { call: CallId(self.first_call - 1), outcome });
        }
        wants_message.then_some(Event::Ended(error))
    }

    #[inline]
    fn checked(&self, message: Bytes, doing: &str) -> Result<Bytes> {
        match self.text {
            false => Ok(message),
            true => self.checked_text(message, doing),
        }
    }

    fn checked_text(&self, message: Bytes, doing: &str) -> Result<Bytes> {
        if std::str::from_utf8(&message).is_ok() {
            return Ok(message);
        }
        let error = self.error(ErrorKind::BadPeer, doing).ran(Ran::Maybe);
        Err(error.because("the message is not UTF-8, and the address says text=true"))
    }

    // Sending.

    /// Checks that `message` can be sent, and writes what goes before it into `head`.
    ///
    /// # Errors
    /// `too-large`, `unsupported` (the framing or `text=true` cannot carry it), or whatever ended the sending:
    /// `connection-lost`, `busy`.
    #[inline]
    pub fn frame(&self, message: &[u8], head: &mut Head, doing: &str) -> Result<()> {
        if self.output_failure.is_some() || message.len() > self.max || self.text || self.refuses_empty {
            self.check(message, doing)?;
        }
        self.framing.head(message, head).map_err(|fault| self.fault(doing, fault))
    }

    #[cold]
    fn check(&self, message: &[u8], doing: &str) -> Result<()> {
        if let Some(failure) = &self.output_failure {
            return Err(failure.clone().met_while(self.doing(doing)));
        }
        if message.len() > self.max {
            return Err(self.fault(doing, Fault::TooLarge(self.max as u64)));
        }
        if self.refuses_empty && message.is_empty() {
            return Err(self.fault(doing, Fault::Cannot("an empty packet reads as the end of the connection")));
        }
        if self.text && std::str::from_utf8(message).is_err() {
            return Err(self.fault(doing, Fault::Cannot("the message is not UTF-8, and the address says text=true")));
        }
        Ok(())
    }

    /// What goes after every message.
    #[inline]
    pub fn tail(&self) -> &'static [u8] {
        self.tail
    }

    /// Queues a frame, of which the first `written` bytes are with the system already.
    #[inline]
    pub fn queue(&mut self, head: &Head, message: &[u8], written: usize) {
        let parts = [head.as_slice(), message, self.tail];
        let total = parts.iter().map(|part| part.len()).sum::<usize>();
        self.queued += total as u64;
        self.outbox.reserve(total - written);
        if written == 0 {
            parts.iter().filter(|part| !part.is_empty()).for_each(|part| self.outbox.extend_from_slice(part));
            return;
        }
        self.written += written as u64;
        let mut skip = written;
        for part in parts {
            let skipped = skip.min(part.len());
            skip -= skipped;
            self.outbox.extend_from_slice(&part[skipped..]);
        }
    }

    /// Registers a call whose frame is queued next; its reply is the next message that no earlier call waits for.
    ///
    /// # Errors
    /// `busy` when 65,536 calls wait; whatever ended the receiving, when no reply can come.
    pub fn begin_call(&mut self, deadline: Option<Instant>) -> Result<CallId> {
        if self.calls.len() == MOST_CALLS {
            return Err(self.error(ErrorKind::Busy, "calling").because("65,536 calls wait for their replies"));
        }
        // What has arrived while no call waited is not the answer to the one that comes now.
        if self.calls.is_empty() && !self.inbox.is_empty() {
            self.set_unasked_aside();
        }
        if let Some(failure) = &self.failure {
            return Err(failure.clone().met_while(self.doing("calling")).ran(Ran::No));
        }
        if self.input_ended {
            let error = self.error(ErrorKind::ConnectionLost, "calling");
            return Err(error.because("the other side has closed"));
        }
        self.calls.push_back(Call { deadline, begins: self.queued, abandoned: false });
        if let Some(deadline) = deadline {
            self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
        }
        Ok(CallId(self.first_call + self.calls.len() as u64 - 1))
    }

    fn set_unasked_aside(&mut self) {
        while let Ok(Some(message)) = self.take_message() {
            self.unasked_size += message.len() + MESSAGE_COST;
            // Copied, so that a small one does not keep a whole buffer in memory.
            self.unasked.push_back(Bytes::copy_from_slice(&message));
        }
        if self.unasked_size > MOST_UNASKED && self.failure.is_none() {
            let error = self.error(ErrorKind::BadPeer, "receiving from");
            self.failure = Some(error.because("more than 1 MiB of messages came that nobody received"));
        }
    }

    /// Gives a call up: its reply, should it come, is dropped.
    pub fn abandon(&mut self, call: CallId) {
        let place = call.0.checked_sub(self.first_call).and_then(|place| self.calls.get_mut(place as usize));
        if let Some(call) = place {
            call.abandoned = true;
        }
    }

    /// Whether any call waits for its reply.
    pub fn is_calling(&self) -> bool {
        !self.calls.is_empty()
    }

    /// What waits to be written.
    pub fn outbox(&self) -> &[u8] {
        &self.outbox
    }

    /// Says that the first `count` bytes of the outbox are with the system.
    pub fn written(&mut self, count: usize) {
        self.written += count as u64;
        if count < self.outbox.len() {
            self.outbox.advance(count);
        } else if self.outbox.capacity() > KEPT_OUTBOX {
            self.outbox = BytesMut::new();
        } else {
            self.outbox.clear();
        }
    }

    /// Says that nothing more can be sent because of `error`. What arrives is still received.
    pub fn output_failed(&mut self, error: Error) {
        self.outbox = BytesMut::new();
        self.output_failure.get_or_insert(error);
    }

    /// Why nothing more can be sent.
    pub fn output_failure(&self) -> Option<&Error> {
        self.output_failure.as_ref()
    }

    // Time.

    /// No deadline passes before this instant; take events again when it is reached.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.earliest
    }

    fn expire(&mut self, now: Instant) -> Option<Event> {
        let expired = |call: &Call| !call.abandoned && call.deadline.is_some_and(|deadline| deadline <= now);
        let Some(place) = self.calls.iter().position(expired) else {
            self.earliest = self.calls.iter().filter(|call| !call.abandoned).filter_map(|call| call.deadline).min();
            return None;
        };
        self.calls[place].abandoned = true;
        // What has not left yet still will: its frame stands in the outbox.
        let error = self.error(ErrorKind::DeadlineExceeded, "calling").ran(Ran::Maybe);
        let outcome = Err(error.because("no reply within the timeout"));
        Some(Event::Reply { call: CallId(self.first_call + place as u64), outcome })
    }

    // Errors.

    /// A call of which not one byte left, nor ever can, cannot have run.
    fn ran(&self, call: &Call) -> Ran {
        match self.written > call.begins || self.output_failure.is_none() {
            true => Ran::Maybe,
            false => Ran::No,
        }
    }

    fn doing(&self, doing: &str) -> String {
        format!("{doing} {}", self.address)
    }

    /// An error of this connection, met while `doing`, which is followed by the address.
    pub fn error(&self, kind: ErrorKind, doing: &str) -> Error {
        Error::new(kind, self.doing(doing)).at(&self.address)
    }

    fn fault(&self, doing: &str, fault: Fault) -> Error {
        match fault {
            Fault::TooLarge(most) => self
                .error(ErrorKind::TooLarge, doing)
                .because(format!("a message may be {most} bytes at most, and this one is larger")),
            Fault::Broken(reason) => self.error(ErrorKind::BadPeer, doing).because(reason),
            Fault::Cannot(reason) => {
                self.error(ErrorKind::Unsupported, doing).because(format!("{reason} (framing {})", self.framing.name()))
            }
        }
    }
}

#[cfg(test)]
mod tests;
