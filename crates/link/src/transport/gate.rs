//! Who may come in at a TCP port: the options that say so.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use panpipe_wire::{Address, Error, ErrorKind, OptionInfo, PLAIN, Result};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use super::link;

/// Characters of a token. Fewer could be guessed; more have no place in the head of a request.
const TOKEN_LENGTH: std::ops::RangeInclusive<usize> = 16..=512;

/// Bytes of chance in a token that is made here.
const CHANCE: usize = 24;

/// The option of listeners that tell their peers apart by their first bytes.
pub(super) const ACCEPT: OptionInfo = OptionInfo {
    name: "accept",
    value: "a list of panpipe, ws and a framing of plain messages",
    default: "what framing and protocol say",
    summary: "who may come to a listener, told apart by the first bytes: a panpipe peer, a browser, a person with nc",
    check: |value| !value.is_empty(),
};

/// The option of listeners that says which names they are called by.
pub(super) const HOST: OptionInfo = OptionInfo {
    name: "host",
    value: "a list of names, as app.example or app.example:8443",
    default: "the address's own, and on loopback localhost, 127.0.0.1 and [::1]",
    summary: "names by which a browser may ask for this listener: a page that gives its own name to this machine is refused",
    check: |value| value.split(',').all(is_host),
};

/// The option of listeners that says whose pages may connect.
pub(super) const ORIGIN: OptionInfo = OptionInfo {
    name: "origin",
    value: "a list of origins, as https://app.example",
    default: "none: only programs, and pages of static",
    summary: "web pages that may connect",
    check: |value| value.split(',').all(is_origin),
};

/// The option that holds the secret of both ends.
pub(super) const TOKEN: OptionInfo = OptionInfo {
    name: "token",
    value: "env:NAME or file:PATH, or new:PATH to write a fresh one there",
    default: "none: whoever reaches it may connect",
    summary: "where the secret is that who connects must know",
    check: |value| {
        value.split_once(':').is_some_and(|(kind, place)| matches!(kind, "env" | "file" | "new") && !place.is_empty())
    },
};

/// The option of listeners that give out files.
pub(super) const STATIC: OptionInfo = OptionInfo {
    name: "static",
    value: "a folder",
    default: "none",
    summary: "files to give out over HTTP, such as a page and its modules; the page may connect",
    check: |value| !value.is_empty(),
};

/// Whether it is a name or an IP address, and perhaps a port.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.rfind(']') {
        Some(end) => (&host[..=end], host[end + 1..].strip_prefix(':')),
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let is_name = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)),
    };
    is_name
        && port.is_none_or(|port| {
            !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        })
}

/// Whether it is a scheme, a host and perhaps a port, and nothing behind (RFC 6454, section 6.2).
fn is_origin(origin: &str) -> bool {
    let host = origin.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"));
    host.is_some_and(|(_, host)| is_host(host))
}

/// Says what of these options does not go together.
pub(super) fn check(address: &Address) -> Result<(), String> {
    let is_web = address.method().moves_packets || address.accepts.as_ref().is_some_and(|accepts| accepts.websocket);
    if let Some(option) = ["host", "origin", "static"].into_iter().find(|name| address.option(name).is_some())
        && !is_web
    {
        return Err(format!("{option} is for ports that speak HTTP: list ws in accept, or listen on ws:"));
    }
    let has_plain =
        address.protocol == PLAIN || address.accepts.as_ref().is_some_and(|accepts| accepts.framing.is_some());
    if address.option("token").is_some() && has_plain && !address.method().moves_packets {
        return Err("a framing of plain messages has no place for a token: use the protocol panpipe, or ws:".into());
    }
    match (address.option("cert"), address.option("key")) {
        (Some(_), None) => Err("cert needs the key that belongs to it: key=FILE".into()),
        (None, Some(_)) => Err("key needs the certificate that it belongs to: cert=FILE".into()),
        _ => Ok(()),
    }
}

/// Says that who connects chooses what to speak.
pub(super) fn refuse_accept(address: &Address) -> Result<()> {
    if address.accepts.is_none() {
        return Ok(());
    }
    let error = Error::new(ErrorKind::InvalidAddress, format!("connecting to {}", address.text()));
    Err(error.because("accept is for listening; say framing or protocol, or nothing for panpipe").at(address.text()))
}

