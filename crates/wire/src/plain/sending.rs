//! What leaves: frames, and the calls that wait for what answers them.

use std::time::Instant;

use bytes::Bytes;

use super::{Call, CallId, MOST_CALLS, MOST_UNASKED, Plain, unasked_cost};
use crate::error::{ErrorKind, Ran, Result};
use crate::framing::{Fault, Framing, Head};
use crate::session::Session;
use crate::spare;

impl Plain {
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
        if total == written {
            self.written += total as u64;
            return;
        }
        if self.outbox.capacity() == 0 {
            self.outbox = spare::take(spare::Room::Outbox);
        }
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
        if let Some(failure) = self.inbox.failure() {
            return Err(failure.clone().met_while(self.doing("calling")).ran(Ran::No));
        }
        if self.inbox.has_ended() {
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
            let cost = unasked_cost(&message);
            // Where messages get lost anyway one more is no reason to end the connection.
            if self.is_lossy && self.unasked_size + cost > MOST_UNASKED {
                self.late_replies += 1;
                continue;
            }
            self.unasked_size += cost;
            // Copied, so that a small one does not keep a whole buffer in memory.
            self.unasked.push_back(message.map(|message| Bytes::copy_from_slice(&message)));
        }
        if self.unasked_size > MOST_UNASKED && self.inbox.failure().is_none() {
            let error = self.error(ErrorKind::BadPeer, "receiving from");
            self.inbox.fail(error.because("more than 1 MiB of messages came that nobody received"));
        }
    }

    /// Gives a call up: its reply, should it come, is dropped.
    pub fn abandon(&mut self, call: CallId) {
        let place = call.0.checked_sub(self.first_call).and_then(|place| self.calls.get_mut(place as usize));
        if place.is_some_and(|call| !call.abandoned) {
            self.give_up((call.0 - self.first_call) as usize);
        }
    }

    /// Gives up the call at `place`; whether it is certain not to be sent.
    pub(super) fn give_up(&mut self, place: usize) -> bool {
        self.calls[place].abandoned = true;
        let is_unsent = self.is_datagrams && self.calls[place].begins >= self.written;
        if is_unsent {
            self.withdraw(place);
        }
        self.forget_abandoned();
        is_unsent
    }

    /// Takes the packet of a call that nothing was sent of out of the outbox.
    pub(super) fn withdraw(&mut self, place: usize) {
        let begins = (self.calls[place].begins - self.written) as usize;
        let Some(length) = self.outbox.get(begins..).and_then(|packet| packet.first_chunk()) else { return };
        let total = length.len() + u32::from_be_bytes(*length) as usize;
        let after = self.outbox.split_off(begins + total);
        self.outbox.truncate(begins);
        self.outbox.extend_from_slice(&after);
        self.queued -= total as u64;
        self.calls.iter_mut().skip(place + 1).for_each(|call| call.begins -= total as u64);
    }

    /// Over datagrams no call keeps its place that nobody waits for.
    pub(super) fn forget_abandoned(&mut self) {
        while self.is_datagrams
            && let Some(call) = self.calls.front().filter(|call| call.abandoned)
        {
            self.is_stale |= call.begins < self.written;
            self.calls.pop_front();
            self.first_call += 1;
        }
    }

    /// How many calls wait.
    pub fn waiting_calls(&self) -> usize {
        self.calls.len()
    }

    /// Takes back the calls after the first `count`, of which nothing was sent or queued.
    pub fn take_back_calls(&mut self, count: usize) {
        self.calls.truncate(count);
    }

    /// Whether any call waits for its reply.
    pub fn is_calling(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Whether what is framed next waits for nothing before it.
    #[inline]
    pub fn goes_first(&self) -> bool {
        self.outbox.is_empty() && !(self.is_datagrams && self.calls.len() > 1)
    }
}
