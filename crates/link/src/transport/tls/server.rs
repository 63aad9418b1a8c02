//! What a listener wants of TLS.

use std::sync::Arc;

use panpipe_wire::{Address, ErrorKind, Result};
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;

use super::pem::Files;
use super::provider;
use super::verify::CallerVerifier;

/// What a listener wants of TLS: what it shows, and what those who connect must show.
#[derive(Clone)]
pub(crate) struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
}

impl ServerTls {
    /// Reads the options of an address and the files that they name.
    ///
    /// `alpn` is the protocol that is taken of those offered (RFC 7301); who offers none is taken too.
    ///
    /// # Errors
    /// `invalid-address` without `cert` and `key`, and for what is in the files; `not-found`, `permission` and `io` for
    /// files.
    pub(crate) fn read(address: &Address, alpn: Option<&'static [u8]>) -> Result<Self> {
        let files = Files { address, doing: "listening on" };
        let Some((certificates, key)) = files.identity()? else {
            let reason = "it needs cert and key; `panpipe cert NAME` makes a pair for the name that it is reached by";
            return Err(files.error(ErrorKind::InvalidAddress, reason));
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| files.error(ErrorKind::Io, error.to_string()))?;
        let verifier = match super::fingerprints(address) {
            Some(fingerprints) => Some(CallerVerifier::known_by(fingerprints)),
            None => match files.roots("client_ca")? {
                Some((roots, listed)) => {
                    let verifier = CallerVerifier::issued_by(roots, listed);
                    Some(verifier.map_err(|reason| files.error(ErrorKind::InvalidAddress, reason))?)
                }
                None => None,
            },
        };
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::new(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(certificates, key).map_err(|error| files.unfit(&error))?;
        // Each connection proves anew who is at its ends, and no tickets are sent for another.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols = alpn.map(<[u8]>::to_vec).into_iter().collect();
        Ok(ServerTls { config: Arc::new(config) })
    }
}
