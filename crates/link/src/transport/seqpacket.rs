//! `unix-seqpacket:PATH` and `unix-seqpacket:@NAME`: connections of packets inside one machine.

use rustix::net::SocketType;

use panpipe_wire::{Method, PANPIPE};

use super::link::Link;
use super::{Transport, unix};

pub(super) const TRANSPORT: Transport = Transport {
    method: &Method {
        scheme: "unix-seqpacket",
        form: "unix-seqpacket:PATH, unix-seqpacket:@NAME",
        options: &[unix::BACKLOG, unix::CONNECTIONS, unix::MODE, unix::ALLOW],
        check: unix::check,
        moves_packets: true,
        protocol: PANPIPE,
        reaches: "this machine",
        reliable: "yes",
        ordered: "yes",
        readers: "many",
        death: "seen at once",
        costs: "two copies, and a system call a message",
        trial: Some("unix-seqpacket:/tmp/panpipe-trial-*"),
        good_for: "messages that keep their boundaries without a framing, and fast large ones",
        not_for: "empty messages, messages beyond 200 KiB; programs that know only streams, such as Node.js alone",
    },
    connect: |address| unix::connect(address, SocketType::SEQPACKET, Link::packets),
    listen: |address| unix::listen(address, SocketType::SEQPACKET, Link::packets),
    may_block: |_| false,
};
