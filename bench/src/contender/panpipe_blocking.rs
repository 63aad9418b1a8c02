//! `panpipe::plain::blocking`, as a user writes it.

use panpipe::Bytes;
use panpipe::plain::blocking::{Connection, connect, listen};
use panpipe_bench_measure::{BYE, Measured, Role, Sink, Task, announce, blocking};

use crate::Outcome;

/// Where a child finds its parent, which it has nothing to tell.
const PARENT: &str = "stdio:?protocol=plain";

pub(super) fn serve(role: Role, address: &str) -> Outcome<()> {
    let listener = listen(address)?;
    if address != PARENT {
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
                Role::Topics(_) => return Err("plain messages have no topics".into()),
            }
        }
    }
    Ok(())
}

pub(super) fn measure(task: Task, address: &str) -> Outcome<Measured> {
    let peer = match address.strip_prefix("child:") {
        Some(role) => {
            let program = std::env::current_exe()?;
            let program = program.to_str().ok_or("this program has no UTF-8 name")?;
            panpipe::plain::blocking::spawn(
                [program, "contender", "panpipe-blocking", "server", role, PARENT],
                "protocol=plain",
            )?
        }
        None => connect(address)?,
    };
    let mut peer = Plain(peer);
    let measured = blocking::measure(task, &mut peer)?;
    peer.0.send(BYE)?;
    Ok(measured)
}

struct Plain(Connection);

impl blocking::Peer for Plain {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        Ok(self.0.send(message)?)
    }

    fn call(&mut self, message: &[u8]) -> Outcome<impl AsRef<[u8]>> {
        Ok::<Bytes, _>(self.0.call(message)?)
    }
}
