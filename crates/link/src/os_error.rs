//! Classifies the operating system's errors, in this one place.

use std::io;

use panpipe_wire::ErrorKind;
use rustix::io::Errno;

/// The kind of error that an errno is, when it ends what was being done.
pub(crate) fn kind(errno: Errno) -> ErrorKind {
    match errno {
        Errno::CONNREFUSED => ErrorKind::Refused,
        Errno::NOENT | Errno::NOTDIR | Errno::BADF => ErrorKind::NotFound,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => ErrorKind::Permission,
        Errno::ADDRINUSE => ErrorKind::AddressInUse,
        Errno::NAMETOOLONG => ErrorKind::PathTooLong,
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC => ErrorKind::Busy,
        Errno::MSGSIZE => ErrorKind::TooLarge,
        Errno::TIMEDOUT => ErrorKind::DeadlineExceeded,
        Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED | Errno::NOTCONN => ErrorKind::ConnectionLost,
        _ => ErrorKind::Io,
    }
}

/// The text of an errno without Rust's "(os error 111)".
pub(crate) fn text(errno: Errno) -> String {
    let text = io::Error::from(errno).to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}
