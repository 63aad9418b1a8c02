//! Peers that break rules, written by hand, at every server and every client of the panpipe protocol.
//! `../../README.md` explains it.

mod arrivals;
mod assault;
mod bad;
#[path = "../suite/certificate.rs"]
mod certificate;
mod frames;
#[path = "../suite/peer.rs"]
#[expect(dead_code, reason = "the suite uses more of it")]
mod peer;
#[path = "../suite/place.rs"]
#[expect(dead_code, reason = "the suite uses more of it")]
mod place;
#[path = "../faults/process.rs"]
#[expect(dead_code, reason = "the faults use more of it")]
mod process;
mod secure;
#[path = "../suite/skip.rs"]
mod skip;
#[path = "../suite/stream.rs"]
#[expect(dead_code, reason = "the suite uses more of it")]
mod stream;
mod values;
mod victim;
mod web_victim;
mod websocket_bridge;
mod websocket_frames;
mod websocket_heads;
mod written_websocket;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, FormatSetting, Trial};

use crate::place::Folder;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Where everything hostile is done.
const PLACES: [&str; 2] = ["unix", "tcp"];

/// A case: its name and what it does.
struct Case {
    name: String,
    run: Box<dyn FnOnce() -> Result<()> + Send>,
}

impl Case {
    fn new(name: String, run: impl FnOnce() -> Result<()> + Send + 'static) -> Self {
        Case { name, run: Box::new(run) }
    }
}

/// Most cases wait for a server, so that more threads than processors keep these busy.
const THREADS: usize = 6;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.format.get_or_insert(FormatSetting::Terse);
    arguments.test_threads.get_or_insert(THREADS);
    let folder = Arc::new(Folder::new());
    // What takes long begins first.
    let mut cases = arrivals::cases(&folder);
    cases.extend(assault::cases(&folder));
    cases.extend(secure::cases(&folder));
    cases.extend(values::cases(&folder));
    cases.extend(bad::cases(&folder));
    cases.extend(websocket_frames::cases());
    cases.extend(websocket_heads::cases(&folder));
    let removed = skip::Skips::of("hostile").and_then(|mut skips| {
        let cases = skips.remove_from(cases);
        skips.finish(arguments.list).map(|()| cases)
    });
    let cases = match removed {
        Ok(cases) => cases,
        Err(reason) => {
            eprintln!("skip.toml: {reason}");
            return ExitCode::FAILURE;
        }
    };
    let trial = |case: Case| Trial::test(case.name, || Ok((case.run)().map_err(text)?));
    libtest_mimic::run(&arguments, cases.into_iter().map(trial).collect()).exit_code()
}

fn text(error: Box<dyn std::error::Error>) -> String {
    error.to_string()
}
