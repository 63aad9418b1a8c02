//! A listening address on tokio.

use std::future::{Future, poll_fn};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use panpipe_link::{Accepted, Address, Link, Result};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinError, JoinSet};

use crate::readiness::register;

/// A listening address. Dropping it stops listening and removes its socket file.
pub(crate) struct Listening {
    // Deregistered before the listener closes them.
    descriptors: Vec<AsyncFd<Arc<OwnedFd>>>,
    /// A descriptor wakes one task; others that accept wait here for their turn.
    accepting: Mutex<()>,
    listener: panpipe_link::Listener,
}

impl Listening {
    /// Listens on an address.
    pub(crate) async fn on(address: &Address) -> Result<Self> {
        let listener = match panpipe_link::may_block(address) {
            false => panpipe_link::listen(address)?,
            true => {
                let address = address.clone();
                match tokio::task::spawn_blocking(move || panpipe_link::listen(&address)).await {
                    Ok(listener) => listener?,
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                }
            }
        };
        let text = listener.address().text();
        let descriptors = listener.descriptors();
        let descriptors = descriptors.iter().map(|fd| register(fd, Interest::READABLE, text)).collect::<Result<_>>()?;
        Ok(Listening { descriptors, accepting: Mutex::new(()), listener })
    }

    /// The real address, with the port or the name that was picked: connect to this.
    pub(crate) fn address(&self) -> &Address {
        self.listener.address()
    }

    /// Datagrams that were dropped for want of room, by this program and by the system; zero where none are.
    pub(crate) fn dropped(&self) -> u64 {
        self.listener.dropped()
    }

    /// As [`panpipe_link::Listener::serve`].
    pub(crate) fn serve(&self) -> bool {
        self.listener.serve()
    }

    pub(crate) fn check_replies(&self) -> Result<()> {
        self.listener.check_replies()
    }

    pub(crate) fn most_connections(&self) -> usize {
        self.listener.most_connections()
    }

    /// Whether there is one connection, which was there from the start.
    pub(crate) fn serves_one(&self) -> bool {
        self.descriptors.is_empty()
    }

    /// Waits for the next connection; `None` when no more will come. Safe to cancel.
    pub(crate) async fn accept(&self) -> Result<Option<Link>> {
        let _turn = self.accepting.lock().await;
        loop {
            match self.listener.accept()? {
                Accepted::Link(link) => return Ok(Some(link)),
                Accepted::Finished => return Ok(None),
                Accepted::Pause(pause) => tokio::time::sleep(pause).await,
                Accepted::Nobody => self.readable().await,
            }
        }
    }

    /// Waits until any of the descriptors may have somebody waiting.
    async fn readable(&self) {
        poll_fn(|cx| {
            let mut ready = Poll::Pending;
            for fd in &self.descriptors {
                // Cleared before the next accept: whoever comes after that sets it again.
                if let Poll::Ready(Ok(mut guard)) = fd.poll_read_ready(cx) {
                    guard.clear_ready();
                    ready = Poll::Ready(());
                }
            }
            ready
        })
        .await;
    }

    /// Serves every connection with a task of its own, until `stopped` changes or nobody can come any more; then who is
    /// there is given the `grace` to finish.
    pub(crate) async fn serve_all<T: Clone, Serving>(
        self,
        mut stopped: watch::Receiver<T>,
        grace: Duration,
        serve: impl Fn(Link, Address) -> Serving,
    ) -> Result<()>
    where
        Serving: Future<Output = Result<()>> + Send + 'static,
    {
        let mut connections = JoinSet::new();
        let serves_one = self.serves_one();
        let always_accepts = self.serve();
        let mut listener = Some(self);
        let outcome = loop {
            if listener.is_none() && connections.is_empty() {
                break Ok(());
            }
            let has_room = |listener: &&Self| always_accepts || connections.len() < listener.most_connections();
            let open = listener.as_ref().filter(has_room);
            tokio::select! {
                _ = stopped.changed() => break Ok(()),
                Some(ended) = connections.join_next() => match ended {
                    // Where only one connection can come its end is the server's.
                    Ok(Err(error)) if serves_one => break Err(error),
                    Ok(_) => {}
                    Err(panic) => tracing::warn!(error = %panic, "connection closed"),
                },
                accepted = accept(open), if open.is_some() => match accepted {
                    Ok(Some((link, address))) => {
                        let serving = serve(link, address);
                        connections.spawn(async move {
                            serving.await.inspect_err(|error| tracing::warn!(%error, "connection closed"))
                        });
                    }
                    Ok(None) => listener = None,
                    Err(error) => break Err(error),
                },
            }
        };
        // Nobody new; who is there finishes within its time.
        drop(listener);
        let _ = tokio::time::timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
        outcome
    }
}

async fn accept(listener: Option<&Listening>) -> Result<Option<(Link, Address)>> {
    let Some(listener) = listener else { return Ok(None) };
    Ok(listener.accept().await?.map(|link| {
        let address = link.address_of(listener.address()).clone();
        (link, address)
    }))
}

/// How a server's task ended.
pub(crate) fn ended(outcome: Result<Result<()>, JoinError>) -> Result<()> {
    match outcome {
        Ok(outcome) => outcome,
        Err(failure) if failure.is_panic() => std::panic::resume_unwind(failure.into_panic()),
        // The runtime is shutting down.
        Err(_) => Ok(()),
    }
}
