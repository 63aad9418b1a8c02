//! What ten thousand idle connections cost the one that is active: a server beside itself, alone.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::face::{Face, Program, ProgramKind, Rival, Workload, bars};
use crate::pair::{Directory, Placement, Process, Sample};
use crate::report::Report;
use crate::row::Row;

const CROWD: usize = 10_000;
const WORKLOADS: &[Workload] =
    &[Workload { name: "64 B call, p99", task: "", unit: "µs", measured: 50, bars: bars!(AtMost 2.0) }];

const RUST: ProgramKind = ProgramKind::Rust("panpipe-tokio");
const PYTHON: ProgramKind = ProgramKind::Python("panpipe_asyncio.py");
const NODE: ProgramKind = ProgramKind::Node("panpipe.mjs");

const fn alone(kind: ProgramKind) -> Rival {
    Rival { name: "alone", program: Program::of(kind, "panpipe, which serves one connection") }
}

const fn face(name: &'static str, rivals: &'static [Rival], panpipe: ProgramKind) -> Face {
    Face {
        name,
        rivals,
        panpipe: Some(Program::of(panpipe, "the same beside 10,000 connections that are idle")),
        transports: &["unix"],
        options: "",
        workloads: WORKLOADS,
        warm_up: 0,
    }
}

static FACES: [Face; 3] = [
    face("idle-rust-tokio", &[alone(RUST)], RUST),
    face("idle-python-asyncio", &[alone(PYTHON)], PYTHON),
    face("idle-node", &[alone(NODE)], NODE),
];

/// Measures the rows whose names contain `only`.
pub(crate) fn measure(rounds: usize, only: &str, report: &mut Report) {
    for face in &FACES {
        let row = Row::new(face, 0, face.transports[0], Placement::Unpinned, &WORKLOADS[0]);
        if row.name().contains(only)
            && let Err(error) = measure_row(row, rounds).map(|row| report.add(row))
        {
            report.not_run(format!("{}: {error}", face.name));
        }
    }
}

fn measure_row(mut row: Row, rounds: usize) -> Outcome<Row> {
    let directory = Directory::make()?;
    let program = row.rival().program.server;
    let mut alone = Server::start(program, directory.path("alone"))?;
    let mut crowded = Server::start(program, directory.path("crowded"))?;
    let _crowd = (0..CROWD).map(|_| UnixStream::connect(&crowded.path)).collect::<Result<Vec<_>, _>>()?;
    for server in [&mut alone, &mut crowded] {
        (0..10_000).try_for_each(|_| server.call())?;
    }
    let measured = Duration::from_millis(row.workload.measured.into());
    for round in 0..rounds {
        let samples = match round % 2 {
            0 => {
                let first = alone.sample(measured)?;
                (first, crowded.sample(measured)?)
            }
            _ => {
                let first = crowded.sample(measured)?;
                (alone.sample(measured)?, first)
            }
        };
        row.add(samples.0, Some(samples.1));
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
    fn start(program: ProgramKind, path: String) -> Outcome<Self> {
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
    fn sample(&mut self, measured: Duration) -> Outcome<Sample> {
        let (before, begun) = (self.process.cpu_time()?, Instant::now());
        let mut took = Vec::new();
        while begun.elapsed() < measured {
            let last = Instant::now();
            self.call()?;
            took.push(last.elapsed().as_nanos() as f64 / 1e3);
        }
        let cpu = (self.process.cpu_time()? - before) as f64 / 1e3 / took.len() as f64;
        took.sort_by(f64::total_cmp);
        Ok(Sample { value: took[took.len() * 99 / 100], cpu })
    }
}
