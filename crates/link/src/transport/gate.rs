//! Who may come in at a TCP port: the options that say so.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use panpipe_wire::websocket::{Answer, Policy, Refusal, Request, Token, default_hosts, parse_hosts, parse_origins};
use panpipe_wire::{Address, Error, ErrorKind, OptionInfo, PANPIPE, PLAIN, Result, panpipe};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use super::arrivals::{Files, Given};
use super::link;
use super::stream::{Broken, Stream};
#[cfg(feature = "tls")]
use super::tls::ServerTls;

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
    check: |value| parse_hosts(value).is_some(),
};

/// The option of listeners that says whose pages may connect.
pub(super) const ORIGIN: OptionInfo = OptionInfo {
    name: "origin",
    value: "a list of origins, as https://app.example",
    default: "none: only programs, and pages of static",
    summary: "web pages that may connect",
    check: |value| parse_origins(value).is_some(),
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

/// Who may come in at a port, and as what.
pub(crate) struct Gate {
    address: Address,
    #[cfg(feature = "tls")]
    tls: Option<ServerTls>,
    policy: Option<Policy>,
    token: Option<Token>,
    files: Option<Files>,
}

/// What one who comes speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Http,
    Panpipe,
    Plain,
}

/// What is needed to open a gate, and can fail.
pub(super) struct Secrets {
    #[cfg(feature = "tls")]
    tls: Option<ServerTls>,
    token: Option<Token>,
    files: Option<Files>,
}

impl Secrets {
    /// Reads what the address names. `None` where anybody may come in, as what the address says.
    ///
    /// # Errors
    /// `not-found`, `permission`, `invalid-address`, `io`; `unsupported` for TLS in a program that was built without it.
    pub(super) fn of(address: &Address) -> Result<Option<Self>> {
        #[cfg(not(feature = "tls"))]
        refuse_tls(address)?;
        let is_open =
            address.method().scheme == "tcp" && address.accepts.is_none() && address.option("token").is_none();
        if is_open {
            return Ok(None);
        }
        let token = token(address, "listening on", true)?;
        Ok(Some(Secrets {
            #[cfg(feature = "tls")]
            tls: is_tls(address).then(|| ServerTls::read(address, alpn(address))).transpose()?,
            token: token.and_then(|token| Token::new(&token)),
            files: Files::of(address)?,
        }))
    }
}

/// Whether TLS is over its sockets.
pub(super) fn is_tls(address: &Address) -> bool {
    matches!(address.method().scheme, "tls" | "wss")
}

/// What is spoken over TLS, where that is said (RFC 7301).
#[cfg(feature = "tls")]
pub(super) fn alpn(address: &Address) -> Option<&'static [u8]> {
    (address.method().scheme == "wss").then_some(b"http/1.1")
}

/// Says that this program was built without TLS, where that is needed.
#[cfg(not(feature = "tls"))]
pub(super) fn refuse_tls(address: &Address) -> Result<()> {
    if !is_tls(address) {
        return Ok(());
    }
    let error = Error::new(ErrorKind::Unsupported, format!("opening {}", address.text()));
    Err(error.because("this program was built without the feature tls").at(address.text()))
}

impl Gate {
    /// The gate of a listener at `address`, whose host is written so.
    pub(super) fn new(address: &Address, host: &str, port: u16, path: &str, secrets: Secrets) -> Self {
        let accepts = address.accepts.as_ref();
        let is_website = address.method().moves_packets;
        let policy = (is_website || accepts.is_some_and(|accepts| accepts.websocket)).then(|| Policy {
            path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
            port,
            is_tls: is_tls(address),
            hosts: default_hosts(host).into_iter().chain(listed(address, "host", parse_hosts)).collect(),
            origins: listed(address, "origin", parse_origins),
            allows_own_origin: secrets.files.is_some(),
            token: secrets.token.clone(),
            allows_panpipe: accepts.map_or(address.protocol == PANPIPE, |accepts| accepts.panpipe),
            allows_plain: accepts.map_or(address.protocol == PLAIN, |accepts| accepts.framing.is_some()),
            has_files: secrets.files.is_some(),
        });
        Gate {
            address: address.clone(),
            #[cfg(feature = "tls")]
            tls: secrets.tls,
            policy,
            token: secrets.token.filter(|_| !is_website),
            files: secrets.files,
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// What is read and written over a socket that came.
    pub(super) fn stream(&self, socket: OwnedFd) -> Result<Stream, Broken> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return Stream::accept(socket, tls);
        }
        Ok(Stream::plain(socket))
    }

