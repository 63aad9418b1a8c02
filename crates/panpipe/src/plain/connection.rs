//! A connection on tokio. Whoever waits reads for all who wait; a task per connection flushes and keeps time.

mod call;
pub use call::Call;

mod driver;
mod receiver;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use panpipe_link::{Address, Alarm, CallId, Clock, Endpoint, ErrorKind, Event, Link, Ran, Remote, Result};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use self::call::Progress;
use self::driver::{End, drive};
use self::receiver::Receiver;
use crate::opening::{gone, open};
use crate::readiness::{Readiness, register};

/// Connects to an address.
///
/// # Errors
/// `invalid-address`, `unsupported`, `refused`, `not-found`, `permission`, `path-too-long`, `busy`, `io`, and
/// `deadline-exceeded` after the address's `timeout`.
pub async fn connect(address: &str) -> Result<Connection> {
    connect_to(super::parse(address)?).await
}

/// Starts a program as a child of this process and connects to it, with the options of an address, such as
/// `framing=lines`.
///
/// The child ends when the connection is closed or dropped, and with this process in any case.
///
/// # Errors
/// Those of [`connect`]: `not-found` when there is no such program, `permission` when it may not be run.
pub async fn spawn<S: AsRef<str>>(command: impl IntoIterator<Item = S>, options: &str) -> Result<Connection> {
    connect_to(super::speaking_plain(panpipe_link::spawn_address(command, options)?)?).await
}

async fn connect_to(address: Address) -> Result<Connection> {
    Connection::new(open(&address).await?, &address)
}

/// Two connected connections inside this program: `socket` (as when nothing is said), `pipe` or `one-way`, of which
/// the first end reads and the second writes, with the options of an address, as `pipe?framing=lines` or `framing=lines`.
///
/// # Errors
/// `invalid-address` and `unsupported` for the options; `busy` when descriptors run out.
pub fn pair(kind: &str) -> Result<(Connection, Connection)> {
    let address = super::speaking_plain(panpipe_link::pair_address(kind)?)?;
    let (one, other) = panpipe_link::pair(&address)?;
    Ok((Connection::new(one, &address)?, Connection::new(other, &address)?))
}

/// A connection to a peer; any number of tasks may use it at once.
///
/// Dropping it closes it: what was sent is still written, in the background.
pub struct Connection {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    readiness: Readiness,
    timeout: Duration,
    /// What the descriptor wakes when there is input.
    input: Waker,
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
        }
        state.wake_driver();
    }
}

struct State {
    endpoint: Endpoint,
    /// The calls that wait, from the oldest; the first is number `first_call`.
    calls: VecDeque<Slot>,
    first_call: u64,
    /// Tasks that wait for a message, by what `leader` calls them.
    receivers: Vec<(Waiting, Waker)>,
    last_receiver: u64,
    /// Tasks that wait for room to send, or for everything to be written.
    senders: Vec<Waker>,
    /// Who of those that wait for input reads for all, and what wakes it.
    leader: Option<Waiting>,
    leader_waker: Option<Waker>,
    /// There is input that nobody has looked at.
    input_waits: bool,
    driver: Option<Waker>,
    /// The driver has been woken and will flush: what is sent until then shares a write.
    corked: bool,
    clock: Clock,
    /// Goes off when the driver must look for calls that are out of time; made for the first call.
    alarm: Option<Alarm>,
    /// The user has let go.
    dropped: bool,
}

/// Somebody who waits for input.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Call(CallId),
    Receiver(u64),
}

#[derive(Default)]
struct Slot {
    outcome: Option<Result<Bytes>>,
    waker: Option<Waker>,
    /// Nobody waits for it, or no more.
    done: bool,
}

