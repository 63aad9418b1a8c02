//! How the command speaks and ends: replies to stdout, one line and hints to stderr, an exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use panpipe::{Error, ErrorKind, Failure, Ran, Result, Value};

use crate::json;

/// What a shell calls a program that SIGHUP, Ctrl-C or SIGTERM ended.
pub(crate) const HUNG_UP: u8 = 129;
pub(crate) const INTERRUPTED: u8 = 130;
pub(crate) const TERMINATED: u8 = 143;

/// Prints to stdout; a reader that has gone, as `head` goes, is no error.
///
/// # Errors
/// `io` when stdout cannot be written.
pub(crate) fn print(parts: &[&[u8]]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let printed = parts.iter().try_for_each(|part| stdout.write_all(part)).and_then(|()| stdout.flush());
    match printed {
        Err(reason) if reason.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new(ErrorKind::Io, "writing to stdout").because(reason))
        }
        _ => Ok(()),
    }
}

/// Prints text or bytes, and with `newline` one behind them unless they end in one.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_text(text: &[u8], newline: bool) -> Result<()> {
    let newline: &[u8] = if !newline || text.ends_with(b"\n") { b"" } else { b"\n" };
    print(&[text, newline])
}

/// Prints a reply: bytes as they are, text as text, anything else as JSON.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_reply(reply: &Value, newline: bool) -> Result<()> {
    match reply {
        Value::Bytes(bytes) => print(&[bytes]),
        Value::Text(text) => print_text(text.as_bytes(), newline),
        other => print_text(json::line(other).as_bytes(), newline),
    }
}

/// Prints an item of a stream in a line: text that has no line breaks as it is, anything else as JSON. Answers whether
/// anybody reads on.
///
/// # Errors
/// `io` when stdout cannot be written.
pub(crate) fn print_item(item: &Value) -> Result<bool> {
    let line = match item {
        Value::Text(text) if !text.contains(['\n', '\r']) => text.clone(),
        other => json::line(other),
    };
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(reason) if reason.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(reason) => Err(Error::new(ErrorKind::Io, "writing to stdout").because(reason)),
        Ok(()) => Ok(true),
    }
}

/// Says a line on stderr. With stderr gone there is nobody to tell.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{}", escaped(line));
}

/// Says what failed and what may help, and makes the exit code of it. With `verbose` also what the other side told of
/// its failure.
pub(crate) fn failure(error: &Error, verbose: bool) -> ExitCode {
    match error.remote() {
        Some(failure) => say(&format!("panpipe: {}: {failure}", error.doing())),
        None => say(&format!("panpipe: {error}")),
    }
    if let Some(failure) = error.remote().filter(|_| verbose) {
        say_more(failure);
    }
    if let Some(hint) = hint(error) {
        say(&format!("hint: {hint}"));
    }
    ExitCode::from(error.kind().exit_code())
}

/// What a remote failure holds beside its code, type and message.
fn say_more(failure: &Failure) {
    for address in &failure.via {
        say(&format!("  by way of {address}"));
    }
    for line in failure.traceback.iter().flat_map(|traceback| traceback.lines()) {
        say(&format!("  {line}"));
    }
    if let Some(data) = &failure.data {
        say(&format!("  data: {}", json::line(data)));
    }
    if let Some(cause) = &failure.cause {
        say(&format!("  because of {cause}"));
        say_more(cause);
    }
}

fn hint(error: &Error) -> Option<&'static str> {
    let connects = error.doing().starts_with("connecting to");
    let listens = error.doing().starts_with("listening on");
    let calls = error.doing().starts_with("calling");
    Some(match error.kind() {
        _ if error.remote().is_some() => return None,
        ErrorKind::Refused => "is the server running? `panpipe serve ADDRESS --echo` is one to try with",
        ErrorKind::NotFound if connects => "is the server running, and is this the name that it told?",
        ErrorKind::NotFound if listens => "the folder must be there before the socket file can be",
        ErrorKind::AddressInUse => "another server has it; port 0, or a socket path that ends in *, picks a free one",
        ErrorKind::Permission if connects => "the server says who may connect, as with the option mode=0660",
        ErrorKind::Permission if listens => "take a folder that you may write in, or a port from 1024 on",
        ErrorKind::DeadlineExceeded if calls => "do both sides use the same framing? --timeout 1m waits longer",
        ErrorKind::ConnectionLost | ErrorKind::BadPeer if calls => "do both sides use the same framing?",
        ErrorKind::TooLarge if error.may_have_run() == Ran::Maybe => {
            "do both sides use the same framing? the option max= allows larger messages"
        }
        ErrorKind::TooLarge => "the option max= allows larger messages; both sides have one",
        _ => return None,
    })
}

/// Lines with control characters made visible: what a peer sends must not drive the terminal.
pub(crate) fn escaped_lines(text: &str) -> String {
    text.lines().map(|line| escaped(line) + "\n").collect()
}

/// A text with control characters made visible.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match is_harmless(c) {
            true => escaped.push(c),
            false => escaped.extend(c.escape_default()),
        }
    }
    escaped
}

/// Not a control character, nor one that reorders what stands around it (Unicode's bidirectional controls).
fn is_harmless(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Makes Ctrl-C end the process with 130 at once. Only for a process that leaves nothing to clean up.
pub(crate) fn exit_on_interrupt() {
    extern "C" fn exit(_: libc::c_int) {
        // SAFETY: _exit may be called in a signal handler (signal-safety(7)).
        unsafe { libc::_exit(INTERRUPTED.into()) }
    }
    let handler = exit as extern "C" fn(libc::c_int);
    // SAFETY: the handler calls nothing but _exit.
    unsafe { libc::signal(libc::SIGINT, handler as libc::sighandler_t) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_made_visible() {
        assert_eq!(escaped("é ✓ \u{1b}[2J\r\n\u{9b}\u{202e}"), "é ✓ \\u{1b}[2J\\r\\n\\u{9b}\\u{202e}");
    }
}