    /// Whether what comes first must be looked at.
    pub(super) fn is_curious(&self) -> bool {
        self.is_website() || self.address.accepts.is_some() || self.token.is_some()
    }

    /// Whether everybody speaks HTTP.
    pub(super) fn is_website(&self) -> bool {
        self.address.method().moves_packets
    }

    /// Whether somebody may come who says nothing at first.
    pub(super) fn waits_for_people(&self) -> bool {
        self.framing().is_some()
    }

    /// Whether a browser's request that is let in as what it is not must be refused.
    pub(super) fn is_guarded(&self) -> bool {
        !is_tls(&self.address)
    }

    fn framing(&self) -> Option<&'static str> {
        self.address.accepts.as_ref().and_then(|accepts| accepts.framing)
    }

    /// Whether peers of the panpipe protocol may come in without a WebSocket.
    pub(super) fn has_panpipe(&self) -> bool {
        self.address.accepts.as_ref().map_or(self.address.protocol == PANPIPE, |accepts| accepts.panpipe)
    }

    /// What somebody speaks whose first bytes these are; `None` while that is not clear.
    pub(super) fn tell(&self, first: &[u8]) -> Option<Speaks> {
        if self.is_website() {
            return Some(Speaks::Http);
        }
        let hello = panpipe::is_hello(first);
        let is_http = self.policy.as_ref().map_or(Some(false), |_| begins_like_request(first));
        match (hello, is_http) {
            (Some(true), _) => Some(Speaks::Panpipe),
            (_, Some(true)) => Some(Speaks::Http),
            (Some(false), Some(false)) => Some(self.otherwise()),
            _ => None,
        }
    }

    /// What somebody speaks who is neither a peer of panpipe nor a browser; the session of panpipe says so to who is none.
    pub(super) fn otherwise(&self) -> Speaks {
        if self.framing().is_some() { Speaks::Plain } else { Speaks::Panpipe }
    }

    /// Whether somebody with this hello may come in; `None` while it is not whole.
    pub(super) fn knows_token(&self, hello: &[u8]) -> Option<bool> {
        let Some(token) = &self.token else { return Some(true) };
        // What is no hello is refused by the session, before anything else.
        if panpipe::is_hello(hello) == Some(false) {
            return Some(true);
        }
        let shown = panpipe::token_of_hello(hello)?;
        Some(shown.is_some_and(|shown| token.is(shown.as_bytes())))
    }

    /// What the address means for a peer of the panpipe protocol.
    pub(super) fn panpipe(&self) -> Box<Address> {
        Box::new(self.address.for_peer_of(PANPIPE))
    }

    /// What the address means for a peer of plain messages.
    pub(super) fn plain(&self) -> Box<Address> {
        Box::new(self.address.for_peer_of(PLAIN))
    }

    /// What the address means for a peer that came with a WebSocket.
    pub(super) fn website(&self, speaks_panpipe: bool) -> Box<Address> {
        Box::new(if speaks_panpipe { self.address.for_peer_of(PANPIPE) } else { self.address.for_packets() })
    }

    /// What it means for everybody.
    pub(super) fn only(&self) -> Box<Address> {
        Box::new(self.address.clone())
    }

    /// Judges a request.
    pub(super) fn judge(&self, request: &Request<'_>) -> Answer {
        match &self.policy {
            Some(policy) => policy.judge(request),
            None => Answer::Refuse(Refusal::new(404, "no WebSocket is here")),
        }
    }

    /// The file at a path, and what goes before it.
    pub(super) fn find(&self, path: &str) -> std::result::Result<(Given, Vec<u8>), Refusal> {
        match &self.files {
            Some(files) => files.find(path),
            None => Err(Refusal::new(404, "no such file")),
        }
    }
}

/// What the option lists, which was checked when the address was read.
fn listed<T>(address: &Address, name: &str, parse: fn(&str) -> Option<Vec<T>>) -> Vec<T> {
    address.option(name).and_then(parse).unwrap_or_default()
}

/// Whether these bytes are how a request for a file or a WebSocket begins; `None` while too few are there to be certain.
fn begins_like_request(first: &[u8]) -> Option<bool> {
    let begins = |method: &[u8]| {
        let length = first.len().min(method.len());
        (first[..length] == method[..length]).then_some(length == method.len())
    };
    match (begins(b"GET "), begins(b"HEAD ")) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (None, None) => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
