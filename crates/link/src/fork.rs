//! Notices that this process is a fork of the one that opened a link.

use std::os::fd::RawFd;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

static FORKS: AtomicU64 = AtomicU64::new(0);

/// A descriptor that is to close when the last process that has it ends, and so must not outlive this one in a fork.
static CLOSED_IN_FORKS: AtomicI32 = AtomicI32::new(-1);

/// How many forks lie between the first process and this one: cheaper than asking for the pid each time.
pub(crate) fn generation() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// Begins to count; a link does so before it remembers its generation.
pub(crate) fn watch() -> u64 {
    static ONCE: Once = Once::new();
    extern "C" fn count() {
        FORKS.fetch_add(1, Ordering::Relaxed);
        let fd = CLOSED_IN_FORKS.swap(-1, Ordering::Relaxed);
        if fd >= 0 {
            // SAFETY: whoever owns it is of the parent, and is left alone from here on.
            unsafe { libc::close(fd) };
        }
    }
    ONCE.call_once(|| {
        // SAFETY: the handler only touches atomics and closes a descriptor, which is allowed between fork and exec.
        unsafe { libc::pthread_atfork(None, None, Some(count)) };
    });
    generation()
}

/// Closes this descriptor in every fork, and the one before no more.
pub(crate) fn close_in_forks(fd: RawFd) {
    CLOSED_IN_FORKS.store(fd, Ordering::Relaxed);
}
