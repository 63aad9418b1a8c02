//! `panpipe cert`: a certificate and its key, for programs that know each other.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use panpipe::{Error, ErrorKind, Result};
use panpipe_link::Fingerprint;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use crate::arguments::Cert;
use crate::report;

/// What every certificate is for beside its names: tries on the same machine.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How long ago a certificate begins, since clocks differ.
const BEFORE: Duration = Duration::from_secs(60 * 60);

const DAY: u64 = 24 * 60 * 60;

/// The most characters that a common name may have (RFC 5280, appendix A.1).
const LONGEST_COMMON_NAME: usize = 64;

pub(crate) fn run(arguments: Cert) -> Result<ExitCode> {
    let names = names(&arguments.names);
    let made = |error: rcgen::Error| Error::new(ErrorKind::Io, "making a certificate").because(error);
    let secret = KeyPair::generate().map_err(made)?;
    let params = params(&names, Duration::from_secs(u64::from(arguments.days) * DAY)).map_err(made)?;
    let certificate = params.self_signed(&secret).map_err(made)?;
    let fingerprint = Fingerprint::of(certificate.der());
    let (cert, key) = (format!("{}.crt", names[0]), format!("{}.key", names[0]));
    write(&key, &secret.serialize_pem(), 0o600, arguments.force)?;
    if let Err(error) = write(&cert, &certificate.pem(), 0o644, arguments.force) {
        // A key without its certificate is of no use, and would be in the way of the next try.
        let _ = fs::remove_file(&key);
        return Err(error);
    }
    report::print_text(fingerprint.to_string().as_bytes(), true)?;
    report::say(&format!("wrote {cert}, and {key}, which is the secret: until {}", params.not_after.date()));
    report::say(&format!("  for      {}", names.join(", ")));
    let place = place(&names);
    report::say(&format!("listen on  'tls://{place}:9999?cert={cert}&key={key}'"));
    report::say(&format!("connect to 'tls://{place}:9999?ca={cert}'"));
    report::say(&format!("or to      'tls://{place}:9999?fingerprint={fingerprint}'"));
    Ok(ExitCode::SUCCESS)
}

/// The names of the certificate, each once, the one that files are named for first.
fn names(given: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in given.iter().map(String::as_str).chain(LOOPBACK) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// What the certificate says. It can be believed as it is (`ca`), by this command's other end and by OpenSSL, and shown by
/// either side of a connection.
fn params(names: &[String], lasts: Duration) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, names[0].chars().take(LONGEST_COMMON_NAME).collect::<String>());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = date_time_ymd(1970, 1, 1) + Duration::from_secs(now.as_secs());
    params.not_before = now - BEFORE;
    params.not_after = now + lasts;
    Ok(params)
}

/// Writes a file that was not there, or with `force` instead of the one that was.
fn write(path: &str, text: &str, mode: u32, force: bool) -> Result<()> {
    let written = || {
        if force {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        // Never through a link, and never into a file that somebody else may read.
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(text.as_bytes())
    };
    written().map_err(|error| {
        let doing = format!("writing {path}");
        match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Error::new(ErrorKind::Io, doing).because("it is there already; --force replaces it")
            }
            io::ErrorKind::NotFound => Error::new(ErrorKind::NotFound, doing).because(error),
            io::ErrorKind::PermissionDenied => Error::new(ErrorKind::Permission, doing).because(error),
            _ => Error::new(ErrorKind::Io, doing).because(error),
        }
    })
}

/// What an address says for the first name that is one place.
fn place(names: &[String]) -> String {
    let name = names.iter().find(|name| !name.starts_with('*')).map_or(LOOPBACK[0], String::as_str);
    if name.contains(':') { format!("[{name}]") } else { name.to_owned() }
}

/// Reads a name that a certificate can be for: a host's (RFC 1123, section 2.1), `*.` and one with a dot, or an IP
/// address.
pub(crate) fn name(text: &str) -> Result<String, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ip.to_string());
    }
    let is_label = |label: &str| {
        let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(is_of_host) && !label.starts_with('-')
    };
    let (host, is_one) = match text.strip_prefix("*.") {
        // Who verifies takes no `*.org`.
        Some(rest) => (rest, rest.contains('.')),
        None => (text, true),
    };
    match is_one && text.len() <= 253 && host.split('.').all(is_label) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("no name of a host: letters, digits and hyphens between dots; nor an IP address".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_hosts_or_an_address() {
        for (text, read) in [
            ("example.org", "example.org"),
            ("Example.ORG", "example.org"),
            ("*.example.org", "*.example.org"),
            ("my_host-1", "my_host-1"),
            ("0:0::1", "::1"),
            ("192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(name(text).as_deref(), Ok(read));
        }
        for text in [
            "",
            ".",
            "a..b",
            "a.",
            "-a",
            "--days",
            "a/b",
            "../a",
            "a b",
            "*",
            "*.",
            "*.org",
            "a.*",
            "[::1]",
            "bücher.de",
        ] {
            assert!(name(text).is_err(), "{text}");
        }
        assert!(name(&"a".repeat(64)).is_err() && name(&["a"; 127].join(".")).is_ok());
        assert!(name(&["a"; 128].join(".")).is_err());
    }

    #[test]
    fn loopback_is_added_once_and_files_are_named_for_the_first() {
        let given = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&given(&["b", "a", "b"])), given(&["b", "a", "localhost", "127.0.0.1", "::1"]));
        assert_eq!(names(&given(&["::1"])), given(&["::1", "localhost", "127.0.0.1"]));
        assert_eq!(place(&given(&["::1", "b"])), "[::1]");
        assert_eq!(place(&given(&["*.b", "a"])), "a");
    }
}
