//! `panpipe cert`: two files, who may read them, and that TLS takes them.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use panpipe_link::Fingerprint;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use crate::{Folder, Outcome, finish, panpipe};

/// Makes a certificate in `folder`.
fn cert(folder: &Folder, arguments: &[&str]) -> Outcome {
    finish(panpipe(["cert"]).args(arguments).current_dir(&folder.0).stdin(Stdio::null()), b"")
}

fn certificate(path: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

fn mode(path: &str) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn files(folder: &Folder) -> Vec<String> {
    let names = std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn writes_a_pair_and_says_how_to_use_it() {
    let folder = Folder::new("cert");
    let outcome = cert(&folder, &["server.example", "Other.Example", "192.0.2.7", "--days", "30"]);
    let fingerprint = Fingerprint::of(&certificate(&folder.path("server.example.crt")));
    let [wrote, rest @ ..] = &outcome.stderr.lines().collect::<Vec<_>>()[..] else { panic!("{outcome:?}") };
    assert_eq!((outcome.code, outcome.stdout), (Some(0), format!("{fingerprint}\n").into_bytes()));
    let date = wrote.strip_prefix("wrote server.example.crt, and server.example.key, which is the secret: until ");
    assert!(date.is_some_and(|date| date.len() == 10 && date.starts_with("20")), "{wrote}");
    assert_eq!(
        rest,
        [
            "  for      server.example, other.example, 192.0.2.7, localhost, 127.0.0.1, ::1",
            "listen on  'tls://server.example:9999?cert=server.example.crt&key=server.example.key'",
            "connect to 'tls://server.example:9999?ca=server.example.crt'",
            &format!("or to      'tls://server.example:9999?fingerprint={fingerprint}'"),
        ]
    );
    assert_eq!(files(&folder), ["server.example.crt", "server.example.key"]);
}

#[test]
fn the_key_is_for_its_owner_alone_whatever_the_umask() {
    for (umask, cert) in [("0000", 0o644), ("0077", 0o600)] {
        let folder = Folder::new(&format!("cert-{umask}"));
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {umask}; exec \"$0\" cert a"), env!("CARGO_BIN_EXE_panpipe")]);
        let outcome = finish(command.current_dir(&folder.0).stdin(Stdio::null()), b"");
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert_eq!((mode(&folder.path("a.key")), mode(&folder.path("a.crt"))), (0o600, cert));
    }
}

#[test]
fn files_that_are_there_are_replaced_only_by_force() {
    let folder = Folder::new("cert-there");
    for there in ["a.crt", "a.key"] {
        std::fs::write(folder.path(there), "mine").unwrap();
        let line = format!("panpipe: writing {there}: io: it is there already; --force replaces it");
        cert(&folder, &["a"]).is_error(3, &[&line]);
        assert_eq!(files(&folder), [there]);
        assert_eq!(std::fs::read(folder.path(there)).unwrap(), b"mine");
        std::fs::remove_file(folder.path(there)).unwrap();
    }
    // What a link leads to is not written to, and what others may read not kept.
    std::fs::write(folder.path("else"), "mine").unwrap();
    std::os::unix::fs::symlink("else", folder.path("a.key")).unwrap();
    std::fs::write(folder.path("a.crt"), "mine").unwrap();
    assert_eq!(cert(&folder, &["a", "--force"]).code, Some(0));
    assert_eq!(std::fs::read(folder.path("else")).unwrap(), b"mine");
    assert!(!folder.0.join("a.key").is_symlink());
    assert_eq!(mode(&folder.path("a.key")), 0o600);
    let first = certificate(&folder.path("a.crt"));
    assert_eq!(cert(&folder, &["a", "--force"]).code, Some(0));
    assert_ne!(certificate(&folder.path("a.crt")), first);
}

#[test]
fn a_folder_that_cannot_be_written_in_is_an_error() {
    let folder = Folder::new("cert-gone");
    std::fs::create_dir(folder.path("a.key")).unwrap();
    let outcome = cert(&folder, &["a", "--force"]);
    assert!(outcome.stderr.starts_with("panpipe: writing a.key: io: "), "{outcome:?}");
    assert_eq!((outcome.code, files(&folder)), (Some(3), vec!["a.key".to_owned()]));
}

#[test]
fn wrong_usage_is_2_and_writes_nothing() {
    let folder = Folder::new("cert-usage");
    for arguments in
        [&[][..], &["a/b"], &["../a"], &["a b"], &["a", "--days", "0"], &["a", "--days", "36501"], &["a", ""]]
    {
        let outcome = cert(&folder, arguments);
        assert_eq!((outcome.code, files(&folder)), (Some(2), vec![]), "{arguments:?}: {outcome:?}");
    }
    let outcome = cert(&folder, &["bücher.example"]);
    let reason = "no name of a host: letters, digits and hyphens between dots; nor an IP address";
    assert!(outcome.stderr.contains(reason), "{outcome:?}");
}

/// A handshake in memory, in which each side shows the one certificate and believes it.
fn shakes_hands(cert: &str, key: &str, name: &str) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(cert)).unwrap();
    let roots = Arc::new(roots);
    let shown = || (vec![certificate(cert)], PrivateKeyDer::from_pem_file(key).unwrap());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let client = client.with_root_certificates(Arc::clone(&roots)).with_client_auth_cert(shown().0, shown().1)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build().unwrap();
    let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let server = server.with_client_cert_verifier(verifier).with_single_cert(shown().0, shown().1)?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut &bytes[..]).unwrap();
        server.process_new_packets()?;
        bytes.clear();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut &bytes[..]).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn either_side_shows_it_and_believes_it_for_its_names() {
    let folder = Folder::new("cert-shown");
    for names in [&["*.some.example", "server.test", "192.0.2.7"][..], &["::2"], &[&["a23456789"; 10].join(".")]] {
        assert_eq!(cert(&folder, names).code, Some(0));
        let [cert, key] = ["crt", "key"].map(|kind| folder.path(&format!("{}.{kind}", names[0])));
        for name in names.iter().chain(&["localhost", "127.0.0.1", "::1"]) {
            shakes_hands(&cert, &key, &name.replace('*', "any")).unwrap();
        }
        for name in ["other.test", "192.0.2.8", "::3"] {
            assert!(shakes_hands(&cert, &key, name).is_err(), "{name}");
        }
    }
}
