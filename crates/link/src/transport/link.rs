//! One open transport: bytes in, bytes out, never waiting.

use std::cell::RefCell;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{BufMut, BytesMut};
use panpipe_wire::{Address, Error, Result};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketType, recv, send, sendmsg, shutdown, sockopt,
};
use rustix::pipe::fcntl_setpipe_size;

use super::chaos::Chaos;
use super::datagram::{self, Datagrams, recv_datagram};
use super::layers::Layers;
use super::peer_process;
use super::remote::Remote;
use super::scatter;
use super::senders::Sender;
use super::spawn::{Child, LastWords};
use super::stream::Broken;
use crate::{fork, os_error};

/// The buffer that lets a Unix socket move 8 GB/s instead of 5; the system may grant less.
const UNIX_SEND_BUFFER: usize = 256 << 10;

/// A packet is read whole or not at all, into room for the largest.
const LARGEST_PACKET: usize = 256 << 10;

/// What a pipe is asked to hold: 3.3 GB/s instead of 1.
const PIPE_CAPACITY: usize = 1 << 20;

/// Gives a pipe more room; the system may grant less, which is slower and nothing else.
pub(crate) fn widen_pipe(pipe: &OwnedFd) {
    let _ = fcntl_setpipe_size(pipe, PIPE_CAPACITY);
}

/// An error of the operating system, met while `doing`.
pub(crate) fn error(errno: Errno, doing: impl Into<String>) -> Error {
    Error::new(os_error::kind(errno), doing).because(os_error::text(errno))
}

/// One open transport, as a descriptor to read from and one to write to, which may be the same.
pub struct Link {
    reader: Arc<OwnedFd>,
    /// What is read, where no loop can wait for it and the reader is always readable instead: a regular file.
    source: Option<Arc<OwnedFd>>,
    /// Whether anything can be read: not from the writing end of a pipe.
    has_input: bool,
    /// Why it moves bytes only one way, where that is so.
    one_way: Option<&'static str>,
    /// `None` once the output has ended on a link whose writer is a descriptor of its own.
    writer: Option<Arc<OwnedFd>>,
    kind: Kind,
    /// Whether others may hold the same open file, whose mode is then not ours to change.
    is_inherited: bool,
    reads_may_wait: bool,
    /// Whether the reader is a pipe, of which a read brings all there is.
    is_pipe: bool,
    /// Whether a browser can be made to connect here.
    browsers_reach_it: bool,
    /// Whether a first writer may still come, so that reading nothing is not the end yet.
    awaits_a_writer: bool,
    /// What a write may hold at most so that the system takes it whole or not at all, where others write too.
    whole_writes: Option<usize>,
    /// What its address means for it, where that was told by its first bytes.
    meaning: Option<Box<Address>>,
    /// What the hello of panpipe is to show.
    token: Option<Arc<str>>,
    /// Given back when the link is closed.
    held: Option<Box<dyn Send + Sync>>,
    forks: u64,
}

/// What the descriptors are, and so which system calls move bytes.
enum Kind {
    /// A stream socket.
    Stream,
    /// A socket of packets, of which the largest has so many bytes.
    Packets(usize),
    /// A socket of datagrams that go to one place.
    Datagrams(Box<Datagrams>),
    /// One of those who send to a socket.
    Sender(Box<Sender>),
    /// Pipes or a terminal.
    Files,
    /// What a child gave.
    Child(Child),
    /// A stream socket that cuts, joins and delays.
    Chaos(Box<Chaos>),
    /// A stream socket with TLS, WebSocket, or both over it.
    Layered(Box<Layers>),
}

impl Link {
    /// A connected stream socket.
    pub(crate) fn socket(socket: OwnedFd) -> Self {
        let socket = Arc::new(socket);
        Link {
            reader: Arc::clone(&socket),
            source: None,
            has_input: true,
            one_way: None,
            writer: Some(socket),
            kind: Kind::Stream,
            is_inherited: false,
            reads_may_wait: false,
            is_pipe: false,
            browsers_reach_it: false,
            awaits_a_writer: false,
            whole_writes: None,
            meaning: None,
            token: None,
            held: None,
            forks: fork::watch(),
        }
    }

