//! The processes of one contender: a client, and a server for each role.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;

use crate::Outcome;
use crate::face::{Program, ProgramKind, Workload};

/// A contender that has not answered by then never will.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Where the two ends run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Both on one CPU.
    Pinned,
    /// Each on a CPU of its own.
    Apart,
    /// Wherever the kernel likes.
    Unpinned,
}

impl Placement {
    pub(crate) const ALL: [Placement; 3] = [Placement::Pinned, Placement::Apart, Placement::Unpinned];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Placement::Pinned => "pinned",
            Placement::Apart => "apart",
            Placement::Unpinned => "unpinned",
        }
    }

    /// The CPUs of the client and of the server. The first CPU serves most interrupts, so one end alone has the last.
    fn cpus(self) -> Outcome<(CpuSet, CpuSet)> {
        let allowed = sched_getaffinity(None)?;
        let one = |cpu| {
            let mut one = CpuSet::new();
            one.set(cpu);
            one
        };
        let mut each = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
        match (self, each.next(), each.next_back()) {
            (Placement::Unpinned, ..) => Ok((allowed, allowed)),
            (Placement::Pinned, Some(only), None) | (Placement::Pinned, _, Some(only)) => Ok((one(only), one(only))),
            (Placement::Apart, Some(first), Some(last)) => Ok((one(first), one(last))),
            _ => Err("there are not enough CPUs".into()),
        }
    }
}

/// What one measurement brought.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) value: f64,
    /// CPU time of both ends for one operation, in microseconds.
    pub(crate) cpu: f64,
}

/// The processes of one contender.
pub(crate) struct Pair {
    client: Process,
    /// A server for each role; none where the client starts its own as children.
    servers: Vec<Process>,
    // Goes last, when nobody listens there any more.
    _directory: Directory,
}

impl Pair {
    /// Starts a server for each of two roles that listens on `transport`, and a client.
    pub(crate) fn start(program: Program, transport: &str, options: &str, roles: [&str; 2]) -> Outcome<Self> {
        let directory = Directory::make()?;
        if transport == "child" {
            let client = Process::start(program.client, &["client", "child:echo", "child:sink"])?;
            return Ok(Pair { client, servers: Vec::new(), _directory: directory });
        }
        let address = |role: &str| {
            let path = directory.path(role);
            let (place, own) = match transport {
                "tcp" => ("tcp://127.0.0.1:0".to_owned(), String::new()),
                "ws" => ("ws://127.0.0.1:0".to_owned(), String::new()),
                "udp" => ("udp://127.0.0.1:0".to_owned(), "max=65507".to_owned()),
                "fifo" => (format!("fifo:{path}"), format!("reply={path}-back&exclusive=true")),
                _ => (format!("{transport}:{path}"), String::new()),
            };
            let options: Vec<_> = [&*own, options].into_iter().filter(|options| !options.is_empty()).collect();
            if options.is_empty() { place } else { format!("{place}?{}", options.join("&")) }
        };
        let mut servers = Vec::new();
        let mut addresses = Vec::new();
        for role in roles {
            let mut server = Process::start(program.server, &["server", role, &address(role)])?;
            addresses.push(server.read_line()?);
            servers.push(server);
        }
        let client = Process::start(program.client, &["client", &addresses[0], &addresses[1]])?;
        Ok(Pair { client, servers, _directory: directory })
    }

    /// One measurement, after `warm_up` milliseconds that are not counted.
    pub(crate) fn measure(&mut self, workload: &Workload, placement: Placement, warm_up: u32) -> Outcome<Sample> {
        let (of_client, of_server) = placement.cpus()?;
        self.client.run_on(&of_client)?;
        for server in &self.servers {
            server.run_on(&of_server)?;
        }
        let before = self.cpu_time()?;
        writeln!(self.client.input, "{} {warm_up} {}", workload.task, workload.measured)?;
        let answer: Value = serde_json::from_str(&self.client.read_line()?)?;
        let spent = self.cpu_time()? - before;
        match (answer["operations"].as_f64(), answer["value"].as_f64()) {
            (Some(operations), Some(value)) => {
                Ok(Sample { value: workload.value(value), cpu: spent as f64 / 1e3 / operations })
            }
            _ => Err(format!("a client answered {answer}").into()),
        }
    }

