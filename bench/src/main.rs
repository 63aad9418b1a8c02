//! `make bench`: panpipe side by side with the bare sockets of each language.
//!
//! Nothing is hidden: every row says what was measured, what it had to be, and whether it was.

mod contender;

mod face;
use face::{FACES, Face};

mod idle;

mod machine;

mod pair;
use pair::{Pair, Placement};

mod report;
use report::Report;

mod row;
mod spawn;
use row::Row;

use panpipe_bench_measure::Outcome;

const USAGE: &str = "\
usage: make bench BENCH='[--quick] [--only TEXT]'
  --quick      3 rounds instead of 7
  --only TEXT  only the rows whose name contains TEXT, such as 'rust-tokio unix pinned' or 'in flight'
A run of all rows and rounds is written to bench/results/DATE.md; others are only printed.";

/// Rounds of each row.
const ROUNDS: usize = 7;
const QUICK_ROUNDS: usize = 3;

struct Options {
    rounds: usize,
    only: String,
}

fn main() -> std::process::ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("contender") => contender::run(&arguments[1..]),
        Some("--help" | "-h") => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Options::parse(&arguments).and_then(|options| bench(&options)),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

impl Options {
    fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut options = Options { rounds: ROUNDS, only: String::new() };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => options.rounds = QUICK_ROUNDS,
                "--only" => options.only = arguments.next().ok_or("--only needs a text")?.clone(),
                _ => return Err(format!("no option is called {argument}\n{USAGE}").into()),
            }
        }
        Ok(options)
    }

    fn is_full(&self) -> bool {
        self.rounds == ROUNDS && self.only.is_empty()
    }
}

/// Measures row after row. A miss is a result; a row that could not be measured is a failure.
fn bench(options: &Options) -> Outcome<()> {
    let mut report = Report::begin(options.rounds);
    for face in FACES {
        for transport in face.transports {
            if let Err(error) = measure(face, transport, options, &mut report) {
                report.not_run(format!("{} {transport}: {error}", face.name));
            }
        }
    }
    idle::measure(options.rounds, &options.only, &mut report);
    spawn::measure(options.rounds, &options.only, &mut report);
    report.end();
    match options.is_full() {
        true => println!("written to {}", report.write()?),
        false => print!("\nEach round:\n{}", report.each_round()),
    }
    match report.is_complete() {
        true => Ok(()),
        false => Err("not every row could be measured".into()),
    }
}

fn measure(face: &'static Face, transport: &'static str, options: &Options, report: &mut Report) -> Outcome<()> {
    let rows = |workload| {
        let row = |placement| Row::new(face, transport, placement, workload);
        let rows = Placement::ALL.into_iter().map(row).filter(|row| row.name().contains(&options.only));
        rows.collect::<Vec<_>>()
    };
    let rows: Vec<_> = face.workloads.iter().map(rows).filter(|rows| !rows.is_empty()).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let mut bare = Pair::start(&face.bare, transport)?;
    let mut panpipe = Pair::start(&face.panpipe, transport)?;
    for mut rows in rows {
        for pair in [&mut bare, &mut panpipe] {
            pair.measure(rows[0].workload, Placement::Pinned, face.warm_up)?;
        }
        for round in 0..options.rounds {
            for row in &mut rows {
                row.measure_round(round, &mut bare, &mut panpipe)?;
            }
        }
        for row in rows {
            report.add(row);
        }
    }
    Ok(())
}
