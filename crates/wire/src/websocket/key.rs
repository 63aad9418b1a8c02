//! How a server proves that it knows WebSocket (RFC 6455, section 4.2.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1_smol::Sha1;

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of a key.
const LENGTH: usize = 16;

/// How a key is written.
pub(super) fn encode(key: [u8; LENGTH]) -> String {
    STANDARD.encode(key)
}

/// Whether this is a key.
pub(super) fn is_key(text: &str) -> bool {
    STANDARD.decode(text).is_ok_and(|key| key.len() == LENGTH)
}

/// What the field Sec-WebSocket-Accept has to say to a key.
pub(super) fn accept(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID.as_bytes());
    STANDARD.encode(hash.digest().bytes())
}
