//! A connection on tokio. One task per connection reads and flushes; callers write at once where they can.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use panpipe_link::{Address, CallId, Endpoint, Error, Event, Link, Result};
use tokio::io::Interest;
use tokio::time::Sleep;

use crate::readiness::{Readiness, register};

/// How long a dropped connection may take to write what was sent on it.
const LINGER: Duration = Duration::from_secs(10);

/// Connects to an address.
///
/// # Errors
/// `invalid-address`, `unsupported`, `refused`, `not-found`, `permission`, `path-too-long`, `busy`, `io`, and
/// `deadline-exceeded` after the address's `timeout`.
pub async fn connect(address: &str) -> Result<Connection> {
    let address = panpipe_link::parse(address)?;
    let mut connecting = match panpipe_link::may_block(&address) {
        false => panpipe_link::connect(&address)?,
        // The resolver blocks; it gets a thread of its own for as long as it takes.
        true => {
            let address = address.clone();
            match tokio::task::spawn_blocking(move || panpipe_link::connect(&address)).await {
                Ok(connecting) => connecting?,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
    };
    let link = tokio::time::timeout(address.timeout, advance(&mut connecting)).await;
    Connection::new(link.unwrap_or_else(|_| Err(connecting.timed_out()))?, &address)
}

async fn advance(connecting: &mut panpipe_link::Connecting) -> Result<Link> {
    loop {
        match connecting.advance()? {
            panpipe_link::Progress::Connected(link) => return Ok(link),
            panpipe_link::Progress::WaitFor(pause) => tokio::time::sleep(pause).await,
            panpipe_link::Progress::WaitWritable(socket) => {
                let socket = register(&socket, Interest::WRITABLE, connecting.address().text())?;
                // An error is one of the socket's, and the next attempt to advance says which.
                let _ = socket.writable().await;
            }
        }
    }
}

/// Two connected connections inside this program, with the options of an address, such as `framing=lines`.
///
/// # Errors
/// `invalid-address` and `unsupported` for the options; `busy` when descriptors run out.
pub fn pair(options: &str) -> Result<(Connection, Connection)> {
    let address = panpipe_link::pair_address(options)?;
    let (one, other) = panpipe_link::pair()?;
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
}

struct State {
    endpoint: Endpoint,
    /// The calls that wait, from the oldest; the first is number `first_call`.
    calls: VecDeque<Slot>,
    first_call: u64,
    /// Tasks that wait for a message, for room to send, or for everything to be written.
    receivers: Vec<Waker>,
    senders: Vec<Waker>,
    driver: Option<Waker>,
    /// The driver has been woken and will flush: what is sent until then shares a write.
    corked: bool,
    /// The instant at which the driver looks for calls that are out of time.
    armed: Option<Instant>,
    /// The user has let go.
    dropped: bool,
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
            senders: Vec::new(),
            driver: None,
            corked: false,
            armed: None,
            dropped: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), readiness, timeout: address.timeout });
        tokio::spawn(drive(Arc::clone(&shared)));
        Ok(Connection { shared })
    }

    /// The address it was opened with.
    pub fn address(&self) -> Arc<str> {
        Arc::clone(self.shared.lock().endpoint.address())
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
        poll_fn(|cx| self.shared.lock().poll_recv(cx)).await
    }

    /// Sends a message; await the answer for the one that answers it, for the address's `timeout` at most.
    ///
    /// The message is on its way when this returns, so that several calls may be in flight before the first is awaited.
    /// Dropping the [`Call`] gives it up: the reply, should it come, is dropped.
    ///
    /// # Errors
    /// Of the answer: those of `send` and `recv`, `busy` and `deadline-exceeded`; the error says whether the peer may
    /// have run it.
    pub fn call(&self, message: impl AsRef<[u8]>) -> Call {
        self.call_within(self.shared.timeout, message)
    }

    /// As [`call`](Self::call), with a timeout of its own.
    ///
    /// # Errors
    /// Those of `call`.
    pub fn call_within(&self, timeout: Duration, message: impl AsRef<[u8]>) -> Call {
        let deadline = Instant::now().checked_add(timeout);
        let shared = Arc::clone(&self.shared);
        let mut state = self.shared.lock();
        let state = match state.has_room() {
            true => state.begin_call(message.as_ref(), deadline),
            // The peer reads too slowly: the call waits its turn, as a sender does.
            false => Progress::Waiting(message.as_ref().into(), deadline),
        };
        Call { shared, state }
    }

    /// Writes what was sent, then closes.
    ///
    /// # Errors
    /// `connection-lost` when not everything could be written; the connection is closed then too.
    pub async fn close(self) -> Result<()> {
        poll_fn(|cx| self.shared.poll_room(cx, |state| !state.endpoint.wants_write())).await;
        let mut state = self.shared.lock();
        let failure = state.endpoint.output_failure().cloned();
        state.endpoint.close();
        failure.map_or(Ok(()), Err)
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
        state.senders.push(cx.waker().clone());
        state.wake_driver();
        Poll::Pending
    }
}

