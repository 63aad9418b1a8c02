//! Starts a program as posix_spawn does: our memory is shared until it runs, not copied, and no fork handler runs.

use std::ffi::{CString, OsString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr::{null, null_mut};

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::Pid;

/// A program's descriptors are put in their places from numbers beyond these, so that none is in another's way.
const BEYOND: i32 = 4;

/// What execvpe may need, without its copy of the arguments when it hands a script to the shell (posix_spawn takes
/// 32 KiB).
const STACK: usize = 64 << 10;

/// What to start, and how.
pub(super) struct Plan<'a> {
    /// The program, looked for in PATH unless it holds a slash, and its arguments.
    pub(super) arguments: &'a [CString],
    /// What its environment has in place of what ours has: a value, or nothing.
    pub(super) environment: &'a [(&'a str, Option<&'a str>)],
    /// What becomes its descriptors 0, 1, 2 and so on; it gets no others.
    pub(super) descriptors: &'a [BorrowedFd<'a>],
    pub(super) ignores_sigpipe: bool,
    /// Where the program registers itself before it runs.
    pub(super) lifeline: Option<BorrowedFd<'a>>,
    /// Whether it is to be nobody's child.
    pub(super) is_detached: bool,
}

/// A program that runs: a child of ours, unless it is detached.
pub(super) struct Started {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
}

/// What the new process is told; it must not allocate, nor run any destructor, since it shares our memory.
#[derive(Clone, Copy)]
struct Job {
    argv: *const *const c_char,
    envp: *const *const c_char,
    descriptors: *const c_int,
    count: c_int,
    lifeline: c_int,
    sigpipe: libc::sighandler_t,
    /// Where the program itself is to run when this process only stands between.
    second_stack: *mut c_void,
    failure: *mut c_int,
}

/// Starts a program in a process group of its own; returns once it runs.
///
/// # Errors
/// Why it could not be started; `PIPE` when nobody reads the lifeline.
pub(super) fn start(plan: &Plan<'_>) -> Result<Started, Errno> {
    let environment = environment(plan.environment);
    let copies: Vec<_> = plan.descriptors.iter().map(|fd| fcntl_dupfd_cloexec(fd, BEYOND)).collect::<Result<_, _>>()?;
    let lifeline = plan.lifeline.map(|fd| fcntl_dupfd_cloexec(fd, BEYOND)).transpose()?;
    let numbers: Vec<_> = copies.iter().map(AsRawFd::as_raw_fd).collect();
    let argv = pointers(plan.arguments);
    let envp = pointers(&environment);

    let words = (STACK + size_of_val(&argv[..]) * 2) / size_of::<u128>();
    let mut stacks: Vec<MaybeUninit<u128>> = Vec::with_capacity(2 * words);
    // SAFETY: both are inside of the allocation or at its end; the second grows down to where the first begins.
    let (stack, second) = unsafe { (stacks.as_mut_ptr().add(words), stacks.as_mut_ptr().add(2 * words)) };
    let mut failure: c_int = 0;
    let job = Job {
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        descriptors: numbers.as_ptr(),
        count: numbers.len() as c_int,
        lifeline: lifeline.as_ref().map_or(-1, AsRawFd::as_raw_fd),
        sigpipe: if plan.ignores_sigpipe { libc::SIG_IGN } else { libc::SIG_DFL },
        second_stack: if plan.is_detached { second.cast() } else { null_mut() },
        failure: &raw mut failure,
    };
    let (pid, pidfd) = run_apart(&job, stack.cast())?;
    // SAFETY: the new process has written it through `job`, and has ended or runs another program by now.
    let failure = unsafe { (&raw const failure).read_volatile() };
    if plan.is_detached || failure != 0 {
        reap(&pidfd);
    }
    match failure {
        0 => Ok(Started { pid, pidfd }),
        failure => Err(Errno::from_raw_os_error(failure)),
    }
}

/// Our environment with these changes.
fn environment(changes: &[(&str, Option<&str>)]) -> Vec<CString> {
    let kept = std::env::vars_os().filter(|(name, _)| changes.iter().all(|(changed, _)| name != changed));
    let added = changes.iter().filter_map(|(name, value)| Some(((*name).into(), OsString::from((*value)?))));
    let entries = kept.chain(added).map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    // None of them can hold a zero byte.
    entries.filter_map(|entry| CString::new(entry).ok()).collect()
}

/// The pointers that execve wants: one for each, and a null.
fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([null()]).collect()
}

