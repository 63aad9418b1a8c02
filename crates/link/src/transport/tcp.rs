//! `tcp://host:port`: stream sockets, on this machine or another.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use panpipe_wire::{Address, Error, ErrorKind, Method, OptionInfo, PANPIPE, Result};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, listen as listen_on, socket_with, sockopt,
};

use super::arrivals::Arrivals;
use super::connecting::{Connecting, any};
use super::gate::{Gate, Secrets};
use super::link::{self, Link};
use super::listener::{Listener, Source};
#[cfg(feature = "tls")]
use super::tls::ClientTls;
use super::upgrading::Plan;
use super::{Transport, credentials, gate, unix};

pub(super) const TRANSPORT: Transport = Transport {
    method: &Method {
        scheme: "tcp",
        form: "tcp://HOST:PORT",
        options: &[
            unix::BACKLOG,
            unix::CONNECTIONS,
            INSECURE,
            gate::ACCEPT,
            gate::HOST,
            gate::ORIGIN,
            gate::TOKEN,
            gate::STATIC,
        ],
        check,
        moves_packets: false,
        protocol: PANPIPE,
        reaches: "other machines",
        reliable: "yes",
        ordered: "yes",
        readers: "many",
        death: "seen at once; with its whole machine, at the deadline",
        costs: "two copies, and the network stack",
        trial: Some("tcp://localhost:0"),
        good_for: "programs on different machines; anything that speaks sockets",
        not_for: "secrets across a network (no encryption; tls: has it)",
    },
    connect,
    listen,
    may_block,
};

pub(super) const TLS: Transport = Transport {
    method: &Method {
        scheme: "tls",
        form: "tls://HOST:PORT",
        options: &[
            unix::BACKLOG,
            unix::CONNECTIONS,
            credentials::CA,
            credentials::CERT,
            credentials::KEY,
            credentials::CLIENT_CA,
            credentials::FINGERPRINT,
            gate::ACCEPT,
            gate::HOST,
            gate::ORIGIN,
            gate::TOKEN,
            gate::STATIC,
        ],
        costs: "as tcp, and encryption: 2 GB/s of a core",
        trial: None,
        good_for: "programs on different machines, over networks that others can read",
        not_for: "a first try (it needs a certificate: panpipe cert makes one)",
        ..*TRANSPORT.method
    },
    ..TRANSPORT
};

/// The option that all transports without encryption have.
pub(super) const INSECURE: OptionInfo = OptionInfo {
    name: "insecure",
    value: "true or false",
    default: "false",
    summary: "allows an address that is not loopback: anybody on the way can read and change what is sent",
    check: |value| matches!(value, "true" | "false"),
};

/// Whether a resolver is asked.
pub(super) fn may_block(address: &Address) -> bool {
    matches!(place(address), Ok(Place { host: Host::Name(_), .. }))
}

/// How often a free port is picked anew because its IPv6 twin is taken.
const PORT_TRIES: usize = 16;

/// What stands behind the `//` of a target.
struct Place<'a> {
    host: Host<'a>,
    port: u16,
    /// As it was written, with the brackets of an IPv6 address.
    host_text: &'a str,
    /// From its `/` on; empty where there is none.
    path: &'a str,
}

enum Host<'a> {
    /// Both loopback addresses, without asking a resolver.
    Localhost,
    Ip(IpAddr),
    Name(&'a str),
}

