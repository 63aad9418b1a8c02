//! Certificates of this run, in files.

use rcgen::{CertificateParams, KeyPair};

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
        let key = KeyPair::generate().expect("the system has chance to give");
        let mut params = CertificateParams::new(NAMES.map(str::to_owned)).expect("the names are names");
        change(&mut params);
        let certificate = params.self_signed(&key).expect("it can be signed");
        let [cert, key_path] = [certificate.pem(), key.serialize_pem()].map(|text| {
            let path = folder.path();
            std::fs::write(&path, text).expect("the temporary folder takes files");
            path
        });
        Certificate { cert, key: key_path }
    }

    /// The options of an end that shows it.
    pub(crate) fn shown(&self) -> String {
        format!("cert={}&key={}", self.cert, self.key)
    }
}
