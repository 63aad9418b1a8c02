//! `stdio:` or `-`: this process's stdin and stdout, as its parent or a shell connected them.

use std::os::fd::OwnedFd;
use std::sync::Mutex;

use panpipe_wire::{Address, Method, PANPIPE, Result};
use rustix::io::Errno;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::{dup2_stdin, dup2_stdout, stderr, stdin, stdout};

use super::Transport;
use super::connecting::Connecting;
use super::link::{self, Link};
use super::listener::{Listener, Source};

pub(super) const TRANSPORT: Transport = Transport {
    method: &Method {
        scheme: "stdio",
        form: "stdio: or -",
        options: &[],
        check: |address| match address.target() {
            "" => Ok(()),
            target => Err(format!("nothing may stand after stdio:, as {target:?} does")),
        },
        moves_packets: false,
        protocol: PANPIPE,
        reaches: "the parent or the shell's pipe",
        reliable: "yes",
        ordered: "yes",
        readers: "one reader, one writer",
        death: "the end of stdin, at once",
        costs: "two copies",
        trial: None,
        good_for: "a program that another one starts",
        not_for: "more than one peer",
    },
    connect: |address| Ok(Connecting::ready(address, open(address)?)),
    listen: |address| Ok(Listener::new(address.clone(), Source::One(Mutex::new(Some(open(address)?))))),
    may_block: |_| false,
};

fn open(address: &Address) -> Result<Link> {
    take().map_err(|errno| link::error(errno, format!("opening {}", address.text())).at(address.text()))
}

/// Takes the protocol's descriptors away from 0 and 1, so that a stray `print` goes to stderr and a stray
/// `input` reads nothing.
fn take() -> Result<Link, Errno> {
    let beyond_stdio = 3;
    let reader: OwnedFd = fcntl_dupfd_cloexec(stdin(), beyond_stdio)?;
    let writer: OwnedFd = fcntl_dupfd_cloexec(stdout(), beyond_stdio)?;
    let link = Link::inherited(reader, writer)?;
    let nothing = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())?;
    dup2_stdin(&nothing)?;
    dup2_stdout(stderr())?;
    Ok(link)
}
