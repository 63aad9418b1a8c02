//! A peer on tokio: calls, streams and topics, both ways. Whoever waits reads for all who wait; a task per connection
//! answers calls, flushes and keeps time.

mod answering;
mod arguments;
pub use arguments::{Arguments, Items};

mod call;
pub use call::Call;

mod driver;
mod state;
pub use state::ConnectionState;
pub(crate) use state::Shared;

mod stream;
pub use stream::{Stream, Subscription, Update};

mod subscriber;

use std::cell::Cell;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use panpipe_link::panpipe::{Body, Flags, Policy, Side};
use panpipe_link::{Address, Error, ErrorKind, Link, PANPIPE, Ran, Remote, Result};
use panpipe_values::{Value, with_arguments, with_value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::call::Progress;
use self::state::{Prepared, Until};
use crate::opening::{gone, open};
use crate::service::Service;

tokio::task_local! {
    /// When the call that this task answers is out of time: its own calls are then, too.
    static DEADLINE: Option<Instant>;
}

thread_local! {
    /// What arguments are written to on their way out.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How long a draining side waits for word that its goodbye was read.
const FLUSH: Duration = Duration::from_secs(1);

/// Larger scratch goes back to the system.
const SCRATCH_MAX: usize = 64 << 10;

/// Connects to an address.
///
/// # Errors
/// `invalid-address`, `unsupported`, `refused`, `not-found`, `permission`, `path-too-long`, `busy`, `io`, and
/// `deadline-exceeded` after the address's `timeout`. That the other side is no panpipe peer is told by the first call.
pub async fn connect(address: &str) -> Result<Peer> {
    connect_to(parse(address)?, None).await
}

/// As [`connect`], with a service that the other side may call.
///
/// # Errors
/// Those of `connect`.
pub async fn connect_with(address: &str, service: &Service) -> Result<Peer> {
    connect_to(parse(address)?, Some(service.clone())).await
}

/// Starts a program as a child of this process and connects to it, with the options of an address.
///
/// The child ends when the connection is closed or dropped, and with this process in any case.
///
/// # Errors
/// Those of [`connect`]: `not-found` when there is no such program, `permission` when it may not be run.
pub async fn spawn<S: AsRef<str>>(command: impl IntoIterator<Item = S>, options: &str) -> Result<Peer> {
    let address = panpipe_link::spawn_address(command, options)?;
    connect_to(speaking_panpipe(address)?, None).await
}

async fn connect_to(address: Address, service: Option<Service>) -> Result<Peer> {
    Peer::over(open(&address).await?, &address, Side::Client, service)
}

/// Two connected peers inside this program: `socket` (as when nothing is said) or `pipe`, with the options of an address.
/// Either may be given a service, which the other can call.
///
/// # Errors
/// `invalid-address` and `unsupported` for the options; `busy` when descriptors run out.
pub fn pair(kind: &str, first: Option<&Service>, second: Option<&Service>) -> Result<(Peer, Peer)> {
    let address = speaking_panpipe(panpipe_link::pair_address(kind)?)?;
    let (one, other) = panpipe_link::pair(&address)?;
    Ok((
        Peer::over(one, &address, Side::Client, first.cloned())?,
        Peer::over(other, &address, Side::Server, second.cloned())?,
    ))
}

/// An address that means the panpipe protocol.
pub(crate) fn parse(address: &str) -> Result<Address> {
    speaking_panpipe(panpipe_link::parse(address)?)
}

fn speaking_panpipe(address: Address) -> Result<Address> {
    if address.protocol == PANPIPE {
        return Ok(address);
    }
    let text = address.text();
    let error = Error::new(ErrorKind::Unsupported, format!("reading the address {text:?}")).at(text);
    Err(error.because(format!("its protocol is {}, whose messages are panpipe::plain's", address.protocol)))
}

/// The other end of a connection; any number of tasks may use it at once, and clones are the same connection.
///
/// When the last clone, and the last stream and subscription, is dropped the connection is closed: what was sent is still written, in the background.
#[derive(Clone)]
pub struct Peer(Arc<Handle>);

/// Closes the connection when it is dropped.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.dropped = true;
        state.wake_driver();
    }
}

