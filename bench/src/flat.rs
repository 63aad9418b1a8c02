//! What a call costs beside many others: panpipe beside itself, with few and with many calls in flight, topics or
//! subscribers.

use crate::Outcome;
use crate::calls::{NODE, PYTHON, RUST};
use crate::face::{Face, Program, ProgramKind, Rival, Workload, bars};
use crate::pair::{Pair, Placement};
use crate::report::Report;
use crate::row::Row;

/// Milliseconds before each measurement, in which the many begin.
const WARM_UP: u32 = 300;

/// A face, and what its workloads are compared with.
struct Line {
    few: Workload,
    face: Face,
}

static LINES: [Line; 9] = [
    in_flight("flat-rust", RUST),
    topics("flat-rust", RUST),
    subscribers("flat-rust", RUST),
    in_flight("flat-python", PYTHON),
    topics("flat-python", PYTHON),
    subscribers("flat-python", PYTHON),
    in_flight("flat-node", NODE),
    topics("flat-node", NODE),
    subscribers("flat-node", NODE),
];

const fn workload(name: &'static str, task: &'static str) -> Workload {
    Workload { name, task, unit: "k/s", measured: 500, bars: bars!(AtLeast 0.7) }
}

const fn in_flight(name: &'static str, panpipe: Option<Program>) -> Line {
    const WORKLOADS: &[Workload] = &[
        workload("64 B, 1,000 in flight", "in-flight 64 1000"),
        workload("64 B, 10,000 in flight", "in-flight 64 10000"),
        workload("64 B, 100,000 in flight", "in-flight 64 100000"),
    ];
    line(name, panpipe, const { &[few("64")] }, workload("", "in-flight 64 64"), WORKLOADS)
}

const fn topics(name: &'static str, panpipe: Option<Program>) -> Line {
    const WORKLOADS: &[Workload] =
        &[workload("64 B, 1,000 topics", "topics 64 1000"), workload("64 B, 10,000 topics", "topics 64 10000")];
    line(name, panpipe, const { &[few("10")] }, workload("", "topics 64 10"), WORKLOADS)
}

const fn subscribers(name: &'static str, panpipe: Option<Program>) -> Line {
    const WORKLOADS: &[Workload] = &[
        workload("64 B to 100 subscribers", "subscribers 64 100"),
        workload("64 B to 1,000 subscribers", "subscribers 64 1000"),
    ];
    line(name, panpipe, const { &[few("10")] }, workload("", "subscribers 64 10"), WORKLOADS)
}

const fn few(name: &'static str) -> Rival {
    Rival { name, program: Program::of(ProgramKind::Rust(""), "panpipe with so many") }
}

const fn line(
    name: &'static str,
    panpipe: Option<Program>,
    rivals: &'static [Rival],
    few: Workload,
    workloads: &'static [Workload],
) -> Line {
    Line { few, face: Face { name, rivals, panpipe, transports: &["unix"], options: "", workloads, warm_up: 0 } }
}

/// Measures the rows whose names contain `only`, where there is a panpipe to be measured.
pub(crate) fn measure(rounds: usize, only: &str, report: &mut Report) {
    for line in &LINES {
        let row = |workload| Row::new(&line.face, 0, "unix", Placement::Pinned, workload);
        let rows: Vec<_> = line.face.workloads.iter().map(row).filter(|row| row.name().contains(only)).collect();
        if let (Some(panpipe), false) = (line.face.panpipe, rows.is_empty())
            && let Err(error) = measure_rows(panpipe, &line.few, rows, rounds, report)
        {
            report.not_run(format!("{}: {error}", line.face.name));
        }
    }
}

fn measure_rows(panpipe: Program, few: &Workload, rows: Vec<Row>, rounds: usize, report: &mut Report) -> Outcome<()> {
    let mut pair = Pair::start(panpipe, "unix", "", ["topics:10000", "sink"])?;
    for mut row in rows {
        let many = row.workload;
        for round in 0..rounds {
            let mut sample = |workload| pair.measure(workload, Placement::Pinned, WARM_UP);
            let (few, many) = match round.is_multiple_of(2) {
                true => (sample(few)?, sample(many)?),
                false => {
                    let many = sample(many)?;
                    (sample(few)?, many)
                }
            };
            row.add(few, Some(many));
        }
        report.add(row);
    }
    Ok(())
}
