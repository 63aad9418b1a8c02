//! The peer programs: how each is started, asked and ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::iter::once;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use panpipe_conformance::{CallRequest, Job, Log, Outcome, ServeRequest, Serving, to_hex};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A language and what speaks it.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    program: Program,
}

#[derive(Clone, Copy)]
enum Program {
    /// A script in `peers/` for the interpreter of the virtual environment.
    Python(&'static str),
    /// A script in `peers/`.
    Node(&'static str),
    /// A script in `peers/` for Node, which needs a browser.
    Chromium(&'static str),
    /// The path of one of this package.
    Rust(&'static str),
    /// What `command_peer` is to do with the `panpipe` command.
    Command(&'static str),
    Nc,
}

const PYTHON_PLAIN: Peer = Peer { name: "python_plain", program: Program::Python("python_plain.py") };
const PYTHON_BLOCKING: Peer = Peer { name: "python_blocking", program: Program::Python("python_blocking.py") };
const PYTHON_ASYNCIO: Peer = Peer { name: "python_asyncio", program: Program::Python("python_asyncio.py") };
const NODE: Peer = Peer { name: "node", program: Program::Node("node.mjs") };
const NODE_PLAIN: Peer = Peer { name: "node_plain", program: Program::Node("node_plain.mjs") };
pub(crate) const RUST: Peer = Peer { name: "rust", program: Program::Rust(env!("CARGO_BIN_EXE_rust_peer")) };
const RUST_BLOCKING: Peer =
    Peer { name: "rust_blocking", program: Program::Rust(env!("CARGO_BIN_EXE_rust_blocking_peer")) };
/// Those of the panpipe protocol.
pub(crate) const RUST_TOKIO: Peer =
    Peer { name: "rust_tokio", program: Program::Rust(env!("CARGO_BIN_EXE_rust_tokio_peer")) };
const ASYNCIO_PROTOCOL: Peer = Peer { name: "python_asyncio", program: Program::Python("panpipe_asyncio.py") };
const BLOCKING_PROTOCOL: Peer = Peer { name: "python_blocking", program: Program::Python("panpipe_blocking.py") };
const NODE_PROTOCOL: Peer = Peer { name: "node", program: Program::Node("panpipe_node.mjs") };
const COMMAND_UPPER: Peer = Peer { name: "command_upper", program: Program::Command("upper") };
const COMMAND_PROGRAM: Peer = Peer { name: "command_program", program: Program::Command("program") };
const COMMAND: Peer = Peer { name: "command", program: Program::Command("panpipe") };
/// Of both protocols; it only connects, and only to WebSockets.
const BROWSER: Peer = Peer { name: "browser", program: Program::Chromium("browser.mjs") };
const NC: Peer = Peer { name: "nc", program: Program::Nc };

/// The servers, and the clients; the first of each has no panpipe.
pub(crate) const SERVERS: &[Peer] =
    &[PYTHON_PLAIN, PYTHON_BLOCKING, PYTHON_ASYNCIO, NODE, RUST, RUST_BLOCKING, COMMAND_UPPER, COMMAND_PROGRAM];
pub(crate) const CLIENTS: &[Peer] =
    &[NODE_PLAIN, NC, NODE, PYTHON_BLOCKING, PYTHON_ASYNCIO, RUST, RUST_BLOCKING, COMMAND, BROWSER];
pub(crate) const PANPIPE_SERVERS: &[Peer] = SERVERS.split_at(1).1;
pub(crate) const PANPIPE_CLIENTS: &[Peer] = CLIENTS.split_at(2).1;
/// Those who listen and then do steps as a client does: neither the command nor the browser.
pub(crate) const PANPIPE_LISTENERS: &[Peer] = PANPIPE_CLIENTS.split_at(PANPIPE_CLIENTS.len() - 2).0;

/// The servers and the clients of the panpipe protocol.
pub(crate) const PROTOCOL_SERVERS: &[Peer] = &[RUST_TOKIO, ASYNCIO_PROTOCOL, NODE_PROTOCOL];
pub(crate) const PROTOCOL_CLIENTS: &[Peer] = &[RUST_TOKIO, ASYNCIO_PROTOCOL, BLOCKING_PROTOCOL, NODE_PROTOCOL, BROWSER];

/// How each job went.
pub(crate) type Outcomes = Vec<Result<Outcome, String>>;

/// How long a peer may take for all that it is asked at once: a net, not a measure.
const LONGEST: Duration = Duration::from_secs(60);

impl Peer {
    /// Has it serve `addresses` until what is answered is dropped.
    pub(crate) fn serve(&self, addresses: Vec<String>) -> Result<Server, String> {
        self.serve_noting(addresses, None)
    }

    /// As [`serve`](Self::serve), with a file that what begins is noted in.
    pub(crate) fn serve_noting(&self, addresses: Vec<String>, log: Option<Log>) -> Result<Server, String> {
        let process = self.ask("serve", &ServeRequest { addresses, log })?;
        let places = process.next_answer()?;
        Ok(Server { places, process })
    }

    /// Starts it in a role, with that role's request.
    pub(crate) fn ask(&self, role: &str, request: &impl Serialize) -> Result<Process, String> {
        Process::start(self.command(role)?, self.name, request)
    }

    /// Has it do `jobs` and answers how each went; one that the peer did not come to is an error too.
    pub(crate) fn call(&self, texts: &[Vec<u8>], jobs: Vec<Job>) -> Result<Outcomes, String> {
        self.call_with(self.command("call")?, texts, jobs)
    }

    /// As [`call`](Self::call), by a process that file modes bind even if it belongs to the superuser.
    pub(crate) fn call_without_privilege(&self, texts: &[Vec<u8>], jobs: Vec<Job>) -> Result<Outcomes, String> {
        let mut command = self.command("call")?;
        // SAFETY: the closure makes one system call and touches no memory of the parent.
        unsafe {
            command.pre_exec(|| {
                // Only the superuser has the capability, and only the superuser may drop it.
                let _ = remove_capability_from_bounding_set(CapabilitySet::DAC_OVERRIDE);
                let _ = remove_capability_from_bounding_set(CapabilitySet::DAC_READ_SEARCH);
                Ok(())
            });
        }
        self.call_with(command, texts, jobs)
    }

    fn call_with(&self, command: Command, texts: &[Vec<u8>], jobs: Vec<Job>) -> Result<Outcomes, String> {
        let count = jobs.len();
        let texts = texts.iter().map(|text| to_hex(text)).collect();
        let process = Process::start(command, self.name, &CallRequest { texts, jobs })?;
        Ok((0..count).map(|_| process.next_answer()).collect())
    }

    /// Has it do `jobs`, which pause; the texts as a request names them.
    pub(crate) fn converse(&self, texts: Vec<String>, jobs: Vec<Job>) -> Result<Process, String> {
        Process::start(self.command("call")?, self.name, &CallRequest { texts, jobs })
    }

    /// The program and arguments that serve `address` as a child.
    pub(crate) fn child(&self, address: &str) -> Result<Vec<String>, String> {
        let mut command = match self.program {
            // `panpipe serve` is a child itself.
            Program::Command(_) => Command::new(panpipe_command()?),
            _ => self.command("child")?,
        };
        match self.program {
            Program::Command("upper") => command.args(["serve", address, "--upper"]),
            Program::Command(_) => command.args(["serve", address, "--", "tr", "a-z", "A-Z"]),
            _ => command.arg(address),
        };
        let words = once(command.get_program()).chain(command.get_args());
        Ok(words.map(|word| word.to_string_lossy().into_owned()).collect())
    }

    /// The program and arguments that hand their stdin and stdout on to whoever listens at the socket `path`.
    pub(crate) fn relay(path: String) -> Vec<String> {
        vec![env!("CARGO_BIN_EXE_rust_blocking_peer").to_owned(), "relay".to_owned(), path]
    }

    /// Whether it is in a browser.
    #[allow(dead_code, reason = "the hostile peers and the faults use it")]
    pub(crate) fn only_knows_websockets(&self) -> bool {
        matches!(self.program, Program::Chromium(_))
    }

    /// The command that takes this peer's part; the error says how to get what is missing.
    fn command(&self, role: &str) -> Result<Command, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let script = |name| root.join("conformance/peers").join(name);
        let (program, arguments) = match self.program {
            Program::Python(name) => {
                let python = existing(root.join(".venv/bin/python"), "make build")?;
                existing(root.join("python/panpipe/_panpipe.abi3.so"), "make build")?;
                (python, vec![script(name), role.into()])
            }
            Program::Node(name) | Program::Chromium(name) => {
                let node = on_path("node", "install Node 20.19 or newer: https://nodejs.org")?;
                existing(root.join("node_modules/panpipe/dist/index.js"), "make build")?;
                if self.only_knows_websockets() {
                    existing("/usr/bin/chromium".into(), "apt-get install chromium")?;
                }
                (node, vec![script(name), role.into()])
            }
            Program::Rust(path) => (path.into(), vec![role.into()]),
            Program::Command(kind) => {
                (env!("CARGO_BIN_EXE_command_peer").into(), vec![role.into(), kind.into(), panpipe_command()?])
            }
            Program::Nc => {
                on_path("nc", "apt-get install netcat-openbsd")?;
                (env!("CARGO_BIN_EXE_command_peer").into(), vec![role.into(), "nc".into(), "".into()])
            }
        };
        let mut command = Command::new(program);
        command.args(arguments);
        Ok(command)
    }
}

/// The `panpipe` command, whichever profile was built last.
fn panpipe_command() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_BIN_EXE_rust_peer")).ancestors().nth(2).unwrap_or(Path::new("target"));
    let built = |path: &PathBuf| path.metadata().and_then(|file| file.modified()).ok();
    let places = ["release", "debug"].map(|profile| target.join(profile).join("panpipe"));
    let newest = places.into_iter().filter(|path| path.exists()).max_by_key(built);
    newest.ok_or_else(|| "the panpipe command is missing; hint: make build".into())
}

fn existing(path: PathBuf, hint: &str) -> Result<PathBuf, String> {
    match path.exists() {
        true => Ok(path),
        false => Err(format!("{} is missing; hint: {hint}", path.display())),
    }
}

fn on_path(name: &str, hint: &str) -> Result<PathBuf, String> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| format!("{name} is missing; hint: {hint}"))
}

/// A peer that serves, until it is dropped.
pub(crate) struct Server {
    /// What it serves, in the order of the addresses that it was asked for.
    pub(crate) places: Vec<Serving>,
    #[allow(dead_code, reason = "the hostile peers use it")]
    pub(crate) process: Process,
}

/// A running peer program. Dropping it closes its stdin, which ends it.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Mutex<Receiver<String>>,
    stderr: Arc<Mutex<String>>,
    deadline: Instant,
}

