//! TLS over one connected stream socket: bytes in, bytes out, never waiting.

mod broken;
mod client;
pub(crate) mod pem;
mod server;
mod side;
mod verify;

#[cfg(test)]
mod tests;

pub(crate) use client::ClientTls;
pub(crate) use server::ServerTls;

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, BytesMut};
use panpipe_wire::{Address, ErrorKind};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::CryptoProvider;
use rustls::server::UnbufferedServerConnection;

use self::side::Side;
use super::fingerprint::{Fingerprint, parse_fingerprints};
use super::link::with_room;
use super::stream::Broken;

/// Ciphertext that is read at once, with what was left of it before.
const INPUT: usize = 64 << 10;

/// Ciphertext that may wait to be written before no more plaintext is taken.
const OUTPUT: usize = 64 << 10;

/// Ciphertext that may come without data in it, as tickets and key updates do, before it is an attack.
const FRUITLESS: usize = 1 << 20;

/// What [`Tls::read`] and [`Tls::write`] answer once TLS broke; [`Tls::broken`] says why.
pub(crate) const BROKEN: Errno = Errno::PROTO;

/// A header says a record's type, version and length (RFC 8446, section 5.1).
const HEADER: usize = 5;

/// TLS over one connected stream socket.
pub(crate) struct Tls {
    side: Side,
    /// Ciphertext that more must come to.
    rest: Vec<u8>,
    /// Where in it the record begins that is being read, in the handshake.
    record: usize,
    /// Ciphertext that the system did not take yet.
    output: BytesMut,
    /// Whether a whole record came.
    has_heard: bool,
    /// Bytes of ciphertext that came since the last data.
    fruitless: usize,
    /// Whether the last read has emptied the socket.
    has_emptied: bool,
    /// Whether the other side has closed.
    has_ended: bool,
    /// Whether this side has.
    has_closed: bool,
    broken: Option<Broken>,
}

impl Tls {
    /// The connecting end.
    ///
    /// # Errors
    /// `io` when the system gives no random numbers.
    pub(crate) fn connect(tls: &ClientTls) -> Result<Self, Broken> {
        let connection = UnbufferedClientConnection::new(Arc::clone(&tls.config), tls.name.clone());
        Ok(Self::over(Side::Client(Box::new(connection.map_err(|error| Broken::of(&error))?))))
    }

    /// The end that was connected to.
    ///
    /// # Errors
    /// `io` when the system gives no random numbers.
    pub(crate) fn accept(tls: &ServerTls) -> Result<Self, Broken> {
        let connection = UnbufferedServerConnection::new(Arc::clone(&tls.config));
        Ok(Self::over(Side::Server(Box::new(connection.map_err(|error| Broken::of(&error))?))))
    }

    fn over(mut side: Side) -> Self {
        let mut output = BytesMut::new();
        // What the connecting end begins with.
        side.open(&mut [], &mut output, &mut BytesMut::new());
        Tls {
            side,
            rest: Vec::new(),
            record: 0,
            output,
            has_heard: false,
            fruitless: 0,
            has_emptied: false,
            has_ended: false,
            has_closed: false,
            broken: None,
        }
    }

    /// Goes on with the handshake as far as it can; `true` once it is done, though its last bytes may still wait to be
    /// written. After `false` wait until the socket is readable, or writable too where
    /// [`wants_write`](Self::wants_write).
    ///
    /// Nothing is read beyond the handshake: what follows it leaves the socket readable.
    ///
    /// # Errors
    /// `unauthenticated` for a certificate that is not believed, and where the other side says so of ours; `bad-peer` for
    /// what is not TLS, or not as it must be; `connection-lost`. What the other side is to know of it was written.
    pub(crate) fn handshake(&mut self, socket: &OwnedFd) -> Result<bool, Broken> {
        while self.broken.is_none() {
            if let Err(errno) = self.flush(socket) {
                self.hear_why(socket, errno);
                break;
            }
            if !self.side.is_handshaking() {
                return Ok(true);
            }
            match self.read_of_record(socket) {
                Ok(true) => {}
                Ok(false) => self.broken = Some(Broken::cut(true)),
                Err(Errno::AGAIN) => return Ok(false),
                Err(errno) => self.broken = Some(Broken::by(errno)),
            }
        }
        self.write_what_it_takes(socket);
        self.broken.clone().map_or(Ok(false), Err)
    }

