//! rustls, as either side of a connection: ciphertext in a buffer, ciphertext out of one.

use std::io::IoSlice;
use std::ops::Range;

use bytes::BytesMut;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedConnectionCommon, UnbufferedStatus};
use rustls::{CommonState, Error, ProtocolVersion};

/// Bytes of ciphertext in a full record of ours: four of them are what is read and written at once. TLS allows a little
/// more.
const RECORD: usize = 16 << 10;

/// Either side of a connection.
///
/// The unbuffered connections of rustls decrypt where the ciphertext was read to. Its buffered ones read 4 KiB at a
/// time, into memory of their own that is resized for each read.
pub(super) enum Side {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// What was found in ciphertext.
#[derive(Default)]
pub(super) struct Found {
    /// Bytes of the ciphertext that are not needed any more.
    pub(super) used: usize,
    /// Whether the other side has closed.
    pub(super) has_ended: bool,
    pub(super) error: Option<Error>,
}

impl Side {
    /// Goes through ciphertext: appends the plaintext to `inbox`, and to `output` what must be written.
    pub(super) fn open(&mut self, input: &mut [u8], output: &mut BytesMut, inbox: &mut BytesMut) -> Found {
        match self {
            Side::Client(connection) => open(&mut ***connection, input, output, inbox),
            Side::Server(connection) => open(&mut ***connection, input, output, inbox),
        }
    }

    /// Encrypts what of `parts` makes at most `most` bytes, and tells how many bytes of them that were and where in `room`
    /// they are, with what has to be written before them. `rest` is ciphertext that was gone through.
    ///
    /// # Errors
    /// Those of rustls, when no more may be encrypted with these keys.
    pub(super) fn seal(
        &mut self,
        parts: &[IoSlice<'_>],
        most: usize,
        rest: &mut [u8],
        room: &mut [u8],
    ) -> Result<(usize, Range<usize>), EncryptError> {
        match self {
            Side::Client(connection) => seal(&mut ***connection, parts, most, rest, room),
            Side::Server(connection) => seal(&mut ***connection, parts, most, rest, room),
        }
    }

    /// Appends the alert that closes to `output`.
    pub(super) fn close(&mut self, rest: &mut [u8], output: &mut BytesMut) {
        match self {
            Side::Client(connection) => close(&mut ***connection, rest, output),
            Side::Server(connection) => close(&mut ***connection, rest, output),
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        match self {
            Side::Client(connection) => connection.is_handshaking(),
            Side::Server(connection) => connection.is_handshaking(),
        }
    }
}

/// What both sides do, under names of their own.
trait Records<Data>: std::ops::Deref<Target = CommonState> {
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Data>;
}

impl Records<ClientConnectionData> for UnbufferedConnectionCommon<ClientConnectionData> {
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, ClientConnectionData> {
        self.process_tls_records(input)
    }
}

impl Records<ServerConnectionData> for UnbufferedConnectionCommon<ServerConnectionData> {
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, ServerConnectionData> {
        self.process_tls_records(input)
    }
}

fn open<Data>(
    connection: &mut impl Records<Data>,
    input: &mut [u8],
    output: &mut BytesMut,
    inbox: &mut BytesMut,
) -> Found {
    let mut found = Found::default();
    loop {
        let UnbufferedStatus { mut discard, state, .. } = connection.process(&mut input[found.used..]);
        let goes_on = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(Ok(record)) = traffic.next_record() {
                    discard += record.discard;
                    inbox.extend_from_slice(record.payload);
                }
                true
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                append(output, |room| data.encode(room));
                true
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                true
            }
            Ok(ConnectionState::PeerClosed) => {
                found.has_ended = true;
                true
            }
            Ok(_) => false,
            Err(error) => {
                found.error = Some(error);
                false
            }
        };
        found.used += discard;
        if !goes_on {
            break;
        }
    }
    // Of a failure the other side is told. More than what is to be sent may not be asked for: it would fail once more.
    while found.error.is_some() && connection.wants_write() {
        let UnbufferedStatus { discard, state, .. } = connection.process(&mut input[found.used..]);
        found.used += discard;
        let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { break };
        append(output, |room| data.encode(room));
    }
    found
}

/// Appends what `encode` writes once there is room enough.
fn append(output: &mut BytesMut, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let before = output.len();
    let mut room = 0;
    loop {
        output.resize(before + room, 0);
        match encode(&mut output[before..]) {
            Ok(written) => return output.truncate(before + written),
            Err(EncodeError::InsufficientSize(needs)) => room = needs.required_size,
            Err(EncodeError::AlreadyEncoded) => return output.truncate(before),
        }
    }
}

fn seal<Data>(
    connection: &mut impl Records<Data>,
    parts: &[IoSlice<'_>],
    most: usize,
    rest: &mut [u8],
    room: &mut [u8],
) -> Result<(usize, Range<usize>), EncryptError> {
    // RFC 8446, section 5.2: header, type and tag; RFC 5288: header, nonce and tag.
    let overhead = if connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) { 22 } else { 29 };
    let (gathered, sealed) = room.split_at_mut(RECORD);
    let (mut taken, mut written) = (0, 0);
    loop {
        match connection.process(rest).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                while let Some(chunk) = next_chunk(parts, taken, RECORD - overhead, gathered) {
                    if written + chunk.len() + overhead > most {
                        break;
                    }
                    written += traffic.encrypt(chunk, &mut sealed[written..])?;
                    taken += chunk.len();
                }
                return Ok((taken, RECORD..RECORD + written));
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                written += data.encode(&mut sealed[written..]).unwrap_or(0);
            }
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            _ => return Ok((taken, RECORD..RECORD + written)),
        }
    }
}

/// The next bytes of `parts` behind the first `taken`, at most `most`; small parts are gathered.
fn next_chunk<'a>(parts: &'a [IoSlice<'_>], mut taken: usize, most: usize, gathered: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut count = 0;
    for (at, part) in parts.iter().enumerate() {
        let Some(part) = part.get(taken..).filter(|part| !part.is_empty()) else {
            taken -= part.len();
            continue;
        };
        taken = 0;
        let is_last = parts[at + 1..].iter().all(|part| part.is_empty());
        if count == 0 && (is_last || part.len() >= most) {
            return Some(&part[..part.len().min(most)]);
        }
        let more = part.len().min(most - count);
        gathered[count..count + more].copy_from_slice(&part[..more]);
        count += more;
        if count == most {
            break;
        }
    }
    (count > 0).then_some(&gathered[..count])
}

fn close<Data>(connection: &mut impl Records<Data>, rest: &mut [u8], output: &mut BytesMut) {
    /// A queued key update and the alert, each encrypted, with room to spare.
    const MOST: usize = 256;
    if let Ok(ConnectionState::WriteTraffic(mut traffic)) = connection.process(rest).state {
        let mut alert = [0; MOST];
        if let Ok(count) = traffic.queue_close_notify(&mut alert) {
            output.extend_from_slice(&alert[..count]);
        }
    }
}