impl Process {
    fn start(mut command: Command, name: &'static str, request: &impl Serialize) -> Result<Self, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |reason: &dyn std::fmt::Display| format!("starting {name}: {reason}");
        let mut child = command.spawn().map_err(|reason| failed(&reason))?;
        let (Some(mut stdin), Some(stdout), Some(pipe)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed(&"its streams are not piped"));
        };
        let (sender, lines) = channel();
        thread::spawn(move || {
            let told = BufReader::new(stdout).lines().map_while(Result::ok);
            told.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
        });
        let stderr = Arc::new(Mutex::new(String::new()));
        let said = Arc::clone(&stderr);
        thread::spawn(move || keep(pipe, &said));
        let request = serde_json::to_string(request).map_err(|reason| failed(&reason))?;
        // A peer that has ended already says why on stderr.
        let _ = writeln!(stdin, "{request}");
        Ok(Process {
            name,
            child,
            stdin: Some(stdin),
            lines: Mutex::new(lines),
            stderr,
            deadline: Instant::now() + LONGEST,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said on stderr so far, up to a limit.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends a pause.
    pub(crate) fn go_on(&mut self) -> Result<(), String> {
        self.say("")
    }

    /// Writes it a line.
    pub(crate) fn say(&mut self, line: &str) -> Result<(), String> {
        let stdin = self.stdin.as_mut().ok_or("its stdin is closed")?;
        writeln!(stdin, "{line}").map_err(|reason| format!("telling {} {line:?}: {reason}", self.name))
    }

    /// Waits for its end.
    #[allow(dead_code, reason = "the faults use it")]
    pub(crate) fn wait(&mut self) -> Result<(), String> {
        let status = self.child.wait().map_err(|reason| reason.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("{status}: {}", self.stderr())) }
    }

    /// Ends it in the middle, with SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        self.child.kill().map_err(|reason| reason.to_string())
    }

    /// What it tells next.
    pub(crate) fn next_answer<T: DeserializeOwned>(&self) -> Result<T, String> {
        self.next_answer_within(self.deadline.saturating_duration_since(Instant::now()))
    }

    /// The same, where what it is asked for goes on for long.
    pub(crate) fn next_answer_within<T: DeserializeOwned>(&self, time: Duration) -> Result<T, String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.recv_timeout(time);
        let answer = line.map_err(|missing| missing.to_string());
        let answer = answer.and_then(|line| serde_json::from_str(&line).map_err(|wrong| format!("{line}: {wrong}")));
        answer.map_err(|reason| {
            // What ended it may be a moment behind its end.
            thread::sleep(Duration::from_millis(50));
            let stderr = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
            format!("waiting for {}: {reason}\n{stderr}", self.name)
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(2);
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Keeps what a peer says, up to a limit, and reads on so that it never waits for us.
fn keep(mut pipe: impl Read, said: &Mutex<String>) {
    const MOST: usize = 1 << 20;
    let mut buffer = [0; 4 << 10];
    while let Ok(count @ 1..) = pipe.read(&mut buffer) {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() < MOST {
            said.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }
}
