//! Handlers: any async function of serde types.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use panpipe_values::{Arguments, Value, with_value};
use serde::de::DeserializeOwned;
use serde::ser::Serialize;

use super::context::Context;
use super::error::HandlerError;
use super::schema::{schema_of, schema_of_result};

/// A call as it came.
#[derive(Debug, Default)]
pub struct ServiceCall {
    /// What the handler may know of it.
    pub context: Context,
    /// The arguments, as `docs/protocol.md` says.
    pub payload: Bytes,
    /// The flag RAW.
    pub raw: bool,
    /// The flag NAMED.
    pub named: bool,
}

/// A value as it goes: the payload of a reply or an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The payload.
    pub payload: Bytes,
    /// The flag RAW.
    pub raw: bool,
}

/// What a call, or one step of a stream, came to.
pub type Outcome = Result<Encoded, HandlerError>;

/// How a call is answered.
pub enum Answer {
    /// Already, before any handler ran or because it had nothing to wait for.
    Ready(Outcome),
    /// When this is done.
    Later(Pin<Box<dyn Future<Output = Outcome> + Send>>),
    /// With these items, and nothing after them.
    Items(Pin<Box<dyn ItemStream + Send>>),
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Ready(outcome) => f.debug_tuple("Ready").field(outcome).finish(),
            Answer::Later(_) => f.write_str("Later"),
            Answer::Items(_) => f.write_str("Items"),
        }
    }
}

/// A stream of items, of whatever type they are.
pub trait ItemStream {
    /// The next item, as [`Stream::poll_next`] would say; after an error nothing follows.
    fn poll_item(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Outcome>>;
}

impl<S, T> ItemStream for S
where
    S: Stream<Item = Result<T, HandlerError>>,
    T: Serialize + 'static,
{
    fn poll_item(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Outcome>> {
        Poll::Ready(ready!(self.poll_next(task)).map(|item| item.and_then(encode)))
    }
}

/// Larger payloads keep the memory that they were written to.
const COPIED_MAX: usize = 4096;

thread_local! {
    /// What payloads are written to, to be copied when their size is known.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Encoded {
    /// Encodes a value; [`Bytes`] are shared.
    pub(crate) fn of<T: Serialize + 'static>(value: &T) -> panpipe_values::Result<Encoded> {
        if let Some(bytes) = (value as &dyn Any).downcast_ref::<Bytes>() {
            return Ok(Encoded { payload: bytes.clone(), raw: true });
        }
        let mut scratch = SCRATCH.take();
        let encoded = with_value(value, &mut scratch, |sent| {
            let whole = (sent.raw || sent.bytes.len() <= COPIED_MAX).then(|| Bytes::copy_from_slice(sent.bytes));
            (sent.raw, whole)
        });
        let encoded = match encoded {
            Ok((raw, Some(payload))) => Ok(Encoded { payload, raw }),
            Ok((raw, None)) => return Ok(Encoded { payload: scratch.into(), raw }),
            Err(error) => Err(error),
        };
        SCRATCH.set(scratch);
        encoded
    }
}

/// An async function that answers a call with one value; see [`Service::method`](super::Service::method).
///
/// `P` are its parameters.
#[diagnostic::on_unimplemented(
    message = "no handler of a call: {Self}",
    note = "a handler is an async function of up to six serde types, after a `Context` if it wants one, which returns `Result<T, HandlerError>`"
)]
pub trait MethodHandler<P>: Send + Sync + 'static {
    /// What describes the parameters, one after another.
    fn parameters() -> Vec<fn() -> Value>;

    /// The JSON Schema of the result, as far as it is known.
    fn result() -> Value;

    /// Reads the arguments, whose parameters have these names if any, and begins.
    fn answer(&self, call: ServiceCall, names: &[String]) -> Answer;
}

