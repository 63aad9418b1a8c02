//! `panpipe serve`: answers every message of every client until it is told to stop.

use std::process::ExitCode;

use panpipe::{Error, ErrorKind, Result};
use panpipe_link::{Address, PANPIPE};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::arguments::Serve;
use crate::program::Program;
use crate::{log, messages_served, methods_served, report};

pub(crate) fn run(arguments: Serve) -> Result<ExitCode> {
    let address = panpipe_link::parse(&arguments.address)?;
    let handler = arguments.handler;
    if let Some(name) = handler.program.first().filter(|name| !Program::exists(name)) {
        let error = Error::new(ErrorKind::Unsupported, format!("serving {}", address.text())).at(address.text());
        return Err(error.because(format!("no program is called {name:?}")));
    }
    log::to_stderr();
    let system = |reason| Error::new(ErrorKind::Io, format!("serving {}", address.text())).because(reason);
    let runtime = Builder::new_current_thread().enable_all().build().map_err(system)?;
    let outcome = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
        let mut hang_up = signal(SignalKind::hangup()).map_err(system)?;
        if address.protocol == PANPIPE {
            let mut server = panpipe::serve(address.text(), &methods_served::service(&handler, &address)).await?;
            report::say(&format!("listening on {}", server.address()));
            return tokio::select! {
                served = server.wait() => served.map(|()| ExitCode::SUCCESS),
                _ = interrupt.recv() => Ok(ExitCode::from(report::INTERRUPTED)),
                _ = hang_up.recv() => Ok(ExitCode::from(report::HUNG_UP)),
                _ = terminate.recv() => drain(server, &mut interrupt, &mut terminate).await,
            };
        }
        let serve = serve(&address, messages_served::handler(&handler, &address));
        tokio::select! {
            served = serve => served.map(|()| ExitCode::SUCCESS),
            _ = interrupt.recv() => Ok(ExitCode::from(report::INTERRUPTED)),
            _ = terminate.recv() => Ok(ExitCode::from(report::TERMINATED)),
            _ = hang_up.recv() => Ok(ExitCode::from(report::HUNG_UP)),
        }
    });
    // Drops every task where it stands: listeners remove their files, connections close, children are killed.
    // A resolver that does not answer is not waited for.
    runtime.shutdown_background();
    outcome
}

/// Takes no more calls and finishes those that run, unless it is told once more to stop.
async fn drain(server: panpipe::Server, interrupt: &mut Signal, terminate: &mut Signal) -> Result<ExitCode> {
    tokio::select! {
        closed = server.close() => closed.map(|()| ExitCode::from(report::TERMINATED)),
        _ = interrupt.recv() => Ok(ExitCode::from(report::INTERRUPTED)),
        _ = terminate.recv() => Ok(ExitCode::from(report::TERMINATED)),
    }
}

async fn serve(address: &Address, handler: impl panpipe::plain::Handler) -> Result<()> {
    let server = panpipe::plain::serve(address.text(), handler).await?;
    // Every handler of the command answers.
    server.check_replies()?;
    report::say(&format!("listening on {}", server.address()));
    server.wait().await
}
