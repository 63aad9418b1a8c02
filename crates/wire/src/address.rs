//! Addresses: `scheme:target?option=value`, the whole configuration of one end.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::framing::{self, AnyFraming, Framing};
use crate::protocol;

/// Who may come to a listener that tells its peers apart by their first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepts {
    /// Peers of the panpipe protocol.
    pub panpipe: bool,
    /// WebSocket, which carries whichever of the others is accepted.
    pub websocket: bool,
    /// Peers of plain messages, with this framing.
    pub framing: Option<&'static str>,
}

/// What there is to know of a transport: how its addresses look, and the answers of the comparison table.
///
/// `wire` knows no transport; the layer that opens links hands its list to [`Address::parse`].
#[derive(Debug)]
pub struct Method {
    /// Its scheme.
    pub scheme: &'static str,
    /// How its addresses are written.
    pub form: &'static str,
    /// The options of its own, beside those that every address has.
    pub options: &'static [OptionInfo],
    /// Says what is wrong with the target, or with it and the options together.
    pub check: fn(&Address) -> Result<(), String>,
    /// Whether it moves packets, which keep their boundaries themselves, rather than a stream of bytes.
    pub moves_packets: bool,
    /// The protocol that an address means which names neither one nor a framing.
    pub protocol: &'static str,
    /// Whether it reaches other machines.
    pub reaches: &'static str,
    /// Whether all that is sent arrives.
    pub reliable: &'static str,
    /// Whether it arrives in the order in which it was sent.
    pub ordered: &'static str,
    /// Who may read and write at one address.
    pub readers: &'static str,
    /// What happens when the other side dies.
    pub death: &'static str,
    /// What moving a message costs.
    pub costs: &'static str,
    /// An address of it to try it out at, which others do not see: listened on, or where it only connects, of a peer
    /// that sends back what it gets. `None` where nothing in this program could be the other side.
    pub trial: Option<&'static str>,
    /// What to take it for.
    pub good_for: &'static str,
    /// What not to take it for.
    pub not_for: &'static str,
}

/// An option of an address.
#[derive(Debug)]
pub struct OptionInfo {
    /// Its name.
    pub name: &'static str,
    /// What a value looks like, in words that complete "wants".
    pub value: &'static str,
    /// What holds when it is left out.
    pub default: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// Whether a value is one.
    pub check: fn(&str) -> bool,
}

/// The options that every address has.
pub const COMMON: &[OptionInfo] = &[
    OptionInfo {
        name: "framing",
        value: "a framing",
        default: "panpipe, or length where the protocol is plain",
        summary: "where a message ends",
        check: |_| true, // judged by the registry, which can say which there are
    },
    OptionInfo {
        name: "protocol",
        value: "a protocol",
        default: "panpipe, or plain with another framing, over FIFOs and datagrams, and one way",
        summary: "how a call is written in messages",
        check: |_| true,
    },
    OptionInfo {
        name: "max",
        value: "a size of at least 1, in bytes or with KiB, MiB or GiB",
        default: "16MiB",
        summary: "size of the largest message, both ways",
        check: |value| parse_size(value).is_some(),
    },
    OptionInfo {
        name: "timeout",
        value: "a duration above zero, a whole number with us, ms, s or m",
        default: "10s",
        summary: "how long connecting and each call may take",
        check: |value| parse_duration(value).is_some(),
    },
    OptionInfo {
        name: "text",
        value: "true or false",
        default: "false",
        summary: "plain messages are strings in both directions",
        check: is_bool,
    },
    OptionInfo {
        name: "reconnect",
        value: "true or false",
        default: "false",
        summary: "a peer that lost its connection makes it again, and calls that were not sent wait for it",
        check: is_bool,
    },
];

/// One end's whole configuration, parsed and checked.
#[derive(Clone, Debug)]
pub struct Address {
    text: Arc<str>,
    method: &'static Method,
    target: String,
    options: Vec<(String, String)>,
    /// The framing with its variant, as `length:u32be`; `panpipe` where the protocol brings its own.
    pub framing: &'static str,
    /// The protocol.
    pub protocol: &'static str,
    /// Size of the largest message, in bytes.
    pub max: usize,
    /// How long connecting and each call may take.
    pub timeout: Duration,
    /// Whether messages are strings.
    pub text_messages: bool,
    /// Whether a connection that was lost is made again.
    pub reconnect: bool,
    /// Who may come to it, where it tells its peers apart by their first bytes.
    pub accepts: Option<Accepts>,
}