impl Connection {
    /// A connection over `link`, and the task that drives it.
    pub(crate) fn new(link: Link, address: &Address) -> Result<Self> {
        let endpoint = Endpoint::new(link, address);
        let readiness = Readiness::of(&endpoint)?;
        let state = State {
            endpoint,
            calls: VecDeque::new(),
            first_call: 0,
            receivers: Vec::new(),
            last_receiver: 0,
            senders: Vec::new(),
            leader: None,
            leader_waker: None,
            input_waits: false,
            driver: None,
            corked: false,
            clock: Clock::start(),
            alarm: None,
            dropped: false,
        };
        let shared = Arc::new_cyclic(|shared| Shared {
            state: Mutex::new(state),
            readiness,
            timeout: address.timeout,
            input: Waker::from(Arc::new(InputWaker(Weak::clone(shared)))),
        });
        tokio::spawn(drive(End(Arc::clone(&shared))));
        Ok(Connection { shared })
    }

    /// The address it was opened with.
    pub fn address(&self) -> Arc<str> {
        Arc::clone(self.shared.lock().endpoint.address())
    }

    /// What was known of the other end when the connection was made.
    pub fn remote(&self) -> Remote {
        self.shared.lock().endpoint.remote()
    }

    /// Datagrams from the other side that were dropped for want of room; zero where none are.
    pub fn dropped(&self) -> u64 {
        self.shared.lock().endpoint.dropped()
    }

    /// Sends a message; returns once it is on its way, at the latest when the peer has read enough to make room.
    ///
    /// # Errors
    /// `too-large`, `unsupported`, `closed`, `connection-lost`; nothing was sent then.
    pub async fn send(&self, message: impl AsRef<[u8]>) -> Result<()> {
        poll_fn(|cx| self.shared.poll_room(cx, State::has_room)).await;
        let mut state = self.shared.lock();
        let at_once = !state.corked;
        state.endpoint.send(message.as_ref(), at_once)?;
        state.cork();
        Ok(())
    }

    /// Waits for the next message; `None` once the peer has closed between messages.
    ///
    /// Safe to cancel: what has arrived stays for the next call.
    ///
    /// # Errors
    /// `connection-lost`, `bad-peer`, `too-large`, `closed`.
    pub async fn recv(&self) -> Result<Option<Bytes>> {
        let number = {
            let mut state = self.shared.lock();
            state.last_receiver += 1;
            state.last_receiver
        };
        Receiver { shared: &self.shared, number }.await
    }

