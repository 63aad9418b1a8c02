//! `varint`: the count as an unsigned LEB128, then the message, as Protocol Buffers' delimited streams do.

use super::{Fault, Framing, Head, Info, Scan, counted};

pub(super) const INFO: Info = Info {
    name: "varint",
    variants: &[],
    wire: "a count in 7-bit groups, lowest first (LEB128), then the message",
    good_for: "streams of Protocol Buffers messages (`writeDelimitedTo`)",
    cannot_carry: "",
    keeps_boundaries: true,
    new: |variant| variant.is_none().then(|| Varint.into()),
};

/// Ten groups of seven bits hold a u64.
const MOST_BYTES: usize = 10;

pub(crate) struct Varint;

impl Framing for Varint {
    fn name(&self) -> &'static str {
        "varint"
    }

    fn head(&self, body: &[u8], head: &mut Head) -> Result<(), Fault> {
        let mut rest = body.len();
        while rest >= 0x80 {
            head.push(&[rest as u8 | 0x80]);
            rest >>= 7;
        }
        head.push(&[rest as u8]);
        Ok(())
    }

    fn scan(&mut self, input: &[u8], max: usize) -> Result<Scan, Fault> {
        let mut count: u64 = 0;
        for (at, &byte) in input.iter().take(MOST_BYTES).enumerate() {
            // The tenth group has room for the 64th bit and for no other, nor for a successor.
            if at == MOST_BYTES - 1 && byte > 1 {
                return Err(Fault::Broken("a count of more than 64 bits"));
            }
            count |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                return counted(input, at + 1, count, 0, max);
            }
        }
        Ok(Scan::Partial(1))
    }
}
