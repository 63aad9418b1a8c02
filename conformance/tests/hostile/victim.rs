//! A server that is mistreated, and a client of it that is not: a bystander, who must not notice.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::frames::{self, ERROR, Frame, REPLY};
use crate::peer::{Peer, Server};
use crate::place::{Folder, address};
use crate::stream::Stream;
use crate::{Result, text};

/// What the first case that needs it makes.
pub(crate) type Shared<T> = Arc<OnceLock<std::result::Result<T, String>>>;

pub(crate) struct Victim {
    server: Server,
    bystander: Mutex<Client>,
}

impl Victim {
    pub(crate) fn shared<'a>(
        shared: &'a Shared<Victim>,
        peer: Peer,
        place: &str,
        folder: &Folder,
    ) -> std::result::Result<&'a Self, String> {
        Ok(shared.get_or_init(|| Victim::start(peer, place, folder).map_err(text)).as_ref()?)
    }

    pub(crate) fn start(peer: Peer, place: &str, folder: &Folder) -> Result<Self> {
        let server = peer.serve(vec![address(place, "protocol=panpipe&connections=4096", folder)?])?;
        let bystander = Mutex::new(Client::of(Stream::connect(&server.places[0].address)?)?);
        Ok(Victim { server, bystander })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.places[0].pid
    }

    pub(crate) fn address(&self) -> &str {
        &self.server.places[0].address
    }

    /// A connection on which nothing has been said.
    pub(crate) fn connect(&self) -> std::io::Result<Stream> {
        Stream::connect(&self.server.places[0].address)
    }

    /// A connection that said HELLO.
    pub(crate) fn client(&self) -> Result<Client> {
        Client::of(self.connect()?)
    }

    /// Whether the bystander is answered, and nothing in the process has broken.
    pub(crate) fn still_serves(&self) -> Result<()> {
        self.bystander.lock().unwrap_or_else(PoisonError::into_inner).upper()?;
        let told = self.server.process.stderr();
        match ["panicked", "Traceback", "Unhandled", "uncaught"].iter().find(|sign| told.contains(**sign)) {
            Some(_) => Err(format!("something broke: {told}").into()),
            None => Ok(()),
        }
    }

    /// Whether the server has said why it closed a connection.
    pub(crate) fn has_told(&self, why: &str) -> Result<()> {
        self.has_told_within(Duration::from_secs(5), why)
    }

    pub(crate) fn has_told_within(&self, time: Duration, why: &str) -> Result<()> {
        let deadline = Instant::now() + time;
        while !self.server.process.stderr().contains(why) {
            if Instant::now() > deadline {
                return Err(format!("the server has told nobody: {why}").into());
            }
            sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// How long all but one in a hundred calls of the bystander take at most.
    pub(crate) fn slowest_in_a_hundred(&self) -> Result<Duration> {
        let mut bystander = self.bystander.lock().unwrap_or_else(PoisonError::into_inner);
        let mut took = Vec::new();
        for _ in 0..200 {
            let begun = Instant::now();
            bystander.upper()?;
            took.push(begun.elapsed());
        }
        took.sort();
        Ok(took[took.len() * 99 / 100 - 1])
    }
}

/// A well-behaved client, by hand.
pub(crate) struct Client {
    pub(crate) stream: Stream,
    next: u64,
}

impl Client {
    pub(crate) fn of(mut stream: Stream) -> Result<Self> {
        stream.write_all(&frames::hello())?;
        Ok(Client { stream, next: 1 })
    }

    pub(crate) fn id(&mut self) -> u64 {
        self.next += 2;
        self.next - 2
    }

    /// Calls, and answers with the REPLY or the ERROR.
    pub(crate) fn call(&mut self, flags: u8, method: &str, payload: &[u8]) -> Result<Frame> {
        let id = self.id();
        self.stream.write_all(&frames::call(id, flags, method, payload))?;
        self.answer(id)
    }

    /// Reads on to the answer of a call.
    pub(crate) fn answer(&mut self, id: u64) -> Result<Frame> {
        loop {
            let frame = Frame::read(&mut self.stream)?.ok_or("it ended before the answer")?;
            if frame.id == id && [REPLY, ERROR].contains(&frame.kind) {
                return Ok(frame);
            }
        }
    }

    fn upper(&mut self) -> Result<()> {
        let answer = self.call(0, "upper", &frames::text("bystander"))?;
        match answer.kind == REPLY && answer.body == b"\xa9BYSTANDER" {
            true => Ok(()),
            false => Err(format!("the bystander is answered with {answer:?}").into()),
        }
    }
}
