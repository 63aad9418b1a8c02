//! What the tasks of one connection share.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use panpipe_link::panpipe::{Body, ById, CallTable, Failure, Flags, Payload, Request, Side};
use panpipe_link::{
    Address, Alarm, CallId, Clock, Endpoint, Error, ErrorKind, Link, Panpipe, PanpipeEvent, Ran, Result,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::Handle;
use super::call::Progress;
use crate::readiness::{Readiness, register};
use crate::service::{Service, Subscription};

pub(crate) struct Shared {
    state: Mutex<State>,
    pub(super) address: Address,
    pub(super) timeout: Duration,
    pub(super) service: Option<Service>,
    /// What the descriptor wakes when there is input.
    pub(super) input: Waker,
}

/// Wakes who reads for all, and the driver, in case that one is not polled.
struct InputWaker(Weak<Shared>);

impl Wake for InputWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let Some(shared) = self.0.upgrade() else { return };
        let mut state = shared.lock();
        state.input_waits = true;
        if let (Some(_), Some(waker)) = (state.leader, &state.leader_waker) {
            waker.wake_by_ref();
            state.leader_is_woken = true;
        }
        state.wake_driver();
    }
}

pub(crate) struct State {
    pub(super) endpoint: Endpoint<Panpipe>,
    pub(super) readiness: Readiness,
    /// The calls and flushes of this side that somebody waits for.
    calls: CallTable<Slot>,
    /// The calls of the other side that are not answered at once.
    pub(super) serving: ById<Serving>,
    /// What came and has no handler yet.
    pub(super) inbound: VecDeque<Inbound>,
    /// Tasks that wait for room to send, or for everything to be written, and what each waits for.
    senders: Vec<(Until, Waker)>,
    /// Tasks that wait for the end.
    end_waiters: Vec<Waker>,
    /// Who of those that wait for input reads for all, and what wakes it.
    pub(super) leader: Option<CallId>,
    pub(super) leader_waker: Option<Waker>,
    /// It was woken together with the driver, which gives it a turn.
    pub(super) leader_is_woken: bool,
    /// There is input that nobody has looked at.
    pub(super) input_waits: bool,
    pub(super) driver: Option<Waker>,
    /// The driver has been woken and will flush: what is sent until then shares a write.
    pub(super) corked: bool,
    pub(super) clock: Clock,
    /// When it was last looked for events.
    pub(super) looked: Instant,
    /// Goes off when the driver must look for what is out of time; made when there is first something to look for, since
    /// it is a descriptor.
    alarm: Option<Alarm>,
    /// The user has let go.
    pub(super) dropped: bool,
    /// How often it was lost: ids of the other side's calls begin anew then, and what still runs answers nobody.
    pub(super) losses: u32,
    /// The connection is lost, and is to be made again.
    pub(super) lost: Option<Option<Error>>,
    /// The connection is over, and why if not cleanly.
    pub(super) ended: Option<Option<Error>>,
    pub(super) state: watch::Sender<ConnectionState>,
    /// What handlers call back through.
    pub(super) peer: Weak<Handle>,
}

/// What somebody waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// There is room for a call or an item.
    Room,
    /// A one-way message would not only make what waits at this side longer.
    RoomForMessages,
    /// All is written.
    Written,
    /// No call of the other side runs.
    Idle,
}

/// How a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// It can be called.
    Connected,
    /// It was lost and is being made again; calls wait. Only where the address says `reconnect=true`.
    Reconnecting,
    /// It has ended.
    Closed,
}

/// A call of this side.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) outcome: Option<Result<Payload, Failure>>,
    pub(super) items: VecDeque<Payload>,
    pub(super) is_open: bool,
    waker: Option<Waker>,
    /// Who waits for room to send arguments.
    pub(super) sender: Option<Waker>,
}

