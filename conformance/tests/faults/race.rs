//! Two servers that find the same stale socket file in the same moment.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use panpipe::ErrorKind;
use panpipe::plain::blocking;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};

use crate::Result;
use crate::place::Folder;
use crate::storm::python;

pub(crate) fn python_and_rust(folder: &Folder) -> Result<()> {
    race(&mut python("racer.py"), 1000, folder)
}

/// Leaves a socket file that nobody listens at. It never did: other tests start programs, and what was listened on here
/// would live in those until they have become themselves.
fn leave_stale(path: &str) -> Result<()> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    Ok(bind(&socket, &SocketAddrUnix::new(path)?)?)
}

/// Races a program, which listens on each address that it is told, against this one.
fn race(other: &mut Command, rounds: u64, folder: &Folder) -> Result<()> {
    let mut other = other.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = other.stdin.take().ok_or("its stdin is not piped")?;
    let mut output = BufReader::new(other.stdout.take().ok_or("its stdout is not piped")?).lines();
    let mut line = || output.next().unwrap_or(Err(std::io::ErrorKind::UnexpectedEof.into()));
    line()?;
    let mut won = 0;
    for round in 0..rounds {
        let path = folder.path();
        leave_stale(&path)?;
        let address = format!("unix:{path}?framing=length");
        writeln!(input, "{address}")?;
        // It takes about as long to read its line; who is first must not be settled by that.
        sleep(Duration::from_micros(round * 37 % 100));
        let ours = blocking::listen(&address);
        let theirs = line()?;
        let outcome = match &ours {
            Ok(_) => theirs == "address-in-use",
            Err(error) => error.kind() == ErrorKind::AddressInUse && theirs == "listening",
        };
        if !outcome {
            let ours = ours.map(|_| "listening").map_err(|error| error.to_string());
            return Err(format!("round {round}: one says {ours:?} and the other {theirs}").into());
        }
        won += u64::from(ours.is_ok());
        blocking::connect(&address)?;
        writeln!(input)?;
    }
    drop(input);
    other.wait()?;
    // Otherwise they took turns, and did not race.
    match (rounds / 50..rounds - rounds / 50).contains(&won) {
        true => Ok(()),
        false => Err(format!("one has won {won} of {rounds} rounds").into()),
    }
}
