//! A listening address on tokio.

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Poll;

use panpipe_link::{Accepted, Address, Link, Result};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Mutex;

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
}
