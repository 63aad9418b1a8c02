//! What arrives, frame by frame.

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};

use super::frame::{Flags, HEAD, Head, IDS, Kind, MOST_BODY};
use super::output::Message;
use super::pieces::LARGE_PIECE;
use super::times::Due;
use super::{IDLE_FRAMES, LATE_CANCELS, PINGS, Panpipe, PanpipeEvent, Payload, REQUEST_COST, hello};
use crate::error::ErrorKind;
use crate::plain::CallId;
use crate::session::Session;

/// An integer has at most so many bytes in MessagePack.
const LARGEST_COUNT: usize = 9;

/// What there is of a packet.
enum Measured {
    Frame,
    Missing,
    Dropped,
}

/// What breaks a connection.
pub(super) type Broken = (ErrorKind, String);

pub(super) fn broken(reason: impl Into<String>) -> Broken {
    (ErrorKind::BadPeer, reason.into())
}

impl Panpipe {
    /// The next event at the instant `now`.
    #[inline]
    pub fn next_event(&mut self, now: Instant) -> Option<PanpipeEvent> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if self.has_ended {
            return None;
        }
        self.now = now;
        self.input.settle();
        if self.input.arrived() != self.seen {
            self.times.heard(now);
        }
        self.keep_time(now);
        self.send_unsent(now);
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if let Some(event) = self.begin_waiting() {
                return Some(event);
            }
            if !self.read_frame(now) {
                break;
            }
        }
        self.seen = self.input.arrived();
        if !self.has_ended && self.input.is_over() {
            self.finish();
        }
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        self.input.share();
        None
    }

    fn keep_time(&mut self, now: Instant) {
        if self.calling.deadline().is_some_and(|at| at <= now) {
            self.expire_calls(now);
        }
        if self.serving.deadline().is_some_and(|at| at <= now) {
            self.expire_serving(now);
        }
        match self.times.look(now, self.output.unwritten(), self.output.written_so_far()) {
            None => {}
            Some(Due::Ping) => self.output.push(Message::bare(Kind::Ping, 0)),
            Some(Due::NoHello) => self.break_off(ErrorKind::DeadlineExceeded, "no hello came within 5 seconds".into()),
            Some(Due::NoSign) => self.give_up(ErrorKind::ConnectionLost, "no sign of life for 40 seconds"),
            Some(Due::Stalled) => {
                self.give_up(ErrorKind::BadPeer, "it has read nothing for 10 seconds, and much waits for it");
            }
        }
    }

    /// The end of the input: everybody who waits is told.
    #[cold]
    pub(super) fn finish(&mut self) {
        let is_inside = !self.input.is_empty() || !self.pieces.is_empty();
        let error = match self.input.failure() {
            Some(failure) => Some(failure.clone()),
            None if is_inside => {
                let error = self.error(ErrorKind::ConnectionLost, "receiving from").ran(crate::Ran::Maybe);
                Some(error.because(format!("{} inside a message", self.input.ending())))
            }
            None => None,
        };
        if self.survives(error.as_ref()) {
            return self.lose(error);
        }
        self.has_ended = true;
        self.output.close();
        self.fail_calls(error.as_ref(), false);
        self.stop_all();
        self.pieces = Vec::new();
        self.events.push_back(PanpipeEvent::Ended(error));
    }

    /// What stands before each frame: its length, where it is a packet.
    pub(super) fn frame_prefix(&self) -> usize {
        if self.packet.is_some() { size_of::<u32>() } else { 0 }
    }

    /// Reads the next frame; whether there was one.
    #[inline]
    fn read_frame(&mut self, now: Instant) -> bool {
        if self.filling.is_some() {
            return self.fill(now);
        }
        if self.input.is_empty() || self.has_ended {
            self.input.need(1);
            return false;
        }
        if !self.has_greeted && !self.is_datagrams {
            let has_come = self.read_hello();
            if has_come {
                self.send_unsent(now);
            }
            return has_come;
        }
        let prefix = self.frame_prefix();
        if prefix > 0 {
            match self.measure_packet(prefix) {
                Measured::Frame => {}
                Measured::Missing => return false,
                Measured::Dropped => return true,
            }
        }
        let arrived = self.input.get(prefix..).unwrap_or_default();
        let length = arrived.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
        if length > MOST_BODY {
            let reason = format!("a frame of {length} bytes, where {MOST_BODY} are the most");
            self.break_off(ErrorKind::TooLarge, reason);
            return false;
        }
        let Some(head) = Head::read(arrived) else {
            self.input.need(prefix + HEAD);
            return false;
        };
        self.input.limit(0);
        let total = prefix + HEAD + length;
        if self.input.len() < total {
            if length < LARGE_PIECE || !self.fill_piece(head) {
                self.input.need(total);
            }
            return false;
        }
        let mut body = self.input.take(total);
        body.advance(prefix + HEAD);
        if let Err((kind, reason)) = self.on_frame(head, body, now) {
            match self.is_datagrams {
                true => self.counts.dropped += 1,
                false => self.break_off(kind, reason),
            }
        }
        true
    }

    /// Whether a whole packet that is a frame is there; a datagram that is none is dropped.
    fn measure_packet(&mut self, prefix: usize) -> Measured {
        let Some(length) = self.input.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) else {
            self.input.need(prefix);
            return Measured::Missing;
        };
        if self.is_datagrams && length > self.packet.unwrap_or_default() {
            // Only its length is here.
            self.counts.dropped += 1;
            self.input.take(prefix);
            return Measured::Dropped;
        }
        if self.input.len() < prefix + length {
            self.input.need(prefix + length);
            return Measured::Missing;
        }
        let head = Head::read(&self.input[prefix..prefix + length]);
        if head.is_some_and(|head| head.length as usize + HEAD == length) {
            return Measured::Frame;
        }
        if self.is_datagrams {
            self.counts.dropped += 1;
            self.input.take(prefix + length);
            return Measured::Dropped;
        }
        self.break_off(ErrorKind::BadPeer, "a packet that is not one frame".into());
        Measured::Missing
    }

    #[inline]
    fn on_frame(&mut self, head: Head, body: BytesMut, now: Instant) -> Result<(), Broken> {
        let id = head.id;
        let Some(kind) = Kind::of(head.kind) else { return self.on_unknown(head.kind, now) };
        if head.flags.0 & !kind.flags() != 0 || self.is_datagrams && head.flags.has(Flags::MORE) {
            return Err(broken(format!("a {kind} with the flags {:#04x}, which it may not have", head.flags.0)));
        }
        if id >= IDS || head.name > 0 && !matches!(kind, Kind::Call | Kind::Send) {
            return Err(broken(format!("a {kind} whose head is none: id {id}, name {}", head.name)));
        }
        if kind != Kind::Cancel {
            self.late_cancels = 0;
        }
        if head.flags.has(Flags::MORE) || !self.pieces.is_empty() {
            return self.on_piece(kind, head, body, now);
        }
        self.on_message(kind, head.flags, id, head.name.into(), body.freeze(), now)
    }

    fn on_unknown(&mut self, kind: u8, now: Instant) -> Result<(), Broken> {
        match kind {
            128.. => self.count_idle(now),
            _ => Err(broken(format!("a frame of the unknown kind {kind}"))),
        }
    }

    fn count_idle(&mut self, now: Instant) -> Result<(), Broken> {
        if now.saturating_duration_since(self.idle_since) >= Duration::from_secs(1) {
            (self.idle_since, self.idle_frames) = (now, 0);
        }
        self.idle_frames += 1;
        match self.idle_frames > IDLE_FRAMES {
            true => Err(broken("more than 1024 frames in a second that carry nothing")),
            false => Ok(()),
        }
    }

    /// A message that is whole.
    #[inline]
    pub(super) fn on_message(
        &mut self,
        kind: Kind,
        flags: Flags,
        id: u64,
        name: usize,
        body: Bytes,
        now: Instant,
    ) -> Result<(), Broken> {
        match kind {
            Kind::Call | Kind::Send => {
                let size = body.len().saturating_sub(if kind == Kind::Call { size_of::<u32>() } else { 0 });
                if !self.admit_request(kind, flags, id, size, size.saturating_sub(name))? {
                    return Ok(());
                }
                self.on_request(kind, flags, id, name, body, now).map_err(broken)
            }
            Kind::Reply | Kind::Error => {
                self.check_size(body.len())?;
                let is_fine = self.is_mine(CallId(id)) && self.on_answer(kind, flags, id, body);
                if !is_fine {
                    return Err(broken(format!("a {kind} to the call {id}, which waits for none")));
                }
                self.send_unsent(now);
                Ok(())
            }
            Kind::Item => {
                self.check_size(body.len())?;
                if self.admit_item(flags, id, body.len())? {
                    self.on_item(flags, id, body);
                }
                Ok(())
            }
            _ => self.on_control(kind, id, &body, now),
        }
    }

    pub(super) fn check_size(&self, size: usize) -> Result<(), Broken> {
        match size > self.max {
            true => Err((ErrorKind::TooLarge, format!("a message of {size} bytes, where max is {}", self.max))),
            false => Ok(()),
        }
    }

    /// Checks a new request of `size` bytes, of which `payload` are payload; whether it is to be handled.
    #[inline]
    pub(super) fn admit_request(
        &mut self,
        kind: Kind,
        flags: Flags,
        id: u64,
        size: usize,
        payload: usize,
    ) -> Result<bool, Broken> {
        if self.is_mine(CallId(id)) || id == 0 {
            return Err(broken(format!("a {kind} with the id {id}, which is not the other side's to give")));
        }
        if self.is_datagrams {
            let is_new = !self.serving.came_before(id) && !self.is_backlogged();
            self.counts.dropped += u64::from(!is_new);
            let is_stream = flags.0 & (Flags::STREAM | Flags::ARGUMENTS | Flags::TOPIC) != 0;
            if is_new && is_stream && kind == Kind::Call {
                self.answer_failure(id, ErrorKind::Unsupported, "datagrams carry no streams and no topics");
                return Ok(false);
            }
            return Ok(is_new);
        }
        if id <= self.serving.last {
            return Err(broken(format!("a {kind} with the id {id}, where {} has come before", self.serving.last)));
        }
        self.serving.last = id;
        if !self.requests.charge(size + REQUEST_COST) {
            return Err(broken("more calls and messages than there is a window for"));
        }
        if payload <= self.max {
            return Ok(true);
        }
        let reason = format!("the arguments are {payload} bytes, and may be {} at most", self.max);
        if kind == Kind::Send {
            return Err((ErrorKind::TooLarge, reason));
        }
        self.refuse(id, size + REQUEST_COST, ErrorKind::TooLarge, &reason);
        Ok(false)
    }

    pub(super) fn on_item(&mut self, flags: Flags, id: u64, bytes: Bytes) {
        self.tell_of_call(PanpipeEvent::Item { call: CallId(id), payload: Payload { flags, bytes } }, id);
    }

    /// Checks a new item; whether anybody wants it.
    pub(super) fn admit_item(&mut self, flags: Flags, id: u64, size: usize) -> Result<bool, Broken> {
        if self.is_mine(CallId(id)) {
            let Some(call) = self.calling.calls.get_mut(id).filter(|call| call.sent != super::calling::Sent::No) else {
                return Err(broken(format!("an ITEM of the call {id}, which waits for none")));
            };
            if flags.is_lagged() && (!call.is_subscription() || size > LARGEST_COUNT) {
                let reason = "an ITEM with LAGGED that is no count, or of a call that is no subscription";
                return Err(broken(format!("{reason}: {id}")));
            }
            if call.is_abandoned {
                return Ok(false);
            }
        } else if flags.is_lagged() {
            return Err(broken("an ITEM with LAGGED among arguments"));
        } else if self.serving.is_answered(id) {
            return Ok(false);
        }
        let Some(window) = self.incoming(id) else {
            return Err(broken(format!("an ITEM of the call {id}, which waits for none")));
        };
        match window.charge_item(size, flags.is_lagged()) {
            true => Ok(true),
            false => Err(broken(format!("more items of the call {id} than there is a window for"))),
        }
    }

    /// What carries no value.
    fn on_control(&mut self, kind: Kind, id: u64, body: &[u8], now: Instant) -> Result<(), Broken> {
        let has_body = matches!(kind, Kind::Credit | Kind::Goodbye);
        let needs_id = !matches!(kind, Kind::Credit | Kind::Ping | Kind::Pong | Kind::Goodbye);
        if !body.is_empty() && !has_body || id == 0 && needs_id || id != 0 && kind == Kind::Goodbye {
            return Err(broken(format!("a {kind} that is none")));
        }
        match kind {
            Kind::Credit => self.on_credit(id, body, now),
            Kind::Cancel => self.on_cancel(id),
            Kind::End => self.on_end(id),
            Kind::Open => self.on_open(id),
            Kind::Ping => self.on_ping(id, now),
            Kind::Pong => self.on_pong(id, now),
            Kind::Goodbye if body.is_empty() => {
                if !std::mem::replace(&mut self.calling.is_refused, true) {
                    self.events.push_back(PanpipeEvent::Draining);
                }
                Ok(())
            }
            Kind::Goodbye => {
                let hello::Reason { kind, text, nothing_ran } = hello::reason(body);
                let reason = format!("the other side closed: {text}");
                let (why, ran) = match nothing_ran {
                    true => (kind, crate::Ran::No),
                    false => (ErrorKind::ConnectionLost, crate::Ran::Maybe),
                };
                let lost = self.error(why, "calling").because(reason.clone());
                self.fail_calls(Some(&lost), nothing_ran);
                let error = self.error(kind, "receiving from").ran(ran);
                self.input.refuse(error.because(reason));
                self.finish();
                Ok(())
            }
            _ => Err(broken("a second HELLO")),
        }
    }

    fn on_credit(&mut self, id: u64, body: &[u8], now: Instant) -> Result<(), Broken> {
        let granted = body.try_into().map(u32::from_be_bytes).map_err(|_| broken("a CREDIT that is none"))?;
        if granted == 0 {
            self.count_idle(now)?;
        }
        let is_fine = match id {
            0 => self.grant_requests(granted),
            _ if !self.was_used(id) => return Err(broken(format!("a CREDIT for the call {id}, which was never made"))),
            _ => self.outgoing(id).is_none_or(|outgoing| outgoing.grant(granted)),
        };
        if !is_fine {
            return Err(broken("a window of more than 2^31 bytes"));
        }
        match id {
            0 => self.send_unsent(now),
            _ => self.send_waiting_items(id),
        }
        Ok(())
    }

    /// Whether the id is of a call that was made, by whichever side.
    fn was_used(&self, id: u64) -> bool {
        match self.is_mine(CallId(id)) {
            true => self.calling.was_used(id),
            false => id <= self.serving.last,
        }
    }

    fn on_cancel(&mut self, id: u64) -> Result<(), Broken> {
        if self.is_mine(CallId(id)) || !self.is_datagrams && !self.was_used(id) {
            return Err(broken(format!("a CANCEL of the call {id}, which was never made")));
        }
        if self.serving.is_answered(id) {
            self.late_cancels += 1;
            return match self.late_cancels > LATE_CANCELS {
                true => Err(broken("more than 1024 times CANCEL, one after another, for calls that are answered")),
                false => Ok(()),
            };
        }
        self.stop_serving(id, ErrorKind::Cancelled);
        Ok(())
    }

    fn on_end(&mut self, id: u64) -> Result<(), Broken> {
        if self.is_mine(CallId(id)) || !self.was_used(id) {
            return Err(broken(format!("an END of the call {id}, which was never made")));
        }
        if self.serving.is_answered(id) {
            return Ok(());
        }
        let streams = self.serving.streams(id).and_then(Option::as_mut);
        match streams.and_then(|streams| streams.incoming.take()) {
            Some(_) => {
                self.tell_of_call(PanpipeEvent::End { call: CallId(id) }, id);
                Ok(())
            }
            None => Err(broken(format!("an END of arguments that the call {id} does not have"))),
        }
    }

    fn on_open(&mut self, id: u64) -> Result<(), Broken> {
        let call = self.calling.calls.get_mut(id).filter(|call| call.is_subscription());
        match call {
            Some(call) if call.is_open => Err(broken(format!("a second OPEN of the call {id}"))),
            Some(call) if call.is_abandoned => Ok(()),
            Some(call) => {
                call.is_open = true;
                self.events.push_back(PanpipeEvent::Opened { call: CallId(id) });
                Ok(())
            }
            None => Err(broken(format!("an OPEN of the call {id}, which waits for none"))),
        }
    }

    fn on_ping(&mut self, id: u64, now: Instant) -> Result<(), Broken> {
        match id {
            0 => self.count_idle(now)?,
            _ if self.is_mine(CallId(id)) || !self.is_datagrams && id <= self.serving.last => {
                return Err(broken(format!("a PING with the id {id}, which is not new")));
            }
            _ if self.is_datagrams => {}
            _ => self.serving.last = id,
        }
        if id != 0 {
            if self.pongs.len() == PINGS {
                return Err(broken("more than 64 PINGs without a PONG"));
            }
            self.pongs.push_back(self.output.place());
        }
        self.output.push(Message::bare(Kind::Pong, id));
        Ok(())
    }

    fn on_pong(&mut self, id: u64, now: Instant) -> Result<(), Broken> {
        if id == 0 {
            return self.count_idle(now);
        }
        match self.flushes.iter().position(|flush| *flush == id) {
            Some(place) => {
                self.flushes.remove(place);
                self.send_unsent(now);
                self.events.push_back(PanpipeEvent::Flushed { flush: CallId(id) });
                Ok(())
            }
            None => Err(broken(format!("a PONG for the PING {id}, which was never sent"))),
        }
    }
}
