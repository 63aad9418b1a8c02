//! A visit to a peer: connects, does what there is to do unless it is interrupted, and closes.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use panpipe::{Error, ErrorKind, Peer, Result};
use panpipe_link::{Address, PANPIPE};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::report;

/// How long what was begun may take to be cancelled when Ctrl-C ends the visit.
const FAREWELL: Duration = Duration::from_secs(1);

/// The address of a command line: with the program that stands behind its two dashes.
pub(crate) fn address_of(text: &str, program: Vec<OsString>) -> Result<Address> {
    match program.is_empty() {
        true => panpipe_link::parse(text),
        false => panpipe_link::address_with_command(text, &words(program)?),
    }
}

/// The words of a command, which an address can hold only as UTF-8.
fn words(program: Vec<OsString>) -> Result<Vec<String>> {
    let word = |word: OsString| {
        word.into_string().map_err(|word| {
            Error::new(ErrorKind::Unsupported, "reading the program's arguments")
                .because(format!("{word:?} is no UTF-8"))
        })
    };
    program.into_iter().map(word).collect()
}

/// Connects to `address` and works there; Ctrl-C cancels what was begun.
///
/// # Errors
/// Those of [`panpipe::connect`], and of the work.
pub(crate) fn at(
    address: &Address,
    timeout: Option<Duration>,
    work: impl AsyncFnOnce(&Peer) -> Result<ExitCode>,
) -> Result<ExitCode> {
    address.check_speaks(PANPIPE)?;
    let text = with_timeout(address, timeout);
    let system = |reason| Error::new(ErrorKind::Io, format!("connecting to {text}")).because(reason);
    let runtime = Builder::new_current_thread().enable_all().build().map_err(system)?;
    let outcome = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
        let peer = tokio::select! {
            peer = panpipe::connect(&text) => peer?,
            _ = interrupt.recv() => return Ok(ExitCode::from(report::INTERRUPTED)),
            _ = terminate.recv() => return Ok(ExitCode::from(report::TERMINATED)),
        };
        let code = tokio::select! {
            outcome = work(&peer) => {
                let closed = peer.close().await;
                return outcome.and_then(|code| closed.map(|()| code));
            }
            _ = interrupt.recv() => report::INTERRUPTED,
            _ = terminate.recv() => report::TERMINATED,
        };
        // What was begun was dropped with the work, and is cancelled.
        let _ = tokio::time::timeout(FAREWELL, peer.close()).await;
        Ok(ExitCode::from(code))
    });
    // A resolver that does not answer is not waited for.
    runtime.shutdown_background();
    outcome
}

/// The address with another timeout.
fn with_timeout(address: &Address, timeout: Option<Duration>) -> String {
    let text = address.text();
    let Some(timeout) = timeout else { return text.to_string() };
    let (place, options) = text.split_once('?').unwrap_or((text, ""));
    let others = options.split('&').filter(|option| !option.is_empty() && !option.starts_with("timeout="));
    let timeout = format!("timeout={}us", timeout.as_micros());
    format!("{place}?{}", others.chain([timeout.as_str()]).collect::<Vec<_>>().join("&"))
}
