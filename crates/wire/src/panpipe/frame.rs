//! What a frame is made of: docs/protocol.md, "Frames".

use std::fmt;

/// Bytes of a frame's head.
pub(crate) const HEAD: usize = 16;

/// A body may have so many bytes.
pub(crate) const MOST_BODY: usize = 1 << 20;

/// Ids stay below this, so that every language can count them.
pub(crate) const IDS: u64 = 1 << 53;

macro_rules! kinds {
    ($($name:ident = $value:literal, $text:literal, flags $flags:expr;)*) => {
        /// What a frame is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind { $($name = $value,)* }

        impl Kind {
            /// The kind with this number.
            pub(crate) fn of(number: u8) -> Option<Kind> {
                match number { $($value => Some(Kind::$name),)* _ => None }
            }

            /// The flags that it may have.
            pub(crate) fn flags(self) -> u8 {
                match self { $(Kind::$name => $flags,)* }
            }
        }

        impl fmt::Display for Kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Kind::$name => $text,)* })
            }
        }
    };
}

kinds! {
    Hello = 1, "HELLO", flags 0;
    Call = 2, "CALL", flags Flags::MORE | Flags::RAW | Flags::NAMED | Flags::STREAM | Flags::ARGUMENTS | Flags::TOPIC;
    Send = 3, "SEND", flags Flags::MORE | Flags::RAW | Flags::NAMED | Flags::TOPIC;
    Reply = 4, "REPLY", flags Flags::MORE | Flags::RAW;
    Error = 5, "ERROR", flags Flags::MORE;
    Item = 6, "ITEM", flags Flags::MORE | Flags::RAW | Flags::LAGGED;
    End = 7, "END", flags 0;
    Credit = 8, "CREDIT", flags 0;
    Cancel = 9, "CANCEL", flags 0;
    Ping = 10, "PING", flags 0;
    Pong = 11, "PONG", flags 0;
    Goodbye = 12, "GOODBYE", flags 0;
    Open = 13, "OPEN", flags 0;
}

/// The flags of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags(pub(crate) u8);

impl Flags {
    pub(crate) const MORE: u8 = 1;
    pub(crate) const RAW: u8 = 2;
    pub(crate) const NAMED: u8 = 4;
    pub(crate) const STREAM: u8 = 8;
    pub(crate) const ARGUMENTS: u8 = 16;
    pub(crate) const TOPIC: u8 = 32;
    pub(crate) const LAGGED: u8 = 64;

    /// No flag.
    pub const NONE: Flags = Flags(0);

    fn with(self, flag: u8, set: bool) -> Self {
        if set { Flags(self.0 | flag) } else { self }
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    /// The payload is the content of one bytes value.
    #[must_use]
    pub fn raw(self, set: bool) -> Self {
        self.with(Flags::RAW, set)
    }

    /// The last value of the payload is a map of named arguments.
    #[must_use]
    pub fn named(self, set: bool) -> Self {
        self.with(Flags::NAMED, set)
    }

    /// The caller takes items before the reply.
    #[must_use]
    pub fn stream(self, set: bool) -> Self {
        self.with(Flags::STREAM, set)
    }

    /// Items of the caller follow.
    #[must_use]
    pub fn arguments(self, set: bool) -> Self {
        self.with(Flags::ARGUMENTS, set)
    }

    /// The name is a topic's.
    #[must_use]
    pub fn topic(self, set: bool) -> Self {
        self.with(Flags::TOPIC, set)
    }

    /// Whether the payload is the content of one bytes value.
    pub fn is_raw(self) -> bool {
        self.has(Flags::RAW)
    }

    /// Whether the last value of the payload is a map of named arguments.
    pub fn is_named(self) -> bool {
        self.has(Flags::NAMED)
    }

    /// Whether the caller takes items before the reply.
    pub fn is_stream(self) -> bool {
        self.has(Flags::STREAM)
    }

    /// Whether items of the caller follow.
    pub fn has_arguments(self) -> bool {
        self.has(Flags::ARGUMENTS)
    }

    /// Whether the name is a topic's.
    pub fn is_topic(self) -> bool {
        self.has(Flags::TOPIC)
    }

    /// Whether the payload is a count of items that were missed here.
    pub fn is_lagged(self) -> bool {
        self.has(Flags::LAGGED)
    }
}

/// The head of a frame, as it is written and as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) flags: Flags,
    pub(crate) name: u16,
    pub(crate) id: u64,
}

impl Head {
    #[inline]
    pub(crate) fn read(bytes: &[u8]) -> Option<Head> {
        let bytes: &[u8; HEAD] = bytes.first_chunk()?;
        let [a, b, c, d, kind, flags, n, m, id @ ..] = *bytes;
        Some(Head {
            length: u32::from_be_bytes([a, b, c, d]),
            kind,
            flags: Flags(flags),
            name: u16::from_be_bytes([n, m]),
            id: u64::from_be_bytes(id),
        })
    }

    #[inline]
    pub(crate) fn write(&self) -> [u8; HEAD] {
        let [a, b, c, d] = self.length.to_be_bytes();
        let [n, m] = self.name.to_be_bytes();
        let [i, j, k, l, o, p, q, r] = self.id.to_be_bytes();
        [a, b, c, d, self.kind, self.flags.0, n, m, i, j, k, l, o, p, q, r]
    }
}
