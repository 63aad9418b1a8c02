//! A client whose every system call may be interrupted by a signal, ten thousand times a second.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;
use crate::peer::PANPIPE_SERVERS;
use crate::place::{Folder, address};

pub(crate) fn rust_blocking(folder: &Folder) -> Result<()> {
    weather(Command::new(env!("CARGO_BIN_EXE_storm_peer")).arg("blocking"), folder)
}

pub(crate) fn rust_tokio(folder: &Folder) -> Result<()> {
    weather(Command::new(env!("CARGO_BIN_EXE_storm_peer")).arg("tokio"), folder)
}

pub(crate) fn python_blocking(folder: &Folder) -> Result<()> {
    weather(&mut python("storm_blocking.py"), folder)
}

pub(crate) fn python_asyncio(folder: &Folder) -> Result<()> {
    weather(&mut python("storm_asyncio.py"), folder)
}

/// A script in `peers/`, for the interpreter of the virtual environment.
pub(crate) fn python(script: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(root.join(".venv/bin/python"));
    command.arg(root.join("conformance/peers").join(script));
    command
}

/// Has `client` make 10,000 calls and move 64 MiB each way; it checks what comes, and tells how many signals it got and
/// how much of half a second in which nothing came it spent, in milliseconds.
fn weather(client: &mut Command, folder: &Folder) -> Result<()> {
    let rust = PANPIPE_SERVERS.iter().find(|peer| peer.name == "rust").ok_or("there is no Rust")?;
    let server = rust.serve(vec![address("unix", "framing=length&timeout=30s", folder)?])?;
    let output = client.arg(&server.places[0].address).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    let told = String::from_utf8(output.stdout)?;
    let (signals, spent) = told.trim().split_once(' ').ok_or("it told nothing")?;
    let (signals, spent): (u32, u32) = (signals.parse()?, spent.parse()?);
    match (signals, spent) {
        (..1000, _) => Err(format!("{signals} signals are no storm").into()),
        (_, 300..) => Err(format!("it was busy for {spent} of 500 ms in which nothing came").into()),
        _ => Ok(()),
    }
}
