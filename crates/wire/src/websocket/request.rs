//! The head of a request that a server got (RFC 9112, section 3).

use super::Refusal;
use super::head::{Fields, MOST_BYTES, MOST_FIELDS, within_limits};

/// The head of a request.
#[derive(Debug)]
pub struct Request<'a> {
    /// The method, as `GET`.
    pub method: &'a str,
    /// What is asked for, as it was written: a path, perhaps with a query.
    pub target: &'a str,
    /// The version is HTTP/1 point this.
    pub minor: u8,
    pub(super) fields: Fields<'a>,
}

/// Reads the head that `bytes` begin with, and tells how many bytes it has; `None` while it is not whole.
///
/// It may be asked again as more bytes come: there are at most 8 KiB of them to look at.
///
/// # Errors
/// 431 for more than 8 KiB or 64 fields, 505 for another version than HTTP/1.0 or 1.1, 400 for anything else that is no
/// head. Where a proxy might read something else than this side, it is refused: lines that a bare line feed ends, and
/// lines that go on with the next (RFC 9112, section 5.2).
pub fn read_request(bytes: &[u8]) -> Result<Option<(Request<'_>, usize)>, Refusal> {
    let (seen, is_bare) = within_limits(bytes);
    if seen.starts_with(b"\r") {
        return Err(Refusal::new(400, "a line end in front of the request"));
    }
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let status = request.parse(seen).map_err(|error| match error {
        httparse::Error::TooManyHeaders => Refusal::new(431, format!("more than {MOST_FIELDS} fields")),
        httparse::Error::Version if has_version(seen) => Refusal::new(505, "a version of HTTP other than 1.1"),
        error => Refusal::new(400, format!("no head of a request: {error}")),
    })?;
    if is_bare {
        return Err(Refusal::new(400, "a line that does not end with CR LF"));
    }
    let httparse::Status::Complete(size) = status else {
        return match seen.len() < MOST_BYTES {
            true => Ok(None),
            false => Err(Refusal::new(431, format!("a head of more than {MOST_BYTES} bytes"))),
        };
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Refusal::new(400, "no head of a request"));
    };
    let is_path = target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !is_path {
        return Err(Refusal::new(400, "a target that is no path"));
    }
    Ok(Some((Request { method, target, minor, fields: Fields::new(request.headers) }, size)))
}

/// Whether a request line that was refused for its version has one.
fn has_version(line: &[u8]) -> bool {
    let version = line.splitn(3, |byte| *byte == b' ').nth(2).and_then(|rest| rest.strip_prefix(b"HTTP/"));
    version.and_then(<[u8]>::first).is_some_and(u8::is_ascii_digit)
}

impl<'a> Request<'a> {
    /// The value of the field of this name, where it is there.
    ///
    /// # Errors
    /// 400 where it is there more than once.
    pub(super) fn one(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        self.fields.one(name).map_err(|reason| Refusal::new(400, reason))
    }

    /// The same, where it has to be there.
    pub(super) fn required(&self, name: &str) -> Result<&'a str, Refusal> {
        self.one(name)?.ok_or_else(|| Refusal::new(400, format!("the field {name} is missing")))
    }

    /// Refuses a body: nothing that is answered here has one, and what follows the head is the other protocol.
    pub(super) fn check_body(&self) -> Result<(), Refusal> {
        let has_length = self.one("Content-Length")?.is_some_and(|length| length != "0");
        if has_length || self.one("Transfer-Encoding")?.is_some() {
            return Err(Refusal::new(400, "a request with a body"));
        }
        Ok(())
    }
}
