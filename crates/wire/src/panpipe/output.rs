//! What is to be written: whole frames, and long messages that are cut as they go.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::frame::{Flags, HEAD, Head, Kind};
use crate::spare;

/// A payload above this is cut into pieces of so many bytes.
pub(crate) const PIECE: usize = 256 << 10;

/// A shared payload of at least so many bytes is written from where it lies.
const SHARED: usize = 16 << 10;

/// So many long messages take turns; others wait.
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
    id: u64,
    prefix: Bytes,
    name: u16,
    /// All pieces but the first begin with nothing but their head.
    is_begun: bool,
    /// In one frame: it is only too large to be copied.
    is_whole: bool,
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

/// The piece that is written next, or being written.
struct Piece {
    head: BytesMut,
    body: Bytes,
    /// The place of the lane that ends with it. What that lane keeps back would overtake the piece before it is written.
    ends: Option<usize>,
}

/// What is to be written.
#[derive(Default)]
pub(crate) struct Output {
    ready: BytesMut,
    lanes: VecDeque<Lane>,
    turn: usize,
    piece: Option<Piece>,
    /// Some of the piece is written, so that the rest comes before anything else.
    is_piece_begun: bool,
    /// Bytes in lanes, and behind them.
    waiting: usize,
    /// A payload of a frame may have so many bytes where the link moves packets.
    packet: Option<usize>,
    /// Bytes that went into `ready` and out of it since the beginning.
    queued: u64,
    gone: u64,
    /// Bytes that were written, wherever they came from.
    pub(crate) written: u64,
}

impl Output {
    /// Each frame stands behind its length, and is at most so large.
    pub(crate) fn use_packets(&mut self, most: usize) {
        self.packet = Some(most);
    }

    pub(crate) fn unwritten(&self) -> usize {
        let piece = self.piece.as_ref().map_or(0, |piece| piece.head.len() + piece.body.len());
        self.ready.len() + piece + self.waiting
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.piece.is_none()
    }

    /// Where the next frame begins; see [`is_gone`](Self::is_gone).
    pub(crate) fn place(&self) -> u64 {
        self.queued
    }

    /// Whether any of what begins at this place is written.
    pub(crate) fn is_gone(&self, place: u64) -> bool {
        self.gone > place
    }

    /// Whether the message of this id is a long one of which nothing is written.
    pub(crate) fn is_held(&self, id: u64) -> bool {
        let waits = |lane: &Lane| lane.id == id && !lane.is_begun || lane.behind.iter().any(|held| held.id == id);
        self.lanes.iter().any(waits)
    }

    /// Room for payload in a frame whose body has so much before it.
    fn room(&self, before: usize) -> usize {
        self.packet.map_or(PIECE, |most| most.saturating_sub(HEAD + before).min(PIECE))
    }

    /// Queues a message.
    #[inline]
    pub(crate) fn push(&mut self, message: Message<'_>) {
        if !self.lanes.is_empty() && self.must_wait(message.kind, message.id) {
            return self.hold(message);
        }
        let size = message.payload.as_slice().len();
        let before = message.prefix.len() + message.name.len();
        let is_shared = matches!(message.payload, Body::Shared(_)) && size >= SHARED && self.packet.is_none();
        if is_shared || size > self.room(before) {
            return self.push_lane(message, size > self.room(before));
        }
        let head = Head {
            length: (before + size) as u32,
            kind: message.kind as u8,
            flags: message.flags,
            name: message.name.len() as u16,
            id: message.id,
        };
        self.append(&[&head.write(), message.prefix, message.name, message.payload.as_slice()]);
    }

    #[inline]
    fn append(&mut self, parts: &[&[u8]]) {
        if self.ready.capacity() == 0 {
            self.ready = spare::take(spare::Room::Outbox);
        }
        let total: usize = parts.iter().map(|part| part.len()).sum();
        self.queued += total as u64;
        match self.packet {
            None => self.ready.reserve(total),
            Some(_) => {
                self.ready.reserve(total + size_of::<u32>());
                self.ready.extend_from_slice(&(total as u32).to_be_bytes());
                self.queued += size_of::<u32>() as u64;
            }
        }
        parts.iter().filter(|part| !part.is_empty()).for_each(|part| self.ready.extend_from_slice(part));
    }

    /// Whether the order of messages keeps this one behind a long one.
    fn must_wait(&self, kind: Kind, id: u64) -> bool {
        self.lanes.iter().any(|lane| lane.keeps_back(kind, id))
    }

