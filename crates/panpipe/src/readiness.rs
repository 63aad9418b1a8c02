//! Waiting for an endpoint's descriptors on tokio's loop.

use std::future::{Future, poll_fn};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use panpipe_link::{Endpoint, Error, ErrorKind, Result, Session};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Sleep;

/// An endpoint's descriptors, registered with tokio.
pub(crate) struct Readiness {
    reader: AsyncFd<Arc<OwnedFd>>,
    /// Made when something first has to wait for room. A peer that reads makes a writer ready each time, and to be
    /// woken by that for nothing costs a round trip a third.
    writer: OnceLock<AsyncFd<Arc<OwnedFd>>>,
    /// Goes off when to write again, where no descriptor tells of room.
    retry: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl Readiness {
    /// Registers the descriptors of `endpoint`.
    pub(crate) fn of<S: Session>(endpoint: &Endpoint<S>) -> Result<Self> {
        // What went wrong with a datagram comes as something urgent.
        let reader = register(endpoint.reader(), Interest::READABLE | Interest::PRIORITY, endpoint.address())?;
        Ok(Readiness { reader, writer: OnceLock::new(), retry: Mutex::new(None) })
    }

    fn writer<S: Session>(&self, endpoint: &Endpoint<S>) -> Result<&AsyncFd<Arc<OwnedFd>>> {
        if let Some(writer) = self.writer.get() {
            return Ok(writer);
        }
        let registered = register(&endpoint.writer_of_its_own()?, Interest::WRITABLE, endpoint.address())?;
        Ok(self.writer.get_or_init(|| registered))
    }

    /// Reads while there is something to read; pending when the descriptor is drained or nothing is wanted.
    pub(crate) fn poll_read<S: Session>(&self, endpoint: &mut Endpoint<S>, cx: &mut Context<'_>) -> Poll<()> {
        if !endpoint.wants_read() {
            return Poll::Pending;
        }
        let mut guard = match self.reader.poll_read_ready(cx) {
            Poll::Ready(Ok(guard)) => guard,
            // The runtime is shutting down; nothing will ever be ready again.
            Poll::Ready(Err(_)) | Poll::Pending => return Poll::Pending,
        };
        if endpoint.on_readable() == panpipe_link::Input::Drained {
            guard.clear_ready();
        }
        Poll::Ready(())
    }

    /// Writes what waits; ready when nothing is left.
    pub(crate) fn poll_flush<S: Session>(&self, endpoint: &mut Endpoint<S>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            endpoint.flush();
            if let Some(at) = endpoint.retry_at() {
                match self.poll_retry(at.into(), cx) {
                    Poll::Ready(()) => continue,
                    Poll::Pending => return Poll::Pending,
                }
            }
            if !endpoint.wants_write() {
                return Poll::Ready(());
            }
            match self.writer(endpoint).map(|writer| writer.poll_write_ready(cx)) {
                Ok(Poll::Ready(Ok(mut guard))) => guard.clear_ready(),
                Ok(Poll::Ready(Err(_)) | Poll::Pending) => return Poll::Pending,
                // Without a way to wait for room nothing more can be sent.
                Err(error) => endpoint.fail_output(error),
            }
        }
    }

    fn poll_retry(&self, at: tokio::time::Instant, cx: &mut Context<'_>) -> Poll<()> {
        let mut retry = self.retry.lock().unwrap_or_else(PoisonError::into_inner);
        let sleep = match &mut *retry {
            Some(sleep) => sleep,
            None => retry.insert(Box::pin(tokio::time::sleep_until(at))),
        };
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(cx)
    }

    /// Waits until everything is written, or the connection has failed.
    pub(crate) async fn flush<S: Session>(&self, endpoint: &mut Endpoint<S>) {
        poll_fn(|cx| self.poll_flush(endpoint, cx)).await;
    }
}

/// Registers a descriptor with tokio's loop.
pub(crate) fn register(fd: &Arc<OwnedFd>, interest: Interest, address: &Arc<str>) -> Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: the Arc keeps the descriptor open, and the same one, for as long as tokio holds it.
    unsafe { AsyncFd::register_with_interest(Arc::clone(fd), interest) }.map_err(|failed| {
        let (_, reason) = failed.into_parts();
        Error::new(ErrorKind::Io, format!("opening {address}")).because(reason).at(address)
    })
}
