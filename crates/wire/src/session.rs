//! What every session is to whoever moves its bytes.

use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::input::Input;

/// One connection's state, whatever its protocol: bytes in, bytes out.
///
/// The driver's contract is in the documentation of this crate.
pub trait Session {
    /// The address that errors name.
    fn address(&self) -> &Arc<str>;

    /// What arrived.
    fn input(&self) -> &Input;

    /// Where to put what arrives, and to say how that ended.
    fn input_mut(&mut self) -> &mut Input;

    /// What may be written now, in this order.
    fn outbox(&self) -> [&[u8]; 3];

    /// How many bytes wait to be written, now or later.
    fn unwritten(&self) -> usize;

    /// Says that the first `count` bytes of the outbox are with the system.
    fn written(&mut self, count: usize);

    /// Drops the first packet that waits to be sent.
    fn skip_packet(&mut self);

    /// Says that nothing more can be sent because of `error`. What arrives is still received.
    fn output_failed(&mut self, error: Error);

    /// Why nothing more can be sent.
    fn output_failure(&self) -> Option<&Error>;

    /// Takes what waits for its turn out of what is to be sent, before a close; it ends when the output does.
    fn withdraw_unsent(&mut self);

    /// Says that the link moves packets of at most `most` bytes, and whether an empty one is a packet, or reads as the end.
    ///
    /// In the inbox and the outbox each stands behind its length, a u32 in big-endian order: the driver makes packets
    /// of the one and the other of packets.
    fn use_packets(&mut self, most: usize, empty: bool);

    /// Says that the packets are datagrams, each for itself, and whether they may get lost.
    fn use_datagrams(&mut self, may_be_lost: bool);

    /// Says that a datagram did not arrive because of `error`; the connection lives on.
    fn datagram_refused(&mut self, error: Error);

    /// Whether it has no connection, until it gets another one.
    fn is_detached(&self) -> bool {
        false
    }

    /// Whether nothing is on its way: nothing to be sent, received or answered.
    fn is_idle(&self) -> bool;

    /// No deadline passes before this instant; take events again when it is reached.
    fn next_deadline(&self) -> Option<Instant>;

    /// An error of this connection, met while `doing`, which is followed by the address.
    fn error(&self, kind: ErrorKind, doing: &str) -> Error {
        Error::new(kind, format!("{doing} {}", self.address())).at(self.address())
    }
}
