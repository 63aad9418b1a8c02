//! The calls of this side.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::deadlines::Deadlines;
use super::frame::{Flags, IDS, Kind};
use super::output::{Body, Message, Output};
use super::stream::Policy;
use super::streaming::Streams;
use super::{
    BACKLOG, CallTable, Failure, PINGS, Panpipe, PanpipeEvent, Payload, REQUEST_COST, SUBSCRIPTIONS, Side, WINDOW,
};
use crate::error::{Error, ErrorKind, Ran, Result};
use crate::plain::CallId;
use crate::session::Session;

/// Calls and messages that may wait for their turn at this side, and bytes of them.
const MOST_UNSENT: usize = 256 << 10;
const MOST_UNSENT_BYTES: usize = 64 << 20;

/// Above this senders of messages should wait.
const BACKED_UP: usize = 64 << 10;

/// A call of this side that has no answer.
pub(super) struct Call {
    deadline: Option<Instant>,
    pub(super) sent: Sent,
    /// Nobody waits any more; its answer is still to come.
    pub(super) is_abandoned: bool,
    pub(super) is_open: bool,
    flags: Flags,
    pub(super) streams: Option<Box<Streams>>,
    /// What may have to be sent again, where the session outlasts its connection.
    pub(super) kept: Option<Box<Kept>>,
}

/// The call itself.
pub(super) struct Kept {
    pub(super) name: Bytes,
    pub(super) payload: Bytes,
    pub(super) is_idempotent: bool,
}

impl Call {
    pub(super) fn is_subscription(&self) -> bool {
        self.flags.is_topic()
    }

    pub(super) fn has_arguments(&self) -> bool {
        self.flags.has_arguments()
    }

    pub(super) fn flags(&self) -> Flags {
        self.flags
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

/// How far a call has gone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It waits for its turn.
    No,
    /// Its frame begins at this place of the output.
    Queued(u64),
    /// Output ended before anything of it left.
    Never,
}

impl Sent {
    /// Elsewhere what has not left yet still will: its frame stands in the outbox.
    pub(super) fn has_left(self) -> bool {
        matches!(self, Sent::Queued(_))
    }
}

/// What waits for its turn: a call, a one-way message, or a flush.
pub(super) struct Unsent {
    pub(super) kind: Kind,
    pub(super) flags: Flags,
    pub(super) id: u64,
    pub(super) deadline: Option<Instant>,
    pub(super) name: Bytes,
    pub(super) payload: Bytes,
}

impl Unsent {
    fn cost(&self) -> usize {
        self.name.len() + self.payload.len() + REQUEST_COST
    }
}

/// The calls of this side, and what waits behind them.
pub(super) struct Calling {
    next: u64,
    pub(super) calls: CallTable<Call>,
    unsent: VecDeque<Unsent>,
    unsent_bytes: usize,
    /// How many of them were cancelled.
    unsent_gone: usize,
    /// Calls and subscriptions that were sent and have no answer.
    unanswered: usize,
    subscriptions: usize,
    /// What is left of the other side's window.
    window: i64,
    deadlines: Deadlines,
    /// The other side begins no more calls.
    pub(super) is_refused: bool,
}

impl Calling {
    pub(super) fn new(side: Side) -> Self {
        Calling {
            next: if side == Side::Client { 1 } else { 2 },
            calls: CallTable::default(),
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            unsent_gone: 0,
            unanswered: 0,
            subscriptions: 0,
            window: WINDOW,
            deadlines: Deadlines::default(),
            is_refused: false,
        }
    }

    pub(super) fn begin_at(&mut self, id: u64) {
        self.next += (id % (IDS / 2)) & !1;
    }

    pub(super) fn next_id(&mut self) -> u64 {
        let id = self.next;
        self.next += 2;
        id
    }

    /// Whether this id was used.
    pub(super) fn was_used(&self, id: u64) -> bool {
        id < self.next
    }