    #[cold]
    fn hold(&mut self, message: Message<'_>) {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.keeps_back(message.kind, message.id)) else { return };
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
    fn push_lane(&mut self, message: Message<'_>, is_cut: bool) {
        let mut prefix = BytesMut::with_capacity(message.prefix.len() + message.name.len());
        prefix.extend_from_slice(message.prefix);
        prefix.extend_from_slice(message.name);
        let rest = message.payload.into_bytes();
        self.waiting += rest.len();
        self.lanes.push_back(Lane {
            kind: message.kind,
            flags: message.flags,
            id: message.id,
            prefix: prefix.freeze(),
            name: message.name.len() as u16,
            is_begun: false,
            is_whole: !is_cut,
            total: rest.len() as u32,
            rest,
            behind: VecDeque::new(),
        });
        self.prepare();
    }

    /// Makes the next piece, if none waits.
    fn prepare(&mut self) {
        if self.piece.is_some() || self.lanes.is_empty() || self.packet.is_some() && !self.ready.is_empty() {
            return;
        }
        self.turn = (self.turn + 1) % self.lanes.len().min(LANES);
        let turn = self.turn;
        let (before, is_first) = {
            let lane = &self.lanes[turn];
            (if lane.is_begun { 0 } else { lane.prefix.len() + size_of::<u32>() }, !lane.is_begun)
        };
        let room = self.room(before);
        let lane = &mut self.lanes[turn];
        let mut flags = if is_first { lane.flags } else { Flags::NONE };
        let body = lane.rest.split_to(room.min(lane.rest.len()));
        let is_last = lane.rest.is_empty();
        if !is_last {
            flags.0 |= Flags::MORE;
        }
        let before: &[&[u8]] = match (is_first, lane.is_whole) {
            (false, _) => &[],
            (true, true) => &[&lane.prefix],
            (true, false) => &[&lane.total.to_be_bytes(), &lane.prefix],
        };
        let length = before.iter().map(|part| part.len()).sum::<usize>() + body.len();
        let name = if is_first { lane.name } else { 0 };
        let head = Head { length: length as u32, kind: lane.kind as u8, flags, name, id: lane.id };
        let mut start = BytesMut::with_capacity(HEAD + length - body.len());
        start.extend_from_slice(&head.write());
        before.iter().for_each(|part| start.extend_from_slice(part));
        lane.is_begun = true;
        self.waiting -= body.len();
        if self.packet.is_some() {
            self.append(&[&start, &body]);
            if is_last {
                self.end_lane(turn);
            }
        } else {
            self.piece = Some(Piece { head: start, body, ends: is_last.then_some(turn) });
        }
    }

    /// A message of a lane is written, and what it kept back may follow.
    fn end_lane(&mut self, place: usize) {
        if let Some(lane) = self.lanes.remove(place) {
            self.release(lane.behind);
        }
    }

    fn release(&mut self, behind: VecDeque<Held>) {
        for held in behind {
            self.waiting -= held.size();
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

    /// What may be written now, in this order.
    #[inline]
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        match &self.piece {
            None => [&self.ready, &[], &[]],
            Some(piece) if self.is_piece_begun && piece.head.is_empty() => [&piece.body, &self.ready, &[]],
            Some(piece) if self.is_piece_begun => [&piece.head, &piece.body, &self.ready],
            Some(piece) if self.ready.is_empty() => [&piece.head, &piece.body, &[]],
            Some(piece) => [&self.ready, &piece.head, &piece.body],
        }
    }

    /// Says that so many bytes of the [`parts`](Self::parts) are written.
    #[inline]
    pub(crate) fn written(&mut self, count: usize) {
        self.written += count as u64;
        let mut left = count;
        if self.is_piece_begun {
            left = self.written_of_piece(left);
        }
        let ready = left.min(self.ready.len());
        self.gone += ready as u64;
        if ready < self.ready.len() {
            self.ready.advance(ready);
        } else if self.ready.capacity() > 0 {
            let ready = std::mem::take(&mut self.ready);
            let size = ready.capacity();
            spare::give(spare::Room::Outbox, ready, size);
        }
        left -= ready;
        if left > 0 {
            self.is_piece_begun = true;
            self.written_of_piece(left);
        }
        if !self.lanes.is_empty() {
            self.prepare();
        }
    }

    /// Tells how many bytes were of what comes behind the piece.
    #[cold]
    fn written_of_piece(&mut self, count: usize) -> usize {
        let Some(piece) = &mut self.piece else { return count };
        let head = count.min(piece.head.len());
        piece.head.advance(head);
        let body = (count - head).min(piece.body.len());
        piece.body.advance(body);
        if piece.body.is_empty() {
            let ends = piece.ends;
            self.piece = None;
            self.is_piece_begun = false;
            if let Some(place) = ends {
                self.end_lane(place);
            }
        }
        count - head - body
    }

    /// Forgets the long messages of which no piece is ready.
    pub(crate) fn drop_lanes(&mut self) {
        self.lanes.clear();
        self.waiting = 0;
    }

    /// Forgets all that is not written.
    pub(crate) fn clear(&mut self) {
        self.drop_lanes();
        self.ready = BytesMut::new();
        self.piece = None;
        self.is_piece_begun = false;
    }
}

impl Lane {
    fn keeps_back(&self, kind: Kind, id: u64) -> bool {
        let is_request = |kind, id| matches!(kind, Kind::Call | Kind::Send) || matches!(kind, Kind::Ping) && id != 0;
        self.id == id || is_request(self.kind, self.id) && is_request(kind, id)
    }
}

impl Held {
    fn size(&self) -> usize {
        self.prefix.len() + self.name.len() + self.payload.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ids of the frames that are written, in steps of so many bytes.
    fn ids(output: &mut Output, step: usize) -> Vec<u64> {
        let mut bytes = Vec::new();
        while !output.is_empty() {
            let parts = output.parts().concat();
            let count = step.min(parts.len());
            bytes.extend_from_slice(&parts[..count]);
            output.written(count);
        }
        let mut ids = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = rest.get_u32() as usize;
            rest.advance(4);
            ids.push(rest.get_u64());
            rest.advance(length);
        }
        ids
    }

    #[test]
    fn what_is_ordered_does_not_overtake_a_shared_payload() {
        for step in [1, 1000, 19_999, 1 << 20] {
            let mut output = Output::default();
            for id in [1, 3, 7] {
                let payload = Body::Shared(Bytes::from(vec![0; 20_000]));
                output.push(Message { name: b"x", ..Message::with(Kind::Send, Flags::NONE, id, payload) });
                output.push(Message::bare(Kind::Ping, id + 2));
            }
            assert_eq!(ids(&mut output, step), [1, 3, 3, 5, 7, 9], "{step}");
        }
    }
}
