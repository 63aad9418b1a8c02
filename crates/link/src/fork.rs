//! Notices that this process is a fork of the one that opened a link.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static FORKS: AtomicU64 = AtomicU64::new(0);

/// How many forks lie between the first process and this one: cheaper than asking for the pid each time.
pub(crate) fn generation() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// Begins to count; a link does so before it remembers its generation.
pub(crate) fn watch() -> u64 {
    static ONCE: Once = Once::new();
    extern "C" fn count() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    ONCE.call_once(|| {
        // SAFETY: the handler only touches an atomic, which is allowed between fork and exec.
        unsafe { libc::pthread_atfork(None, None, Some(count)) };
    });
    generation()
}