    /// A connected stream socket that cuts, joins and delays.
    pub(crate) fn chaos(chaos: Chaos) -> Self {
        let mut link = Self::files(Arc::clone(chaos.watch()), Some(Arc::clone(chaos.socket())));
        link.kind = Kind::Chaos(Box::new(chaos));
        link
    }

    /// A connected stream socket with layers over it.
    pub(crate) fn layered(layers: Layers) -> Self {
        let mut link = Self::files(Arc::clone(layers.socket()), Some(Arc::clone(layers.socket())));
        link.kind = Kind::Layered(Box::new(layers));
        link
    }

    /// A connected Unix stream socket.
    pub(crate) fn unix(socket: OwnedFd) -> Self {
        // A smaller buffer is slower and nothing else.
        let _ = sockopt::set_socket_send_buffer_size(&socket, UNIX_SEND_BUFFER);
        Self::socket(socket)
    }

    /// A connected Unix socket that moves packets.
    pub(crate) fn packets(socket: OwnedFd) -> Self {
        let largest = largest_packet(&socket);
        let mut link = Self::socket(socket);
        link.kind = Kind::Packets(largest);
        link
    }

    /// A socket of datagrams.
    pub(crate) fn datagrams(socket: OwnedFd, datagrams: Datagrams) -> Self {
        let mut link = Self::socket(socket);
        link.kind = Kind::Datagrams(Box::new(datagrams));
        link
    }

    /// One of those who send to a socket.
    pub(crate) fn sender(sender: Sender) -> Self {
        let mut link = Self::files(Arc::clone(sender.reader()), Some(Arc::clone(sender.reader())));
        link.kind = Kind::Sender(Box::new(sender));
        link
    }

    /// A connected TCP socket.
    pub(crate) fn tcp(socket: OwnedFd) -> Self {
        // Messages are small and each is flushed; Nagle's algorithm would only delay them.
        let _ = sockopt::set_tcp_nodelay(&socket, true);
        Self::socket(socket)
    }

    /// Says that others may hold the same open file.
    pub(crate) fn inherited_from_others(mut self) -> Self {
        self.is_inherited = true;
        self
    }

    /// Says what its listener's address means for it.
    pub(crate) fn meaning(mut self, address: Address) -> Self {
        self.meaning = Some(Box::new(address));
        self
    }

    /// What `address`, by which it was opened or accepted, means for it: one listener may have peers of several protocols.
    pub fn address_of<'a>(&'a self, address: &'a Address) -> &'a Address {
        self.meaning.as_deref().unwrap_or(address)
    }

    /// Shows a token in the hello of panpipe.
    pub(crate) fn showing(mut self, token: Option<Arc<str>>) -> Self {
        self.token = token;
        self
    }

    /// What the hello of panpipe is to show.
    pub(crate) fn token(&self) -> Option<&Arc<str>> {
        self.token.as_ref()
    }

    /// Marks an accepted link that a web page could have opened.
    pub(crate) fn reached_by_browsers(mut self) -> Self {
        self.browsers_reach_it = true;
        self
    }

    pub(crate) fn is_reached_by_browsers(&self) -> bool {
        self.browsers_reach_it
    }

    /// Descriptors that somebody handed to us: one socket, or one to read from and one to write to.
    pub(crate) fn inherited(reader: OwnedFd, writer: OwnedFd) -> Result<Self, Errno> {
        let is_socket = |fd: &OwnedFd| Ok::<_, Errno>(FileType::from_raw_mode(fstat(fd)?.st_mode) == FileType::Socket);
        if is_socket(&reader)? && is_socket(&writer)? {
            let mut link = match sockopt::socket_type(&reader)? {
                SocketType::STREAM => Self::socket(reader),
                SocketType::SEQPACKET => Self::packets(reader),
                // Datagrams need to know how large they may be.
                _ => return Err(Errno::PROTOTYPE),
            };
            link.writer = Some(Arc::new(writer));
            link.is_inherited = true;
            return Ok(link);
        }
        // Opening a pipe's other end through /proc would make us our own peer.
        let has_input = fcntl_getfl(&reader)? & OFlags::RWMODE != OFlags::WRONLY;
        let has_output = fcntl_getfl(&writer)? & OFlags::RWMODE != OFlags::RDONLY;
        let reader = if has_input { without_waiting(reader, OFlags::RDONLY)? } else { reader };
        let writer = if has_output { Some(Arc::new(without_waiting(writer, OFlags::WRONLY)?)) } else { None };
        let mut link = Self::files(Arc::new(reader), writer);
        link.has_input = has_input;
        link.is_inherited = true;
        if has_input && !can_be_waited_for(&link.reader)? {
            link.source = Some(std::mem::replace(&mut link.reader, Arc::new(always_readable()?)));
        }
        Ok(link)
    }

