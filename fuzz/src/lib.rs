//! What the targets share: a transport without a link, and a session under a user that decides by bytes.

mod played;
pub use played::Played;

use panpipe_wire::{Address, Method, Result};

const METHOD: Method = Method {
    scheme: "mem",
    form: "mem:NAME",
    options: &[],
    check: |_| Ok(()),
    moves_packets: false,
    protocol: "panpipe",
    reaches: "other machines",
    reliable: "",
    ordered: "",
    readers: "",
    death: "",
    costs: "",
    trial: None,
    good_for: "",
    not_for: "",
};

/// The address that `text` says, where `mem` is the only scheme.
pub fn address(text: &str) -> Result<Address> {
    static METHODS: &[&Method] = &[&METHOD];
    Address::parse(text, METHODS)
}