fn place(address: &Address) -> Result<Place<'_>, String> {
    let scheme = address.method().scheme;
    let place = address.target().strip_prefix("//");
    let place = place.ok_or_else(|| format!("a {scheme} address is written {scheme}://HOST:PORT"))?;
    let (default_port, path) = match scheme {
        "ws" => (Some(80), place.find('/')),
        "wss" => (Some(443), place.find('/')),
        _ => (None, None),
    };
    let (place, path) = place.split_at(path.unwrap_or(place.len()));
    let written = || format!("an IPv6 address is written {scheme}://[::1]:PORT");
    let (host_text, port) = match place.rfind(']') {
        Some(end) => match place[end + 1..].strip_prefix(':') {
            None if end + 1 < place.len() => return Err(written()),
            port => (&place[..=end], port),
        },
        None => place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let host = match host_text {
        "" | "localhost" => Host::Localhost,
        _ => match host_text.strip_prefix('[') {
            Some(ip) => {
                let ip = ip.strip_suffix(']').ok_or_else(written)?;
                Host::Ip(IpAddr::V6(ip.parse().map_err(|_| format!("{ip:?} is no IPv6 address"))?))
            }
            None if host_text.contains(':') => {
                return Err(format!("an IPv6 address stands in [ ], as {scheme}://[::1]:PORT"));
            }
            None if host_text.contains('/') => return Err(format!("{host_text:?} is no host")),
            None => host_text.parse().map_or(Host::Name(host_text), Host::Ip),
        },
    };
    let port = match (port, default_port) {
        (Some(port), _) => {
            let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            let number = port.parse().ok().filter(|_| digits);
            number.ok_or_else(|| format!("{port:?} is no port: a number from 0 to 65535"))?
        }
        (None, Some(port)) => port,
        (None, None) => return Err(format!("the port is missing: {scheme}://HOST:PORT")),
    };
    Ok(Place { host, port, host_text, path })
}

/// Checks the host and the port.
pub(super) fn check(address: &Address) -> Result<(), String> {
    let place = place(address)?;
    if place.path.contains('#') {
        return Err("a path has no #: what follows one never reaches a server".into());
    }
    if let Host::Ip(ip) = place.host {
        allow(address, ip)?;
    }
    gate::check(address)
}

fn allow(address: &Address, ip: IpAddr) -> Result<(), String> {
    let is_encrypted = matches!(address.method().scheme, "tls" | "wss");
    if ip.is_loopback() || is_encrypted || address.option("insecure") == Some("true") {
        return Ok(());
    }
    let scheme = address.method().scheme;
    Err(format!("{ip} is not loopback and {scheme} is not encrypted; add insecure=true if that is meant"))
}