    /// A pipe to read from and one to write to, which do not wait.
    pub(crate) fn pipes(reader: Arc<OwnedFd>, writer: Arc<OwnedFd>) -> Self {
        Self::files(reader, Some(writer))
    }

    /// The end of a pipe that reads, and why it cannot write.
    pub(crate) fn read_end(reader: Arc<OwnedFd>, one_way: &'static str) -> Self {
        let mut link = Self::files(reader, None);
        link.one_way = Some(one_way);
        link
    }

    /// The end of a pipe that writes, and why it cannot read.
    pub(crate) fn write_end(writer: Arc<OwnedFd>, one_way: &'static str) -> Self {
        let mut link = Self::files(Arc::clone(&writer), Some(writer));
        link.has_input = false;
        link.one_way = Some(one_way);
        link
    }

    fn files(reader: Arc<OwnedFd>, writer: Option<Arc<OwnedFd>>) -> Self {
        let is_pipe = fstat(&reader).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
        Link {
            reader,
            source: None,
            has_input: true,
            one_way: None,
            writer,
            kind: Kind::Files,
            is_inherited: false,
            reads_may_wait: false,
            is_pipe,
            browsers_reach_it: false,
            awaits_a_writer: false,
            whole_writes: None,
            meaning: None,
            token: None,
            held: None,
            forks: fork::watch(),
        }
    }

    /// Says that what it reads from may have had no writer yet.
    pub(crate) fn awaiting_a_writer(mut self) -> Self {
        self.awaits_a_writer = true;
        self
    }

    /// Says that others write there too, so that a write must be taken whole: at most `most` bytes.
    pub(crate) fn writing_whole(mut self, most: usize) -> Self {
        self.whole_writes = Some(most);
        self
    }

    /// Keeps something until the link is closed.
    pub(crate) fn holding(mut self, held: impl Send + Sync + 'static) -> Self {
        self.held = Some(Box::new(held));
        self
    }

    /// A child, and where to write what it is to read.
    pub(crate) fn child(child: Child, writer: Arc<OwnedFd>) -> Self {
        let mut link = Self::files(Arc::clone(child.descriptor()), Some(writer));
        link.kind = Kind::Child(child);
        link
    }

    /// Whether who does not read any more may still say why: a child by its end, which a read tells, or with `PIPE` that
    /// it lives on; the other end of TLS or a WebSocket by what it sent last.
    pub(crate) fn expects_last_words(&mut self) -> bool {
        match &mut self.kind {
            Kind::Child(child) => child.expects_last_words(),
            Kind::Layered(layers) => layers.expects_last_words(),
            _ => false,
        }
    }

    /// How the child ended, once a read has told the end.
    pub(crate) fn last_words(&self) -> Option<LastWords> {
        match &self.kind {
            Kind::Child(child) => child.last_words(),
            _ => None,
        }
    }

    /// The child that this link was to, to be waited for.
    pub(crate) fn take_child(&mut self) -> Option<Child> {
        match std::mem::replace(&mut self.kind, Kind::Files) {
            Kind::Child(child) => Some(child),
            kind => {
                self.kind = kind;
                None
            }
        }
    }

    /// Appends what has arrived to `inbox`, as far as there is room; zero at the end of the input.
    pub(crate) fn read(&mut self, inbox: &mut BytesMut) -> Result<usize, Errno> {
        loop {
            let read = match &mut self.kind {
                Kind::Child(child) => child.read(inbox),
                Kind::Chaos(chaos) => chaos.read(inbox),
                Kind::Layered(layers) => layers.read(inbox),
                Kind::Sender(sender) => sender.read(inbox),
                Kind::Files => read_into(self.source.as_ref().unwrap_or(&self.reader), inbox),
                // The flag, since the descriptor's own mode is shared with whoever else holds it.
                _ => self.reading().read(&self.reader, inbox, RecvFlags::DONTWAIT),
            };
            if read == Ok(0) && self.awaits_a_writer {
                match has_lost_its_writers(&self.reader)? {
                    Some(true) => return Ok(0),
                    Some(false) => return Err(Errno::AGAIN),
                    None => continue,
                }
            }
            if read != Err(Errno::INTR) {
                return read;
            }
        }
    }

