//! What is to be written: whole frames, and long messages that are cut as they go.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::ById;
use super::frame::{Flags, HEAD, Head, Kind};
use super::pieces::SMALLEST_PIECE;
use crate::spare;

/// A payload above this is cut into pieces of so many bytes.
pub(crate) const PIECE: usize = 256 << 10;

/// A shared payload of at least so many bytes is written from where it lies.
const SHARED: usize = 16 << 10;

/// So many long messages take turns; others wait for theirs.
const LANES: usize = 4;

/// A payload, borrowed or to be held.
pub enum Body<'a> {
    /// It is copied before the call returns.
    Slice(&'a [u8]),
    /// A large one is kept, not copied.
    Shared(Bytes),
}

impl Body<'_> {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Body::Slice(bytes) => bytes,
            Body::Shared(bytes) => bytes,
        }
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Body::Slice(bytes) => Bytes::copy_from_slice(bytes),
            Body::Shared(bytes) => bytes,
        }
    }
}

/// A message to be written: one frame, or several if it is long.
pub(crate) struct Message<'a> {
    pub(crate) kind: Kind,
    pub(crate) flags: Flags,
    pub(crate) id: u64,
    /// What the body has before the payload: a timeout.
    pub(crate) prefix: &'a [u8],
    pub(crate) name: &'a [u8],
    pub(crate) payload: Body<'a>,
}

impl<'a> Message<'a> {
    /// One without flags and payload.
    pub(crate) fn bare(kind: Kind, id: u64) -> Self {
        Message { kind, flags: Flags::NONE, id, prefix: &[], name: &[], payload: Body::Slice(&[]) }
    }

    pub(crate) fn with(kind: Kind, flags: Flags, id: u64, payload: Body<'a>) -> Self {
        Message { kind, flags, id, prefix: &[], name: &[], payload }
    }
}

/// A long message on its way.
struct Lane {
    kind: Kind,
    flags: Flags,
    prefix: Bytes,
    name: u16,
    /// All pieces but the first begin with nothing but their head.
    is_begun: bool,
    total: u32,
    rest: Bytes,
    /// What must not overtake it.
    behind: VecDeque<Held>,
}

/// A message that waits behind a long one.
struct Held {
    kind: Kind,
    flags: Flags,
    id: u64,
    prefix: Bytes,
    name: Bytes,
    payload: Bytes,
}

/// What is to be written: bytes in their order, and long messages of which a piece joins them whenever the one before is
/// written.
#[derive(Default)]
pub(crate) struct Output {
    ready: BytesMut,
    /// Bodies that are written from where they lie, each with what comes behind it.
    shared: VecDeque<(Bytes, BytesMut)>,
    /// Long messages by id. Each is the first of its id: others of it wait behind it.
    lanes: ById<Lane>,
    /// The next is the first.
    order: VecDeque<u64>,
    /// Which of the lanes is a CALL or SEND: later ones wait behind it.
    request: Option<u64>,
    /// Calls that wait behind this lane, so that what is said of them does too.
    held: ById<u64>,
    /// Bytes in lanes, and behind them.
    waiting: usize,
    /// A frame may have so many bytes where the link moves packets.
    packet: Option<usize>,
    /// Bytes that were made ready, and those of them that were written, since the beginning.
    queued: u64,
    gone: u64,
    /// Where the last piece of a long message ends.
    piece_end: u64,
    /// Nothing more is queued.
    is_closed: bool,
}

impl Output {
    /// Each frame stands behind its length, and is at most so large.
    pub(crate) fn use_packets(&mut self, most: usize) {
        self.packet = Some(most);
    }

    /// Bytes that wait to be written, now or later.
    #[inline]
    pub(crate) fn unwritten(&self) -> usize {
        (self.queued - self.gone) as usize + self.waiting
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queued == self.gone
    }

