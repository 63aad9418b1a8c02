//! `panpipe serve`: answers every message of every client until it is told to stop.

use std::process::ExitCode;
use std::sync::Arc;

use panpipe::{Bytes, Error, ErrorKind, Result};
use panpipe_link::{Address, PANPIPE};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::arguments::{Handler, Serve};
use crate::program::Program;
use crate::{log, methods_served, report};

pub(crate) fn run(arguments: Serve) -> Result<ExitCode> {
    let address = panpipe_link::parse(&arguments.address)?;
    let handler = arguments.handler;
    let Handler { upper, ref program, .. } = handler;
    if let Some(name) = program.first().filter(|name| !Program::exists(name)) {
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
            let program = (!program.is_empty()).then(|| Program::new(program.clone(), &address));
            let mut server = panpipe::serve(address.text(), &methods_served::service(&handler, program)).await?;
            report::say(&format!("listening on {}", server.address()));
            return tokio::select! {
                served = server.wait() => served.map(|()| ExitCode::SUCCESS),
                _ = interrupt.recv() => Ok(ExitCode::from(report::INTERRUPTED)),
                _ = hang_up.recv() => Ok(ExitCode::from(report::HUNG_UP)),
                _ = terminate.recv() => drain(server, &mut interrupt, &mut terminate).await,
            };
        }
        let serve = async {
            match program {
                program if !program.is_empty() => {
                    serve_program(Program::new(program.clone(), &address), &address).await
                }
                _ if upper && address.text_messages => serve(&address, |message| async { upper_text(message) }).await,
                _ if upper => serve(&address, |message: Bytes| async move { message.to_ascii_uppercase() }).await,
                _ => serve(&address, |message: Bytes| async { message }).await,
            }
        };
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

async fn serve_program(program: Program, address: &Address) -> Result<()> {
    let program = Arc::new(program);
    let handler = move |message| {
        let program = Arc::clone(&program);
        async move { program.answer(message).await }
    };
    serve(address, handler).await
}

/// What arrives with `text=true` is UTF-8 already.
fn upper_text(message: Bytes) -> String {
    String::from_utf8_lossy(&message).to_uppercase()
}