    /// Sends a message; await the answer for the one that answers it, for the address's `timeout` at most.
    ///
    /// The message is on its way when this returns, so that several calls may be in flight before the first is awaited.
    /// Dropping the [`Call`] gives it up: the reply, should it come, is dropped.
    ///
    /// # Errors
    /// Of the answer: those of `send` and `recv`, `busy` and `deadline-exceeded`; the error says whether the peer may
    /// have run it.
    pub fn call(&self, message: impl AsRef<[u8]>) -> Call<'_> {
        self.call_within(self.shared.timeout, message)
    }

    /// As [`call`](Self::call), with a timeout of its own.
    ///
    /// # Errors
    /// Those of `call`.
    pub fn call_within(&self, timeout: Duration, message: impl AsRef<[u8]>) -> Call<'_> {
        let shared = &*self.shared;
        let mut state = shared.lock();
        let deadline = state.clock.deadline_after(timeout);
        let state = match state.has_room() {
            true => state.begin_call(message.as_ref(), deadline),
            // The peer reads too slowly: the call waits its turn, as a sender does.
            false => Progress::Waiting(message.as_ref().into(), deadline),
        };
        Call { shared, state }
    }

    /// Hands the descriptors over, for a child that says `fd:N`: one to read from and, where that is not the same, one
    /// to write to. The other end does not notice.
    ///
    /// # Errors
    /// `busy` while messages or calls are on their way, which would be lost; `unsupported` for a FIFO; `closed`. It is
    /// closed then too.
    pub fn detach(self) -> Result<(OwnedFd, Option<OwnedFd>)> {
        self.shared.lock().endpoint.detach()
    }

    /// Writes what was sent, for at most the address's `timeout`, then closes, and waits for a child at the other end to
    /// end: seven seconds if it has to be killed.
    ///
    /// # Errors
    /// `connection-lost` or `deadline-exceeded` when not everything could be written; it is closed then too.
    pub async fn close(self) -> Result<()> {
        let written = poll_fn(|cx| self.shared.poll_room(cx, |state| !state.endpoint.delays_close()));
        let in_time = tokio::time::timeout(self.shared.timeout, written).await;
        let (failure, child) = {
            let mut state = self.shared.lock();
            let failure = match (state.endpoint.output_failure(), in_time) {
                (Some(failure), _) => Err(failure.clone()),
                (None, Err(_)) => Err(state.endpoint.error(ErrorKind::DeadlineExceeded, "closing").ran(Ran::Maybe)),
                (None, Ok(())) => Ok(()),
            };
            state.endpoint.close();
            (failure, state.endpoint.take_child())
        };
        if let Some(child) = child {
            // A task of its own, which goes on when whoever closes gives up. It ends early with the runtime alone.
            let _ = tokio::spawn(gone(child)).await;
        }
        failure
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.dropped = true;
        state.wake_driver();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panicking task left is whole: no user code runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready when `enough` holds of the outbox, or writing has failed.
    fn poll_room(&self, cx: &mut Context<'_>, enough: fn(&State) -> bool) -> Poll<()> {
        let mut state = self.lock();
        if enough(&state) || state.endpoint.is_closed() || state.endpoint.output_failure().is_some() {
            return Poll::Ready(());
        }
        if !state.senders.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.senders.push(cx.waker().clone());
        }
        state.wake_driver();
        Poll::Pending
    }
}

impl State {
    fn has_room(&self) -> bool {
        !self.endpoint.is_congested()
    }

    fn begin_call(&mut self, message: &[u8], deadline: Option<Instant>) -> Progress {
        // A lone call goes out at once. While others are not yet collected more will follow in this turn, and they
        // share a write.
        let at_once = !self.corked && self.calls.is_empty();
        let call = match self.endpoint.call(message, deadline, at_once) {
            Ok(call) => call,
            Err(error) => return Progress::Ended(Some(error)),
        };
        self.calls.push_back(Slot::default());
        debug_assert_eq!(call.0, self.first_call + self.calls.len() as u64 - 1);
        if self.endpoint.wants_write() {
            self.cork();
        }
        if let Err(error) = self.set_alarm(deadline) {
            self.endpoint.abandon(call);
            self.slot(call).outcome = Some(Err(error));
        }
        Progress::Sent(call)
    }

