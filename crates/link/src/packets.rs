//! A link of packets without a session, for a face that brings its own.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use panpipe_wire::{Address, Error, ErrorKind, Result};
use rustix::io::Errno;

use crate::os_error;
use crate::transport::{Link, Remote};

/// What a turn of reading may bring before others get theirs.
const BYTES_A_TURN: usize = 1 << 20;
const PACKETS_A_TURN: usize = 1024;

/// What a packet stands behind in a link's input and output: its length, a u32 in big-endian order.
type Length = [u8; 4];

/// How soon to write again where no descriptor tells of room.
const RETRY: Duration = Duration::from_millis(1);

/// What to wait for when there was no room to write.
pub enum Room {
    /// This becomes writable. It has a number of its own, for a loop that takes each once.
    Writable(Arc<OwnedFd>),
    /// No descriptor tells of room: this time passes.
    After(Duration),
}

/// An open link that moves packets. Dropping it closes it.
pub struct Packets {
    link: Link,
    remote: Remote,
    largest: usize,
    address: Arc<str>,
}

impl Packets {
    /// The packets of `link`, which was opened by `address`.
    ///
    /// # Errors
    /// `unsupported` when it moves bytes.
    pub fn new(link: Link, address: &Address) -> Result<Self> {
        let Some(largest) = link.largest_packet() else {
            let error = Error::new(ErrorKind::Unsupported, format!("opening {}", address.text()));
            return Err(error.because("it moves bytes, not packets").at(address.text()));
        };
        let remote = link.remote(address.method().scheme);
        Ok(Packets { link, remote, largest, address: Arc::clone(address.text()) })
    }

    /// What was known of the other end when the link was opened.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// The bytes of the largest packet.
    pub fn largest(&self) -> usize {
        self.largest
    }

    /// The descriptor to wait on for packets.
    pub fn reader(&self) -> &Arc<OwnedFd> {
        self.link.reader()
    }

    /// What to wait for when there was no room to write.
    ///
    /// # Errors
    /// `busy` when descriptors run out.
    pub fn room(&self) -> Result<Room> {
        if self.link.has_no_writability() {
            return Ok(Room::After(RETRY));
        }
        self.link.writer_of_its_own().map(Room::Writable).map_err(|errno| self.error(errno, "sending to"))
    }

    /// Appends to `slab` the packets that have arrived, one next to the other, and to `lengths` how long each is.
    ///
    /// At most 1,024 packets, or the one that fills 1 MiB, so that others get their turn: what is left keeps the reader
    /// readable. `false` once the peer has finished sending.
    ///
    /// # Errors
    /// `connection-lost`, `too-large`, `io`: the link is broken, and what was appended arrived nevertheless.
    pub fn read(&mut self, slab: &mut BytesMut, lengths: &mut Vec<u32>) -> Result<bool> {
        while slab.len() < BYTES_A_TURN && lengths.len() < PACKETS_A_TURN {
            let unread = slab.len();
            match self.link.read(slab) {
                Ok(0) => return Ok(false),
                Ok(_) => self.strip_lengths(slab, unread, lengths)?,
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(self.error(errno, "receiving from")),
            }
        }
        Ok(true)
    }

    /// Sends a packet; `false` when the system has no room for it now, and nothing was taken.
    ///
    /// # Errors
    /// `too-large`; `unsupported` for an empty packet, where it reads as the end; `connection-lost`, `io`.
    pub fn write(&mut self, packet: &[u8]) -> Result<bool> {
        if !self.link.has_receiver() {
            let reason = "the sender has no name of its own, and cannot be answered";
            return Err(self.refusal(ErrorKind::ConnectionLost, reason));
        }
        if packet.is_empty() && self.link.loses_datagrams().is_none() {
            return Err(self.refusal(ErrorKind::Unsupported, "an empty packet reads as the end of the connection"));
        }
        if packet.len() > self.largest {
            let reason = format!("a packet may be {} bytes at most, and this one has {}", self.largest, packet.len());
            return Err(self.refusal(ErrorKind::TooLarge, reason));
        }
        let length: Length = (packet.len() as u32).to_be_bytes();
        match self.link.write(&[&length, packet, &[]].map(IoSlice::new)) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(errno) => Err(self.error(errno, "sending to")),
        }
    }

    /// Takes the length before each packet of `slab` from `at` on, and moves the packets together.
    fn strip_lengths(&self, slab: &mut BytesMut, mut at: usize, lengths: &mut Vec<u32>) -> Result<()> {
        let mut next = at;
        let mut outcome = Ok(());
        while let Some((length, _)) = slab[next..].split_first_chunk() {
            let size = u32::from_be_bytes(*length) as usize;
            next += size_of::<Length>();
            // Of a datagram that is too large its length has come alone.
            if size > self.largest && self.link.loses_datagrams().is_some() {
                let reason = format!("a packet may be {} bytes at most, and one of {size} was sent", self.largest);
                let error = Error::new(ErrorKind::TooLarge, format!("receiving from {}", self.address));
                outcome = Err(error.because(reason).at(&self.address));
                continue;
            }
            slab.copy_within(next..next + size, at);
            (next, at) = (next + size, at + size);
            lengths.push(size as u32);
        }
        slab.truncate(at);
        outcome
    }

    fn refusal(&self, kind: ErrorKind, reason: impl Into<String>) -> Error {
        Error::new(kind, format!("sending to {}", self.address)).because(reason.into()).at(&self.address)
    }

    fn error(&self, errno: Errno, doing: &str) -> Error {
        let error = Error::new(os_error::kind(errno), format!("{doing} {}", self.address));
        error.because(os_error::text(errno)).at(&self.address)
    }
}

