//! The session of the panpipe protocol: calls, streams and topics, both ways. docs/protocol.md is the specification.
//!
//! What a user of the session must do beside the driver's contract:
//!
//! 1. **answer** each [`PanpipeEvent::Call`] once, with [`Panpipe::reply`] or [`Panpipe::fail`], also when
//!    [`PanpipeEvent::Cancelled`] has come for it;
//! 2. **say** [`Panpipe::handled`] when the handler of a [`PanpipeEvent::Send`] has ended;
//! 3. **say** [`Panpipe::taken`] for each [`PanpipeEvent::Item`] that its consumer has taken;
//! 4. **close** after [`PanpipeEvent::Ended`], once the outbox is written.

mod call_table;
pub use call_table::{ById, CallTable};

mod calling;
mod deadlines;
mod frame;
mod hello;
pub use hello::{is_hello, token_of_hello};

mod output;
mod pieces;
mod receiving;
mod renewing;
mod serving;
mod stream;
mod streaming;
mod times;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};

use self::calling::Calling;
pub use self::frame::Flags;
use self::frame::Kind;
pub use self::output::Body;
use self::output::{Message, Output};
use self::pieces::Pieces;
use self::serving::Serving;
pub use self::stream::Policy;
use self::stream::Window;
use self::times::Times;
use crate::address::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::input::Input;
use crate::plain::CallId;
use crate::session::Session;

/// What may be on its way of calls and one-way messages before the other side takes some, in bytes.
const WINDOW: i64 = 1 << 20;

/// What each costs of it beside its payload and name.
const REQUEST_COST: usize = 64;

/// Calls that may be without an answer, unless the hello says more.
const CALLS: usize = 1024;

/// Subscriptions of one side.
const SUBSCRIPTIONS: usize = 16 << 10;

/// Above this no calls are begun: the other side does not read its replies.
const BACKLOG: usize = 8 << 20;

/// Frames of a second that carry nothing.
const IDLE_FRAMES: u32 = 1024;

/// Cancels of calls that are answered, one after another.
const LATE_CANCELS: u32 = 1024;

/// Flushes without an answer.
const PINGS: usize = 64;

/// Which end of a connection a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It connected, and speaks first.
    Client,
    /// It accepted.
    Server,
}

/// A value or arguments, as they are written: see docs/protocol.md, "Values".
#[derive(Clone, Debug)]
pub struct Payload {
    /// Whether it is raw, named, or a count of what was missed.
    pub flags: Flags,
    /// The bytes.
    pub bytes: Bytes,
}

/// A call or a one-way message that came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its id, by which it is answered.
    pub id: CallId,
    /// What kind of call it is.
    pub flags: Flags,
    /// When it is out of time.
    pub deadline: Option<Instant>,
    is_call: bool,
    cost: usize,
    name: usize,
    body: Bytes,
}

impl Request {
    /// The method or topic.
    #[inline]
    pub fn name(&self) -> &str {
        std::str::from_utf8(&self.body[..self.name]).unwrap_or_default()
    }

    /// Whether it is to be answered.
    #[inline]
    pub fn is_call(&self) -> bool {
        self.is_call
    }

    /// The arguments.
    #[inline]
    pub fn payload(&self) -> Payload {
        Payload { flags: self.flags, bytes: self.body.slice(self.name..) }
    }

    /// The arguments, which are not here any more afterwards; nor is the name.
    #[inline]
    pub fn take_payload(&mut self) -> Payload {
        let mut bytes = std::mem::take(&mut self.body);
        bytes.advance(std::mem::take(&mut self.name));
        Payload { flags: self.flags, bytes }
    }

    /// What it costs of the window.
    fn cost(&self) -> usize {
        self.cost
    }
}

/// Why a call got no reply.
#[derive(Clone, Debug)]
pub enum Failure {
    /// This side knows why.
    Local(Error),
    /// The other side says why: the map of docs/protocol.md, "Errors".
    Remote(Bytes),
}

