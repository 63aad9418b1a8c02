//! A connected stream socket, as it is or with TLS over it.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::BytesMut;
use panpipe_wire::ErrorKind;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, sendmsg, shutdown};

use super::link::recv_into;
#[cfg(feature = "tls")]
use super::tls::{ClientTls, ServerTls, Tls};

/// Why a layer broke: what the system's own errors cannot say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// What a caller would go by.
    pub(crate) kind: ErrorKind,
    /// Why, as an error's last part.
    pub(crate) reason: String,
}

/// A connected stream socket. Where it fails with an error that is not the system's, [`broken`](Self::broken) says why.
pub(crate) struct Stream {
    socket: Arc<OwnedFd>,
    #[cfg(feature = "tls")]
    tls: Option<Box<Tls>>,
}

impl Stream {
    /// The socket as it is.
    pub(crate) fn plain(socket: OwnedFd) -> Self {
        Stream {
            socket: Arc::new(socket),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// The connecting end of TLS.
    #[cfg(feature = "tls")]
    pub(crate) fn connect(socket: OwnedFd, tls: &ClientTls) -> Result<Self, Broken> {
        let tls = Tls::connect(tls)?;
        Ok(Stream { socket: Arc::new(socket), tls: Some(Box::new(tls)) })
    }

    /// The end of TLS that was connected to.
    #[cfg(feature = "tls")]
    pub(crate) fn accept(socket: OwnedFd, tls: &ServerTls) -> Result<Self, Broken> {
        let tls = Tls::accept(tls)?;
        Ok(Stream { socket: Arc::new(socket), tls: Some(Box::new(tls)) })
    }

    pub(crate) fn socket(&self) -> &Arc<OwnedFd> {
        &self.socket
    }

    /// The socket alone, where nothing else holds it.
    pub(crate) fn into_socket(self) -> Arc<OwnedFd> {
        self.socket
    }

    /// Goes on with the handshake as far as it can; `true` once it is done.
    pub(crate) fn shake_hands(&mut self) -> Result<bool, Broken> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.handshake(&self.socket);
        }
        Ok(true)
    }

    /// Whether what is written is changed on its way.
    pub(crate) fn is_encrypted(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return true;
        }
        false
    }

    /// Why it broke, where a layer knows.
    pub(crate) fn broken(&self) -> Option<&Broken> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.broken();
        }
        None
    }

    /// Appends what one read brings; zero at the end. With TLS all that is read is taken in, whatever the room.
    pub(crate) fn read(&mut self, inbox: &mut BytesMut) -> Result<usize, Errno> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.read(&self.socket, inbox);
        }
        loop {
            match recv_into(&self.socket, inbox, RecvFlags::DONTWAIT) {
                Err(Errno::INTR) => {}
                read => return read,
            }
        }
    }

    /// Whether the last read, which `was_short` of its room, has emptied the socket, so that readiness tells of what comes
    /// next.
    pub(crate) fn has_emptied(&self, was_short: bool) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.has_read_all();
        }
        was_short
    }

    /// Whether the next read tells of an end that has come already.
    pub(crate) fn has_end(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.has_end();
        }
        false
    }

    /// Takes what there is room for now.
    pub(crate) fn write(&mut self, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.write(&self.socket, parts);
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            match sendmsg(&self.socket, parts, &mut SendAncillaryBuffer::default(), flags) {
                Err(Errno::INTR) => {}
                written => return written,
            }
        }
    }

    /// Whether anything that was taken waits for the socket.
    pub(crate) fn wants_write(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.wants_write();
        }
        false
    }

    /// Writes what was taken, as far as the system takes it.
    pub(crate) fn flush(&mut self) -> Result<(), Errno> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.flush(&self.socket);
        }
        Ok(())
    }

    /// Tells the other side that nothing more comes.
    pub(crate) fn end_output(&mut self) {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            tls.end_output(&self.socket);
        }
        let _ = shutdown(&self.socket, Shutdown::Write);
    }

    /// Reads and drops some of what has arrived; zero at the end of it.
    pub(crate) fn discard(&mut self) -> Result<usize, Errno> {
        recv(&self.socket, &mut [0; 16 << 10][..], RecvFlags::DONTWAIT).map(|(count, _)| count)
    }
}
