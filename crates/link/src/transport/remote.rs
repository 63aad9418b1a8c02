//! What the system tells of the other end.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketAddrUnix, getpeername};

/// What is known of the other end of a connection, from when it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// The scheme that it came by.
    pub transport: &'static str,
    /// Its own address, where it has one, as `127.0.0.1:54321`.
    pub address: Option<String>,
    /// The user and group that its process ran as when it connected or listened (unix(7), SO_PEERCRED).
    pub uid: Option<u32>,
    /// See `uid`.
    pub gid: Option<u32>,
    /// Its process then. The number may be another process's by now: a hint for people, nothing to trust.
    pub pid: Option<i32>,
}

impl Remote {
    /// Asks the system about the peer of `socket`.
    pub(crate) fn of(socket: &OwnedFd, transport: &'static str) -> Self {
        let mut remote = Remote { transport, ..Remote::default() };
        let Ok(Some(address)) = getpeername(socket) else { return remote };
        if address.address_family() == AddressFamily::UNIX {
            let path = SocketAddrUnix::try_from(address).ok();
            remote.address = path.and_then(|path| path.path()?.to_str().map(str::to_owned).ok());
            if let Some(credentials) = credentials(socket) {
                remote.uid = Some(credentials.uid);
                remote.gid = Some(credentials.gid);
                remote.pid = Some(credentials.pid).filter(|&pid| pid > 0);
            }
        } else {
            remote.address = SocketAddr::try_from(address).ok().map(|address| address.to_string());
        }
        remote
    }
}

/// The credentials of a Unix socket's peer. Its pid is zero when it is in another pid namespace.
fn credentials(socket: &OwnedFd) -> Option<libc::ucred> {
    let mut credentials = MaybeUninit::<libc::ucred>::uninit();
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the system writes at most `size` bytes, and says how many it wrote.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            credentials.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    // SAFETY: all of it was written.
    (failed == 0 && size as usize == size_of::<libc::ucred>()).then(|| unsafe { credentials.assume_init() })
}
