//! What the system tells of the other end.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, getpeername};

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
    /// Its process, as long as that lives (SO_PEERPIDFD). Before Linux 6.5 the number may be another process's by then.
    pub pid: Option<i32>,
}

impl Remote {
    /// Asks the system about the peer of `socket`, which may be another library's; what it does not tell stays `None`.
    pub fn of(socket: impl AsFd, transport: &'static str) -> Self {
        let mut remote = Remote { transport, ..Remote::default() };
        let Ok(Some(address)) = getpeername(&socket) else { return remote };
        if address.address_family() == AddressFamily::UNIX {
            let path = SocketAddrUnix::try_from(address).ok();
            remote.address = path.and_then(|path| path.path()?.to_str().map(str::to_owned).ok());
            // How its listener reached a path that is too long; to others it says nothing.
            remote.address = remote.address.filter(|path| !path.starts_with("/proc/self/fd/"));
            if let Some(credentials) = credentials(&socket) {
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

/// The name of a socket as text: `127.0.0.1:54321`, a path, or `@` and an abstract name.
pub(crate) fn name_of(address: SocketAddrAny) -> Option<String> {
    if address.address_family() != AddressFamily::UNIX {
        return SocketAddr::try_from(address).ok().map(|address| address.to_string());
    }
    let address = SocketAddrUnix::try_from(address).ok()?;
    match address.abstract_name() {
        Some(name) => Some(format!("@{}", name.escape_ascii())),
        None => address.path()?.to_str().map(str::to_owned).ok(),
    }
}

/// Who may connect to a Unix socket, beyond what the mode of its file lets through.
pub(crate) struct Allow {
    uids: Vec<u32>,
    gids: Vec<u32>,
}

impl Allow {
    /// Reads `uid:1000,gid:100`: any of them will do.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut allow = Allow { uids: Vec::new(), gids: Vec::new() };
        for part in text.split(',') {
            let (kind, number) = part.split_once(':')?;
            let digits = number.bytes().all(|byte| byte.is_ascii_digit());
            let number = number.parse().ok().filter(|_| digits)?;
            match kind {
                "uid" => allow.uids.push(number),
                "gid" => allow.gids.push(number),
                _ => return None,
            }
        }
        Some(allow)
    }

    /// This process's own user, and root.
    pub(crate) fn ourselves() -> Self {
        Allow { uids: vec![rustix::process::geteuid().as_raw(), 0], gids: Vec::new() }
    }

    /// Whether the peer of `socket` is one of them.
    pub(crate) fn lets_in(&self, socket: &OwnedFd) -> bool {
        credentials(socket).is_some_and(|peer| self.uids.contains(&peer.uid) || self.gids.contains(&peer.gid))
    }
}

/// The credentials of a Unix socket's peer. Its pid is zero when it is in another pid namespace.
fn credentials(socket: impl AsFd) -> Option<libc::ucred> {
    let mut credentials = MaybeUninit::<libc::ucred>::uninit();
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the system writes at most `size` bytes, and says how many it wrote.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            credentials.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    // SAFETY: all of it was written.
    (failed == 0 && size as usize == size_of::<libc::ucred>()).then(|| unsafe { credentials.assume_init() })
}
