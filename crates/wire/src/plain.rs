//! The session of the plain protocol: messages in order, calls matched with replies by their order.

mod receiving;
mod sending;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};

use crate::address::Address;
use crate::error::{Error, ErrorKind, Ran, Result};
use crate::framing::{AnyFraming, Fault, Framing};
use crate::input::Input;
use crate::session::Session;
use crate::spare;

/// Messages that nobody receives may take so much, each counted with what it costs beside its bytes.
const MOST_UNASKED: usize = 1 << 20;
const MESSAGE_COST: usize = 64;

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

/// One connection's state in the plain protocol: what arrived, what is to be written, and which calls wait.
pub struct Plain {
    address: Arc<str>,
    framing: AnyFraming,
    tail: &'static [u8],
    max: usize,
    text: bool,
    refuses_empty: bool,
    /// Packets stand for themselves: one that is too large is no end.
    is_datagrams: bool,
    /// Datagrams may get lost on the way, so that replies need not come in the order of the calls.
    is_lossy: bool,

    inbox: Input,

    outbox: BytesMut,
    queued: u64,
    written: u64,
    /// Why nothing more can be sent.
    output_failure: Option<Error>,

    /// Messages that were there before the calls that wait now, and so answer none of them.
    unasked: VecDeque<Result<Bytes>>,
    unasked_size: usize,

    calls: VecDeque<Call>,
    first_call: u64,
    /// A call that was sent is forgotten, and its reply may still come.
    is_stale: bool,
    /// A datagram did not arrive, and nobody has been told yet.
    refusal: Option<Error>,
    /// No deadline is before this one.
    earliest: Option<Instant>,
    late_replies: u64,
}

impl Plain {
    /// A session for one connection of `address`.
    pub fn new(address: &Address) -> Self {
        let framing = address.new_framing();
        Plain {
            address: Arc::clone(address.text()),
            tail: framing.tail(),
            framing,
            max: address.max,
            text: address.text_messages,
            refuses_empty: false,
            is_datagrams: false,
            is_lossy: false,
            inbox: Input::new(),
            outbox: BytesMut::new(),
            queued: 0,
            written: 0,
            output_failure: None,
            unasked: VecDeque::new(),
            unasked_size: 0,
            calls: VecDeque::new(),
            first_call: 0,
            is_stale: false,
            refusal: None,
            earliest: None,
            late_replies: 0,
        }
    }

    /// Whether messages are strings.
    pub fn is_text(&self) -> bool {
        self.text
    }

    /// Replies that came after their call had ended, and were dropped.
    pub fn late_replies(&self) -> u64 {
        self.late_replies
    }

    fn expire(&mut self, now: Instant) -> Option<Event> {
        let expired = |call: &Call| !call.abandoned && call.deadline.is_some_and(|deadline| deadline <= now);
        let Some(place) = self.calls.iter().position(expired) else {
            self.earliest = self.calls.iter().filter(|call| !call.abandoned).filter_map(|call| call.deadline).min();
            return None;
        };
        let call = CallId(self.first_call + place as u64);
        let error = self.error(ErrorKind::DeadlineExceeded, "calling");
        let outcome = Err(match self.give_up(place) {
            true => error.because("an earlier call was still without its reply"),
            // Elsewhere what has not left yet still will: its frame stands in the outbox.
            false => error.because("no reply within the timeout").ran(Ran::Maybe),
        });
        Some(Event::Reply { call, outcome })
    }

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

impl Session for Plain {
    #[inline]
    fn address(&self) -> &Arc<str> {
        &self.address
    }

    #[inline]
    fn input(&self) -> &Input {
        &self.inbox
    }

    #[inline]
    fn input_mut(&mut self) -> &mut Input {
        &mut self.inbox
    }

    #[inline]
    fn outbox(&self) -> [&[u8]; 3] {
        if !self.is_datagrams {
            return [&self.outbox, &[], &[]];
        }
        let now = self.calls.get(1).map(|next| next.begins.saturating_sub(self.written) as usize);
        [&self.outbox[..now.map_or(self.outbox.len(), |now| now.min(self.outbox.len()))], &[], &[]]
    }

    #[inline]
    fn unwritten(&self) -> usize {
        self.outbox.len()
    }

    fn written(&mut self, count: usize) {
        self.written += count as u64;
        if count < self.outbox.len() {
            self.outbox.advance(count);
        } else {
            let outbox = std::mem::take(&mut self.outbox);
            let size = outbox.capacity();
            spare::give(spare::Room::Outbox, outbox, size);
        }
    }

    fn skip_packet(&mut self) {
        if let Some(length) = self.outbox.first_chunk() {
            self.written(size_of::<u32>() + u32::from_be_bytes(*length) as usize);
        }
    }

    fn output_failed(&mut self, error: Error) {
        self.outbox = BytesMut::new();
        self.output_failure.get_or_insert(error);
    }

    fn output_failure(&self) -> Option<&Error> {
        self.output_failure.as_ref()
    }

    fn withdraw_unsent(&mut self) {
        for place in (0..self.calls.len()).rev() {
            if self.is_datagrams && self.calls[place].begins >= self.written {
                self.withdraw(place);
                self.calls[place].begins = u64::MAX;
            }
        }
    }

    fn use_packets(&mut self, most: usize, empty: bool) {
        self.refuses_empty = !empty;
        self.max = self.max.min(most);
    }

    /// One that is too large stands in the inbox as its length alone and is an error of that
    /// message. A lost message, or one that the other side does not answer, would shift all replies behind it: one call
    /// at a time is on its way, later ones wait in the outbox, and one that is given up is forgotten; see
    /// [`take_stale`](Self::take_stale).
    fn use_datagrams(&mut self, may_be_lost: bool) {
        self.is_datagrams = true;
        self.is_lossy = may_be_lost;
    }

    fn datagram_refused(&mut self, error: Error) {
        self.refusal = Some(error);
    }

    fn is_idle(&self) -> bool {
        self.outbox.is_empty() && self.inbox.is_empty() && self.unasked.is_empty() && self.calls.is_empty()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.earliest
    }
}

/// What a message that nobody has received yet takes.
fn unasked_cost(message: &Result<Bytes>) -> usize {
    message.as_ref().map_or(0, Bytes::len) + MESSAGE_COST
}

#[cfg(test)]
mod tests;
