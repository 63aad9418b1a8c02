//! Which web pages may connect (RFC 6454): a browser says in the field Origin whose page it is.

use super::host::Authority;

/// A scheme, a host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// In lower case.
    scheme: String,
    /// The port is left out where it is the scheme's own.
    authority: Authority,
}

impl Origin {
    /// An origin of an HTTP server, or of another scheme.
    pub(super) fn new(scheme: &str, authority: Authority) -> Self {
        let scheme = scheme.to_ascii_lowercase();
        let own = match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let port = authority.port.filter(|&port| Some(port) != own);
        Origin { scheme, authority: authority.with_port(port) }
    }

    /// Reads `scheme://host` or `scheme://host:port`; nothing else may be there, and `null` is none.
    pub(super) fn parse(text: &str) -> Option<Origin> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        is_scheme.then(|| Authority::parse(authority)).flatten().map(|authority| Origin::new(scheme, authority))
    }
}

/// Reads the option `origin`: origins, separated by commas.
pub fn parse_origins(list: &str) -> Option<Vec<Origin>> {
    list.split(',').map(Origin::parse).collect()
}