impl Address {
    /// Parses `text`, whose scheme must be one of `methods`.
    ///
    /// # Errors
    /// `unsupported` for an unknown scheme, framing, protocol or option, with the known ones; `invalid-address`
    /// for everything that is malformed.
    pub fn parse(text: &str, methods: &'static [&'static Method]) -> Result<Self> {
        Self::read(text, methods).map_err(|(kind, reason)| {
            Error::new(kind, format!("reading the address {text:?}")).because(reason).at(&Arc::from(text))
        })
    }

    fn read(text: &str, methods: &'static [&'static Method]) -> Result<Self, (ErrorKind, String)> {
        let invalid = |reason: String| (ErrorKind::InvalidAddress, reason);
        let (place, options) = match text.split_once('?') {
            Some((place, options)) => (place, Some(options)),
            None => (text, None),
        };
        let (scheme, target) = match place {
            "-" => ("stdio", ""),
            _ => place
                .split_once(':')
                .ok_or_else(|| invalid("an address is written scheme:target, as tcp://localhost:9999".into()))?,
        };
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if !is_scheme {
            return Err(invalid(format!("{scheme:?} is no scheme: schemes are lower case")));
        }
        let method = *methods.iter().find(|method| method.scheme == scheme).ok_or_else(|| {
            let known: Vec<_> = methods.iter().map(|method| method.scheme).collect();
            (ErrorKind::Unsupported, format!("no scheme is called {scheme:?}; known: {}", known.join(", ")))
        })?;
        let mut address = Address {
            text: Arc::from(text),
            method,
            target: percent_decode(target).map_err(invalid)?,
            options: Vec::new(),
            framing: "",
            protocol: method.protocol,
            max: 16 << 20,
            timeout: Duration::from_secs(10),
            text_messages: false,
            reconnect: false,
            accepts: None,
        };
        for option in options.iter().flat_map(|options| options.split('&')) {
            address.read_option(option)?;
        }
        if method.moves_packets && address.option("framing").is_some() {
            let reason = format!("{scheme} keeps the boundaries of messages itself and takes no framing");
            return Err((ErrorKind::Unsupported, reason));
        }
        address.choose_accepted()?;
        address.choose_protocol().map_err(|reason| (ErrorKind::Unsupported, reason))?;
        (method.check)(&address).map_err(invalid)?;
        Ok(address)
    }

    /// Who may come, where the address lists them.
    fn choose_accepted(&mut self) -> Result<(), (ErrorKind, String)> {
        let Some(list) = self.option("accept") else { return Ok(()) };
        let invalid = |reason: String| Err((ErrorKind::InvalidAddress, reason));
        if let Some(other) = ["framing", "protocol"].into_iter().find(|other| self.option(other).is_some()) {
            return invalid(format!("accept says what each peer may speak, and {other} says it too"));
        }
        let mut accepts = Accepts { panpipe: false, websocket: false, framing: None };
        for item in list.split(',') {
            let is_twice = match item {
                protocol::PANPIPE => std::mem::replace(&mut accepts.panpipe, true),
                "ws" => std::mem::replace(&mut accepts.websocket, true),
                _ => {
                    let framing = framing::make(item).map_err(|reason| (ErrorKind::Unsupported, reason))?;
                    accepts.framing.replace(framing.name()).is_some()
                }
            };
            if is_twice {
                return invalid(format!(
                    "accept={list} has {item} beside another of its kind: one each of panpipe, ws and a framing"
                ));
            }
        }
        if !accepts.panpipe && accepts.framing.is_none() {
            return invalid("accept=ws says how peers connect and not what they speak: add panpipe, or a framing for plain messages".into());
        }
        self.accepts = Some(accepts);
        Ok(())
    }

    /// The framing and the protocol, each as it was said or as the other one suggests.
    fn choose_protocol(&mut self) -> Result<(), String> {
        let framing = match &self.accepts {
            Some(accepts) if accepts.panpipe => None,
            Some(accepts) => accepts.framing.map(str::to_owned),
            None => self.option("framing").map(str::to_owned),
        };
        let framing = framing.as_deref();
        self.protocol = match (self.option("protocol"), framing) {
            (Some(name), _) => protocol::named(name).ok_or("checked when the option was read")?.name,
            (None, Some(protocol::PANPIPE)) => protocol::PANPIPE,
            (None, Some(_)) => protocol::PLAIN,
            (None, None) => self.method.protocol,
        };
        if self.protocol == protocol::PLAIN {
            return match framing.unwrap_or(framing::DEFAULT) {
                protocol::PANPIPE => Err("framing=panpipe is the protocol panpipe's own, and plain has others".into()),
                _ if self.reconnect => {
                    Err("reconnect=true needs the protocol panpipe, which knows what was sent".into())
                }
                framing => framing::make(framing).map(|framing| self.framing = framing.name()),
            };
        }
        self.framing = protocol::PANPIPE;
        match framing {
            Some(framing) if framing != protocol::PANPIPE => {
                framing::make(framing)?;
                Err(format!("the protocol panpipe brings its own framing, and cannot use {framing}"))
            }
            _ if self.text_messages && self.accepts.as_ref().is_none_or(|accepts| accepts.framing.is_none()) => {
                Err("text=true is for plain messages: say a framing, or protocol=plain; panpipe's values say which are text".into())
            }
            _ => Ok(()),
        }
    }

    /// Says whether the address means this protocol.
    ///
    /// # Errors
    /// `unsupported`, with what to write for the other one.
    pub fn check_speaks(&self, protocol: &str) -> Result<()> {
        if self.protocol == protocol {
            return Ok(());
        }
        let reason = match self.protocol {
            protocol::PANPIPE if self.accepts.is_some() => {
                "it accepts peers of the protocol panpipe, whom this cannot answer: leave panpipe out of accept, or serve a service"
            }
            protocol::PANPIPE => {
                "it means the protocol panpipe, and this takes plain messages: say where one ends, as framing=length, or protocol=plain"
            }
            _ => "it means plain messages, and this speaks the protocol panpipe: say protocol=panpipe and no framing",
        };
        let error = Error::new(ErrorKind::Unsupported, format!("reading the address {:?}", self.text));
        Err(error.because(reason).at(&self.text))
    }

    fn read_option(&mut self, option: &str) -> Result<(), (ErrorKind, String)> {
        let invalid = |reason: String| (ErrorKind::InvalidAddress, reason);
        let Some((name, value)) = option.split_once('=') else {
            return Err(invalid(format!("the option {option:?} has no value; write name=value")));
        };
        let value = percent_decode(value).map_err(invalid)?;
        let known = || COMMON.iter().chain(self.method.options);
        let Some(info) = known().find(|info| info.name == name) else {
            let names: Vec<_> = known().map(|info| info.name).collect();
            let scheme = self.method.scheme;
            let reason = format!("{scheme} has no option {name:?}; known: {}", names.join(", "));
            return Err((ErrorKind::Unsupported, reason));
        };
        if self.option(name).is_some() {
            return Err(invalid(format!("the option {name} is given twice")));
        }
        if !(info.check)(&value) {
            return Err(invalid(format!("{name} wants {}, not {value:?}", info.value)));
        }
        match name {
            "protocol" if protocol::named(&value).is_none() => {
                let names: Vec<_> = protocol::all().iter().map(|info| info.name).collect();
                let reason = format!("no protocol is called {value:?}; known: {}", names.join(", "));
                return Err((ErrorKind::Unsupported, reason));
            }
            "max" => self.max = parse_size(&value).unwrap_or(self.max),
            "timeout" => self.timeout = parse_duration(&value).unwrap_or(self.timeout),
            "text" => self.text_messages = value == "true",
            "reconnect" => self.reconnect = value == "true",
            _ => {}
        }
        self.options.push((name.to_owned(), value));
        Ok(())
    }

    /// The address as it was written.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The transport.
    pub fn method(&self) -> &'static Method {
        self.method
    }

    /// What stands between the scheme's `:` and the options, decoded.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Whether the other end may be on another machine.
    pub fn reaches_other_machines(&self) -> bool {
        self.method.reaches == "other machines"
    }

    /// The value of an option, where it was given.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What ends every message on the wire; empty where nothing does.
    pub fn ends_messages_with(&self) -> &'static [u8] {
        match self.protocol {
            protocol::PANPIPE => b"",
            _ => self.new_framing().tail(),
        }
    }

    /// A fresh encoder and decoder of this address's framing.
    pub(crate) fn new_framing(&self) -> AnyFraming {
        match framing::make(self.framing) {
            Ok(framing) => framing,
            Err(reason) => unreachable!("checked when the address was read: {reason}"),
        }
    }

    /// The same address as it holds for one of the peers that it [`accepts`](Self::accepts).
    #[must_use]
    pub fn for_peer_of(&self, protocol: &'static str) -> Self {
        let framing = match protocol {
            protocol::PANPIPE => protocol::PANPIPE,
            _ => self.accepts.as_ref().and_then(|accepts| accepts.framing).unwrap_or(self.framing),
        };
        Address { protocol, framing, ..self.clone() }
    }

    /// The same address as it holds for a peer whose plain messages are packets.
    #[must_use]
    pub fn for_packets(&self) -> Self {
        let framing = framing::make(framing::DEFAULT).map_or(self.framing, |framing| framing.name());
        Address { protocol: protocol::PLAIN, framing, ..self.clone() }
    }

    /// The same address with another target: what a listener that picked a port or a name answers to.
    #[must_use]
    pub fn with_target(&self, target: &str) -> Self {
        let mut text = format!("{}:{}", self.method.scheme, percent_encode(target));
        if let Some((_, options)) = self.text.split_once('?') {
            text.push('?');
            text.push_str(options);
        }
        Address { text: Arc::from(text), target: target.to_owned(), ..self.clone() }
    }
}

