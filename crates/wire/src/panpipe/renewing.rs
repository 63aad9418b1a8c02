//! A session that outlasts its connection: docs/protocol.md, "Making a connection again".

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::calling::{Call, Sent, Unsent};
use super::frame::Kind;
use super::output::Output;
use super::pieces::Pieces;
use super::serving::Serving;
use super::stream::Policy;
use super::streaming::Streams;
use super::times::Times;
use super::{CALLS, Failure, Panpipe, PanpipeEvent, Side, WINDOW, Window};
use crate::error::{Error, ErrorKind, Ran};
use crate::input::Input;
use crate::plain::CallId;
use crate::session::Session;

/// What a peer takes that has not said anything yet.
pub(super) const PEER_MAX: usize = 16 << 20;

impl Panpipe {
    /// Makes the session outlast its connection: when that is lost, [`PanpipeEvent::Lost`] comes in place of
    /// [`PanpipeEvent::Ended`], and [`renew`](Self::renew) goes on with another one.
    ///
    /// What was not sent waits for it, and so do subscriptions, which are renewed, and calls that are
    /// [idempotent](Self::make_idempotent).
    pub fn outlast(&mut self) {
        self.outlasts = self.side == Side::Client;
    }

    /// Says that a call may run twice: it is made again when the connection was lost.
    pub fn make_idempotent(&mut self, call: CallId) {
        if let Some(kept) = self.calling.calls.get_mut(call.0).and_then(|call| call.kept.as_mut()) {
            kept.is_idempotent = true;
        }
    }

    /// Whether the connection was lost, and the session waits for another one.
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Goes on with another connection, which begins at the instant `now`.
    pub fn renew(&mut self, now: Instant) {
        self.is_lost = false;
        self.times = Times::new(now, self.needs_life_signs);
        self.greet();
        self.send_unsent(now);
    }

    /// Whether this is an end that a session survives which outlasts its connection: what the other side or this one did
    /// on purpose is none.
    pub(super) fn survives(&self, error: Option<&Error>) -> bool {
        let is_loss =
            |error: &Error| matches!(error.kind(), ErrorKind::ConnectionLost | ErrorKind::Io | ErrorKind::Refused);
        self.outlasts && error.is_none_or(is_loss)
    }

    /// The connection is lost: calls end that may have run, and the rest waits.
    #[cold]
    pub(super) fn lose(&mut self, error: Option<Error>) {
        if self.output_failure.is_none() {
            self.calling.note_unsent(&self.output);
        }
        let lost = match &error {
            Some(error) => error.clone(),
            None => {
                let lost = self.error(ErrorKind::ConnectionLost, "calling");
                lost.because(format!("{} before it answered", self.input.ending()))
            }
        };
        let lost = lost.met_while(format!("calling {}", self.address));
        for flush in std::mem::take(&mut self.flushes) {
            let failure = Failure::Local(lost.clone().ran(Ran::Maybe));
            self.events.push_back(PanpipeEvent::Failed { call: CallId(flush), failure });
        }
        self.fail_calls_in_flight(&lost);
        self.stop_all();
        self.is_lost = true;
        self.input = Input::new();
        self.output = Output::default();
        self.output_failure = None;
        (self.is_greeted, self.has_greeted) = (false, false);
        (self.peer_max, self.peer_calls) = (PEER_MAX, CALLS);
        self.calling.begin_anew(WINDOW);
        let is_draining = self.serving.is_draining;
        self.serving = Serving::default();
        self.serving.is_draining = is_draining;
        self.pieces = Vec::<Pieces>::new();
        self.filling = None;
        self.requests = Window::new(WINDOW);
        self.pongs = VecDeque::new();
        self.times = Times::new(self.now, false);
        self.seen = 0;
        self.events.push_back(PanpipeEvent::Lost(error));
    }

    /// Ends the calls that were sent, but for those that are to be made again.
    fn fail_calls_in_flight(&mut self, lost: &Error) {
        for id in self.calling.calls.ids() {
            let Some(call) = self.calling.calls.get_mut(id).filter(|call| call.sent != Sent::No) else { continue };
            let has_left = call.sent.has_left();
            let is_subscription = call.is_subscription();
            let again = match &call.kept {
                Some(kept) if !call.is_abandoned => Some(kept),
                _ => None,
            };
            // Arguments that are gone cannot be sent again.
            let again = again.filter(|kept| {
                (!has_left || kept.is_idempotent || is_subscription) && !(has_left && call.has_arguments())
            });
            if let Some(kept) = again {
                let (name, payload) = (kept.name.clone(), kept.payload.clone());
                let deadline = call.deadline();
                call.sent = Sent::No;
                call.is_open = false;
                let flags = call.flags();
                if has_left {
                    call.streams = Streams::of(flags.is_stream(), flags.has_arguments(), Policy::Block);
                }
                self.calling.wait(Unsent { kind: Kind::Call, flags, id, deadline, name, payload });
                continue;
            }
            let is_abandoned = call.is_abandoned;
            self.calling.calls.remove(id);
            if !is_abandoned {
                let ran = if has_left { Ran::Maybe } else { Ran::No };
                let failure = Failure::Local(lost.clone().ran(ran));
                self.events.push_back(PanpipeEvent::Failed { call: CallId(id), failure });
            }
        }
        self.calling.sort_unsent();
    }

    /// Makes a call again that the other side refused since it is closing, or a subscription that it ended for that, when
    /// another connection is there; whether it will be.
    pub(super) fn call_again(&mut self, kind: Kind, id: u64, answer: &Bytes) -> bool {
        if !self.outlasts || !self.calling.is_refused {
            return false;
        }
        let is_subscription = self.calling.calls.get(id).is_some_and(Call::is_subscription);
        let is_refused = match kind {
            Kind::Error => panpipe_values::Failure::decode(answer)
                .is_ok_and(|failure| failure.did_not_run && failure.code == ErrorKind::Refused.code()),
            _ => is_subscription,
        };
        let Some(call) = self.calling.calls.get_mut(id).filter(|call| is_refused && !call.is_abandoned) else {
            return false;
        };
        let Some(kept) = call.kept.as_ref().filter(|_| !call.has_arguments()) else {
            return false;
        };
        let unsent = Unsent {
            kind: Kind::Call,
            flags: call.flags(),
            id,
            deadline: call.deadline(),
            name: kept.name.clone(),
            payload: kept.payload.clone(),
        };
        call.sent = Sent::No;
        call.is_open = false;
        let flags = call.flags();
        call.streams = Streams::of(flags.is_stream(), false, Policy::Block);
        self.calling.wait(unsent);
        self.calling.sort_unsent();
        true
    }
}
