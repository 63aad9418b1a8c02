//! `unix:PATH` and `unix:@NAME`: stream sockets inside one machine.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};

use panpipe_wire::{Address, Error, ErrorKind, Method, OptionInfo, PANPIPE, Result};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen as listen_on, socket_with};
use rustix::rand::{GetRandomFlags, getrandom};

use super::Transport;
use super::connecting::{Connecting, any};
use super::link::{self, Link};
use super::listener::{Listener, Source};
use super::remote::Allow;
use super::socket_file::SocketFile;

pub(super) const TRANSPORT: Transport = Transport {
    method: &Method {
        scheme: "unix",
        form: "unix:PATH, unix:@NAME",
        options: &[BACKLOG, CONNECTIONS, MODE, ALLOW],
        check,
        moves_packets: false,
        protocol: PANPIPE,
        reaches: "this machine",
        reliable: "yes",
        ordered: "yes",
        readers: "many",
        death: "seen at once",
        costs: "two copies",
        trial: Some("unix:/tmp/panpipe-trial-*"),
        good_for: "programs of one machine: fast, and the file's mode says who may connect",
        not_for: "other machines; programs that know only ports",
    },
    connect: |address| connect(address, SocketType::STREAM, Link::unix),
    listen: |address| listen(address, SocketType::STREAM, Link::unix),
    may_block: |_| false,
};

/// The option that all stream listeners have.
pub(super) const BACKLOG: OptionInfo = OptionInfo {
    name: "backlog",
    value: "a number from 1 to 65535",
    default: "1024",
    summary: "connections that may wait to be accepted",
    check: |value| parse_backlog(value).is_some(),
};

/// The option that all listeners have whose connections last.
pub(super) const CONNECTIONS: OptionInfo = OptionInfo {
    name: "connections",
    value: "a number from 1 to 1000000",
    default: "1024",
    summary: "connections that a server holds at once; more wait to be accepted",
    check: |value| parse_count(value).is_some_and(|most| most <= 1_000_000),
};

/// The option that all socket files have.
pub(super) const MODE: OptionInfo = OptionInfo {
    name: "mode",
    value: "an octal file mode up to 0777",
    default: "0600",
    summary: "file mode of the socket file or FIFO: who may connect",
    check: |value| parse_mode(value).is_some(),
};

/// The option that all sockets with credentials have.
pub(super) const ALLOW: OptionInfo = OptionInfo {
    name: "allow",
    value: "users and groups, as uid:1000,gid:100",
    default: "whom the file's mode lets in; for an abstract name this user and root",
    summary: "who may connect, by what the system says of the other side",
    check: |value| Allow::parse(value).is_some(),
};

fn parse_backlog(value: &str) -> Option<i32> {
    parse_count(value).filter(|&backlog| backlog <= 65535)
}

/// A number of at least one, in digits alone: Rust's own parser would take a sign.
pub(super) fn parse_count(value: &str) -> Option<i32> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    value.parse().ok().filter(|&count| digits && count > 0)
}

/// Connections that a server of `address` holds at once.
pub(super) fn most_connections(address: &Address) -> usize {
    address.option("connections").and_then(parse_count).map_or(1024, |most| most as usize)
}

pub(super) fn backlog(address: &Address) -> i32 {
    address.option("backlog").and_then(parse_backlog).unwrap_or(1024)
}

pub(super) fn mode(address: &Address) -> Option<u32> {
    address.option("mode").and_then(parse_mode)
}

pub(super) fn parse_mode(value: &str) -> Option<u32> {
    let octal = !value.is_empty() && value.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    u32::from_str_radix(value, 8).ok().filter(|&mode| octal && mode <= 0o777)
}

/// What `sun_path` holds, less the NUL that ends it (unix(7)).
const LONGEST_PATH: usize = 107;

enum Name<'a> {
    Path(&'a str),
    Abstract(&'a str),
}

fn name(target: &str) -> Result<Name<'_>, String> {
    let path = match target.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(path) => return Err(format!("a host has no place here: write unix:{path} or unix:///{path}")),
        None => target,
    };
    match path.strip_prefix('@') {
        _ if path.is_empty() => Err("the path is missing: unix:PATH".into()),
        Some("") => Err("the name is missing: unix:@NAME".into()),
        Some(name) => Ok(Name::Abstract(name)),
        None => Ok(Name::Path(path)),
    }
}

/// Checks a path or an abstract name.
pub(super) fn check(address: &Address) -> Result<(), String> {
    match name(address.target())? {
        Name::Abstract(_) if address.option("mode").is_some() => {
            let allow = address.method().options.iter().any(|option| option.name == ALLOW.name);
            let instead = if allow { "; allow=uid:… says who may connect" } else { "" };
            Err(format!("an abstract name has no file, and so no mode{instead}"))
        }
        _ => Ok(()),
    }
}

/// The path, where it is one.
pub(super) fn path(address: &Address) -> Option<&str> {
    match name(address.target()) {
        Ok(Name::Path(path)) => Some(path),
        _ => None,
    }
}

/// Where a socket is bound or connects to.
pub(super) struct Place {
    pub(super) address: SocketAddrUnix,
    /// A path that is too long is reached through its folder, which must stay open meanwhile.
    pub(super) folder: Option<OwnedFd>,
}