/// A call of the other side that is being answered.
#[derive(Default)]
pub(super) struct Serving {
    /// Arguments that came and were not taken.
    pub(super) items: VecDeque<Payload>,
    pub(super) items_ended: bool,
    /// Who waits for arguments, and who for room to send items.
    pub(super) taker: Option<Waker>,
    pub(super) senders: Vec<Waker>,
    /// What runs its handler.
    pub(super) task: Option<AbortHandle>,
    pub(super) subscription: Option<Subscription>,
    /// Why its handler is to stop.
    pub(super) stopped: Option<ErrorKind>,
}

/// What came for a handler.
pub(super) enum Inbound {
    Call(Request),
    Send(Request),
    /// A handler that is to stop.
    Stop(CallId, ErrorKind),
    /// Dropped where the topic is not locked.
    Unsubscribe(#[expect(dead_code, reason = "it is held to be dropped")] Subscription),
}

/// A call that waits for room to be sent in.
pub(super) struct Prepared {
    pub(super) method: Box<str>,
    pub(super) flags: Flags,
    pub(super) payload: Box<[u8]>,
    pub(super) deadline: Option<Instant>,
}

impl Prepared {
    pub(super) fn new(method: &str, flags: Flags, payload: &[u8], deadline: Option<Instant>) -> Self {
        Prepared { method: method.into(), flags, payload: payload.into(), deadline }
    }
}

impl Shared {
    pub(super) fn new(link: Link, address: &Address, side: Side, service: Option<Service>) -> Result<Arc<Self>> {
        let mut endpoint = Endpoint::open(link, address, side);
        if address.reconnect {
            endpoint.session_for("connecting to")?.outlast();
        }
        let readiness = Readiness::of(&endpoint)?;
        let state = State {
            endpoint,
            readiness,
            calls: CallTable::default(),
            serving: ById::default(),
            inbound: VecDeque::new(),
            senders: Vec::new(),
            end_waiters: Vec::new(),
            leader: None,
            leader_waker: None,
            leader_is_woken: false,
            // The first look at the descriptor asks to be woken by it.
            input_waits: true,
            driver: None,
            // What is sent before the driver runs goes out with the hello.
            corked: true,
            clock: Clock::start(),
            looked: Instant::now(),
            alarm: None,
            dropped: false,
            losses: 0,
            lost: None,
            ended: None,
            state: watch::Sender::new(ConnectionState::Connected),
            peer: Weak::new(),
        };
        Ok(Arc::new_cyclic(|shared| Shared {
            state: Mutex::new(state),
            address: address.clone(),
            timeout: address.timeout,
            service,
            input: Waker::from(Arc::new(InputWaker(Weak::clone(shared)))),
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // What a panicking task left is whole: no user code runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready when this holds, or the connection is closed or can send nothing more.
    #[inline]
    pub(super) fn poll_room(&self, cx: &mut Context<'_>, until: Until) -> Poll<()> {
        let mut state = self.lock();
        if state.has_room_now(until) {
            return Poll::Ready(());
        }
        state.wait_for_room(until, cx);
        Poll::Pending
    }
}

impl State {
    pub(super) fn has_room(&self) -> bool {
        !self.endpoint.is_congested()
    }

    pub(super) fn holds(&self, until: Until) -> bool {
        match until {
            Until::Room => self.has_room(),
            Until::RoomForMessages => self.has_room() && !self.endpoint.session().is_backed_up(),
            Until::Written => !self.endpoint.delays_close(),
            Until::Idle => {
                self.endpoint.session().serving() == 0 && self.inbound.is_empty() && !self.endpoint.delays_close()
            }
        }
    }

    /// Ready when the connection is over.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended.is_some() {
            return Poll::Ready(());
        }
        if !self.end_waiters.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.end_waiters.push(cx.waker().clone());
        }
        Poll::Pending
    }

    pub(super) fn begin_call(
        &mut self,
        method: &str,
        flags: Flags,
        payload: Body<'_>,
        deadline: Option<Instant>,
        now: Option<Instant>,
    ) -> Progress {
        // A lone call goes out at once. While others are not yet collected more will follow in this turn, and they
        // share a write.
        let at_once = !self.corked && self.calls.is_empty();
        let now = now.unwrap_or_else(Instant::now);
        let session = self.endpoint.session_for("calling");
        let call = match session.and_then(|session| session.call(method, flags, payload, deadline, now)) {
            Ok(call) => call,
            Err(error) => return Progress::Ended(Some(error)),
        };
        self.expect(call);
        if at_once {
            self.endpoint.flush();
        }
        if self.endpoint.wants_write() {
            self.cork();
        }
        if let Err(error) = self.set_alarm(deadline) {
            self.give_up(call);
            return Progress::Ended(Some(error));
        }
        Progress::Sent(call)
    }

    /// Makes a slot for what somebody will wait for.
    pub(super) fn expect(&mut self, call: CallId) {
        self.calls.insert(call.0, Slot::default());
    }

    /// Writes what was queued: at once if nothing was in this turn, else with the rest of it.
    pub(super) fn begin_writing(&mut self) {
        if !self.corked {
            self.endpoint.flush();
            // More may follow in this turn.
            self.corked = true;
            self.wake_driver();
        }
    }

    pub(super) fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// Whether this holds, or nothing can be sent any more.
    pub(super) fn has_room_now(&self, until: Until) -> bool {
        self.holds(until) || self.is_over()
    }

    /// Nothing more can be sent.
    fn is_over(&self) -> bool {
        self.endpoint.is_closed() || self.endpoint.output_failure().is_some() && self.ended.is_some()
    }

    /// Wakes those for whom there is room now.
    pub(super) fn wake_senders(&mut self) {
        let senders = std::mem::take(&mut self.senders);
        let is_over = self.is_over();
        for (until, waker) in senders {
            match is_over || self.holds(until) {
                true => waker.wake(),
                false => self.senders.push((until, waker)),
            }
        }
    }

    pub(super) fn cork(&mut self) {
        if !self.corked {
            self.corked = true;
            self.wake_driver();
        }
    }

    /// Reads on behalf of all who wait, unless somebody else does; whether anything came.
    pub(super) fn lead(&mut self, who: CallId, shared: &Shared, cx: &mut Context<'_>) -> bool {
        if *self.leader.get_or_insert(who) != who {
            return false;
        }
        match &mut self.leader_waker {
            Some(waker) => waker.clone_from(cx.waker()),
            waker => *waker = Some(cx.waker().clone()),
        }
        // Who reads is awake, and looks for itself.
        if let Some(slot) = self.calls.get_mut(who.0) {
            slot.waker = None;
        }
        let has_come = self.read(shared);
        if !self.inbound.is_empty() {
            self.wake_driver();
        }
        has_come
    }

    /// Reads what has come and hands it out; whether anything came.
    pub(super) fn read(&mut self, shared: &Shared) -> bool {
        self.input_waits = false;
        if self.readiness.poll_read(&mut self.endpoint, &mut Context::from_waker(&shared.input)).is_pending() {
            return false;
        }
        self.dispatch(Instant::now());
        true
    }

    /// Lets the driver read for those who still wait, until one of them does.
    pub(super) fn hand_over(&mut self, who: CallId) {
        if self.leader == Some(who) {
            self.leader = None;
            self.input_waits = true;
            self.wake_driver();
        }
    }

    /// Says who is to be woken when there is something for this call.
    pub(super) fn wait_for(&mut self, call: CallId, cx: &mut Context<'_>) {
        if let Some(slot) = self.calls.get_mut(call.0) {
            match &mut slot.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                waker => *waker = Some(cx.waker().clone()),
            }
        }
    }