    pub(super) fn is_backed_up(&self) -> bool {
        self.unsent_bytes > BACKED_UP
    }

    /// Whether nothing more may wait for its turn.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.unsent.len() >= MOST_UNSENT || self.unsent_bytes >= MOST_UNSENT_BYTES
    }

    /// Forgets a call that was cancelled before its turn; its place goes once most are of such calls.
    fn drop_unsent(&mut self, id: u64) {
        if let Ok(place) = self.unsent.binary_search_by_key(&id, |unsent| unsent.id) {
            let payload = std::mem::take(&mut self.unsent[place].payload);
            self.unsent_bytes -= payload.len();
        }
        self.unsent_gone += 1;
        if self.unsent_gone > 64 && self.unsent_gone > self.unsent.len() / 2 {
            self.unsent.retain(|unsent| unsent.kind != Kind::Call || self.calls.contains(unsent.id));
            self.unsent_bytes = self.unsent.iter().map(Unsent::cost).sum();
            self.unsent_gone = 0;
        }
    }

    /// Has something wait for its turn.
    pub(super) fn wait(&mut self, unsent: Unsent) {
        self.unsent_bytes += unsent.cost();
        self.unsent.push_back(unsent);
    }

    /// Brings what waits into the order of its ids again.
    pub(super) fn sort_unsent(&mut self) {
        self.unsent.make_contiguous().sort_unstable_by_key(|unsent| unsent.id);
    }

    /// Begins with another connection, on which nothing was sent yet.
    pub(super) fn begin_anew(&mut self, window: i64) {
        (self.unanswered, self.subscriptions, self.window, self.is_refused) = (0, 0, window, false);
    }

    /// What is left of the window, and the calls and subscriptions that hold a place.
    #[cfg(test)]
    pub(super) fn window_and_slots(&self) -> (i64, (usize, usize)) {
        (self.window, (self.unanswered, self.subscriptions))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.unsent.is_empty()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Remembers which calls never left, now that nothing will.
    pub(super) fn note_unsent(&mut self, output: &Output) {
        for (id, call) in self.calls.iter_mut() {
            if let Sent::Queued(place) = call.sent
                && (!output.is_gone(place) && (place != u64::MAX || output.is_held(id)))
            {
                call.sent = Sent::Never;
            }
        }
    }

    /// Takes a call whose answer has come.
    fn remove(&mut self, id: u64) -> Option<Call> {
        if self.calls.get(id)?.sent == Sent::No {
            return None;
        }
        let call = self.calls.remove(id)?;
        match call.flags.is_topic() {
            true => self.subscriptions -= 1,
            false => self.unanswered -= 1,
        }
        Some(call)
    }
}

impl Panpipe {
    /// Whether a request of this kind may leave now.
    #[inline]
    fn may_send(&self, kind: Kind, flags: Flags) -> bool {
        let calling = &self.calling;
        let has_room = match kind {
            Kind::Ping => self.flushes.len() < PINGS,
            Kind::Call if flags.is_topic() => calling.window > 0 && calling.subscriptions < SUBSCRIPTIONS,
            Kind::Call => calling.window > 0 && calling.unanswered < self.peer_calls,
            _ => calling.window > 0,
        };
        let is_open = !calling.is_refused || !self.outlasts;
        has_room && is_open && (self.is_greeted || self.is_datagrams)
    }

