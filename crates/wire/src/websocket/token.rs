//! The secret that both ends know.

use std::fmt;
use std::hint::black_box;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What a subprotocol that carries a token begins with: a browser cannot send the field Authorization.
const SUBPROTOCOL: &str = "panpipe.token.";

/// How many characters a token has.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=512;

/// A token: 16 to 512 visible ASCII characters. It is shown nowhere.
#[derive(Clone)]
pub struct Token {
    text: String,
    /// As the subprotocol that carries it.
    subprotocol: String,
}

impl Token {
    /// The token that `text` is, if it is one.
    pub fn new(text: &str) -> Option<Token> {
        let is_token = LENGTHS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_token.then(|| Token {
            text: text.to_owned(),
            subprotocol: format!("{SUBPROTOCOL}{}", URL_SAFE_NO_PAD.encode(text)),
        })
    }

    /// Whether it is what was given, found out in a time that tells nothing but the length.
    pub fn is(&self, given: &[u8]) -> bool {
        are_equal(self.text.as_bytes(), given)
    }

    /// Whether it is what the value of a field Authorization gives (RFC 6750, section 2.1).
    pub(super) fn is_in_field(&self, value: &str) -> bool {
        let (scheme, given) = value.split_once(' ').unwrap_or_default();
        scheme.eq_ignore_ascii_case("Bearer") && self.is(given.trim_start_matches(' ').as_bytes())
    }

    /// Whether it is what a subprotocol gives; nothing where that is for something else.
    pub(super) fn is_in_subprotocol(&self, subprotocol: &[u8]) -> Option<bool> {
        let is_meant = subprotocol.starts_with(SUBPROTOCOL.as_bytes());
        is_meant.then(|| are_equal(self.subprotocol.as_bytes(), subprotocol))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Compares every byte, whether an earlier one differs or not.
fn are_equal(one: &[u8], other: &[u8]) -> bool {
    let differ = one.iter().zip(other).fold(0, |differ, (one, other)| black_box(differ | (one ^ other)));
    one.len() == other.len() && differ == 0
}