    pub(super) fn slot(&mut self, call: CallId) -> Option<&mut Slot> {
        self.calls.get_mut(call.0)
    }

    /// Nobody waits for this call any more.
    pub(super) fn finish(&mut self, call: CallId) {
        if let Some(slot) = self.calls.remove(call.0)
            && let Some(sender) = slot.sender
        {
            sender.wake();
        }
        self.hand_over(call);
    }

    /// Waits until this holds, or for the end.
    pub(super) fn wait_for_room(&mut self, until: Until, cx: &mut Context<'_>) {
        if !self.senders.iter().any(|(known, waker)| *known == until && waker.will_wake(cx.waker())) {
            self.senders.push((until, cx.waker().clone()));
        }
        self.wake_driver();
    }

    /// Cancels a call because of what this side did, and tells who waits for it.
    pub(super) fn cancel(&mut self, call: CallId, reason: &str) {
        let Ok(session) = self.endpoint.session_for("calling") else { return };
        if let Some(ran) = session.cancel(call) {
            let error = self.endpoint.error(ErrorKind::Cancelled, "calling").because(reason.to_owned()).ran(ran);
            self.settle(call, Err(Failure::Local(error)));
        }
        self.cork();
    }

    /// Gives a call up.
    pub(super) fn give_up(&mut self, call: CallId) {
        if let Ok(session) = self.endpoint.session_for("calling")
            && session.cancel(call).is_some()
        {
            self.cork();
        }
        self.finish(call);
    }