/// The secret that the address names, if it names one.
///
/// # Errors
/// `not-found` where it is not there; `invalid-address` where it is none, or is to be made by an end that does not listen;
/// `permission`, `io`.
pub(super) fn token(address: &Address, doing: &str, listens: bool) -> Result<Option<Arc<str>>> {
    let Some((kind, place)) = address.option("token").and_then(|token| token.split_once(':')) else { return Ok(None) };
    let doing = format!("{doing} {}", address.text());
    let error = |kind, reason: String| Error::new(kind, doing.clone()).because(reason).at(address.text());
    let file_error = |failure: std::io::Error| {
        let errno = Errno::from_io_error(&failure).unwrap_or(Errno::IO);
        link::error(errno, doing.clone()).because(format!("the token in {place}: {failure}")).at(address.text())
    };
    let token = match kind {
        "env" => {
            let absent =
                || error(ErrorKind::NotFound, format!("there is no environment variable {place} with the token"));
            std::env::var(place).map_err(|_| absent())?
        }
        "file" => fs::read_to_string(place).map_err(file_error)?,
        _ if listens => make_token(place).map_err(file_error)?,
        _ => {
            return Err(error(
                ErrorKind::InvalidAddress,
                format!("token=new: is for listening; read it with file:{place}"),
            ));
        }
    };
    let token = token.strip_suffix('\n').map_or(&*token, |line| line.trim_end_matches('\r'));
    match TOKEN_LENGTH.contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(Some(Arc::from(token))),
        false => {
            let reason = "a token is 16 to 512 visible ASCII characters without spaces";
            Err(error(ErrorKind::InvalidAddress, format!("{place}: {reason}")))
        }
    }
}

/// Writes a fresh token to `path`, for its owner alone.
fn make_token(path: &str) -> std::io::Result<String> {
    let mut chance = [0; CHANCE];
    getrandom(&mut chance[..], GetRandomFlags::empty())?;
    let token: String = chance.iter().map(|byte| format!("{byte:02x}")).collect();
    // Made beside it and moved there: nobody reads half of it, and an older file's mode does not matter.
    let fresh = format!("{path}.{}", std::process::id());
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    let moved = writeln!(file, "{token}").and_then(|()| fs::rename(&fresh, path));
    if moved.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    moved.map(|()| token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_origins_are_told_from_what_only_looks_alike() {
        for host in ["app.example", "app.example:8443", "127.0.0.1", "[::1]", "[::1]:80", "localhost"] {
            assert!(is_host(host), "{host}");
            assert!(is_origin(&format!("https://{host}")), "{host}");
        }
        for host in ["", ":80", "a b", "user@app", "app.example:", "app.example:99999", "::1", "[::1", "app/path", "*"]
        {
            assert!(!is_host(host), "{host}");
            assert!(!is_origin(&format!("file://{host}")), "{host}");
        }
        for origin in ["null", "*", "app.example", "https://", "https://app.example/", "ftp://app.example"] {
            assert!(!is_origin(origin), "{origin}");
        }
    }

    #[test]
    fn a_fresh_token_is_its_owners_alone_whatever_was_there() {
        use std::os::unix::fs::PermissionsExt;

        let path = std::env::temp_dir().join(format!("panpipe-token-{}", std::process::id()));
        fs::write(&path, "an old one that anybody may read").unwrap();
        let text = |kind| format!("ws://localhost:0?token={kind}:{}", path.display());
        let read = |kind, listens| token(&crate::parse(&text(kind)).unwrap(), "testing", listens);
        let made = read("new", true).unwrap().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read("file", false).unwrap().as_deref(), Some(&*made));
        assert_eq!(made.len(), 2 * CHANCE);
        assert_ne!(read("new", true).unwrap().unwrap(), made);
        for wrong in
            ["short", "with a space in the middle of it", "with a newline\nin the middle of it", "ünïcödé ünïcödé"]
        {
            fs::write(&path, wrong).unwrap();
            assert_eq!(read("file", false).unwrap_err().kind(), ErrorKind::InvalidAddress, "{wrong}");
        }
        fs::remove_file(&path).unwrap();
    }
}
