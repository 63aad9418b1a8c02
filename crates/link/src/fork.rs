//! Notices that this process is a fork of the one that opened a link.

use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};

static FORKS: AtomicU64 = AtomicU64::new(0);

/// All places that there are for descriptors of which a fork is to have no copy; a place lives for ever.
static PLACES: AtomicPtr<Place> = AtomicPtr::new(null_mut());

struct Place {
    /// What a fork is to let go of; `FREE` or `TAKEN` when there is nothing.
    fd: AtomicI32,
    /// What its number is to name instead, or none.
    instead: AtomicI32,
    next: Option<&'static Place>,
}

const FREE: i32 = -1;
const TAKEN: i32 = -2;

/// How many forks lie between the first process and this one: cheaper than asking for the pid each time.
pub(crate) fn generation() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// Begins to count; a link does so before it remembers its generation.
pub(crate) fn watch() -> u64 {
    static ONCE: Once = Once::new();
    extern "C" fn count() {
        FORKS.fetch_add(1, Ordering::Relaxed);
        for place in places() {
            let (fd, instead) = (place.fd.swap(FREE, Ordering::Acquire), place.instead.load(Ordering::Relaxed));
            if fd >= 0 {
                // SAFETY: whoever owns it is of the parent: it is closed where that lies forgotten, and else keeps a
                // number that is still its own to close.
                unsafe { if instead >= 0 { libc::dup3(instead, fd, libc::O_CLOEXEC) } else { libc::close(fd) } };
            }
        }
    }
    ONCE.call_once(|| {
        // SAFETY: the handler only touches atomics and closes a descriptor, which is allowed between fork and exec.
        unsafe { libc::pthread_atfork(None, None, Some(count)) };
    });
    generation()
}

fn places() -> impl Iterator<Item = &'static Place> {
    // SAFETY: a place that was published lives for ever, and its `next` does not change.
    let first = unsafe { PLACES.load(Ordering::Acquire).as_ref() };
    std::iter::successors(first, |place| place.next)
}

/// Keeps a descriptor out of the forks of this process, until it is dropped: what is at its other end waits for the last
/// copy to close. To be dropped before the descriptor is.
pub(crate) struct KeptFromForks {
    place: &'static Place,
    forks: u64,
}

/// Sees to it that `fd` is closed in every fork; with `instead`, that its number then names that file.
pub(crate) fn keep_from_forks(fd: &OwnedFd, instead: Option<&OwnedFd>) -> KeptFromForks {
    let forks = watch();
    let is_taken =
        |place: &&Place| place.fd.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok();
    let place = places().find(is_taken).unwrap_or_else(|| {
        let place = Place { fd: AtomicI32::new(TAKEN), instead: AtomicI32::new(-1), next: None };
        let place = Box::leak(Box::new(place));
        let mut first = PLACES.load(Ordering::Acquire);
        loop {
            // SAFETY: as in `places`.
            place.next = unsafe { first.as_ref() };
            match PLACES.compare_exchange(first, place, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return place,
                Err(now) => first = now,
            }
        }
    });
    place.instead.store(instead.map_or(-1, AsRawFd::as_raw_fd), Ordering::Relaxed);
    place.fd.store(fd.as_raw_fd(), Ordering::Release);
    KeptFromForks { place, forks }
}

impl Drop for KeptFromForks {
    fn drop(&mut self) {
        // A fork has done what was to be done, and may use the place for a descriptor of its own.
        if self.forks == generation() {
            self.place.fd.store(FREE, Ordering::Release);
        }
    }
}