    /// Bytes of memory that the first server has now.
    pub(crate) fn memory(&self) -> Outcome<u64> {
        self.servers.first().ok_or("no server")?.memory("VmRSS")
    }

    /// The most that it ever had.
    pub(crate) fn peak_memory(&self) -> Outcome<u64> {
        self.servers.first().ok_or("no server")?.memory("VmHWM")
    }

    fn cpu_time(&self) -> Outcome<u64> {
        let of_servers = self.servers.iter().map(Process::cpu_time).sum::<Outcome<u64>>()?;
        Ok(self.client.cpu_time()? + of_servers)
    }
}

/// A child that dies with us.
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts `program`, which says more once it is ready.
    pub(crate) fn start(program: ProgramKind, arguments: &[&str]) -> Outcome<Self> {
        let mut command = command(program)?;
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        // SAFETY: this is a single system call, which is safe between fork and exec.
        unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => Ok(Process { child, input, output: BufReader::new(output) }),
            _ => Err("a child without pipes".into()),
        }
    }

    /// The next line that it says.
    pub(crate) fn read_line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        // A contender never says more than one line at a time, so that the buffer is empty here.
        if poll(&mut [PollFd::new(self.output.get_ref(), PollFlags::IN)], Some(&PATIENCE))? == 0 {
            return Err("a contender does not answer".into());
        }
        if self.output.read_line(&mut line)? == 0 {
            return Err(format!("a contender has ended: {}", self.child.wait()?).into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Lets all its threads run on these CPUs alone.
    fn run_on(&self, cpus: &CpuSet) -> Outcome<()> {
        for task in self.tasks()? {
            let number = task.file_name().and_then(|name| name.to_str()?.parse().ok());
            match sched_setaffinity(number.and_then(Pid::from_raw), cpus) {
                // A thread may end at any time.
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Nanoseconds of CPU time that its threads have used, with those that have ended.
    pub(crate) fn cpu_time(&self) -> Outcome<u64> {
        let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
        // SAFETY: both write to the variables that they are given, and keep nothing.
        let error = unsafe {
            match libc::clock_getcpuclockid(self.child.id().cast_signed(), &raw mut clock) {
                0 if libc::clock_gettime(clock, &raw mut time) == 0 => 0,
                0 => return Err(std::io::Error::last_os_error().into()),
                error => error,
            }
        };
        match error {
            0 => Ok(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()),
            error => Err(std::io::Error::from_raw_os_error(error).into()),
        }
    }

    /// A number of bytes that the kernel gives in KiB, such as `VmRSS` (`status` in proc(5)).
    fn memory(&self, name: &str) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = value.ok_or("the kernel does not tell the memory of a process")?;
        Ok(value.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    fn tasks(&self) -> Outcome<Vec<PathBuf>> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()))?;
        Ok(tasks.map(|task| task.map(|task| task.path())).collect::<Result<_, _>>()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The repository, which holds this crate.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

pub(crate) fn python() -> PathBuf {
    root().join(".venv/bin/python")
}

/// Its imports find what the contenders of its language share.
fn command(program: ProgramKind) -> Outcome<Command> {
    let bench = root().join("bench");
    let with = |interpreter: PathBuf, folder: &str, file| {
        let mut command = Command::new(interpreter);
        command.arg(bench.join(folder).join(file)).env("PYTHONPATH", bench.join("contenders"));
        command
    };
    Ok(match program {
        ProgramKind::Rust(name) => {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["contender", name]);
            command
        }
        ProgramKind::RustRival(name) => {
            let mut command = Command::new(bench.join("rivals/target/release/panpipe-rivals"));
            command.arg(name);
            command
        }
        ProgramKind::Python(file) => with(python(), "contenders", file),
        ProgramKind::PythonRival(file) => with(root().join(".venv-bench/bin/python"), "rivals", file),
        ProgramKind::Node(file) => with("node".into(), "contenders", file),
        ProgramKind::NodeRival(file) => with("node".into(), "rivals", file),
    })
}

/// A directory of our own for socket files, removed when dropped.
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// A new one.
    pub(crate) fn make() -> Outcome<Self> {
        static MADE: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = MADE.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("panpipe-bench-{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Directory(path))
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