impl Peer {
    /// A peer over `link`, and the task that drives it.
    pub(crate) fn over(link: Link, address: &Address, side: Side, service: Option<Service>) -> Result<Self> {
        let has_begun = link.has_begun();
        let shared = Shared::new(link, address, side, service)?;
        let peer = Peer(Arc::new(Handle(shared)));
        peer.0.0.lock().peer = Arc::downgrade(&peer.0);
        if has_begun {
            // The descriptor does not announce it.
            peer.0.0.lock().dispatch(Instant::now());
        }
        tokio::spawn(driver::drive(driver::End(Arc::clone(&peer.0.0))));
        Ok(peer)
    }

    /// The peer that holds this, unless its user has let go.
    pub(crate) fn of(shared: &Arc<Shared>) -> Option<Self> {
        let handle = shared.lock().peer.upgrade();
        handle.map(Peer)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// The address it was opened with.
    pub fn address(&self) -> Arc<str> {
        Arc::clone(self.shared().lock().endpoint.address())
    }

    /// What was known of the other end when the connection was made.
    pub fn remote(&self) -> Remote {
        self.shared().lock().endpoint.remote()
    }

    /// Answers that came after their call had ended, and were dropped.
    pub fn late_replies(&self) -> u64 {
        self.shared().lock().endpoint.session().counts().late_replies
    }

    /// Calls a method of the other side; await the answer for its reply, for the address's `timeout` at most.
    ///
    /// A tuple is several arguments, `()` none, [`Named`](crate::Named) names them; anything else is one. The call is on
    /// its way when this returns. Dropping the [`Call`] cancels it, and its handler is told to stop. Calls of a handler
    /// are out of time when its own call is.
    ///
    /// # Errors
    /// Of the answer: what the other side says (`remote` for a handler that failed, `not-found`, `invalid-arguments`,
    /// `busy`, `refused`; [`Error::remote`] has the rest), `deadline-exceeded`, `connection-lost`, `bad-peer`,
    /// `too-large`, `unsupported`, `closed`; it says whether the other side may have run it.
    pub fn call<R>(&self, method: &str, arguments: impl Serialize) -> Call<'_, R> {
        self.call_within(self.shared().timeout, method, arguments)
    }

