//! The `panpipe` command. Data goes to stdout, messages to stderr.

mod arguments;
mod call;
mod log;
mod measure;
mod methods;
mod program;
mod report;
mod serve;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve(serve) => serve::run(serve),
        Command::Call(call) => call::run(call),
        Command::Methods { markdown, measure } => methods::run(markdown, measure),
    };
    outcome.unwrap_or_else(|error| report::failure(&error))
}
