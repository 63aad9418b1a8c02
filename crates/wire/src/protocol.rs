//! The protocols: how a call is written in messages.

/// What there is to know of a protocol.
#[derive(Debug)]
pub struct Info {
    /// Its name in an address.
    pub name: &'static str,
    /// One line on what it is.
    pub summary: &'static str,
}

/// The protocol of calls, streams and topics.
pub const PANPIPE: &str = "panpipe";

/// The protocol of messages.
pub const PLAIN: &str = "plain";

const ALL: &[&Info] = &[
    &Info {
        name: PANPIPE,
        summary: "calls with names and values, streams and topics, both ways, in a framing of its own: framing=panpipe says the same",
    },
    &Info {
        name: PLAIN,
        summary: "every message is a request, its reply is the next message back, in order; the framing says where one ends",
    },
];

/// Every protocol there is.
pub fn all() -> &'static [&'static Info] {
    ALL
}

/// The protocol of this name.
pub(crate) fn named(name: &str) -> Option<&'static Info> {
    ALL.iter().copied().find(|info| info.name == name)
}
