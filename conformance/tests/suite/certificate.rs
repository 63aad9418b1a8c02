//! Certificates of this run, in files.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::place::Folder;

/// The names that the certificates of listeners have.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate and its key, each the path of a file.
pub(crate) struct Certificate {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Certificate {
    /// One that has signed itself, for every name of this machine.
    pub(crate) fn of_localhost(folder: &Folder) -> Self {
        Self::signed_by_itself(folder, |_| {})
    }

    /// The same as `change` would have it.
    pub(crate) fn signed_by_itself(folder: &Folder, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (key, mut params) = Self::for_localhost();
        change(&mut params);
        let certificate = params.self_signed(&key).expect("it can be signed");
        Self::written(folder, &certificate.pem(), &key)
    }

    /// One for every name of this machine, which an authority has issued that is kept nowhere.
    #[allow(dead_code, reason = "the hostile peers use it")]
    pub(crate) fn issued_by_a_stranger(folder: &Folder) -> Self {
        let ((key, params), (issuer_key, mut issuer)) = (Self::for_localhost(), Self::for_localhost());
        issuer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        issuer.distinguished_name.push(DnType::CommonName, "a stranger");
        let certificate = params.signed_by(&key, &Issuer::new(issuer, issuer_key)).expect("it can be signed");
        Self::written(folder, &certificate.pem(), &key)
    }

    fn for_localhost() -> (KeyPair, CertificateParams) {
        let key = KeyPair::generate().expect("the system has chance to give");
        (key, CertificateParams::new(NAMES.map(str::to_owned)).expect("the names are names"))
    }

    fn written(folder: &Folder, certificate: &str, key: &KeyPair) -> Self {
        let write = |text: &str| {
            let path = folder.path();
            std::fs::write(&path, text).expect("the temporary folder takes files");
            path
        };
        Certificate { cert: write(certificate), key: write(&key.serialize_pem()) }
    }

    /// The options of an end that shows it.
    pub(crate) fn shown(&self) -> String {
        format!("cert={}&key={}", self.cert, self.key)
    }
}
