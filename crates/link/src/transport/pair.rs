//! Two connected links inside one program, with no other place than that.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use panpipe_wire::{Address, Error, ErrorKind, PANPIPE, PLAIN, Result};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use super::link::{self, Link};
use super::{mem, parse};

/// What a pair may be made of; the first is meant when none is said.
const KINDS: [&str; 3] = ["socket", "pipe", ONE_WAY];

/// A pair in which only messages can go, since there is no way back.
const ONE_WAY: &str = "one-way";

/// The address of the ends of a pair: `KIND?OPTIONS`, of which each part may be missing, or the options alone.
///
/// # Errors
/// `invalid-address` and `unsupported`, as [`parse`]; `unsupported` for an unknown kind, with the known ones.
pub fn pair_address(text: &str) -> Result<Address> {
    let (kind, options) = match text.split_once('?') {
        Some((kind, options)) => (kind, options),
        None if text.contains('=') => ("", text),
        None => (text, ""),
    };
    let kind = if kind.is_empty() { KINDS[0] } else { kind };
    if !KINDS.contains(&kind) {
        let error = Error::new(ErrorKind::Unsupported, format!("making the pair {text:?}"));
        return Err(error.because(format!("no pair is called {kind:?}; known: {}", KINDS.join(", "))));
    }
    let says_protocol = |option: &str| option.starts_with("protocol=") || option.starts_with("framing=");
    let mut address = format!("mem:{kind}");
    let implied = (kind == ONE_WAY && !options.split('&').any(says_protocol)).then(|| format!("protocol={PLAIN}"));
    for (at, option) in
        [options, implied.as_deref().unwrap_or_default()].into_iter().filter(|option| !option.is_empty()).enumerate()
    {
        address.push(if at == 0 { '?' } else { '&' });
        address.push_str(option);
    }
    parse(&address)
}

/// Two connected links, of the kind that an address of [`pair_address`] says.
///
/// With `one-way` the first reads and the second writes.
///
/// # Errors
/// `busy` when descriptors run out; `unsupported` for `chaos=` on pipes, and for the protocol panpipe one way.
pub fn pair(address: &Address) -> Result<(Link, Link)> {
    let error = |errno| link::error(errno, "making a pair");
    match address.target() {
        ONE_WAY if address.protocol == PANPIPE => {
            let error = Error::new(ErrorKind::Unsupported, "making a pair").at(address.text());
            Err(error.because("the protocol panpipe goes both ways"))
        }
        "pipe" | ONE_WAY if address.option("chaos").is_some() => {
            let error = Error::new(ErrorKind::Unsupported, "making a pair").at(address.text());
            Err(error.because("chaos needs a pair of sockets"))
        }
        "pipe" => {
            let (ours, theirs) = (pipe().map_err(error)?, pipe().map_err(error)?);
            Ok((Link::pipes(ours.0, theirs.1), Link::pipes(theirs.0, ours.1)))
        }
        ONE_WAY => {
            let (reader, writer) = pipe().map_err(error)?;
            Ok((Link::read_end(reader, "this end only reads"), Link::write_end(writer, "this end only writes")))
        }
        _ => mem::connected(address).map_err(error),
    }
}

fn pipe() -> Result<(Arc<OwnedFd>, Arc<OwnedFd>), Errno> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    link::widen_pipe(&writer);
    Ok((Arc::new(reader), Arc::new(writer)))
}

/// A connected pair of stream sockets.
pub(super) fn sockets() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}