pub(super) fn place(address: &Address, doing: &str) -> Result<Place> {
    let error = |kind| Error::new(kind, format!("{doing} {}", address.text())).at(address.text());
    let system = |errno| link::error(errno, format!("{doing} {}", address.text())).at(address.text());
    let name = name(address.target()).map_err(|reason| error(ErrorKind::InvalidAddress).because(reason))?;
    let too_long = |text: &str| format!("{} bytes, and the system takes at most {LONGEST_PATH}", text.len());
    match name {
        Name::Path(path) if path.len() > LONGEST_PATH => through_folder(path).map_err(system)?.ok_or_else(|| {
            let hint = format!("{}; a longer path works if its last name has at most {LONGEST_NAME}", too_long(path));
            error(ErrorKind::PathTooLong).because(hint)
        }),
        Name::Abstract(name) if name.len() > LONGEST_PATH => Err(error(ErrorKind::PathTooLong).because(too_long(name))),
        Name::Path(path) => SocketAddrUnix::new(path).map_err(system).map(Place::from),
        Name::Abstract(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()).map_err(system).map(Place::from),
    }
}

impl From<SocketAddrUnix> for Place {
    fn from(address: SocketAddrUnix) -> Self {
        Place { address, folder: None }
    }
}

/// What is left of [`LONGEST_PATH`] behind `/proc/self/fd/N/`.
const LONGEST_NAME: usize = 80;

/// The same file by a path that fits: proc(5) shows an open folder as a link to it.
fn through_folder(path: &str) -> Result<Option<Place>, Errno> {
    let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
    if name.len() > LONGEST_NAME {
        return Ok(None);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = open(if folder.is_empty() { "/" } else { folder }, flags, Mode::empty())?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))?;
    Ok(Some(Place { address, folder: Some(folder) }))
}

/// Connects with a socket of this `kind`.
pub(super) fn connect(address: &Address, kind: SocketType, link: fn(OwnedFd) -> Link) -> Result<Connecting> {
    refuse_star(address)?;
    let place = place(address, "connecting to")?;
    let mut places = VecDeque::from([any(&place.address)]);
    places.extend(padded(address).map(|place| any(&place)));
    Ok(Connecting::to(address, places, kind, link).through(place.folder))
}

/// Says that a name to be picked cannot be connected to.
pub(super) fn refuse_star(address: &Address) -> Result<()> {
    if !address.target().ends_with('*') {
        return Ok(());
    }
    let error = Error::new(ErrorKind::InvalidAddress, format!("connecting to {}", address.text()));
    Err(error.because("a trailing * is for listening").at(address.text()))
}

/// An abstract name as Node.js before 22 writes it: its libuv always hands over all 107 bytes, the rest zeros.
///
/// Listening on both names and trying both lets these meet everybody else.
fn padded(address: &Address) -> Option<SocketAddrUnix> {
    let Ok(Name::Abstract(name)) = name(address.target()) else { return None };
    let mut bytes = [0; LONGEST_PATH];
    bytes.get_mut(..name.len()).filter(|_| name.len() < LONGEST_PATH)?.copy_from_slice(name.as_bytes());
    SocketAddrUnix::new_abstract_name(&bytes).ok()
}

/// Listens with a socket of this `kind`.
pub(super) fn listen(address: &Address, kind: SocketType, link: fn(OwnedFd) -> Link) -> Result<Listener> {
    let picked = pick_name(address)?;
    let address = picked.as_ref().unwrap_or(address);
    let Place { address: place, folder: _folder } = place(address, "listening on")?;
    let doing = format!("listening on {}", address.text());
    let error = |errno| super::link::error(errno, doing.clone()).at(address.text());
    let mut sockets = vec![Arc::new(new_socket(kind).map_err(error)?)];
    let mut file = None;
    let mut allow = address.option("allow").and_then(Allow::parse);
    if let Some(path) = path(address) {
        let made = SocketFile::bind(&sockets[0], &place, path, mode(address), Some(backlog(address)));
        file = Some(made.map_err(|failure| failure.into_error(&doing).at(address.text()))?);
    } else {
        // An abstract name has no mode: without this any user of the machine would be let in.
        allow.get_or_insert_with(Allow::ourselves);
        listen_at(&sockets[0], &place, backlog(address)).map_err(error)?;
        if let Some(place) = padded(address) {
            let socket = new_socket(kind).map_err(error)?;
            listen_at(&socket, &place, backlog(address)).map_err(error)?;
            sockets.push(Arc::new(socket));
        }
    }
    Ok(Listener::new(
        address.clone(),
        Source::Sockets { sockets, link, file: Mutex::new(file), allow, is_inherited: false },
    ))
}

pub(super) fn new_socket(kind: SocketType) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, kind, flags, None)
}

fn listen_at(socket: &OwnedFd, place: &SocketAddrUnix, backlog: i32) -> Result<(), Errno> {
    bind(socket, place)?;
    listen_on(socket, backlog)
}

/// A free name in place of a trailing `*`: 48 random bits, so that nobody can guess it and be there first.
pub(super) fn pick_name(address: &Address) -> Result<Option<Address>> {
    let Some(stem) = address.target().strip_suffix('*') else { return Ok(None) };
    let mut random = [0; 6];
    getrandom(&mut random, GetRandomFlags::empty())
        .map_err(|errno| link::error(errno, format!("picking a name for {}", address.text())))?;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Some(address.with_target(&format!("{stem}{hex}"))))
}
