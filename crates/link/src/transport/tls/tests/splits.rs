//! The handshake and data, however the bytes come.

use std::io::IoSlice;
use std::os::fd::OwnedFd;

use bytes::BytesMut;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::super::{ClientTls, ServerTls, Tls};
use super::place::{End, Place, client, server};
use crate::transport::pair;

/// More than a record.
const LENGTH: usize = 20_000;

/// One end, what it has done, and the socket through which the test moves its bytes.
struct Relayed {
    end: End,
    far: OwnedFd,
    is_connected: bool,
    sent: usize,
    inbox: BytesMut,
}

impl Relayed {
    fn new(tls: Tls) -> Self {
        let (ours, far) = pair::sockets().unwrap();
        Relayed { end: End { tls, socket: ours }, far, is_connected: false, sent: 0, inbox: BytesMut::new() }
    }

    /// Does what it can.
    fn step(&mut self, text: &[u8]) {
        let End { tls, socket } = &mut self.end;
        self.is_connected = self.is_connected || tls.handshake(socket).unwrap();
        if !self.is_connected {
            return;
        }
        while self.sent < text.len() {
            match tls.write(socket, &[IoSlice::new(&text[self.sent..])]) {
                Ok(count) => self.sent += count,
                Err(errno) => {
                    assert_eq!(errno, Errno::AGAIN);
                    break;
                }
            }
        }
        tls.flush(socket).unwrap();
        loop {
            let before = self.inbox.len();
            match tls.read(socket, &mut self.inbox) {
                Ok(count) => assert!(count > 0 && count == self.inbox.len() - before),
                Err(errno) => return assert_eq!((errno, tls.broken()), (Errno::AGAIN, None)),
            }
        }
    }
}

/// Moves what has come, at most so many bytes; how many it were.
fn relay(from: &OwnedFd, to: &OwnedFd, most: usize) -> usize {
    let mut room = vec![0; most];
    match recv(from, &mut room[..], RecvFlags::DONTWAIT) {
        Ok((count, _)) => {
            assert_eq!(send(to, &room[..count], SendFlags::DONTWAIT), Ok(count));
            count
        }
        Err(errno) => {
            assert_eq!(errno, Errno::AGAIN);
            0
        }
    }
}

/// Connects the two and has each send a text, in pieces of as many bytes as `next` says. How many bytes went there and
/// back.
fn converse(client: &ClientTls, server: &ServerTls, mut next: impl FnMut() -> usize) -> (usize, usize) {
    let text: Vec<u8> = (0..LENGTH).map(|at| (at % 251) as u8).collect();
    let mut ends = [Relayed::new(Tls::connect(client).unwrap()), Relayed::new(Tls::accept(server).unwrap())];
    let (mut there, mut back) = (0, 0);
    loop {
        for end in &mut ends {
            end.step(&text);
        }
        if ends.iter().all(|end| end.inbox.len() == LENGTH) {
            assert!(ends.iter().all(|end| end.inbox == text));
            return (there, back);
        }
        let moved = (relay(&ends[0].far, &ends[1].far, next()), relay(&ends[1].far, &ends[0].far, next()));
        assert_ne!(moved, (0, 0), "nothing moves");
        there += moved.0;
        back += moved.1;
    }
}

#[test]
fn pieces_of_every_size_are_the_same() {
    let place = Place::new("pieces");
    let certificate = place.certificate("server");
    let server = server(&certificate.shown());
    let [old, new] = certificate.known();
    let believing = client(&certificate.believed());
    for size in (1..40).chain([64, 100, 127, 500, 1000, 4096, 16_000, 16_384, 20_000, 1 << 20]) {
        for client in [&old, &new, &believing] {
            converse(client, &server, || size);
        }
    }
}

#[test]
fn pieces_of_changing_sizes_are_the_same() {
    let place = Place::new("changing");
    let certificate = place.certificate("server");
    let server = server(&certificate.shown());
    for client in certificate.known() {
        for seed in 0..40 {
            let mut state: u64 = seed;
            converse(&client, &server, || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                1 + (state >> 33) as usize % [1, 10, 1000, 20_000][(state >> 60) as usize % 4]
            });
        }
    }
}

#[test]
fn a_split_anywhere_in_the_handshake_is_the_same() {
    let place = Place::new("anywhere");
    let certificate = place.certificate("server");
    let server = server(&certificate.shown());
    for client in certificate.known() {
        let (there, back) = converse(&client, &server, || 1 << 20);
        for at in (1..there.max(back) - LENGTH).step_by(5) {
            // Each direction's first piece, then all the rest.
            let mut pieces = [at, at].into_iter();
            converse(&client, &server, || pieces.next().unwrap_or(1 << 20));
        }
    }
}

#[test]
fn a_client_that_shows_a_certificate_is_the_same() {
    let place = Place::new("shown");
    let (own, other) = (place.certificate("own"), place.certificate("other"));
    let server = server(&format!("{}&client_ca={}", own.shown(), other.cert));
    let client = client(&format!("{}&{}", own.believed(), other.shown()));
    for size in [1, 2, 3, 5, 7, 100, 1 << 20] {
        converse(&client, &server, || size);
    }
}
