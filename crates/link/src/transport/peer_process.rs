//! The process at the other end of a Unix socket, as long as it is the one that was there.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

/// `SO_PEERPIDFD` (Linux 6.5), which `libc` does not name for every architecture.
const SO_PEERPIDFD: libc::c_int = 77;

/// The pid of the peer of `socket`, which the system knew as `pid` when it connected: `None` once it has ended, since
/// the number may then be another process's.
pub(crate) fn living(socket: &OwnedFd, pid: i32) -> Option<i32> {
    match descriptor_of_peer(socket) {
        Ok(process) => pid_of(&process),
        // Before Linux 6.5 the number is all there is. A child of ours keeps its own until it is reaped.
        Err(Errno::NOPROTOOPT | Errno::NOTSOCK) => Some(pid),
        Err(_) => None,
    }
}

fn descriptor_of_peer(socket: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mut fd = MaybeUninit::<libc::c_int>::uninit();
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the system writes at most `size` bytes, and on success all of them.
    let failed = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PEERPIDFD, fd.as_mut_ptr().cast(), &raw mut size)
    };
    match failed {
        // SAFETY: it was written, and the system has made the descriptor for us.
        0 => Ok(unsafe { OwnedFd::from_raw_fd(fd.assume_init()) }),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// What proc(5) says of a pidfd: -1 once the process was reaped, 0 in another pid namespace.
fn pid_of(process: &OwnedFd) -> Option<i32> {
    let notes = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd())).ok()?;
    let pid = notes.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    pid.trim().parse().ok().filter(|&pid| pid > 0)
}