/// What a session tells its user.
#[derive(Debug)]
pub enum PanpipeEvent {
    /// The other side calls; its handler begins now.
    Call(Request),
    /// The other side sends a one-way message, or publishes; its handler begins now.
    Send(Request),
    /// The reply of a call of this side, and its end.
    Reply {
        /// Which call.
        call: CallId,
        /// The value.
        payload: Payload,
    },
    /// The end of a call of this side that got no reply.
    Failed {
        /// Which call.
        call: CallId,
        /// Why.
        failure: Failure,
    },
    /// An item of a stream: of the replies to a call of this side, or of the arguments of a call of the other.
    Item {
        /// Which call.
        call: CallId,
        /// The value.
        payload: Payload,
    },
    /// The other side's arguments for its call have ended.
    End {
        /// Which call.
        call: CallId,
    },
    /// The subscription stands.
    Opened {
        /// Which call.
        call: CallId,
    },
    /// Whoever made this call does not want its answer any more, or it is out of time: its handler is to stop.
    Cancelled {
        /// Which call.
        call: CallId,
        /// `cancelled`, `deadline-exceeded` or `connection-lost`.
        why: ErrorKind,
    },
    /// A stream that had no room has some.
    Room {
        /// Which call.
        call: CallId,
    },
    /// The other side has read all that was sent before this flush.
    Flushed {
        /// Which flush.
        flush: CallId,
    },
    /// The other side begins no more calls.
    Draining,
    /// The connection was lost, and the session outlasts it: it goes on with [`Panpipe::renew`].
    Lost(Option<Error>),
    /// The connection has ended: cleanly when `None`. Nothing comes after it.
    Ended(Option<Error>),
}

/// One connection's state in the panpipe protocol.
pub struct Panpipe {
    address: Arc<str>,
    side: Side,
    max: usize,
    input: Input,
    output: Output,
    output_failure: Option<Error>,
    /// The largest packet, where the link moves packets.
    packet: Option<usize>,
    is_datagrams: bool,
    /// The hello of this side was queued, and that of the other has come.
    is_greeted: bool,
    has_greeted: bool,
    /// This side reads only while its user waits for something, and says so.
    is_quiet: bool,
    /// What it must know to be let in.
    token: Option<Arc<str>>,
    /// The largest payload that the other side takes, and how many calls it runs.
    peer_max: usize,
    peer_calls: usize,
    calling: Calling,
    serving: Serving,
    pieces: Vec<Pieces>,
    /// The piece that is being read to where it lies, and whether there are more after it.
    filling: Option<(Kind, u64, bool)>,
    /// The window of what comes.
    requests: Window,
    events: VecDeque<PanpipeEvent>,
    idle_frames: u32,
    idle_since: Instant,
    late_cancels: u32,
    /// Flushes of this side that were sent and have no answer.
    flushes: VecDeque<u64>,
    /// Where pongs stand in the output that are not written yet.
    pongs: VecDeque<u64>,
    times: Times,
    /// How much of the input was there when it was last looked at.
    seen: usize,
    has_ended: bool,
    /// When it was last asked for events.
    now: Instant,
    /// It survives its connection, and has; see [`outlast`](Self::outlast).
    outlasts: bool,
    is_lost: bool,
    needs_life_signs: bool,
    counts: Counts,
}

/// What was dropped, and how often.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Answers that came after their call had ended.
    pub late_replies: u64,
    /// Datagrams that were no frames, or had come before.
    pub dropped: u64,
}

