//! The options that the addresses over TLS have.

use panpipe_wire::OptionInfo;

use super::fingerprint::parse_fingerprints;

/// Whom a connecting end believes.
pub(crate) const CA: OptionInfo = OptionInfo {
    name: "ca",
    value: FILE,
    default: "the system's",
    summary: "certificates in PEM of those whose word on the listener is taken",
    check: is_path,
};

/// A listener's certificate, or the one that a connecting end shows.
pub(crate) const CERT: OptionInfo = OptionInfo {
    name: "cert",
    value: FILE,
    default: "none; needed to listen",
    summary: "the own certificate in PEM, with those that lead to its issuer",
    check: is_path,
};

/// The key of the certificate.
pub(crate) const KEY: OptionInfo = OptionInfo {
    name: "key",
    value: FILE,
    default: "none; needed with cert",
    summary: "the private key of cert in PEM",
    check: is_path,
};

/// Whom a listener believes.
pub(crate) const CLIENT_CA: OptionInfo = OptionInfo {
    name: "client_ca",
    value: FILE,
    default: "no certificates are asked for",
    summary: "certificates in PEM of those who issue the ones that connecting ends must show",
    check: is_path,
};

/// The certificates that the other end may have.
pub(crate) const FINGERPRINT: OptionInfo = OptionInfo {
    name: "fingerprint",
    value: "sha256: and 64 hex digits, with or without colons between the bytes, and more of them behind commas",
    default: "not looked at",
    summary: "what the other end's certificate must be, whatever its name, issuer and dates; panpipe cert prints it",
    check: |value| parse_fingerprints(value).is_some(),
};

const FILE: &str = "the path of a file";

fn is_path(value: &str) -> bool {
    !value.is_empty()
}
