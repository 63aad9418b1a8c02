//! The options of TLS: whom to trust, and how to prove who one is.

use panpipe_wire::OptionInfo;

use super::fingerprint::parse_fingerprints;

/// The option that names whom to trust.
pub(super) const CA: OptionInfo = OptionInfo {
    name: "ca",
    value: "a PEM file",
    default: "the system's roots",
    summary: "certificates of those who vouch for the other side",
    check: is_path,
};

/// The option that names this side's certificate.
pub(super) const CERT: OptionInfo = OptionInfo {
    name: "cert",
    value: "a PEM file",
    default: "none; a listener needs one",
    summary: "this side's certificate, and those between it and a root: panpipe cert makes one",
    check: is_path,
};

/// The option that names the key of this side's certificate.
pub(super) const KEY: OptionInfo = OptionInfo {
    name: "key",
    value: "a PEM file",
    default: "none",
    summary: "the private key of cert",
    check: is_path,
};

/// The option of listeners that want to know who connects.
pub(super) const CLIENT_CA: OptionInfo = OptionInfo {
    name: "client_ca",
    value: "a PEM file",
    default: "none: whoever reaches it may connect",
    summary: "who connects must show a certificate that one of these vouches for",
    check: is_path,
};

/// The option that needs nobody to vouch.
pub(super) const FINGERPRINT: OptionInfo = OptionInfo {
    name: "fingerprint",
    value: "a list of sha256: and 64 hex digits",
    default: "none",
    summary: "the other side's certificate must be one of these; its name, issuer and dates are not looked at then",
    check: |value| parse_fingerprints(value).is_some(),
};

fn is_path(value: &str) -> bool {
    !value.is_empty()
}
