//! A server behind a WebSocket that is mistreated, and a client of it that is not.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use crate::frames::{self, REPLY};
use crate::peer::{Peer, Server};
use crate::stream::Stream;
use crate::written_websocket::{BINARY, Frame, Sender, message, open};
use crate::{Result, process};

/// How much more memory it may take, whatever comes.
const MOST_MEMORY: usize = 24 << 20;

/// What V8 collects late.
const MOST_MEMORY_OF_NODE: usize = 64 << 20;

pub(crate) struct WebVictim {
    peer: Peer,
    server: Server,
    bystander: Mutex<Bystander>,
    memory: usize,
}

struct Bystander {
    stream: Stream,
    /// The number of calls that it has made, where it speaks panpipe.
    calls: Option<u64>,
}

impl WebVictim {
    /// Has `peer` serve these addresses; the first is the bystander's.
    pub(crate) fn start(peer: Peer, addresses: Vec<String>) -> Result<Self> {
        let speaks_panpipe = addresses[0].contains("protocol=panpipe");
        let server = peer.serve(addresses)?;
        let mut stream = open(&server.places[0].address, speaks_panpipe)?;
        if speaks_panpipe {
            stream.write_all(&message(BINARY, &frames::hello(), Sender::Client))?;
        }
        let mut bystander = Bystander { stream, calls: speaks_panpipe.then_some(0) };
        (0..100).try_for_each(|_| bystander.is_answered())?;
        let memory = process::memory(server.places[0].pid)?;
        Ok(WebVictim { peer, server, bystander: Mutex::new(bystander), memory })
    }

    pub(crate) fn address(&self, number: usize) -> &str {
        &self.server.places[number].address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.places[0].pid
    }

    /// Whether the bystander is answered, nothing in the process has broken, and it has not grown.
    pub(crate) fn still_serves(&self) -> Result<()> {
        self.bystander.lock().unwrap_or_else(PoisonError::into_inner).is_answered()?;
        let told = self.server.process.stderr();
        if ["panicked", "Traceback", "Unhandled", "uncaught"].iter().any(|sign| told.contains(sign)) {
            return Err(format!("something broke: {told}").into());
        }
        let most = if self.peer.name == "node" { MOST_MEMORY_OF_NODE } else { MOST_MEMORY };
        match process::memory(self.pid())?.saturating_sub(self.memory) {
            more if more > most => Err(format!("it has {more} bytes more than before").into()),
            _ => Ok(()),
        }
    }
}

impl Bystander {
    fn is_answered(&mut self) -> Result<()> {
        let asked = match &mut self.calls {
            None => b"bystander".to_vec(),
            Some(calls) => {
                *calls += 1;
                frames::call(2 * *calls - 1, 0, "upper", &frames::text("bystander"))
            }
        };
        self.stream.write_all(&message(BINARY, &asked, Sender::Client))?;
        loop {
            let frame = Frame::read(&mut self.stream, Sender::Server)?.ok_or("the bystander was closed")?;
            let is_reply = frame.opcode == BINARY && (self.calls.is_none() || frame.payload.get(4) == Some(&REPLY));
            match is_reply {
                true if frame.payload.ends_with(b"BYSTANDER") => return Ok(()),
                true => return Err(format!("the bystander is answered with {frame:?}").into()),
                false if frame.opcode == BINARY => {}
                false => return Err(format!("the bystander gets {frame:?}").into()),
            }
        }
    }
}
