//! Who may read a FIFO, and who may write to it: locks on the FIFO itself, which end with their holder.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::fork;

/// The right to read a FIFO or to write to it; dropping it gives it back.
///
/// Readers have a lock of the open file (fcntl(2), F_OFD_SETLK), writers one of flock(2): the two do not meet.
pub(super) struct Turn {
    fifo: Arc<OwnedFd>,
    give_back: fn(&OwnedFd),
    forks: u64,
}

impl Turn {
    /// The right to be the only reader of `fifo`; `None` while another one has it.
    ///
    /// Who can only read cannot take a lock that excludes, so each takes a shared one and then looks for others.
    pub(super) fn to_read(fifo: &Arc<OwnedFd>) -> Result<Option<Self>, Errno> {
        let turn = Self::to_read_on(fifo)?;
        Ok(is_only_reader(fifo.as_fd())?.then_some(turn))
    }

    /// The same right for another open file, while this process has it already.
    pub(super) fn to_read_on(fifo: &Arc<OwnedFd>) -> Result<Self, Errno> {
        ask(fifo.as_fd(), libc::F_OFD_SETLK, &mut range(libc::F_RDLCK))?;
        let give_back = |fifo: &OwnedFd| {
            let _ = ask(fifo.as_fd(), libc::F_OFD_SETLK, &mut range(libc::F_UNLCK));
        };
        Ok(Turn { fifo: Arc::clone(fifo), give_back, forks: fork::watch() })
    }

    /// The right to write to `fifo`, alone or beside others; `None` while another one keeps us away.
    pub(super) fn to_write(fifo: &Arc<OwnedFd>, alone: bool) -> Result<Option<Self>, Errno> {
        let operation = match alone {
            true => FlockOperation::NonBlockingLockExclusive,
            false => FlockOperation::NonBlockingLockShared,
        };
        match flock(fifo, operation) {
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            locked => locked?,
        }
        let give_back = |fifo: &OwnedFd| {
            let _ = flock(fifo, FlockOperation::Unlock);
        };
        Ok(Some(Turn { fifo: Arc::clone(fifo), give_back, forks: fork::watch() }))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // A forked child shares the lock, which stays the parent's.
        if self.forks == fork::generation() {
            (self.give_back)(&self.fifo);
        }
    }
}

/// Takes the right to be the only reader of a FIFO that another library reads: `false` while another process has it.
///
/// Closing the descriptor gives it back, and so must who did not get it, to leave it to the others.
///
/// # Errors
/// The system's, as for a descriptor that is not open to be read.
pub fn claim_to_read(fifo: impl AsFd) -> std::io::Result<bool> {
    ask(fifo.as_fd(), libc::F_OFD_SETLK, &mut range(libc::F_RDLCK))?;
    Ok(is_only_reader(fifo.as_fd())?)
}

/// Whether nobody else has the lock of a reader.
fn is_only_reader(fifo: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut found = range(libc::F_WRLCK);
    ask(fifo, libc::F_OFD_GETLK, &mut found)?;
    Ok(i32::from(found.l_type) == libc::F_UNLCK)
}

/// A lock of this kind on the first byte.
fn range(kind: i32) -> libc::flock {
    // SAFETY: all of its fields are numbers.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = kind as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_len = 1;
    range
}

fn ask(fifo: BorrowedFd<'_>, command: i32, range: &mut libc::flock) -> Result<(), Errno> {
    // SAFETY: the descriptor is open, and the range is written to only within itself.
    match unsafe { libc::fcntl(fifo.as_raw_fd(), command, std::ptr::from_mut(range)) } {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        _ => Ok(()),
    }
}
