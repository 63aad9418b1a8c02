//! The upgrade, as a client asks for it and reads the answer (RFC 6455, section 4.1).

use super::head::{Fields, MOST_BYTES, MOST_FIELDS, has_item, within_limits};
use super::{PANPIPE, key};
use crate::error::ErrorKind;

/// So much of the body of a refusal is told.
const MOST_TOLD: usize = 200;

/// A client's upgrade.
#[derive(Debug)]
pub struct Upgrade {
    request: Vec<u8>,
    accept: String,
    speaks_panpipe: bool,
}

impl Upgrade {
    /// An upgrade at `host`, as the field Host has it: `name` or `name:port`. `path` is decoded, with its query if it has
    /// one; `key` is 16 random bytes. A token goes into the field Authorization.
    pub fn new(host: &str, path: &str, key: [u8; 16], speaks_panpipe: bool, token: Option<&str>) -> Self {
        let key = key::encode(key);
        let target = encode(path);
        let mut request = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        );
        if speaks_panpipe {
            request += "Sec-WebSocket-Protocol: panpipe\r\n";
        }
        if let Some(token) = token {
            request += "Authorization: Bearer ";
            request += token;
            request += "\r\n";
        }
        request += "\r\n";
        Upgrade { request: request.into_bytes(), accept: key::accept(&key), speaks_panpipe }
    }

    /// The whole request.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Reads the answer that `bytes` begin with: how many bytes its head has, behind which frames begin; `None` while it
    /// is not whole.
    ///
    /// # Errors
    /// What the server answered instead, or did wrong: `unauthenticated` for 401, `permission` for 403, `not-found` for
    /// 404, `bad-peer` for everything else.
    pub fn read_response(&self, bytes: &[u8]) -> Result<Option<usize>, (ErrorKind, String)> {
        let (seen, is_bare) = within_limits(bytes);
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let status = response.parse(seen).map_err(|error| bad(format!("what answered is no HTTP: {error}")))?;
        if is_bare || seen.starts_with(b"\r") {
            return Err(bad("what answered is no HTTP: a line that does not end with CR LF"));
        }
        let httparse::Status::Complete(size) = status else {
            return match seen.len() < MOST_BYTES {
                true => Ok(None),
                false => Err(bad(format!("the server answered with a head of more than {MOST_BYTES} bytes"))),
            };
        };
        match response.code {
            Some(101) => {}
            Some(status) => return Err(refused(status, &bytes[size..])),
            None => return Err(bad("what answered is no HTTP")),
        }
        if response.version != Some(1) {
            return Err(bad("the server upgrades with another version than HTTP/1.1"));
        }
        self.check(&Fields::new(response.headers)).map_err(bad)?;
        Ok(Some(size))
    }

    fn check(&self, fields: &Fields<'_>) -> Result<(), String> {
        if !fields.one("Upgrade")?.is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
            return Err("the server upgrades to something else than websocket".into());
        }
        if !fields.one("Connection")?.is_some_and(|value| has_item(value, "Upgrade")) {
            return Err("the server upgrades without the field Connection".into());
        }
        if fields.one("Sec-WebSocket-Accept")? != Some(&self.accept) {
            return Err("the server's Sec-WebSocket-Accept is not the answer to the key".into());
        }
        if fields.all("Sec-WebSocket-Extensions").next().is_some() {
            return Err("the server takes an extension that was not offered".into());
        }
        match (fields.one("Sec-WebSocket-Protocol")?, self.speaks_panpipe) {
            (Some(PANPIPE), true) | (None, false) => Ok(()),
            (None, true) => Err("the server does not take the subprotocol panpipe".into()),
            (Some(other), _) => Err(format!("the server takes the subprotocol {other:?}, which was not offered")),
        }
    }
}

fn bad(reason: impl Into<String>) -> (ErrorKind, String) {
    (ErrorKind::BadPeer, reason.into())
}

/// What another status than 101 means, with the first line of what has come of the body.
fn refused(status: u16, body: &[u8]) -> (ErrorKind, String) {
    let kind = match status {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::Permission,
        404 => ErrorKind::NotFound,
        _ => ErrorKind::BadPeer,
    };
    let line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(&line[..line.len().min(MOST_TOLD)]);
    match line.trim() {
        "" => (kind, format!("the server answered with the status {status}")),
        line => (kind, format!("the server answered with the status {status}: {line:?}")),
    }
}

/// A path and its query as they stand in a request (RFC 3986, sections 3.3 and 3.4).
fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => encoded.push(byte.into()),
            _ if b"-._~!$&'()*+,;=:@/?".contains(&byte) => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
