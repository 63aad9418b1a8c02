//! `fd:N`, `fd:IN,OUT` and `fd:NAME`: descriptors that this process was started with, whatever they are.

use std::env;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use panpipe_wire::{Address, Error, ErrorKind, Method, PANPIPE, Result};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{AddressFamily, SocketType, getpeername, sockopt};

use super::connecting::Connecting;
use super::datagram::Datagrams;
use super::link::{self, Link};
use super::listener::{Listener, Source};
use super::senders::Senders;
use super::{Transport, udp, unix};

pub(super) const TRANSPORT: Transport = Transport {
    method: &Method {
        scheme: "fd",
        form: "fd:N, fd:IN,OUT, fd:NAME",
        options: &[unix::CONNECTIONS],
        check: |address| read(address.target()).map(|_| ()),
        moves_packets: false,
        protocol: PANPIPE,
        reaches: "whoever handed the descriptor over",
        reliable: "as it was made",
        ordered: "as it was made",
        readers: "as it was made",
        death: "as it was made",
        costs: "as it was made",
        trial: None,
        good_for: "a socket or pipe that a parent or a supervisor has opened already",
        not_for: "anything that nobody has opened",
    },
    connect,
    listen,
    may_block: |_| false,
};

/// The first descriptor of socket activation (sd_listen_fds(3)).
const FIRST_ACTIVATED: i32 = 3;

/// What holds the number of the socket that a parent gave its child beside stdio.
const FROM_PARENT: &str = "PANPIPE_FD";

enum Target<'a> {
    One(i32),
    /// One to read from and one to write to.
    Two(i32, i32),
    Name(&'a str),
}

fn read(target: &str) -> Result<Target<'_>, String> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits).ok_or_else(|| format!("{text:?} is no descriptor number"))
    };
    if target.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        return Ok(Target::Name(target));
    }
    match target.split_once(',') {
        Some((input, output)) => Ok(Target::Two(number(input)?, number(output)?)),
        None => Ok(Target::One(number(target)?)),
    }
}

/// The numbers that a name stands for: several sockets of socket activation may share one.
fn named(name: &str) -> Result<Vec<i32>, String> {
    let variable = |name| env::var(name).ok();
    if name == FROM_PARENT {
        let number = variable(name).and_then(|number| number.parse().ok());
        return number.map(|number| vec![number]).ok_or_else(|| format!("{FROM_PARENT} holds no descriptor number"));
    }
    if variable("LISTEN_PID").and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
        return Err("no descriptors were handed to this process: LISTEN_PID is not its number".into());
    }
    let count = variable("LISTEN_FDS").and_then(|count| count.parse::<i32>().ok()).unwrap_or_default();
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let numbers: Vec<_> = (FIRST_ACTIVATED..FIRST_ACTIVATED.saturating_add(count))
        .zip(names.split(':'))
        .filter_map(|(number, given)| (given == name).then_some(number))
        .collect();
    match numbers.is_empty() {
        true => Err(format!("none of the {count} descriptors has this name; LISTEN_FDNAMES is {names:?}")),
        false => Ok(numbers),
    }
}

/// Duplicates of the descriptors, so that closing ours does not close what another part of the program holds.
fn duplicates(address: &Address) -> Result<Vec<OwnedFd>> {
    let doing = format!("opening {}", address.text());
    let error = |kind, reason: String| Error::new(kind, doing.clone()).because(reason).at(address.text());
    let numbers = match read(address.target()).map_err(|reason| error(ErrorKind::InvalidAddress, reason))? {
        Target::One(number) => vec![number],
        Target::Two(input, output) => vec![input, output],
        Target::Name(name) => named(name).map_err(|reason| error(ErrorKind::NotFound, reason))?,
    };
    let duplicate = |number| {
        // SAFETY: the number may name anything or nothing; it is borrowed for this one call, which then says EBADF.
        let inherited = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl_dupfd_cloexec(inherited, 3).map_err(|errno| link::error(errno, doing.clone()).at(address.text()))
    };
    numbers.into_iter().map(duplicate).collect()
}

fn connect(address: &Address) -> Result<Connecting> {
    Ok(Connecting::ready(address, open(address, duplicates(address)?)?))
}

