//! Who is not believed, and what is no TLS: each has its own code and reason, at both ends.

use std::sync::Arc;

use panpipe_wire::ErrorKind::{BadPeer, ConnectionLost, Unauthenticated};
use rcgen::date_time_ymd;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::super::{ClientTls, Tls};
use super::place::{End, Ends, Outcome, Place, address, client, server};
use crate::transport::pair;

fn refused(reason: &str) -> Outcome {
    Err((Unauthenticated, reason.to_owned()))
}

fn not_taken(why: &str) -> Outcome {
    refused(&format!("the other side does not take this side's certificate: {why}"))
}

#[test]
fn a_listener_is_believed_by_its_issuer_or_as_it_is() {
    let place = Place::new("believed");
    let own = place.certificate("own");
    let issuer = place.changed("issuer", |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    let issued = place.issued("issued", &issuer);
    for (shown, believed) in [(&own, &own), (&issued, &issuer), (&issuer, &issuer)] {
        let mut ends = Ends::connected(&client(&believed.believed()), &server(&shown.shown()));
        ends.exchange(b"Hello, server!", b"HELLO, SERVER!");
        for host in ["127.0.0.1", "::1"] {
            let client = ClientTls::read(&address(&believed.believed()), host, None).unwrap();
            Ends::connected(&client, &server(&shown.shown()));
        }
    }
}

#[test]
fn a_listener_with_another_name_is_not() {
    let place = Place::new("name");
    let certificate = place.certificate("server");
    let bad = not_taken("it says that it is bad");
    for (host, reason) in [
        ("example.org", "its certificate is for localhost, 127.0.0.1, ::1, and not for example.org"),
        ("192.0.2.1", "its certificate is for localhost, 127.0.0.1, ::1, and not for 192.0.2.1"),
    ] {
        let client = ClientTls::read(&address(&certificate.believed()), host, None).unwrap();
        let outcome = Ends::new(&client, &server(&certificate.shown())).shake();
        assert_eq!(outcome, (refused(reason), bad.clone()));
    }
    // One that the file itself lists as a CA's is for its names alone, too.
    let issuer = place.changed("issuer", |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.subject_alt_names.truncate(1);
    });
    let client = ClientTls::read(&address(&issuer.believed()), "127.0.0.1", None).unwrap();
    let outcome = Ends::new(&client, &server(&issuer.shown())).shake();
    assert_eq!(outcome, (refused("its certificate is for localhost, and not for 127.0.0.1"), bad));
}

#[test]
fn a_listener_that_nobody_vouches_for_is_not() {
    let place = Place::new("issuer");
    let ca = |params: &mut rcgen::CertificateParams| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    };
    let (issuer, other) = (place.changed("issuer", ca), place.certificate("other"));
    let issued = place.issued("issued", &issuer);
    let own = place.certificate("own");
    let unknown = "its certificate was issued by somebody who is not believed";
    let outcome = Ends::new(&client(&other.believed()), &server(&issued.shown())).shake();
    assert_eq!(outcome, (refused(unknown), not_taken("it does not know who issued it")));
    let itself = "its certificate is self-signed, and not among those that are believed";
    for shown in [&own, &issuer] {
        let outcome = Ends::new(&client(&other.believed()), &server(&shown.shown())).shake();
        assert_eq!(outcome, (refused(itself), not_taken("it does not know it")));
    }
}

#[test]
fn a_listener_with_the_name_of_who_is_believed_is_not() {
    let place = Place::new("namesake");
    let own = place.certificate("own");
    let namesake = place.changed("namesake", |params| params.distinguished_name.push(rcgen::DnType::CommonName, "own"));
    let outcome = Ends::new(&client(&namesake.believed()), &server(&own.shown())).shake();
    let itself = "its certificate is self-signed, and not among those that are believed";
    assert_eq!(outcome, (refused(itself), not_taken("it does not know it")));
}

/// Needs the roots of a system, as Debian's ca-certificates has them.
#[test]
fn a_self_signed_listener_is_none_that_the_system_vouches_for() {
    let place = Place::new("system");
    let own = place.certificate("own");
    let client = match ClientTls::read(&address(""), "localhost", None) {
        Ok(client) => client,
        Err(error) => return assert!(error.to_string().contains("not-found: the system has no root certificates")),
    };
    let outcome = Ends::new(&client, &server(&own.shown())).shake();
    let itself = "its certificate is self-signed, and not among those that are believed";
    assert_eq!(outcome, (refused(itself), not_taken("it does not know it")));
}