    /// Ready each time that the alarm has gone off; it is set again by then.
    pub(super) fn poll_alarm(&mut self, timer: &mut Option<AsyncFd<Arc<OwnedFd>>>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(alarm) = &mut self.alarm else { return Poll::Pending };
        if timer.is_none() {
            *timer = register(alarm.descriptor(), Interest::READABLE, self.endpoint.address()).ok();
        }
        let Some(timer) = timer else { return Poll::Pending };
        let Poll::Ready(Ok(mut guard)) = timer.poll_read_ready(cx) else { return Poll::Pending };
        guard.clear_ready();
        alarm.acknowledge();
        // The session has only a bound on the next deadline; what it finds then is exact.
        self.dispatch(Instant::now());
        self.keep_time();
        // Calls that wait for room keep their own time.
        self.senders.drain(..).for_each(|(_, waker)| waker.wake());
        Poll::Ready(())
    }

    /// Sees to it that the driver looks at the session's next deadline.
    pub(super) fn keep_time(&mut self) {
        if let Err(error) = self.set_alarm(self.endpoint.next_deadline()) {
            self.endpoint.fail_output(error);
        }
    }

    /// Sees to it that the driver looks at this instant.
    #[inline]
    pub(super) fn set_alarm(&mut self, deadline: Option<Instant>) -> Result<()> {
        let Some(deadline) = deadline else { return Ok(()) };
        let alarm = match &mut self.alarm {
            Some(alarm) => alarm,
            None => {
                let alarm = Alarm::new()?;
                self.wake_driver();
                self.alarm.insert(alarm)
            }
        };
        alarm.set(deadline);
        Ok(())
    }