    /// Reads once from the socket and appends to `inbox` all the plaintext that this completes, whatever its capacity, but
    /// at most 64 KiB. Zero once the other side has closed. Only after the handshake.
    ///
    /// What this makes necessary to write is written as far as the system takes it; answers to key updates go before the
    /// next plaintext. What is wrong behind good plaintext is told by the next read.
    ///
    /// # Errors
    /// `AGAIN` when nothing came; [`BROKEN`]; the system's.
    pub(crate) fn read(&mut self, socket: &OwnedFd, inbox: &mut BytesMut) -> Result<usize, Errno> {
        let before = inbox.len();
        loop {
            if self.broken.is_some() {
                return Err(BROKEN);
            }
            if self.has_ended || self.has_closed {
                return Ok(0);
            }
            let came = with_room(|room| self.read_into(socket, room, inbox))?;
            self.write_what_it_takes(socket);
            let count = inbox.len() - before;
            if count > 0 {
                self.fruitless = 0;
                return Ok(count);
            }
            self.fruitless += came;
            if self.fruitless > FRUITLESS {
                self.broken = Some(Broken::new(ErrorKind::BadPeer, "the other side sends TLS records without data"));
            } else if self.has_read_all() {
                return Err(Errno::AGAIN);
            }
        }
    }

    /// Whether the last read has emptied the socket, so that readiness tells of what comes next.
    pub(crate) fn has_read_all(&self) -> bool {
        self.has_emptied && !self.has_end()
    }

    /// Takes plaintext as long as less than 64 KiB of ciphertext wait, and writes what the system takes.
    ///
    /// # Errors
    /// `AGAIN` when nothing could be taken; [`BROKEN`]; `PIPE` after [`end_output`](Self::end_output); the system's.
    pub(crate) fn write(&mut self, socket: &OwnedFd, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
        if self.broken.is_some() {
            return Err(BROKEN);
        }
        if self.has_closed {
            return Err(Errno::PIPE);
        }
        self.flush(socket)?;
        let most = OUTPUT.saturating_sub(self.output.len());
        let taken = with_room(|room| {
            let (taken, sealed) = match self.side.seal(parts, most, &mut self.rest, room) {
                Ok(outcome) => outcome,
                Err(error) => {
                    self.broken = Some(Broken::new(ErrorKind::ConnectionLost, format!("TLS: {error}")));
                    return Err(BROKEN);
                }
            };
            self.send(socket, &room[sealed])?;
            Ok(taken)
        })?;
        match taken == 0 && parts.iter().any(|part| !part.is_empty()) {
            true => Err(Errno::AGAIN),
            false => Ok(taken),
        }
    }

    /// Writes ciphertext that waits, as far as the system takes it.
    ///
    /// # Errors
    /// The system's, but not `AGAIN`.
    pub(crate) fn flush(&mut self, socket: &OwnedFd) -> Result<(), Errno> {
        while !self.output.is_empty() {
            match send_some(socket, &self.output) {
                Ok(count) => self.output.advance(count),
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => {
                    self.output.clear();
                    return Err(errno);
                }
            }
        }
        // It is rarely needed: what is sent is encrypted in room that the thread shares.
        self.output = BytesMut::new();
        Ok(())
    }

    /// Whether ciphertext waits to be written.
    pub(crate) fn wants_write(&self) -> bool {
        !self.output.is_empty()
    }

    /// Tells the other side that nothing more will come. As long as [`wants_write`](Self::wants_write), this waits to be
    /// [`flush`](Self::flush)ed; to shut the socket down is the caller's.
    pub(crate) fn end_output(&mut self, socket: &OwnedFd) {
        if self.has_closed || self.broken.is_some() || self.side.is_handshaking() {
            return;
        }
        self.has_closed = true;
        self.side.close(&mut self.rest, &mut self.output);
        let _ = self.flush(socket);
    }

    /// Whether the next read tells of an end that has come already.
    pub(crate) fn has_end(&self) -> bool {
        self.has_ended || self.broken.is_some()
    }

