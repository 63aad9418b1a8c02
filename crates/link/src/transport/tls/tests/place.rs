//! Certificates in a folder, and both ends of a connection that use them.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use bytes::BytesMut;
use panpipe_wire::{Address, Method};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::super::{Broken, ClientTls, ServerTls, Tls, options};
use crate::transport::pair;

/// What an address over TLS is to these tests.
pub(super) const METHOD: &Method = &Method {
    scheme: "tls",
    form: "tls://HOST:PORT",
    options: &[options::CA, options::CERT, options::KEY, options::CLIENT_CA, options::FINGERPRINT],
    check: |_| Ok(()),
    moves_packets: false,
    protocol: "panpipe",
    reaches: "other machines",
    reliable: "",
    ordered: "",
    readers: "",
    death: "",
    costs: "",
    trial: None,
    good_for: "",
    not_for: "",
};

/// An address with these options, which begin with `?`.
pub(super) fn address(options: &str) -> Address {
    Address::parse(&format!("tls://localhost:1{options}"), &[METHOD]).unwrap()
}

/// A folder of one test, removed with it.
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("panpipe-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    /// Writes a file, and its path.
    pub(super) fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn params(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        params
    }

    /// A self-signed certificate for localhost and the loopback addresses, as `change` would have it.
    pub(super) fn certificate(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Certified<'_> {
        let key = KeyPair::generate().unwrap();
        let params = Self::params(name, change);
        let certificate = params.self_signed(&key).unwrap();
        let (text, der) = (certificate.pem(), certificate.der().to_vec());
        self.keep(name, text, der, params, key)
    }

    /// The same issued by another.
    pub(super) fn issued(
        &self,
        name: &str,
        issuer: &Certified<'_>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Certified<'_> {
        let key = KeyPair::generate().unwrap();
        let params = Self::params(name, change);
        let certificate = params.signed_by(&key, &Issuer::from_params(&issuer.params, &issuer.secret)).unwrap();
        let (text, der) = (certificate.pem(), certificate.der().to_vec());
        self.keep(name, text, der, params, key)
    }

    fn keep(
        &self,
        name: &str,
        text: String,
        der: Vec<u8>,
        params: CertificateParams,
        secret: KeyPair,
    ) -> Certified<'_> {
        self.file(&format!("{name}.crt"), &text);
        self.file(&format!("{name}.key"), &secret.serialize_pem());
        Certified { place: self, name: name.to_owned(), der, params, secret }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A certificate and its key, in files.
pub(super) struct Certified<'a> {
    place: &'a Place,
    name: String,
    pub(super) der: Vec<u8>,
    params: CertificateParams,
    secret: KeyPair,
}

impl Certified<'_> {
    pub(super) fn cert(&self) -> String {
        format!("{}/{}.crt", self.place.0.display(), self.name)
    }

    pub(super) fn key(&self) -> String {
        format!("{}/{}.key", self.place.0.display(), self.name)
    }

    /// The options of who shows it.
    pub(super) fn server(&self) -> String {
        format!("?cert={}&key={}", self.cert(), self.key())
    }
}

/// One end and its socket.
pub(super) struct End {
    pub(super) tls: Tls,
    pub(super) socket: OwnedFd,
}

/// Both ends.
pub(super) struct Ends {
    pub(super) client: End,
    pub(super) server: End,
}

impl Ends {
    /// A server with the first options, and a client with the second.
    pub(super) fn new(_place: &Place, server: &str, client: &str) -> Self {
        let (ours, theirs) = pair::sockets().unwrap();
        let client = Tls::connect(&ClientTls::read(&address(client), "localhost", None).unwrap()).unwrap();
        let server = Tls::accept(&ServerTls::read(&address(server), None).unwrap()).unwrap();
        Ends { client: End { tls: client, socket: ours }, server: End { tls: server, socket: theirs } }
    }

    /// Goes through the handshake, and how it ended for the client and for the server.
    pub(super) fn shake(&mut self) -> (Result<(), Broken>, Result<(), Broken>) {
        let (mut client, mut server) = (None, None);
        while client.is_none() || server.is_none() {
            client = client.or_else(|| self.client.shake());
            server = server.or_else(|| self.server.shake());
        }
        (client.unwrap(), server.unwrap())
    }

    /// Sends one text there and another back.
    #[track_caller]
    pub(super) fn exchange(&mut self, there: &[u8], back: &[u8]) {
        self.client.send(there);
        assert_eq!(self.server.receive(there.len()), there);
        self.server.send(back);
        assert_eq!(self.client.receive(back.len()), back);
    }
}

impl End {
    fn shake(&mut self) -> Option<Result<(), Broken>> {
        match self.tls.handshake(&self.socket) {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(broken) => Some(Err(broken)),
        }
    }

    #[track_caller]
    pub(super) fn send(&mut self, text: &[u8]) {
        assert_eq!(self.tls.write(&self.socket, &[IoSlice::new(text)]), Ok(text.len()));
    }

    /// Waits for so many bytes.
    #[track_caller]
    pub(super) fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut inbox = BytesMut::new();
        while inbox.len() < count {
            match self.tls.read(&self.socket, &mut inbox) {
                Ok(1..) => {}
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], None).unwrap();
                }
                other => panic!("{other:?}: {:?}", self.tls.broken()),
            }
        }
        inbox.to_vec()
    }
}
