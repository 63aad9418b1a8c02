//! A child as the other end of a link, and on its way out.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use super::process::{LastWords, Process};
use super::watcher;
use crate::fork;

/// A child that is on its way out, to be waited for: until [`descriptor`](Self::descriptor) is readable or the instant
/// that [`advance`](Self::advance) said, which is then to be called again.
///
/// Dropping it leaves that to whoever spawns or closes next in this process.
pub struct Child {
    descriptor: Arc<OwnedFd>,
    /// `None` once it is gone.
    process: Option<Box<Process>>,
}

impl Child {
    pub(super) fn new(process: Process) -> Self {
        Child { descriptor: Arc::clone(process.descriptor()), process: Some(Box::new(process)) }
    }

    /// The descriptor to wait on until it is readable.
    pub fn descriptor(&self) -> &Arc<OwnedFd> {
        &self.descriptor
    }

    /// The same under a number of its own, for a loop that takes each number once; `None` when descriptors run out.
    pub fn descriptor_of_its_own(&self) -> Option<Arc<OwnedFd>> {
        fcntl_dupfd_cloexec(&self.descriptor, 0).ok().map(Arc::new)
    }

    /// Does what is due at the instant `now`, without waiting: tells when to look again, or `None` when the child and
    /// those that it has left behind are gone.
    pub fn advance(&mut self, now: Instant) -> Option<Instant> {
        let process = self.process.as_mut()?;
        process.begin_to_close(now);
        let again = process.advance(now);
        if again.is_none() {
            self.process = None;
            watcher::advance_leaving();
        }
        again
    }

    pub(crate) fn pid(&self) -> Option<i32> {
        Some(self.process.as_ref()?.pid())
    }

    /// Whether its end, from which it can be learned why it does not read any more, may be near; a read tells it or, with
    /// `PIPE`, that it lives on.
    pub(crate) fn expects_last_words(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.expects_last_words())
    }

    /// Appends what has arrived; zero at the end, when [`last_words`](Self::last_words) are known.
    pub(crate) fn read(&mut self, inbox: &mut BytesMut) -> Result<usize, Errno> {
        self.process.as_mut().map_or(Ok(0), |process| process.read(inbox))
    }

    /// What it said by its end, once a read has told the end.
    pub(crate) fn last_words(&self) -> Option<LastWords> {
        self.process.as_ref()?.last_words()
    }

    /// Writes what the system takes now, to its stdin or its socket.
    pub(crate) fn write(&self, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
        self.process.as_ref().map_or(Err(Errno::PIPE), |process| process.write(parts))
    }

    /// Ends its input, whoever holds the descriptor too.
    pub(crate) fn end_output(&mut self) {
        if let Some(process) = &mut self.process {
            process.end_output();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A fork has copies of the descriptors, and no children.
        if let Some(mut process) = self.process.take().filter(|process| process.belongs_to(fork::generation())) {
            process.begin_to_close(Instant::now());
            if process.advance(Instant::now()).is_some() {
                watcher::adopt(*process);
            }
        }
    }
}
