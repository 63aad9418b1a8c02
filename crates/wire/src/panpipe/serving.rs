//! The calls of the other side.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use super::deadlines::Deadlines;
use super::frame::{Flags, Kind};
use super::output::{Body, Message};
use super::stream::Policy;
use super::streaming::Streams;
use super::{BACKLOG, CALLS, CallTable, Panpipe, PanpipeEvent, REQUEST_COST, Request, SUBSCRIPTIONS, hello};
use crate::error::ErrorKind;
use crate::plain::CallId;

/// Ids that are remembered of datagrams, which may come twice.
const REMEMBERED: u64 = 1024;

/// A call of the other side that has no answer.
struct Served {
    deadline: Option<Instant>,
    /// Its handler does not begin yet.
    is_waiting: bool,
    /// Its handler was told to stop.
    is_cancelled: bool,
    is_topic: bool,
    streams: Option<Box<Streams>>,
    /// It waits behind items that found no room.
    answer: Option<(Kind, Flags, Bytes)>,
}

/// What is put off while the other side does not read its replies.
enum Waiting {
    Call(Request),
    Send(Request),
    /// What comes of the arguments of a call that waits.
    Arguments(PanpipeEvent, u64),
    /// What a refused call has cost of the window.
    Cost(usize),
}

/// The calls of the other side.
#[derive(Default)]
pub(super) struct Serving {
    calls: CallTable<Served>,
    subscriptions: usize,
    /// What is told, and given back of the window, once the other side reads.
    waiting: VecDeque<Waiting>,
    deadlines: Deadlines,
    /// The highest id that has come.
    pub(super) last: u64,
    /// Which of the ids below it have come, where they may come twice.
    seen: VecDeque<bool>,
    /// No more calls are begun.
    pub(super) is_draining: bool,
}

impl Serving {
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.next().filter(|_| !self.calls.is_empty())
    }

    pub(super) fn streams(&mut self, id: u64) -> Option<&mut Option<Box<Streams>>> {
        self.calls.get_mut(id).map(|call| &mut call.streams)
    }

    /// An answer that waited behind items.
    pub(super) fn take_answer(&mut self, id: u64) -> Option<(Kind, Flags, Bytes)> {
        self.calls.get_mut(id)?.answer.take()
    }

    pub(super) fn is_answered(&self, id: u64) -> bool {
        id <= self.last && !self.calls.contains(id)
    }

    /// Whether a request with this id came before, or so long ago that nobody knows.
    pub(super) fn came_before(&mut self, id: u64) -> bool {
        let place = |last: u64| last.saturating_sub(id) / 2;
        if self.last == 0 || id > self.last {
            let skipped = if self.last == 0 { REMEMBERED } else { ((id - self.last) / 2).min(REMEMBERED) };
            for _ in 1..skipped {
                self.seen.push_front(false);
            }
            self.seen.push_front(true);
            self.seen.truncate(REMEMBERED as usize);
            self.last = id;
            return false;
        }
        match self.seen.get_mut(place(self.last) as usize) {
            Some(seen) => std::mem::replace(seen, true),
            None => true,
        }
    }
}

