//! How a listener judges a request: docs/reference.md, "How a WebSocket listener judges a request".

use super::head::{has_item, is_token};
use super::host::Authority;
use super::{HostRule, Origin, PANPIPE, PLAIN, Refusal, Request, Token, file, key};
use crate::address::percent_decode;

/// The version of WebSocket (RFC 6455, section 4.1).
const VERSION: &str = "13";

/// What a listener that speaks HTTP grants.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The path of the WebSocket, decoded, as `/chat`, with its query if it has one.
    pub path: String,
    /// The port that it listens on.
    pub port: u16,
    /// Whether its connections are encrypted.
    pub is_tls: bool,
    /// The hosts that it answers to: [`default_hosts`](super::default_hosts) and those of
    /// [`parse_hosts`](super::parse_hosts).
    pub hosts: Vec<HostRule>,
    /// The web origins that may connect.
    pub origins: Vec<Origin>,
    /// Whether its own origin may, too: it serves the pages of that.
    pub allows_own_origin: bool,
    /// The token that has to be given.
    pub token: Option<Token>,
    /// Whether peers of the panpipe protocol may connect: those that offer its subprotocol.
    pub allows_panpipe: bool,
    /// Whether peers of plain messages may: those that do not.
    pub allows_plain: bool,
    /// Whether files are served.
    pub has_files: bool,
}

/// What is to be done about a request. All but an upgrade end with the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The connection becomes a WebSocket once `response` is written.
    Upgrade {
        /// The whole response.
        response: Vec<u8>,
        /// Whether the panpipe protocol was asked for.
        speaks_panpipe: bool,
    },
    /// A file is wanted, if it is there.
    File {
        /// Its path below the folder of files, decoded: names without `.` in front, separated by `/`. It may be a folder.
        path: String,
        /// Whether only the head of the response is wanted.
        head_only: bool,
    },
    /// No.
    Refuse(Refusal),
}

impl Policy {
    /// Judges a request by all but the state of the file system.
    pub fn judge(&self, request: &Request<'_>) -> Answer {
        self.decide(request).unwrap_or_else(|mut refusal| {
            refusal.head_only = request.method == "HEAD";
            Answer::Refuse(refusal)
        })
    }

    fn decide(&self, request: &Request<'_>) -> Result<Answer, Refusal> {
        request.check_body()?;
        let host = self.check_host(request)?;
        let head_only = self.has_files && request.method == "HEAD";
        if request.method != "GET" && !head_only {
            return Err(Refusal::method(self.has_files));
        }
        let Some(upgrade) = request.one("Upgrade")? else { return self.find_file(request, head_only) };
        if head_only {
            return Err(Refusal::method(false));
        }
        if request.minor != 1 {
            return Err(Refusal::new(505, "a WebSocket is asked for with HTTP/1.1"));
        }
        self.check_origin(request, host)?;
        if !self.is_target(request.target)? {
            return Err(Refusal::new(404, "no WebSocket has this path"));
        }
        if !upgrade.eq_ignore_ascii_case("websocket") {
            return Err(Refusal::new(400, "the field Upgrade is not websocket"));
        }
        self.upgrade(request)
    }

    /// RFC 6455, section 4.2.
    fn upgrade(&self, request: &Request<'_>) -> Result<Answer, Refusal> {
        if !has_item(request.required("Connection")?, "Upgrade") {
            return Err(Refusal::new(400, "the field Connection has no Upgrade"));
        }
        if request.required("Sec-WebSocket-Version")? != VERSION {
            return Err(Refusal::new(426, "another version of WebSocket than 13"));
        }
        let key = request.required("Sec-WebSocket-Key")?;
        if !key::is_key(key) {
            return Err(Refusal::new(400, "the field Sec-WebSocket-Key is not base64 of 16 bytes"));
        }
        let offered = request.fields.list("Sec-WebSocket-Protocol");
        self.check_token(request, &offered)?;
        for (at, subprotocol) in offered.iter().enumerate() {
            if !is_token(subprotocol) || offered[..at].contains(subprotocol) {
                return Err(Refusal::new(400, "a subprotocol that is no token, or offered twice"));
            }
        }
        let speaks_panpipe = offered.contains(&PANPIPE.as_bytes());
        match speaks_panpipe {
            true if !self.allows_panpipe => {
                return Err(Refusal::new(400, "the subprotocol panpipe, and plain messages are served here"));
            }
            false if !self.allows_plain => {
                return Err(Refusal::new(400, "no subprotocol panpipe, and only that is served here"));
            }
            _ => {}
        }
        let accept = key::accept(key);
        // A browser fails where it offers some and none is selected.
        let selected = if speaks_panpipe { PANPIPE } else { PLAIN };
        let subprotocol = match offered.contains(&selected.as_bytes()) {
            true => format!("Sec-WebSocket-Protocol: {selected}\r\n"),
            false => String::new(),
        };
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{subprotocol}\r\n"
        );
        Ok(Answer::Upgrade { response: response.into_bytes(), speaks_panpipe })
    }

    /// The host that a request names, if the listener answers to it.
    fn check_host(&self, request: &Request<'_>) -> Result<Authority, Refusal> {
        let value = request.required("Host")?;
        let Some(host) = Authority::parse(value) else {
            return Err(Refusal::new(400, "the field Host is no host"));
        };
        let default = if self.is_tls { 443 } else { 80 };
        match self.hosts.iter().any(|rule| rule.allows(&host, self.port, default)) {
            true => Ok(host),
            false => {
                Err(Refusal::new(403, format!("the host {value:?} is not allowed here; the option host= allows one")))
            }
        }
    }

    /// Lets in who is no browser, and the pages that are allowed.
    fn check_origin(&self, request: &Request<'_>, host: Authority) -> Result<(), Refusal> {
        let Some(value) = request.one("Origin")? else { return Ok(()) };
        let scheme = if self.is_tls { "https" } else { "http" };
        let is_allowed = Origin::parse(value).is_some_and(|origin| {
            self.origins.contains(&origin) || self.allows_own_origin && origin == Origin::new(scheme, host)
        });
        match is_allowed {
            true => Ok(()),
            false => Err(Refusal::new(
                403,
                format!("the origin {value:?} is not allowed here; the option origin= allows one"),
            )),
        }
    }

    /// Wants the token once at least, and no other one.
    fn check_token(&self, request: &Request<'_>, offered: &[&[u8]]) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        let in_field = request.one("Authorization")?.map(|value| token.is_in_field(value));
        let mut given = offered.iter().filter_map(|subprotocol| token.is_in_subprotocol(subprotocol)).chain(in_field);
        match given.next() {
            None => Err(Refusal::new(401, "a token is needed, and none was given")),
            Some(first) if first && given.all(|is_right| is_right) => Ok(()),
            Some(_) => Err(Refusal::new(401, "the token is not the right one")),
        }
    }

    /// Whether a target means the WebSocket.
    fn is_target(&self, target: &str) -> Result<bool, Refusal> {
        let decoded = percent_decode(target).map_err(|_| Refusal::new(400, "a path that cannot be decoded"))?;
        Ok(decoded == self.path)
    }

    /// What a request that asks for no upgrade gets.
    fn find_file(&self, request: &Request<'_>, head_only: bool) -> Result<Answer, Refusal> {
        if self.has_files {
            let path = request.target.split('?').next().unwrap_or_default();
            return Ok(Answer::File { path: file::below(path)?, head_only });
        }
        match self.is_target(request.target)? {
            true => Err(Refusal::new(426, "a WebSocket is here, and nothing else")),
            false => Err(Refusal::new(404, "nothing is here")),
        }
    }
}
