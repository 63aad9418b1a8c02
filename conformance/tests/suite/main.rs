//! The pairing suite: every language with every other, over every transport and framing. `README.md` explains it.

mod bad_addresses;
mod certificate;
mod checks;
mod client_cases;
mod connection_cases;
mod founding;
mod one_port;
mod pairing;
mod peer;
mod place;
mod server_cases;
mod skip;
mod stream;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, FormatSetting, Trial};

use crate::place::Folder;

/// A case: its name and what it does.
struct Case {
    name: String,
    run: Box<dyn FnOnce() -> Result<(), String> + Send>,
}

impl Case {
    fn new(name: String, run: impl FnOnce() -> Result<(), String> + Send + 'static) -> Self {
        Case { name, run: Box::new(run) }
    }
}

/// Peers mostly wait for each other, so that more threads than processors keep these busy.
const THREADS: usize = 8;

fn main() -> ExitCode {
    // The harness tells what an assertion said, but not where; a trace would show nothing but the harness.
    std::panic::set_hook(Box::new(|panic| eprintln!("\nan assertion failed at {}", panic.location().expect("known"))));
    let mut arguments = Arguments::from_args();
    arguments.format.get_or_insert(FormatSetting::Terse);
    arguments.test_threads.get_or_insert(THREADS);
    let folder = Arc::new(Folder::new());
    let cases = match skip::Skips::of("suite").and_then(|mut skips| {
        let mut cases = founding::cases();
        cases.extend(pairing::cases(&folder, &mut skips));
        cases.extend(checks::cases(&folder, &mut skips));
        cases.extend(skips.remove_from(one_port::cases()));
        cases.extend(skips.remove_from(server_cases::cases(&folder)));
        cases.extend(skips.remove_from(client_cases::cases(&folder)));
        cases.extend(connection_cases::cases(&folder, &mut skips));
        cases.extend(skips.remove_from(bad_addresses::cases(&folder)));
        skips.finish(arguments.list).map(|()| cases)
    }) {
        Ok(cases) => cases,
        Err(reason) => {
            eprintln!("skip.toml: {reason}");
            return ExitCode::FAILURE;
        }
    };
    let trial = |case: Case| Trial::test(case.name, || Ok((case.run)()?));
    libtest_mimic::run(&arguments, cases.into_iter().map(trial).collect()).exit_code()
}
