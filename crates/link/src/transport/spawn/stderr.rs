//! A child's stderr: passed through to ours, and its end kept, by two processes between.
//!
//! No loop can drain it while nobody runs the loop, and a thread that could is one that the user has not asked for.
//! `tee` and `tail` do, and hand over the end when the child's side is closed.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, fcntl_dupfd_cloexec, ioctl_fionbio, read};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, pidfd_send_signal};

use super::start::{Plan, Started, reap, start};
use super::watcher::nothing;
use crate::fork;

/// The end that is kept, in bytes.
const KEPT: usize = 4096;

/// The two processes, children of ours.
pub(super) struct Tail {
    tee: Started,
    tail: Started,
    report: OwnedFd,
    text: Vec<u8>,
    forks: u64,
}

impl Tail {
    /// Starts the two, and makes the descriptor that is to be a child's stderr.
    ///
    /// # Errors
    /// `NOENT` where the machine has no such programs.
    pub(super) fn start() -> Result<(Self, OwnedFd), Errno> {
        let (from_child, childs) = pipe_with(PipeFlags::CLOEXEC)?;
        let (from_tee, tees) = pipe_with(PipeFlags::CLOEXEC)?;
        let (report, tails) = pipe_with(PipeFlags::CLOEXEC)?;
        ioctl_fionbio(&report, true)?;
        let nothing = nothing()?;
        let run = |arguments: &[&str], descriptors: [&OwnedFd; 3]| {
            let arguments: Vec<_> = arguments.iter().filter_map(|text| CString::new(*text).ok()).collect();
            start(&Plan {
                arguments: &arguments,
                environment: &[],
                descriptors: &descriptors.map(AsFd::as_fd),
                // When our stderr is gone the end is kept all the same.
                ignores_sigpipe: true,
                lifeline: None,
                is_detached: false,
            })
        };
        let tail = run(&["tail", "-c", &KEPT.to_string()], [&from_tee, &tails, &nothing])?;
        match run(&["tee", "/dev/stderr"], [&from_child, &ours()?, &tees]) {
            Ok(tee) => Ok((Tail { tee, tail, report, text: Vec::new(), forks: fork::watch() }, childs)),
            Err(errno) => {
                end(&tail);
                Err(errno)
            }
        }
    }

    /// The descriptor to wait on.
    pub(super) fn report(&self) -> &OwnedFd {
        &self.report
    }

    /// Takes in what has come; whether that is all.
    pub(super) fn read(&mut self) -> bool {
        let mut room = [0; KEPT];
        loop {
            match read(&self.report, &mut room[..]) {
                Ok(0) => return true,
                Ok(count) => self.text.extend_from_slice(&room[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Makes the end come although somebody else than the child still holds its stderr.
    pub(super) fn cut(&self) {
        // It may have ended.
        let _ = pidfd_send_signal(&self.tee.pidfd, Signal::KILL);
    }

    /// The end of what the child wrote.
    pub(super) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.text);
        let dots = if self.text.len() >= KEPT { "…" } else { "" };
        format!("{dots}{}", text.trim())
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if self.forks == fork::generation() {
            end(&self.tee);
            end(&self.tail);
        }
    }
}

/// Ends a process that has nothing more to do, and reaps it.
fn end(helper: &Started) {
    let _ = pidfd_send_signal(&helper.pidfd, Signal::KILL);
    reap(&helper.pidfd);
}

/// Our stderr, or nothing where there is none.
pub(super) fn ours() -> Result<OwnedFd, Errno> {
    match fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3) {
        Err(Errno::BADF) => nothing(),
        copied => copied,
    }
}