    /// As [`call`](Self::call), with a timeout of its own.
    ///
    /// # Errors
    /// Those of `call`.
    pub fn call_within<R>(&self, timeout: Duration, method: &str, arguments: impl Serialize) -> Call<'_, R> {
        let progress = self.begin(method, &arguments, Flags::NONE, Some(timeout));
        Call { shared: self.shared(), progress, reply: PhantomData }
    }

    /// Calls a method whose arguments go on as a stream: what is sent on the first is a stream for its handler.
    ///
    /// # Errors
    /// Those of [`call`](Self::call).
    pub fn call_with_stream<I, R>(&self, method: &str, arguments: impl Serialize) -> (Arguments<I>, Call<'_, R>) {
        let flags = Flags::NONE.arguments(true);
        let progress = self.begin(method, &arguments, flags, Some(self.shared().timeout));
        (self.arguments_of(&progress), Call { shared: self.shared(), progress, reply: PhantomData })
    }

    /// Calls a method that answers with a stream. Dropping the [`Stream`] stops it. It is never out of time.
    ///
    /// # Errors
    /// Of its items: those of [`call`](Self::call).
    pub fn stream<T>(&self, method: &str, arguments: impl Serialize) -> Stream<T> {
        let progress = self.begin(method, &arguments, Flags::NONE.stream(true), None);
        Stream::new(self.clone(), progress)
    }

    /// As [`stream`](Self::stream), whose arguments go on as a stream too.
    ///
    /// # Errors
    /// Those of `stream`.
    pub fn stream_with_stream<I, T>(&self, method: &str, arguments: impl Serialize) -> (Arguments<I>, Stream<T>) {
        let progress = self.begin(method, &arguments, Flags::NONE.stream(true).arguments(true), None);
        (self.arguments_of(&progress), Stream::new(self.clone(), progress))
    }

    fn arguments_of<I>(&self, progress: &Progress) -> Arguments<I> {
        Arguments::new(self.clone(), progress.call())
    }

    /// Subscribes to a topic of the other side; returns once the subscription stands.
    ///
    /// # Errors
    /// `not-found` when there is no such topic, and those of [`call`](Self::call).
    pub async fn subscribe<T: DeserializeOwned + 'static>(
        &self,
        topic: &str,
        policy: Policy,
    ) -> Result<Subscription<T>> {
        let name = Policy::ALL.iter().find(|(_, known)| *known == policy).map_or("", |(name, _)| name);
        let settings = Value::Map(vec![("policy".into(), name.into())]);
        let progress = self.begin(topic, &settings, Flags::NONE.stream(true).topic(true), None);
        let mut subscription = Subscription::new(Stream::new(self.clone(), progress));
        match tokio::time::timeout(self.shared().timeout, subscription.stands()).await {
            Ok(stands) => stands.map(|()| subscription),
            Err(_) => {
                let error = self.shared().lock().endpoint.error(ErrorKind::DeadlineExceeded, "subscribing to");
                Err(error.because("it did not stand within the timeout").ran(Ran::Maybe))
            }
        }
    }

    /// Sends a one-way message: a call that nobody answers; returns once it is on its way. See [`flush`](Self::flush).
    ///
    /// # Errors
    /// `too-large`, `unsupported`, `refused`, `busy`, `closed`, `connection-lost`; nothing was sent then.
    pub async fn send(&self, method: &str, arguments: impl Serialize) -> Result<()> {
        self.send_as(method, Flags::NONE, |scratch, send| {
            with_arguments(&arguments, scratch, |sent| send(sent.raw, sent.named, sent.bytes))
        })
        .await
    }

    /// Publishes an item on a topic of the other side's service; returns once it is on its way.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub async fn publish(&self, topic: &str, item: impl Serialize) -> Result<()> {
        self.send_as(topic, Flags::NONE.topic(true), |scratch, send| {
            with_value(&item, scratch, |sent| send(sent.raw, false, sent.bytes))
        })
        .await
    }

    async fn send_as(
        &self,
        method: &str,
        flags: Flags,
        encode: impl Fn(
            &mut Vec<u8>,
            &mut dyn FnMut(bool, bool, &[u8]) -> Result<bool>,
        ) -> panpipe_values::Result<Result<bool>>,
    ) -> Result<()> {
        let shared = self.shared();
        loop {
            let mut scratch = SCRATCH.take();
            let sent = encode(&mut scratch, &mut |raw, named, bytes| {
                let mut state = shared.lock();
                if !state.has_room_now(Until::RoomForMessages) {
                    return Ok(false);
                }
                let (flags, now) = (flags.raw(raw).named(named), state.looked);
                state.endpoint.session_for("sending to")?.send(method, flags, Body::Slice(bytes), now)?;
                state.begin_writing();
                Ok(true)
            });
            keep(scratch);
            if sent.map_err(|error| self.unfit("sending to", error))?? {
                return Ok(());
            }
            poll_fn(|cx| shared.poll_room(cx, Until::RoomForMessages)).await;
        }
    }

    /// Waits until the other side has read all that was sent before.
    ///
    /// # Errors
    /// `deadline-exceeded` after the address's `timeout`, `connection-lost`, `closed`.
    pub async fn flush(&self) -> Result<()> {
        let flush = {
            let mut state = self.shared().lock();
            let now = state.looked;
            let flush = state.endpoint.session_for("flushing")?.flush(now)?;
            state.expect(flush);
            state.begin_writing();
            flush
        };
        let flushed = Call::<()> { shared: self.shared(), progress: Progress::Sent(flush), reply: PhantomData };
        match tokio::time::timeout(self.shared().timeout, flushed).await {
            Ok(flushed) => flushed,
            Err(_) => Err(self.shared().lock().endpoint.error(ErrorKind::DeadlineExceeded, "flushing")),
        }
    }

    /// What the other side's service offers: an OpenRPC document.
    ///
    /// # Errors
    /// Those of [`call`](Self::call).
    pub async fn describe(&self) -> Result<Value> {
        self.call("panpipe.describe", ()).await
    }

    /// Writes what was sent, for at most the address's `timeout`, then closes, and waits for a child at the other end to
    /// end: seven seconds if it has to be killed.
    ///
    /// # Errors
    /// `connection-lost` or `deadline-exceeded` when not everything could be written; it is closed then too.
    pub async fn close(&self) -> Result<()> {
        let shared = self.shared();
        let written = poll_fn(|cx| shared.poll_room(cx, Until::Written));
        let in_time = tokio::time::timeout(shared.timeout, written).await;
        let (failure, child) = {
            let mut state = shared.lock();
            let failure = match (state.endpoint.output_failure(), in_time) {
                (Some(failure), _) if failure.kind() != ErrorKind::Closed => Err(failure.clone()),
                (None, Err(_)) => Err(state.endpoint.error(ErrorKind::DeadlineExceeded, "closing").ran(Ran::Maybe)),
                _ => Ok(()),
            };
            state.close();
            (failure, state.endpoint.take_child())
        };
        if let Some(child) = child {
            // A task of its own, which goes on when whoever closes gives up. It ends early with the runtime alone.
            let _ = tokio::spawn(gone(child)).await;
        }
        failure
    }

    /// Begins no more calls of the other side, finishes those that run within `grace`, and closes.
    ///
    /// # Errors
    /// Those of [`close`](Self::close).
    pub async fn drain(&self, grace: Duration) -> Result<()> {
        {
            let mut state = self.shared().lock();
            if let Ok(session) = state.endpoint.session_for("closing") {
                session.say_goodbye();
            }
            state.end_subscriptions();
            state.begin_writing();
        }
        let idle = async {
            // What the other side sent before it read the goodbye is here by then, and is refused. Who reads only while
            // its user waits does not answer.
            let _ = tokio::time::timeout(FLUSH, self.flush()).await;
            poll_fn(|cx| self.shared().poll_room(cx, Until::Idle)).await;
        };
        let _ = tokio::time::timeout(grace, idle).await;
        self.close().await
    }

    /// How the connection is.
    pub fn state(&self) -> ConnectionState {
        *self.shared().lock().state.borrow()
    }

    /// Waits until the connection is something else than `known`, and tells what.
    pub async fn state_after(&self, known: ConnectionState) -> ConnectionState {
        let mut state = self.shared().lock().state.subscribe();
        let next = state.wait_for(|state| *state != known).await;
        next.map_or(ConnectionState::Closed, |state| *state)
    }

    /// Waits until the connection has ended: cleanly, or why not.
    ///
    /// # Errors
    /// `connection-lost`, `bad-peer`, `version`, `too-large`.
    pub async fn ended(&self) -> Result<()> {
        poll_fn(|cx| self.shared().lock().poll_ended(cx)).await;
        self.shared().lock().ended.clone().flatten().map_or(Ok(()), Err)
    }

    /// Begins a call, or has it wait for room.
    fn begin(&self, method: &str, arguments: &impl Serialize, flags: Flags, timeout: Option<Duration>) -> Progress {
        let shared = self.shared();
        let mut scratch = SCRATCH.take();
        let begun = with_arguments(arguments, &mut scratch, |sent| {
            let flags = flags.raw(sent.raw).named(sent.named);
            let mut state = shared.lock();
            let own = timeout.and_then(|timeout| state.clock.deadline_after(timeout));
            let inherited = DEADLINE.try_with(|deadline| *deadline).ok().flatten();
            let deadline = own.into_iter().chain(inherited).min();
            // A look at the clock costs a tenth of a call.
            let now = match (own, timeout, inherited) {
                (Some(own), Some(timeout), None) => own.checked_sub(timeout),
                _ => None,
            };
            match state.has_room() {
                true => state.begin_call(method, flags, Body::Slice(sent.bytes), deadline, now),
                // The other side reads too slowly: the call waits its turn, as a sender does.
                false => Progress::Waiting(Box::new(Prepared::new(method, flags, sent.bytes, deadline))),
            }
        });
        keep(scratch);
        begun.unwrap_or_else(|error| Progress::Ended(Some(self.unfit("calling", error))))
    }

    /// The error of a value that has no place in panpipe's values.
    fn unfit(&self, doing: &str, error: panpipe_values::Error) -> Error {
        self.shared().lock().endpoint.error(ErrorKind::Unsupported, doing).because(error)
    }
}

fn keep(scratch: Vec<u8>) {
    if scratch.capacity() <= SCRATCH_MAX {
        SCRATCH.set(scratch);
    }
}
