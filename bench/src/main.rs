//! `make bench`: panpipe side by side with the bare sockets of each language, and with its rivals.
//!
//! Nothing is hidden: every row says what was measured, what it had to be, and whether it was.

mod calls;
use calls::CALLS;
use websocket::WEBSOCKETS;

mod contender;

mod face;
use face::FACES;

mod flat;
mod idle;
mod machine;
mod memory;
mod pair;
mod race;

mod report;
use report::Report;

mod row;
mod spawn;
mod websocket;

use panpipe_bench_measure::Outcome;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const USAGE: &str = "\
usage: make bench BENCH='[--quick] [--only TEXT]'
  --quick      3 rounds instead of 7
  --only TEXT  only the rows whose name contains TEXT, such as 'rust-tokio unix pinned', 'in flight' or 'against tonic'
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
    // A thousand connections and more, in contenders too.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let mut report = Report::begin(options.rounds);
    for face in FACES.iter().chain(CALLS).chain(WEBSOCKETS) {
        for transport in face.transports {
            if let Err(error) = race::measure(face, transport, options.rounds, &options.only, &mut report) {
                report.not_run(format!("{} {transport}: {error}", face.name));
            }
        }
    }
    flat::measure(options.rounds, &options.only, &mut report);
    memory::measure(options.rounds, &options.only, &mut report);
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
