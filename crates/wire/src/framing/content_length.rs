//! `content-length`: header lines with the message's size, an empty line, the message
//! (Language Server Protocol, "Base Protocol").

use memchr::memchr;

use super::{Fault, Framing, Head, Info, Scan, counted};

pub(super) const INFO: Info = Info {
    name: "content-length",
    variants: &[],
    wire: "`Content-Length: N\\r\\n\\r\\n`, then the message; other header lines are skipped when reading",
    good_for: "language servers and debug adapters (LSP, DAP)",
    cannot_carry: "",
    keeps_boundaries: true,
    new: |variant| variant.is_none().then(|| ContentLength::default().into()),
};

/// Longer headers are refused: they are an attack or line noise.
const MOST_HEADER: usize = 4096;

#[derive(Default)]
pub(crate) struct ContentLength {
    /// Where the line that is not yet complete begins, and how far its end was searched for.
    line: usize,
    looked_at: usize,
    /// What the header said so far.
    count: Option<u64>,
    /// Whether the empty line was seen; `line` is then where the message begins.
    complete: bool,
}

impl ContentLength {
    fn read_header(&mut self, input: &[u8], max: usize) -> Result<(), Fault> {
        let header = &input[..input.len().min(MOST_HEADER)];
        while !self.complete {
            let Some(end) = memchr(b'\n', &header[self.looked_at..]).map(|at| self.looked_at + at) else {
                self.looked_at = header.len();
                return if header.len() == MOST_HEADER {
                    Err(Fault::Broken("4,096 bytes of header without an empty line"))
                } else {
                    Ok(())
                };
            };
            let line = match header[self.line..end].split_last() {
                Some((b'\r', line)) => line,
                _ => return Err(Fault::Broken("a header line that does not end in `\\r\\n`")),
            };
            if line.is_empty() {
                self.complete = true;
            } else {
                self.read_line(line, max)?;
            }
            self.line = end + 1;
            self.looked_at = end + 1;
        }
        Ok(())
    }

    fn read_line(&mut self, line: &[u8], max: usize) -> Result<(), Fault> {
        let Some(colon) = memchr(b':', line) else {
            return Err(Fault::Broken("a header line without `:`"));
        };
        if !line[..colon].eq_ignore_ascii_case(b"content-length") {
            return Ok(());
        }
        if self.count.is_some() {
            return Err(Fault::Broken("a second Content-Length"));
        }
        let digits = line[colon + 1..].trim_ascii();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(Fault::Broken("a Content-Length that is not decimal digits"));
        }
        let count =
            digits.iter().fold(0u64, |count, digit| count.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
        if count > max as u64 {
            return Err(Fault::TooLarge(max as u64));
        }
        self.count = Some(count);
        Ok(())
    }
}

impl Framing for ContentLength {
    fn name(&self) -> &'static str {
        "content-length"
    }

    fn head(&self, body: &[u8], head: &mut Head) -> Result<(), Fault> {
        head.push(b"Content-Length: ");
        head.push_decimal(body.len());
        head.push(b"\r\n\r\n");
        Ok(())
    }

    fn scan(&mut self, input: &[u8], max: usize) -> Result<Scan, Fault> {
        self.read_header(input, max)?;
        if !self.complete {
            return Ok(Scan::Partial(1));
        }
        let Some(count) = self.count else {
            return Err(Fault::Broken("a header without Content-Length"));
        };
        let scan = counted(input, self.line, count, 0, max)?;
        if matches!(scan, Scan::Frame(_)) {
            *self = Self::default();
        }
        Ok(scan)
    }
}
