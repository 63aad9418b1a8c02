//! `ws://host:port/path` and `wss://host:port/path`: WebSocket (RFC 6455), one message a packet, on TCP and on TLS.

use panpipe_wire::{Method, PANPIPE};

use super::Transport;
use super::credentials::{CA, CERT, CLIENT_CA, FINGERPRINT, KEY};
use super::gate::{HOST, ORIGIN, STATIC, TOKEN};
use super::tcp::{self, INSECURE};
use super::unix::{BACKLOG, CONNECTIONS};

pub(super) const WS: Transport = Transport {
    method: &Method {
        scheme: "ws",
        form: "ws://HOST:PORT/PATH",
        options: &[BACKLOG, CONNECTIONS, INSECURE, HOST, ORIGIN, TOKEN, STATIC],
        check: tcp::check,
        moves_packets: true,
        protocol: PANPIPE,
        reaches: "other machines",
        reliable: "yes",
        ordered: "yes",
        readers: "many",
        death: "seen at once; with its whole machine, at the deadline",
        costs: "as tcp, and 2 to 14 bytes a message",
        trial: Some("ws://localhost:0"),
        good_for: "browsers, and what only lets HTTP through",
        not_for: "secrets across a network (no encryption; wss: has it)",
    },
    connect: tcp::connect,
    listen: tcp::listen,
    may_block: tcp::may_block,
};

pub(super) const WSS: Transport = Transport {
    method: &Method {
        scheme: "wss",
        form: "wss://HOST:PORT/PATH",
        options: &[BACKLOG, CONNECTIONS, CA, CERT, KEY, CLIENT_CA, FINGERPRINT, HOST, ORIGIN, TOKEN, STATIC],
        costs: "as tls, and 2 to 14 bytes a message",
        trial: None,
        good_for: "browsers on other machines; networks that others can read",
        not_for: "a first try (it needs a certificate: panpipe cert makes one)",
        ..*WS.method
    },
    ..WS
};
