//! What the files of the options may be.

use std::os::unix::fs::PermissionsExt;

use panpipe_wire::{Error, ErrorKind};
use rustls::pki_types::ServerName;

use super::super::{ClientTls, ServerTls};
use super::place::{Place, address};

#[track_caller]
fn listening(options: &str) -> Error {
    ServerTls::read(&address(options), None).err().expect("these options will do")
}

#[track_caller]
fn connecting(options: &str) -> Error {
    ClientTls::read(&address(options), "localhost", None).err().expect("these options will do")
}

/// Requires this code and reason, and that the error says what was being done and where.
#[track_caller]
fn is(error: &Error, doing: &str, options: &str, kind: ErrorKind, reason: &str) {
    let address = address(options);
    assert_eq!(error.to_string(), format!("{doing} {}: {}: {reason}", address.text(), kind.code()));
    assert_eq!(error.address(), Some(&**address.text()));
}

#[test]
fn a_listener_needs_a_certificate_and_its_key() {
    let place = Place::new("needs");
    let (own, other) = (place.certificate("own"), place.certificate("other"));
    let needs = "it needs cert and key; `panpipe cert NAME` makes a pair for the name that it is reached by";
    is(&listening(""), "listening on", "", ErrorKind::InvalidAddress, needs);
    let unlike = format!("cert={}&key={}", own.cert, other.key);
    let reason = format!("key={} does not belong to cert={}", other.key, own.cert);
    is(&listening(&unlike), "listening on", &unlike, ErrorKind::InvalidAddress, &reason);
    let client = format!("ca={}&{unlike}", own.cert);
    is(&connecting(&client), "connecting to", &client, ErrorKind::InvalidAddress, &reason);
}

#[test]
fn a_file_that_is_not_there_or_not_what_it_should_be_is_named() {
    let place = Place::new("files");
    let own = place.certificate("own");
    let empty = place.file("empty", "");
    let secret = std::fs::read_to_string(&own.key).unwrap();
    let certificate = std::fs::read_to_string(&own.cert).unwrap();
    let cut = place.file("cut", &certificate[..certificate.len() / 2]);
    let odd = place.file("odd", certificate.replace("MII", "M!!"));
    let no_certificate = place.file("no", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let no_key = place.file("no.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let locked = place.file("locked", secret.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"));
    let large = place.file("large", vec![b'\n'; (4 << 20) + 1]);
    let (missing, folder) = (place.path("missing"), place.path(""));
    use ErrorKind::{InvalidAddress, Io, NotFound};
    for (name, path, kind, reason) in [
        ("ca", &missing, NotFound, ": No such file or directory"),
        ("cert", &missing, NotFound, ": No such file or directory"),
        ("key", &missing, NotFound, ": No such file or directory"),
        ("client_ca", &missing, NotFound, ": No such file or directory"),
        ("ca", &folder, Io, ": Is a directory"),
        ("ca", &empty, InvalidAddress, " holds no certificate in PEM"),
        ("ca", &own.key, InvalidAddress, " holds no certificate in PEM"),
        ("ca", &large, InvalidAddress, " has more than 4 MiB"),
        ("ca", &no_certificate, InvalidAddress, " holds no certificate that can be read"),
        ("client_ca", &no_certificate, InvalidAddress, " holds no certificate that can be read"),
        ("key", &own.cert, InvalidAddress, " holds no private key in PEM, or only one under a password"),
        ("key", &locked, InvalidAddress, " holds no private key in PEM, or only one under a password"),
    ] {
        let options = match name {
            "ca" => format!("ca={path}"),
            "cert" => format!("cert={path}&key={}", own.key),
            "key" => format!("cert={}&key={path}", own.cert),
            _ => format!("{}&{name}={path}", own.shown()),
        };
        let reason = format!("{name}={path}{reason}");
        match name {
            "ca" => is(&connecting(&options), "connecting to", &options, kind, &reason),
            _ => is(&listening(&options), "listening on", &options, kind, &reason),
        }
    }
    for path in [&cut, &odd] {
        let options = format!("ca={path}");
        let error = connecting(&options);
        let begins =
            format!("connecting to tls://localhost:1?{options}: invalid-address: ca={path} is not well-formed PEM: ");
        assert!(error.to_string().starts_with(&begins), "{error}");
    }
    let options = format!("cert={}&key={no_key}", own.cert);
    let reason =
        format!("the key of key={no_key} cannot be used: neither RSA, nor ECDSA on P-256 or P-384, nor Ed25519");
    is(&listening(&options), "listening on", &options, InvalidAddress, &reason);
    let options = format!("cert={no_certificate}&key={}", own.key);
    let reason = format!("the certificate of cert={no_certificate} cannot be read");
    is(&listening(&options), "listening on", &options, InvalidAddress, &reason);
}

#[test]
fn a_file_that_may_not_be_read_is_a_matter_of_permission() {
    let place = Place::new("permission");
    let own = place.certificate("own");
    std::fs::set_permissions(&own.key, std::fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may read everything.
    if std::fs::File::open(&own.key).is_ok() {
        return;
    }
    let reason = format!("key={}: Permission denied", own.key);
    is(&listening(&own.shown()), "listening on", &own.shown(), ErrorKind::Permission, &reason);
}

#[test]
fn a_fingerprint_asks_for_no_issuers() {
    let place = Place::new("unread");
    let own = place.certificate("own");
    let options = format!("ca={}&fingerprint={}", place.path("missing"), own.fingerprint());
    assert!(ClientTls::read(&address(&options), "localhost", None).is_ok());
    let options = format!("{}&{options}&client_ca={}", own.shown(), place.path("missing"));
    assert!(ServerTls::read(&address(&options), None).is_ok());
}

#[test]
fn the_host_that_is_dialled_is_the_name() {
    let place = Place::new("host");
    let options = place.certificate("own").believed();
    for host in ["localhost", "example.org", "127.0.0.1", "::1"] {
        let client = ClientTls::read(&address(&options), host, None).unwrap();
        assert_eq!(client.name, ServerName::try_from(host).unwrap());
    }
    for host in ["", "[::1]", "fe80::1%eth0", "two words", "-", "*.example"] {
        let error = ClientTls::read(&address(&options), host, None).err().unwrap();
        let reason = format!("no certificate can be made for the host {host:?}");
        is(&error, "connecting to", &options, ErrorKind::InvalidAddress, &reason);
    }
}

#[test]
fn what_an_option_takes_is_told_by_its_syntax() {
    use crate::transport::credentials::{CA, CERT, CLIENT_CA, FINGERPRINT, KEY};
    for option in [CA, CERT, CLIENT_CA, KEY] {
        assert!((option.check)("server.crt") && !(option.check)(""));
    }
    let digits = "0123456789abcdef".repeat(4);
    assert!((FINGERPRINT.check)(&format!("sha256:{digits}")) && !(FINGERPRINT.check)(&digits));
}
