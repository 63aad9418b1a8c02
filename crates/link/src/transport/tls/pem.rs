//! Certificates and keys in files.

use std::fs::File;
use std::io::Read;

use panpipe_wire::{Address, Error, ErrorKind, Result};
use rustix::io::Errno;
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::os_error;

/// A file may have so many bytes at most; all that a system trusts has a quarter of a million.
const LARGEST: u64 = 4 << 20;

/// The files that the options of an address name, read while `doing` something with it.
#[derive(Clone, Copy)]
pub(super) struct Files<'a> {
    pub(super) address: &'a Address,
    /// An -ing phrase that the address follows.
    pub(super) doing: &'static str,
}

impl<'a> Files<'a> {
    /// An error of reading what the options name.
    pub(super) fn error(self, kind: ErrorKind, reason: impl Into<String>) -> Error {
        let text = self.address.text();
        Error::new(kind, format!("{} {text}", self.doing)).because(reason.into()).at(text)
    }

    /// The certificates of the file that the option `name` names; `None` where it is not given.
    ///
    /// # Errors
    /// `not-found`, `permission`, `io`; `invalid-address` when the file is too large, is no PEM or holds none.
    pub(super) fn certificates(self, name: &str) -> Result<Option<Vec<CertificateDer<'static>>>> {
        let Some((path, text)) = self.read(name)? else { return Ok(None) };
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|error| self.not_pem(name, path, &error))?;
        match certificates.is_empty() {
            true => Err(self.error(ErrorKind::InvalidAddress, format!("{name}={path} holds no certificate in PEM"))),
            false => Ok(Some(certificates)),
        }
    }

    /// Those that the option `name` says are to be believed, as roots and as they are.
    ///
    /// # Errors
    /// Those of [`certificates`](Self::certificates).
    pub(super) fn roots(self, name: &str) -> Result<Option<(RootCertStore, Vec<CertificateDer<'static>>)>> {
        let Some(certificates) = self.certificates(name)? else { return Ok(None) };
        let mut roots = RootCertStore::empty();
        match roots.add_parsable_certificates(certificates.iter().cloned()) {
            (0, _) => {
                let path = self.address.option(name).unwrap_or_default();
                let reason = format!("{name}={path} holds no certificate that can be read");
                Err(self.error(ErrorKind::InvalidAddress, reason))
            }
            _ => Ok(Some((roots, certificates))),
        }
    }

    /// The certificates of `cert` and the key of `key`; `None` where neither is given.
    ///
    /// # Errors
    /// Those of [`certificates`](Self::certificates), and `invalid-address` when one of them is missing.
    pub(super) fn identity(self) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>> {
        match (self.certificates("cert")?, self.key()?) {
            (Some(certificates), Some(key)) => Ok(Some((certificates, key))),
            (None, None) => Ok(None),
            (Some(_), None) => Err(self.error(ErrorKind::InvalidAddress, "cert is given without key")),
            (None, Some(_)) => Err(self.error(ErrorKind::InvalidAddress, "key is given without cert")),
        }
    }

    /// What rustls found wrong with a certificate and its key.
    pub(super) fn unfit(self, error: &rustls::Error) -> Error {
        let [cert, key] = ["cert", "key"].map(|name| self.address.option(name).unwrap_or_default());
        let reason = match error {
            rustls::Error::InconsistentKeys(_) => format!("key={key} does not belong to cert={cert}"),
            rustls::Error::InvalidCertificate(_) => format!("the certificate of cert={cert} cannot be read"),
            _ => format!("the key of key={key} cannot be used: neither RSA, nor ECDSA on P-256 or P-384, nor Ed25519"),
        };
        self.error(ErrorKind::InvalidAddress, reason)
    }

    fn key(self) -> Result<Option<PrivateKeyDer<'static>>> {
        let Some((path, text)) = self.read("key")? else { return Ok(None) };
        PrivateKeyDer::from_pem_slice(&text).map(Some).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                let reason = format!("key={path} holds no private key in PEM, or only one under a password");
                self.error(ErrorKind::InvalidAddress, reason)
            }
            error => self.not_pem("key", path, &error),
        })
    }

    fn read(self, name: &str) -> Result<Option<(&'a str, Vec<u8>)>> {
        let Some(path) = self.address.option(name) else { return Ok(None) };
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut text));
        if let Err(error) = read {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            return Err(self.error(os_error::kind(errno), format!("{name}={path}: {}", os_error::text(errno))));
        }
        match text.len() as u64 > LARGEST {
            true => {
                let reason = format!("{name}={path} has more than {} MiB", LARGEST >> 20);
                Err(self.error(ErrorKind::InvalidAddress, reason))
            }
            false => Ok(Some((path, text))),
        }
    }

    fn not_pem(self, name: &str, path: &str, error: &pem::Error) -> Error {
        self.error(ErrorKind::InvalidAddress, format!("{name}={path} is not well-formed PEM: {error}"))
    }
}
