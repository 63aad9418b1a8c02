//! What it takes to start a child and to get its first reply, beside doing the same by hand.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::face::{Face, Program, ProgramKind, Rival, Workload, bars};
use crate::pair::{Placement, Sample};
use crate::report::Report;
use crate::row::Row;

/// Children a sample; the median counts.
const CHILDREN: usize = 15;

const WORKLOADS: &[Workload] = &[
    Workload { name: "first reply", task: "framing=lines", unit: "ms", measured: 0, bars: bars!(MoreByAtMost 2.0) },
    Workload {
        name: "first reply, stderr=inherit",
        task: "framing=lines&stderr=inherit",
        unit: "ms",
        measured: 0,
        bars: bars!(MoreByAtMost 2.0),
    },
];

static FACE: Face = Face {
    name: "spawn-rust-blocking",
    rivals: &[Rival {
        name: "bare",
        program: Program::of(
            ProgramKind::Rust(""),
            "std::process::Command with piped stdin and stdout, a line each way; the child is cat",
        ),
    }],
    panpipe: Some(Program::of(ProgramKind::Rust(""), "panpipe::plain::blocking::spawn and call, framing=lines")),
    transports: &["spawn"],
    options: "",
    workloads: WORKLOADS,
    warm_up: 0,
};

/// Measures the rows whose names contain `only`.
pub(crate) fn measure(rounds: usize, only: &str, report: &mut Report) {
    for workload in WORKLOADS {
        let row = Row::new(&FACE, 0, FACE.transports[0], Placement::Unpinned, workload);
        if row.name().contains(only)
            && let Err(error) = measure_row(row, rounds).map(|row| report.add(row))
        {
            report.not_run(format!("{}: {error}", FACE.name));
        }
    }
}

fn measure_row(mut row: Row, rounds: usize) -> Outcome<Row> {
    let options = row.workload.task;
    panpipe::plain::blocking::spawn(["cat"], options)?.close()?;
    for _ in 0..rounds {
        let (mut by_hand, mut panpipe) = (Vec::new(), Vec::new());
        for _ in 0..CHILDREN {
            by_hand.push(first_reply_by_hand()?);
            panpipe.push(first_reply(options)?);
        }
        row.add(median(by_hand), Some(median(panpipe)));
    }
    Ok(row)
}

fn first_reply_by_hand() -> Outcome<Duration> {
    let begun = Instant::now();
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("a child without pipes".into());
    };
    input.write_all(b"hello\n")?;
    let mut reply = String::new();
    BufReader::new(output).read_line(&mut reply)?;
    let taken = begun.elapsed();
    drop(input);
    child.wait()?;
    if reply != "hello\n" {
        return Err(format!("the child answered {reply:?}").into());
    }
    Ok(taken)
}

fn first_reply(options: &str) -> Outcome<Duration> {
    let begun = Instant::now();
    let child = panpipe::plain::blocking::spawn(["cat"], options)?;
    let reply = child.call("hello")?;
    let taken = begun.elapsed();
    child.close()?;
    if reply != "hello" {
        return Err(format!("the child answered {reply:?}").into());
    }
    Ok(taken)
}

fn median(mut taken: Vec<Duration>) -> Sample {
    taken.sort_unstable();
    Sample { value: taken[taken.len() / 2].as_secs_f64() * 1e3, cpu: f64::NAN }
}
