//! The `panpipe` command as a shell sees it: exit codes, stdout, stderr, signals.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

mod activation;
mod call;
mod cert;
mod errors;
mod fifo;
mod methods;
mod peer;
mod program;
mod serve;
mod signals;
mod spawn;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Long enough for anything here, on a busy machine too; reached only when something hangs.
const NET: Duration = Duration::from_secs(30);

fn panpipe<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_panpipe"));
    command.args(arguments);
    command
}

/// How a run of the command ended.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

impl Outcome {
    /// Requires that this is an error: nothing on stdout, exactly these lines on stderr.
    #[track_caller]
    fn is_error(&self, code: i32, lines: &[&str]) {
        let stderr: Vec<_> = self.stderr.lines().collect();
        assert_eq!((self.code, stderr.as_slice()), (Some(code), lines));
        assert!(self.stdout.is_empty(), "{:?}", self.stdout);
    }

    /// Requires that this is `reply` on stdout and nothing else.
    #[track_caller]
    fn is(&self, reply: &str) {
        let found = (self.code, String::from_utf8_lossy(&self.stdout), self.stderr.as_str());
        assert_eq!(found, (Some(0), reply.into(), ""));
    }
}

/// Runs the command with `stdin` as its input.
fn run<'a>(arguments: impl IntoIterator<Item = &'a str>, stdin: &[u8]) -> Outcome {
    finish(panpipe(arguments).stdin(Stdio::piped()), stdin)
}

/// Calls without stdin.
fn call(arguments: &[&str]) -> Outcome {
    finish(panpipe(["call"]).args(arguments).stdin(Stdio::null()), b"")
}

fn finish(command: &mut Command, stdin: &[u8]) -> Outcome {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        scope.spawn(move || input.map(|mut input| input.write_all(stdin)));
        let stdout = scope.spawn(|| all_of(output.unwrap()));
        let stderr = scope.spawn(|| all_of(errors.unwrap()));
        let status = wait(&mut child);
        let stderr = String::from_utf8(stderr.join().unwrap()).unwrap();
        Outcome { code: status.code(), stdout: stdout.join().unwrap(), stderr }
    })
}

fn all_of(mut input: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Waits for a child, but not for ever.
#[track_caller]
fn wait(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > NET {
            child.kill().unwrap();
            panic!("it hangs");
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// A running `panpipe serve`, killed with the test.
struct Server {
    child: Child,
    address: String,
    lines: Receiver<String>,
}

impl Server {
    fn start(address: &str, handler: &[&str]) -> Self {
        let mut command = panpipe(["serve", address]);
        // A group of its own, so that a test that fails leaves nothing behind.
        let mut child =
            command.args(handler).stdin(Stdio::null()).stderr(Stdio::piped()).process_group(0).spawn().unwrap();
        let (tell, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let mut server = Server { child, address: String::new(), lines };
        let line = server.line();
        server.address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        server
    }

    /// The next line on its stderr.
    #[track_caller]
    fn line(&self) -> String {
        self.lines.recv_timeout(NET).unwrap()
    }

    fn call(&self, message: &str) -> Outcome {
        call(&[&self.address, message])
    }

    /// Where a plain socket program connects.
    fn place(&self) -> String {
        let place = self.address.strip_prefix("tcp://").unwrap();
        place.split('?').next().unwrap().to_owned()
    }

    /// The path of its socket file.
    fn path(&self) -> PathBuf {
        let path = self.address.strip_prefix("unix:").unwrap();
        PathBuf::from(path.split('?').next().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends a signal, and how it ended.
    #[track_caller]
    fn end(&mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        wait(&mut self.child).code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            // Gracefully, so that its socket file and children go too.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let begun = Instant::now();
            while self.child.try_wait().is_ok_and(|status| status.is_none()) {
                if begun.elapsed() > Duration::from_secs(5) {
                    let _ = self.child.kill();
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// A folder of one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("panpipe-cli-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
