//! `length`: a binary count of 1, 2, 4 or 8 bytes, then the message.

use super::{Fault, Framing, Head, Info, Scan, counted};

pub(super) const INFO: Info = Info {
    name: "length",
    variants: &[
        "u8", "u16", "u16be", "u16le", "u16ne", "u32", "u32be", "u32le", "u32ne", "u64", "u64be", "u64le", "u64ne",
        "be", "le", "ne",
    ],
    wire: "a count (u32 big-endian unless said: `length:u16le`, `ne` is native), then the message",
    good_for: "any bytes, fast; the usual choice between two programs",
    cannot_carry: "",
    keeps_boundaries: true,
    new: |variant| Length::parse(variant.unwrap_or("u32be")).map(Into::into),
};

pub(crate) struct Length {
    /// Bytes of the count: 1, 2, 4 or 8.
    width: usize,
    little: bool,
}

impl Length {
    fn parse(variant: &str) -> Option<Self> {
        let (width, order) = [("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8)]
            .iter()
            .find_map(|&(name, width)| Some((width, variant.strip_prefix(name)?)))
            .unwrap_or((4, variant));
        let little = match order {
            "be" => false,
            "le" => true,
            "ne" => cfg!(target_endian = "little"),
            // Without a width the order must be there: `length:` names nothing.
            "" if !variant.is_empty() => false,
            _ => return None,
        };
        Some(Length { width, little })
    }
}

impl Framing for Length {
    fn name(&self) -> &'static str {
        match (self.width, self.little) {
            (1, _) => "length:u8",
            (2, false) => "length:u16be",
            (2, true) => "length:u16le",
            (4, false) => "length:u32be",
            (4, true) => "length:u32le",
            (_, false) => "length:u64be",
            (_, true) => "length:u64le",
        }
    }

    fn head(&self, body: &[u8], head: &mut Head) -> Result<(), Fault> {
        let count = body.len() as u64;
        let most = u64::MAX >> (64 - 8 * self.width);
        if count > most {
            return Err(Fault::TooLarge(most));
        }
        if self.little {
            head.push(&count.to_le_bytes()[..self.width]);
        } else {
            head.push(&count.to_be_bytes()[8 - self.width..]);
        }
        Ok(())
    }

    fn scan(&mut self, input: &[u8], max: usize) -> Result<Scan, Fault> {
        let Some(count) = input.get(..self.width) else {
            return Ok(Scan::Partial(self.width - input.len()));
        };
        let mut bytes = [0; 8];
        let body = if self.little {
            bytes[..self.width].copy_from_slice(count);
            u64::from_le_bytes(bytes)
        } else {
            bytes[8 - self.width..].copy_from_slice(count);
            u64::from_be_bytes(bytes)
        };
        counted(input, self.width, body, 0, max)
    }
}
