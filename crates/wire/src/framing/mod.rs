//! The framings: where a message ends on a link that carries bytes. One file each, one line each below.

/// Makes the list of framings, and one type that is any of them: calling it costs a branch, and its code is inlined
/// where a trait object's would cost a tenth of a small message.
macro_rules! framings {
    ($($module:ident::$name:ident,)*) => {
        const ALL: &[&Info] = &[$(&$module::INFO),*];

        pub(crate) enum AnyFraming { $($name($module::$name),)* }

        $(impl From<$module::$name> for AnyFraming {
            fn from(framing: $module::$name) -> Self {
                AnyFraming::$name(framing)
            }
        })*

        impl Framing for AnyFraming {
            #[inline]
            fn name(&self) -> &'static str {
                match self { $(AnyFraming::$name(framing) => framing.name(),)* }
            }

            #[inline]
            fn head(&self, body: &[u8], head: &mut Head) -> Result<(), Fault> {
                match self { $(AnyFraming::$name(framing) => framing.head(body, head),)* }
            }

            #[inline]
            fn tail(&self) -> &'static [u8] {
                match self { $(AnyFraming::$name(framing) => framing.tail(),)* }
            }

            #[inline]
            fn scan(&mut self, input: &[u8], max: usize) -> Result<Scan, Fault> {
                match self { $(AnyFraming::$name(framing) => framing.scan(input, max),)* }
            }
        }
    };
}

use crate::protocol::PANPIPE;

mod content_length;
mod delimited;
mod length;
mod lines;
mod netstring;
mod nul;
mod raw;
mod varint;

// Every framing there is. Adding one is its file and its line here.
framings! {
    raw::Raw,
    lines::Lines,
    nul::Nul,
    length::Length,
    netstring::Netstring,
    varint::Varint,
    content_length::ContentLength,
}

/// The framing of plain messages where none is named.
pub(crate) const DEFAULT: &str = "length";

/// Every framing there is.
pub fn all() -> &'static [&'static Info] {
    ALL
}

/// What there is to know of a framing.
#[derive(Debug)]
pub struct Info {
    /// Its name in an address.
    pub name: &'static str,
    /// What may follow the name after a `:`, each with what it stands for; empty when nothing may.
    pub variants: &'static [&'static str],
    /// How a message looks on the wire.
    pub wire: &'static str,
    /// One line on when to take it.
    pub good_for: &'static str,
    /// What a message may not be or hold; empty when anything goes.
    pub cannot_carry: &'static str,
    /// Whether a message arrives as it was sent, neither joined nor cut.
    pub keeps_boundaries: bool,
    /// Makes one, for the variant named after the `:`; `None` when there is no such variant.
    pub(crate) new: fn(variant: Option<&str>) -> Option<AnyFraming>,
}

/// The encoder and decoder of one direction pair of one link.
pub(crate) trait Framing {
    /// The full name with its variant, as `length:u32be`.
    fn name(&self) -> &'static str;

    /// Writes what goes before `body`, or says why it cannot be carried.
    fn head(&self, body: &[u8], head: &mut Head) -> Result<(), Fault>;

    /// What goes after every message.
    fn tail(&self) -> &'static [u8] {
        b""
    }

    /// Finds the first frame in `input`.
    ///
    /// Between two calls that found no frame `input` only grows at its end, so that what was looked at
    /// need not be looked at again. After a frame the next input starts behind it.
    /// Sizes above `max` are refused as soon as they are certain, before anything is allocated for them.
    fn scan(&mut self, input: &[u8], max: usize) -> Result<Scan, Fault>;
}

/// What a scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// A whole frame.
    Frame(Frame),
    /// The frame goes on: at least this many bytes are missing, one or more.
    Partial(usize),
}

/// How the bytes of a frame divide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Bytes before the message.
    pub(crate) head: usize,
    /// Bytes of the message.
    pub(crate) body: usize,
    /// Bytes after the message.
    pub(crate) tail: usize,
}

/// Why a message cannot be written or a frame cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The message is, or would become, larger than this many bytes.
    TooLarge(u64),
    /// What arrived is no frame, for this reason.
    Broken(&'static str),
    /// The framing has no way to write this message, for this reason.
    Cannot(&'static str),
}

/// The bytes that go before a message: at most 48, on the stack.
#[derive(Debug)]
pub struct Head {
    bytes: [u8; Head::MOST],
    len: usize,
}

impl Default for Head {
    fn default() -> Self {
        Self::new()
    }
}

impl Head {
    /// `Content-Length: `, twenty digits and two line ends are forty.
    const MOST: usize = 48;

    /// No bytes yet.
    #[inline]
    pub fn new() -> Self {
        Head { bytes: [0; Head::MOST], len: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn push_decimal(&mut self, number: usize) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.push(&digits[at..]);
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The scan of a frame whose head of `head` bytes announces a message of `body` bytes.
fn counted(input: &[u8], head: usize, body: u64, tail: usize, max: usize) -> Result<Scan, Fault> {
    let body = match usize::try_from(body) {
        Ok(body) if body <= max => body,
        _ => return Err(Fault::TooLarge(max as u64)),
    };
    let total = head + body + tail;
    if input.len() < total {
        return Ok(Scan::Partial(total - input.len()));
    }
    Ok(Scan::Frame(Frame { head, body, tail }))
}

/// Makes the framing that `spec` names, as `lines` or `length:u16le`; the error is a text that lists the known ones.
pub(crate) fn make(spec: &str) -> Result<AnyFraming, String> {
    let (name, variant) = match spec.split_once(':') {
        Some((name, variant)) => (name, Some(variant)),
        None => (spec, None),
    };
    let Some(info) = ALL.iter().find(|info| info.name == name) else {
        let known: Vec<_> = [PANPIPE].into_iter().chain(ALL.iter().map(|info| info.name)).collect();
        return Err(format!("no framing is called {name:?}; known: {}", known.join(", ")));
    };
    (info.new)(variant).ok_or_else(|| {
        let variant = variant.unwrap_or_default();
        match info.variants {
            [] => format!("the framing {name} has no variant {variant:?}; write {name}"),
            known => format!("the framing {name} has no variant {variant:?}; known: {}", known.join(", ")),
        }
    })
}

#[cfg(test)]
mod tests;
