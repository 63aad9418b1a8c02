//! Long messages, piece by piece: docs/protocol.md, "Long messages".

use std::time::Instant;

use bytes::{Buf, BytesMut};

use super::Panpipe;
use super::frame::{Flags, HEAD, Head, Kind};
use super::receiving::{Broken, broken};
use crate::plain::CallId;

/// Messages that may be in pieces at once.
const MOST_IN_PIECES: usize = 4;

/// A piece that is not the last has at least so many bytes of payload.
pub(super) const SMALLEST_PIECE: usize = 1 << 10;

/// The rest of a piece of so many bytes is worth a read of its own.
pub(super) const LARGE_PIECE: usize = 16 << 10;

/// Room is taken for so many bytes of a long message before they come.
const TRUSTED: usize = 512 << 10;

/// A message that comes in pieces.
pub(super) struct Pieces {
    kind: Kind,
    id: u64,
    flags: Flags,
    name: usize,
    /// Bytes of its whole body: what comes before the payload, and that.
    total: usize,
    before: usize,
    body: BytesMut,
    /// It is too large, or nobody wants it: what comes of it is dropped.
    is_skipped: bool,
    skipped: usize,
}

impl Pieces {
    /// Makes room for so many bytes more, and for some of what else was announced.
    fn make_room(&mut self, count: usize) {
        if self.body.capacity() - self.body.len() < count {
            let missing = self.total - self.body.len();
            self.body.reserve(missing.min(self.body.len().max(TRUSTED)).max(count));
        }
    }
}

impl Panpipe {
    /// A piece of a long message, or a message between the pieces of others.
    #[cold]
    pub(super) fn on_piece(&mut self, kind: Kind, head: Head, mut body: BytesMut, now: Instant) -> Result<(), Broken> {
        let has_more = head.flags.has(Flags::MORE);
        let place = self.pieces.iter().position(|pieces| pieces.id == head.id && pieces.kind == kind);
        let Some(place) = place else {
            let is_request = |kind, id| matches!(kind, Kind::Call | Kind::Send) || kind == Kind::Ping && id != 0;
            let keeps_back = |pieces: &Pieces| is_request(pieces.kind, pieces.id) && is_request(kind, head.id);
            let same_call = |pieces: &Pieces| pieces.id == head.id;
            if self.pieces.iter().any(|pieces| keeps_back(pieces) || same_call(pieces)) {
                return Err(broken(format!("a {kind} between pieces of a message that it must not overtake")));
            }
            if has_more {
                return self.begin_pieces(kind, head, body);
            }
            return self.on_message(kind, head.flags, head.id, head.name.into(), body.freeze(), now);
        };
        if head.name > 0 || head.flags.0 & !Flags::MORE != 0 || has_more && body.len() < SMALLEST_PIECE {
            return Err(broken(format!("a piece of a {kind} that is none")));
        }
        let pieces = &mut self.pieces[place];
        let arrived = pieces.body.len() + pieces.skipped + body.len();
        if arrived > pieces.total || has_more == (arrived == pieces.total) {
            let announced = pieces.total - pieces.before;
            return Err(broken(format!("pieces that are not the {announced} bytes that were announced")));
        }
        if pieces.is_skipped {
            pieces.skipped += body.len();
        } else {
            pieces.make_room(body.len());
            pieces.body.extend_from_slice(&body);
        }
        body.clear();
        self.end_piece(place, has_more, now)
    }

    /// Hands a long message over, if this was its last piece.
    fn end_piece(&mut self, place: usize, has_more: bool, now: Instant) -> Result<(), Broken> {
        if has_more {
            self.input.limit(if self.packet.is_none() { HEAD } else { 0 });
            return Ok(());
        }
        let pieces = self.pieces.swap_remove(place);
        if pieces.is_skipped {
            return Ok(());
        }
        let body = pieces.body.freeze();
        match pieces.kind {
            Kind::Call | Kind::Send => {
                self.on_request(pieces.kind, pieces.flags, pieces.id, pieces.name, body, now).map_err(broken)
            }
            Kind::Item => {
                // Whoever wanted it may have gone since its first piece.
                if self.incoming(pieces.id).is_some() {
                    self.on_item(pieces.flags, pieces.id, body);
                }
                Ok(())
            }
            kind => self.on_message(kind, pieces.flags, pieces.id, 0, body, now),
        }
    }