    /// Where the next frame begins; see [`is_gone`](Self::is_gone).
    #[inline]
    pub(crate) fn place(&self) -> u64 {
        self.queued
    }

    /// Whether any of what begins at this place is written.
    #[inline]
    pub(crate) fn is_gone(&self, place: u64) -> bool {
        self.gone > place
    }

    /// Bytes that were written since the beginning.
    #[inline]
    pub(crate) fn written_so_far(&self) -> u64 {
        self.gone
    }

    /// Whether the call of this id is a long one of which pieces are missing, or waits behind one.
    pub(crate) fn is_held(&self, id: u64) -> bool {
        self.lanes.get(&id).is_some_and(|lane| lane.kind == Kind::Call) || self.held.contains_key(&id)
    }

    /// Room for payload in a frame whose body has so much before it.
    #[inline]
    fn room(&self, before: usize) -> usize {
        self.packet.map_or(PIECE, |most| most.saturating_sub(HEAD + before).clamp(SMALLEST_PIECE, PIECE))
    }

    /// Queues a message.
    #[inline]
    pub(crate) fn push(&mut self, message: Message<'_>) {
        if self.is_closed {
            return;
        }
        if !self.lanes.is_empty()
            && let Some(lane) = self.lane_before(message.kind, message.id)
        {
            return self.hold(lane, message);
        }
        let size = message.payload.as_slice().len();
        let before = message.prefix.len() + message.name.len();
        if size > self.room(before) {
            return self.push_lane(message);
        }
        let head = Head {
            length: (before + size) as u32,
            kind: message.kind as u8,
            flags: message.flags,
            name: message.name.len() as u16,
            id: message.id,
        };
        match message.payload {
            Body::Shared(payload) if size >= SHARED && self.packet.is_none() => {
                self.append(&[&head.write(), message.prefix, message.name]);
                self.append_shared(payload);
            }
            payload => self.append(&[&head.write(), message.prefix, message.name, payload.as_slice()]),
        }
    }

    #[inline]
    fn append(&mut self, parts: &[&[u8]]) {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let prefix = if self.packet.is_some() { size_of::<u32>() } else { 0 };
        let end = match self.shared.back_mut() {
            Some((_, behind)) => behind,
            None => &mut self.ready,
        };
        if end.capacity() == 0 {
            *end = spare::take(spare::Room::Outbox);
        }
        self.queued += (prefix + total) as u64;
        end.reserve(prefix + total);
        if prefix > 0 {
            end.extend_from_slice(&(total as u32).to_be_bytes());
        }
        parts.iter().filter(|part| !part.is_empty()).for_each(|part| end.extend_from_slice(part));
    }

    fn append_shared(&mut self, body: Bytes) {
        self.queued += body.len() as u64;
        self.shared.push_back((body, BytesMut::new()));
    }

    /// The long message behind which the order of messages keeps this one.
    fn lane_before(&self, kind: Kind, id: u64) -> Option<u64> {
        if self.lanes.contains_key(&id) {
            return Some(id);
        }
        self.held.get(&id).copied().or(self.request.filter(|_| is_request(kind, id)))
    }

    #[cold]
    fn hold(&mut self, before: u64, message: Message<'_>) {
        let Some(lane) = self.lanes.get_mut(&before) else { return };
        if message.kind == Kind::Call {
            self.held.insert(message.id, before);
        }
        let held = Held {
            kind: message.kind,
            flags: message.flags,
            id: message.id,
            prefix: Bytes::copy_from_slice(message.prefix),
            name: Bytes::copy_from_slice(message.name),
            payload: message.payload.into_bytes(),
        };
        self.waiting += held.size();
        lane.behind.push_back(held);
    }

