//! What answers calls: methods by name, and topics.

mod context;
pub use context::Context;

mod describe;

mod error;
pub use error::HandlerError;

mod handler;
pub use handler::{Answer, Encoded, ItemStream, MethodHandler, Outcome, ServiceCall, StreamHandler, WithContext};

mod schema;

mod topic;
pub use topic::Topic;
pub(crate) use topic::{Subscriber, Subscription};

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use panpipe_values::{Value, decode};
use rustc_hash::FxBuildHasher;
use serde::de::{DeserializeOwned, IgnoredAny};

use schema::schema_of;
use topic::Publisher;

use crate::plain::Handler;

/// Methods and topics, which either end of a connection may offer to the other.
///
/// ```
/// use panpipe::{HandlerError, Service};
///
/// let service = Service::new()
///     .method("upper", |text: String| async move { Ok(text.to_uppercase()) })
///     .parameters(["text"])
///     .doc("The text in capitals")
///     .method("divide", |a: f64, b: f64| async move {
///         if b == 0.0 { Err(HandlerError::new("division by zero")) } else { Ok(a / b) }
///     });
/// ```
///
/// Handlers are async functions or closures of up to six arguments, which any serde type can be, after a [`Context`]
/// if they want one. They answer with `Ok` of a serde type, or a [`HandlerError`], which `?` makes of any error.
/// An argument that is an `Option` may be left out. `bytes::Bytes` come and go without being copied.
///
/// Clones share their methods; what is added to one later the others do not have.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    title: String,
    version: String,
    methods: Vec<Method>,
    /// Where the method of a name stands.
    by_name: HashMap<String, usize, FxBuildHasher>,
    topics: HashMap<String, Arc<Publisher>>,
    plain: Option<PlainHandler>,
}

/// What answers plain messages, whatever its type.
#[derive(Clone)]
pub(crate) struct PlainHandler(Arc<dyn Fn(Bytes) -> PlainAnswer + Send + Sync>);

type PlainAnswer = Pin<Box<dyn Future<Output = Result<Option<Bytes>, String>> + Send>>;

impl Handler for PlainHandler {
    fn handle(&self, message: Bytes) -> impl Future<Output = Result<Option<Bytes>, String>> + Send {
        (self.0)(message)
    }
}

/// A handler whose types are not known any more.
type Handle = dyn Fn(ServiceCall, &[String]) -> Answer + Send + Sync;

#[derive(Clone)]
pub(crate) struct Method {
    name: String,
    doc: Option<String>,
    names: Vec<String>,
    parameters: Vec<fn() -> Value>,
    result: fn() -> Value,
    streams: bool,
    handler: Arc<Handle>,
}

impl Method {
    /// Begins to answer a call, as [`Service::call`].
    pub(crate) fn begin(&self, call: ServiceCall) -> Answer {
        (self.handler)(call, &self.names)
    }
}

impl Default for Service {
    fn default() -> Self {
        Service::new()
    }
}

impl Service {
    /// A service without methods.
    pub fn new() -> Self {
        Service(Arc::new(Inner {
            title: "service".to_owned(),
            version: "0".to_owned(),
            methods: Vec::new(),
            by_name: HashMap::default(),
            topics: HashMap::new(),
            plain: None,
        }))
    }