impl Panpipe {
    /// A whole CALL or SEND; an error breaks the connection.
    #[inline]
    pub(super) fn on_request(
        &mut self,
        kind: Kind,
        flags: Flags,
        id: u64,
        name: usize,
        mut body: Bytes,
        now: Instant,
    ) -> Result<(), &'static str> {
        let mut deadline = None;
        if kind == Kind::Call {
            if body.len() < size_of::<u32>() {
                return Err("a CALL without its timeout");
            }
            let timeout = body.get_u32();
            deadline = (timeout > 0).then(|| now + Duration::from_millis(timeout.into()));
        }
        if body.len() < name || !super::calling::is_name(&body[..name]) {
            return Err("a name that is none");
        }
        let is_call = kind == Kind::Call;
        let cost = body.len() + REQUEST_COST;
        let request = Request { id: CallId(id), flags, deadline, is_call, cost, name, body };
        if kind == Kind::Call {
            let has_room = match flags.is_topic() {
                true => self.serving.subscriptions < SUBSCRIPTIONS,
                false => self.serving.calls.len() - self.serving.subscriptions < CALLS,
            };
            if !has_room && self.is_datagrams {
                self.counts.dropped += 1;
                return Ok(());
            }
            if !has_room {
                return Err("more than the 1024 calls, or 16384 subscriptions, that may be without an answer");
            }
            if self.serving.is_draining {
                let reason = "this side is closing, and begins no more calls";
                self.refuse(id, request.cost(), ErrorKind::Refused, reason);
                return Ok(());
            }
            self.serving.subscriptions += usize::from(flags.is_topic());
            let streams = Streams::of(flags.has_arguments(), flags.is_stream(), Policy::Block);
            let is_waiting = self.is_backlogged();
            let is_topic = flags.is_topic();
            let served = Served { deadline, is_waiting, is_cancelled: false, is_topic, streams, answer: None };
            self.serving.calls.insert(id, served);
            if let Some(deadline) = deadline {
                let calls = &self.serving.calls;
                self.serving.deadlines.add(deadline, id, calls.len(), |id| calls.contains(id));
            }
        } else if self.serving.is_draining {
            self.give_back(request.cost());
            return Ok(());
        }
        match (kind == Kind::Send, self.is_backlogged()) {
            (true, false) => self.events.push_back(PanpipeEvent::Send(request)),
            (true, true) => self.serving.waiting.push_back(Waiting::Send(request)),
            (false, true) => self.serving.waiting.push_back(Waiting::Call(request)),
            (false, false) => {
                self.give_back(request.cost());
                self.events.push_back(PanpipeEvent::Call(request));
            }
        }
        Ok(())
    }

    /// Whether handlers are not to begin: the other side does not read its replies.
    #[inline]
    pub(super) fn is_backlogged(&self) -> bool {
        self.output.unwritten() >= BACKLOG || !self.serving.waiting.is_empty()
    }

    /// What had to wait, once the other side reads its replies again.
    #[inline]
    pub(super) fn begin_waiting(&mut self) -> Option<PanpipeEvent> {
        if self.serving.waiting.is_empty() { None } else { self.next_waiting() }
    }

    #[cold]
    fn next_waiting(&mut self) -> Option<PanpipeEvent> {
        while self.output.unwritten() < BACKLOG {
            match self.serving.waiting.pop_front()? {
                Waiting::Send(request) => return Some(PanpipeEvent::Send(request)),
                Waiting::Cost(cost) => self.give_back(cost),
                Waiting::Arguments(event, id) if self.serving.calls.contains(id) => return Some(event),
                // Its call was cancelled.
                Waiting::Arguments(..) => {}
                Waiting::Call(request) => {
                    self.give_back(request.cost());
                    if let Some(served) = self.serving.calls.get_mut(request.id.0) {
                        served.is_waiting = false;
                        return Some(PanpipeEvent::Call(request));
                    }
                }
            }
        }
        None
    }

    /// Tells of an item or its like, but not before the call that it belongs to.
    #[inline]
    pub(super) fn tell_of_call(&mut self, event: PanpipeEvent, id: u64) {
        let is_put_off = !self.serving.waiting.is_empty() && !self.is_mine(CallId(id));
        match is_put_off {
            true => self.serving.waiting.push_back(Waiting::Arguments(event, id)),
            false => self.events.push_back(event),
        }
    }

    /// Answers a call that is not begun, and gives back what it has cost once its answer is likely to be read: who reads
    /// none does not get more of them.
    #[cold]
    pub(super) fn refuse(&mut self, id: u64, cost: usize, kind: ErrorKind, reason: &str) {
        self.answer_failure(id, kind, reason);
        match self.is_backlogged() {
            true => self.serving.waiting.push_back(Waiting::Cost(cost)),
            false => self.give_back(cost),
        }
    }

    /// Gives back what a request has cost of the window.
    fn give_back(&mut self, cost: usize) {
        if self.is_datagrams {
            return;
        }
        if let Some(granted) = self.requests.give_back(cost) {
            let payload = granted.to_be_bytes();
            self.output.push(Message::with(Kind::Credit, Flags::NONE, 0, Body::Slice(&payload)));
        }
    }

    /// Says that the handler of a one-way message has ended.
    #[inline]
    pub fn handled(&mut self, request: &Request) {
        self.give_back(request.cost());
    }

    /// Answers a call of the other side. A call that is not there any more is answered by nobody.
    #[inline]
    pub fn reply(&mut self, call: CallId, flags: Flags, payload: Body<'_>) {
        let size = payload.as_slice().len();
        if size > self.peer_max {
            let reason = format!("the reply is {size} bytes, and may be {} at most", self.peer_max);
            return self.fail(call, &hello::failure(ErrorKind::TooLarge, &reason, false));
        }
        self.answer(call.0, Kind::Reply, flags, payload);
    }

    /// Answers a call of the other side with an error: the map of docs/protocol.md, "Errors".
    ///
    /// What the other side does not take for its size is cut to the code.
    pub fn fail(&mut self, call: CallId, payload: &[u8]) {
        if payload.len() > self.peer_max {
            let short = hello::shortened(payload, self.peer_max);
            return self.answer(call.0, Kind::Error, Flags::NONE, Body::Slice(&short));
        }
        self.answer(call.0, Kind::Error, Flags::NONE, Body::Slice(payload));
    }

    #[inline]
    pub(super) fn answer(&mut self, id: u64, kind: Kind, flags: Flags, payload: Body<'_>) {
        let Some(served) = self.serving.calls.get_mut(id) else { return };
        if served.answer.is_some() {
            return;
        }
        let has_items = |streams: &Streams| streams.outgoing.as_ref().is_some_and(|items| !items.is_drained());
        // What comes of a stream whose consumer has gone is of no use; what comes before an end is.
        if !served.is_cancelled && served.streams.as_deref().is_some_and(has_items) {
            if let Some(outgoing) = served.streams.as_mut().and_then(|streams| streams.outgoing.as_mut()) {
                outgoing.has_ended = true;
            }
            served.answer = Some((kind, flags, payload.into_bytes()));
            return;
        }
        let is_topic = served.is_topic;
        self.serving.calls.remove(id);
        self.serving.subscriptions -= usize::from(is_topic);
        self.output.push(Message::with(kind, flags, id, payload));
    }

    /// Answers a call that was not begun.
    pub(super) fn answer_failure(&mut self, id: u64, kind: ErrorKind, reason: &str) {
        let mut payload = hello::failure(kind, reason, true);
        if payload.len() > self.peer_max {
            payload = hello::shortened(&payload, self.peer_max);
        }
        self.output.push(Message::with(Kind::Error, Flags::NONE, id, Body::Slice(&payload)));
    }

    /// Says that a subscription stands, and what becomes of items that find no room.
    pub fn open(&mut self, call: CallId, policy: Policy) {
        if let Some(outgoing) = self.outgoing(call.0) {
            outgoing.policy = policy;
            self.output.push(Message::bare(Kind::Open, call.0));
        }
    }

    /// A call of the other side is to stop, because of a CANCEL or its deadline.
    pub(super) fn stop_serving(&mut self, id: u64, why: ErrorKind) {
        let Some(served) = self.serving.calls.get_mut(id).filter(|served| !served.is_cancelled) else { return };
        served.is_cancelled = true;
        if served.is_waiting {
            // It stays among what waits, so that its cost is given back no sooner.
            if let Some(served) = self.serving.calls.remove(id) {
                self.serving.subscriptions -= usize::from(served.is_topic);
            }
            return self.answer_failure(id, why, "nobody waits for it any more, and it was not begun");
        }
        if served.answer.take().is_some() {
            // The items before its answer are not sent any more, and a reply would say that they were.
            let payload = hello::failure(why, "nobody waits for it any more", false);
            return self.fail(CallId(id), &payload);
        }
        self.events.push_back(PanpipeEvent::Cancelled { call: CallId(id), why });
    }

    pub(super) fn expire_serving(&mut self, now: Instant) {
        while let Some(id) = self.serving.deadlines.pop(now) {
            let is_over = |served: &Served| served.deadline.is_some_and(|deadline| deadline <= now);
            if self.serving.calls.get(id).is_some_and(is_over) {
                self.stop_serving(id, ErrorKind::DeadlineExceeded);
            }
        }
    }

    /// Tells every handler to stop, since nobody can be answered any more.
    pub(super) fn stop_all(&mut self) {
        self.serving.waiting.clear();
        let calls = self.serving.calls.drain();
        for (id, served) in calls {
            if !served.is_waiting && !served.is_cancelled && served.answer.is_none() {
                self.events.push_back(PanpipeEvent::Cancelled { call: CallId(id), why: ErrorKind::ConnectionLost });
            }
        }
    }
}