    /// Calls a method of the other side, or subscribes to one of its topics, as the flags say.
    ///
    /// It ends, once, with a [`PanpipeEvent::Reply`] or [`PanpipeEvent::Failed`] that names the returned id, at the latest
    /// when the deadline passes.
    ///
    /// # Errors
    /// `too-large`, `unsupported` (a name that is none; streams on datagrams), `refused` when the other side begins no
    /// more calls, `busy` when 262,144 calls wait for their turn, and whatever ended the connection. Nothing was sent.
    #[inline]
    pub fn call(
        &mut self,
        method: &str,
        flags: Flags,
        payload: Body<'_>,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Result<CallId> {
        self.check_request("calling", method, flags, payload.as_slice().len())?;
        let id = self.calling.next_id();
        let streams = Streams::of(flags.is_stream(), flags.has_arguments(), Policy::Block);
        let kept = self.outlasts.then(|| {
            let (name, payload) = (method.as_bytes(), payload.as_slice());
            let (name, payload) = (Bytes::copy_from_slice(name), Bytes::copy_from_slice(payload));
            Box::new(Kept { name, payload, is_idempotent: false })
        });
        let sent = self.request(Kind::Call, flags, id, method, payload, deadline, now);
        let call = Call { deadline, sent, is_abandoned: false, is_open: false, flags, streams, kept };
        self.calling.calls.insert(id, call);
        if let Some(deadline) = deadline {
            let calls = &self.calling.calls;
            self.calling.deadlines.add(deadline, id, calls.len(), |id| calls.contains(id));
        }
        Ok(CallId(id))
    }

    /// Sends a one-way message, or publishes on a topic of the other side, as the flags say.
    ///
    /// # Errors
    /// Those of [`call`](Self::call).
    #[inline]
    pub fn send(&mut self, method: &str, flags: Flags, payload: Body<'_>, now: Instant) -> Result<()> {
        self.check_request("sending to", method, flags, payload.as_slice().len())?;
        let id = self.calling.next_id();
        self.request(Kind::Send, flags, id, method, payload, None, now);
        Ok(())
    }

    #[inline]
    fn check_request(&self, doing: &str, method: &str, flags: Flags, size: usize) -> Result<()> {
        let is_fine = self.output_failure.is_none()
            && !self.input.has_ended()
            && self.input.failure().is_none()
            && !self.has_ended
            && !self.calling.is_refused
            && size <= self.peer_max
            && is_name(method.as_bytes())
            && !self.calling.is_full()
            && !self.is_datagrams;
        if is_fine { Ok(()) } else { self.explain_request(doing, method, flags, size) }
    }

    #[cold]
    pub(super) fn explain_request(&self, doing: &str, method: &str, flags: Flags, size: usize) -> Result<()> {
        self.check_open(doing)?;
        let refused = |kind, reason: String| Err(self.error(kind, doing).because(reason));
        let datagram = self.peer_max.saturating_sub(method.len() + 4);
        if self.calling.is_refused && !self.outlasts {
            refused(ErrorKind::Refused, "the other side is closing, and begins no more calls".into())
        } else if !is_name(method.as_bytes()) {
            let rule = "a name has 1 to 255 bytes and no control characters";
            refused(ErrorKind::Unsupported, format!("{method:?} is no name: {rule}"))
        } else if self.is_datagrams && flags.0 & (Flags::STREAM | Flags::ARGUMENTS | Flags::TOPIC) != 0 {
            refused(ErrorKind::Unsupported, "datagrams carry no streams and no topics".into())
        } else if size > self.peer_max || self.is_datagrams && size > datagram {
            let most = if self.is_datagrams { datagram } else { self.peer_max };
            refused(ErrorKind::TooLarge, format!("the arguments are {size} bytes, and may be {most} at most"))
        } else if self.calling.is_full() || self.is_datagrams && self.output.unwritten() >= BACKLOG {
            let reason = "262,144 calls, or 64 MiB of them, wait for the other side to take earlier ones";
            let reason = if self.is_datagrams { "8 MiB of datagrams wait for the system to take them" } else { reason };
            refused(ErrorKind::Busy, reason.into())
        } else {
            Ok(())
        }
    }

