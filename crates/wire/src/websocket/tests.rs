//! The WebSocket against `vectors/websocket.json`, against itself, and against anything at all.

use super::*;

mod frames;
mod heads;
mod properties;
mod vectors;

#[test]
fn the_key_of_the_rfc_is_answered_as_there() {
    assert_eq!(key::accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}
