//! Datagrams: how they are read, and sockets that send theirs to one place.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use bytes::{BufMut, BytesMut};
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendFlags, SocketAddrAny, connect, connect_unspec, getpeername, recv, recvfrom, send, sendto,
};

use super::link::with_room;
use super::scatter::recv_packet;

/// Where the datagrams of a socket go, and how large they may be.
pub(crate) struct Datagrams {
    /// Bytes of the largest, both ways.
    pub(crate) most: usize,
    /// Whether they may get lost on the way.
    pub(crate) may_be_lost: bool,
    /// Where to send to; `None` when the socket is connected, and hears that place alone.
    to: Option<SocketAddrAny>,
}

impl Datagrams {
    /// A socket that is connected, whose datagrams stay inside the machine and arrive.
    pub(crate) fn reliable(most: usize) -> Self {
        Datagrams { most, may_be_lost: false, to: None }
    }

    /// A socket that is connected to one other.
    pub(crate) fn lossy(socket: &OwnedFd, most: usize) -> Self {
        announce_errors(socket);
        Datagrams { most, may_be_lost: true, to: None }
    }

    /// A socket that sends to many at once and hears whoever answers.
    pub(crate) fn to_many(most: usize, to: SocketAddrAny) -> Self {
        Datagrams { most, may_be_lost: true, to: Some(to) }
    }

    /// Whether several may answer one message.
    pub(crate) fn reach_many(&self) -> bool {
        self.to.is_some()
    }

    pub(crate) fn send(&self, socket: &OwnedFd, packet: &[u8], flags: SendFlags) -> Result<(), Errno> {
        let sent = match &self.to {
            Some(to) => sendto(socket, packet, flags, to),
            None => send(socket, packet, flags),
        };
        match sent {
            // Its name is free for another, but this socket knows the one that is gone.
            Err(Errno::CONNREFUSED) if !self.may_be_lost => Err(Errno::CONNRESET),
            sent => sent.map(drop),
        }
    }

    /// Whether an error of the socket tells of datagrams alone, and the next may arrive.
    pub(crate) fn survive(&self, errno: Errno) -> bool {
        self.may_be_lost
            && matches!(
                errno,
                Errno::CONNREFUSED
                    | Errno::HOSTUNREACH
                    | Errno::NETUNREACH
                    | Errno::HOSTDOWN
                    | Errno::NETDOWN
                    | Errno::PERM
                    | Errno::ACCESS
                    | Errno::MSGSIZE
                    | Errno::PROTO
                    | Errno::NOPROTOOPT
                    | Errno::NOBUFS
            )
    }

    /// Moves to another port, so that what is on its way to the old one reaches nobody.
    pub(crate) fn renew(&self, socket: &OwnedFd) -> Result<(), Errno> {
        // Dissolving gives the port back that the system has picked; sending or connecting picks the next.
        let peer = getpeername(socket).ok().flatten();
        connect_unspec(socket)?;
        while with_room(|room| recv(socket, &mut room[..1], RecvFlags::DONTWAIT)).is_ok() {}
        match (&self.to, peer) {
            (None, Some(peer)) => connect(socket, &peer),
            _ => Ok(()),
        }
    }
}

/// Appends the next datagram behind its length, or of one above `most` the length alone; how much that is.
///
/// Descriptors that a sender attaches never arrive: without a place to put them the system closes them (unix(7)).
pub(crate) fn recv_datagram(
    socket: &OwnedFd,
    inbox: &mut BytesMut,
    flags: RecvFlags,
    most: usize,
) -> Result<usize, Errno> {
    let before = inbox.len();
    recv_packet(socket, inbox, flags, |count| count <= most)?;
    Ok(inbox.len() - before)
}

/// The same of a socket that many send to, and who sent it.
pub(crate) fn recv_from(
    socket: &OwnedFd,
    most: usize,
    take: impl FnOnce(Option<SocketAddrAny>, Packet<'_>),
) -> Result<(), Errno> {
    with_room(|room| {
        let (_, count, from) = recvfrom(socket, &mut room[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC)?;
        take(from, Packet { room, count, most });
        Ok(())
    })
}

/// A datagram that was read.
pub(crate) struct Packet<'a> {
    room: &'a [u8],
    count: usize,
    most: usize,
}

impl Packet<'_> {
    pub(crate) fn append_to(&self, inbox: &mut BytesMut) -> usize {
        append(inbox, self.room, self.count, self.most)
    }

    /// Bytes that it takes in a mailbox.
    pub(crate) fn size(&self) -> usize {
        size_of::<u32>() + if self.count > self.most { 0 } else { self.count }
    }
}

fn append(inbox: &mut BytesMut, room: &[u8], count: usize, most: usize) -> usize {
    inbox.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
    let packet = room.get(..count).filter(|_| count <= most).unwrap_or_default();
    inbox.put_slice(packet);
    size_of::<u32>() + packet.len()
}

/// Makes an error, such as nobody being there, readable: some loops look for nothing else.
fn announce_errors(socket: &OwnedFd) {
    let on: libc::c_int = 1;
    let size = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the system reads `size` bytes. Where it fails an error is noticed with the next datagram.
    unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SELECT_ERR_QUEUE, (&raw const on).cast(), size);
    }
}

/// How many datagrams the system has dropped because the socket's buffer was full.
pub(crate) fn dropped(socket: &impl AsFd) -> u64 {
    /// The same on all machines but PA-RISC and SPARC (asm-generic/socket.h).
    const SO_MEMINFO: libc::c_int = 55;
    let mut counts = [0u32; libc::SK_MEMINFO_DROPS as usize + 1];
    let mut size = size_of_val(&counts) as libc::socklen_t;
    // SAFETY: the system writes at most `size` bytes, and says how many it wrote.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            counts.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    if failed == 0 { counts.last().copied().unwrap_or_default().into() } else { 0 }
}