#[test]
fn a_listener_whose_certificate_is_out_of_its_time_is_not() {
    let place = Place::new("time");
    let past = place.changed("past", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let future = place.changed("future", |params| params.not_before = date_time_ymd(2999, 1, 1));
    let issuer = place.changed("issuer", |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    for (certificate, begins, ends) in [
        (&past, "its certificate expired ", " days ago"),
        (&issuer, "its certificate expired ", " days ago"),
        (&future, "its certificate is not valid yet, but in ", " days"),
    ] {
        let (client, server) = Ends::new(&client(&certificate.believed()), &server(&certificate.shown())).shake();
        assert_eq!(server, not_taken("it has expired, or is not valid yet"));
        let (code, reason) = client.unwrap_err();
        let days = reason.strip_prefix(begins).and_then(|reason| reason.strip_suffix(ends));
        assert!(code == Unauthenticated && days.unwrap().parse::<u32>().unwrap() > 2000, "{reason}");
    }
}

#[test]
fn a_fingerprint_is_all_that_is_asked_for() {
    let place = Place::new("fingerprint");
    // Wrong in everything else.
    let odd = place.changed("odd", |params| {
        params.subject_alt_names.clear();
        params.extended_key_usages.clear();
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let other = place.certificate("other");
    let known = |certificate: &super::place::Certified| format!("fingerprint={}", certificate.fingerprint());
    let both = format!("{},{}", known(&other), odd.fingerprint());
    for options in [known(&odd), both] {
        Ends::connected(&client(&options), &server(&odd.shown())).exchange(b"there", b"back");
    }
    let outcome = Ends::new(&client(&known(&other)), &server(&odd.shown())).shake();
    let reason = format!("its certificate has another fingerprint: {}", odd.fingerprint());
    assert_eq!(outcome, (refused(&reason), not_taken("it does not know it")));
}

/// Shows a certificate whose key it does not have.
#[derive(Debug)]
struct Thief(Arc<CertifiedKey>);

impl ResolvesServerCert for Thief {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[test]
fn a_fingerprint_without_the_key_is_not_enough() {
    let place = Place::new("thief");
    let (victim, own) = (place.certificate("victim"), place.certificate("own"));
    let key = PrivateKeyDer::try_from(own.secret.serialize_der()).unwrap();
    let stolen = CertifiedKey::new(vec![CertificateDer::from(victim.der.clone())], any_supported_type(&key).unwrap());
    let mut thief = server(&own.shown());
    Arc::make_mut(&mut thief.config).cert_resolver = Arc::new(Thief(Arc::new(stolen)));
    for client in victim.known() {
        let (client, server) = Ends::new(&client, &thief).shake();
        assert_eq!(client, refused("its certificate does not fit the signature"));
        let alert = "the other side ended TLS by the alert DecryptError";
        assert_eq!(server, Err((BadPeer, alert.to_owned())));
    }
}

#[test]
fn a_client_shows_what_the_listener_wants() {
    let place = Place::new("client");
    let listener = place.certificate("listener");
    let issuer = place.changed("issuer", |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    let (issued, own) = (place.issued("issued", &issuer), place.certificate("own"));
    let by_issuer = server(&format!("{}&client_ca={}", listener.shown(), issuer.cert));
    let by_own = server(&format!("{}&client_ca={}", listener.shown(), own.cert));
    let by_print = server(&format!("{}&fingerprint={}", listener.shown(), own.fingerprint()));
    let showing = |shown: &super::place::Certified| client(&format!("{}&{}", listener.believed(), shown.shown()));
    for (shown, server) in [(&issued, &by_issuer), (&issuer, &by_issuer), (&own, &by_own), (&own, &by_print)] {
        Ends::connected(&showing(shown), server).exchange(b"there", b"back");
    }
    let itself = "its certificate is self-signed, and not among those that are believed";
    let unknown = "its certificate was issued by somebody who is not believed";
    let another = format!("its certificate has another fingerprint: {}", issued.fingerprint());
    for (shown, server, reason, told) in [
        (&own, &by_issuer, itself, not_taken("it does not know it")),
        (&issued, &by_own, unknown, not_taken("it does not know who issued it")),
        (&issued, &by_print, &another, not_taken("it does not know it")),
    ] {
        let mut ends = Ends::new(&showing(shown), server);
        // The client has done its part when the listener judges it (RFC 8446, section 2).
        assert_eq!(ends.shake(), (Ok(()), refused(reason)));
        assert_eq!(Err(ends.client.breaks()), told);
    }
    let wants = refused("the other side wants a certificate of this side, which cert and key give");
    for server in [&by_issuer, &by_own, &by_print] {
        let mut ends = Ends::new(&client(&listener.believed()), server);
        assert_eq!(ends.shake(), (Ok(()), refused("the other side shows no certificate, and must")));
        assert_eq!(Err(ends.client.breaks()), wants);
        // TLS 1.2 tells within the handshake.
        let mut ends = Ends::new(&listener.known()[0], server);
        assert_eq!(ends.shake(), (wants.clone(), refused("the other side shows no certificate, and must")));
    }
}

#[test]
fn a_listener_that_wants_no_certificate_is_shown_none() {
    let place = Place::new("unasked");
    let (listener, own) = (place.certificate("listener"), place.certificate("own"));
    Ends::connected(&client(&format!("{}&{}", listener.believed(), own.shown())), &server(&listener.shown()));
}

/// One end whose other end the test is.
fn alone(tls: Tls) -> (End, std::os::fd::OwnedFd) {
    let (ours, theirs) = pair::sockets().unwrap();
    (End { tls, socket: ours }, theirs)
}

#[test]
fn what_is_not_tls_is_told_by_its_first_bytes() {
    let place = Place::new("plain");
    let certificate = place.certificate("server");
    let reason = "what came is not TLS: the other side may speak without it";
    let expected = Some(Err((BadPeer, reason.to_owned())));
    for text in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0\0\0\x17\x01", b"hello\n", b"h", b"\x16\x02", b"\x16\x16\x16\x16\x16"]
    {
        for tls in [
            Tls::accept(&server(&certificate.shown())).unwrap(),
            Tls::connect(&client(&certificate.believed())).unwrap(),
        ] {
            let (mut end, other) = alone(tls);
            assert_eq!(end.shake(), None);
            send(&other, text, SendFlags::empty()).unwrap();
            assert_eq!(end.shake(), expected, "{text:?}");
            // And so it stays.
            assert_eq!(end.shake(), expected);
        }
    }
}

#[test]
fn garbage_in_a_record_is_a_bad_peer_who_is_told() {
    let place = Place::new("garbage");
    let certificate = place.certificate("server");
    for (text, alert, begins) in [
        // Too long, of which the header tells; empty; no handshake message; another message.
        (&b"\x16\x03\x01\xff\xff"[..], 50, "a malformed TLS record: "),
        (b"\x16\x03\x01\0\0", 50, "a malformed TLS record: "),
        (b"\x16\x03\x01\0\x05\x01\0\0\x01\xff", 50, "a malformed TLS record: "),
        (b"\x17\x03\x03\0\x01\0", 10, "TLS: received unexpected message: "),
    ] {
        let (mut end, other) = alone(Tls::accept(&server(&certificate.shown())).unwrap());
        send(&other, text, SendFlags::empty()).unwrap();
        let (code, reason) = end.shake().unwrap().unwrap_err();
        assert!(code == BadPeer && reason.starts_with(begins), "{reason}");
        assert_eq!(everything(&other), [21, 3, 3, 0, 2, 2, alert]);
    }
}

#[test]
fn alerts_in_the_handshake_have_their_codes() {
    let place = Place::new("alerts");
    let certificate = place.certificate("server");
    let versions = "the other side knows neither TLS 1.2 nor 1.3";
    let ours = "the other side does not take this side's certificate: ";
    for (alert, code, reason) in [
        (40, BadPeer, "the other side ended TLS by the alert HandshakeFailure".to_owned()),
        (42, Unauthenticated, format!("{ours}it says that it is bad")),
        (43, Unauthenticated, format!("{ours}it is of a kind or for a purpose that it does not take")),
        (44, Unauthenticated, format!("{ours}it was revoked")),
        (45, Unauthenticated, format!("{ours}it has expired, or is not valid yet")),
        (46, Unauthenticated, format!("{ours}it does not know it")),
        (48, Unauthenticated, format!("{ours}it does not know who issued it")),
        (49, Unauthenticated, format!("{ours}it grants it no access")),
        (70, BadPeer, versions.to_owned()),
        (90, ConnectionLost, "the other side gave the TLS handshake up".to_owned()),
        (116, Unauthenticated, "the other side wants a certificate of this side, which cert and key give".to_owned()),
    ] {
        let (mut end, other) = alone(Tls::connect(&client(&certificate.believed())).unwrap());
        send(&other, &[21, 3, 3, 0, 2, 2, alert], SendFlags::empty()).unwrap();
        assert_eq!(end.shake(), Some(Err((code, reason))));
    }
}

#[test]
fn an_alert_of_who_has_gone_is_heard() {
    let place = Place::new("gone");
    let certificate = place.certificate("server");
    for (alert, code, reason) in [
        (&[21, 3, 3, 0, 2, 2, 40][..], BadPeer, "the other side ended TLS by the alert HandshakeFailure"),
        (&[21, 3, 3], ConnectionLost, "the other side closed inside the TLS handshake"),
        (&[], ConnectionLost, "the other side closed inside the TLS handshake"),
    ] {
        let (mut end, other) = alone(Tls::connect(&client(&certificate.believed())).unwrap());
        send(&other, alert, SendFlags::empty()).unwrap();
        drop(other);
        assert_eq!(end.shake(), Some(Err((code, reason.to_owned()))));
    }
}

#[test]
fn no_version_in_common_is_a_bad_peer() {
    let place = Place::new("version");
    let certificate = place.certificate("server");
    // Clients of TLS 1.1, with one cipher suite of that time: without an extension, and with that of signatures.
    let head = |record, message| vec![22, 3, 1, 0, record, 1, 0, 0, message, 3, 2];
    let tail = [0, 0, 2, 0, 0x2f, 1, 0];
    let old = [head(45, 41), vec![7; 32], tail.to_vec()].concat();
    let odd = [head(55, 51), vec![7; 32], tail.to_vec(), vec![0, 8, 0, 13, 0, 4, 0, 2, 4, 3]].concat();
    for (hello, alert) in [(old, 40), (odd, 70)] {
        let (mut end, other) = alone(Tls::accept(&server(&certificate.shown())).unwrap());
        send(&other, &hello, SendFlags::empty()).unwrap();
        let reason = "the other side knows neither TLS 1.2 nor 1.3";
        assert_eq!(end.shake(), Some(Err((BadPeer, reason.to_owned()))));
        assert_eq!(everything(&other), [21, 3, 3, 0, 2, 2, alert]);
    }
}

#[test]
fn a_reason_is_short_whatever_the_other_side_is_called() {
    let place = Place::new("names");
    let names: Vec<_> = (0..500).map(|number| format!("{number:060}.example")).collect();
    let certificate = place.changed("server", |params| {
        params.subject_alt_names = rcgen::CertificateParams::new(names).unwrap().subject_alt_names;
    });
    let (client, _) = Ends::new(&client(&certificate.believed()), &server(&certificate.shown())).shake();
    let (_, reason) = client.unwrap_err();
    assert!(reason.len() < 520 && reason.ends_with('…'), "{reason}");
    let few = place.changed("few", |params| {
        params.subject_alt_names =
            rcgen::CertificateParams::new((0..9).map(|number| format!("n{number}")).collect::<Vec<_>>())
                .unwrap()
                .subject_alt_names;
    });
    let client = super::place::client(&few.believed());
    let (client, _) = Ends::new(&client, &server(&few.shown())).shake();
    let names = "n0, n1, n2, n3, n4, n5, n6, n7, others";
    assert_eq!(client, refused(&format!("its certificate is for {names}, and not for localhost")));
}

#[test]
fn a_handshake_that_is_cut_is_a_lost_connection_wherever_that_is() {
    let place = Place::new("cut");
    let certificate = place.certificate("server");
    let cut: Outcome = Err((ConnectionLost, "the other side closed inside the TLS handshake".to_owned()));
    let (client, server) = (client(&certificate.believed()), server(&certificate.shown()));
    // What each side sends, as long as it is not answered.
    let (mut end, other) = alone(Tls::connect(&client).unwrap());
    assert_eq!(end.shake(), None);
    let hello = everything(&other);
    let (mut end, other) = alone(Tls::accept(&server).unwrap());
    send(&other, &hello, SendFlags::empty()).unwrap();
    assert_eq!(end.shake(), None);
    let flight = everything(&other);
    assert!(hello.len() > 100 && flight.len() > 500);
    for length in (0..=hello.len()).step_by(3) {
        let (mut end, other) = alone(Tls::accept(&server).unwrap());
        send(&other, &hello[..length], SendFlags::empty()).unwrap();
        assert_eq!(end.shake(), None);
        shutdown(&other, Shutdown::Write).unwrap();
        assert_eq!(end.shake(), Some(cut.clone()), "{length} bytes");
    }
    // Not answered, but cut: the server's flight is another each time, and so goes through a relay.
    for length in (0..flight.len() - 10).step_by(13) {
        let (mut end, other) = alone(Tls::connect(&client).unwrap());
        assert_eq!(end.shake(), None);
        let (mut far, far_other) = alone(Tls::accept(&server).unwrap());
        send(&far_other, &everything(&other), SendFlags::empty()).unwrap();
        assert_eq!(far.shake(), None);
        send(&other, &everything(&far_other)[..length], SendFlags::empty()).unwrap();
        assert_eq!(end.shake(), None);
        drop(other);
        let outcome = end.shake();
        assert_eq!(outcome, Some(cut.clone()), "{length} bytes");
    }
}

/// All that has come.
fn everything(socket: &std::os::fd::OwnedFd) -> Vec<u8> {
    let mut text = vec![0; 64 << 10];
    let (count, _) = recv(socket, &mut text[..], RecvFlags::DONTWAIT).unwrap();
    text.truncate(count);
    text
}
