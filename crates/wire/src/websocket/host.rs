//! Which names a listener answers to (RFC 9110, section 7.2).
//!
//! A web page can have its own name lead to this machine and is then of the same origin as the listener, for a browser:
//! "DNS rebinding". But the Host of its requests is the page's name.

use core::net::{IpAddr, Ipv6Addr};

/// A host, as names of it are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Ip(IpAddr),
    /// In lower case.
    Dns(String),
}

impl Name {
    fn parse(text: &str) -> Option<Name> {
        if let Some(literal) = text.strip_prefix('[') {
            let address: Ipv6Addr = literal.strip_suffix(']')?.parse().ok()?;
            return Some(Name::Ip(address.into()));
        }
        if let Ok(IpAddr::V4(address)) = text.parse() {
            return Some(Name::Ip(address.into()));
        }
        let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        (is_name && !text.is_empty()).then(|| Name::Dns(text.to_ascii_lowercase()))
    }
}

/// A host and perhaps a port, as in the field Host and in origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    name: Name,
    pub(super) port: Option<u16>,
}

impl Authority {
    /// Reads `name`, `name:port`, `[IPv6]` or `[IPv6]:port`; nothing else may be there.
    pub(super) fn parse(text: &str) -> Option<Authority> {
        let colon = text.rfind(':').filter(|&colon| !text[colon..].contains(']'));
        let (name, port) = match colon {
            Some(colon) => (&text[..colon], Some(parse_port(&text[colon + 1..])?)),
            None => (text, None),
        };
        Some(Authority { name: Name::parse(name)?, port })
    }

    pub(super) fn with_port(self, port: Option<u16>) -> Self {
        Authority { port, ..self }
    }
}

/// A port without a sign or a leading zero.
fn parse_port(digits: &str) -> Option<u16> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    is_number.then(|| digits.parse().ok()).flatten()
}

/// A host that a listener answers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule {
    /// Nothing says any IP address.
    name: Option<Name>,
    port: Port,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Listeners,
    Any,
    Only(u16),
}

impl HostRule {
    /// Whether it allows this host, where the listener has `port` and no port stands for `default`.
    pub(super) fn allows(&self, host: &Authority, port: u16, default: u16) -> bool {
        let is_name = match &self.name {
            Some(name) => *name == host.name,
            None => matches!(host.name, Name::Ip(_)),
        };
        let given = host.port.unwrap_or(default);
        is_name
            && match self.port {
                Port::Listeners => given == port,
                Port::Only(only) => given == only,
                Port::Any => true,
            }
    }
}

/// The hosts that a listener on `host`, as its address says it, answers to without being told, each with its port: that
/// host; every name of loopback if it is one; every IP address and `localhost` if it is all interfaces.
pub fn default_hosts(host: &str) -> Vec<HostRule> {
    let host = if host.is_empty() { "localhost" } else { host };
    let rule = |name| HostRule { name, port: Port::Listeners };
    let name = Name::parse(host);
    let localhost = Name::Dns("localhost".to_owned());
    let (is_loopback, is_any) = match &name {
        Some(Name::Ip(address)) => (address.is_loopback(), address.is_unspecified()),
        name => (name.as_ref() == Some(&localhost), false),
    };
    let mut rules = Vec::new();
    if is_any {
        rules.extend([rule(None), rule(Some(localhost))]);
    } else if is_loopback {
        let addresses = [IpAddr::from([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()];
        rules.push(rule(Some(localhost)));
        rules.extend(addresses.map(|address| rule(Some(Name::Ip(address)))));
    }
    // A name that no Host can say matches none.
    rules.extend(name.into_iter().filter(|_| !is_any).map(|name| rule(Some(name))));
    rules
}

/// Reads the option `host`: names, separated by commas, each for any port or with the only one.
pub fn parse_hosts(list: &str) -> Option<Vec<HostRule>> {
    let parse = |item: &str| {
        let Authority { name, port } = Authority::parse(item)?;
        Some(HostRule { name: Some(name), port: port.map_or(Port::Any, Port::Only) })
    };
    list.split(',').map(parse).collect()
}
