//! A program as a handler: one run per message, the message on its stdin, its stdout the reply.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use panpipe::Bytes;
use panpipe_link::Address;
use rustix::fs::Access;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;

/// Runs at once, over all connections; more wait their turn.
const MOST_CHILDREN: usize = 64;

/// A program to run per message.
pub(crate) struct Program {
    command: Vec<OsString>,
    max: usize,
    /// A message that a newline ends cannot hold the one that ends a program's output.
    drops_newline: bool,
    room: Semaphore,
}

impl Program {
    /// The program `command`, which holds a name and arguments, for the messages of `address`.
    pub(crate) fn new(command: Vec<OsString>, address: &Address) -> Self {
        Program {
            command,
            max: address.max,
            drops_newline: address.ends_messages_with() == b"\n",
            room: Semaphore::new(MOST_CHILDREN),
        }
    }

    /// Whether there is such a program, looked for as the system will: a path, or a name in PATH.
    pub(crate) fn exists(name: &OsStr) -> bool {
        let is_program = |path: &Path| path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok();
        if name.as_encoded_bytes().contains(&b'/') {
            return is_program(Path::new(name));
        }
        let folders = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
        std::env::split_paths(&folders).any(|folder| is_program(&folder.join(name)))
    }

    /// Runs the program on `message`; the error is a text for the log.
    pub(crate) async fn answer(&self, message: Bytes) -> Result<Vec<u8>, String> {
        let _room = self.room.acquire().await.map_err(|closed| closed.to_string())?;
        let mut child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|reason| format!("starting {}: {reason}", self.name()))?;
        let group = Group::of(&child);
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        // At the same time: a program that writes before it has read everything would otherwise wait for us for ever.
        let exchange = tokio::try_join!(self.feed(stdin, &message), self.drain(stdout));
        if exchange.is_err() {
            group.kill();
        }
        let status = child.wait().await;
        group.has_ended();
        let ((), output) = exchange?;
        match status {
            Ok(status) if status.success() => Ok(output),
            Ok(status) => Err(format!("{} {}", self.name(), how_it_ended(status))),
            Err(reason) => Err(format!("waiting for {}: {reason}", self.name())),
        }
    }

    async fn feed(&self, stdin: Option<ChildStdin>, message: &[u8]) -> Result<(), String> {
        let Some(mut stdin) = stdin else {
            return Ok(());
        };
        match stdin.write_all(message).await {
            // A program need not read what it is given.
            Err(reason) if reason.kind() != ErrorKind::BrokenPipe => {
                Err(format!("writing to {}: {reason}", self.name()))
            }
            _ => Ok(()),
        }
    }

    async fn drain(&self, stdout: Option<ChildStdout>) -> Result<Vec<u8>, String> {
        let mut output = Vec::new();
        if let Some(stdout) = stdout {
            // One byte for the newline, one to see that there is too much.
            let read = stdout.take(self.max as u64 + 2).read_to_end(&mut output).await;
            read.map_err(|reason| format!("reading from {}: {reason}", self.name()))?;
        }
        if self.drops_newline && output.last() == Some(&b'\n') {
            output.pop();
        }
        match output.len() > self.max {
            true => Err(format!("{} wrote more than the {} bytes that a message may have", self.name(), self.max)),
            false => Ok(output),
        }
    }

    fn name(&self) -> String {
        self.command[0].to_string_lossy().into_owned()
    }
}

fn how_it_ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// A child's process group, so that what the child has started ends with it.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }

    fn kill(&self) {
        if let Some(group) = self.0 {
            // It may have ended already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// From here on the number may be somebody else's.
    fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
