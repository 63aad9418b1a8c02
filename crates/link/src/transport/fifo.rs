//! `fifo:PATH`: a named pipe, which any program can write to. The listener reads; `reply=` names one for the way back.

mod lock;
mod reception;

pub use lock::claim_to_read;
pub(crate) use reception::Reception;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use panpipe_wire::{Address, Error, ErrorKind, Method, OptionInfo, PANPIPE, PLAIN, Result};
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fchmod, fstat, lstat, mkfifoat, open};
use rustix::io::Errno;
use rustix::process::geteuid;

use self::lock::Turn;
use super::connecting::{Connecting, Tried};
use super::link::{self, Link};
use super::listener::{Listener, Source};
use super::made_file::{MadeFile, identity};
use super::{Transport, unix};

pub(super) const TRANSPORT: Transport = Transport {
    method: &Method {
        scheme: "fifo",
        form: "fifo:PATH",
        options: &[REPLY, unix::MODE, ONCE, EXCLUSIVE],
        check,
        moves_packets: false,
        protocol: PLAIN,
        reaches: "this machine",
        reliable: "yes, while it is read",
        ordered: "yes, each writer's",
        readers: "one reader, many writers",
        death: "a writer sees it at its next message; a reader waits for the next writer",
        costs: "two copies",
        trial: None,
        good_for: "shell scripts: `echo hi > PATH`; many writers, one reader",
        not_for: "replies without a second FIFO; messages beyond 4,096 bytes with several writers",
    },
    connect,
    listen,
    may_block: |_| false,
};

const REPLY: OptionInfo = OptionInfo {
    name: "reply",
    value: "the path of another FIFO",
    default: "none: the listener only reads, and who connects only writes",
    summary: "the FIFO for the way back",
    check: |value| !value.is_empty(),
};

const ONCE: OptionInfo = OptionInfo {
    name: "once",
    value: "true or false",
    default: "false",
    summary: "the listener ends when its first writers have gone",
    check: is_bool,
};

const EXCLUSIVE: OptionInfo = OptionInfo {
    name: "exclusive",
    value: "true or false",
    default: "false",
    summary: "keeps other writers away, and so allows messages beyond 4,096 bytes",
    check: is_bool,
};

fn is_bool(value: &str) -> bool {
    matches!(value, "true" | "false")
}

/// A write of so many bytes is taken whole or not at all (pipe(7), PIPE_BUF on Linux).
const WHOLE: usize = 4096;

/// How often to look whether a FIFO is free, and how long to leave it alone in between at least.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(1);

const ONE_WAY: &str = "the protocol panpipe goes both ways, and a FIFO one way; reply=PATH2 makes it two-way";
const ONLY_READS: &str = "this end of the FIFO only reads; reply=PATH2 makes it two-way";
const ONLY_WRITES: &str = "this end of the FIFO only writes; reply=PATH2 makes it two-way";

fn path(target: &str) -> Result<&str, String> {
    match target.strip_prefix("//") {
        Some(path) if path.starts_with('/') => Ok(path),
        Some(path) => Err(format!("a host has no place here: write fifo:{path} or fifo:///{path}")),
        None if target.is_empty() => Err("the path is missing: fifo:PATH".into()),
        None => Ok(target),
    }
}

fn check(address: &Address) -> Result<(), String> {
    match address.option("reply") {
        Some(reply) if path(address.target())? == reply => Err("a FIFO cannot carry its own replies".into()),
        _ => path(address.target()).map(|_| ()),
    }
}

/// The ends of one address, with what its options say.
#[derive(Clone)]
struct Place {
    address: Address,
    doing: &'static str,
    path: String,
    reply: Option<String>,
}

impl Place {
    fn new(address: &Address, doing: &'static str) -> Result<Self> {
        let path = path(address.target()).map(str::to_owned).map_err(|reason| {
            let error = Error::new(ErrorKind::InvalidAddress, format!("{doing} {}", address.text()));
            error.because(reason).at(address.text())
        })?;
        let place = Place { address: address.clone(), doing, path, reply: address.option("reply").map(str::to_owned) };
        match address.protocol == PANPIPE && place.reply.is_none() {
            true => Err(place.error(ErrorKind::Unsupported, ONE_WAY)),
            false => Ok(place),
        }
    }