impl Drop for Packets {
    fn drop(&mut self) {
        if !self.link.belongs_to_us() {
            return;
        }
        self.link.end_output();
        // A close with unread input would reset the connection before the peer has read what was sent to it.
        let (mut slab, mut lengths) = (BytesMut::new(), Vec::new());
        let _ = self.read(&mut slab, &mut lengths);
        self.link.end_input();
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;
    use crate::transport::{Accepted, Progress, connect, listen, parse};

    /// Two ends of a link of packets.
    fn pair() -> (Packets, Packets) {
        let listener = listen(&parse(&format!("unix-seqpacket:@packets-{}-*", std::process::id())).unwrap()).unwrap();
        let Ok(Progress::Connected(ours)) = connect(listener.address()).unwrap().advance() else { panic!("waits") };
        let Ok(Accepted::Link(theirs)) = listener.accept() else { panic!("nobody came") };
        let packets = |link| Packets::new(link, listener.address()).unwrap();
        (packets(ours), packets(theirs))
    }

    #[test]
    fn packets_arrive_together_each_with_its_length() {
        let (mut ours, mut theirs) = pair();
        for packet in [&b"a"[..], b"bcd", b"ef"] {
            assert!(ours.write(packet).unwrap());
        }
        let (mut slab, mut lengths) = (BytesMut::from(&b"kept"[..]), vec![4]);
        assert!(theirs.read(&mut slab, &mut lengths).unwrap());
        assert_eq!((&slab[..], &lengths[..]), (&b"keptabcdef"[..], &[4, 1, 3, 2][..]));
    }

    #[test]
    fn several_packets_of_one_read_are_taken_apart() {
        let mut slab = BytesMut::from(&b"before"[..]);
        for packet in [&b"ab"[..], b"", b"cde"] {
            slab.put_u32(packet.len() as u32);
            slab.put_slice(packet);
        }
        let mut lengths = Vec::new();
        pair().0.strip_lengths(&mut slab, 6, &mut lengths).unwrap();
        assert_eq!((&slab[..], &lengths[..]), (&b"beforeabcde"[..], &[2, 0, 3][..]));
    }

    #[test]
    fn a_full_system_takes_nothing_until_there_is_room() {
        let (mut ours, mut theirs) = pair();
        let mut sent = 0;
        while ours.write(b"packet").unwrap() {
            sent += 1;
        }
        let (mut slab, mut lengths) = (BytesMut::new(), Vec::new());
        assert!(theirs.read(&mut slab, &mut lengths).unwrap());
        assert_eq!(lengths.len(), sent);
        assert!(ours.write(b"again").unwrap());
    }

    #[test]
    fn a_turn_is_bounded_in_packets_and_in_bytes() {
        let (mut ours, mut theirs) = pair();
        for _ in 0..4 {
            assert!(ours.write(b"packet").unwrap());
        }
        let (mut slab, mut lengths) = (BytesMut::new(), vec![0; PACKETS_A_TURN - 1]);
        assert!(theirs.read(&mut slab, &mut lengths).unwrap());
        assert_eq!(slab.len(), 6);
        let (mut slab, mut lengths) = (BytesMut::zeroed(BYTES_A_TURN - 6), Vec::new());
        assert!(theirs.read(&mut slab, &mut lengths).unwrap());
        assert_eq!(lengths, [6]);
    }

    #[test]
    fn what_was_sent_before_a_close_arrives_before_the_end() {
        let (mut ours, mut theirs) = pair();
        assert!(theirs.write(b"never read").unwrap());
        assert!(ours.write(b"last").unwrap());
        drop(ours);
        let (mut slab, mut lengths) = (BytesMut::new(), Vec::new());
        assert!(!theirs.read(&mut slab, &mut lengths).unwrap());
        assert_eq!(&slab[..], b"last");
        assert_eq!(theirs.write(b"too late").unwrap_err().kind(), ErrorKind::ConnectionLost);
    }

    #[test]
    fn what_no_packet_can_be_is_refused() {
        let (mut ours, _theirs) = pair();
        assert_eq!(ours.write(b"").unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(ours.write(&vec![0; ours.largest() + 1]).unwrap_err().kind(), ErrorKind::TooLarge);
        assert!(ours.write(&vec![0; ours.largest()]).unwrap());
    }
}