impl State {
    fn has_room(&self) -> bool {
        !self.endpoint.is_congested()
    }

    fn begin_call(&mut self, message: &[u8], deadline: Option<Instant>) -> Progress {
        // A lone call goes out at once. With others in flight more will follow in this turn, and they share a write.
        let at_once = !self.corked && !self.endpoint.is_calling();
        let call = match self.endpoint.call(message, deadline, at_once) {
            Ok(call) => call,
            Err(error) => return Progress::Ended(Some(error)),
        };
        self.calls.push_back(Slot::default());
        debug_assert_eq!(call.0, self.first_call + self.calls.len() as u64 - 1);
        if self.endpoint.wants_write() {
            self.cork();
        }
        if deadline.is_some_and(|deadline| self.armed.is_none_or(|armed| deadline < armed)) {
            self.wake_driver();
        }
        Progress::Sent(call)
    }

    fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    fn cork(&mut self) {
        if !self.corked {
            self.corked = true;
            self.wake_driver();
        }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if let Err(error) = self.endpoint.check_usable("receiving from") {
            return Poll::Ready(Err(error));
        }
        let wanted = self.endpoint.wants_read();
        let event = loop {
            match self.endpoint.next_event(Instant::now(), true) {
                Some(Event::Reply { call, outcome }) => self.settle(call, outcome),
                event => break event,
            }
        };
        // Taking a message may have made room for the driver to read again.
        if !wanted && self.endpoint.wants_read() {
            self.wake_driver();
        }
        match event {
            Some(Event::Message(message)) => Poll::Ready(message.map(Some)),
            Some(Event::Ended(None)) => Poll::Ready(Ok(None)),
            Some(Event::Ended(Some(error))) => Poll::Ready(Err(error)),
            Some(Event::Reply { .. }) | None => {
                if !self.receivers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    self.receivers.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn settle(&mut self, call: CallId, outcome: Result<Bytes>) {
        let place = call.0.checked_sub(self.first_call).and_then(|place| self.calls.get_mut(place as usize));
        let Some(slot) = place else { return };
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
        slot.outcome = Some(outcome);
    }

    /// Hands out the replies that have come.
    fn dispatch(&mut self) {
        if !self.endpoint.is_calling() {
            return;
        }
        let now = Instant::now();
        while self.endpoint.is_calling() {
            match self.endpoint.next_event(now, false) {
                Some(Event::Reply { call, outcome }) => self.settle(call, outcome),
                _ => break,
            }
        }
    }

    /// The call's slot is of no use any more.
    fn finish(&mut self, call: CallId) {
        let place = (call.0 - self.first_call) as usize;
        if let Some(slot) = self.calls.get_mut(place) {
            slot.done = true;
        }
        while self.calls.front().is_some_and(|slot| slot.done) {
            self.calls.pop_front();
            self.first_call += 1;
        }
    }
}

/// A call on its way; awaiting it gives the reply.
#[must_use = "dropping a call gives it up; await it, or use `send` when no reply is expected"]
pub struct Call {
    shared: Arc<Shared>,
    state: Progress,
}

enum Progress {
    /// Waiting for room to be sent in.
    Waiting(Box<[u8]>, Option<Instant>),
    Sent(CallId),
    /// Over: with an error that is still to be told, or told already.
    Ended(Option<Error>),
}

impl Future for Call {
    type Output = Result<Bytes>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Call { shared, state: progress } = &mut *self;
        if let Progress::Waiting(message, deadline) = progress {
            std::task::ready!(shared.poll_room(cx, State::has_room));
            *progress = shared.lock().begin_call(message, *deadline);
        }
        let call = match progress {
            Progress::Sent(call) => *call,
            Progress::Ended(Some(error)) => return Poll::Ready(Err(error.clone())),
            _ => unreachable!("a call is not polled after its end"),
        };
        let mut state = shared.lock();
        let place = (call.0 - state.first_call) as usize;
        let slot = &mut state.calls[place];
        let Some(outcome) = slot.outcome.take() else {
            match &mut slot.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                waker => *waker = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        };
        state.finish(call);
        *progress = Progress::Ended(None);
        Poll::Ready(outcome)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Progress::Sent(call) = self.state {
            let mut state = self.shared.lock();
            state.endpoint.abandon(call);
            state.finish(call);
        }
    }
}

/// Reads, flushes and keeps time for a connection until it is closed.
async fn drive(shared: Arc<Shared>) {
    let mut alarm: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| poll_drive(&shared, &mut alarm, cx)).await;
    let mut state = shared.lock();
    state.endpoint.close();
    state.dispatch();
    for waker in std::mem::take(&mut state.receivers).into_iter().chain(std::mem::take(&mut state.senders)) {
        waker.wake();
    }
}

/// Ready when the connection is to be closed.
fn poll_drive(shared: &Shared, alarm: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> Poll<()> {
    let mut state = shared.lock();
    let state = &mut *state;
    state.corked = false;
    let flushed = shared.readiness.poll_flush(&mut state.endpoint, cx).is_ready();
    if flushed || !state.endpoint.is_congested() {
        for waker in state.senders.drain(..) {
            waker.wake();
        }
    }
    if state.dropped || state.endpoint.is_closed() {
        let over = flushed || poll_alarm(alarm, &mut state.armed, Some(Instant::now() + LINGER), cx).is_ready();
        if over || state.endpoint.is_closed() {
            return Poll::Ready(());
        }
    } else {
        let mut has_read = false;
        while shared.readiness.poll_read(&mut state.endpoint, cx).is_ready() {
            has_read = true;
            state.dispatch();
        }
        if has_read {
            for waker in state.receivers.drain(..) {
                waker.wake();
            }
        }
        while poll_alarm(alarm, &mut state.armed, state.endpoint.next_deadline(), cx).is_ready() {
            state.dispatch();
        }
    }
    if !state.driver.as_ref().is_some_and(|driver| driver.will_wake(cx.waker())) {
        state.driver = Some(cx.waker().clone());
    }
    Poll::Pending
}

/// Ready once each time that the alarm goes off. It is set anew only when it would be late.
fn poll_alarm(
    alarm: &mut Option<Pin<Box<Sleep>>>,
    armed: &mut Option<Instant>,
    deadline: Option<Instant>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if let Some(deadline) = deadline.filter(|deadline| armed.is_none_or(|armed| *deadline < armed)) {
        *armed = Some(deadline);
        match alarm {
            Some(alarm) => alarm.as_mut().reset(deadline.into()),
            None => *alarm = Some(Box::pin(tokio::time::sleep_until(deadline.into()))),
        }
    }
    match alarm {
        Some(alarm) if armed.is_some() => {
            std::task::ready!(alarm.as_mut().poll(cx));
            *armed = None;
            Poll::Ready(())
        }
        _ => Poll::Pending,
    }
}
