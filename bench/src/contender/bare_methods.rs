//! The bare system calls of the methods that `std` has no types for, and of pipes: one call a message where packets
//! keep their boundaries, one write and buffered reads a frame elsewhere.

use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

use panpipe_bench_measure::{Measured, Role, Sink, Task, announce, blocking};
use rustix::fs::{Mode, OFlags, mkfifoat, open};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept, bind, connect, listen, recv,
    send, socket_with,
};

use super::bare_blocking::{Framed, answer};
use crate::Outcome;

/// No packet here is larger.
const LARGEST: usize = 70 << 10;

pub(super) fn serve(role: Role, address: &str) -> Outcome<()> {
    let (scheme, target) = split(address)?;
    match scheme {
        "unix-seqpacket" => {
            let listener = seqpacket()?;
            bind(&listener, &SocketAddrUnix::new(target)?)?;
            listen(&listener, 1)?;
            announce(address)?;
            loop {
                let socket = accept(&listener)?;
                let mut sink = Sink::default();
                let mut packet = vec![0; LARGEST];
                loop {
                    let (count, _) = recv(&socket, &mut packet[..], RecvFlags::empty())?;
                    if count == 0 {
                        break;
                    }
                    if let Some(reply) = reply(role, &packet[..count], &mut sink)? {
                        send(&socket, &reply, SendFlags::empty())?;
                    }
                }
            }
        }
        "unix-dgram" => {
            let socket = UnixDatagram::bind(target)?;
            announce(address)?;
            let (mut sink, mut packet) = (Sink::default(), vec![0; LARGEST]);
            loop {
                let (count, sender) = socket.recv_from(&mut packet)?;
                if let Some(reply) = reply(role, &packet[..count], &mut sink)? {
                    socket.send_to_addr(&reply, &sender)?;
                }
            }
        }
        "udp" => {
            let socket = UdpSocket::bind(place(target))?;
            announce(&format!("udp://{}", socket.local_addr()?))?;
            let (mut sink, mut packet) = (Sink::default(), vec![0; LARGEST]);
            loop {
                let (count, sender) = socket.recv_from(&mut packet)?;
                if let Some(reply) = reply(role, &packet[..count], &mut sink)? {
                    socket.send_to(&reply, sender)?;
                }
            }
        }
        "fifo" => {
            let back = format!("{target}-back");
            for path in [target, &back] {
                mkfifoat(rustix::fs::CWD, path, Mode::RUSR | Mode::WUSR)?;
            }
            announce(address)?;
            // Both ways at once, so that neither end is ever seen to close.
            answer(role, Pipes { input: open_fifo(target, OFlags::RDWR)?, output: open_fifo(&back, OFlags::RDWR)? })
        }
        "child" => answer(role, Pipes { input: inherited(std::io::stdin())?, output: inherited(std::io::stdout())? }),
        _ => Err(format!("no bare server for {scheme}").into()),
    }
}

fn reply<'a>(role: Role, message: &'a [u8], sink: &mut Sink) -> Outcome<Option<std::borrow::Cow<'a, [u8]>>> {
    Ok(match role {
        Role::Echo => Some(message.into()),
        Role::Sink => sink.take(message)?.map(|count| count.to_vec().into()),
        Role::Topics(_) => return Err("bare sockets have no topics".into()),
    })
}

pub(super) fn measure(task: Task, address: &str) -> Outcome<Measured> {
    let (scheme, target) = split(address)?;
    match scheme {
        "unix-seqpacket" => {
            let socket = seqpacket()?;
            connect(&socket, &SocketAddrUnix::new(target)?)?;
            blocking::measure(task, &mut Packets { socket, packet: vec![0; LARGEST] })
        }
        "unix-dgram" => {
            let socket = UnixDatagram::unbound()?;
            // With nothing but the family the system picks a name (unix(7), autobind).
            bind(&socket, &SocketAddrUnix::new_unnamed())?;
            socket.connect(target)?;
            blocking::measure(task, &mut Packets { socket: socket.into(), packet: vec![0; LARGEST] })
        }
        "udp" => {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(place(target))?;
            blocking::measure(task, &mut Packets { socket: socket.into(), packet: vec![0; LARGEST] })
        }
        "fifo" => {
            let pipes = Pipes {
                input: open_fifo(&format!("{target}-back"), OFlags::RDWR)?,
                output: open_fifo(target, OFlags::WRONLY)?,
            };
            blocking::measure(task, &mut Framed::new(pipes))
        }
        "child" => {
            let mut child = start_child(target)?;
            let measured = match (child.stdin.take(), child.stdout.take()) {
                (Some(input), Some(output)) => {
                    let pipes =
                        Pipes { input: File::from(OwnedFd::from(output)), output: File::from(OwnedFd::from(input)) };
                    blocking::measure(task, &mut Framed::new(pipes))
                }
                _ => Err("a child without pipes".into()),
            };
            child.wait()?;
            measured
        }
        _ => Err(format!("no bare client for {scheme}").into()),
    }
}

fn start_child(role: &str) -> Outcome<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["contender", "bare-methods", "server", role, "child:"]);
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?)
}

fn split(address: &str) -> Outcome<(&str, &str)> {
    let (scheme, target) = address.split_once(':').ok_or("an address is scheme:target")?;
    Ok((scheme, target.split('?').next().unwrap_or_default()))
}

/// A host and a port, of `//HOST:PORT`.
fn place(target: &str) -> &str {
    target.trim_start_matches('/')
}

fn seqpacket() -> Outcome<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

fn open_fifo(path: &str, access: OFlags) -> Outcome<File> {
    Ok(File::from(open(path, access | OFlags::CLOEXEC, Mode::empty())?))
}

fn inherited(stream: impl std::os::fd::AsFd) -> Outcome<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

/// A pipe for each way.
struct Pipes {
    input: File,
    output: File,
}

impl Read for Pipes {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        self.input.read(room)
    }
}

impl Write for Pipes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.output.write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> std::io::Result<usize> {
        self.output.write_vectored(parts)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A connected socket whose packets are the messages.
struct Packets {
    socket: OwnedFd,
    packet: Vec<u8>,
}

impl blocking::Peer for Packets {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        send(&self.socket, message, SendFlags::empty())?;
        Ok(())
    }

    fn call(&mut self, message: &[u8]) -> Outcome<impl AsRef<[u8]>> {
        self.send(message)?;
        let (count, _) = recv(&self.socket, &mut self.packet[..], RecvFlags::empty())?;
        Ok(&self.packet[..count])
    }
}
