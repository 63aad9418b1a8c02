//! The transports: how an address is opened. One file each, one line each below.

mod arrivals;
mod chaos;
mod connecting;
mod credentials;
mod datagram;
mod fd;
mod fifo;
mod fingerprint;
mod gate;
mod layers;
mod link;
mod listener;
mod made_file;
mod mem;
mod pair;
mod peer_process;
mod remote;
mod scatter;
mod senders;
mod seqpacket;
mod socket_file;
mod spawn;
mod stdio;
mod stream;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
mod udp;
mod unix;
mod unix_dgram;
mod upgrading;
mod waiting_read;
mod ws;

pub use connecting::{Connecting, Progress};
pub use fifo::claim_to_read;
#[cfg(feature = "tls")]
pub use fingerprint::Fingerprint;
pub use link::Link;
pub use listener::{Accepted, Listener};
pub use pair::{pair, pair_address};
pub use remote::Remote;
pub(crate) use spawn::LastWords;
pub use spawn::{Child, address_with_command, lacks_command, spawn_address};
pub(crate) use waiting_read::WaitingRead;

use panpipe_wire::{Address, Method, Result};

/// A transport: what there is to know, and how to open it.
struct Transport {
    method: &'static Method,
    connect: fn(&Address) -> Result<Connecting>,
    listen: fn(&Address) -> Result<Listener>,
    /// Whether opening this address asks something that may make the caller wait, such as a resolver.
    may_block: fn(&Address) -> bool,
}

/// Every transport there is. Adding one is its file and its line here.
const ALL: &[Transport] = &[
    tcp::TRANSPORT,
    tcp::TLS,
    ws::WS,
    ws::WSS,
    unix::TRANSPORT,
    seqpacket::TRANSPORT,
    udp::TRANSPORT,
    unix_dgram::TRANSPORT,
    fifo::TRANSPORT,
    stdio::TRANSPORT,
    fd::TRANSPORT,
    mem::TRANSPORT,
    spawn::TRANSPORT,
];

const METHODS: &[&Method] = &{
    let mut methods = [ALL[0].method; ALL.len()];
    let mut at = 0;
    while at < ALL.len() {
        methods[at] = ALL[at].method;
        at += 1;
    }
    methods
};

/// Every transport there is, as data.
pub fn methods() -> &'static [&'static Method] {
    METHODS
}

/// Parses an address of any transport there is.
///
/// # Errors
/// `invalid-address` and `unsupported`, as [`Address::parse`].
pub fn parse(text: &str) -> Result<Address> {
    Address::parse(text, METHODS)
}

fn of(address: &Address) -> &'static Transport {
    match ALL.iter().find(|transport| std::ptr::eq(transport.method, address.method())) {
        Some(transport) => transport,
        None => unreachable!("an address is parsed with the methods of this list"),
    }
}

/// Begins to connect. Asks the resolver, and so may block, only where [`may_block`] says so.
///
/// # Errors
/// `not-found`, `permission`, `path-too-long`, `invalid-address`, `busy`, and those of [`Connecting::advance`].
pub fn connect(address: &Address) -> Result<Connecting> {
    (of(address).connect)(address)
}

/// Listens.
///
/// # Errors
/// `address-in-use`, `not-found`, `permission`, `path-too-long`, `invalid-address`, `busy`.
pub fn listen(address: &Address) -> Result<Listener> {
    (of(address).listen)(address)
}

/// Whether [`connect`] or [`listen`] may block the caller for this address.
pub fn may_block(address: &Address) -> bool {
    (of(address).may_block)(address)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../../../vectors/address.json")).unwrap()
    }

    #[test]
    fn reads_the_valid_addresses() {
        for row in vectors()["valid"].as_array().unwrap() {
            let text = row["address"].as_str().unwrap();
            let address = parse(text).unwrap();
            assert_eq!(&**address.text(), text);
            assert_eq!(address.method().scheme, row["scheme"], "{text}");
            assert_eq!(address.target(), row["target"], "{text}");
            let given = row["options"].as_object().unwrap();
            for name in [
                "framing",
                "protocol",
                "max",
                "timeout",
                "text",
                "backlog",
                "mode",
                "insecure",
                "reply",
                "once",
                "exclusive",
                "reconnect",
                "accept",
                "host",
                "origin",
                "token",
                "static",
                "ca",
                "cert",
                "key",
                "client_ca",
                "fingerprint",
            ] {
                assert_eq!(address.option(name), given.get(name).and_then(Value::as_str), "{text}: {name}");
            }
            let read = serde_json::json!({
                "framing": address.framing,
                "protocol": address.protocol,
                "reconnect": address.reconnect,
                "max": address.max,
                "timeout_us": address.timeout.as_micros() as u64,
                "text": address.text_messages,
            });
            for (name, value) in read.as_object().unwrap() {
                assert!(row[name].is_null() || row[name] == *value, "{text}: {name} is {value}");
            }
        }
    }

    #[test]
    fn refuses_the_invalid_addresses() {
        for row in vectors()["invalid"].as_array().unwrap() {
            let text = row["address"].as_str().unwrap();
            let parsed = match row["when"].as_str() {
                Some("connecting") => parse(text).and_then(|address| connect(&address).map(|_| address)),
                _ => parse(text),
            };
            let error = parsed.map(|address| address.text().to_string()).unwrap_err();
            assert_eq!(error.code(), row["code"], "{error}");
            assert_eq!(error.address(), Some(text));
            let reason = error.to_string().replacen(text, "", 1);
            for mention in row["mentions"].as_array().into_iter().flatten() {
                assert!(reason.contains(mention.as_str().unwrap()), "{error} does not mention {mention}");
            }
        }
    }

    /// The words that every language describes its methods and framings with.
    #[test]
    fn describes_what_there_is_in_the_words_of_the_vectors() {
        let methods = METHODS.iter().map(|method| {
            serde_json::json!({
                "scheme": method.scheme,
                "form": method.form,
                "reaches": method.reaches,
                "good_for": method.good_for,
                "not_for": method.not_for,
            })
        });
        let framings = panpipe_wire::framings().iter().map(|framing| {
            serde_json::json!({
                "name": framing.name,
                "wire": framing.wire,
                "good_for": framing.good_for,
                "cannot_carry": framing.cannot_carry,
                "keeps_boundaries": framing.keeps_boundaries,
            })
        });
        let ours = serde_json::json!({
            "methods": methods.collect::<Vec<_>>(),
            "framings": framings.collect::<Vec<_>>(),
        });
        let theirs: Value = serde_json::from_str(include_str!("../../../../vectors/methods.json")).unwrap();
        assert_eq!(ours, theirs, "{ours:#}");
    }
}
