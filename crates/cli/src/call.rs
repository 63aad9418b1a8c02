//! `panpipe call`: a call of a method, or of plain messages one there and one back.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::CommandFactory;
use clap::error::ErrorKind as Usage;
use panpipe::{Error, ErrorKind, Peer, Result, Stream, Value};
use panpipe_link::{Address, PANPIPE, WaitFor, blocking};
use tokio::sync::mpsc;

use crate::arguments::{Arguments, Call};
use crate::description::Description;
use crate::given::Given;
use crate::{json, report, visit};

pub(crate) fn run(arguments: Call) -> Result<ExitCode> {
    let Call { address, mut words, mut rest, no_newline, timeout, .. } = arguments;
    // What looks like a flag stands there, too.
    if !panpipe_link::lacks_command(&address) && (!words.is_empty() || rest.len() == 1) {
        words.append(&mut rest);
    }
    let address = visit::address_of(&address, rest)?;
    match address.protocol {
        PANPIPE => {
            let method = words.first().cloned().map(OsString::into_string);
            let Some(Ok(method)) = method else {
                wrong(Usage::MissingRequiredArgument, "the name of a method is wanted")
            };
            words.remove(0);
            let timeout_of_call = timeout.unwrap_or(address.timeout);
            visit::at(&address, timeout, async |peer| {
                call_method(peer, &address, &method, words, timeout_of_call, !no_newline).await
            })
        }
        _ if words.len() > 1 => {
            wrong(Usage::TooManyValues, "one message is wanted, and the address means plain messages")
        }
        _ => send_message(address, words.pop(), timeout, !no_newline),
    }
}

/// Says how the command is used, and exits.
fn wrong(kind: Usage, reason: &str) -> ! {
    let mut command = Arguments::command();
    command.build();
    match command.find_subcommand_mut("call") {
        Some(call) => call.error(kind, reason).exit(),
        None => command.error(kind, reason).exit(),
    }
}

async fn call_method(
    peer: &Peer,
    address: &Address,
    method: &str,
    words: Vec<OsString>,
    timeout: Duration,
    newline: bool,
) -> Result<ExitCode> {
    let refused = |kind, reason: String| {
        Err(Error::new(kind, format!("calling {method} at {}", address.text())).because(reason).at(address.text()))
    };
    // Methods of the protocol itself describe nobody.
    let description = if method.starts_with("panpipe.") { None } else { Description::of(peer).await? };
    let known = match &description {
        Some(description) => match description.method(method) {
            Some(known) => Some((description, known)),
            None => {
                let names: Vec<_> = description.methods().map(|method| method.name()).collect();
                return refused(ErrorKind::NotFound, format!("no method {method:?}; known: {}", names.join(", ")));
            }
        },
        None => None,
    };
    let given = Given::read(words, known, &mut io::stdin().take(address.max as u64 + 1));
    let given = match given {
        Ok(given) => given,
        Err(reason) => return refused(ErrorKind::InvalidArguments, reason),
    };
    let (takes_stream, streams) = known.map_or((false, false), |(_, method)| (method.takes_stream(), method.streams()));
    match (takes_stream, streams) {
        (false, false) => {
            let reply = peer.call_within::<Value>(timeout, method, given).await?;
            report::print_reply(&reply, newline)?;
        }
        (true, false) => {
            let (items, reply) = peer.call_with_stream(method, given);
            let feeding = tokio::spawn(feed(items));
            let reply = reply.await;
            feeding.abort();
            report::print_reply(&reply?, newline)?;
        }
        (false, true) => print_items(peer.stream(method, given)).await?,
        (true, true) => {
            let (items, answers) = peer.stream_with_stream(method, given);
            let feeding = tokio::spawn(feed(items));
            let printed = print_items(answers).await;
            feeding.abort();
            printed?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints items until they or whoever reads has ended.
async fn print_items(mut items: Stream<Value>) -> Result<()> {
    while let Some(item) = items.next().await {
        if !report::print_item(&item?)? {
            break;
        }
    }
    Ok(())
}

/// Streams the lines of stdin: JSON where one is some, else text.
async fn feed(mut items: panpipe::Arguments<Value>) {
    let (tell, mut lines) = mpsc::channel(64);
    // No loop can wait for a stdin that is a file; the thread ends with stdin, or with the process.
    thread::spawn(move || io::stdin().lines().map_while(io::Result::ok).try_for_each(|line| tell.blocking_send(line)));
    while let Some(line) = lines.recv().await {
        let item = json::parse(&line).unwrap_or(Value::Text(line));
        // A handler that takes no more has answered, and its answer says why.
        if items.send(&item).await.is_err() {
            return;
        }
    }
    items.finish();
}

/// One message there, one reply back. No runtime, so that it starts at once.
fn send_message(
    mut address: Address,
    message: Option<OsString>,
    timeout: Option<Duration>,
    newline: bool,
) -> Result<ExitCode> {
    report::exit_on_interrupt();
    address.timeout = timeout.unwrap_or(address.timeout);
    let message = match message {
        Some(message) => message.into_vec(),
        None => read_stdin(&address)?,
    };
    let peer = blocking::connect(&address, None, &mut WaitFor)?;
    let reply = peer.call(&message, Some(address.timeout), &mut WaitFor)?;
    report::print_text(&reply, newline)?;
    peer.leave(&mut WaitFor)?;
    Ok(ExitCode::SUCCESS)
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
