//! Reads a packet to where it is to lie, though nobody knows beforehand how large it is.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

use bytes::{BufMut, BytesMut};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::link::with_room;

/// After a packet of so many bytes the next is expected to be large too, and worth reading without a copy.
const LARGE: usize = 8 << 10;

/// What a packet stands behind: its length, a u32 in big-endian order.
const LENGTH: usize = size_of::<u32>();

thread_local! {
    static LAST: Cell<usize> = const { Cell::new(0) };
}

/// Appends the next packet behind its length, or only the length where `is_kept` says so of it; tells the packet's length.
pub(crate) fn recv_packet(
    socket: &OwnedFd,
    inbox: &mut BytesMut,
    flags: RecvFlags,
    is_kept: impl Fn(usize) -> bool,
) -> Result<usize, Errno> {
    // With the flag the system tells the packet's own length, though it were cut.
    let flags = flags | RecvFlags::TRUNC;
    let count = match LAST.get() {
        LARGE.. => recv_scattered(socket, inbox, flags, is_kept)?,
        _ => with_room(|room| {
            let (_, count) = recv(socket, &mut room[..], flags)?;
            put(inbox, count, &[room.get(..count).filter(|_| is_kept(count)).unwrap_or_default()]);
            Ok::<_, Errno>(count)
        })?,
    };
    LAST.set(count);
    Ok(count)
}

fn put(inbox: &mut BytesMut, count: usize, parts: &[&[u8]]) {
    inbox.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
    parts.iter().for_each(|part| inbox.put_slice(part));
}

/// As much as there is room for goes to the inbox at once, and the rest by way of the room of the thread.
fn recv_scattered(
    socket: &OwnedFd,
    inbox: &mut BytesMut,
    flags: RecvFlags,
    is_kept: impl Fn(usize) -> bool,
) -> Result<usize, Errno> {
    with_room(|room| {
        inbox.reserve(LENGTH);
        let start = inbox.len();
        let spare: &mut [MaybeUninit<u8>] = &mut inbox.spare_capacity_mut()[LENGTH..];
        let first = spare.len();
        let mut parts = [
            libc::iovec { iov_base: spare.as_mut_ptr().cast(), iov_len: first },
            libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() },
        ];
        // SAFETY: all zeros are a message without a name and without anything attached.
        let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        message.msg_iov = parts.as_mut_ptr();
        message.msg_iovlen = parts.len() as _;
        // SAFETY: both parts are ours to write for as long as the call takes.
        let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags.bits() as libc::c_int) };
        let Ok(count) = usize::try_from(count) else {
            return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
        };
        let beyond = count.saturating_sub(first);
        if !is_kept(count) || beyond > room.len() {
            put(inbox, count, &[]);
            return Ok(count);
        }
        put(inbox, count, &[]);
        // SAFETY: the system has written that much behind the length.
        unsafe { inbox.set_len(start + LENGTH + count.min(first)) };
        inbox.put_slice(&room[..beyond]);
        Ok(count)
    })
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

    use super::*;

    #[test]
    fn a_packet_of_any_size_lies_behind_its_length_however_much_room_there_is() {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        for room in [0, 1, 4, 5, 100, 9_000, 70_000] {
            for (size, last) in [1, 3, 4, 64, 8_191, 8_192, 60_000].iter().flat_map(|size| [(*size, 0), (*size, LARGE)])
            {
                LAST.set(last);
                let packet: Vec<u8> = (0..size).map(|place| (place % 251) as u8).collect();
                send(&theirs, &packet, SendFlags::empty()).unwrap();
                let mut inbox = BytesMut::with_capacity(room + 2);
                inbox.put_slice(b"ab");
                assert_eq!(recv_packet(&ours, &mut inbox, RecvFlags::empty(), |_| true), Ok(size));
                let expected = [b"ab", &(size as u32).to_be_bytes()[..], &packet].concat();
                assert!(inbox == expected, "{size} bytes with room for {room} after {last}");
            }
        }
    }

    #[test]
    fn of_a_packet_that_is_not_kept_only_the_length_stays() {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags, None).unwrap();
        for last in [0, LARGE] {
            LAST.set(last);
            send(&theirs, &[b'x'; 9_000], SendFlags::empty()).unwrap();
            let mut inbox = BytesMut::new();
            assert_eq!(recv_packet(&ours, &mut inbox, RecvFlags::empty(), |count| count < 9_000), Ok(9_000));
            assert_eq!(inbox, 9_000u32.to_be_bytes()[..]);
        }
    }
}
