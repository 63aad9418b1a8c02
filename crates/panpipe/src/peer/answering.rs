//! Runs the handlers of what came.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use panpipe_link::panpipe::{Body, Flags, Policy, Request};
use panpipe_link::{CallId, ErrorKind};
use panpipe_values::{Value, decode};

use super::DEADLINE;
use super::state::{Inbound, Serving, Shared, State, Until};
use super::subscriber::PeerSubscriber;
use crate::service::{Answer, Context, Encoded, HandlerError, ItemStream, Outcome, ServiceCall};

type Answering = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Begins the handlers of a batch; what they answer at once goes out together.
pub(super) async fn answer(shared: &Arc<Shared>, batch: VecDeque<Inbound>) {
    let mut batch = Some(batch);
    poll_fn(|cx| {
        // Polled once: there is nothing to wait for here.
        if let Some(batch) = batch.take() {
            let mut answering = Batch { shared, cx, answers: Vec::with_capacity(batch.len()) };
            batch.into_iter().for_each(|inbound| answering.take(inbound));
            answering.send();
        }
        Poll::Ready(())
    })
    .await;
}

/// What is answered together.
struct Batch<'a, 'c> {
    shared: &'a Arc<Shared>,
    cx: &'a mut TaskContext<'c>,
    answers: Vec<(Request, Outcome)>,
}

impl Batch<'_, '_> {
    fn take(&mut self, inbound: Inbound) {
        match inbound {
            Inbound::Call(request) if request.flags.is_topic() => self.subscribe(request),
            Inbound::Send(request) if request.flags.is_topic() => {
                let publishing = publishing(self.shared, &request);
                match begin(Answer::Later(publishing), self.cx) {
                    Begun::Later(publishing) => run(self.shared, request, publishing),
                    Begun::Answered(outcome) => self.answers.push((request, outcome)),
                    Begun::Items(_) => {}
                }
            }
            Inbound::Call(request) | Inbound::Send(request) => self.begin(request),
            Inbound::Stop(call, why) => {
                // Its call may be in this batch.
                self.send();
                self.shared.lock().stop(call, why);
            }
            Inbound::Unsubscribe(_) => {}
        }
    }

    /// Sends the answers that there are.
    fn send(&mut self) {
        let mut state = self.shared.lock();
        self.answers.drain(..).for_each(|(request, outcome)| state.answer(&request, outcome));
    }

    fn refuse(&mut self, request: Request, code: &str, reason: String) {
        self.answers.push((request, Err(HandlerError::refused(code, reason))));
    }

    #[inline]
    fn begin(&mut self, mut request: Request) {
        let Some(service) = &self.shared.service else {
            let reason = format!("this side has no service, and so no method {:?}", request.name());
            return self.refuse(request, "not-found", reason);
        };
        let method = service.find(request.name());
        let payload = match method {
            Some(_) => request.take_payload(),
            None => request.payload(),
        };
        let call = ServiceCall {
            context: Context::of(self.shared, &request),
            payload: payload.bytes,
            raw: payload.flags.is_raw(),
            named: payload.flags.is_named(),
        };
        let cx = &mut *self.cx;
        let begun = DEADLINE.sync_scope(request.deadline, || {
            catch(|| {
                begin(
                    match method {
                        Some(method) => method.begin(call),
                        None => service.call(request.name(), call),
                    },
                    cx,
                )
            })
        });
        match begun {
            Ok(Begun::Answered(outcome)) | Err(outcome) => self.answers.push((request, outcome)),
            Ok(Begun::Later(answering)) => run(self.shared, request, answering),
            Ok(Begun::Items(items)) if request.flags.is_stream() => {
                let losses = self.shared.lock().losses;
                let streaming = Streaming { shared: Arc::clone(self.shared), losses, call: request.id, items };
                run(self.shared, request, Box::pin(streaming));
            }
            Ok(Begun::Items(_)) => {
                let reason = format!("{:?} answers with a stream, and is called with `stream`", request.name());
                self.refuse(request, "unsupported", reason);
            }
        }
    }