/// Whether `value` is `true` or `false`.
fn is_bool(value: &str) -> bool {
    matches!(value, "true" | "false")
}

/// A whole number of digits alone: Rust's own parser would take a sign.
fn parse_digits(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// A number with one of the units, each worth so much; zero is no value.
fn parse_with_unit(value: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (_, worth) = units.iter().find(|(unit, _)| *unit == &value[digits.len()..])?;
    parse_digits(digits)?.checked_mul(*worth).filter(|&number| number > 0)
}

fn parse_size(value: &str) -> Option<usize> {
    let bytes = parse_with_unit(value, &[("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)])?;
    // Half of the address space, so that sums of two sizes cannot overflow.
    usize::try_from(bytes).ok().filter(|&bytes| bytes <= usize::MAX / 4)
}

fn parse_duration(value: &str) -> Option<Duration> {
    let units = [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000)];
    parse_with_unit(value, &units).filter(|&us| us <= i64::MAX as u64).map(Duration::from_micros)
}

/// Decodes `%` and two hex digits, or says why what comes of it is no text.
pub(crate) fn percent_decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = after.split_at_checked(2).filter(|(digits, _)| digits.iter().all(u8::is_ascii_hexdigit));
        let Some((digits, after)) = digits else {
            return Err(format!("{text:?} has a % that two hex digits do not follow; a % itself is %25"));
        };
        let value = digits.iter().fold(0, |value, &digit| value * 16 + (digit as char).to_digit(16).unwrap_or(0));
        bytes.push(value as u8);
        rest = after;
    }
    let decoded = String::from_utf8(bytes).map_err(|_| format!("{text:?} is not UTF-8 once it is decoded"))?;
    match decoded.contains('\0') {
        true => Err(format!("{text:?} holds a NUL")),
        false => Ok(decoded),
    }
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '%' | '?' | '\0'..=' ' | '\x7f' => encoded.push_str(&format!("%{:02X}", c as u32)),
            _ => encoded.push(c),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_target_is_written_so_that_it_reads_back() {
        const ANY: &Method = &Method {
            scheme: "any",
            form: "any:TARGET",
            options: &[],
            check: |_| Ok(()),
            moves_packets: false,
            protocol: "plain",
            reaches: "",
            reliable: "",
            ordered: "",
            readers: "",
            death: "",
            costs: "",
            trial: None,
            good_for: "",
            not_for: "",
        };
        let address = Address::parse("any:x*?framing=lines", &[ANY]).unwrap();
        let told = address.with_target("/tmp/what? 5% ü");
        assert_eq!(&**told.text(), "any:/tmp/what%3F%205%25%20ü?framing=lines");
        assert_eq!(Address::parse(told.text(), &[ANY]).unwrap().target(), told.target());
    }
}
