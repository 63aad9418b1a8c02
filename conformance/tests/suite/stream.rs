//! Plain sockets, TCP or Unix: the suite's own end of a conversation, which may break any rule.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

/// How long a read may wait: a net, not a measure.
const LONGEST: Duration = Duration::from_secs(10);

pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Connects to the address of a server.
    pub(crate) fn connect(address: &str) -> Result<Self> {
        let place = address.split('?').next().unwrap_or_default();
        match place.split_once("://") {
            // What it has behind its port is not the socket's.
            Some((_, place)) => TcpStream::connect(place.split('/').next().unwrap_or_default()).and_then(Self::tcp),
            None => UnixStream::connect(place.trim_start_matches("unix:")).and_then(Self::unix),
        }
    }

    fn tcp(socket: TcpStream) -> Result<Self> {
        socket.set_read_timeout(Some(LONGEST))?;
        socket.set_nodelay(true)?;
        Ok(Stream::Tcp(socket))
    }

    fn unix(socket: UnixStream) -> Result<Self> {
        socket.set_read_timeout(Some(LONGEST))?;
        Ok(Stream::Unix(socket))
    }

    /// Another handle of the same socket.
    #[allow(dead_code, reason = "the hostile peers use it")]
    pub(crate) fn try_clone(&self) -> Result<Self> {
        Ok(match self {
            Stream::Tcp(socket) => Stream::Tcp(socket.try_clone()?),
            Stream::Unix(socket) => Stream::Unix(socket.try_clone()?),
        })
    }

    /// Ends the output and leaves the input open.
    pub(crate) fn end_output(&self) -> Result<()> {
        match self {
            Stream::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Stream::Unix(socket) => socket.shutdown(Shutdown::Write),
        }
    }

    /// Sends messages in the framing `length`.
    pub(crate) fn send(&mut self, messages: &[&str]) -> Result<()> {
        self.write_all(&messages.iter().flat_map(|message| frame(message)).collect::<Vec<_>>())
    }

    /// Reads one message in the framing `length`.
    pub(crate) fn receive(&mut self) -> Result<String> {
        let mut count = [0; 4];
        self.read_exact(&mut count)?;
        let mut message = vec![0; u32::from_be_bytes(count) as usize];
        self.read_exact(&mut message)?;
        Ok(String::from_utf8_lossy(&message).into_owned())
    }

    pub(crate) fn read_bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Lets a write that makes no way for so long fail.
    pub(crate) fn limit_writes(&self, longest: Duration) -> Result<()> {
        match self {
            Stream::Tcp(socket) => socket.set_write_timeout(Some(longest)),
            Stream::Unix(socket) => socket.set_write_timeout(Some(longest)),
        }
    }

    /// Reads to the end; a reset is an end too, after which nothing can be told any more.
    pub(crate) fn read_rest(&mut self) -> Result<Vec<u8>> {
        let mut rest = Vec::new();
        match self.read_to_end(&mut rest) {
            Ok(_) => Ok(rest),
            Err(reason) if reason.kind() == ErrorKind::ConnectionReset => Ok(rest),
            Err(reason) => Err(reason),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(socket) => socket.as_fd(),
            Stream::Unix(socket) => socket.as_fd(),
        }
    }
}

/// A message in the framing `length`.
pub(crate) fn frame(message: &str) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes(), message.as_bytes()].concat()
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = match self {
            Stream::Tcp(socket) => socket.read(buffer),
            Stream::Unix(socket) => socket.read(buffer),
        };
        read.map_err(|reason| match reason.kind() {
            ErrorKind::WouldBlock => Error::new(ErrorKind::TimedOut, format!("nothing came for {LONGEST:?}")),
            _ => reason,
        })
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match self {
            Stream::Tcp(socket) => socket.write(bytes),
            Stream::Unix(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, String),
}

impl Listener {
    pub(crate) fn tcp() -> Result<Self> {
        Ok(Listener::Tcp(TcpListener::bind("127.0.0.1:0")?))
    }

    pub(crate) fn unix(path: String) -> Result<Self> {
        Ok(Listener::Unix(UnixListener::bind(&path)?, path))
    }

    /// The address to connect to, with `options`.
    pub(crate) fn address(&self, options: &str) -> Result<String> {
        Ok(match self {
            Listener::Tcp(listener) => format!("tcp://{}?{options}", listener.local_addr()?),
            Listener::Unix(_, path) => format!("unix:{path}?{options}"),
        })
    }

    /// The host and the port, or the path.
    #[allow(dead_code, reason = "the hostile peers use it")]
    pub(crate) fn place(&self) -> Result<String> {
        Ok(match self {
            Listener::Tcp(listener) => listener.local_addr()?.to_string(),
            Listener::Unix(_, path) => path.clone(),
        })
    }

    pub(crate) fn accept(&self) -> Result<Stream> {
        match self {
            Listener::Tcp(listener) => Stream::tcp(listener.accept()?.0),
            Listener::Unix(listener, _) => Stream::unix(listener.accept()?.0),
        }
    }
}