    fn says(&self, option: &str) -> bool {
        self.address.option(option) == Some("true")
    }

    /// Whether nobody else may write meanwhile: frames of the panpipe protocol mean nothing beside another client's.
    fn is_alone(&self) -> bool {
        self.says("exclusive") || self.address.protocol == PANPIPE
    }

    fn error(&self, kind: ErrorKind, reason: impl Into<String>) -> Error {
        let error = Error::new(kind, format!("{} {}", self.doing, self.address.text()));
        error.because(reason.into()).at(self.address.text())
    }

    fn os_error(&self, errno: Errno) -> Error {
        link::error(errno, format!("{} {}", self.doing, self.address.text())).at(self.address.text())
    }

    /// Opens the FIFO at `path` without waiting; `None` when it is to be written to and nobody reads.
    fn open(&self, path: &str, access: OFlags) -> Result<Option<OwnedFd>> {
        // Opening anything else could do something, or say that nobody reads.
        self.check_file(path, &lstat(path).map_err(|errno| self.os_error(errno))?)?;
        match open(path, access | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fifo) => {
                self.check_file(path, &fstat(&fifo).map_err(|errno| self.os_error(errno))?)?;
                link::widen_pipe(&fifo);
                Ok(Some(fifo))
            }
            Err(Errno::NXIO) => Ok(None),
            Err(errno) => Err(self.os_error(errno)),
        }
    }

    /// Whoever owns a FIFO decides who else may read it, so that it must be ours.
    fn check_file(&self, path: &str, stat: &Stat) -> Result<()> {
        if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo {
            let reason = format!("{path} is a file that is no FIFO, and is left alone");
            let kind = if self.doing == LISTENING { ErrorKind::AddressInUse } else { ErrorKind::Refused };
            return Err(self.error(kind, reason));
        }
        match stat.st_uid {
            0 => Ok(()),
            owner if owner == geteuid().as_raw() => Ok(()),
            owner => Err(self.error(ErrorKind::Permission, format!("{path} belongs to the user {owner}"))),
        }
    }

    /// Makes a FIFO where there is none.
    fn make(&self, path: &str) -> Result<Option<MadeFile>> {
        match mkfifoat(CWD, path, Mode::from_raw_mode(0o600)) {
            Ok(()) => lstat(path).map(|stat| Some(MadeFile::new(path, &stat))).map_err(|errno| self.os_error(errno)),
            Err(Errno::EXIST) => Ok(None),
            Err(errno) => Err(self.os_error(errno)),
        }
    }

    /// Gives a FIFO that was made the mode that the address says; who knows of it then is let in.
    fn widen(&self, fifo: &OwnedFd) -> Result<()> {
        let mode = self.address.option("mode").and_then(unix::parse_mode).unwrap_or(0o600);
        fchmod(fifo, Mode::from_raw_mode(mode)).map_err(|errno| self.os_error(errno))
    }

    /// The FIFO that the listener reads, made where there is none, and the right to read it.
    fn receive(&self) -> Result<(Arc<OwnedFd>, Turn, Option<MadeFile>)> {
        let mut made = None;
        for tries in 0..TRIES {
            let new = self.make(&self.path)?;
            let is_new = new.is_some();
            made = new.or(made);
            let fifo = match self.open(&self.path, OFlags::RDONLY) {
                Ok(Some(fifo)) => Arc::new(fifo),
                // Removed since we looked.
                Err(error) if error.kind() == ErrorKind::NotFound && tries + 1 < TRIES => continue,
                Ok(None) => continue,
                Err(error) => return Err(error),
            };
            if is_new {
                self.widen(&fifo)?;
            }
            if let Some(turn) = Turn::to_read(&fifo).map_err(|errno| self.os_error(errno))? {
                let stat = fstat(&*fifo).map_err(|errno| self.os_error(errno))?;
                // Its last reader may have removed it while we waited for our turn.
                if lstat(&*self.path).is_ok_and(|found| identity(&found) == identity(&stat)) {
                    return Ok((fifo, turn, made));
                }
            }
            // Two that look at the same time both find the other: they come back at different times.
            std::thread::sleep(PAUSE * (1 + std::process::id() % 7));
        }
        // It stays for whoever was the first to read it.
        std::mem::forget(made);
        Err(self.error(ErrorKind::AddressInUse, "another process reads this FIFO"))
    }

    /// A FIFO to write to, and the right to.
    fn transmit(&self, path: &str) -> Result<Result<(Arc<OwnedFd>, Turn), &'static str>> {
        let Some(fifo) = self.open(path, OFlags::WRONLY)?.map(Arc::new) else { return Ok(Err(NOBODY)) };
        match Turn::to_write(&fifo, self.is_alone()).map_err(|errno| self.os_error(errno))? {
            Some(turn) => Ok(Ok((fifo, turn))),
            None if self.is_alone() => Ok(Err("other writers did not leave the FIFO")),
            None => Ok(Err("the writer with exclusive=true did not leave the FIFO")),
        }
    }

    /// The link with the writes that others cannot get into.
    fn finish(&self, link: Link, held: impl Send + Sync + 'static) -> Link {
        let link = link.holding(held).awaiting_a_writer();
        if self.is_alone() { link } else { link.writing_whole(WHOLE) }
    }
}