    /// How its socket is read.
    pub(crate) fn reading(&self) -> Reading {
        match &self.kind {
            Kind::Packets(_) => Reading::Packets,
            Kind::Datagrams(datagrams) => Reading::Datagrams(datagrams.most),
            _ => Reading::Stream,
        }
    }

    /// Lets reads wait, where the mode of the descriptor is ours to change.
    pub(crate) fn allow_waiting_reads(&mut self) {
        // Of an inherited one neither the mode nor the timeout that such a read sets is ours to change.
        self.reads_may_wait = self.is_socket()
            && !self.is_inherited
            && fcntl_getfl(&self.reader).and_then(|flags| fcntl_setfl(&self.reader, flags - OFlags::NONBLOCK)).is_ok();
    }

    /// Whether a read may wait by itself.
    pub(crate) fn reads_may_wait(&self) -> bool {
        self.reads_may_wait
    }

    /// What the system tells of the other end.
    pub(crate) fn remote(&self, transport: &'static str) -> Remote {
        match &self.kind {
            Kind::Files => Remote { transport, ..Remote::default() },
            Kind::Child(child) => Remote { transport, pid: child.pid(), ..Remote::default() },
            Kind::Chaos(chaos) => Remote::of(chaos.socket(), transport),
            Kind::Layered(layers) => Remote::of(layers.socket(), transport),
            Kind::Sender(sender) => Remote { transport, address: sender.name(), ..Remote::default() },
            Kind::Stream | Kind::Packets(_) | Kind::Datagrams(_) => Remote::of(&self.reader, transport),
        }
    }

    /// The process at the other end, which was `pid` at first, if it lives.
    pub(crate) fn living_peer(&self, pid: i32) -> Option<i32> {
        peer_process::living(&self.reader, pid)
    }

    /// Whether it moves datagrams, each for itself, and then whether they may get lost.
    pub(crate) fn loses_datagrams(&self) -> Option<bool> {
        match &self.kind {
            Kind::Datagrams(datagrams) => Some(datagrams.may_be_lost),
            Kind::Sender(sender) => Some(sender.may_be_lost()),
            _ => None,
        }
    }

    /// Datagrams from the other side that were dropped for want of room.
    pub(crate) fn dropped(&self) -> u64 {
        match &self.kind {
            Kind::Datagrams(_) => datagram::dropped(&self.reader),
            Kind::Sender(sender) => sender.dropped(),
            _ => 0,
        }
    }

    /// Whether an error of reading or writing tells of datagrams alone, and the link lives on.
    pub(crate) fn survives(&self, errno: Errno) -> bool {
        match &self.kind {
            Kind::Datagrams(datagrams) => datagrams.survive(errno),
            Kind::Sender(_) => errno == Errno::MSGSIZE,
            _ => false,
        }
    }

    /// Sees to it that what is on its way to this side does not reach it; `false` where that is not possible.
    pub(crate) fn renew(&self) -> Result<bool, Errno> {
        match &self.kind {
            // A Unix socket keeps its name.
            Kind::Datagrams(datagrams) if datagrams.may_be_lost => datagrams.renew(&self.reader).map(|()| true),
            _ => Ok(false),
        }
    }

    /// Whether one message may get several replies.
    pub(crate) fn reaches_many(&self) -> bool {
        matches!(&self.kind, Kind::Datagrams(datagrams) if datagrams.reach_many())
    }

    /// Whether there is anybody to write to.
    pub(crate) fn has_receiver(&self) -> bool {
        !matches!(&self.kind, Kind::Sender(sender) if !sender.has_name())
    }

    /// Whether nothing tells of room to write, so that it is tried again after a time.
    pub(crate) fn has_no_writability(&self) -> bool {
        matches!(self.kind, Kind::Sender(_))
    }