    #[cold]
    fn push_lane(&mut self, message: Message<'_>) {
        let mut prefix = BytesMut::with_capacity(message.prefix.len() + message.name.len());
        prefix.extend_from_slice(message.prefix);
        prefix.extend_from_slice(message.name);
        let rest = message.payload.into_bytes();
        self.waiting += rest.len();
        if is_request(message.kind, message.id) {
            self.request = Some(message.id);
        }
        let lane = Lane {
            kind: message.kind,
            flags: message.flags,
            prefix: prefix.freeze(),
            name: message.name.len() as u16,
            is_begun: false,
            total: rest.len() as u32,
            rest,
            behind: VecDeque::new(),
        };
        self.lanes.insert(message.id, lane);
        self.order.push_back(message.id);
        self.prepare();
    }

    /// Makes the next piece of a long message ready, once the one before is written.
    fn prepare(&mut self) {
        if self.gone < self.piece_end {
            return;
        }
        let Some(id) = self.order.pop_front() else { return };
        let Some(mut lane) = self.lanes.remove(&id) else { return };
        let total = lane.total.to_be_bytes();
        let (before, mut flags, name): ([&[u8]; 2], _, _) = match lane.is_begun {
            false => ([&total, &lane.prefix], lane.flags, lane.name),
            true => ([&[], &[]], Flags::NONE, 0),
        };
        let size = before[0].len() + before[1].len();
        let body = lane.rest.split_to(self.room(size).min(lane.rest.len()));
        let is_last = lane.rest.is_empty();
        if !is_last {
            flags.0 |= Flags::MORE;
        }
        let head = Head { length: (size + body.len()) as u32, kind: lane.kind as u8, flags, name, id }.write();
        self.waiting -= body.len();
        match self.packet {
            Some(_) => self.append(&[&head, before[0], before[1], &body]),
            None => {
                self.append(&[&head, before[0], before[1]]);
                self.append_shared(body);
            }
        }
        self.piece_end = self.queued;
        if is_last {
            return self.release(id, lane.behind);
        }
        lane.is_begun = true;
        self.lanes.insert(id, lane);
        // Those that are begun stay among the first.
        self.order.insert(self.order.len().min(LANES - 1), id);
    }

    fn release(&mut self, id: u64, behind: VecDeque<Held>) {
        if self.request == Some(id) {
            self.request = None;
        }
        for held in behind {
            self.waiting -= held.size();
            if held.kind == Kind::Call {
                self.held.remove(&held.id);
            }
            self.push(Message {
                kind: held.kind,
                flags: held.flags,
                id: held.id,
                prefix: &held.prefix,
                name: &held.name,
                payload: Body::Shared(held.payload),
            });
        }
    }

    /// What may be written now, in this order. The first is empty only when all are.
    #[inline]
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        let mut shared = self.shared.iter();
        match (self.ready.is_empty(), shared.next()) {
            (_, None) => [&self.ready, &[], &[]],
            (false, Some((body, behind))) => [&self.ready, body, behind],
            (true, Some((body, behind))) => [body, behind, shared.next().map_or(&[], |(body, _)| body)],
        }
    }

    /// Says that so many bytes of the [`parts`](Self::parts) are written.
    #[inline]
    pub(crate) fn written(&mut self, count: usize) {
        self.gone += count as u64;
        if count < self.ready.len() {
            self.ready.advance(count);
        } else {
            let ready = std::mem::take(&mut self.ready);
            if !self.shared.is_empty() {
                self.written_of_shared(count - ready.len());
            }
            let size = ready.capacity();
            if size > 0 {
                spare::give(spare::Room::Outbox, ready, size);
            }
        }
        if !self.order.is_empty() {
            self.prepare();
        }
    }

    #[cold]
    fn written_of_shared(&mut self, mut left: usize) {
        while let Some((body, _)) = self.shared.front_mut() {
            if left < body.len() {
                return body.advance(left);
            }
            left -= body.len();
            self.ready = self.shared.pop_front().map(|(_, behind)| behind).unwrap_or_default();
            let behind = left.min(self.ready.len());
            self.ready.advance(behind);
            left -= behind;
            if !self.ready.is_empty() {
                return;
            }
        }
    }

    /// Forgets the long messages, but for what is ready of them.
    pub(crate) fn drop_lanes(&mut self) {
        self.lanes.clear();
        self.order.clear();
        self.held.clear();
        self.request = None;
        self.waiting = 0;
    }

    /// Queues nothing more; what is ready can still be written.
    pub(crate) fn close(&mut self) {
        self.drop_lanes();
        self.is_closed = true;
    }

    /// Closes, and forgets all that is not written.
    pub(crate) fn clear(&mut self) {
        self.close();
        self.ready = BytesMut::new();
        self.shared.clear();
        self.queued = self.gone;
    }
}

