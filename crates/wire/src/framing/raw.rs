//! `raw`: no framing at all; a message is what one read returned.

use super::{Fault, Frame, Framing, Head, Info, Scan};

pub(super) const INFO: Info = Info {
    name: "raw",
    variants: &[],
    wire: "the message as it is; what one read returned is a message",
    good_for: "plain socket programs that take turns; a large or fast message may arrive in pieces or joined",
    cannot_carry: "an empty message",
    keeps_boundaries: false,
    new: |variant| variant.is_none().then(|| Raw.into()),
};

pub(crate) struct Raw;

impl Framing for Raw {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn head(&self, body: &[u8], _: &mut Head) -> Result<(), Fault> {
        match body {
            [] => Err(Fault::Cannot("an empty message leaves nothing on the wire")),
            _ => Ok(()),
        }
    }

    fn scan(&mut self, input: &[u8], max: usize) -> Result<Scan, Fault> {
        Ok(match input.len().min(max) {
            0 => Scan::Partial(1),
            body => Scan::Frame(Frame { head: 0, body, tail: 0 }),
        })
    }
}