    /// The largest packet, where it moves packets.
    pub(crate) fn largest_packet(&self) -> Option<usize> {
        match &self.kind {
            Kind::Packets(largest) => Some(*largest),
            Kind::Datagrams(datagrams) => Some(datagrams.most),
            Kind::Sender(sender) => Some(sender.most()),
            Kind::Layered(layers) => layers.largest_packet(),
            Kind::Stream | Kind::Files | Kind::Child(_) | Kind::Chaos(_) => None,
        }
    }

    /// Whether an empty packet is one, and does not read as the end.
    pub(crate) fn has_empty_packets(&self) -> bool {
        matches!(self.kind, Kind::Datagrams(_) | Kind::Sender(_) | Kind::Layered(_))
    }

    /// Why a layer over the socket broke.
    pub(crate) fn broken(&self) -> Option<&Broken> {
        match &self.kind {
            Kind::Layered(layers) => layers.broken(),
            _ => None,
        }
    }

    /// Whether its handshake has read what the descriptor will not announce again: an endpoint over it has it already.
    pub fn has_begun(&self) -> bool {
        matches!(&self.kind, Kind::Layered(layers) if layers.has_begun())
    }

    /// Whether something that it has taken, or says by itself, waits to be written.
    pub(crate) fn has_unwritten(&self) -> bool {
        matches!(&self.kind, Kind::Layered(layers) if layers.has_unwritten())
    }

    /// Writes what it has taken; `AGAIN` while the system has no room for it.
    pub(crate) fn flush(&mut self) -> Result<(), Errno> {
        match &mut self.kind {
            Kind::Layered(layers) => layers.flush(),
            _ => Ok(()),
        }
    }

    /// Whether a read that leaves room has read all there was.
    pub(crate) fn drains_at_once(&self) -> bool {
        match &self.kind {
            Kind::Stream => true,
            Kind::Files => self.is_pipe,
            Kind::Sender(sender) => sender.has_read_all(),
            Kind::Layered(layers) => layers.has_read_all(),
            Kind::Packets(_) | Kind::Datagrams(_) | Kind::Child(_) | Kind::Chaos(_) => false,
        }
    }

    /// Whether the next read tells of an end that has come already, and that no readiness announces.
    pub(crate) fn has_end(&self) -> bool {
        matches!(&self.kind, Kind::Layered(layers) if layers.has_end())
    }

    pub(crate) fn is_socket(&self) -> bool {
        matches!(self.kind, Kind::Stream | Kind::Packets(_) | Kind::Datagrams(_))
    }