fn is_request(kind: Kind, id: u64) -> bool {
    matches!(kind, Kind::Call | Kind::Send) || kind == Kind::Ping && id != 0
}

impl Held {
    fn size(&self) -> usize {
        self.prefix.len() + self.name.len() + self.payload.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: Kind, id: u64, size: usize) -> Message<'static> {
        Message::with(kind, Flags::NONE, id, Body::Shared(Bytes::from(vec![7; size])))
    }

    /// Writes everything, `step` bytes at a time; the kind and id of each frame, and how much is in it.
    fn frames(output: &mut Output, step: usize) -> Vec<(u8, u64, u32)> {
        let mut written = Vec::new();
        while !output.is_empty() {
            let parts = output.parts();
            assert!(!parts[0].is_empty(), "the first part is empty only when all are");
            let part = parts.concat();
            let count = part.len().min(step);
            written.extend_from_slice(&part[..count]);
            output.written(count);
        }
        assert_eq!((output.unwritten(), output.lanes.len(), output.held.len()), (0, 0, 0));
        let mut rest = &written[..];
        let mut frames = Vec::new();
        while let Some(head) = Head::read(rest) {
            rest = &rest[HEAD + head.length as usize..];
            frames.push((head.kind, head.id, head.length));
        }
        frames
    }

    #[test]
    fn what_is_written_from_where_it_lies_is_not_overtaken() {
        for step in [1, 1000, 100_000, 1 << 30] {
            let mut output = Output::default();
            output.push(message(Kind::Call, 1, SHARED));
            output.push(message(Kind::Call, 3, 10));
            output.push(message(Kind::Call, 5, SHARED));
            let wanted = vec![(2, 1, SHARED as u32), (2, 3, 10), (2, 5, SHARED as u32)];
            assert_eq!(frames(&mut output, step), wanted);
        }
    }

    #[test]
    fn what_is_said_of_a_call_waits_with_it() {
        for step in [1000, 100_000, 1 << 30] {
            let mut output = Output::default();
            output.push(message(Kind::Call, 1, 2 * PIECE));
            output.push(message(Kind::Call, 3, 10));
            output.push(message(Kind::Cancel, 3, 0));
            output.push(message(Kind::Cancel, 1, 0));
            output.push(message(Kind::Reply, 2, 20));
            let ids: Vec<_> = frames(&mut output, step).iter().map(|frame| (frame.0, frame.1)).collect();
            assert_eq!(ids, [(2, 1), (4, 2), (2, 1), (2, 3), (9, 3), (9, 1)]);
        }
    }

    #[test]
    fn long_messages_take_turns_and_leave_room_for_short_ones() {
        let mut output = Output::default();
        for id in 1..=6 {
            output.push(message(Kind::Reply, 2 * id, 3 * PIECE));
        }
        let mut turns = Vec::new();
        while !output.is_empty() {
            output.push(message(Kind::Reply, 100, 1));
            let part = output.parts().concat();
            turns.push(Head::read(&part).map(|head| head.id));
            output.written(part.len());
        }
        let wanted = [2, 2, 4, 6, 8, 2, 4, 6, 8, 10, 4, 6, 8, 10, 12, 10, 12, 12];
        assert_eq!(turns, wanted.map(Some));
    }
}