/// A function that answers a call with a stream; see [`Service::stream`](super::Service::stream).
///
/// `P` are its parameters.
#[diagnostic::on_unimplemented(
    message = "no handler of a call: {Self}",
    note = "a handler is a function of up to six serde types, after a `Context` if it wants one, which returns `impl Stream<Item = Result<T, HandlerError>>`"
)]
pub trait StreamHandler<P>: Send + Sync + 'static {
    /// What describes the parameters, one after another.
    fn parameters() -> Vec<fn() -> Value>;

    /// The JSON Schema of the items, as far as it is known.
    fn result() -> Value;

    /// Reads the arguments, whose parameters have these names if any, and begins.
    fn answer(&self, call: ServiceCall, names: &[String]) -> Answer;
}

/// The parameters `P` after a [`Context`].
#[derive(Debug)]
pub struct WithContext<P>(PhantomData<P>);

fn read<T>(
    call: ServiceCall,
    names: &[String],
    take: impl FnOnce(&mut Arguments<'_>) -> panpipe_values::Result<T>,
) -> Result<(Context, T), Answer> {
    let read = || {
        let mut arguments = Arguments::new(call.payload, call.raw, call.named, names)?;
        let taken = take(&mut arguments)?;
        arguments.end().map(|()| taken)
    };
    match read() {
        Ok(taken) => Ok((call.context, taken)),
        Err(error) => Err(Answer::Ready(Err(HandlerError::refused("invalid-arguments", error)))),
    }
}

fn encode<T: Serialize + 'static>(value: T) -> Outcome {
    Ok(Encoded::of(&value)?)
}

fn later<T: Serialize + 'static>(answering: impl Future<Output = Result<T, HandlerError>> + Send + 'static) -> Answer {
    Answer::Later(Box::pin(async move { answering.await.and_then(encode) }))
}

macro_rules! handlers {
    ($($($argument:ident)*;)*) => {$(
        handlers! { @one ($($argument)*), ($($argument,)*), }
        handlers! { @one ($($argument)*), WithContext<($($argument,)*)>, context: Context }
    )*};
    (@one ($($argument:ident)*), $parameters:ty, $($context:ident: $type:ty)?) => {
        impl<F, Answering, T, $($argument,)*> MethodHandler<$parameters> for F
        where
            F: Fn($($type,)? $($argument,)*) -> Answering + Send + Sync + 'static,
            Answering: Future<Output = Result<T, HandlerError>> + Send + 'static,
            T: Serialize + 'static,
            $($argument: DeserializeOwned + 'static,)*
        {
            handlers! { @described $($argument)* }

            fn answer(&self, call: ServiceCall, names: &[String]) -> Answer {
                handlers! { @read call, names, ($($argument)*), ($($context)?), |called| later(called), self }
            }
        }

        impl<F, Items, T, $($argument,)*> StreamHandler<$parameters> for F
        where
            F: Fn($($type,)? $($argument,)*) -> Items + Send + Sync + 'static,
            Items: Stream<Item = Result<T, HandlerError>> + Send + 'static,
            T: Serialize + 'static,
            $($argument: DeserializeOwned + 'static,)*
        {
            handlers! { @described $($argument)* }

            fn answer(&self, call: ServiceCall, names: &[String]) -> Answer {
                handlers! { @read call, names, ($($argument)*), ($($context)?), |called| Answer::Items(Box::pin(called)), self }
            }
        }
    };
    (@described $($argument:ident)*) => {
        fn parameters() -> Vec<fn() -> Value> {
            vec![$(schema_of::<$argument>),*]
        }

        fn result() -> Value {
            schema_of_result::<T>()
        }
    };
    (@read $call:ident, $names:ident, ($($argument:ident)*), ($($context:ident)?), |$called:ident| $answer:expr, $this:ident) => {{
        #[allow(non_snake_case, reason = "the types, if there are any, name the arguments")]
        match read($call, $names, |_arguments| Ok(($(_arguments.take::<$argument>()?,)*))) {
            Ok((_context, ($($argument,)*))) => {
                $(let $context = _context;)?
                let $called = $this($($context,)? $($argument,)*);
                $answer
            }
            Err(refused) => refused,
        }
    }};
}

handlers! {
    ;
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E G;
}
