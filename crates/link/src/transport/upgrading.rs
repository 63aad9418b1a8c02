//! What a connecting end does between the socket and the link: the handshake of TLS, and the upgrade to WebSocket.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use panpipe_wire::websocket::{Role, Upgrade};
use panpipe_wire::{Address, Error, ErrorKind, PANPIPE, Result};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use super::layers::Layers;
use super::link::{self, Link};
use super::stream::{Broken, Stream};
#[cfg(feature = "tls")]
use super::tls::ClientTls;

/// What connecting comes to beyond the socket.
pub(crate) struct Plan {
    address: Address,
    #[cfg(feature = "tls")]
    tls: Option<ClientTls>,
    /// Where to ask for a WebSocket: what the request says of the host, and the path.
    website: Option<(String, String)>,
    token: Option<Arc<str>>,
}

impl Plan {
    /// Nothing but the socket, and in the hello of panpipe the token.
    pub(crate) fn new(address: &Address, token: Option<Arc<str>>) -> Self {
        Plan {
            address: address.clone(),
            #[cfg(feature = "tls")]
            tls: None,
            website: None,
            token,
        }
    }

    /// With TLS.
    #[cfg(feature = "tls")]
    pub(crate) fn with_tls(self, tls: ClientTls) -> Self {
        Plan { tls: Some(tls), ..self }
    }

    /// A WebSocket at `path` of `host`, which is written as in the field Host.
    pub(crate) fn at_website(self, host: String, path: &str) -> Self {
        let path = if path.is_empty() { "/" } else { path };
        Plan { website: Some((host, path.to_owned())), ..self }
    }

    /// Begins over a socket that is connected.
    pub(crate) fn begin(&self, socket: OwnedFd) -> Result<Upgrading> {
        let stream = self.stream(socket).map_err(|broken| self.error(&broken))?;
        let speaks_panpipe = self.address.protocol == PANPIPE;
        let upgrade = self.website.as_ref().map(|(host, path)| {
            let mut key = [0; 16];
            let _ = getrandom(&mut key[..], GetRandomFlags::empty());
            Upgrade::new(host, path, key, speaks_panpipe, self.token.as_deref())
        });
        Ok(Upgrading { stream: Some(stream), upgrade, sent: 0, input: BytesMut::new() })
    }

    fn stream(&self, socket: OwnedFd) -> Result<Stream, Broken> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return Stream::connect(socket, tls);
        }
        Ok(Stream::plain(socket))
    }

    fn error(&self, broken: &Broken) -> Error {
        let error = Error::new(broken.kind, format!("connecting to {}", self.address.text()));
        error.because(broken.reason.clone()).at(self.address.text())
    }
}

/// A connection on its way from the socket to the link.
pub(crate) struct Upgrading {
    stream: Option<Stream>,
    upgrade: Option<Upgrade>,
    sent: usize,
    input: BytesMut,
}

/// What an upgrade has come to.
pub(crate) enum Upgraded {
    Link(Link),
    /// The socket is to become readable, or writable.
    Wait(Arc<OwnedFd>, Waits),
}

/// What a socket is to become.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    Readable,
    Writable,
}

impl Upgrading {
    /// Goes as far as it can without waiting.
    pub(crate) fn advance(&mut self, plan: &Plan) -> Result<Upgraded> {
        let Some(mut stream) = self.stream.take() else { unreachable!("nobody advances what has become a link") };
        match self.go_on(&mut stream) {
            Ok(()) => {
                let input = std::mem::take(&mut self.input);
                Ok(Upgraded::Link(match plan.website.is_some() {
                    true => Link::layered(Layers::messages(stream, input, Role::Client, &plan.address)),
                    false => Link::layered(Layers::bytes(stream, input)).showing(plan.token.clone()),
                }))
            }
            Err(Failure::Waits(waits)) => {
                let socket = Arc::clone(stream.socket());
                self.stream = Some(stream);
                Ok(Upgraded::Wait(socket, waits))
            }
            Err(Failure::Broken(broken)) => Err(plan.error(&broken)),
            Err(Failure::System(errno)) => Err(match stream.broken() {
                Some(broken) => plan.error(broken),
                None => {
                    let text = plan.address.text();
                    link::error(errno, format!("connecting to {text}")).at(text)
                }
            }),
        }
    }

    fn go_on(&mut self, stream: &mut Stream) -> Result<(), Failure> {
        if !stream.shake_hands()? {
            let waits = if stream.wants_write() { Waits::Writable } else { Waits::Readable };
            return Err(Failure::Waits(waits));
        }
        let Some(upgrade) = &self.upgrade else { return Ok(()) };
        while let Some(rest) = upgrade.request().get(self.sent..).filter(|rest| !rest.is_empty()) {
            match stream.write(&[IoSlice::new(rest)]) {
                Ok(count) => self.sent += count,
                Err(Errno::AGAIN) => return Err(Failure::Waits(Waits::Writable)),
                Err(errno) => return Err(Failure::System(errno)),
            }
        }
        stream.flush()?;
        loop {
            if let Some(size) = upgrade.read_response(&self.input)? {
                self.input.advance(size);
                return Ok(());
            }
            self.input.reserve(4 << 10);
            match stream.read(&mut self.input) {
                Ok(0) => {
                    let reason = match self.input.is_empty() {
                        true => "the other side closed without an answer to the request for a WebSocket".into(),
                        false => "the other side closed inside its answer to the request for a WebSocket".into(),
                    };
                    return Err(Failure::Broken(Broken { kind: ErrorKind::ConnectionLost, reason }));
                }
                Ok(_) => {}
                Err(Errno::AGAIN) => {
                    return Err(Failure::Waits(if stream.wants_write() { Waits::Writable } else { Waits::Readable }));
                }
                Err(errno) => return Err(Failure::System(errno)),
            }
        }
    }
}

/// Why it does not go on.
enum Failure {
    Waits(Waits),
    Broken(Broken),
    System(Errno),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Failure::System(errno)
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Failure::Broken(broken)
    }
}

impl From<(ErrorKind, String)> for Failure {
    fn from((kind, reason): (ErrorKind, String)) -> Self {
        Failure::Broken(Broken { kind, reason })
    }
}
