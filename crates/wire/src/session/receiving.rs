//! What arrives: messages and the end of the input, and whom they are for.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};

use super::{CallId, Event, LARGEST_READ, READ_AHEAD, SMALLEST_READ, Session, spare, unasked_cost};
use crate::error::{Error, ErrorKind, Ran, Result};
use crate::framing::{Fault, Framing, Scan};

impl Session {
    /// Whether more input would be of use; without it, enough whole messages wait to be taken.
    pub fn wants_input(&self) -> bool {
        !self.input_ended && self.failure.is_none() && (self.inbox.len() < READ_AHEAD || self.inbox.len() < self.needed)
    }

    /// Where to append what was read. There is spare capacity for a good read.
    pub fn inbox(&mut self) -> &mut BytesMut {
        // What a peer announces is taken on trust only twice as far as what it has sent.
        let missing = self.needed.saturating_sub(self.inbox.len()).min(self.inbox.len().max(LARGEST_READ));
        let wanted = missing.max(self.read_size);
        let held = self.inbox.len();
        if self.inbox_size == 0 {
            let begun = std::mem::replace(&mut self.inbox, spare::take(spare::Room::Inbox));
            self.inbox.extend_from_slice(&begun);
        }
        // Small messages use up the room that is there before more is asked for.
        if self.inbox.capacity() - held < missing.max(self.read_size / 4) {
            self.inbox.reserve(wanted);
        }
        self.inbox_size = self.inbox_size.max(held + wanted);
        &mut self.inbox
    }

    /// The inbox with room for a good read, to be read into elsewhere; until it is
    /// [taken back](Self::take_back_inbox) nothing arrives.
    pub fn lend_inbox(&mut self) -> BytesMut {
        let inbox = std::mem::take(self.inbox());
        self.is_inbox_lent = true;
        inbox
    }

    /// Takes back what [`lend_inbox`](Self::lend_inbox) gave.
    pub fn take_back_inbox(&mut self, inbox: BytesMut) {
        self.inbox = inbox;
        self.is_inbox_lent = false;
    }

    /// Lets other sessions use the room in the inbox until more arrives.
    ///
    /// What has arrived of a long message stays where it is; what there is of a short one is worth less than the room.
    #[inline]
    fn share_inbox(&mut self) {
        if self.inbox_size == 0 || self.is_inbox_lent || self.inbox.len() > SMALLEST_READ {
            return;
        }
        let begun = BytesMut::from(&self.inbox[..]);
        let room = std::mem::replace(&mut self.inbox, begun);
        spare::give(spare::Room::Inbox, room, std::mem::take(&mut self.inbox_size));
    }

    /// Says that a read filled all the room it was given: the next may bring more.
    pub fn read_was_full(&mut self) {
        self.read_size = (self.read_size * 2).min(LARGEST_READ);
    }

    /// Says that the peer sends nothing more.
    pub fn input_ended(&mut self) {
        self.input_ended = true;
    }

    /// The same, with how it ended, as `the other side closed`, for those who waited for more.
    pub fn input_ended_as(&mut self, ending: String) {
        self.ending = ending.into();
        self.input_ended();
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
        if self.refusal.is_some()
            && let Some(event) = self.tell_refusal(wants_message)
        {
            return Some(event);
        }
        if wants_message && let Some(message) = self.unasked.pop_front() {
            self.unasked_size -= unasked_cost(&message);
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
                        self.forget_abandoned();
                        return Some(Event::Reply { call, outcome: self.checked(message, "calling") });
                    }
                },
                Ok(None) if !self.input_ended => break,
                Ok(None) => return self.end(None, wants_message),
                Err(error) => return self.end(Some(error), wants_message),
            }
        }
        self.share_inbox();
        None
    }

    #[inline]
    pub(super) fn take_message(&mut self) -> Result<Option<Result<Bytes>>> {
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
                Ok(Some(Ok(message)))
            }
            Ok(Scan::Partial(missing)) => {
                self.needed = self.inbox.len() + missing;
                self.take_partial()
            }
            Err(Fault::TooLarge(most)) if self.is_datagrams => {
                self.inbox.advance(size_of::<u32>());
                Ok(Some(Err(self.fault("receiving from", Fault::TooLarge(most)).ran(Ran::Maybe))))
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
    fn take_partial(&mut self) -> Result<Option<Result<Bytes>>> {
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            None if self.input_ended && !self.inbox.is_empty() => {
                let error = self.error(ErrorKind::ConnectionLost, "receiving from");
                Err(error.because(format!("{} inside a message", self.ending)))
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

    /// A datagram that did not arrive: the call on its way is told, else whoever waits for a message.
    #[cold]
    fn tell_refusal(&mut self, wants_message: bool) -> Option<Event> {
        let is_calling = self.calls.front().is_some_and(|call| call.begins < self.written);
        if !is_calling && !wants_message {
            return None;
        }
        let refusal = self.refusal.take()?;
        if !is_calling {
            return Some(Event::Message(Err(refusal.met_while(self.doing("receiving from")))));
        }
        self.calls.pop_front();
        self.first_call += 1;
        self.is_stale = true;
        let call = CallId(self.first_call - 1);
        self.forget_abandoned();
        let outcome = Err(refusal.met_while(self.doing("calling")).ran(Ran::Maybe));
        Some(Event::Reply { call, outcome })
    }

    /// Says that a datagram did not arrive because of `error`; the connection lives on.
    pub fn datagram_refused(&mut self, error: Error) {
        self.refusal = Some(error);
    }

    /// What [`datagram_refused`](Self::datagram_refused) said, if nobody was told.
    pub fn take_refusal(&mut self) -> Option<Error> {
        self.refusal.take()
    }

    /// Whether a reply may still come to a call that was forgotten since this was asked last: the driver sees to it, if
    /// it can, that such a reply does not reach this session.
    pub fn take_stale(&mut self) -> bool {
        std::mem::take(&mut self.is_stale)
    }

    /// Drops what has arrived and was not taken.
    pub fn drop_input(&mut self) {
        self.inbox.clear();
        self.needed = 0;
    }

    /// Says that replies to the last call may still come: one that many hear is answered by many.
    pub fn expect_more_replies(&mut self) {
        self.is_stale = true;
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
                    let error = self.error(ErrorKind::ConnectionLost, "calling");
                    error.because(format!("{} before it answered", self.ending))
                }
            }
            .ran(self.ran(&call)));
            return Some(Event::Reply { call: CallId(self.first_call - 1), outcome });
        }
        wants_message.then_some(Event::Ended(error))
    }

    #[inline]
    fn checked(&self, message: Result<Bytes>, doing: &str) -> Result<Bytes> {
        match (message, self.text) {
            (Ok(message), false) => Ok(message),
            (Ok(message), true) => self.checked_text(message, doing),
            (Err(error), _) => Err(error.met_while(self.doing(doing))),
        }
    }

    fn checked_text(&self, message: Bytes, doing: &str) -> Result<Bytes> {
        if std::str::from_utf8(&message).is_ok() {
            return Ok(message);
        }
        let error = self.error(ErrorKind::BadPeer, doing).ran(Ran::Maybe);
        Err(error.because("the message is not UTF-8, and the address says text=true"))
    }
}