    /// Why TLS broke, if it did.
    pub(crate) fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    /// Reads more of the handshake's next record, and goes through it; `false` at the end of the input.
    ///
    /// A record is read by its header, and not a byte more.
    fn read_of_record(&mut self, socket: &OwnedFd) -> Result<bool, Errno> {
        let has = self.rest.len();
        self.rest.resize(has + self.missing(), 0);
        let count = recv_some(socket, &mut self.rest[has..]);
        self.rest.truncate(has + count.unwrap_or(0));
        if count? == 0 {
            return Ok(false);
        }
        if !self.has_heard && is_unlike_tls(&self.rest) {
            self.broken = Some(Broken::not_tls());
            return Ok(true);
        }
        let is_whole = self.missing() == 0;
        // A header alone tells already where it is not one.
        if self.rest.len() - self.record >= HEADER {
            let mut input = std::mem::take(&mut self.rest);
            self.open(&mut input, &mut BytesMut::new());
        }
        if is_whole {
            self.has_heard = true;
            self.record = self.rest.len();
        }
        Ok(true)
    }

    /// Bytes that the header of the handshake's next record lacks, or the record by its header.
    fn missing(&self) -> usize {
        match &self.rest[self.record..] {
            [_, _, _, high, low, rest @ ..] => {
                usize::from(u16::from_be_bytes([*high, *low])).saturating_sub(rest.len())
            }
            header => HEADER - header.len(),
        }
    }

    /// Looks for the reason for which the other side, which takes nothing any more, has ended the handshake.
    fn hear_why(&mut self, socket: &OwnedFd, errno: Errno) {
        while self.broken.is_none() && self.read_of_record(socket) == Ok(true) {}
        self.broken.get_or_insert_with(|| Broken::by(errno));
    }

    fn read_into(&mut self, socket: &OwnedFd, room: &mut [u8], inbox: &mut BytesMut) -> Result<usize, Errno> {
        let kept = self.rest.len();
        room[..kept].copy_from_slice(&self.rest);
        let count = recv_some(socket, &mut room[kept..INPUT])?;
        self.has_emptied = count < INPUT - kept;
        match count {
            0 => self.broken = Some(Broken::cut(false)),
            _ => self.open(&mut room[..kept + count], inbox),
        }
        Ok(count)
    }

    /// Goes through ciphertext and keeps the rest of it.
    fn open(&mut self, input: &mut [u8], inbox: &mut BytesMut) {
        let found = self.side.open(input, &mut self.output, inbox);
        self.has_ended |= found.has_ended;
        self.rest.clear();
        self.rest.extend_from_slice(&input[found.used..]);
        self.broken = match found.error {
            Some(error) => Some(Broken::of(&error)),
            None if self.rest.len() >= INPUT => {
                Some(Broken::new(ErrorKind::BadPeer, "more than 64 KiB of TLS handshake messages at once"))
            }
            None => None,
        };
    }

    /// Writes the alert, or what else there is. What becomes of it changes nothing of what was read.
    fn write_what_it_takes(&mut self, socket: &OwnedFd) {
        let _ = self.flush(socket);
    }

    /// Writes ciphertext, of which what the system does not take waits.
    fn send(&mut self, socket: &OwnedFd, mut sealed: &[u8]) -> Result<(), Errno> {
        while self.output.is_empty() && !sealed.is_empty() {
            match send_some(socket, sealed) {
                Ok(count) => sealed = &sealed[count..],
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(errno),
            }
        }
        self.output.extend_from_slice(sealed);
        Ok(())
    }
}

/// The cryptography.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider()))
}

/// The certificates that an address says the other end may have.
fn fingerprints(address: &Address) -> Option<Vec<Fingerprint>> {
    parse_fingerprints(address.option("fingerprint")?)
}

/// Whether these bytes begin no record: of another type, or another major version (RFC 8446, section 5.1).
fn is_unlike_tls(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|kind| !(20..=24).contains(kind)) || bytes.get(1).is_some_and(|&version| version != 3)
}

/// The flag, since the descriptor's own mode may be to wait.
fn recv_some(socket: &OwnedFd, room: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match recv(socket, &mut *room, RecvFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            received => return received.map(|(count, _)| count),
        }
    }
}

fn send_some(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    loop {
        match send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            sent => return sent,
        }
    }
}
