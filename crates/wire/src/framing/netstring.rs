//! `netstring`: a decimal count, `:`, the message, `,` (D. J. Bernstein, "Netstrings", 1997).

use super::{Fault, Framing, Head, Info, Scan, counted};

pub(super) const INFO: Info = Info {
    name: "netstring",
    variants: &[],
    wire: "a decimal count, `:`, the message, `,`",
    good_for: "any bytes, and a person can still read the counts",
    cannot_carry: "",
    keeps_boundaries: true,
    new: |variant| variant.is_none().then(|| Netstring.into()),
};

pub(crate) struct Netstring;

impl Framing for Netstring {
    fn name(&self) -> &'static str {
        "netstring"
    }

    fn head(&self, body: &[u8], head: &mut Head) -> Result<(), Fault> {
        head.push_decimal(body.len());
        head.push(b":");
        Ok(())
    }

    fn tail(&self) -> &'static [u8] {
        b","
    }

    fn scan(&mut self, input: &[u8], max: usize) -> Result<Scan, Fault> {
        // The digits of `max` bound this loop: one more is too large.
        let mut count: u64 = 0;
        for (at, &byte) in input.iter().enumerate() {
            match byte {
                b':' if at > 0 => {
                    let scan = counted(input, at + 1, count, 1, max)?;
                    return match scan {
                        Scan::Frame(frame) if input[frame.head + frame.body] != b',' => {
                            Err(Fault::Broken("no `,` after the message"))
                        }
                        _ => Ok(scan),
                    };
                }
                b'0'..=b'9' if at > 0 && input[0] == b'0' => return Err(Fault::Broken("a count with a leading zero")),
                b'0'..=b'9' => count = count.saturating_mul(10).saturating_add(u64::from(byte - b'0')),
                _ => return Err(Fault::Broken("a count that is not decimal digits and `:`")),
            }
            if count > max as u64 {
                return Err(Fault::TooLarge(max as u64));
            }
        }
        Ok(Scan::Partial(1))
    }
}
