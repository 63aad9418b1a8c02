//! Serving on tokio: one task per connection, which owns its endpoint alone.

use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use panpipe_link::{Address, Endpoint, Error, ErrorKind, Event, Link, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::listening::{Listening, ended};
use crate::readiness::Readiness;

/// A connection that has ended but has replies to write is given this long.
const LINGER: Duration = Duration::from_secs(10);

/// What a handler may answer with: bytes or text, nothing (`None` sends no reply), or a failure, which closes the
/// connection since plain has no way to say it.
pub trait Reply {
    /// The bytes to send, if any; the error is a text for the log.
    fn into_reply(self) -> Result<Option<Bytes>, String>;
}

macro_rules! replies {
    ($($type:ty)*) => {$(
        impl Reply for $type {
            fn into_reply(self) -> Result<Option<Bytes>, String> {
                Ok(Some(Bytes::from(self)))
            }
        }
    )*};
}

replies!(Bytes Vec<u8> String &'static str &'static [u8]);

impl Reply for () {
    fn into_reply(self) -> Result<Option<Bytes>, String> {
        Ok(None)
    }
}

impl<T: Reply> Reply for Option<T> {
    fn into_reply(self) -> Result<Option<Bytes>, String> {
        self.map_or(Ok(None), T::into_reply)
    }
}

impl<T: Reply, E: Display> Reply for Result<T, E> {
    fn into_reply(self) -> Result<Option<Bytes>, String> {
        self.map_err(|error| error.to_string())?.into_reply()
    }
}

/// What answers the messages of a server: any async function from bytes to a [`Reply`].
pub trait Handler: Send + Sync + 'static {
    /// Answers one message.
    fn handle(&self, message: Bytes) -> impl Future<Output = Result<Option<Bytes>, String>> + Send;
}

impl<F, Answer> Handler for F
where
    F: Fn(Bytes) -> Answer + Send + Sync + 'static,
    Answer: Future<Output: Reply> + Send,
{
    #[inline]
    fn handle(&self, message: Bytes) -> impl Future<Output = Result<Option<Bytes>, String>> + Send {
        let answer = self(message);
        async move { answer.await.into_reply() }
    }
}

/// Listens on an address and answers every message of every client with `handler`.
///
/// Connections are concurrent; the messages of one are handled one after another and answered in order.
///
/// # Errors
/// Those of [`listen`](super::listen).
pub async fn serve(address: &str, handler: impl Handler) -> Result<Server> {
    let listener = Listening::on(&super::parse(address)?).await?;
    let address = Arc::clone(listener.address().text());
    let replies = listener.check_replies();
    let (stop, stopped) = watch::channel(());
    let handler = Arc::new(handler);
    let stopping = stopped.clone();
    let serve = move |link, address| {
        let (handler, stopping) = (Arc::clone(&handler), stopping.clone());
        async move { serve_connection(link, &address, &*handler, stopping).await }
    };
    let task = tokio::spawn(listener.serve_all(stopped, LINGER, serve));
    Ok(Server { address, replies, stop, task })
}

/// A running server. Dropping it stops it as [`close`](Self::close) does, in the background.
pub struct Server {
    address: Arc<str>,
    replies: Result<()>,
    stop: watch::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl Server {
    /// The real address, with the port or the name that was picked.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Says whether messages can be answered here; a handler that answers none can be served all the same.
    ///
    /// # Errors
    /// `unsupported` where the address only receives.
    pub fn check_replies(&self) -> Result<()> {
        self.replies.clone()
    }

    /// Waits until nobody can come any more: for ever on a socket, until its end on stdin.
    ///
    /// # Errors
    /// `io` when listening itself broke; on stdin also what ended its one connection, as `bad-peer`.
    pub async fn wait(mut self) -> Result<()> {
        ended((&mut self.task).await)
    }

    /// Stops listening, lets each connection finish the message it is handling, and closes them.
    ///
    /// # Errors
    /// Those of [`wait`](Self::wait).
    pub async fn close(self) -> Result<()> {
        let Server { stop, task, .. } = self;
        drop(stop);
        ended(task.await)
    }
}

/// Answers the messages of one connection until it ends or `stopped` changes.
pub(crate) async fn serve_connection<T>(
    link: Link,
    address: &Address,
    handler: &impl Handler,
    mut stopped: watch::Receiver<T>,
) -> Result<()> {
    let mut endpoint = Endpoint::new(link, address);
    let readiness = Readiness::of(&endpoint)?;
    let mut stopping = pin!(stopped.changed());
    // A server makes no calls, so that no deadline needs the time anew.
    let now = Instant::now();
    let ended = loop {
        match endpoint.next_event(now, true) {
            Some(Event::Message(Ok(message))) => {
                let reply = answer(handler, message, &mut endpoint, &readiness).await;
                let outcome = match reply {
                    Ok(Some(reply)) => match endpoint.send(&reply, false) {
                        // A peer that has gone is no failure of the handler.
                        Err(error) if error.kind() == ErrorKind::ConnectionLost => Ok(()),
                        sent => sent,
                    },
                    Ok(None) => Ok(()),
                    Err(reason) => {
                        let error = Error::new(ErrorKind::Closed, format!("handling {}", address.text()));
                        Err(error.at(address.text()).because(reason))
                    }
                };
                match outcome {
                    // Its sender would not notice a close, and what else has come from there would be lost.
                    Err(error) if endpoint.moves_datagrams() => tracing::warn!(%error, "message not answered"),
                    Err(error) => break Err(error),
                    Ok(()) => {}
                }
                // A peer that does not read its replies gets no further requests handled.
                while endpoint.is_congested() {
                    let flushed = poll_fn(|cx| match readiness.poll_flush(&mut endpoint, cx) {
                        Poll::Ready(()) => Poll::Ready(true),
                        Poll::Pending => stopping.as_mut().poll(cx).map(|_| false),
                    });
                    if !flushed.await {
                        return Ok(());
                    }
                }
            }
            Some(Event::Ended(None)) => break Ok(()),
            Some(Event::Message(Err(error))) if endpoint.moves_datagrams() => {
                tracing::warn!(%error, "message dropped");
            }
            Some(Event::Ended(Some(error)) | Event::Message(Err(error))) => break Err(error),
            Some(Event::Reply { .. }) => {}
            None => {
                let goes_on = poll_fn(|cx| {
                    // Everything that this turn has answered goes out in one write.
                    let _ = readiness.poll_flush(&mut endpoint, cx);
                    match readiness.poll_read(&mut endpoint, cx) {
                        Poll::Ready(()) => Poll::Ready(true),
                        Poll::Pending => stopping.as_mut().poll(cx).map(|_| false),
                    }
                });
                if !goes_on.await {
                    break Ok(());
                }
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, readiness.flush(&mut endpoint)).await;
    ended
}

/// Runs the handler; earlier replies go out when it does not answer at once.
#[inline]
async fn answer(
    handler: &impl Handler,
    message: Bytes,
    endpoint: &mut Endpoint,
    readiness: &Readiness,
) -> Result<Option<Bytes>, String> {
    let mut handling = pin!(handler.handle(message));
    poll_fn(|cx| {
        let reply = handling.as_mut().poll(cx);
        if reply.is_pending() {
            let _ = readiness.poll_flush(endpoint, cx);
        }
        reply
    })
    .await
}
