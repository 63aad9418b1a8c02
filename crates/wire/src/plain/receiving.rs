//! What arrives: messages and the end of the input, and whom they are for.

use std::time::Instant;

use bytes::{Buf, Bytes};

use super::{CallId, Event, Plain, unasked_cost};
use crate::error::{Error, ErrorKind, Ran, Result};
use crate::framing::{Fault, Framing, Scan};
use crate::session::Session;

impl Plain {
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
                Ok(None) if !self.inbox.has_ended() => break,
                Ok(None) => return self.end(None, wants_message),
                Err(error) => return self.end(Some(error), wants_message),
            }
        }
        self.inbox.share();
        None
    }

    #[inline]
    pub(super) fn take_message(&mut self) -> Result<Option<Result<Bytes>>> {
        if self.inbox.is_http() {
            let error = self.error(ErrorKind::BadPeer, "receiving from");
            self.inbox.refuse(error.because("an HTTP request, on a listener that does not speak HTTP"));
        }
        if self.inbox.is_empty() {
            self.inbox.need(1);
            return self.take_partial();
        }
        match self.framing.scan(&self.inbox, self.max) {
            Ok(Scan::Frame(frame)) => {
                let total = frame.head + frame.body + frame.tail;
                let mut message = self.inbox.take(total).freeze();
                message.truncate(frame.head + frame.body);
                message.advance(frame.head);
                Ok(Some(Ok(message)))
            }
            Ok(Scan::Partial(missing)) => {
                let total = self.inbox.len() + missing;
                self.inbox.need(total);
                self.take_partial()
            }
            Err(Fault::TooLarge(most)) if self.is_datagrams => {
                self.inbox.advance(size_of::<u32>());
                Ok(Some(Err(self.fault("receiving from", Fault::TooLarge(most)).ran(Ran::Maybe))))
            }
            Err(fault) => {
                let error = self.fault("receiving from", fault);
                self.inbox.refuse(error.clone());
                Err(error)
            }
        }
    }

    /// What comes of a message that has not arrived whole.
    fn take_partial(&mut self) -> Result<Option<Result<Bytes>>> {
        match self.inbox.failure() {
            Some(failure) => Err(failure.clone()),
            None if self.inbox.has_ended() && !self.inbox.is_empty() => {
                let error = self.error(ErrorKind::ConnectionLost, "receiving from");
                Err(error.because(format!("{} inside a message", self.inbox.ending())))
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

    /// What [`datagram_refused`](crate::Session::datagram_refused) said, if nobody was told.
    pub fn take_refusal(&mut self) -> Option<Error> {
        self.refusal.take()
    }

    /// Whether a reply may still come to a call that was forgotten since this was asked last: the driver sees to it, if
    /// it can, that such a reply does not reach this session.
    pub fn take_stale(&mut self) -> bool {
        std::mem::take(&mut self.is_stale)
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
                    error.because(format!("{} before it answered", self.inbox.ending()))
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
