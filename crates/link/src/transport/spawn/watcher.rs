//! What ends our children when we end, however we do: a shell that reads a pipe of which only we hold the other end.
//!
//! It is started with the first child, and is nobody's child itself. PR_SET_PDEATHSIG would do without, but follows
//! the thread that spawned: a child would die with a thread of a pool.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

use super::process::Process;
use super::start::{Plan, Started, start};
use crate::fork::{self, KeptFromForks};
use crate::transport::link::write_to_pipe;
use crate::transport::listener::lock;

/// Reads `+GROUP` and `-GROUP`, and at the end of its input ends the groups that are left.
const SCRIPT: &str = r#"
trap '' INT TERM HUP QUIT
cd /
groups=
while read -r line; do
  case $line in
    +*) groups="$groups ${line#+}" ;;
    -*) kept=
        for group in $groups; do [ "$group" = "${line#-}" ] || kept="$kept $group"; done
        groups=$kept ;;
  esac
done
[ "$groups" ] || exit 0
for group in $groups; do kill -s TERM -- "-$group"; done
sleep 0.5
for group in $groups; do kill -s KILL -- "-$group"; done
"#;

/// This process's children, as far as they outlive those who spawned them.
struct Family {
    /// The fork of the first process that this belongs to.
    forks: u64,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    /// Our end of the watcher's pipe, which nobody else may hold.
    lifeline: Option<(KeptFromForks, OwnedFd)>,
    groups: BTreeSet<i32>,
    /// Children that nobody waits for, on their way out.
    leaving: Vec<Process>,
}

/// Never locked across a fork: a forked process makes a family of its own, and leaves the memory of the old one alone.
fn members() -> MutexGuard<'static, Members> {
    static FAMILY: AtomicPtr<Family> = AtomicPtr::new(null_mut());
    let forks = fork::watch();
    loop {
        let found = FAMILY.load(Ordering::Acquire);
        // SAFETY: what is stored there was leaked and lives for ever.
        if let Some(family) = unsafe { found.as_ref() }
            && family.forks == forks
        {
            return lock(&family.members);
        }
        let new = Box::into_raw(Box::new(Family { forks, members: Mutex::default() }));
        if FAMILY.compare_exchange(found, new, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            // SAFETY: nobody else has seen it.
            drop(unsafe { Box::from_raw(new) });
        }
    }
}

/// Starts the watcher where there is none.
///
/// # Errors
/// Why it could not be started.
pub(super) fn be_there() -> Result<(), Errno> {
    members().lifeline().map(|_| ())
}

/// Starts a child that ends with this process.
///
/// # Errors
/// Why it, or the watcher, could not be started.
pub(super) fn start_watched(plan: Plan<'_>) -> Result<Started, Errno> {
    let mut members = members();
    for attempt in 0.. {
        let lifeline = members.lifeline()?;
        match start(&Plan { lifeline: Some(lifeline.as_fd()), ..plan }) {
            // The watcher was killed since; another takes its place.
            Err(Errno::PIPE) if attempt < 3 => members.lifeline = None,
            Ok(started) => {
                members.groups.insert(started.pid.as_raw_nonzero().get());
                return Ok(started);
            }
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::PIPE)
}

/// Says that a child's group needs no watching any more.
pub(super) fn forget(group: Pid) {
    members().tell('-', group);
}

/// Says that it does after all.
pub(super) fn remember(group: Pid) {
    members().tell('+', group);
}

/// Takes over a child that nobody waits for.
pub(super) fn adopt(process: Process) {
    members().leaving.push(process);
    advance_leaving();
}

/// Sees to the children that nobody waits for.
pub(super) fn advance_leaving() {
    let mut leaving = std::mem::take(&mut members().leaving);
    leaving.retain_mut(|process| process.advance(std::time::Instant::now()).is_some());
    members().leaving.append(&mut leaving);
}

impl Members {
    /// The watcher's pipe; starts a watcher when there is none.
    fn lifeline(&mut self) -> Result<&OwnedFd, Errno> {
        if self.lifeline.as_ref().is_some_and(|(_, lifeline)| is_read(lifeline)) {
            return self.lifeline.as_ref().map(|(_, lifeline)| lifeline).ok_or(Errno::PIPE);
        }
        let (reader, lifeline) = pipe_with(PipeFlags::CLOEXEC)?;
        // A watcher that somebody has stopped must not stop us.
        rustix::io::ioctl_fionbio(&lifeline, true)?;
        let nothing = nothing()?;
        let arguments = ["/bin/sh", "-c", SCRIPT].map(|text| CString::new(text).unwrap_or_default());
        start(&Plan {
            arguments: &arguments,
            environment: &[],
            descriptors: &[reader.as_fd(), nothing.as_fd(), nothing.as_fd()],
            ignores_sigpipe: false,
            lifeline: None,
            is_detached: true,
        })?;
        for group in &self.groups {
            let _ = write_to_pipe(&lifeline, &[std::io::IoSlice::new(format!("+{group}\n").as_bytes())]);
        }
        Ok(&self.lifeline.insert((fork::keep_from_forks(&lifeline, None), lifeline)).1)
    }

    fn tell(&mut self, sign: char, group: Pid) {
        let number = group.as_raw_nonzero().get();
        match sign {
            '+' => self.groups.insert(number),
            _ => self.groups.remove(&number),
        };
        if let Some((_, lifeline)) = &self.lifeline {
            // Without a watcher there is nobody to tell; the next child starts one.
            let _ = write_to_pipe(lifeline, &[std::io::IoSlice::new(format!("{sign}{number}\n").as_bytes())]);
        }
    }
}

/// Whether anybody reads the other end.
fn is_read(pipe: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pipe, PollFlags::empty())];
    let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    polled.is_ok() && !fds[0].revents().contains(PollFlags::ERR)
}

/// A descriptor that reads nothing and takes everything.
pub(super) fn nothing() -> Result<OwnedFd, Errno> {
    use rustix::fs::{Mode, OFlags, open};
    open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}
