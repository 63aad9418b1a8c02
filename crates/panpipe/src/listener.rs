//! A listening address on tokio.

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Poll;

use panpipe_link::{Accepted, Address, Link, Result};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Mutex;

use crate::connection::Connection;
use crate::readiness::register;

/// Listens on an address.
///
/// # Errors
/// `invalid-address`, `unsupported`, `address-in-use`, `not-found`, `permission`, `path-too-long`, `busy`, `io`.
pub async fn listen(address: &str) -> Result<Listener> {
    let address = panpipe_link::parse(address)?;
    let listener = match panpipe_link::may_block(&address) {
        false => panpipe_link::listen(&address)?,
        true => match tokio::task::spawn_blocking(move || panpipe_link::listen(&address)).await {
            Ok(listener) => listener?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        },
    };
    let text = listener.address().text();
    let descriptors = listener.descriptors();
    let descriptors = descriptors.iter().map(|fd| register(fd, Interest::READABLE, text)).collect::<Result<_>>()?;
    Ok(Listener { descriptors, accepting: Mutex::new(()), listener })
}

/// A listening address. Dropping it stops listening and removes its socket file.
pub struct Listener {
    // Deregistered before the listener closes them.
    descriptors: Vec<AsyncFd<Arc<OwnedFd>>>,
    /// A descriptor wakes one task; others that accept wait here for their turn.
    accepting: Mutex<()>,
    listener: panpipe_link::Listener,
}

impl Listener {
    /// The real address, with the port or the name that was picked: connect to this.
    pub fn address(&self) -> &str {
        self.listener.address().text()
    }

    pub(crate) fn parsed_address(&self) -> &Address {
        self.listener.address()
    }

    /// Datagrams that were dropped for want of room, by this program and by the system; zero where none are.
    pub fn dropped(&self) -> u64 {
        self.listener.dropped()
    }

    /// As [`panpipe_link::Listener::serve`].
    pub(crate) fn serve(&self) -> bool {
        self.listener.serve()
    }

    /// Waits for the next connection; `None` when no more will come.
    ///
    /// Safe to cancel. Running out of descriptors is waited out.
    ///
    /// # Errors
    /// `io` when listening itself is broken.
    pub async fn accept(&self) -> Result<Option<Connection>> {
        match self.accept_link().await? {
            Some(link) => Connection::new(link, self.listener.address()).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn check_replies(&self) -> Result<()> {
        self.listener.check_replies()
    }

    /// Whether there is one connection, which was there from the start.
    pub(crate) fn most_connections(&self) -> usize {
        self.listener.most_connections()
    }

    pub(crate) fn serves_one(&self) -> bool {
        self.descriptors.is_empty()
    }

    pub(crate) async fn accept_link(&self) -> Result<Option<Link>> {
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
