//! Why an HTTP request is refused, and how it is told so.

/// A request that is not granted. The connection is closed after its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// One line that says why.
    pub reason: String,
    /// Whether the request was a HEAD, whose response has no body (RFC 9110, section 9.3.2).
    pub head_only: bool,
    /// More fields of the response, each with its line end.
    fields: &'static str,
}

impl Refusal {
    /// A refusal with this status because of `reason`.
    #[cold]
    pub fn new(status: u16, reason: impl Into<String>) -> Self {
        let fields = match status {
            401 => "WWW-Authenticate: Bearer\r\n",
            405 => "Allow: GET\r\n",
            // Who names a protocol to upgrade to also says that it is for this connection (RFC 9110, section 7.8).
            426 => "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            _ => "",
        };
        Refusal { status, reason: reason.into(), head_only: false, fields }
    }

    /// Another method than GET, or than HEAD where files are served.
    pub(super) fn method(has_files: bool) -> Self {
        match has_files {
            true => Refusal { fields: "Allow: GET, HEAD\r\n", ..Refusal::new(405, "files are got with GET and HEAD") },
            false => Refusal::new(405, "a WebSocket is asked for with GET"),
        }
    }

    /// The whole response.
    pub fn response(&self) -> Vec<u8> {
        let Refusal { status, reason, fields, .. } = self;
        let phrase = phrase(*status);
        let length = reason.len() + 1;
        let head = format!(
            "HTTP/1.1 {status} {phrase}\r\nConnection: close\r\n{fields}Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\nCache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n\r\n"
        );
        let body = if self.head_only { String::new() } else { format!("{reason}\n") };
        (head + &body).into_bytes()
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}
