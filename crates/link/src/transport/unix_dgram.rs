//! `unix-dgram:PATH` and `unix-dgram:@NAME`: datagrams inside one machine, which arrive, in order.

use std::os::fd::OwnedFd;
use std::sync::Mutex;

use panpipe_wire::{Address, Method, PLAIN, Result};
use rustix::net::{SocketAddrUnix, SocketType, bind, connect as connect_to};

use super::connecting::Connecting;
use super::datagram::Datagrams;
use super::link::{self, Link};
use super::listener::{Listener, Source};
use super::senders::Senders;
use super::socket_file::SocketFile;
use super::unix::Place;
use super::{Transport, unix};

pub(super) const TRANSPORT: Transport = Transport {
    method: &Method {
        scheme: "unix-dgram",
        form: "unix-dgram:PATH, unix-dgram:@NAME",
        options: &[unix::MODE],
        check: unix::check,
        moves_packets: true,
        protocol: PLAIN,
        reaches: "this machine",
        reliable: "yes, while both live",
        ordered: "yes, each sender's",
        readers: "one reader, many writers",
        death: "seen at the next message",
        costs: "two copies, and a system call a message",
        trial: Some("unix-dgram:/tmp/panpipe-trial-*"),
        good_for: "log and metrics messages from many programs; boundaries kept",
        not_for: "streams, messages beyond 200 KiB; knowing that the other side went away",
    },
    connect,
    listen,
    may_block: |_| false,
};

fn connect(address: &Address) -> Result<Connecting> {
    let doing = "connecting to";
    unix::refuse_star(address)?;
    let place = unix::place(address, doing)?;
    let error = |errno| link::error(errno, format!("{doing} {}", address.text())).at(address.text());
    let socket = unix::new_socket(SocketType::DGRAM).map_err(error)?;
    // A name that the system picks, so that there is one to answer to.
    bind(&socket, &SocketAddrUnix::new_unnamed()).map_err(error)?;
    connect_to(&socket, &place.address).map_err(error)?;
    let most = largest(&socket, address);
    Ok(Connecting::ready(address, Link::datagrams(socket, Datagrams::reliable(most))))
}

fn listen(address: &Address) -> Result<Listener> {
    let picked = unix::pick_name(address)?;
    let address = picked.as_ref().unwrap_or(address);
    let Place { address: place, folder: _folder } = unix::place(address, "listening on")?;
    let doing = format!("listening on {}", address.text());
    let error = |errno| link::error(errno, doing.clone()).at(address.text());
    let socket = unix::new_socket(SocketType::DGRAM).map_err(error)?;
    let most = largest(&socket, address);
    let file = match unix::path(address) {
        Some(path) => {
            let made = SocketFile::bind(&socket, &place, path, unix::mode(address), None);
            Some(made.map_err(|failure| failure.into_error(&doing).at(address.text()))?)
        }
        None => {
            bind(&socket, &place).map_err(error)?;
            None
        }
    };
    let senders = Senders::new(vec![socket], most, false).map_err(error)?;
    Ok(Listener::new(address.clone(), Source::Senders { senders, file: Mutex::new(file) }))
}

/// What the socket's send buffer takes whole, or `max` where that is less.
fn largest(socket: &OwnedFd, address: &Address) -> usize {
    link::largest_packet(socket).min(address.max)
}
