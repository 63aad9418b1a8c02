//! `panpipe call`: one message there, one reply back. No runtime, so that it starts at once.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use panpipe::{Error, ErrorKind, Result};
use panpipe_link::{Address, WaitFor, blocking};

use crate::arguments::Call;
use crate::report;

pub(crate) fn run(arguments: Call) -> Result<ExitCode> {
    report::exit_on_interrupt();
    let Call { address, mut message, mut rest, .. } = arguments;
    // A message that looks like a flag stands there, too.
    if message.is_none() && rest.len() == 1 && !panpipe_link::lacks_command(&address) {
        message = rest.pop();
    }
    let mut address = match rest.is_empty() {
        true => panpipe_link::parse(&address)?,
        false => panpipe_link::address_with_command(&address, &words(rest)?)?,
    };
    address.timeout = arguments.timeout.unwrap_or(address.timeout);
    let message = match message {
        Some(message) => message.into_vec(),
        None => read_stdin(&address)?,
    };
    let peer = blocking::connect(&address, None, &mut WaitFor)?;
    let reply = peer.call(&message, Some(address.timeout), &mut WaitFor)?;
    let newline: &[u8] = if arguments.no_newline || reply.ends_with(b"\n") { b"" } else { b"\n" };
    report::print(&[&reply, newline])?;
    peer.leave(&mut WaitFor)?;
    Ok(ExitCode::SUCCESS)
}

/// The words of a command, which an address can hold only as UTF-8.
fn words(rest: Vec<OsString>) -> Result<Vec<String>> {
    let word = |word: OsString| {
        word.into_string().map_err(|word| {
            Error::new(ErrorKind::Unsupported, "reading the program's arguments")
                .because(format!("{word:?} is no UTF-8"))
        })
    };
    rest.into_iter().map(word).collect()
}

/// All of stdin; no more than one byte beyond `max` is read of an endless one.
fn read_stdin(address: &Address) -> Result<Vec<u8>> {
    let error = |kind| Error::new(kind, format!("reading the message for {}", address.text())).at(address.text());
    let mut message = Vec::new();
    let most = address.max as u64;
    let read = io::stdin().lock().take(most + 1).read_to_end(&mut message);
    read.map_err(|reason| error(ErrorKind::Io).because(reason))?;
    match message.len() > address.max {
        true => {
            let reason = format!("a message may be {most} bytes at most, and stdin holds more");
            Err(error(ErrorKind::TooLarge).because(reason))
        }
        false => Ok(message),
    }
}