    fn set_alarm(&mut self, deadline: Option<Instant>) -> Result<()> {
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

    fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    fn wake_senders(&mut self) {
        for waker in self.senders.drain(..) {
            waker.wake();
        }
    }

    fn cork(&mut self) {
        if !self.corked {
            self.corked = true;
            self.wake_driver();
        }
    }

    /// Takes the next message, or the end.
    fn take_message(&mut self) -> Poll<Result<Option<Bytes>>> {
        if let Err(error) = self.endpoint.check_usable("receiving from") {
            return Poll::Ready(Err(error));
        }
        let now = Instant::now();
        loop {
            match self.endpoint.next_event(now, true) {
                Some(Event::Reply { call, outcome }) => self.settle(call, outcome),
                Some(Event::Message(message)) => return Poll::Ready(message.map(Some)),
                Some(Event::Ended(None)) => return Poll::Ready(Ok(None)),
                Some(Event::Ended(Some(error))) => return Poll::Ready(Err(error)),
                None => return Poll::Pending,
            }
        }
    }

    /// Reads on behalf of all who wait, unless somebody else does; whether anything came.
    fn lead(&mut self, who: Waiting, shared: &Shared, cx: &mut Context<'_>) -> bool {
        if *self.leader.get_or_insert(who) != who {
            return false;
        }
        match &mut self.leader_waker {
            Some(waker) => waker.clone_from(cx.waker()),
            waker => *waker = Some(cx.waker().clone()),
        }
        // Who reads is awake, and looks for itself.
        if let Waiting::Call(call) = who {
            self.slot(call).waker = None;
        }
        self.read(shared, Some(who))
    }

    /// Reads what has come and hands it out; whether anything came.
    fn read(&mut self, shared: &Shared, who: Option<Waiting>) -> bool {
        self.input_waits = false;
        if shared.readiness.poll_read(&mut self.endpoint, &mut Context::from_waker(&shared.input)).is_pending() {
            return false;
        }
        self.dispatch();
        // A message that answers no call is for the first who waits for one.
        self.wake_receiver(who);
        true
    }

    /// Wakes somebody else who waits for a message.
    fn wake_receiver(&self, who: Option<Waiting>) {
        if let Some((_, waker)) = self.receivers.iter().find(|(receiver, _)| Some(*receiver) != who) {
            waker.wake_by_ref();
        }
    }

    /// Lets the driver read for those who still wait, until one of them does.
    fn hand_over(&mut self, who: Waiting) {
        if self.leader != Some(who) {
            return;
        }
        self.leader = None;
        if self.somebody_waits() {
            self.input_waits = true;
            self.wake_driver();
        }
    }

    fn somebody_waits(&self) -> bool {
        let waits = |slot: &Slot| slot.outcome.is_none() && !slot.done && slot.waker.is_some();
        self.leader.is_some() || !self.receivers.is_empty() || self.calls.iter().any(waits)
    }

    /// The slot of a call that is not finished.
    fn slot(&mut self, call: CallId) -> &mut Slot {
        &mut self.calls[(call.0 - self.first_call) as usize]
    }

    fn settle(&mut self, call: CallId, outcome: Result<Bytes>) {
        let place = call.0.checked_sub(self.first_call).and_then(|place| self.calls.get_mut(place as usize));
        let Some(slot) = place else { return };
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
        slot.outcome = Some(outcome);
        // A later call may have waited for this one's end.
        if self.endpoint.wants_write() {
            self.cork();
        }
    }

    /// Ready each time that the alarm has gone off; it is set again by then.
    fn poll_alarm(&mut self, timer: &mut Option<AsyncFd<Arc<OwnedFd>>>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(alarm) = &mut self.alarm else { return Poll::Pending };
        if timer.is_none() {
            *timer = register(alarm.descriptor(), Interest::READABLE, self.endpoint.address()).ok();
        }
        let Some(timer) = timer else { return Poll::Pending };
        let Poll::Ready(Ok(mut guard)) = timer.poll_read_ready(cx) else { return Poll::Pending };
        guard.clear_ready();
        alarm.acknowledge();
        let now = Instant::now();
        // The session has only a bound on the next deadline; what it finds then is exact.
        self.dispatch_at(now);
        if let (Some(alarm), Some(deadline)) = (&mut self.alarm, self.endpoint.next_deadline()) {
            alarm.set(deadline);
        }
        // Calls that wait for room keep their own time.
        self.wake_senders();
        Poll::Ready(())
    }

    /// Hands out the replies that have come.
    fn dispatch(&mut self) {
        if self.endpoint.is_calling() {
            self.dispatch_at(Instant::now());
        }
    }

    fn dispatch_at(&mut self, now: Instant) {
        while let Some(Event::Reply { call, outcome }) = self.endpoint.next_event(now, false) {
            self.settle(call, outcome);
        }
    }

    /// The call's slot is of no use any more.
    fn finish(&mut self, call: CallId) {
        self.slot(call).done = true;
        while self.calls.front().is_some_and(|slot| slot.done) {
            self.calls.pop_front();
            self.first_call += 1;
        }
    }
}