fn listen(address: &Address) -> Result<Listener> {
    let fds = duplicates(address)?;
    let error = |errno| link::error(errno, format!("listening on {}", address.text())).at(address.text());
    if fds.iter().all(|fd| is_datagram(fd) && getpeername(fd).is_err()) {
        refuse_framing(address)?;
        let (most, may_drop) = fds.first().map_or((0, true), |fd| of_datagrams(fd, address));
        let senders = Senders::new(fds, most, may_drop).map_err(error)?;
        return Ok(Listener::new(address.clone(), Source::Senders { senders, file: Mutex::default() }));
    }
    if !fds.iter().all(|fd| sockopt::socket_acceptconn(fd).unwrap_or(false)) {
        return Ok(Listener::new(address.clone(), Source::One(Mutex::new(Some(open(address, fds)?)))));
    }
    for fd in &fds {
        rustix::io::ioctl_fionbio(fd, true).map_err(error)?;
    }
    let sockets = fds.into_iter().map(Arc::new).collect();
    let source = Source::Sockets { sockets, link: accepted, file: Mutex::default(), allow: None, is_inherited: true };
    Ok(Listener::new(address.clone(), source))
}

fn is_datagram(fd: &OwnedFd) -> bool {
    sockopt::socket_type(fd) == Ok(SocketType::DGRAM)
}

/// The bytes of the largest datagram of a socket, and whether datagrams may get lost there.
fn of_datagrams(socket: &OwnedFd, address: &Address) -> (usize, bool) {
    match sockopt::socket_domain(socket) {
        Ok(AddressFamily::UNIX) => (link::largest_packet(socket).min(address.max), false),
        _ => (udp::most(address), true),
    }
}

fn refuse_framing(address: &Address) -> Result<()> {
    if address.option("framing").is_none() {
        return Ok(());
    }
    let error = Error::new(ErrorKind::Unsupported, format!("opening {}", address.text())).at(address.text());
    Err(error.because("the descriptor keeps the boundaries of messages itself and takes no framing"))
}

/// The link that an accepted socket is, of whatever kind its listener was.
fn accepted(socket: OwnedFd) -> Link {
    match (sockopt::socket_domain(&socket), sockopt::socket_type(&socket)) {
        (_, Ok(SocketType::SEQPACKET)) => Link::packets(socket),
        (Ok(AddressFamily::INET | AddressFamily::INET6), _) => Link::tcp(socket).reached_by_browsers(),
        (Ok(AddressFamily::UNIX), _) => Link::unix(socket),
        _ => Link::socket(socket),
    }
}

/// One connected socket, one pipe, or one descriptor for each way.
fn open(address: &Address, fds: Vec<OwnedFd>) -> Result<Link> {
    let doing = || format!("opening {}", address.text());
    let unsupported =
        |reason: &str| Err(Error::new(ErrorKind::Unsupported, doing()).because(reason).at(address.text()));
    let error = |errno| link::error(errno, doing()).at(address.text());
    let mut fds = fds.into_iter();
    let (input, output) = match (fds.next(), fds.next(), fds.next()) {
        (Some(both), None, None) => {
            let output = both.try_clone().map_err(|_| error(Errno::MFILE))?;
            (both, output)
        }
        (Some(input), Some(output), None) if matches!(read(address.target()), Ok(Target::Two(..))) => (input, output),
        _ => return unsupported("several descriptors have this name, and not all of them listen"),
    };
    for fd in [&input, &output] {
        if sockopt::socket_acceptconn(fd).unwrap_or(false) {
            return unsupported("the descriptor is a socket that listens: it accepts, and connects to nobody");
        }
    }
    if is_datagram(&input) {
        refuse_framing(address)?;
        if getpeername(&input).is_err() {
            return unsupported("the descriptor is a socket of datagrams that goes to nobody: it listens");
        }
        let datagrams = match of_datagrams(&input, address) {
            (most, true) => Datagrams::lossy(&input, most),
            (most, false) => Datagrams::reliable(most),
        };
        return Ok(Link::datagrams(input, datagrams).inherited_from_others());
    }
    let link = Link::inherited(input, output).map_err(error)?;
    if address.protocol == PANPIPE && !link.goes_both_ways() {
        return unsupported("the protocol panpipe goes both ways, and the descriptor one way; fd:IN,OUT are two");
    }
    if link.largest_packet().is_some() {
        refuse_framing(address)?;
    }
    Ok(link)
}
