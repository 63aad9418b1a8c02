//! `spawn:["PROGRAM","ARG"]`: a child of this process, over its stdin and stdout or a socket of its own.

mod child;
mod process;
mod start;
mod stderr;
mod watcher;

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use panpipe_wire::{Address, Error, ErrorKind, Method, OptionInfo, PANPIPE, Result};
use rustix::event::epoll::{self, CreateFlags};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::connecting::Connecting;
use super::link::{self, Link};
use super::{Transport, parse};
use crate::Alarm;
pub use child::Child;
pub(crate) use process::LastWords;
use process::{Lines, Process};
use start::Plan;
use stderr::Tail;

/// As much as an unprivileged process may ask for (pipe(7), pipe-max-size); the system may grant less.
const PIPE_SIZE: usize = 1 << 20;

pub(super) const TRANSPORT: Transport = Transport {
    method: &Method {
        scheme: "spawn",
        form: "spawn:[\"PROGRAM\",\"ARG\"]",
        options: &[
            OptionInfo {
                name: "stderr",
                value: "tail, inherit or null",
                default: "tail",
                summary: "where the child's stderr goes: to ours with its end kept for errors, to ours, or nowhere",
                check: |value| matches!(value, "tail" | "inherit" | "null"),
            },
            OptionInfo {
                name: "socket",
                value: "true or false",
                default: "false",
                summary: "the child gets a socket, whose number is in PANPIPE_FD, in place of stdin and stdout",
                check: |value| matches!(value, "true" | "false"),
            },
        ],
        check: |address| command(address).map(|_| ()),
        moves_packets: false,
        protocol: PANPIPE,
        reaches: "a child process",
        reliable: "yes",
        ordered: "yes",
        readers: "one reader, one writer",
        death: "seen at once, with the exit status and the end of stderr",
        costs: "two copies; starting it, milliseconds",
        trial: Some("spawn:[\"cat\"]"),
        good_for: "starting a worker and talking over its stdin and stdout; it dies with us",
        not_for: "programs that were started already",
    },
    connect: |address| Ok(Connecting::ready(address, spawn(address)?)),
    listen: |address| {
        let error = Error::new(ErrorKind::Unsupported, format!("listening on {}", address.text())).at(address.text());
        Err(error.because("a child is started by connecting; the child itself listens on stdio: or fd:"))
    },
    may_block: |_| false,
};

/// The program and its arguments.
fn command(address: &Address) -> Result<Vec<CString>, String> {
    let wants = "a program and its arguments are written as a JSON array of strings, as spawn:[\"sort\",\"-r\"]";
    let command: Vec<String> = match address.target() {
        "" => Vec::new(),
        target => serde_json::from_str(target).map_err(|reason| format!("{wants}; this one is not: {reason}"))?,
    };
    if command.first().is_none_or(String::is_empty) {
        return Err(format!("the program is missing: {wants}"));
    }
    let arguments = command.into_iter().map(CString::new).collect::<Result<_, _>>();
    arguments.map_err(|_| "no argument of a program can hold a zero byte".into())
}

/// The address of a child: a program with its arguments, and options, such as `framing=lines`.
///
/// # Errors
/// `invalid-address` and `unsupported`, as [`parse`].
pub fn spawn_address<S: AsRef<str>>(command: impl IntoIterator<Item = S>, options: &str) -> Result<Address> {
    let command: Vec<_> = command.into_iter().map(|word| serde_json::Value::from(word.as_ref())).collect();
    // Of what JSON is made of, only these two mean something else in an address.
    let target = serde_json::Value::from(command).to_string().replace('%', "%25").replace('?', "%3F");
    match options.trim_start_matches('?') {
        "" => parse(&format!("spawn:{target}")),
        options => parse(&format!("spawn:{target}?{options}")),
    }
}

/// The options of a child's address that leaves the program out.
fn options_alone(text: &str) -> Option<&str> {
    text.strip_prefix("spawn:").filter(|options| options.is_empty() || options.starts_with('?'))
}

/// Whether `text` is a child's address that leaves the program out, as `spawn:?framing=lines`.
pub fn lacks_command(text: &str) -> bool {
    options_alone(text).is_some()
}