/// The socket addresses behind the address; the first is the one to try first.
pub(super) fn resolve(address: &Address, doing: &str) -> Result<Vec<SocketAddr>> {
    let error = |kind| Error::new(kind, format!("{doing} {}", address.text())).at(address.text());
    let Place { host, port, .. } = place(address).map_err(|reason| error(ErrorKind::InvalidAddress).because(reason))?;
    let ips = match host {
        Host::Localhost => vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        Host::Ip(ip) => vec![ip],
        Host::Name(name) => (name, port)
            .to_socket_addrs()
            .map_err(|_| error(ErrorKind::NotFound).because(format!("the name {name} does not resolve")))?
            .map(|socket| socket.ip())
            .collect(),
    };
    for &ip in &ips {
        allow(address, ip).map_err(|reason| error(ErrorKind::InvalidAddress).because(reason))?;
    }
    Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

pub(super) fn connect(address: &Address) -> Result<Connecting> {
    gate::refuse_accept(address)?;
    let plan = plan(address)?;
    let sockets = resolve(address, "connecting to")?;
    refuse_port_zero(address, &sockets)?;
    let connecting = Connecting::to(address, sockets.iter().map(any).collect(), SocketType::STREAM, Link::tcp);
    Ok(match plan {
        Some(plan) => connecting.then(plan),
        None => connecting,
    })
}

/// What connecting comes to beyond the socket, if anything.
fn plan(address: &Address) -> Result<Option<Plan>> {
    #[cfg(not(feature = "tls"))]
    gate::refuse_tls(address)?;
    let is_website = address.method().moves_packets;
    let token = gate::token(address, "connecting to", false)?;
    if !is_website && !gate::is_tls(address) && token.is_none() {
        return Ok(None);
    }
    let invalid = |reason| {
        let error = Error::new(ErrorKind::InvalidAddress, format!("connecting to {}", address.text()));
        error.because(reason).at(address.text())
    };
    let Place { host_text, port, path, .. } = place(address).map_err(invalid)?;
    let host = if host_text.is_empty() { "localhost" } else { host_text };
    let mut plan = Plan::new(address, token);
    #[cfg(feature = "tls")]
    if gate::is_tls(address) {
        let name = host.trim_start_matches('[').trim_end_matches(']');
        plan = plan.with_tls(ClientTls::read(address, name, gate::alpn(address))?);
    }
    if is_website {
        let is_usual = port == if gate::is_tls(address) { 443 } else { 80 };
        plan = plan.at_website(if is_usual { host.to_owned() } else { format!("{host}:{port}") }, path);
    }
    Ok(Some(plan))
}

/// Says that a port to be picked cannot be connected to.
pub(super) fn refuse_port_zero(address: &Address, places: &[SocketAddr]) -> Result<()> {
    if places.iter().all(|place| place.port() != 0) {
        return Ok(());
    }
    let error = Error::new(ErrorKind::InvalidAddress, format!("connecting to {}", address.text()));
    Err(error.because("port 0 is for listening").at(address.text()))
}

pub(super) fn listen(address: &Address) -> Result<Listener> {
    let doing = format!("listening on {}", address.text());
    let secrets = Secrets::of(address)?;
    let places = resolve(address, "listening on")?;
    let error = |errno| link::error(errno, doing.clone()).at(address.text());
    let (sockets, port) = bind_all(&places, |place| listen_at(address, place)).map_err(error)?;
    let sockets = sockets.into_iter().map(Arc::new).collect();
    let real = with_port(address, port);
    let Some(secrets) = secrets else {
        let link = |socket| Link::tcp(socket).reached_by_browsers();
        let source = Source::Sockets { sockets, link, file: Mutex::default(), allow: None, is_inherited: false };
        return Ok(Listener::new(real, source));
    };
    let (host, path) = place(address).map_or(("", ""), |place| (place.host_text, place.path));
    let gate = Gate::new(&real, host, port, path, secrets);
    let arrivals = Arrivals::new(gate, sockets, address)?;
    Ok(Listener::new(real, Source::Arrivals(Box::new(arrivals))))
}

/// The same address with the port that it has become.
pub(super) fn with_port(address: &Address, port: u16) -> Address {
    let (host, path) = place(address).map_or(("", ""), |place| (place.host_text, place.path));
    let host = if host.is_empty() { "localhost" } else { host };
    address.with_target(&format!("//{host}:{port}{path}"))
}

/// Binds a socket to each of `places` with one port, which the system picks when it is zero.
pub(super) fn bind_all(
    places: &[SocketAddr],
    bind_at: impl Fn(SocketAddr) -> Result<OwnedFd, Errno>,
) -> Result<(Vec<OwnedFd>, u16), Errno> {
    let mut tries = PORT_TRIES;
    'pick: loop {
        let mut sockets = Vec::new();
        let mut port = places.first().map_or(0, SocketAddr::port);
        let picks = port == 0;
        for place in places {
            match bind_at(SocketAddr::new(place.ip(), port)) {
                Ok(socket) => {
                    port = getsockname(&socket).and_then(SocketAddr::try_from)?.port();
                    sockets.push(socket);
                }
                // A machine without IPv6 has a localhost all the same.
                Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if !sockets.is_empty() => {}
                Err(Errno::ADDRINUSE) if picks && tries > 0 => {
                    tries -= 1;
                    continue 'pick;
                }
                Err(errno) => return Err(errno),
            }
        }
        return Ok((sockets, port));
    }
}

fn listen_at(address: &Address, place: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if place.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // A server that restarts finds its port again although old connections linger; live listeners still exclude.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if place.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &place)?;
    listen_on(&socket, unix::backlog(address))?;
    Ok(socket)
}
