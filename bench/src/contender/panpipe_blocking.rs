//! `panpipe::plain::blocking`, as a user writes it.

use panpipe::Bytes;
use panpipe::plain::blocking::{Connection, connect, listen};

use super::measure::{Measured, Sink};
use super::{BYE, Role, Task, announce, blocking};
use crate::Outcome;

pub(super) fn serve(role: Role, address: &str) -> Outcome<()> {
    let listener = listen(address)?;
    // A child has nobody to tell.
    if address != "-" {
        announce(listener.address())?;
    }
    while let Some(peer) = listener.accept()? {
        let mut sink = Sink::default();
        while let Some(message) = peer.recv()?.filter(|message| message != BYE) {
            match role {
                Role::Echo => peer.send(message)?,
                Role::Sink => {
                    if let Some(count) = sink.take(&message)? {
                        peer.send(count)?;
                    }
                }
            }
        }
    }
    Ok(())
}

pub(super) fn measure(task: Task, address: &str) -> Outcome<Measured> {
    let mut peer = match address.strip_prefix("child:") {
        Some(role) => {
            let program = std::env::current_exe()?;
            let program = program.to_str().ok_or("this program has no UTF-8 name")?;
            panpipe::plain::blocking::spawn([program, "contender", "panpipe-blocking", "server", role, "-"], "")?
        }
        None => connect(address)?,
    };
    let measured = blocking::measure(task, &mut peer)?;
    peer.send(BYE)?;
    Ok(measured)
}

impl blocking::Peer for Connection {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        Ok(Connection::send(self, message)?)
    }

    fn call(&mut self, message: &[u8]) -> Outcome<impl AsRef<[u8]>> {
        Ok::<Bytes, _>(Connection::call(self, message)?)
    }
}