impl Panpipe {
    /// A session for one connection of `address`, which begins at the instant `now`.
    pub fn new(address: &Address, side: Side, now: Instant) -> Self {
        let mut session = Panpipe {
            address: Arc::clone(address.text()),
            side,
            max: address.max,
            input: Input::new(),
            output: Output::default(),
            output_failure: None,
            packet: None,
            is_datagrams: false,
            is_greeted: false,
            has_greeted: false,
            is_quiet: false,
            token: None,
            peer_max: renewing::PEER_MAX,
            peer_calls: CALLS,
            calling: Calling::new(side),
            serving: Serving::default(),
            pieces: Vec::new(),
            filling: None,
            requests: Window::new(WINDOW),
            events: VecDeque::new(),
            idle_frames: 0,
            idle_since: now,
            late_cancels: 0,
            flushes: VecDeque::new(),
            pongs: VecDeque::new(),
            times: Times::new(now, address.reaches_other_machines()),
            seen: 0,
            has_ended: false,
            now,
            outlasts: false,
            is_lost: false,
            needs_life_signs: address.reaches_other_machines(),
            counts: Counts::default(),
        };
        if side == Side::Server {
            session.times.expect_hello(now);
        }
        session
    }

    /// Has the hello say that this side reads only while its user waits, and must not be given up for its silence.
    pub fn be_quiet(&mut self) {
        self.is_quiet = true;
        // Who looks only now and then cannot say when a hello came.
        self.times.has_greeted();
    }

    /// Shows `token` in the hello: the other side lets in only who knows it.
    pub fn show_token(&mut self, token: Arc<str>) {
        self.token = Some(token);
    }

    /// What a server says to a client that it does not let in: a hello, and a goodbye that says why and that nothing ran.
    pub fn refusal(address: &Address, kind: ErrorKind, reason: &str, now: Instant) -> Bytes {
        let mut session = Panpipe::new(address, Side::Server, now);
        session.push_hello();
        let payload = hello::failure(kind, reason, true);
        session.output.push(Message::with(Kind::Goodbye, Flags::NONE, 0, Body::Slice(&payload)));
        session.outbox().concat().into()
    }

    /// Queues the hello of a client: it goes out with what is sent first, or at once.
    pub fn greet(&mut self) {
        if self.side == Side::Client && !self.is_greeted && !self.is_datagrams {
            self.push_hello();
        }
    }

    /// Has the ids of datagrams begin at so many microseconds since 1970: above those of an earlier program on this address,
    /// which the other end may remember.
    pub fn begin_ids_at(&mut self, microseconds: u64) {
        self.calling.begin_at(microseconds);
    }

    /// What was dropped.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many calls of the other side are not answered yet.
    pub fn serving(&self) -> usize {
        self.serving.len()
    }

    /// Whether the connection has ended, or broken in either direction.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether the id is of a call of this side.
    pub fn is_mine(&self, call: CallId) -> bool {
        (call.0 & 1 == 1) == (self.side == Side::Client)
    }

    /// Asks the other side to tell when it has read all that was sent before; answered by [`PanpipeEvent::Flushed`].
    ///
    /// # Errors
    /// Those of [`call`](Self::call).
    pub fn flush(&mut self, now: Instant) -> Result<CallId> {
        self.check_open("flushing")?;
        if self.calling.is_full() {
            return self.explain_request("flushing", "flush", Flags::NONE, 0).map(|()| CallId(0));
        }
        let id = self.calling.next_id();
        self.request(Kind::Ping, Flags::NONE, id, "", Body::Slice(&[]), None, now);
        Ok(CallId(id))
    }

    /// Says that this side begins no more calls of the other; those that run are finished.
    pub fn say_goodbye(&mut self) {
        if !self.serving.is_draining && !self.has_ended {
            self.serving.is_draining = true;
            if self.is_greeted || self.is_datagrams {
                self.output.push(Message::bare(Kind::Goodbye, 0));
            }
        }
    }

    /// Whether so much waits to be written that senders should wait too.
    pub fn is_congested(&self) -> bool {
        self.output.unwritten() >= 1 << 20
    }

    /// Whether so much waits for the other side to take earlier calls and messages that more should wait elsewhere.
    pub fn is_backed_up(&self) -> bool {
        self.calling.is_backed_up()
    }