    fn subscribe(&mut self, request: Request) {
        let Some(service) = &self.shared.service else {
            return self.refuse(request, "not-found", "this side has no service".into());
        };
        let policy = match policy_of(&request) {
            Ok(policy) => policy,
            Err(error) => return self.answers.push((request, Err(error))),
        };
        let subscriber = PeerSubscriber::new(self.shared, request.id, policy);
        self.shared.lock().serving.insert(request.id.0, Serving::default());
        match service.subscribe(request.name(), Arc::new(subscriber)) {
            Ok(subscription) => {
                let mut state = self.shared.lock();
                match state.serving.get_mut(&request.id.0) {
                    Some(serving) => serving.subscription = Some(subscription),
                    None => {
                        drop(state);
                        drop(subscription);
                    }
                }
            }
            Err(error) => {
                self.shared.lock().serving.remove(&request.id.0);
                self.answers.push((request, Err(error)));
            }
        }
    }
}

/// A handler that has begun.
enum Begun {
    Answered(Outcome),
    /// It waits for something, and gets a task of its own.
    Later(Answering),
    Items(Pin<Box<dyn ItemStream + Send>>),
}

#[inline]
fn begin(answer: Answer, cx: &mut TaskContext<'_>) -> Begun {
    match answer {
        Answer::Ready(outcome) => Begun::Answered(outcome),
        Answer::Items(items) => Begun::Items(items),
        Answer::Later(mut answering) => match answering.as_mut().poll(cx) {
            Poll::Ready(outcome) => Begun::Answered(outcome),
            Poll::Pending => Begun::Later(answering),
        },
    }
}

fn run(shared: &Arc<Shared>, request: Request, answering: Answering) {
    let (id, deadline) = (request.id, request.deadline);
    let losses = shared.lock().losses;
    let mut running = Running { shared: Arc::clone(shared), losses, request, is_answered: false };
    let mut state = shared.lock();
    let task = tokio::spawn(async move {
        let mut answering = answering;
        let polled = poll_fn(|cx| match catch(|| answering.as_mut().poll(cx)) {
            Ok(polled) => polled,
            Err(panic) => Poll::Ready(panic),
        });
        let outcome = DEADLINE.scope(deadline, polled).await;
        // The handler's own things are gone before its caller goes on.
        drop(answering);
        running.answer(outcome);
    });
    state.serving.entry(id.0).or_default().task = Some(task.abort_handle());
}

/// A handler that has a task; when that is stopped the call is answered all the same.
struct Running {
    shared: Arc<Shared>,
    losses: u32,
    request: Request,
    is_answered: bool,
}

impl Running {
    fn answer(&mut self, outcome: Outcome) {
        self.is_answered = true;
        let mut state = self.shared.lock();
        if state.losses == self.losses {
            state.answer(&self.request, outcome);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_answered {
            let why = self.shared.lock().serving.get(&self.request.id.0).and_then(|serving| serving.stopped);
            let code = why.unwrap_or(ErrorKind::Cancelled).code();
            self.answer(Err(HandlerError::new("the handler was stopped").code(code)));
        }
    }
}

/// Runs what may panic, which becomes an error of the handler.
fn catch<T>(run: impl FnOnce() -> T) -> Result<T, Outcome> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(HandlerError::new(format!("the handler panicked: {text}")).type_name("panic"))
    })
}

/// Sends the items of a stream as there is room for them.
struct Streaming {
    shared: Arc<Shared>,
    losses: u32,
    call: CallId,
    items: Pin<Box<dyn ItemStream + Send>>,
}