    /// Hands out what has come.
    pub(super) fn dispatch(&mut self, now: Instant) {
        self.looked = now;
        while let Some(event) = self.endpoint.next_event(now) {
            match event {
                PanpipeEvent::Reply { call, payload } => self.settle(call, Ok(payload)),
                PanpipeEvent::Failed { call, failure } => self.settle(call, Err(failure)),
                PanpipeEvent::Call(request) => {
                    if request.flags.has_arguments() {
                        self.serving.insert(request.id.0, Serving::default());
                    }
                    self.inbound.push_back(Inbound::Call(request));
                }
                PanpipeEvent::Send(request) => self.inbound.push_back(Inbound::Send(request)),
                PanpipeEvent::Item { call, payload } => self.take_item(call, payload),
                PanpipeEvent::End { call } => {
                    if let Some(serving) = self.serving.get_mut(&call.0) {
                        serving.items_ended = true;
                        wake(&mut serving.taker);
                    }
                }
                PanpipeEvent::Opened { call } => {
                    if let Some(slot) = self.calls.get_mut(call.0) {
                        slot.is_open = true;
                        wake(&mut slot.waker);
                    }
                }
                PanpipeEvent::Cancelled { call, why } => self.inbound.push_back(Inbound::Stop(call, why)),
                PanpipeEvent::Room { call } => {
                    if let Some(slot) = self.calls.get_mut(call.0) {
                        wake(&mut slot.sender);
                    }
                    if let Some(serving) = self.serving.get_mut(&call.0) {
                        serving.senders.drain(..).for_each(Waker::wake);
                    }
                }
                PanpipeEvent::Flushed { flush } => {
                    let nothing = Payload { flags: Flags::NONE, bytes: bytes::Bytes::new() };
                    self.settle(flush, Ok(nothing));
                }
                PanpipeEvent::Draining => {}
                PanpipeEvent::Lost(error) => {
                    self.lost = Some(error);
                    self.losses = self.losses.wrapping_add(1);
                    self.state.send_replace(ConnectionState::Reconnecting);
                    self.wake_driver();
                }
                PanpipeEvent::Ended(error) => self.end(error),
            }
        }
        if self.endpoint.wants_write() {
            self.cork();
        }
        if !self.senders.is_empty() {
            self.wake_senders();
        }
    }

    fn settle(&mut self, call: CallId, outcome: Result<Payload, Failure>) {
        if let Some(slot) = self.calls.get_mut(call.0) {
            slot.outcome = Some(outcome);
            wake(&mut slot.waker);
            wake(&mut slot.sender);
        }
    }

    fn take_item(&mut self, call: CallId, payload: Payload) {
        if let Some(slot) = self.calls.get_mut(call.0) {
            slot.items.push_back(payload);
            wake(&mut slot.waker);
        } else if let Some(serving) = self.serving.get_mut(&call.0) {
            serving.items.push_back(payload);
            wake(&mut serving.taker);
        } else {
            // Its handler did not want it.
            self.taken(call, payload.bytes.len());
        }
    }

    /// Says that the consumer has taken an item.
    pub(super) fn taken(&mut self, call: CallId, size: usize) {
        if let Ok(session) = self.endpoint.session_for("receiving from") {
            session.taken(call, size);
        }
        if self.endpoint.wants_write() {
            self.cork();
        }
    }

    /// Goes on over another link.
    pub(super) fn renew(&mut self, link: Link, address: &Address) -> Result<()> {
        self.lost = None;
        self.endpoint.renew(link, address, Instant::now());
        self.readiness = Readiness::of(&self.endpoint)?;
        self.input_waits = true;
        self.corked = true;
        self.state.send_replace(ConnectionState::Connected);
        self.dispatch(Instant::now());
        Ok(())
    }

    fn end(&mut self, error: Option<Error>) {
        let lost = match &error {
            Some(error) => error.clone(),
            None => self.endpoint.error(ErrorKind::ConnectionLost, "receiving from").because("the other side closed"),
        };
        // Calls were told by the session; flushes were not.
        for id in self.calls.ids() {
            if self.calls.get(id).is_some_and(|slot| slot.outcome.is_some()) {
                continue;
            }
            let failure = lost.clone().met_while(format!("flushing {}", self.endpoint.address())).ran(Ran::Maybe);
            self.settle(CallId(id), Err(Failure::Local(failure)));
        }
        self.ended = Some(error);
        self.state.send_replace(ConnectionState::Closed);
        self.end_waiters.drain(..).for_each(Waker::wake);
        self.wake_senders();
        self.wake_driver();
    }

    /// Closes the connection; everybody who waits is told.
    pub(super) fn close(&mut self) {
        self.endpoint.close();
        self.dispatch(Instant::now());
        if let Some(waker) = self.leader_waker.take() {
            waker.wake();
        }
        self.wake_senders();
        self.wake_driver();
    }
}

pub(super) fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
