//! `nul`: each message is ended by a zero byte, as `find -print0` and `xargs -0` do.

use super::delimited::Search;
use super::{Fault, Frame, Framing, Head, Info, Scan};

pub(super) const INFO: Info = Info {
    name: "nul",
    variants: &[],
    wire: "the message, then a zero byte",
    good_for: "text with newlines in it, such as file names or pretty JSON",
    cannot_carry: "a zero byte",
    keeps_boundaries: true,
    new: |variant| variant.is_none().then(|| Nul::default().into()),
};

#[derive(Default)]
pub(crate) struct Nul {
    search: Search,
}

impl Framing for Nul {
    fn name(&self) -> &'static str {
        "nul"
    }

    fn head(&self, body: &[u8], _: &mut Head) -> Result<(), Fault> {
        match memchr::memchr(0, body) {
            Some(_) => Err(Fault::Cannot("a zero byte inside would end the message")),
            None => Ok(()),
        }
    }

    fn tail(&self) -> &'static [u8] {
        b"\0"
    }

    fn scan(&mut self, input: &[u8], max: usize) -> Result<Scan, Fault> {
        match self.search.find(0, input) {
            Some(body) if body <= max => Ok(Scan::Frame(Frame { head: 0, body, tail: 1 })),
            None if input.len() <= max => Ok(Scan::Partial(1)),
            _ => Err(Fault::TooLarge(max as u64)),
        }
    }
}
