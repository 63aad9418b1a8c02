//! What a certificate is known by: SHA-256 over its DER.

use std::fmt;

/// The name of the digest, which stands before the hex digits.
const PREFIX: &str = "sha256:";

#[cfg_attr(not(feature = "tls"), allow(dead_code, unreachable_pub, reason = "an address is checked all the same"))]
/// SHA-256 over a certificate's DER, written `sha256:` and 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of a certificate in DER.
    #[cfg(feature = "tls")]
    pub fn of(certificate: &[u8]) -> Self {
        use ring::digest::{SHA256, digest};

        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Fingerprint(bytes)
    }

    /// Reads hex digits of either case, with or without a colon between two bytes, as OpenSSL prints them.
    fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix(PREFIX)?.as_bytes();
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            if at > 0 {
                rest = rest.strip_prefix(b":").unwrap_or(rest);
            }
            let (digits, after) = rest.split_at_checked(2)?;
            let [high, low] = [digits[0], digits[1]].map(|digit| char::from(digit).to_digit(16));
            *byte = (high? * 16 + low?) as u8;
            rest = after;
        }
        rest.is_empty().then_some(Fingerprint(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Reads the value of the option `fingerprint`: one, or more with commas between.
pub(crate) fn parse_fingerprints(value: &str) -> Option<Vec<Fingerprint>> {
    value.split(',').map(Fingerprint::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "tls")]
    #[test]
    fn is_written_as_it_is_read() {
        // FIPS 180-2, the digest of "abc".
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Fingerprint::of(b"abc").to_string(), text);
        let colons =
            "sha256:BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD";
        assert_eq!(parse_fingerprints(&format!("{text},{colons}")), Some(vec![Fingerprint::of(b"abc"); 2]));
    }

    #[test]
    fn anything_else_is_none() {
        let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a";
        for wrong in [
            String::new(),
            "sha256:".into(),
            format!("sha256:{digits}"),
            format!("sha256:{digits}dd"),
            format!("sha256:{digits}d:"),
            format!("sha256::{digits}d"),
            format!("sha256:{digits}d,"),
            format!("sha256:{digits}g"),
            format!("sha256:{digits}é"),
            format!("sha1:{digits}d"),
            format!("SHA256:{digits}d"),
            format!("{digits}d"),
            format!("sha256:b:{}d", &digits[1..]),
            format!("sha256:+{}d", &digits[1..]),
        ] {
            assert_eq!(parse_fingerprints(&wrong), None, "{wrong}");
        }
    }
}