/// Runs `job` on `stack` while this thread waits, until the program has been loaded.
fn run_apart(job: &Job, stack: *mut c_void) -> Result<(Pid, OwnedFd), Errno> {
    // A detached program's parent ends at once, and tells nobody: 0 is no signal.
    let signal = if job.second_stack.is_null() { libc::SIGCHLD } else { 0 };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | signal;
    let mut pidfd: c_int = -1;
    // SAFETY: all that they get to are the two sets and the number; `run` keeps to what is said at `Job`.
    let (pid, reason) = unsafe {
        let (mut all, mut old) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        libc::sigfillset(all.as_mut_ptr());
        // A handler of ours must not run in the new process, which has our memory.
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
        let job = (job as *const Job).cast_mut().cast();
        let pid = libc::clone(run, stack, flags, job, &raw mut pidfd);
        let reason = std::io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), null_mut());
        (pid, reason)
    };
    match Pid::from_raw(pid.max(0)) {
        // SAFETY: the system has just opened it for us.
        Some(pid) => Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) })),
        None => Err(Errno::from_io_error(&reason).unwrap_or(Errno::AGAIN)),
    }
}

/// Waits until a process has ended, and reaps it.
pub(super) fn reap(pidfd: &OwnedFd) {
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
        let number = pidfd.as_raw_fd() as libc::id_t;
        // SAFETY: the system writes what it tells into `info`, which nobody reads.
        let waited = unsafe { libc::waitid(libc::P_PIDFD, number, info.as_mut_ptr(), libc::WEXITED | libc::__WALL) };
        if waited != -1 || std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return;
        }
    }
}

/// The new process, in our memory: only system calls, and what is safe in a signal handler (signal-safety(7)).
extern "C" fn run(job: *mut c_void) -> c_int {
    // SAFETY: `run_apart` passed a Job that lives until this process has ended or runs another program, since the
    // thread that owns it waits for just that; the calls get pointers to it and to this stack alone.
    unsafe {
        let job = &*job.cast::<Job>();
        let fail = || {
            job.failure.write_volatile(*libc::__errno_location());
            libc::_exit(127)
        };
        if !job.second_stack.is_null() {
            let mut inner = Job { second_stack: null_mut(), ..*job };
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
            if libc::clone(run, job.second_stack, flags, (&raw mut inner).cast()) == -1 {
                fail();
            }
            libc::_exit(0);
        }
        if libc::setpgid(0, 0) == -1 {
            fail();
        }
        reset_handlers();
        if job.lifeline >= 0 {
            let mut line = [0; 16];
            let line = register(&mut line);
            if libc::write(job.lifeline, line.as_ptr().cast(), line.len()) == -1 {
                fail();
            }
        }
        libc::signal(libc::SIGPIPE, job.sigpipe);
        for number in 0..job.count {
            if libc::dup2(*job.descriptors.offset(number as isize), number) == -1 {
                fail();
            }
        }
        keep_only(job.count);
        let mut none = MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), null_mut());
        libc::execvpe(*job.argv, job.argv, job.envp);
        fail()
    }
}

/// Lets no handler of ours run here; a lifeline that nobody reads is an error, not a signal.
unsafe fn reset_handlers() {
    for signal in 1..=64 {
        let mut action = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: the action is written before it is read, and the numbers that are no signals are refused.
        unsafe {
            if libc::sigaction(signal, null(), action.as_mut_ptr()) == 0
                && !matches!((*action.as_ptr()).sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
            {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
    // SAFETY: no handler is set.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Writes `+PID` and a newline for the process that this is.
fn register(line: &mut [u8; 16]) -> &[u8] {
    // SAFETY: it only asks.
    let mut left = unsafe { libc::getpid() };
    let mut at = line.len() - 1;
    line[at] = b'\n';
    loop {
        at -= 1;
        line[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    at -= 1;
    line[at] = b'+';
    &line[at..]
}

/// Marks every descriptor from `first` on to be closed when the program runs.
unsafe fn keep_only(first: c_int) {
    /// close_range(2) came with Linux 5.9 and its flag with 5.11; before, higher descriptors stay as they are.
    const LOOKED_AT: c_int = 4096;
    // SAFETY: only marks are set.
    unsafe {
        if libc::syscall(libc::SYS_close_range, first, c_int::MAX, libc::CLOSE_RANGE_CLOEXEC) == -1 {
            for fd in first..LOOKED_AT {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}
