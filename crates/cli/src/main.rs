//! The `panpipe` command. Data goes to stdout, messages to stderr.

mod arguments;
mod call;
mod cert;
mod describe;
mod description;
mod given;
mod json;
mod log;
mod manual;
mod measure;
mod messages_served;
mod methods;
mod methods_served;
mod program;
mod report;
mod serve;
mod stubs;
mod topic;
mod visit;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};

fn main() -> ExitCode {
    let mut verbose = false;
    let outcome = match Arguments::parse().command {
        Command::Serve(serve) => serve::run(serve),
        Command::Call(call) => {
            verbose = call.verbose;
            call::run(call)
        }
        Command::Subscribe(subscribe) => topic::subscribe(subscribe),
        Command::Publish(publish) => topic::publish(publish),
        Command::Describe(describe) => describe::run(describe),
        Command::Stubs(stubs) => stubs::run(stubs),
        Command::Cert(cert) => cert::run(cert),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man => manual::man(),
        Command::Methods { markdown, measure } => methods::run(markdown, measure),
    };
    outcome.unwrap_or_else(|error| report::failure(&error, verbose))
}
