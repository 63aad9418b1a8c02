//! The life of a child: what it writes, how it ends, and how it is ended.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, send, sendmsg, shutdown};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_send_signal, test_kill_process_group, waitid,
};

use super::start::{Started, reap};
use super::stderr::Tail;
use super::watcher;
use crate::Alarm;
use crate::fork::{self, KeptFromForks};
use crate::transport::link::{read_into, recv_into, write_to_pipe};

/// Between a child's closing its stdout and its end, and between its end and that of its stderr.
const GRACE: Duration = Duration::from_millis(250);

/// After its stdin has ended a child may take so long, and after SIGTERM so long, until it is told more clearly.
const POLITE: Duration = Duration::from_secs(2);
const FIRM: Duration = Duration::from_secs(5);

/// How soon to look whether those that a child has left behind are gone: nothing tells.
const LOOK: Duration = Duration::from_millis(20);

/// What a child says by its end.
pub(crate) enum LastWords {
    /// It was well: this is only to be said to those who waited for more.
    Exited(String),
    /// It failed.
    Failed(String),
}

/// Where a child's messages come from, and go to.
pub(super) enum Lines {
    /// To its stdin, and from its stdout.
    Pipes(Arc<OwnedFd>, OwnedFd),
    /// Both.
    Socket(Arc<OwnedFd>),
}

impl Lines {
    pub(super) fn writer(&self) -> Arc<OwnedFd> {
        let (Lines::Pipes(writer, _) | Lines::Socket(writer)) = self;
        Arc::clone(writer)
    }
}

/// A child, from its start until it is reaped.
pub(super) struct Process {
    /// A fork that held its stdin would keep it from seeing the end.
    kept_stdin: Option<KeptFromForks>,
    started: Started,
    lines: Lines,
    tail: Option<Tail>,
    /// Readable when there is something to look at: input, its end, the end of its stderr, the alarm.
    epoll: Arc<OwnedFd>,
    alarm: Alarm,
    reading: Reading,
    /// It does not read any more, and until then may end.
    deaf: Option<Instant>,
    ended: Option<Ended>,
    closing: Option<Closing>,
    forks: u64,
}

/// How far its input has come.
#[derive(Clone, Copy)]
enum Reading {
    Open,
    /// Its output has ended; until then it may end itself.
    Ending(Instant),
    /// It has ended, and until then its stderr may, too.
    LastWords(Instant),
    Over,
}

#[derive(Clone, Copy)]
enum Ended {
    With(i32),
    By(i32),
    /// Somebody else has taken its status, or nobody gets it (SIGCHLD is ignored).
    Somehow,
}

/// How far its end has come.
#[derive(Clone, Copy)]
enum Closing {
    /// Until then it is only asked, by the end of its input.
    Asked(Instant),
    /// Until then by SIGTERM.
    Told(Instant),
    /// SIGKILL cannot be refused.
    Killed,
    /// It is gone; those that it has left behind are killed then.
    LeftBehind(Instant),
    /// All are gone but the two that its stderr went through, until then.
    Stderr(Instant),
    Done,
}

impl Process {
    /// # Errors
    /// `MFILE` and the like; the child is ended then.
    pub(super) fn new(
        started: Started,
        lines: Lines,
        tail: Option<Tail>,
        (epoll, alarm): (OwnedFd, Alarm),
    ) -> Result<Self, Errno> {
        let kept_stdin = match &lines {
            Lines::Pipes(stdin, _) => Some(fork::keep_from_forks(stdin, Some(&started.pidfd))),
            Lines::Socket(_) => None,
        };
        let process = Process {
            started,
            kept_stdin,
            lines,
            tail,
            epoll: Arc::new(epoll),
            alarm,
            reading: Reading::Open,
            deaf: None,
            ended: None,
            closing: None,
            forks: fork::watch(),
        };
        let fds = [process.input(), &process.started.pidfd, process.alarm.descriptor()];
        if let Some(errno) = fds.iter().find_map(|fd| process.watch(fd).err()) {
            process.tell(Signal::KILL);
            watcher::forget(process.started.pid);
            reap(&process.started.pidfd);
            return Err(errno);
        }
        Ok(process)
    }

    pub(super) fn descriptor(&self) -> &Arc<OwnedFd> {
        &self.epoll
    }

    pub(super) fn pid(&self) -> i32 {
        self.started.pid.as_raw_nonzero().get()
    }

    /// Whether it is a child of the process after so many forks.
    pub(super) fn belongs_to(&self, forks: u64) -> bool {
        self.forks == forks
    }

    fn input(&self) -> &OwnedFd {
        match &self.lines {
            Lines::Pipes(_, pipe) => pipe,
            Lines::Socket(socket) => socket,
        }
    }

