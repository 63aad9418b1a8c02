//! The file of a listening Unix socket: born private, replaced when stale, never stolen, removed when ours.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use panpipe_wire::{Error, ErrorKind};
use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, chmod, fchmod, flock, fstat, lstat, open, unlink};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen as listen_on, socket_with, sockopt,
};

use super::link;
use super::made_file::{MadeFile, identity};

/// A socket file that this process made; dropping it removes the file if it is still the same one.
pub(crate) struct SocketFile(MadeFile);

/// Why a socket file could not be made.
pub(crate) enum Failure {
    System(Errno),
    /// Something stands at the path, and this is why it stays.
    Taken(&'static str),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Failure::System(errno)
    }
}

impl Failure {
    pub(crate) fn into_error(self, doing: &str) -> Error {
        match self {
            Failure::System(errno) => link::error(errno, doing),
            Failure::Taken(reason) => Error::new(ErrorKind::AddressInUse, doing).because(reason),
        }
    }
}

impl SocketFile {
    /// Binds `socket` to `path`, which is `place`, and makes it listen where there is a `backlog`.
    pub(crate) fn bind(
        socket: &OwnedFd,
        place: &SocketAddrUnix,
        path: &str,
        mode: Option<u32>,
        backlog: Option<i32>,
    ) -> Result<Self, Failure> {
        // From bind to listen a socket looks stale to others, and so does one that is about to be replaced.
        let _lock = Lock::take(path)?;
        // The file takes its mode from the descriptor: there is no moment at which others may connect.
        let mode = Mode::from_raw_mode(mode.unwrap_or(0o600));
        fchmod(socket, mode)?;
        match bind(socket, place) {
            Err(Errno::ADDRINUSE) => {
                remove_stale(path, place, sockopt::socket_type(socket)?)?;
                bind(socket, place)?;
            }
            bound => bound?,
        }
        let stat = lstat(path)?;
        let file = SocketFile(MadeFile::new(path, &stat));
        if Mode::from_raw_mode(stat.st_mode) != mode {
            widen(path, &file, mode)?;
        }
        if let Some(backlog) = backlog {
            listen_on(socket, backlog)?;
        }
        Ok(file)
    }
}

/// Gives the file a mode that the umask withheld, through a descriptor that is known to be our file.
fn widen(path: &str, file: &SocketFile, mode: Mode) -> Result<(), Errno> {
    let found = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if file.0.is(&fstat(&found)?) {
        chmod(format!("/proc/self/fd/{}", found.as_raw_fd()), mode)?;
    }
    Ok(())
}

/// Removes a socket file that nobody answers at; the lock is held.
fn remove_stale(path: &str, place: &SocketAddrUnix, kind: SocketType) -> Result<(), Failure> {
    match find_and_remove(path, place, kind) {
        // Not everybody takes the lock, as a server in Node.js. To bind now, and be found before we listen, would make
        // us the stale one.
        Err(Failure::System(Errno::NOENT)) => Err(Failure::Taken("another process is replacing what stood there")),
        removed => removed,
    }
}

fn find_and_remove(path: &str, place: &SocketAddrUnix, kind: SocketType) -> Result<(), Failure> {
    if FileType::from_raw_mode(lstat(path)?.st_mode) != FileType::Socket {
        return Err(Failure::Taken("a file that is no socket stands there, and is left alone"));
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = socket_with(AddressFamily::UNIX, kind, flags, None)?;
    match connect(&probe, place) {
        Err(Errno::CONNREFUSED) => Ok(unlink(path)?),
        // EAGAIN is a full backlog: alive, and busy.
        Ok(()) | Err(Errno::AGAIN) => Err(Failure::Taken("another process listens there")),
        Err(Errno::PROTOTYPE) => Err(Failure::Taken("a socket of another kind stands there")),
        Err(errno) => Err(Failure::System(errno)),
    }
}

/// How often to ask for the lock, and how long to leave it alone in between: a fifth of a second in all.
const TRIES: usize = 200;
const PAUSE: Duration = Duration::from_millis(1);

/// An exclusive lock on `PATH.lock`, a file that is gone when nobody holds it.
struct Lock {
    path: String,
    _file: OwnedFd,
}

impl Lock {
    fn take(path: &str) -> Result<Self, Failure> {
        let path = format!("{path}.lock");
        let mut tries = TRIES;
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        loop {
            let file = rustix::fs::openat(CWD, &path, flags, Mode::from_raw_mode(0o600))?;
            // Held only from bind to listen, which do not wait; who holds it for longer is no server of ours.
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) if tries > 0 => {
                    tries -= 1;
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Err(Errno::AGAIN) => return Err(Failure::Taken("somebody holds the lock beside it")),
                locked => locked?,
            }
            // The last holder may have removed it while we waited; then this lock excludes nobody.
            if lstat(&path).is_ok_and(|stat| fstat(&file).is_ok_and(|ours| identity(&stat) == identity(&ours))) {
                return Ok(Lock { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = unlink(&self.path);
    }
}
