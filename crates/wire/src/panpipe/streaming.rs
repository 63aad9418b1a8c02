//! Items of calls, whichever side made them: their streams are in `stream.rs`.

use super::calling::Sent;
use super::frame::{Flags, Kind};
use super::output::{Body, Message};
use super::stream::{ITEM_COST, Outgoing, Policy, Sending, WINDOW, Waiting, Window};
use super::{Panpipe, PanpipeEvent};
use crate::error::{ErrorKind, Result};
use crate::plain::CallId;
use crate::session::Session;

/// The streams of a call.
pub(super) struct Streams {
    pub(super) incoming: Option<Window>,
    pub(super) outgoing: Option<Outgoing>,
}

impl Streams {
    pub(super) fn of(receives: bool, sends: bool, policy: Policy) -> Option<Box<Self>> {
        (receives || sends).then(|| {
            Box::new(Streams {
                incoming: receives.then(|| Window::new(WINDOW)),
                outgoing: sends.then(|| Outgoing::new(policy)),
            })
        })
    }
}

impl Panpipe {
    /// Whether an item of this call would be sent at once; if not, [`PanpipeEvent::Room`] tells when.
    pub fn has_room(&mut self, call: CallId) -> bool {
        match self.outgoing(call.0) {
            None => true,
            Some(outgoing) => {
                let has_room = outgoing.has_room();
                outgoing.is_blocked = !has_room;
                has_room
            }
        }
    }

    pub(super) fn outgoing(&mut self, id: u64) -> Option<&mut Outgoing> {
        let streams = match self.is_mine(CallId(id)) {
            true => &mut self.calling.calls.get_mut(id)?.streams,
            false => self.serving.streams(id)?,
        };
        streams.as_mut()?.outgoing.as_mut()
    }

    pub(super) fn incoming(&mut self, id: u64) -> Option<&mut Window> {
        let streams = match self.is_mine(CallId(id)) {
            true => &mut self.calling.calls.get_mut(id)?.streams,
            false => self.serving.streams(id)?,
        };
        streams.as_mut()?.incoming.as_mut()
    }

    /// Sends an item: of the arguments of a call of this side, or of the replies to a call of the other. Without room it
    /// waits, or the policy of the stream says what becomes of it.
    ///
    /// # Errors
    /// `too-large`; `closed` when nobody takes items of this call any more; `busy` when 1,024 items or 1 MiB wait and the
    /// policy is to block; `lagged` when it is to disconnect.
    pub fn item(&mut self, call: CallId, flags: Flags, payload: Body<'_>) -> Result<()> {
        let size = payload.as_slice().len();
        if size > self.peer_max {
            let reason = format!("the item is {size} bytes, and may be {} at most", self.peer_max);
            return Err(self.error(ErrorKind::TooLarge, "streaming to").because(reason));
        }
        let is_unsent = self.calling.calls.get(call.0).is_some_and(|call| call.sent == Sent::No);
        let Some(outgoing) = self.outgoing(call.0).filter(|outgoing| !outgoing.has_ended) else {
            return Err(self
                .error(ErrorKind::Closed, "streaming to")
                .because("nobody takes items of this call any more"));
        };
        let policy = outgoing.policy;
        let mut payload = Some(payload);
        let keep = || payload.take().map(Body::into_bytes).unwrap_or_default();
        let sending = outgoing.send(size, flags, !is_unsent, keep);
        match (sending, payload) {
            (Sending::Now, Some(payload)) => self.output.push(Message::with(Kind::Item, flags, call.0, payload)),
            (Sending::Now | Sending::Later, _) => {}
            (Sending::Full, _) if policy == Policy::Disconnect => {
                let error = self.error(ErrorKind::Lagged, "streaming to");
                return Err(error.because("the subscriber did not take 1,024 items, or 1 MiB"));
            }
            (Sending::Full, _) => {
                let error = self.error(ErrorKind::Busy, "streaming to");
                return Err(error.because("1,024 items, or 1 MiB of them, wait for the other side to take some"));
            }
        }
        Ok(())
    }

    /// Ends the arguments of a call of this side.
    pub fn end(&mut self, call: CallId) {
        let Some(known) = self.calling.calls.get_mut(call.0) else { return };
        let is_unsent = known.sent == Sent::No;
        let outgoing = known.streams.as_mut().and_then(|streams| streams.outgoing.as_mut());
        let Some(outgoing) = outgoing.filter(|outgoing| !outgoing.has_ended) else { return };
        outgoing.has_ended = true;
        if outgoing.is_drained() && !is_unsent {
            self.push_end(call.0);
        }
    }

    /// Says that no more arguments follow, which is the last that is sent of them.
    pub(super) fn push_end(&mut self, id: u64) {
        let call = self.calling.calls.get_mut(id);
        if let Some(streams) = call.and_then(|call| call.streams.as_mut()) {
            streams.outgoing = None;
            self.output.push(Message::bare(Kind::End, id));
        }
    }

    /// Says that the consumer has taken an item of so many bytes of payload.
    pub fn taken(&mut self, call: CallId, size: usize) {
        let granted = self.incoming(call.0).and_then(|window| window.give_back(size + ITEM_COST));
        if let Some(granted) = granted {
            let payload = granted.to_be_bytes();
            self.output.push(Message::with(Kind::Credit, Flags::NONE, call.0, Body::Slice(&payload)));
        }
    }

    /// Sends items that waited for room, and what waited behind them.
    pub(super) fn send_waiting_items(&mut self, id: u64) {
        loop {
            let Some(outgoing) = self.outgoing(id) else { return };
            match outgoing.next() {
                Some(Waiting::Item { flags, payload }) => {
                    self.output.push(Message::with(Kind::Item, flags, id, Body::Shared(payload)));
                }
                Some(Waiting::Lagged(count)) => {
                    let mut payload = Vec::new();
                    // An integer has a place in the model.
                    let _ = panpipe_values::encode(&count, &mut payload);
                    self.output.push(Message::with(Kind::Item, Flags(Flags::LAGGED), id, Body::Slice(&payload)));
                }
                None => break,
            }
        }
        let is_mine = self.is_mine(CallId(id));
        let Some(outgoing) = self.outgoing(id) else { return };
        if !outgoing.is_drained() {
            return;
        }
        let has_ended = outgoing.has_ended;
        if outgoing.is_blocked && outgoing.has_room() && !has_ended {
            outgoing.is_blocked = false;
            self.events.push_back(PanpipeEvent::Room { call: CallId(id) });
        }
        if has_ended && is_mine {
            self.push_end(id);
        } else if has_ended && let Some((kind, flags, payload)) = self.serving.take_answer(id) {
            self.answer(id, kind, flags, Body::Shared(payload));
        }
    }
}
