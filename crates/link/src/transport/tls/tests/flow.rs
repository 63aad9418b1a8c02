//! Data once the handshake is done: bounds, ends, keys.

use std::io::IoSlice;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use panpipe_wire::ErrorKind::{BadPeer, ConnectionLost};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown, sockopt};
use rustls::server::ServerSessionMemoryCache;
use rustls::unbuffered::ConnectionState;

use super::super::side::Side;
use super::super::{BROKEN, ClientTls, FRUITLESS, INPUT, OUTPUT, ServerTls, Tls};
use super::place::{End, Ends, Place, client, server};

/// Connections go from thread to thread.
const _: fn() = || {
    fn goes_anywhere<T: Send + Sync>() {}
    goes_anywhere::<(Tls, ClientTls, ServerTls)>();
};

fn connected(place: &Place) -> Ends {
    let certificate = place.certificate("server");
    Ends::connected(&client(&certificate.believed()), &server(&certificate.shown()))
}

fn is_readable(end: &End) -> bool {
    let mut fds = [PollFd::new(&end.socket, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
}

#[test]
fn what_follows_the_handshake_leaves_the_socket_readable() {
    let place = Place::new("follows");
    let certificate = place.certificate("server");
    for client in certificate.known() {
        let mut ends = Ends::new(&client, &server(&certificate.shown()));
        while ends.client.shake() != Some(Ok(())) {
            ends.server.shake();
        }
        // Beside the last bytes of the handshake, where these are the client's.
        ends.client.send(b"at once");
        assert_eq!(ends.server.shake(), Some(Ok(())));
        assert!(is_readable(&ends.server));
        assert_eq!(ends.server.read(), Ok(b"at once".to_vec()));
        assert!(ends.server.tls.has_read_all() && !is_readable(&ends.server));
        assert_eq!(ends.server.read(), Err(Errno::AGAIN));
    }
}

#[test]
fn nothing_follows_the_handshake_by_itself() {
    let place = Place::new("nothing");
    let certificate = place.certificate("server");
    for client in certificate.known() {
        let mut ends = Ends::connected(&client, &server(&certificate.shown()));
        assert!(!is_readable(&ends.client) && !is_readable(&ends.server));
        assert_eq!((ends.client.read(), ends.server.read()), (Err(Errno::AGAIN), Err(Errno::AGAIN)));
    }
}

#[test]
fn a_read_brings_all_that_came_whatever_the_inbox_has_room_for() {
    let place = Place::new("all");
    let mut ends = connected(&place);
    let text: Vec<u8> = (0..60_000).map(|at| (at % 251) as u8).collect();
    ends.client.send(&text[..30_000]);
    ends.client.send(&text[30_000..]);
    let mut inbox = BytesMut::from(&b"before"[..]);
    assert_eq!(ends.server.tls.read(&ends.server.socket, &mut inbox), Ok(60_000));
    assert_eq!(inbox, [b"before", &text[..]].concat());
}

#[test]
fn many_parts_go_as_one() {
    let place = Place::new("parts");
    let mut ends = connected(&place);
    let text: Vec<u8> = (0..50_000).map(|at| (at % 251) as u8).collect();
    for cuts in [[0, 0], [4, 40_000], [1, 2], [16_362, 32_724], [49_999, 50_000], [20_000, 20_000], [16_361, 16_363]] {
        let parts = [&text[..cuts[0]], &text[cuts[0]..cuts[1]], &text[cuts[1]..]].map(IoSlice::new);
        assert_eq!(ends.client.tls.write(&ends.client.socket, &parts), Ok(50_000));
        // As few records as there can be: 22 bytes each.
        let mut sealed = vec![0; 64 << 10];
        let (count, _) = recv(&ends.server.socket, &mut sealed[..], RecvFlags::PEEK).unwrap();
        assert_eq!(count, 50_000 + 4 * 22, "{cuts:?}");
        assert_eq!(ends.server.receive(50_000), text);
    }
    assert_eq!(ends.client.tls.write(&ends.client.socket, &[]), Ok(0));
    assert_eq!(ends.client.tls.write(&ends.client.socket, &[IoSlice::new(b"")]), Ok(0));
}

#[test]
fn a_record_has_16_kib() {
    let place = Place::new("records");
    let mut ends = connected(&place);
    ends.client.send(&[7; 16_362]);
    let mut sealed = vec![0; 64 << 10];
    let (count, _) = recv(&ends.server.socket, &mut sealed[..], RecvFlags::PEEK).unwrap();
    assert_eq!(count, 16 << 10);
}

#[test]
fn a_mebibyte_goes_through_a_small_buffer_both_ways_at_once() {
    let place = Place::new("mebibyte");
    let certificate = place.certificate("server");
    let text: Vec<u8> = (0..1 << 20).map(|at: usize| (at.wrapping_mul(2_654_435_761) >> 7) as u8).collect();
    for client in certificate.known() {
        let mut ends = Ends::connected(&client, &server(&certificate.shown()));
        for end in [&ends.client, &ends.server] {
            sockopt::set_socket_send_buffer_size(&end.socket, 4096).unwrap();
        }
        let mut left = [&text[..], &text[..]];
        let mut inboxes = [BytesMut::new(), BytesMut::new()];
        while inboxes.iter().any(|inbox| inbox.len() < text.len()) {
            for (at, end) in [&mut ends.client, &mut ends.server].into_iter().enumerate() {
                loop {
                    let (head, tail) = left[at].split_at(left[at].len().min(100));
                    match end.tls.write(&end.socket, &[IoSlice::new(head), IoSlice::new(tail)]) {
                        Ok(0) => break,
                        Ok(count) => left[at].advance(count),
                        Err(errno) => {
                            assert_eq!(errno, Errno::AGAIN);
                            assert!(end.tls.wants_write());
                            break;
                        }
                    }
                    assert!(end.tls.output.len() <= OUTPUT, "{}", end.tls.output.len());
                }
                end.tls.flush(&end.socket).unwrap();
                while let Ok(count) = end.tls.read(&end.socket, &mut inboxes[at]) {
                    assert!(count <= 64 << 10);
                }
            }
        }
        assert!(inboxes.iter().all(|inbox| inbox == &text));
    }
}

#[test]
fn no_more_than_64_kib_wait_where_nobody_reads() {
    let place = Place::new("bound");
    let mut ends = connected(&place);
    sockopt::set_socket_send_buffer_size(&ends.client.socket, 4096).unwrap();
    let text = [7; 100_000];
    let mut taken = 0;
    for size in [100_000, 1, 40_000, 5, 16_000].into_iter().cycle() {
        match ends.client.tls.write(&ends.client.socket, &[IoSlice::new(&text[..size])]) {
            Ok(count) => taken += count,
            Err(errno) => {
                assert_eq!(errno, Errno::AGAIN);
                break;
            }
        }
        assert!(ends.client.tls.output.len() <= OUTPUT);
    }
    // It was made use of.
    assert!(ends.client.tls.output.len() > OUTPUT - (17 << 10), "{}", ends.client.tls.output.len());
    assert!(ends.client.tls.wants_write());
    let mut come = 0;
    while come < taken {
        ends.client.tls.flush(&ends.client.socket).unwrap();
        come += ends.server.read().map_or(0, |text| text.len());
    }
    assert_eq!((come, ends.client.tls.wants_write()), (taken, false));
    // Nothing of it is kept.
    assert_eq!(ends.client.tls.output.capacity(), 0);
}

#[test]
fn a_closed_connection_ends_after_what_was_sent() {
    let place = Place::new("close");
    let certificate = place.certificate("server");
    for client in certificate.known() {
        let mut ends = Ends::connected(&client, &server(&certificate.shown()));
        ends.client.send(b"the last");
        ends.client.tls.end_output(&ends.client.socket);
        assert!(!ends.client.tls.wants_write());
        assert_eq!(ends.client.tls.write(&ends.client.socket, &[IoSlice::new(b"more")]), Err(Errno::PIPE));
        assert_eq!(ends.server.read(), Ok(b"the last".to_vec()));
        // The socket need not become readable once more.
        assert!(!ends.server.tls.has_read_all());
        assert_eq!(ends.server.read(), Ok(vec![]));
        assert_eq!(ends.server.read(), Ok(vec![]));
        // Twice is once.
        ends.client.tls.end_output(&ends.client.socket);
        assert!(!is_readable(&ends.server));
    }
}

#[test]
fn closing_where_there_is_no_room_waits_for_it() {
    let place = Place::new("close-full");
    let mut ends = connected(&place);
    sockopt::set_socket_send_buffer_size(&ends.client.socket, 4096).unwrap();
    let mut sent = 0;
    while let Ok(count) = ends.client.tls.write(&ends.client.socket, &[IoSlice::new(&[7; 30_000])]) {
        sent += count;
    }
    ends.client.tls.end_output(&ends.client.socket);
    assert!(ends.client.tls.wants_write());
    let mut come = 0;
    loop {
        match ends.server.read() {
            Ok(text) if text.is_empty() => break,
            Ok(text) => come += text.len(),
            Err(errno) => assert_eq!(errno, Errno::AGAIN),
        }
        ends.client.tls.flush(&ends.client.socket).unwrap();
    }
    assert_eq!((come, ends.client.tls.wants_write()), (sent, false));
}

#[test]
fn a_connection_that_is_cut_is_lost() {
    let place = Place::new("lost");
    let reason = "the connection was cut: TLS was not closed, and something may be missing";
    let lost = (ConnectionLost, reason.to_owned());
    // Between records, and inside one.
    for kept in [None, Some(1), Some(5), Some(20)] {
        let mut ends = connected(&place);
        ends.client.send(b"before");
        assert_eq!(ends.server.read(), Ok(b"before".to_vec()));
        if let Some(kept) = kept {
            ends.server.send(b"cut off in the middle");
            let mut sealed = [0; 64];
            recv(&ends.client.socket, &mut sealed, RecvFlags::DONTWAIT).unwrap();
            // Sealed by the server, and so for the client: it comes back from there.
            send(&ends.server.socket, &sealed[..kept], SendFlags::empty()).unwrap();
            assert_eq!(ends.client.read(), Err(Errno::AGAIN));
        }
        shutdown(&ends.server.socket, Shutdown::Write).unwrap();
        assert_eq!(ends.client.breaks(), lost);
        assert_eq!(ends.client.tls.write(&ends.client.socket, &[IoSlice::new(b"more")]), Err(BROKEN));
    }
}

#[test]
fn a_record_that_was_changed_is_a_bad_peer_behind_good_data() {
    let place = Place::new("changed");
    let mut ends = connected(&place);
    ends.client.send(b"good");
    ends.client.send(b"changed");
    let mut sealed = [0; 128];
    let (count, _) = recv(&ends.server.socket, &mut sealed, RecvFlags::DONTWAIT).unwrap();
    sealed[count - 1] ^= 1;
    send(&ends.client.socket, &sealed[..count], SendFlags::empty()).unwrap();
    assert_eq!(ends.server.read(), Ok(b"good".to_vec()));
    assert!(!ends.server.tls.has_read_all());
    assert_eq!(ends.server.breaks(), (BadPeer, "a TLS record is not what was sent".to_owned()));
    let told = "the other side ended TLS by the alert BadRecordMac";
    assert_eq!(ends.client.breaks(), (BadPeer, told.to_owned()));
}

/// Has this end ask for new keys, with its next message.
fn ask_for_new_keys(end: &mut End) {
    let traffic = match &mut end.tls.side {
        Side::Client(connection) => connection.process_tls_records(&mut []).state.map(|state| match state {
            ConnectionState::WriteTraffic(traffic) => traffic.refresh_traffic_keys(),
            other => panic!("{other:?}"),
        }),
        Side::Server(connection) => connection.process_tls_records(&mut []).state.map(|state| match state {
            ConnectionState::WriteTraffic(traffic) => traffic.refresh_traffic_keys(),
            other => panic!("{other:?}"),
        }),
    };
    traffic.unwrap().unwrap();
    let Tls { side, output, .. } = &mut end.tls;
    side.open(&mut [], output, &mut BytesMut::new());
    end.tls.flush(&end.socket).unwrap();
}

#[test]
fn keys_are_changed_and_data_goes_on() {
    let place = Place::new("keys");
    let certificate = place.certificate("server");
    let mut ends = Ends::connected(&certificate.known()[1], &server(&certificate.shown()));
    for _ in 0..100 {
        ask_for_new_keys(&mut ends.client);
        assert_eq!(ends.server.read(), Err(Errno::AGAIN));
        ends.exchange(b"under new keys", b"and back");
        ask_for_new_keys(&mut ends.server);
        ends.exchange(b"there", b"under newer keys");
    }
}

#[test]
fn endless_changes_of_keys_are_an_attack() {
    let place = Place::new("endless");
    let certificate = place.certificate("server");
    let mut ends = Ends::connected(&certificate.known()[1], &server(&certificate.shown()));
    for _ in 0..33 {
        ask_for_new_keys(&mut ends.client);
    }
    let reason = "TLS: peer misbehaved: TooManyKeyUpdateRequests";
    assert_eq!(ends.server.breaks(), (BadPeer, reason.to_owned()));
}

/// A server that sends so many tickets, in records of so many bytes.
fn giving_tickets(certificate: &super::place::Certified, count: usize, record: usize) -> ServerTls {
    let mut server = server(&certificate.shown());
    let config = Arc::make_mut(&mut server.config);
    config.session_storage = ServerSessionMemoryCache::new(8);
    config.send_tls13_tickets = count;
    config.max_fragment_size = Some(record);
    server
}

#[test]
fn a_message_about_keys_may_come_in_pieces_between_writes() {
    let place = Place::new("tickets");
    let certificate = place.certificate("server");
    let server = giving_tickets(&certificate, 2, 40);
    let mut ends = Ends::connected(&certificate.known()[1], &server);
    let mut sealed = vec![0; 4096];
    let (count, _) = recv(&ends.client.socket, &mut sealed[..], RecvFlags::DONTWAIT).unwrap();
    // Byte by byte, and each time this end writes too.
    for byte in &sealed[..count] {
        send(&ends.server.socket, &[*byte], SendFlags::empty()).unwrap();
        assert_eq!(ends.client.read(), Err(Errno::AGAIN));
        ends.client.send(b".");
        assert_eq!(ends.server.read(), Ok(b".".to_vec()));
    }
    ends.exchange(b"there", b"back");
}

#[test]
fn records_without_data_are_not_read_for_ever() {
    let place = Place::new("fruitless");
    let certificate = place.certificate("server");
    let client = &certificate.known()[1];
    let ends = Ends::connected(client, &giving_tickets(&certificate, 1, 16_000));
    let mut sealed = [0; 1024];
    let (ticket, _) = recv(&ends.client.socket, &mut sealed, RecvFlags::DONTWAIT).unwrap();
    // Records of whole tickets, header, type and tag being no part of one; and tickets that go on in the next record.
    let whole = 5 + 100 * (ticket - 22);
    for (count, record, most, reason) in [
        (15_000, whole, FRUITLESS, "the other side sends TLS records without data"),
        (2_000, whole - 1, INPUT - (32 << 10), "more than 64 KiB of TLS handshake messages at once"),
    ] {
        let mut ends = Ends::new(client, &giving_tickets(&certificate, count, record));
        while ends.client.shake() != Some(Ok(())) {
            ends.server.shake();
        }
        loop {
            ends.server.shake();
            match ends.client.read() {
                Err(Errno::AGAIN) => {}
                other => break assert_eq!(other, Err(BROKEN)),
            }
        }
        assert!(ends.client.tls.fruitless > most, "{}", ends.client.tls.fruitless);
        assert_eq!(ends.client.breaks(), (BadPeer, reason.to_owned()));
    }
}
