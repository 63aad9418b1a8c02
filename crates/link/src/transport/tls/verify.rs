//! Whether the other end is who it should be.

use std::fmt;
use std::sync::Arc;

use panpipe_wire::Result;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};
use webpki::EndEntityCert;

use super::provider;
use crate::transport::fingerprint::Fingerprint;

/// Judges a listener for who connects to it.
#[derive(Debug)]
pub(super) enum ListenerVerifier {
    Issued(Arc<WebPkiServerVerifier>, Listed),
    Known(Known),
}

/// Judges who connects for a listener, which has them show a certificate.
#[derive(Debug)]
pub(super) enum CallerVerifier {
    Issued(Arc<dyn ClientCertVerifier>, Listed),
    Known(Known),
}

impl ListenerVerifier {
    /// Believes `roots`, which are those `listed` where an option names them.
    pub(super) fn issued_by(roots: RootCertStore, listed: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider())).build();
        Ok(ListenerVerifier::Issued(verifier.map_err(|error| error.to_string())?, Listed(listed)))
    }

    /// Believes whoever has one of these certificates.
    pub(super) fn known_by(fingerprints: Vec<Fingerprint>) -> Self {
        ListenerVerifier::Known(Known(fingerprints))
    }
}

impl CallerVerifier {
    /// Believes `roots`, which are those `listed`.
    pub(super) fn issued_by(roots: RootCertStore, listed: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider())).build();
        Ok(CallerVerifier::Issued(verifier.map_err(|error| error.to_string())?, Listed(listed)))
    }

    /// Believes whoever has one of these certificates.
    pub(super) fn known_by(fingerprints: Vec<Fingerprint>) -> Self {
        CallerVerifier::Known(Known(fingerprints))
    }
}

impl ServerCertVerifier for ListenerVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self {
            ListenerVerifier::Issued(verifier, listed) => {
                let verified = verifier.verify_server_cert(certificate, intermediates, name, ocsp, now);
                verified.or_else(|error| {
                    listed.judge(certificate, error)?;
                    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                    Ok(ServerCertVerified::assertion())
                })
            }
            ListenerVerifier::Known(known) => known.judge(certificate).map(|()| ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for CallerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match self {
            CallerVerifier::Issued(verifier, _) => verifier.root_hint_subjects(),
            CallerVerifier::Known(_) => &[],
        }
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self {
            CallerVerifier::Issued(verifier, listed) => {
                let verified = verifier.verify_client_cert(certificate, intermediates, now);
                verified.or_else(|error| {
                    listed.judge(certificate, error)?;
                    Ok(ClientCertVerified::assertion())
                })
            }
            CallerVerifier::Known(known) => known.judge(certificate).map(|()| ClientCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The certificates of an option, as they stand in its file.
#[derive(Debug)]
pub(super) struct Listed(Vec<CertificateDer<'static>>);

impl Listed {
    /// Judges a certificate that was refused with `error`.
    ///
    /// `openssl req -x509` makes a certificate that signs itself and says that it is a CA's. Whoever lists that very one
    /// means it, and OpenSSL takes it; webpki takes no CA's for an end's. Its dates were found right before that.
    fn judge(&self, certificate: &CertificateDer<'_>, error: Error) -> Result<(), Error> {
        let Error::InvalidCertificate(reason) = &error else { return Err(error) };
        let is_a_ca = matches!(reason, CertificateError::Other(OtherError(error))
            if matches!(error.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity)));
        if is_a_ca && self.0.iter().any(|listed| listed == certificate) {
            return Ok(());
        }
        // The last two: who is believed has the issuer's name, and not its key. Many are called localhost.
        let is_unknown = is_a_ca
            || matches!(
                reason,
                CertificateError::UnknownIssuer
                    | CertificateError::BadSignature
                    | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
            );
        match is_unknown && has_signed_itself(certificate) {
            true => Err(other(SelfSigned)),
            false => Err(error),
        }
    }
}

fn has_signed_itself(certificate: &CertificateDer<'_>) -> bool {
    EndEntityCert::try_from(certificate).is_ok_and(|certificate| certificate.issuer() == certificate.subject())
}

/// The certificates that are taken, whatever they say.
#[derive(Debug)]
pub(super) struct Known(Vec<Fingerprint>);

impl Known {
    fn judge(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let fingerprint = Fingerprint::of(certificate);
        match self.0.contains(&fingerprint) {
            true => Ok(()),
            false => Err(other(Unknown(fingerprint))),
        }
    }
}

/// A reason of ours for which a certificate is refused; it completes "its certificate".
fn other(reason: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(reason))))
}

#[derive(Debug)]
pub(super) struct SelfSigned;

impl fmt::Display for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is self-signed, and not among those that are believed")
    }
}

impl std::error::Error for SelfSigned {}

#[derive(Debug)]
pub(super) struct Unknown(Fingerprint);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "has another fingerprint: {}", self.0)
    }
}

impl std::error::Error for Unknown {}