    /// Sends a request, or has it wait for its turn; how far it has gone.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "they are one request, and are put together once")]
    pub(super) fn request(
        &mut self,
        kind: Kind,
        flags: Flags,
        id: u64,
        method: &str,
        payload: Body<'_>,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Sent {
        let goes = self.calling.unsent.is_empty() && self.may_send(kind, flags);
        if goes || self.is_datagrams {
            return self.transmit(kind, flags, id, method.as_bytes(), payload, deadline, now);
        }
        let name = Bytes::copy_from_slice(method.as_bytes());
        let payload = payload.into_bytes();
        self.calling.wait(Unsent { kind, flags, id, deadline, name, payload });
        Sent::No
    }

    #[inline]
    #[expect(clippy::too_many_arguments, reason = "they are one request, and are put together once")]
    fn transmit(
        &mut self,
        kind: Kind,
        flags: Flags,
        id: u64,
        name: &[u8],
        payload: Body<'_>,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Sent {
        let calling = &mut self.calling;
        let mut prefix: &[u8] = &[];
        let timeout;
        if kind == Kind::Call {
            if !self.is_datagrams {
                match flags.is_topic() {
                    true => calling.subscriptions += 1,
                    false => calling.unanswered += 1,
                }
            }
            timeout = milliseconds_left(deadline, now).to_be_bytes();
            prefix = &timeout;
        }
        if kind == Kind::Ping {
            // Of datagrams some get lost, and whoever waits for those does so for some time only.
            if self.is_datagrams && self.flushes.len() == PINGS {
                self.flushes.pop_front();
            }
            self.flushes.push_back(id);
        } else if !self.is_datagrams {
            calling.window -= (name.len() + payload.as_slice().len() + REQUEST_COST) as i64;
        }
        let place = self.output.place();
        self.output.push(Message { kind, flags, id, prefix, name, payload });
        // What is long, or waits behind that, has no place of its own.
        let has_place = self.output.place() > place;
        Sent::Queued(if has_place { place } else { u64::MAX })
    }

    /// Sends what waited for its turn, as far as there is room now.
    pub(super) fn send_unsent(&mut self, now: Instant) {
        if self.output_failure.is_some() {
            return;
        }
        while let Some(next) = self.calling.unsent.front() {
            let is_gone = next.kind == Kind::Call && !self.calling.calls.contains(next.id);
            if !is_gone && !self.may_send(next.kind, next.flags) {
                return;
            }
            let Some(next) = self.calling.unsent.pop_front() else { return };
            self.calling.unsent_bytes -= next.cost();
            if is_gone {
                self.calling.unsent_gone -= 1;
            } else {
                let payload = Body::Shared(next.payload);
                let sent = self.transmit(next.kind, next.flags, next.id, &next.name, payload, next.deadline, now);
                if let Some(call) = self.calling.calls.get_mut(next.id) {
                    call.sent = sent;
                    self.send_waiting_items(next.id);
                }
            }
        }
    }

    /// Whether calls or messages of this side wait for the other side to take earlier ones; what only asks whether they were
    /// read does not count.
    pub fn has_unsent(&self) -> bool {
        let calling = &self.calling;
        calling.unsent.iter().any(|unsent| unsent.kind == Kind::Send || calling.calls.contains(unsent.id))
    }

    pub(super) fn grant_requests(&mut self, bytes: u32) -> bool {
        self.calling.window += i64::from(bytes);
        self.calling.window <= 1 << 31
    }

    /// Gives a call up: its handler is told to stop, and its answer is dropped. There is no event for it any more.
    ///
    /// Tells whether the other side may have run it; `None` when it has ended already.
    pub fn cancel(&mut self, call: CallId) -> Option<Ran> {
        let known = self.calling.calls.get_mut(call.0).filter(|known| !known.is_abandoned)?;
        let ran = if known.sent.has_left() { Ran::Maybe } else { Ran::No };
        if known.sent == Sent::No {
            self.calling.calls.remove(call.0);
            self.calling.drop_unsent(call.0);
        } else {
            known.is_abandoned = true;
            known.streams = None;
            if self.is_datagrams {
                self.calling.calls.remove(call.0);
            }
            if self.output_failure.is_none() {
                self.output.push(Message::bare(Kind::Cancel, call.0));
            }
        }
        Some(ran)
    }