    fn begin_pieces(&mut self, kind: Kind, head: Head, mut body: BytesMut) -> Result<(), Broken> {
        if self.pieces.len() == MOST_IN_PIECES {
            return Err(broken("more than 4 messages in pieces at once"));
        }
        let before = usize::from(head.name) + if kind == Kind::Call { size_of::<u32>() } else { 0 };
        if body.len() < size_of::<u32>() + before + SMALLEST_PIECE {
            let least = before + 4 + SMALLEST_PIECE;
            return Err(broken(format!(
                "a first piece of a {kind} with {} bytes, where {least} are the least",
                body.len()
            )));
        }
        let payload = body.get_u32() as usize;
        if body.len() - before >= payload {
            return Err(broken(format!("pieces that are not the {payload} bytes that were announced")));
        }
        let is_wanted = match kind {
            Kind::Call | Kind::Send => {
                self.admit_request(kind, head.flags, head.id, usize::from(head.name) + payload, payload)?
            }
            Kind::Item => {
                self.check_size(payload)?;
                self.admit_item(head.flags, head.id, payload)?
            }
            _ => {
                self.check_size(payload)?;
                if !self.is_mine(CallId(head.id)) || !self.calling.was_used(head.id) {
                    return Err(broken(format!("a {kind} to the call {}, which waits for none", head.id)));
                }
                true
            }
        };
        let total = before + payload;
        let mut whole = BytesMut::new();
        let skipped = if is_wanted {
            whole.reserve(total.min(body.len() + TRUSTED));
            whole.extend_from_slice(&body);
            0
        } else {
            body.len()
        };
        self.pieces.push(Pieces {
            kind,
            id: head.id,
            flags: Flags(head.flags.0 & !Flags::MORE),
            name: head.name.into(),
            total,
            before,
            body: whole,
            is_skipped: !is_wanted,
            skipped,
        });
        self.input.limit(if self.packet.is_none() { HEAD } else { 0 });
        Ok(())
    }

    /// Has the rest of a piece read to where the message is put together; whether it is one for which that can be done.
    #[cold]
    pub(super) fn fill_piece(&mut self, head: Head) -> bool {
        let length = head.length as usize;
        let has_more = head.flags.has(Flags::MORE);
        let is_it = |pieces: &&mut Pieces| {
            let arrived = pieces.body.len() + length;
            let is_right = arrived <= pieces.total && has_more == (arrived < pieces.total);
            pieces.id == head.id && pieces.kind as u8 == head.kind && !pieces.is_skipped && is_right
        };
        let is_plain = head.name == 0 && head.flags.0 & !Flags::MORE == 0 && self.packet.is_none();
        let Some(pieces) = self.pieces.iter_mut().find(is_it).filter(|_| is_plain) else { return false };
        self.input.take(HEAD);
        pieces.make_room(length);
        let there = self.input.take(self.input.len());
        pieces.body.extend_from_slice(&there);
        self.input.divert(std::mem::take(&mut pieces.body), length - there.len());
        self.filling = Some((pieces.kind, pieces.id, has_more));
        true
    }

    /// Goes on with a piece of which the rest was read to where it lies; whether it is there.
    #[cold]
    pub(super) fn fill(&mut self, now: Instant) -> bool {
        let Some(body) = self.input.diverted() else { return false };
        let Some((kind, id, has_more)) = self.filling.take() else { return false };
        let Some(place) = self.pieces.iter().position(|pieces| pieces.id == id && pieces.kind == kind) else {
            return true;
        };
        self.pieces[place].body = body;
        if let Err((kind, reason)) = self.end_piece(place, has_more, now) {
            self.break_off(kind, reason);
        }
        true
    }
}
