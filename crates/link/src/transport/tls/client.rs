//! What a connecting end wants of TLS.

use std::sync::Arc;

use panpipe_wire::{Address, ErrorKind, Result};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

use super::pem::Files;
use super::provider;
use super::verify::ListenerVerifier;

/// What a connecting end wants of TLS: whom it believes, what it shows, and the name that it goes to.
#[derive(Clone)]
pub(crate) struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl ClientTls {
    /// Reads the options of an address whose host is `host`, an IPv6 address without its brackets, and the files that
    /// they name.
    ///
    /// `alpn` is the protocol that is offered (RFC 7301).
    ///
    /// # Errors
    /// `not-found`, `permission` and `io` for files; `not-found` where the system has no roots and `ca` is not given;
    /// `invalid-address` for what is in the files, and for a host that no certificate can be made for.
    pub(crate) fn read(address: &Address, host: &str, alpn: Option<&'static [u8]>) -> Result<Self> {
        let files = Files { address, doing: "connecting to" };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            files.error(ErrorKind::InvalidAddress, format!("no certificate can be made for the host {host:?}"))
        })?;
        let verifier = match super::fingerprints(address) {
            Some(fingerprints) => ListenerVerifier::known_by(fingerprints),
            None => {
                let (roots, listed) = match files.roots("ca")? {
                    Some(roots) => roots,
                    None => (system_roots(files)?, Vec::new()),
                };
                let verifier = ListenerVerifier::issued_by(roots, listed);
                verifier.map_err(|reason| files.error(ErrorKind::InvalidAddress, reason))?
            }
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| files.error(ErrorKind::Io, error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match files.identity()? {
            Some((certificates, key)) => {
                builder.with_client_auth_cert(certificates, key).map_err(|error| files.unfit(&error))?
            }
            None => builder.with_no_client_auth(),
        };
        // Each connection proves anew who is at its ends.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = alpn.map(<[u8]>::to_vec).into_iter().collect();
        Ok(ClientTls { config: Arc::new(config), name })
    }
}

fn system_roots(files: Files<'_>) -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    match roots.add_parsable_certificates(found.certs) {
        (0, _) => {
            let because = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
            let reason =
                format!("the system has no root certificates{because}; ca or fingerprint says whom to believe");
            Err(files.error(ErrorKind::NotFound, reason))
        }
        _ => Ok(roots),
    }
}