    /// Whether any call of this side waits for its answer.
    pub fn is_calling(&self) -> bool {
        !self.calling.calls.is_empty()
    }

    /// Takes calls that are out of time.
    pub(super) fn expire_calls(&mut self, now: Instant) {
        while let Some(id) = self.calling.deadlines.pop(now) {
            let Some(call) = self.calling.calls.get(id) else { continue };
            if call.is_abandoned || call.deadline.is_none_or(|deadline| deadline > now) {
                continue;
            }
            let ran = if call.sent.has_left() { Ran::Maybe } else { Ran::No };
            let reason = match call.sent {
                Sent::No => "it was never sent: the other side had not taken earlier ones",
                _ if !self.has_greeted && !self.is_datagrams => {
                    "nothing came from the other side; does it speak panpipe?"
                }
                _ => "no reply within the timeout",
            };
            let error = self.error(ErrorKind::DeadlineExceeded, "calling").because(reason).ran(ran);
            self.cancel(CallId(id));
            self.events.push_back(PanpipeEvent::Failed { call: CallId(id), failure: Failure::Local(error) });
        }
    }

    /// The answer to a call of this side; whether there may be one.
    pub(super) fn on_answer(&mut self, kind: Kind, flags: Flags, id: u64, bytes: Bytes) -> bool {
        if self.call_again(kind, id, &bytes) {
            return true;
        }
        let known = match self.is_datagrams {
            true => self.calling.calls.remove(id),
            false => self.calling.remove(id),
        };
        let Some(call) = known else {
            self.counts.late_replies += u64::from(self.is_datagrams);
            return self.is_datagrams;
        };
        if call.is_abandoned {
            self.counts.late_replies += 1;
            return true;
        }
        let call = CallId(id);
        self.events.push_back(match kind {
            Kind::Reply => PanpipeEvent::Reply { call, payload: Payload { flags, bytes } },
            _ => PanpipeEvent::Failed { call, failure: Failure::Remote(bytes) },
        });
        true
    }

    /// Ends every call, since no answer can come any more; who refused to talk at all has run nothing of what was sent.
    pub(super) fn fail_calls(&mut self, why: Option<&Error>, nothing_ran: bool) {
        let calls = self.calling.calls.drain();
        self.calling.unsent.clear();
        self.calling.unsent_bytes = 0;
        self.calling.unsent_gone = 0;
        for (id, call) in calls {
            if call.is_abandoned {
                continue;
            }
            let error = match why {
                Some(error) => error.clone().met_while(format!("calling {}", self.address)),
                None => {
                    let reason = format!("{} before it answered", self.input.ending());
                    self.error(ErrorKind::ConnectionLost, "calling").because(reason)
                }
            };
            let ran = if call.sent.has_left() && !nothing_ran { Ran::Maybe } else { Ran::No };
            let failure = Failure::Local(error.ran(ran));
            self.events.push_back(PanpipeEvent::Failed { call: CallId(id), failure });
        }
    }
}

fn milliseconds_left(deadline: Option<Instant>, now: Instant) -> u32 {
    deadline.map_or(0, |deadline| {
        let left = deadline.saturating_duration_since(now);
        let rounded = left.as_millis() + u128::from(left.subsec_nanos() % 1_000_000 > 0);
        u32::try_from(rounded).unwrap_or(u32::MAX).max(1)
    })
}

/// Whether these bytes are a name: 1 to 255 bytes of UTF-8 without control characters.
#[inline]
pub(super) fn is_name(name: &[u8]) -> bool {
    let is_plain = |byte: &u8| (0x20..0x7f).contains(byte);
    let has_length = (1..=255).contains(&name.len());
    has_length && (name.iter().all(is_plain) || is_wide_name(name))
}

#[cold]
fn is_wide_name(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| !name.bytes().any(|byte| byte < 0x20 || byte == 0x7f))
}