/// The address `text`, which leaves the program out, with `command`.
///
/// # Errors
/// Those of [`spawn_address`]; `invalid-address` when `text` is another.
pub fn address_with_command(text: &str, command: &[String]) -> Result<Address> {
    match options_alone(text) {
        Some(options) => spawn_address(command, options),
        None => {
            let error = Error::new(ErrorKind::InvalidAddress, format!("reading the address {text:?}"));
            Err(error.because("a program stands only beside spawn: without one").at(&Arc::from(text)))
        }
    }
}

fn spawn(address: &Address) -> Result<Link> {
    let doing = |what: &str| format!("starting {what} for {}", address.text());
    let command = command(address)
        .map_err(|reason| Error::new(ErrorKind::InvalidAddress, doing("a child")).because(reason).at(address.text()))?;
    let program = command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
    watcher::advance_leaving();
    // Apart from the program, which would be called missing in its place.
    watcher::be_there().map_err(|errno| {
        link::error(errno, doing("/bin/sh, which ends children with this process,")).at(address.text())
    })?;
    open(address, &command).map_err(|errno| {
        let error = link::error(errno, doing(&format!("{program:?}"))).at(address.text());
        match errno {
            Errno::NOENT if !program.contains('/') => {
                error.because(format!("no program in PATH is called {program:?}"))
            }
            _ => error,
        }
    })
}

fn open(address: &Address, command: &[CString]) -> Result<Link, Errno> {
    let (tail, stderr) = match address.option("stderr") {
        Some("null") => (None, watcher::nothing()?),
        Some("inherit") => (None, stderr::ours()?),
        _ => match Tail::start() {
            Ok((tail, stderr)) => (Some(tail), stderr),
            Err(Errno::NOENT) => (None, stderr::ours()?),
            Err(errno) => return Err(errno),
        },
    };
    let is_socket = address.option("socket") == Some("true");
    let ends = if is_socket { Ends::socket()? } else { Ends::pipes()? };
    let Ends { lines, childs } = ends;
    let nothing = if is_socket { Some(watcher::nothing()?) } else { None };
    let descriptors = match (&childs[..], &nothing) {
        ([socket], Some(nothing)) => vec![nothing.as_fd(), stderr.as_fd(), stderr.as_fd(), socket.as_fd()],
        (pipes, _) => pipes.iter().chain([&stderr]).map(AsFd::as_fd).collect(),
    };
    let mut environment = vec![("PANPIPE_FD", is_socket.then_some("3"))];
    // Else a reply of Python's print would wait in its buffer.
    if std::env::var_os("PYTHONUNBUFFERED").is_none() {
        environment.push(("PYTHONUNBUFFERED", Some("1")));
    }
    // Before it runs, so that nothing but a lack of memory can fail afterwards.
    let waiting = (epoll::create(CreateFlags::CLOEXEC)?, Alarm::new().map_err(|_| Errno::MFILE)?);
    let started = watcher::start_watched(Plan {
        arguments: command,
        environment: &environment,
        descriptors: &descriptors,
        ignores_sigpipe: false,
        lifeline: None,
        is_detached: false,
    })?;
    let writer = lines.writer();
    Ok(Link::child(Child::new(Process::new(started, lines, tail, waiting)?), writer))
}

/// The ends of what connects a child.
struct Ends {
    lines: Lines,
    childs: Vec<OwnedFd>,
}

impl Ends {
    fn pipes() -> Result<Self, Errno> {
        let (stdin, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let (reader, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        for ours in [&writer, &reader] {
            // A smaller one is slower and nothing else.
            let _ = fcntl_setpipe_size(ours, PIPE_SIZE);
            ioctl_fionbio(ours, true)?;
        }
        Ok(Ends { lines: Lines::Pipes(Arc::new(writer), reader), childs: vec![stdin, stdout] })
    }

    fn socket() -> Result<Self, Errno> {
        let (ours, childs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        Ok(Ends { lines: Lines::Socket(Arc::new(ours)), childs: vec![childs] })
    }
}
