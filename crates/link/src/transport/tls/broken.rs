//! Why TLS broke, in panpipe's codes.

use std::net::IpAddr;

use panpipe_wire::ErrorKind;
use rustix::io::Errno;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, PeerIncompatible};

use super::super::stream::Broken;
use crate::os_error;

/// A reason has so many bytes at most: some of it is what the other side sent.
const LONGEST_REASON: usize = 512;

/// So many of a certificate's names are told.
const MOST_NAMES: usize = 8;

impl Broken {
    pub(super) fn new(kind: ErrorKind, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        if reason.len() > LONGEST_REASON {
            let end = (0..=LONGEST_REASON).rev().find(|&end| reason.is_char_boundary(end));
            reason.truncate(end.unwrap_or(0));
            reason.push('…');
        }
        Broken { kind, reason }
    }

    /// The system's error, met in the handshake.
    pub(super) fn by(errno: Errno) -> Self {
        match os_error::kind(errno) {
            ErrorKind::ConnectionLost => Self::cut(true),
            kind => Self::new(kind, format!("in the TLS handshake: {}", os_error::text(errno))),
        }
    }

    /// The end of the input where TLS had not ended.
    pub(super) fn cut(is_handshaking: bool) -> Self {
        let reason = match is_handshaking {
            true => "the other side closed inside the TLS handshake",
            false => "the connection was cut: TLS was not closed, and something may be missing",
        };
        Self::new(ErrorKind::ConnectionLost, reason)
    }

    /// What did not begin as TLS does.
    pub(super) fn not_tls() -> Self {
        Self::new(ErrorKind::BadPeer, "what came is not TLS: the other side may speak without it")
    }

    /// What rustls found, or was told by an alert.
    pub(super) fn of(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => {
                Self::new(ErrorKind::Unauthenticated, format!("its certificate {}", certificate(error)))
            }
            rustls::Error::NoCertificatesPresented => {
                Self::new(ErrorKind::Unauthenticated, "the other side shows no certificate, and must")
            }
            rustls::Error::AlertReceived(alert) => told(*alert),
            rustls::Error::DecryptError => Self::new(ErrorKind::BadPeer, "a TLS record is not what was sent"),
            rustls::Error::InvalidMessage(_) | rustls::Error::PeerSentOversizedRecord => {
                Self::new(ErrorKind::BadPeer, format!("a malformed TLS record: {error}"))
            }
            rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                // TLS 1.2 brought it.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            ) => Self::new(ErrorKind::BadPeer, "the other side knows neither TLS 1.2 nor 1.3"),
            rustls::Error::PeerIncompatible(_)
            | rustls::Error::PeerMisbehaved(_)
            | rustls::Error::InappropriateMessage { .. }
            | rustls::Error::InappropriateHandshakeMessage { .. }
            | rustls::Error::NoApplicationProtocol => Self::new(ErrorKind::BadPeer, format!("TLS: {error}")),
            _ => Self::new(ErrorKind::Io, format!("TLS: {error}")),
        }
    }
}

/// What is wrong with a certificate; completes "its certificate".
fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::NotValidForNameContext { expected, presented } => {
            let mut names: Vec<_> = presented.iter().take(MOST_NAMES).map(|name| plain(name)).collect();
            if presented.len() > MOST_NAMES {
                names.push("others".to_owned());
            }
            let names = match names.is_empty() {
                true => "no name".to_owned(),
                false => names.join(", "),
            };
            format!("is for {names}, and not for {}", expected.to_str())
        }
        CertificateError::NotValidForName => "is for another name".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => format!("expired {} ago", between(*not_after, *time)),
        CertificateError::Expired => "has expired".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("is not valid yet, but in {}", between(*time, *not_before))
        }
        CertificateError::NotValidYet => "is not valid yet".to_owned(),
        CertificateError::UnknownIssuer | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "was issued by somebody who is not believed".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is for another purpose".to_owned()
        }
        CertificateError::BadSignature => "does not fit the signature".to_owned(),
        CertificateError::BadEncoding => "cannot be read".to_owned(),
        CertificateError::Other(error) if error.0.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity) => {
            "is that of an issuer".to_owned()
        }
        CertificateError::Other(error) if !error.0.is::<webpki::Error>() => error.to_string(),
        error => format!("is refused: {error}"),
    }
}

/// A name that webpki tells as `DnsName("localhost")` or `IpAddress(::1)`.
fn plain(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, name)| name.strip_suffix(')'));
    let name = inner.unwrap_or(name).trim_matches('"');
    // webpki writes `::1` as `0::1`.
    name.parse().map_or_else(|_| name.to_owned(), |ip: IpAddr| ip.to_string())
}

/// A time for people, in its largest unit.
fn between(from: UnixTime, to: UnixTime) -> String {
    let seconds = to.as_secs().saturating_sub(from.as_secs());
    let (count, unit) = match seconds {
        86_400.. => (seconds / 86_400, "day"),
        3_600.. => (seconds / 3_600, "hour"),
        60.. => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// What the other side says by an alert (RFC 8446, section 6.2).
fn told(alert: AlertDescription) -> Broken {
    let ours = |why: &str| {
        Broken::new(ErrorKind::Unauthenticated, format!("the other side does not take this side's certificate: {why}"))
    };
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => Broken::new(
            ErrorKind::Unauthenticated,
            "the other side wants a certificate of this side, which cert and key give",
        ),
        AlertDescription::UnknownCA => ours("it does not know who issued it"),
        AlertDescription::BadCertificate => ours("it says that it is bad"),
        AlertDescription::UnsupportedCertificate => ours("it is of a kind or for a purpose that it does not take"),
        AlertDescription::CertificateExpired => ours("it has expired, or is not valid yet"),
        AlertDescription::CertificateRevoked => ours("it was revoked"),
        AlertDescription::CertificateUnknown => ours("it does not know it"),
        AlertDescription::AccessDenied => ours("it grants it no access"),
        AlertDescription::UserCanceled | AlertDescription::CloseNotify => {
            Broken::new(ErrorKind::ConnectionLost, "the other side gave the TLS handshake up")
        }
        AlertDescription::ProtocolVersion => {
            Broken::new(ErrorKind::BadPeer, "the other side knows neither TLS 1.2 nor 1.3")
        }
        alert => Broken::new(ErrorKind::BadPeer, format!("the other side ended TLS by the alert {alert:?}")),
    }
}