    /// Writes what the system takes now.
    pub(crate) fn write(&mut self, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let Some(writer) = &self.writer else { return Err(Errno::PIPE) };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            let written = match (&mut self.kind, parts) {
                (Kind::Packets(_), _) => return each_packet(parts, |packet| send(writer, packet, flags).map(drop)),
                (Kind::Datagrams(datagrams), _) => {
                    return each_packet(parts, |packet| datagrams.send(writer, packet, flags));
                }
                (Kind::Sender(sender), _) => return each_packet(parts, |packet| sender.send(packet)),
                (Kind::Stream, [one]) => send(writer, one, flags),
                (Kind::Stream, _) => sendmsg(writer, parts, &mut SendAncillaryBuffer::default(), flags),
                (Kind::Files, _) => write_to_pipe(writer, parts),
                (Kind::Child(child), _) => child.write(parts),
                (Kind::Chaos(chaos), _) => chaos.write(parts, flags),
                (Kind::Layered(layers), _) => layers.write(parts),
            };
            match written {
                Err(Errno::INTR) => {}
                written => return written,
            }
        }
    }

    /// Tells the peer that nothing more will be sent.
    pub(crate) fn end_output(&mut self) {
        // In a forked child the connection belongs to the parent, whom this must not disturb.
        if self.belongs_to_us()
            && let Kind::Layered(layers) = &mut self.kind
        {
            return layers.end_output();
        }
        match &self.writer {
            Some(writer) if self.can_be_shut_down() => {
                let _ = shutdown(writer, Shutdown::Write);
            }
            _ => {
                if self.belongs_to_us()
                    && let Kind::Child(child) = &mut self.kind
                {
                    child.end_output();
                }
                self.writer = None;
            }
        }
    }

    fn can_be_shut_down(&self) -> bool {
        !matches!(self.kind, Kind::Files | Kind::Child(_)) && self.belongs_to_us()
    }

    /// Whether input that nobody has read would destroy what was sent before a close.
    pub(crate) fn has_unread_input(&self) -> bool {
        matches!(self.kind, Kind::Stream | Kind::Packets(_) | Kind::Layered(_))
    }

    /// Reads something that nobody wants; zero at the end.
    pub(crate) fn discard(&mut self, scratch: &mut BytesMut) -> Result<usize, Errno> {
        match &mut self.kind {
            Kind::Layered(layers) => layers.discard(),
            _ => self.read(scratch),
        }
    }

    /// Ends reading too, which calls back whoever waits for input on a socket.
    pub(crate) fn end_input(&mut self) {
        if let Kind::Sender(sender) = &self.kind {
            sender.close();
        }
        if self.can_be_shut_down() {
            let socket = if let Kind::Chaos(chaos) = &self.kind { chaos.socket() } else { &self.reader };
            let _ = shutdown(socket, Shutdown::Read);
        } else if matches!(self.kind, Kind::Files)
            && let Ok(nothing) = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        {
            // The writers learn that nobody reads any more, though the closed connection may be kept for long.
            self.reader = Arc::new(nothing);
        }
        self.held = None;
    }

    /// Whether anything can be read.
    pub(crate) fn has_input(&self) -> bool {
        self.has_input
    }

    /// Whether it was opened to be read and to be written.
    pub(crate) fn goes_both_ways(&self) -> bool {
        self.has_input && self.writer.is_some()
    }

    /// Whether anything can be written.
    pub(crate) fn has_output(&self) -> bool {
        self.one_way.is_none() || !self.has_input
    }

    /// Why it moves bytes only one way, where that is so.
    pub(crate) fn one_way(&self) -> Option<&'static str> {
        self.one_way
    }

    /// The most that a write may hold, where it must be taken whole.
    pub(crate) fn whole_writes(&self) -> Option<usize> {
        self.whole_writes
    }

    /// Whether this process opened it, rather than one that it was forked from.
    pub(crate) fn belongs_to_us(&self) -> bool {
        self.forks == fork::generation()
    }

    /// The descriptor to wait on for input.
    pub fn reader(&self) -> &Arc<OwnedFd> {
        &self.reader
    }

    /// Duplicates of its descriptors for somebody else, who expects them to wait: the reader, and the writer where that
    /// is not the same.
    pub(crate) fn hand_over(&self) -> Result<(OwnedFd, Option<OwnedFd>), Errno> {
        let duplicate = |fd: &Arc<OwnedFd>| {
            let fd = fcntl_dupfd_cloexec(fd, 3)?;
            if !self.is_inherited {
                fcntl_setfl(&fd, fcntl_getfl(&fd)? - OFlags::NONBLOCK)?;
            }
            Ok::<_, Errno>(fd)
        };
        if self.is_socket() && !self.is_inherited {
            sockopt::set_socket_timeout(&self.reader, sockopt::Timeout::Recv, None)?;
        }
        let writer = self.writer.as_ref().filter(|writer| !Arc::ptr_eq(&self.reader, writer));
        Ok((duplicate(&self.reader)?, writer.map(duplicate).transpose()?))
    }

    /// Whether somebody else can go on with the descriptors alone.
    pub(crate) fn can_be_handed_over(&self) -> bool {
        self.held.is_none() && !matches!(self.kind, Kind::Chaos(_) | Kind::Child(_) | Kind::Layered(_))
    }

    /// Makes closing it drop the descriptors and do nothing to the other end, as with pipes.
    pub(crate) fn keep_open_for_others(&mut self) {
        self.kind = Kind::Files;
    }

    /// The writer under a number that is not the reader's.
    pub(crate) fn writer_of_its_own(&self) -> Result<Arc<OwnedFd>, Errno> {
        match Arc::ptr_eq(self.reader(), self.writer()) {
            true => fcntl_dupfd_cloexec(self.writer(), 0).map(Arc::new),
            false => Ok(Arc::clone(self.writer())),
        }
    }

    /// The descriptor to wait on for room to write; the reader's own on a socket.
    pub fn writer(&self) -> &Arc<OwnedFd> {
        self.writer.as_ref().unwrap_or(&self.reader)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// Makes the send buffer of a Unix socket large, and tells the largest packet that it takes.
pub(crate) fn largest_packet(socket: &OwnedFd) -> usize {
    let _ = sockopt::set_socket_send_buffer_size(socket, UNIX_SEND_BUFFER);
    let buffer = sockopt::socket_send_buffer_size(socket).unwrap_or_default();
    // A packet needs room for itself and the system's notes on it (unix_dgram_sendmsg takes 32 bytes off).
    buffer.saturating_sub(32).min(LARGEST_PACKET)
}

/// How a socket is read.
#[derive(Clone, Copy)]
pub(crate) enum Reading {
    Stream,
    Packets,
    /// The largest has so many bytes.
    Datagrams(usize),
}

impl Reading {
    /// Appends what has arrived to `inbox`, as far as there is room or one packet; zero at the end of the input.
    pub(crate) fn read(self, socket: &OwnedFd, inbox: &mut BytesMut, flags: RecvFlags) -> Result<usize, Errno> {
        match self {
            Reading::Stream => recv_into(socket, inbox, flags),
            Reading::Packets => recv_packet(socket, inbox, flags),
            Reading::Datagrams(most) => recv_datagram(socket, inbox, flags, most),
        }
    }
}

/// Appends to `inbox` what a socket has, as far as there is room.
pub(crate) fn recv_into(socket: &OwnedFd, inbox: &mut BytesMut, flags: RecvFlags) -> Result<usize, Errno> {
    let room: &mut [MaybeUninit<u8>] = inbox.spare_capacity_mut();
    let ((filled, _), _) = recv(socket, room, flags)?;
    let count = filled.len();
    // SAFETY: the system has written `count` bytes of the spare capacity.
    unsafe { inbox.advance_mut(count) };
    Ok(count)
}

/// Appends the next packet behind its length; zero at the end.
fn recv_packet(socket: &OwnedFd, inbox: &mut BytesMut, flags: RecvFlags) -> Result<usize, Errno> {
    let before = inbox.len();
    match scatter::recv_packet(socket, inbox, flags, |count| count <= LARGEST_PACKET)? {
        // Not even its length: it is the end.
        0 => inbox.truncate(before),
        count if count > LARGEST_PACKET => {
            inbox.truncate(before);
            return Err(Errno::MSGSIZE);
        }
        _ => {}
    }
    Ok(inbox.len() - before)
}

/// Lends `with` room for the largest packet.
pub(crate) fn with_room<T>(with: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local! {
        /// One for all connections of a thread: each would need as much, and use it for a moment.
        static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    ROOM.with_borrow_mut(|room| {
        room.resize(LARGEST_PACKET, 0);
        with(room)
    })
}

/// Sends each packet, which stands behind its length, and tells how many bytes of `parts` that were.
fn each_packet(parts: &[IoSlice<'_>], mut send: impl FnMut(&[u8]) -> Result<(), Errno>) -> Result<usize, Errno> {
    // Packets go whole.
    let mut send = |packet: &[u8]| loop {
        match send(packet) {
            Err(Errno::INTR) => {}
            sent => return sent,
        }
    };
    if let [head, packet, tail] = parts {
        send(packet)?;
        return Ok(head.len() + packet.len() + tail.len());
    }
    let mut sent = 0;
    let mut rest: &[u8] = parts.first().map_or(&[], |part| part);
    while let Some((length, after)) = rest.split_first_chunk() {
        let Some((packet, after)) = after.split_at_checked(u32::from_be_bytes(*length) as usize) else { break };
        match send(packet) {
            // It is met again, as the first.
            Err(_) if sent > 0 => break,
            outcome => outcome?,
        }
        sent += length.len() + packet.len();
        rest = after;
    }
    Ok(sent)
}

/// Writes to what may be a pipe without a signal where nobody reads it: where SIGPIPE is at its default, as in a C program
/// that has loaded us, it would end the process.
pub(crate) fn write_to_pipe(fd: &OwnedFd, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
    /// Since Linux 6.18.
    const RWF_NOSIGNAL: libc::c_int = 0x100;
    static IS_KNOWN: AtomicBool = AtomicBool::new(true);
    if IS_KNOWN.load(Ordering::Relaxed) {
        // SAFETY: an IoSlice is laid out as an iovec, and each lives through the call; there are but three of them.
        let written = unsafe {
            libc::pwritev2(fd.as_raw_fd(), parts.as_ptr().cast(), parts.len() as libc::c_int, -1, RWF_NOSIGNAL)
        };
        if let Ok(written) = usize::try_from(written) {
            return Ok(written);
        }
        match Errno::from_io_error(&std::io::Error::last_os_error()) {
            Some(Errno::OPNOTSUPP | Errno::NOSYS) | None => IS_KNOWN.store(false, Ordering::Relaxed),
            Some(errno) => return Err(errno),
        }
    }
    write_with_signal_blocked(fd, parts)
}

/// What systems without a flag for it need.
fn write_with_signal_blocked(fd: &OwnedFd, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
    // SAFETY: each set and action is written by the system before it is read; masks are this thread's own.
    unsafe {
        let mut action = MaybeUninit::<libc::sigaction>::uninit();
        let asked = libc::sigaction(libc::SIGPIPE, std::ptr::null(), action.as_mut_ptr());
        if asked != 0 || (*action.as_ptr()).sa_sigaction != libc::SIG_DFL {
            return rustix::io::writev(fd, parts);
        }
        let (mut pipe, mut old, mut pending) = (MaybeUninit::uninit(), MaybeUninit::uninit(), MaybeUninit::uninit());
        libc::sigemptyset(pipe.as_mut_ptr());
        libc::sigaddset(pipe.as_mut_ptr(), libc::SIGPIPE);
        libc::pthread_sigmask(libc::SIG_BLOCK, pipe.as_ptr(), old.as_mut_ptr());
        libc::sigpending(pending.as_mut_ptr());
        let was_pending = libc::sigismember(pending.as_ptr(), libc::SIGPIPE) == 1;
        let written = rustix::io::writev(fd, parts);
        if written == Err(Errno::PIPE) && !was_pending {
            let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            libc::sigtimedwait(pipe.as_ptr(), std::ptr::null_mut(), &raw const at_once);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), std::ptr::null_mut());
        written
    }
}

/// Whether writers came and went, or none came yet; `None` when there is something to read after all.
///
/// A FIFO that nobody has written to reads as one whose writers have gone; only the latter hangs up (pipe(7)).
pub(crate) fn has_lost_its_writers(fifo: &OwnedFd) -> Result<Option<bool>, Errno> {
    let mut fds = [PollFd::new(fifo, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    let events = fds[0].revents();
    Ok(if events.contains(PollFlags::IN) { None } else { Some(events.contains(PollFlags::HUP)) })
}

/// The same of any other descriptor.
pub(crate) fn read_into(fd: &OwnedFd, inbox: &mut BytesMut) -> Result<usize, Errno> {
    let room: &mut [MaybeUninit<u8>] = inbox.spare_capacity_mut();
    let (filled, _) = rustix::io::read(fd, room)?;
    let count = filled.len();
    // SAFETY: the system has written `count` bytes of the spare capacity.
    unsafe { inbox.advance_mut(count) };
    Ok(count)
}

/// Whether a loop can wait for a descriptor: not for a regular file, nor for /dev/null (epoll_ctl(2), EPERM).
fn can_be_waited_for(fd: &OwnedFd) -> Result<bool, Errno> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    match epoll::add(&epoll, fd, EventData::new_u64(0), EventFlags::IN) {
        Err(Errno::PERM) => Ok(false),
        added => added.map(|()| true),
    }
}

fn always_readable() -> Result<OwnedFd, Errno> {
    eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}

/// The same pipe or terminal as a descriptor that does not wait.
///
/// O_NONBLOCK belongs to the open file, which a shell or a parent shares; setting it there breaks *their* reads.
/// Opening it anew through /proc gives an open file of our own. Where that is not allowed, the shared one is set.
fn without_waiting(fd: OwnedFd, access: OFlags) -> Result<OwnedFd, Errno> {
    // A file never waits, and the place in it belongs to the open file that is shared: `{ a; b; } < FILE`.
    if FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::RegularFile {
        return Ok(fd);
    }
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    if let Ok(own) = open(path, access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty()) {
        return Ok(own);
    }
    fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_is_an_error_and_no_signal_with_the_flag_and_without() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        // SAFETY: only the disposition changes. Nothing else in this program depends on it but what this test is about.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        for write in [write_to_pipe, write_with_signal_blocked] {
            assert_eq!(write(&writer, &[IoSlice::new(b"never read")]), Err(Errno::PIPE));
        }
        // SAFETY: as above.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    }
}
