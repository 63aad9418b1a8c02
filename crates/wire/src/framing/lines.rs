//! `lines`: one message a line, ended by `\n`. A `\r` before it is dropped.

use super::delimited::Search;
use super::{Fault, Frame, Framing, Head, Info, Scan};

pub(super) const INFO: Info = Info {
    name: "lines",
    variants: &[],
    wire: "the message, then `\\n`; a `\\r` before it is dropped when reading",
    good_for: "text that a person or `nc` can type and read",
    cannot_carry: "a newline, or a carriage return at the end",
    keeps_boundaries: true,
    new: |variant| variant.is_none().then(|| Lines::default().into()),
};

#[derive(Default)]
pub(crate) struct Lines {
    search: Search,
}

impl Framing for Lines {
    fn name(&self) -> &'static str {
        "lines"
    }

    fn head(&self, body: &[u8], _: &mut Head) -> Result<(), Fault> {
        if memchr::memchr(b'\n', body).is_some() {
            return Err(Fault::Cannot("a newline inside would end the message"));
        }
        if body.last() == Some(&b'\r') {
            return Err(Fault::Cannot("a reader would drop the carriage return at its end"));
        }
        Ok(())
    }

    fn tail(&self) -> &'static [u8] {
        b"\n"
    }

    fn scan(&mut self, input: &[u8], max: usize) -> Result<Scan, Fault> {
        let Some(end) = self.search.find(b'\n', input) else {
            // One byte beyond `max` may still be the `\r` of the line's end.
            return if input.len() >= max.saturating_add(2) {
                Err(Fault::TooLarge(max as u64))
            } else {
                Ok(Scan::Partial(1))
            };
        };
        let returned = end > 0 && input[end - 1] == b'\r';
        let body = end - usize::from(returned);
        if body > max {
            return Err(Fault::TooLarge(max as u64));
        }
        Ok(Scan::Frame(Frame { head: 0, body, tail: 1 + usize::from(returned) }))
    }
}