const LISTENING: &str = "listening on";

fn listen(address: &Address) -> Result<Listener> {
    let place = Place::new(address, LISTENING)?;
    let (fifo, turn, file) = place.receive()?;
    let source = match &place.reply {
        Some(reply) => {
            let made = place.make(reply)?;
            let stat = lstat(&**reply).map_err(|errno| place.os_error(errno))?;
            place.check_file(reply, &stat)?;
            if made.is_some()
                && let Some(fifo) = place.open(reply, OFlags::RDONLY)?
            {
                place.widen(&fifo)?;
            }
            let files = [file, made];
            let error = |errno| place.os_error(errno);
            Source::Fifo(Reception::open(place.clone(), fifo, turn, files).map_err(error)?)
        }
        None => {
            // With a writer of our own the others may come and go, and none is taken for the last.
            let spare = if place.says("once") { None } else { place.open(&place.path, OFlags::WRONLY)? };
            let link = Link::read_end(fifo, ONLY_READS);
            Source::One(Mutex::new(Some(place.finish(link, (file, turn, spare)))))
        }
    };
    Ok(Listener::new(address.clone(), source))
}

fn connect(address: &Address) -> Result<Connecting> {
    let place = Place::new(address, "connecting to")?;
    let mut replies: Option<(Arc<OwnedFd>, Turn)> = None;
    let attempt = move || {
        if let (Some(reply), None) = (&place.reply, &replies) {
            let Some(fifo) = place.open(reply, OFlags::RDONLY)?.map(Arc::new) else { return Ok(Tried::NotYet(NOBODY)) };
            let turn = Turn::to_read(&fifo).map_err(|errno| place.os_error(errno))?;
            let Some(turn) = turn else {
                return Ok(Tried::NotYet("another client did not leave the FIFO for replies"));
            };
            if !is_free(&fifo) {
                return Ok(Tried::NotYet("the listener did not end its last connection"));
            }
            replies = Some((fifo, turn));
        }
        let (fifo, writing) = match place.transmit(&place.path)? {
            Ok(opened) => opened,
            Err(reason) => return Ok(Tried::NotYet(reason)),
        };
        let link = match replies.take() {
            Some((reader, reading)) => place.finish(Link::pipes(reader, fifo), (reading, writing)),
            None => place.finish(Link::write_end(fifo, ONLY_WRITES), writing),
        };
        Ok(Tried::Opened(link))
    };
    Ok(Connecting::trying(address, attempt))
}

const NOBODY: &str = "no reader has opened the FIFO";

/// Whether nobody writes replies to somebody who came before; those that came too late are dropped.
fn is_free(fifo: &OwnedFd) -> bool {
    let mut scratch = BytesMut::with_capacity(WHOLE);
    loop {
        match rustix::io::read(fifo, scratch.spare_capacity_mut()) {
            // One that left since this end was opened would look as if the listener had closed.
            Ok(([], _)) => return link::has_lost_its_writers(fifo) == Ok(Some(false)),
            Ok(_) => scratch.clear(),
            Err(_) => return false,
        }
    }
}
