//! What ten thousand idle connections cost the one that is active: a server beside itself, alone.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Outcome;
use crate::face::{Bar, Face, Program, ProgramKind, Workload};
use crate::pair::{Directory, Placement, Process, Sample};
use crate::report::Report;
use crate::row::Row;

const CROWD: usize = 10_000;
const MEASURED: Duration = Duration::from_millis(50);
const WORKLOADS: &[Workload] = &[Workload { name: "64 B call, p99", task: "", unit: "µs", bar: Bar::AtMost(2.0) }];

const fn face(name: &'static str, bare: ProgramKind, panpipe: ProgramKind) -> Face {
    Face {
        name,
        bare: Program { kind: bare, about: "panpipe, which serves one connection" },
        panpipe: Program { kind: panpipe, about: "the same beside 10,000 connections that are idle" },
        transports: &["unix"],
        workloads: WORKLOADS,
        warm_up: 0,
    }
}

static FACES: [Face; 3] = [
    face("idle-rust-tokio", ProgramKind::Rust("panpipe-tokio"), ProgramKind::Rust("panpipe-tokio")),
    face("idle-python-asyncio", ProgramKind::Python("panpipe_asyncio.py"), ProgramKind::Python("panpipe_asyncio.py")),
    face("idle-node", ProgramKind::Node("panpipe.mjs"), ProgramKind::Node("panpipe.mjs")),
];

/// Measures the rows whose names contain `only`.
pub(crate) fn measure(rounds: usize, only: &str, report: &mut Report) {
    for face in &FACES {
        let row = Row::new(face, face.transports[0], Placement::Unpinned, &WORKLOADS[0]);
        if row.name().contains(only)
            && let Err(error) = measure_row(row, rounds).map(|row| report.add(row))
        {
            report.not_run(format!("{}: {error}", face.name));
        }
    }
}

fn measure_row(mut row: Row, rounds: usize) -> Outcome<Row> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let directory = Directory::make()?;
    let mut alone = Server::start(&row.face.bare, directory.path("alone"))?;
    let mut crowded = Server::start(&row.face.panpipe, directory.path("crowded"))?;
    let _crowd = (0..CROWD).map(|_| UnixStream::connect(&crowded.path)).collect::<Result<Vec<_>, _>>()?;
    for server in [&mut alone, &mut crowded] {
        (0..10_000).try_for_each(|_| server.call())?;
    }
    for round in 0..rounds {
        let samples = match round % 2 {
            0 => {
                let first = alone.sample()?;
                (first, crowded.sample()?)
            }
            _ => {
                let first = crowded.sample()?;
                (alone.sample()?, first)
            }
        };
        row.add(samples.0, samples.1);
    }
    Ok(row)
}

/// A server and the connection to it that is active.
struct Server {
    process: Process,
    path: String,
    active: UnixStream,
}

impl Server {
    fn start(program: &Program, path: String) -> Outcome<Self> {
        let address = format!("unix:{path}?framing=length&connections=20000&backlog=4096");
        let mut process = Process::start(program, &["server", "echo", &address])?;
        process.read_line()?;
        let active = UnixStream::connect(&path)?;
        Ok(Server { process, path, active })
    }

    fn call(&mut self) -> Outcome<()> {
        let mut frame = [b'x'; 68];
        frame[..4].copy_from_slice(&64u32.to_be_bytes());
        self.active.write_all(&frame)?;
        Ok(self.active.read_exact(&mut frame)?)
    }

    /// The time in which all calls but one in a hundred end.
    fn sample(&mut self) -> Outcome<Sample> {
        let (before, begun) = (self.process.cpu_time()?, Instant::now());
        let mut took = Vec::new();
        while begun.elapsed() < MEASURED {
            let last = Instant::now();
            self.call()?;
            took.push(last.elapsed().as_nanos() as f64 / 1e3);
        }
        let cpu = (self.process.cpu_time()? - before) as f64 / 1e3 / took.len() as f64;
        took.sort_by(f64::total_cmp);
        Ok(Sample { value: took[took.len() * 99 / 100], cpu })
    }
}