    /// Says whether anything can be sent.
    fn check_open(&self, doing: &str) -> Result<()> {
        match self.output_failure.as_ref().or(self.input.failure()) {
            None if !self.has_ended && !self.input.has_ended() => Ok(()),
            Some(failure) => Err(failure.clone().met_while(format!("{doing} {}", self.address)).ran(crate::Ran::No)),
            None => Err(self.error(ErrorKind::ConnectionLost, doing).because(self.input.ending().to_owned())),
        }
    }

    /// Ends the connection because of what the other side did.
    #[cold]
    fn break_off(&mut self, kind: ErrorKind, reason: String) {
        let payload = hello::failure(kind, &reason, false);
        let error = self.error(kind, "receiving from").because(reason).ran(crate::Ran::Maybe);
        self.output.drop_lanes();
        if !self.is_datagrams {
            if self.side == Side::Server && !self.is_greeted {
                self.push_hello();
            }
            self.output.push(Message::with(Kind::Goodbye, Flags::NONE, 0, Body::Slice(&payload)));
        }
        self.input.refuse(error);
        self.finish();
    }

    /// Ends the connection with one that does not read, or is not there any more: nothing can be told to it.
    #[cold]
    fn give_up(&mut self, kind: ErrorKind, reason: &str) {
        let error = self.error(kind, "receiving from").because(reason.to_owned()).ran(crate::Ran::Maybe);
        self.output_failed(error.clone());
        self.input.refuse(error);
        self.finish();
    }
}

impl Session for Panpipe {
    #[inline]
    fn address(&self) -> &Arc<str> {
        &self.address
    }

    #[inline]
    fn input(&self) -> &Input {
        &self.input
    }

    #[inline]
    fn input_mut(&mut self) -> &mut Input {
        &mut self.input
    }

    #[inline]
    fn outbox(&self) -> [&[u8]; 3] {
        self.output.parts()
    }

    #[inline]
    fn unwritten(&self) -> usize {
        self.output.unwritten()
    }

    #[inline]
    fn written(&mut self, count: usize) {
        self.output.written(count);
        while self.pongs.front().is_some_and(|&place| self.output.is_gone(place)) {
            self.pongs.pop_front();
        }
    }

    fn skip_packet(&mut self) {
        let [first, ..] = self.output.parts();
        if let Some(length) = first.first_chunk() {
            self.written(size_of::<u32>() + u32::from_be_bytes(*length) as usize);
        }
    }

    fn output_failed(&mut self, error: Error) {
        if self.output_failure.is_none() {
            self.calling.note_unsent(&self.output);
            self.output_failure = Some(error);
        }
        self.output.clear();
    }

    fn output_failure(&self) -> Option<&Error> {
        self.output_failure.as_ref()
    }

    fn withdraw_unsent(&mut self) {}

    fn use_packets(&mut self, most: usize, _empty: bool) {
        self.packet = Some(most);
        self.output.use_packets(most);
    }

    fn use_datagrams(&mut self, _may_be_lost: bool) {
        self.is_datagrams = true;
        self.times.has_greeted();
        let before = frame::HEAD + size_of::<u32>();
        self.max = self.max.min(self.packet.unwrap_or(usize::MAX).saturating_sub(before));
        self.peer_max = self.max;
    }

    /// A call whose datagram did not arrive ends by its deadline; nobody can say which one it was.
    fn datagram_refused(&mut self, _error: Error) {
        self.counts.dropped += 1;
    }

    fn is_detached(&self) -> bool {
        self.is_lost
    }

    fn is_idle(&self) -> bool {
        self.output.is_empty() && self.input.is_empty() && self.calling.is_idle() && self.serving.len() == 0
    }

    fn next_deadline(&self) -> Option<Instant> {
        if self.has_ended {
            return None;
        }
        self.times
            .next(self.output.unwritten())
            .into_iter()
            .chain(self.calling.deadline())
            .chain(self.serving.deadline())
            .min()
    }
}

#[cfg(test)]
mod tests;
