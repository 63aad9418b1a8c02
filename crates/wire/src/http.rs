//! Recognises an HTTP request line (RFC 9112, section 3), because a web page must not reach a listener blindly.

use memchr::{memchr, memmem};

const PATTERN: &[u8] = b" HTTP/1.";

/// Longer verbs are none.
const LONGEST_VERB: usize = 20;

/// Watches the first line of a connection. It holds nothing back, so that it never delays what only looks alike.
pub(crate) struct HttpGuard {
    phase: Phase,
    /// The last bytes of the line, in case the pattern is cut in two.
    tail: Vec<u8>,
}

enum Phase {
    Verb(usize),
    Line,
    Over,
}

impl HttpGuard {
    pub(crate) fn new() -> Self {
        HttpGuard { phase: Phase::Verb(0), tail: Vec::new() }
    }

    /// Whether nothing that comes can be the request line any more.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Looks at the next bytes; `true` once they are an HTTP request.
    pub(crate) fn saw(&mut self, mut bytes: &[u8]) -> bool {
        while let (Phase::Verb(letters), Some((&byte, rest))) = (&self.phase, bytes.split_first()) {
            self.phase = match byte {
                b'A'..=b'Z' if *letters < LONGEST_VERB => Phase::Verb(letters + 1),
                b' ' if *letters > 0 => Phase::Line,
                _ => Phase::Over,
            };
            // The space is the first byte of the pattern, for an empty target.
            if matches!(self.phase, Phase::Verb(_)) {
                bytes = rest;
            }
        }
        if !matches!(self.phase, Phase::Line) {
            return false;
        }
        let end = memchr(b'\n', bytes);
        self.tail.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
        if memmem::find(&self.tail, PATTERN).is_some() {
            return true;
        }
        if end.is_some() {
            self.phase = Phase::Over;
        }
        let kept = self.tail.len().min(PATTERN.len() - 1);
        self.tail.drain(..self.tail.len() - kept);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_is_found_however_it_is_cut() {
        for (input, is_http) in [
            (&b"POST /a/long/path HTTP/1.1\r\nHost: x\r\n"[..], true),
            (b"GET / HTTP/1.0\n", true),
            (b"GET it done\nx HTTP/1.1\n", false),
            (b"hello HTTP/1.1\n", false),
            (b" HTTP/1.1\n", false),
            (b"ABCDEFGHIJKLMNOPQRSTU / HTTP/1.1\n", false),
            (b"HELLO, SERVER!", false),
        ] {
            for size in 1..=input.len() {
                let mut guard = HttpGuard::new();
                let found = input.chunks(size).any(|chunk| guard.saw(chunk));
                assert_eq!(found, is_http, "{:?} in pieces of {size}", input.escape_ascii().to_string());
            }
        }
    }
}
