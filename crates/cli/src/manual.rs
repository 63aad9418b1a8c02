//! `panpipe completions` and `panpipe man`: what a shell and `man` want to know of the command, from its arguments.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use panpipe::{Error, ErrorKind, Result};

use crate::arguments::Arguments;
use crate::report;

/// Prints the script that has a shell complete the command.
pub(crate) fn completions(shell: Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "panpipe", &mut script);
    report::print(&[&script])?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the manual: a page of the command, and one of each subcommand behind it.
pub(crate) fn man() -> Result<ExitCode> {
    let failed = |reason| Error::new(ErrorKind::Io, "writing the manual").because(reason);
    let mut command = Arguments::command();
    command.build();
    let mut manual = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut manual).map_err(failed)?;
    for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
        let name = format!("panpipe-{}", subcommand.get_name());
        clap_mangen::Man::new(subcommand.clone().display_name(name)).render(&mut manual).map_err(failed)?;
    }
    report::print(&[&manual])?;
    Ok(ExitCode::SUCCESS)
}
