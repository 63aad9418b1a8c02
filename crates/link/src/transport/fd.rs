//! `fd:N`: a descriptor that this process was started with.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use panpipe_wire::{Address, Error, ErrorKind, Method, Result};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{SocketType, sockopt};

use super::Transport;
use super::connecting::Connecting;
use super::link::{self, Link};
use super::listener::{Listener, Source};

pub(super) const TRANSPORT: Transport = Transport {
    method: &Method {
        scheme: "fd",
        form: "fd:N",
        options: &[],
        check: |address| number(address).map(|_| ()),
        moves_packets: false,
        reaches: "whoever handed the descriptor over",
        good_for: "a socket or pipe that a parent or a supervisor has opened already",
        not_for: "anything that nobody has opened",
    },
    connect,
    listen,
    may_block: |_| false,
};

fn number(address: &Address) -> Result<i32, String> {
    let target = address.target();
    let digits = !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_digit());
    target.parse().ok().filter(|_| digits).ok_or_else(|| format!("{target:?} is no descriptor number"))
}

/// A duplicate of the descriptor, so that closing ours does not close what another part of the program holds.
fn duplicate(address: &Address) -> Result<OwnedFd> {
    let doing = format!("opening {}", address.text());
    let number = number(address)
        .map_err(|reason| Error::new(ErrorKind::InvalidAddress, doing.clone()).because(reason).at(address.text()))?;
    // SAFETY: the number may name anything or nothing; it is borrowed for this one call, which then says EBADF.
    let inherited = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_dupfd_cloexec(inherited, 3).map_err(|errno| link::error(errno, doing).at(address.text()))
}

fn connect(address: &Address) -> Result<Connecting> {
    Ok(Connecting::ready(address, open(address, duplicate(address)?)?))
}

fn listen(address: &Address) -> Result<Listener> {
    let fd = duplicate(address)?;
    let source = match sockopt::socket_acceptconn(&fd) {
        Ok(true) => {
            let error = |errno| link::error(errno, format!("listening on {}", address.text())).at(address.text());
            rustix::io::ioctl_fionbio(&fd, true).map_err(error)?;
            Source::Sockets {
                sockets: vec![Arc::new(fd)],
                link: Link::socket,
                file: Mutex::default(),
                allow: None,
                is_inherited: true,
            }
        }
        _ => Source::One(Mutex::new(Some(open(address, fd)?))),
    };
    Ok(Listener::new(address.clone(), source))
}

fn open(address: &Address, fd: OwnedFd) -> Result<Link> {
    let error = |errno| link::error(errno, format!("opening {}", address.text())).at(address.text());
    match sockopt::socket_type(&fd) {
        Ok(SocketType::STREAM) | Err(Errno::NOTSOCK) => {}
        Ok(_) => {
            let error = Error::new(ErrorKind::Unsupported, format!("opening {}", address.text()));
            return Err(error.because("the descriptor is a socket that is no stream").at(address.text()));
        }
        Err(errno) => return Err(error(errno)),
    }
    let both = fd.try_clone().map_err(|_| error(Errno::MFILE))?;
    Link::inherited(fd, both).map_err(error)
}