    /// Says what the service is called when it describes itself, and in which version.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>, version: impl Into<String>) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        (inner.title, inner.version) = (title.into(), version.into());
        self
    }

    /// Adds a method that answers with one value.
    ///
    /// # Panics
    /// When the name is no name (1 to 255 bytes without control characters, not beginning with `panpipe.`), or taken.
    #[must_use]
    #[track_caller]
    pub fn method<P, H: MethodHandler<P>>(self, name: impl Into<String>, handler: H) -> Self {
        self.add(Method {
            name: name.into(),
            doc: None,
            names: Vec::new(),
            parameters: H::parameters(),
            result: H::result,
            streams: false,
            handler: Arc::new(move |call, names| handler.answer(call, names)),
        })
    }

    /// Adds a method that answers with a stream of values.
    ///
    /// # Panics
    /// As [`method`](Self::method).
    #[must_use]
    #[track_caller]
    pub fn stream<P, H: StreamHandler<P>>(self, name: impl Into<String>, handler: H) -> Self {
        self.add(Method {
            name: name.into(),
            doc: None,
            names: Vec::new(),
            parameters: H::parameters(),
            result: H::result,
            streams: true,
            handler: Arc::new(move |call, names| handler.answer(call, names)),
        })
    }

    #[track_caller]
    fn add(mut self, method: Method) -> Self {
        check_name(&method.name);
        let inner = Arc::make_mut(&mut self.0);
        let before = inner.by_name.insert(method.name.clone(), inner.methods.len());
        assert!(before.is_none(), "there is a method {:?} already", method.name);
        inner.methods.push(method);
        self
    }

    /// Names the parameters of the method that was added last, so that callers can give arguments by name.
    ///
    /// # Panics
    /// When there are more or fewer parameters, or no method.
    #[must_use]
    #[track_caller]
    pub fn parameters<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let method = self.last();
        method.names = names.into_iter().map(N::into).collect();
        let (names, parameters) = (method.names.len(), method.parameters.len());
        assert!(names == parameters, "{names} names for {parameters} parameters of {:?}", method.name);
        self
    }

    /// Says for people what the method does that was added last.
    ///
    /// # Panics
    /// When there is no method.
    #[must_use]
    #[track_caller]
    pub fn doc(mut self, text: impl Into<String>) -> Self {
        self.last().doc = Some(text.into());
        self
    }

    /// Says of which type the result is of the method that was added last, or its items: a serde type that is only
    /// written does not tell its shape, so that the description says nothing of it but for numbers, texts and bytes.
    ///
    /// # Panics
    /// When there is no method.
    #[must_use]
    #[track_caller]
    pub fn returns<T: DeserializeOwned + 'static>(mut self) -> Self {
        self.last().result = schema_of::<T>;
        self
    }

    /// Answers plain messages too, of peers that know nothing of panpipe: those that come to an address with a framing in
    /// `accept`. The messages of one connection are handled one after another, as by [`plain::serve`](crate::plain::serve).
    #[must_use]
    pub fn plain(mut self, handler: impl Handler) -> Self {
        let handler = Arc::new(handler);
        let plain = move |message| -> PlainAnswer {
            let handler = Arc::clone(&handler);
            Box::pin(async move { handler.handle(message).await })
        };
        Arc::make_mut(&mut self.0).plain = Some(PlainHandler(Arc::new(plain)));
        self
    }

    /// What answers plain messages.
    pub(crate) fn plain_handler(&self) -> Option<PlainHandler> {
        self.0.plain.clone()
    }

    #[track_caller]
    fn last(&mut self) -> &mut Method {
        let last = Arc::make_mut(&mut self.0).methods.last_mut();
        last.expect("a method is added before more is said of it")
    }

    /// Adds a topic, to which the other ends of connections may subscribe.
    ///
    /// # Panics
    /// When the name is no name (as of a [`method`](Self::method)), or there is such a topic already.
    #[track_caller]
    pub fn topic<T>(&mut self, name: impl Into<String>) -> Topic<T> {
        let name = name.into();
        check_name(&name);
        let publisher = Arc::new(Publisher::new(name.clone()));
        let before = Arc::make_mut(&mut self.0).topics.insert(name, Arc::clone(&publisher));
        assert!(before.is_none(), "there is a topic {:?} already", publisher.name());
        Topic::new(publisher)
    }

    /// Begins to answer a call. What does not begin is answered at once: `not-found` where there is no such method,
    /// `invalid-arguments` where the arguments do not fit it.
    ///
    /// Connections do this for each call; tests of handlers can do it without one. The handler's own code up to its
    /// first `await` may run here, and so may its panics come from here.
    pub fn call(&self, method: &str, call: ServiceCall) -> Answer {
        match self.find(method) {
            Some(method) => method.begin(call),
            None if method == describe::NAME => {
                let service = self.clone();
                (move || std::future::ready(Ok(service.describe()))).answer(call, &[])
            }
            None => Answer::Ready(Err(HandlerError::refused("not-found", format!("no method {method:?}")))),
        }
    }

    /// The method of this name; those of the protocol are not found.
    pub(crate) fn find(&self, method: &str) -> Option<&Method> {
        self.0.by_name.get(method).map(|&index| &self.0.methods[index])
    }

    /// Subscribes to a topic, until what it answers is dropped.
    ///
    /// # Errors
    /// `not-found` where there is no such topic.
    pub(crate) fn subscribe(&self, topic: &str, subscriber: Arc<dyn Subscriber>) -> Result<Subscription, HandlerError> {
        Ok(self.publisher(topic)?.subscribe(subscriber))
    }

    /// Publishes what a peer sent to a topic, as [`Topic::publish`] does.
    ///
    /// # Errors
    /// `not-found` where there is no such topic, `invalid-arguments` for an item that breaks the rules of values.
    pub async fn publish(&self, topic: &str, item: Encoded) -> Result<(), HandlerError> {
        let publisher = self.publisher(topic)?;
        decode::<IgnoredAny>(item.payload.clone(), item.raw)
            .map_err(|error| HandlerError::refused("invalid-arguments", error))?;
        publisher.publish(item).await;
        Ok(())
    }

    fn publisher(&self, topic: &str) -> Result<&Arc<Publisher>, HandlerError> {
        let publisher = self.0.topics.get(topic);
        publisher.ok_or_else(|| HandlerError::refused("not-found", format!("no topic {topic:?}")))
    }

    /// What the service offers, as an OpenRPC 1.3 document: the answer to `panpipe.describe`.
    pub fn describe(&self) -> Value {
        describe::document(&self.0)
    }
}