impl Future for Streaming {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Outcome> {
        let Streaming { shared, losses, call, items } = &mut *self;
        loop {
            {
                let mut state = shared.lock();
                if state.losses != *losses {
                    return Poll::Ready(Ok(nothing()));
                }
                if state.poll_item_room(*call, cx).is_pending() {
                    return Poll::Pending;
                }
            }
            match items.as_mut().poll_item(cx) {
                Poll::Ready(Some(Ok(item))) => shared.lock().send_item(*call, item)?,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(nothing())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

fn nothing() -> Encoded {
    Encoded { payload: crate::Bytes::new(), raw: false }
}

fn publishing(shared: &Arc<Shared>, request: &Request) -> Answering {
    let payload = request.payload();
    let item = Encoded { payload: payload.bytes, raw: payload.flags.is_raw() };
    let (shared, topic) = (Arc::clone(shared), request.name().to_owned());
    Box::pin(async move {
        match &shared.service {
            Some(service) => service.publish(&topic, item).await.map(|()| nothing()),
            None => Err(HandlerError::refused("not-found", "this side has no service")),
        }
    })
}

/// What is to become of items that find no room.
fn policy_of(request: &Request) -> Result<Policy, HandlerError> {
    let payload = request.payload();
    let settings: Value = decode(payload.bytes, payload.flags.is_raw())
        .map_err(|error| HandlerError::refused("invalid-arguments", error))?;
    match settings.get("policy").map(|policy| policy.as_str().and_then(Policy::named)) {
        None => Ok(Policy::default()),
        Some(Some(policy)) => Ok(policy),
        Some(None) => {
            let known = Policy::ALL.map(|(name, _)| name).join(", ");
            Err(HandlerError::refused("invalid-arguments", format!("a policy that is none; known: {known}")))
        }
    }
}

impl State {
    /// Answers a call, or says that the handler of a one-way message has ended.
    pub(super) fn answer(&mut self, request: &Request, outcome: Outcome) {
        self.end_serving(request.id);
        let Ok(session) = self.endpoint.session_for("answering") else { return };
        match outcome {
            outcome if !request.is_call() => {
                session.handled(request);
                if let Err(error) = outcome {
                    tracing::warn!(id = request.id.0, %error, "a one-way message failed");
                }
            }
            Ok(reply) => session.reply(request.id, Flags::NONE.raw(reply.raw), Body::Shared(reply.payload)),
            Err(error) => session.fail(request.id, &error.failure().encode()),
        }
        self.cork();
    }

    /// Tells a handler to stop.
    pub(super) fn stop(&mut self, call: CallId, why: ErrorKind) {
        let Some(serving) = self.serving.get_mut(&call.0) else { return };
        serving.stopped = Some(why);
        if let Some(taker) = serving.taker.take() {
            taker.wake();
        }
        match &serving.task {
            // Its end answers the call.
            Some(task) => task.abort(),
            None => {
                self.end_serving(call);
                if let Ok(session) = self.endpoint.session_for("answering") {
                    session.fail(call, &panpipe_values::Failure::new("cancelled", "it was cancelled").encode());
                }
                self.cork();
            }
        }
    }

    /// Ends the subscriptions of the other side.
    pub(super) fn end_subscriptions(&mut self) {
        let is_subscription = |serving: &Serving| serving.subscription.is_some();
        let ids = self.serving.iter().filter(|(_, serving)| is_subscription(serving)).map(|(id, _)| CallId(*id));
        for call in ids.collect::<Vec<_>>() {
            self.end_serving(call);
            if let Ok(session) = self.endpoint.session_for("answering") {
                session.reply(call, Flags::NONE, Body::Slice(&[]));
            }
        }
    }

    /// Forgets a call of the other side. Dropping a subscription locks its topic, which may wait for this lock, and so is
    /// left to the driver.
    pub(super) fn end_serving(&mut self, call: CallId) {
        if let Some(subscription) = self.serving.remove(&call.0).and_then(|serving| serving.subscription) {
            self.inbound.push_back(Inbound::Unsubscribe(subscription));
            self.wake_driver();
        }
    }

    /// Ready when an item of this call would be sent at once, or need not be.
    pub(super) fn poll_item_room(&mut self, call: CallId, cx: &mut TaskContext<'_>) -> Poll<()> {
        let is_congested = self.endpoint.is_congested();
        let has_room = self.endpoint.session_for("streaming to").map_or(true, |session| session.has_room(call));
        if has_room && !is_congested {
            return Poll::Ready(());
        }
        if !has_room && let Some(serving) = self.serving.get_mut(&call.0) {
            if !serving.senders.iter().any(|waker| waker.will_wake(cx.waker())) {
                serving.senders.push(cx.waker().clone());
            }
        } else {
            self.wait_for_room(Until::Room, cx);
        }
        Poll::Pending
    }

    pub(super) fn send_item(&mut self, call: CallId, item: Encoded) -> Result<(), HandlerError> {
        let session = self.endpoint.session_for("streaming to")?;
        session.item(call, Flags::NONE.raw(item.raw), Body::Shared(item.payload))?;
        self.cork();
        Ok(())
    }
}

impl Context {
    fn of(shared: &Arc<Shared>, request: &Request) -> Self {
        Context { call: Some((Arc::clone(shared), request.id)), deadline: request.deadline }
    }

    /// Whether the caller has given up, or its time is over; a handler that waits is dropped then by itself.
    pub fn is_cancelled(&self) -> bool {
        let Some((shared, call)) = &self.call else { return false };
        let is_late = self.deadline.is_some_and(|deadline| deadline <= Instant::now());
        is_late || shared.lock().serving.get(&call.0).is_some_and(|serving| serving.stopped.is_some())
    }
}
