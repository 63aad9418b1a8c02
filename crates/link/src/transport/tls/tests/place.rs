//! Certificates in a folder, and both ends of a connection that use them.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::BytesMut;
use panpipe_wire::{Address, ErrorKind};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustls::pki_types::ServerName;
use rustls::version::TLS12;
use rustls::{ClientConfig, SupportedProtocolVersion};

use super::super::verify::ListenerVerifier;
use super::super::{BROKEN, Broken, ClientTls, ServerTls, Tls, provider};
use crate::transport::fingerprint::Fingerprint;
use crate::transport::pair;

/// An address with these options.
pub(super) fn address(options: &str) -> Address {
    let options = if options.is_empty() { String::new() } else { format!("?{options}") };
    crate::parse(&format!("tls://localhost:1{options}")).unwrap()
}

/// What a connecting end to localhost with these options wants.
pub(super) fn client(options: &str) -> ClientTls {
    ClientTls::read(&address(options), "localhost", None).unwrap()
}

/// What a listener with these options wants.
pub(super) fn server(options: &str) -> ServerTls {
    ServerTls::read(&address(options), None).unwrap()
}

/// A folder of one test, removed with it.
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("panpipe-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file, and its path.
    pub(super) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        std::fs::write(self.0.join(name), text).unwrap();
        self.path(name)
    }

    /// A self-signed certificate for localhost and the loopback addresses.
    pub(super) fn certificate(&self, name: &str) -> Certified {
        self.changed(name, |_| {})
    }

    /// One as `change` would have it.
    pub(super) fn changed(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Certified {
        let (params, key) = Self::begin(name, change);
        let certificate = params.self_signed(&key).unwrap();
        self.keep(name, &certificate, params, key)
    }

    /// One that another issues.
    pub(super) fn issued(&self, name: &str, issuer: &Certified) -> Certified {
        let (params, key) = Self::begin(name, |_| {});
        let certificate = params.signed_by(&key, &Issuer::from_params(&issuer.params, &issuer.secret)).unwrap();
        self.keep(name, &certificate, params, key)
    }

    fn begin(name: &str, change: impl FnOnce(&mut CertificateParams)) -> (CertificateParams, KeyPair) {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        (params, KeyPair::generate().unwrap())
    }

    fn keep(
        &self,
        name: &str,
        certificate: &rcgen::Certificate,
        params: CertificateParams,
        secret: KeyPair,
    ) -> Certified {
        Certified {
            cert: self.file(&format!("{name}.crt"), certificate.pem()),
            key: self.file(&format!("{name}.key"), secret.serialize_pem()),
            der: certificate.der().to_vec(),
            params,
            secret,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A certificate and its key, and the files of both.
pub(super) struct Certified {
    pub(super) cert: String,
    pub(super) key: String,
    pub(super) der: Vec<u8>,
    pub(super) secret: KeyPair,
    params: CertificateParams,
}

impl Certified {
    /// The options of who shows it.
    pub(super) fn shown(&self) -> String {
        format!("cert={}&key={}", self.cert, self.key)
    }

    /// The option of a client that believes it.
    pub(super) fn believed(&self) -> String {
        format!("ca={}", self.cert)
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// A client that knows it, and no other version of TLS than this.
    pub(super) fn known_with(&self, version: &'static SupportedProtocolVersion) -> ClientTls {
        let config = ClientConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ListenerVerifier::known_by(vec![self.fingerprint()])))
            .with_no_client_auth();
        ClientTls { config: Arc::new(config), name: ServerName::try_from("localhost").unwrap() }
    }

    /// Clients that know it, of each version of TLS.
    pub(super) fn known(&self) -> [ClientTls; 2] {
        [self.known_with(&TLS12), self.known_with(&rustls::version::TLS13)]
    }
}

/// One end and its socket.
pub(super) struct End {
    pub(super) tls: Tls,
    pub(super) socket: OwnedFd,
}

/// What an end came to: done, or the code and the reason.
pub(super) type Outcome = Result<(), (ErrorKind, String)>;

/// Both ends.
pub(super) struct Ends {
    pub(super) client: End,
    pub(super) server: End,
}

impl Ends {
    pub(super) fn new(client: &ClientTls, server: &ServerTls) -> Self {
        let (ours, theirs) = pair::sockets().unwrap();
        Ends {
            client: End { tls: Tls::connect(client).unwrap(), socket: ours },
            server: End { tls: Tls::accept(server).unwrap(), socket: theirs },
        }
    }

    /// Both, past the handshake.
    pub(super) fn connected(client: &ClientTls, server: &ServerTls) -> Self {
        let mut ends = Self::new(client, server);
        assert_eq!(ends.shake(), (Ok(()), Ok(())));
        ends
    }

    /// Goes through the handshake, and how it ended for the client and for the server.
    pub(super) fn shake(&mut self) -> (Outcome, Outcome) {
        let (mut client, mut server) = (None, None);
        for _ in 0..10 {
            client = client.or_else(|| self.client.shake());
            server = server.or_else(|| self.server.shake());
        }
        (client.expect("the client waits"), server.expect("the server waits"))
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

fn told(broken: &Broken) -> (ErrorKind, String) {
    (broken.kind, broken.reason.clone())
}

impl End {
    /// Goes on with the handshake, and how it ended if it has.
    pub(super) fn shake(&mut self) -> Option<Outcome> {
        match self.tls.handshake(&self.socket) {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(broken) => Some(Err(told(&broken))),
        }
    }

    #[track_caller]
    pub(super) fn send(&mut self, text: &[u8]) {
        assert_eq!(self.tls.write(&self.socket, &[IoSlice::new(text)]), Ok(text.len()));
    }

    /// Reads once.
    pub(super) fn read(&mut self) -> Result<Vec<u8>, Errno> {
        let mut inbox = BytesMut::new();
        let count = self.tls.read(&self.socket, &mut inbox)?;
        assert_eq!(count, inbox.len());
        Ok(inbox.to_vec())
    }

    /// Waits for so many bytes.
    #[track_caller]
    pub(super) fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut text = Vec::new();
        while text.len() < count {
            match self.read() {
                Ok(more) if !more.is_empty() => text.extend(more),
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], None).unwrap();
                }
                other => panic!("{other:?}: {:?}", self.tls.broken()),
            }
        }
        text
    }

    /// Reads on to where TLS breaks, and why it does.
    #[track_caller]
    pub(super) fn breaks(&mut self) -> (ErrorKind, String) {
        assert_eq!(self.read(), Err(BROKEN));
        told(self.tls.broken().unwrap())
    }
}