/// The rule of docs/protocol.md, "Frames".
#[track_caller]
fn check_name(name: &str) {
    let allowed = (1..=255).contains(&name.len()) && !name.chars().any(|c| c < ' ' || c == '\u{7f}');
    assert!(allowed, "{name:?} is no name: 1 to 255 bytes without control characters");
    assert!(!name.starts_with("panpipe."), "{name:?} is a name of the protocol");
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods: Vec<_> = self.0.methods.iter().map(|method| &method.name).collect();
        let topics: Vec<_> = self.0.topics.keys().collect();
        f.debug_struct("Service").field("methods", &methods).field("topics", &topics).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context as TaskContext, Poll, Waker};
    use std::time::Instant;

    use futures_core::Stream;
    use panpipe_values::{Named, Timestamp, with_arguments};
    use serde::{Deserialize, Serialize};
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::Bytes;

    fn call(arguments: &(impl Serialize + ?Sized)) -> ServiceCall {
        with_arguments(arguments, &mut Vec::new(), |sent| ServiceCall {
            context: Context::default(),
            payload: Bytes::copy_from_slice(sent.bytes),
            raw: sent.raw,
            named: sent.named,
        })
        .unwrap()
    }

    async fn outcome(answer: Answer) -> Outcome {
        match answer {
            Answer::Ready(outcome) => outcome,
            Answer::Later(answering) => answering.await,
            Answer::Items(_) => panic!("a stream"),
        }
    }

    async fn reply<T: DeserializeOwned + 'static>(service: &Service, method: &str, arguments: &impl Serialize) -> T {
        let encoded = outcome(service.call(method, call(arguments))).await.unwrap();
        decode(encoded.payload, encoded.raw).unwrap()
    }

    async fn failure(service: &Service, method: &str, arguments: &impl Serialize) -> (String, String, bool) {
        let error = outcome(service.call(method, call(arguments))).await.unwrap_err();
        let failure = error.failure();
        (failure.code.clone(), failure.message.clone(), failure.did_not_run)
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct User {
        name: String,
        since: Option<Timestamp>,
    }

    struct Countdown(u32);

    impl Stream for Countdown {
        type Item = Result<u32, HandlerError>;

        fn poll_next(mut self: Pin<&mut Self>, _task: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
            let left = self.0;
            self.0 = left.saturating_sub(1);
            Poll::Ready((left > 0).then_some(Ok(left)))
        }
    }

    async fn parse(text: String) -> Result<i64, HandlerError> {
        Ok(text.parse()?)
    }

    fn service() -> Service {
        Service::new()
            .title("tests", "1.2")
            .method("upper", |text: String| async move { Ok(text.to_uppercase()) })
            .parameters(["text"])
            .doc("The text in capitals")
            .method("nothing", || async { Ok(()) })
            .method("parse", parse)
            .method("rename", |user: User, name: Option<String>| async move {
                Ok(User { name: name.unwrap_or(user.name), since: user.since })
            })
            .parameters(["user", "name"])
            .returns::<User>()
            .method("deadline", |context: Context, _: Option<u8>| async move { Ok(context.deadline().is_some()) })
            .method("echo", |bytes: Bytes| async move { Ok(bytes) })
            .method("six", |a: u8, b: u8, c: u8, d: u8, e: u8, f: u8| async move { Ok(vec![a, b, c, d, e, f]) })
            .stream("countdown", Countdown)
            .stream("count", |_: Context, from: u32| Countdown(from))
    }

    #[tokio::test]
    async fn answers_with_what_handlers_return() {
        let service = service();
        assert_eq!(reply::<String>(&service, "upper", &"hello").await, "HELLO");
        assert_eq!(reply::<String>(&service, "upper", &Named(json!({"text": "hello"}))).await, "HELLO");
        reply::<()>(&service, "nothing", &()).await;
        let user = User { name: "Ann".to_owned(), since: Timestamp::new(-1, 5) };
        assert_eq!(reply::<User>(&service, "rename", &(&user,)).await, user);
        assert_eq!(reply::<User>(&service, "rename", &(&user, "Bo")).await.name, "Bo");
        assert_eq!(reply::<User>(&service, "rename", &(&user, Named(json!({"name": "Bo"})))).await.name, "Bo");
        assert_eq!(reply::<Vec<u8>>(&service, "six", &(1, 2, 3, 4, 5, 6)).await, [1, 2, 3, 4, 5, 6]);
        let asked =
            ServiceCall { context: Context { deadline: Some(Instant::now()), ..Context::default() }, ..call(&()) };
        assert_eq!(outcome(service.call("deadline", asked)).await.unwrap().payload, [0xc3][..]);
    }

    #[tokio::test]
    async fn hands_bytes_through_where_they_lie() {
        let sent = Bytes::from(vec![7; 100]);
        for (payload, raw) in [(sent.clone(), true), (Bytes::from([&[0xc4, 100][..], &sent[..]].concat()), false)] {
            let lies = payload[payload.len() - 100..].as_ptr();
            let came = ServiceCall { payload, raw, ..ServiceCall::default() };
            let encoded = outcome(service().call("echo", came)).await.unwrap();
            assert_eq!((encoded.raw, &encoded.payload, encoded.payload.as_ptr()), (true, &sent, lies));
        }
    }

    #[tokio::test]
    async fn refuses_what_it_does_not_have_or_take() {
        let service = service();
        let not_found = ("not-found".to_owned(), "no method \"lower\"".to_owned(), true);
        assert_eq!(failure(&service, "lower", &"x").await, not_found);
        let invalid = |message: &str| ("invalid-arguments".to_owned(), message.to_owned(), true);
        assert_eq!(failure(&service, "upper", &()).await, invalid("arguments.text: a missing argument"));
        let error = failure(&service, "upper", &("a", "b")).await;
        assert_eq!(error, invalid("arguments[1]: one argument too many, expected 1"));
        let error = failure(&service, "rename", &(json!({"name": 1}),)).await;
        assert_eq!(error, invalid("arguments[0].name: invalid type: integer `1`, expected a string"));
        let error = failure(&service, "nothing", &1).await;
        assert_eq!(error, invalid("arguments[0]: one argument too many, expected 0"));
        let raw = ServiceCall { payload: Bytes::from_static(b"abc"), raw: true, ..ServiceCall::default() };
        let error = outcome(service.call("upper", raw)).await.unwrap_err();
        assert_eq!(error.failure().message, "arguments[0]: invalid type: bytes, expected a string");
    }

    #[tokio::test]
    async fn tells_what_a_handler_failed_with() {
        let (code, message, did_not_run) = failure(&service(), "parse", &"x").await;
        assert_eq!((code.as_str(), did_not_run), ("remote", false));
        assert_eq!(message, "invalid digit found in string");
        let service = Service::new().method("huge", || async { Ok(i128::MAX) });
        let (code, message, did_not_run) = failure(&service, "huge", &()).await;
        assert_eq!((code.as_str(), did_not_run), ("remote", false));
        assert!(message.starts_with("value: the integer"), "{message}");
    }

    #[tokio::test]
    async fn streams_items() {
        for method in ["countdown", "count"] {
            let Answer::Items(mut items) = service().call(method, call(&3)) else { panic!("no stream") };
            let mut came = Vec::new();
            while let Some(item) = std::future::poll_fn(|task| items.as_mut().poll_item(task)).await {
                came.push(item.unwrap().payload[0]);
            }
            assert_eq!(came, [3, 2, 1]);
            let Answer::Ready(Err(error)) = service().call(method, call(&"three")) else { panic!("no refusal") };
            assert_eq!(error.failure().code, "invalid-arguments");
        }
    }

    #[test]
    fn large_and_small_values_are_whole() {
        for size in [0, 1, 4000, 5000, 100_000] {
            let text = "x".repeat(size);
            let encoded = Encoded::of(&text).unwrap();
            assert_eq!(decode::<String>(encoded.payload, encoded.raw).unwrap(), text);
        }
    }

    #[tokio::test]
    async fn describes_itself() {
        let mut service = service();
        let _weather = service.topic::<f64>("weather");
        let document: Json = service.describe().to().unwrap();
        assert_eq!(reply::<Json>(&service, "panpipe.describe", &()).await, document);
        assert_eq!(document["openrpc"], "1.3.2");
        assert_eq!(document["info"], json!({"title": "tests", "version": "1.2"}));
        assert_eq!(document["x-panpipe-topics"], json!(["weather"]));
        let method = |name: &str| {
            let methods = document["methods"].as_array().unwrap();
            methods.iter().find(|method| method["name"] == name).unwrap().clone()
        };
        assert_eq!(
            method("upper"),
            json!({
                "name": "upper",
                "description": "The text in capitals",
                "paramStructure": "either",
                "params": [{"name": "text", "required": true, "schema": {"type": "string"}}],
                "result": {"name": "result", "schema": {"type": "string"}},
            })
        );
        let rename = method("rename");
        assert_eq!(rename["params"][1]["required"], false);
        assert_eq!(rename["params"][0]["schema"], rename["result"]["schema"]);
        assert_eq!(method("countdown")["x-panpipe"], json!({"stream": true}));
        assert_eq!(method("countdown")["paramStructure"], "by-position");
    }

    #[test]
    #[should_panic(expected = "2 names for 1 parameters")]
    fn has_a_name_for_each_parameter() {
        let _ = Service::new().method("parse", parse).parameters(["a", "b"]);
    }

    #[test]
    #[should_panic(expected = "already")]
    fn has_each_name_once() {
        let _ = service().method("upper", parse);
    }

    #[test]
    #[should_panic(expected = "is a name of the protocol")]
    fn leaves_the_protocols_names_alone() {
        let _ = Service::new().method("panpipe.describe", parse);
    }

    #[test]
    fn keeps_what_clones_have() {
        let before = service();
        let after = before.clone().method("more", parse);
        assert!(matches!(before.call("more", call(&"1")), Answer::Ready(Err(_))));
        assert!(matches!(after.call("more", call(&"1")), Answer::Later(_)));
        assert!(matches!(after.call("upper", call(&"1")), Answer::Later(_)));
    }

    #[test]
    fn a_handler_runs_nothing_before_it_is_waited_for() {
        let service = service();
        let Answer::Later(mut answering) = service.call("upper", call(&"a")) else { panic!("no future") };
        let mut task = TaskContext::from_waker(Waker::noop());
        assert!(answering.as_mut().poll(&mut task).is_ready());
    }
}
