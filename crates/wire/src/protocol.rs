//! The protocols: how a call is written in messages.

/// What there is to know of a protocol.
#[derive(Debug)]
pub struct Info {
    /// Its name in an address.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
}

const ALL: &[&Info] =
    &[&Info { name: "plain", summary: "Every message is a request, its reply is the next message back, in order." }];

/// Every protocol there is.
pub fn all() -> &'static [&'static Info] {
    ALL
}
