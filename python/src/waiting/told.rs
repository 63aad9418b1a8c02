//! What has come, for whoever waits for it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use panpipe_link::blocking::Mail;
use panpipe_link::panpipe::{Failure, Payload, Request};
use panpipe_link::{CallId, Endpoint, Error, ErrorKind, Panpipe, PanpipeEvent, Ran, Result};

/// How a call has ended.
pub(super) enum Answer {
    Reply(Payload),
    Failed(Failure),
}

/// What is to be done by a thread that waits.
pub(super) enum Work {
    Call(Request),
    Send(Request),
    /// A subscriber has gone.
    Unsubscribe(CallId, ErrorKind),
}

/// Items that have come, and whether more may.
#[derive(Default)]
pub(super) struct Incoming {
    pub(super) items: VecDeque<Payload>,
    pub(super) has_ended: bool,
}

/// What has come, for whoever waits for it.
#[derive(Default)]
pub(super) struct Told {
    pub(super) answers: HashMap<u64, Answer>,
    pub(super) streams: HashMap<u64, Incoming>,
    /// Subscriptions that stand, and flushes that are done.
    pub(super) confirmed: HashSet<u64>,
    pub(super) work: VecDeque<Work>,
    /// Calls of the other side whose handlers are to stop.
    pub(super) stopped: HashMap<u64, ErrorKind>,
    pub(super) subscriptions: HashSet<u64>,
    pub(super) is_draining: bool,
    /// Why the connection is over.
    pub(super) ended: Option<Error>,
}

impl Mail<Panpipe> for Told {
    fn collect(&mut self, endpoint: &mut Endpoint<Panpipe>, now: Instant) {
        while let Some(event) = endpoint.next_event(now) {
            match event {
                PanpipeEvent::Call(request) => {
                    if request.flags.has_arguments() {
                        self.streams.insert(request.id.0, Incoming::default());
                    }
                    self.work.push_back(Work::Call(request));
                }
                PanpipeEvent::Send(request) => self.work.push_back(Work::Send(request)),
                PanpipeEvent::Reply { call, payload } => {
                    self.answers.insert(call.0, Answer::Reply(payload));
                }
                PanpipeEvent::Failed { call, failure } => {
                    self.answers.insert(call.0, Answer::Failed(failure));
                }
                PanpipeEvent::Item { call, payload } => match self.streams.get_mut(&call.0) {
                    Some(stream) => stream.items.push_back(payload),
                    None => taken(endpoint, call, &payload),
                },
                PanpipeEvent::End { call } => {
                    if let Some(stream) = self.streams.get_mut(&call.0) {
                        stream.has_ended = true;
                    }
                }
                PanpipeEvent::Opened { call } | PanpipeEvent::Flushed { flush: call } => {
                    self.confirmed.insert(call.0);
                }
                PanpipeEvent::Cancelled { call, why } if self.subscriptions.remove(&call.0) => {
                    self.work.push_back(Work::Unsubscribe(call, why));
                }
                PanpipeEvent::Cancelled { call, why } => {
                    self.stopped.insert(call.0, why);
                }
                PanpipeEvent::Room { .. } => {}
                PanpipeEvent::Draining => self.is_draining = true,
                PanpipeEvent::Lost(error) | PanpipeEvent::Ended(error) => {
                    self.ended = Some(error.unwrap_or_else(|| {
                        let error = endpoint.error(ErrorKind::ConnectionLost, "receiving from");
                        error.because("the other side closed")
                    }));
                }
            }
        }
    }
}

pub(super) fn taken(endpoint: &mut Endpoint<Panpipe>, call: CallId, item: &Payload) {
    if let Ok(session) = endpoint.session_for("streaming from") {
        session.taken(call, item.bytes.len());
    }
}

impl Told {
    /// What became of a call that waits, if it is over.
    pub(super) fn answer(&mut self, call: CallId, doing: &str) -> Option<Result<Answer>> {
        match self.answers.remove(&call.0) {
            Some(answer) => Some(Ok(answer)),
            None => self.ended.as_ref().map(|ended| Err(ended.clone().met_while(doing).ran(Ran::Maybe))),
        }
    }
}
