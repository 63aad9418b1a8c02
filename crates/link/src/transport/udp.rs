//! `udp://host:port`: datagrams, on this machine or another.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use panpipe_wire::{Address, Method, OptionInfo, PLAIN, Result};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect as connect_to, socket_with, sockopt};

use super::connecting::{Connecting, any};
use super::datagram::Datagrams;
use super::link::{self, Link};
use super::listener::{Listener, Source};
use super::senders::Senders;
use super::{Transport, tcp};

pub(super) const TRANSPORT: Transport = Transport {
    method: &Method {
        scheme: "udp",
        form: "udp://HOST:PORT",
        options: &[
            tcp::INSECURE,
            OptionInfo {
                name: "group",
                value: "an IPv4 multicast address, as 239.1.2.3",
                default: "none",
                summary: "sends to, or joins, this group on the interface that has the address's host",
                check: |value| value.parse().is_ok_and(|group: Ipv4Addr| group.is_multicast()),
            },
            OptionInfo {
                name: "broadcast",
                value: "true or false",
                default: "false",
                summary: "the host is a broadcast address: everybody on the network gets what is sent",
                check: |value| matches!(value, "true" | "false"),
            },
        ],
        check,
        moves_packets: true,
        protocol: PLAIN,
        reaches: "other machines",
        reliable: "no",
        ordered: "no",
        readers: "one reader, many writers",
        death: "refused if its machine answers, else at the deadline",
        costs: "two copies, and a system call a message",
        trial: Some("udp://localhost:0"),
        good_for: "small messages where a lost one does not matter; many senders, one receiver",
        not_for: "messages beyond 1,200 bytes, order, certainty",
    },
    connect,
    listen,
    may_block: tcp::may_block,
};

/// What gets through every network whole (RFC 9000, section 14), unless the address says otherwise.
const USUAL: usize = 1200;

/// A datagram's length field, less both headers (RFC 768, RFC 791).
const LARGEST: usize = 65_507;

/// Bytes of the largest message.
pub(super) fn most(address: &Address) -> usize {
    match address.option("max") {
        Some(_) => address.max.min(LARGEST),
        None => USUAL,
    }
}

fn group(address: &Address) -> Option<Ipv4Addr> {
    address.option("group").and_then(|group| group.parse().ok())
}

fn check(address: &Address) -> Result<(), String> {
    tcp::check(address)?;
    match group(address).is_some() && address.option("broadcast") == Some("true") {
        true => Err("a group is no broadcast; leave one of them out".into()),
        false => Ok(()),
    }
}

/// The socket addresses behind the address; with a group those of the interface, which are IPv4.
fn resolve(address: &Address, doing: &str) -> Result<Vec<SocketAddr>> {
    let mut places = tcp::resolve(address, doing)?;
    if group(address).is_some() {
        places.retain(SocketAddr::is_ipv4);
    }
    match places.is_empty() {
        true => Err(error(address, doing)(Errno::AFNOSUPPORT)),
        false => Ok(places),
    }
}

fn error(address: &Address, doing: &str) -> impl Fn(Errno) -> panpipe_wire::Error {
    move |errno| link::error(errno, format!("{doing} {}", address.text())).at(address.text())
}

/// Nothing is exchanged, so that nothing tells which of several addresses answers: the first that the system takes.
fn connect(address: &Address) -> Result<Connecting> {
    let doing = "connecting to";
    let places = resolve(address, doing)?;
    tcp::refuse_port_zero(address, &places)?;
    let mut failure = Errno::AFNOSUPPORT;
    for place in places {
        match open_to(address, place) {
            Ok(link) => return Ok(Connecting::ready(address, link)),
            Err(errno) => failure = errno,
        }
    }
    Err(error(address, doing)(failure))
}

fn open_to(address: &Address, place: SocketAddr) -> Result<Link, Errno> {
    let socket = new_socket(place)?;
    let is_broadcast = address.option("broadcast") == Some("true");
    let datagrams = match (group(address), place.ip()) {
        (Some(group), IpAddr::V4(interface)) => {
            sockopt::set_ip_multicast_if(&socket, &interface)?;
            Datagrams::to_many(most(address), any(&SocketAddr::new(group.into(), place.port())))
        }
        _ if is_broadcast => {
            sockopt::set_socket_broadcast(&socket, true)?;
            Datagrams::to_many(most(address), any(&place))
        }
        _ => {
            connect_to(&socket, &place)?;
            Datagrams::lossy(&socket, most(address))
        }
    };
    Ok(Link::datagrams(socket, datagrams))
}

fn listen(address: &Address) -> Result<Listener> {
    let doing = "listening on";
    let places = resolve(address, doing)?;
    let (sockets, port) = tcp::bind_all(&places, |place| bind_at(address, place)).map_err(error(address, doing))?;
    let senders = Senders::new(sockets, most(address), true).map_err(error(address, doing))?;
    Ok(Listener::new(tcp::with_port(address, port), Source::Senders { senders, file: Mutex::default() }))
}

fn bind_at(address: &Address, place: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = new_socket(place)?;
    match (group(address), place.ip()) {
        (Some(group), IpAddr::V4(interface)) => {
            // A group is for several, and those may be of one machine.
            sockopt::set_socket_reuseaddr(&socket, true)?;
            // Bound to the group it hears nothing else.
            bind(&socket, &SocketAddr::new(group.into(), place.port()))?;
            sockopt::set_ip_add_membership(&socket, &group, &interface)?;
            sockopt::set_ip_multicast_if(&socket, &interface)?;
        }
        _ => bind(&socket, &place)?,
    }
    Ok(socket)
}

fn new_socket(place: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if place.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if place.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}