    fn watch(&self, fd: &OwnedFd) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, EventData::new_u64(0), EventFlags::IN)
    }

    fn unwatch(&self, fd: &OwnedFd) {
        // It may be watched no more.
        let _ = epoll::delete(&self.epoll, fd);
    }

    pub(super) fn read(&mut self, inbox: &mut BytesMut) -> Result<usize, Errno> {
        loop {
            match self.reading {
                Reading::Open => match self.read_output(inbox) {
                    Ok(0) => self.expect_end(),
                    Err(Errno::AGAIN) if !self.has_ended() => return Err(self.nothing_yet()),
                    // What it wrote before its end is all there by now. Its output need not end with it: others may
                    // hold it.
                    Err(Errno::AGAIN) => match self.read_output(inbox) {
                        Ok(0) | Err(Errno::AGAIN) => self.hear_last_words(),
                        read => return read,
                    },
                    read => return read,
                },
                Reading::Ending(until) => {
                    self.alarm.acknowledge();
                    if self.has_ended() {
                        self.hear_last_words();
                    } else if until <= Instant::now() {
                        self.reading = Reading::Over;
                    } else {
                        self.alarm.set(until);
                        return Err(Errno::AGAIN);
                    }
                }
                Reading::LastWords(until) => {
                    let Some(tail) = &mut self.tail else {
                        self.reading = Reading::Over;
                        continue;
                    };
                    self.alarm.acknowledge();
                    if tail.read() || until + GRACE <= Instant::now() {
                        epoll::delete(&self.epoll, tail.report()).ok();
                        self.reading = Reading::Over;
                    } else if until <= Instant::now() {
                        tail.cut();
                        self.alarm.set(until + GRACE);
                        return Err(Errno::AGAIN);
                    } else {
                        self.alarm.set(until);
                        return Err(Errno::AGAIN);
                    }
                }
                Reading::Over => return Ok(0),
            }
        }
    }

    pub(super) fn expects_last_words(&mut self) -> bool {
        if matches!(self.reading, Reading::Open) {
            let until = Instant::now() + GRACE;
            self.deaf = Some(until);
            self.alarm.set(until);
        }
        !matches!(self.reading, Reading::Over)
    }

    fn nothing_yet(&mut self) -> Errno {
        if self.deaf.is_some_and(|until| until <= Instant::now()) {
            self.deaf = None;
            self.alarm.acknowledge();
            return Errno::PIPE;
        }
        Errno::AGAIN
    }

    fn read_output(&self, inbox: &mut BytesMut) -> Result<usize, Errno> {
        loop {
            let read = match &self.lines {
                Lines::Pipes(_, pipe) => read_into(pipe, inbox),
                Lines::Socket(socket) => recv_into(socket, inbox, RecvFlags::DONTWAIT),
            };
            match read {
                Err(Errno::INTR) => {}
                // It ended with input unread.
                Err(Errno::CONNRESET) => return Ok(0),
                read => return read,
            }
        }
    }

    fn expect_end(&mut self) {
        self.unwatch(self.input());
        let until = Instant::now() + GRACE;
        self.reading = Reading::Ending(until);
        self.alarm.set(until);
    }

    fn hear_last_words(&mut self) {
        self.unwatch(self.input());
        self.unwatch(&self.started.pidfd);
        let until = Instant::now() + GRACE;
        self.reading = Reading::LastWords(until);
        self.alarm.acknowledge();
        self.alarm.set(until);
        if let Some(tail) = &self.tail {
            // Where that fails the alarm comes.
            let _ = self.watch(tail.report());
        }
    }

    /// Whether it has ended. It stays unreaped, so that its number stays its own.
    fn has_ended(&mut self) -> bool {
        if self.ended.is_some() {
            return true;
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.ended = match waitid(WaitId::PidFd(self.started.pidfd.as_fd()), options) {
            Ok(None) | Err(Errno::INTR) => None,
            Ok(Some(status)) => Some(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Ended::With(code),
                (None, Some(signal)) => Ended::By(signal),
                (None, None) => Ended::Somehow,
            }),
            Err(_) => Some(Ended::Somehow),
        };
        self.ended.is_some()
    }

    pub(super) fn last_words(&self) -> Option<LastWords> {
        let how = match self.ended? {
            Ended::With(0) => return Some(LastWords::Exited("the child exited with status 0".into())),
            Ended::Somehow => return Some(LastWords::Exited("the child exited, its status unknown,".into())),
            Ended::With(code) => format!("the child exited with status {code}"),
            Ended::By(signal) => format!("the child was killed by {}", signal_name(signal)),
        };
        let stderr = self.tail.as_ref().map(Tail::text).unwrap_or_default();
        Some(LastWords::Failed(match stderr.as_str() {
            "" => how,
            stderr => format!("{how}; its stderr ended: {stderr}"),
        }))
    }

    pub(super) fn write(&self, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match (&self.lines, parts) {
            (Lines::Pipes(stdin, _), _) => write_to_pipe(stdin, parts),
            (Lines::Socket(socket), [one]) => send(socket, one, flags),
            (Lines::Socket(socket), _) => sendmsg(socket, parts, &mut SendAncillaryBuffer::default(), flags),
        }
    }

    pub(super) fn end_output(&mut self) {
        match &self.lines {
            Lines::Socket(socket) => {
                let _ = shutdown(socket, Shutdown::Write);
            }
            Lines::Pipes(stdin, _) => {
                // A loop may still have the number: it is made to name something else, which closes the pipe at once.
                // SAFETY: both descriptors are open, and `stdin` stays so under its number.
                unsafe { libc::dup3(self.started.pidfd.as_raw_fd(), stdin.as_raw_fd(), libc::O_CLOEXEC) };
                self.kept_stdin = None;
            }
        }
    }

    pub(super) fn begin_to_close(&mut self, now: Instant) {
        if self.closing.is_none() {
            self.closing = Some(Closing::Asked(now + POLITE));
            self.end_output();
        }
    }

    /// Brings its end nearer; when to look again, or `None` when all is over.
    pub(super) fn advance(&mut self, now: Instant) -> Option<Instant> {
        self.drop_output();
        self.alarm.acknowledge();
        loop {
            let next = match self.closing? {
                Closing::Asked(_) | Closing::Told(_) | Closing::Killed if self.has_ended() => self.bury(now),
                Closing::Asked(until) if until <= now => {
                    self.tell(Signal::TERM);
                    Closing::Told(now + FIRM)
                }
                Closing::Told(until) if until <= now => {
                    self.tell(Signal::KILL);
                    Closing::Killed
                }
                Closing::Asked(until) | Closing::Told(until) => return Some(until),
                Closing::Killed => return Some(now + FIRM),
                Closing::LeftBehind(until) if lives(self.started.pid) => {
                    if until <= now {
                        let _ = kill_process_group(self.started.pid, Signal::KILL);
                        return Some(now + LOOK);
                    }
                    // Looking costs a millisecond.
                    let waited = FIRM.saturating_sub(until - now);
                    return Some(until.min(now + LOOK.max(waited / 8)));
                }
                Closing::LeftBehind(_) => {
                    watcher::forget(self.started.pid);
                    self.expect_stderr(now)
                }
                Closing::Stderr(until) => {
                    let is_whole = self.tail.as_mut().is_none_or(Tail::read);
                    if !is_whole && until > now {
                        return Some(until);
                    }
                    self.tail = None;
                    Closing::Done
                }
                Closing::Done => return None,
            };
            self.closing = Some(next);
        }
    }

    /// Reads on for nobody, so that a child that still writes comes to see the end of its input.
    fn drop_output(&mut self) {
        if !matches!(self.reading, Reading::Open) {
            return;
        }
        let mut scratch = BytesMut::with_capacity(64 << 10);
        for _ in 0..64 {
            scratch.clear();
            match self.read_output(&mut scratch) {
                Ok(count) if count > 0 => {}
                Err(Errno::AGAIN) => return,
                _ => {
                    self.unwatch(self.input());
                    self.reading = Reading::Over;
                    return;
                }
            }
        }
    }

    fn tell(&self, signal: Signal) {
        // The number is its own while it is not reaped. It may have left its group.
        if kill_process_group(self.started.pid, signal).is_err() {
            let _ = pidfd_send_signal(&self.started.pidfd, signal);
        }
    }

    /// Reaps it, and tells those that it has left behind to end.
    fn bury(&mut self, now: Instant) -> Closing {
        watcher::forget(self.started.pid);
        reap(&self.started.pidfd);
        self.unwatch(self.input());
        self.unwatch(&self.started.pidfd);
        if let Some(tail) = &self.tail {
            self.unwatch(tail.report());
        }
        // As long as anybody is in the group its number is given to nobody else; and if it is empty, not that soon.
        if matches!(self.ended, Some(Ended::Somehow)) || kill_process_group(self.started.pid, Signal::TERM).is_err() {
            return self.expect_stderr(now);
        }
        watcher::remember(self.started.pid);
        Closing::LeftBehind(now + FIRM)
    }

    fn expect_stderr(&mut self, now: Instant) -> Closing {
        if let Some(tail) = &self.tail {
            // Where that fails it is looked for in time.
            let _ = self.watch(tail.report());
        }
        Closing::Stderr(now + GRACE)
    }
}

/// Whether anybody in the group runs: a process that nobody reaps is in it, too.
fn lives(group: Pid) -> bool {
    if test_kill_process_group(group).is_err() {
        return false;
    }
    let Ok(processes) = std::fs::read_dir("/proc") else { return true };
    let number = group.as_raw_nonzero().get().to_string();
    let mut stats = processes.flatten().filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats.any(|stat| {
        // The name may hold anything; after it come the state, the parent and the group (proc_pid_stat(5)).
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
        matches!(fields[..], [state, _, group, ..] if group == number && !matches!(state, "Z" | "X"))
    })
}

/// What a signal is called, as `signal 9 (SIGKILL)`.
fn signal_name(signal: i32) -> String {
    const NAMES: &[(i32, &str)] = &[
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGALRM, "SIGALRM"),
        (libc::SIGTERM, "SIGTERM"),
    ];
    match NAMES.iter().find(|(number, _)| *number == signal) {
        Some((_, name)) => format!("signal {signal} ({name})"),
        None => format!("signal {signal}"),
    }
}
