//! What panpipe is compared with in Rust, as contenders of the benchmark.

use panpipe_bench_measure::concurrent::on_tokio;
use panpipe_bench_measure::{Contender, Outcome, run};

mod libzmq;
mod over_tarpc;
mod over_tonic;
mod over_tungstenite;

const CONTENDERS: &[Contender] = &[
    Contender { name: "libzmq", serve: libzmq::serve, measure: libzmq::measure },
    Contender {
        name: "tonic",
        serve: |_, address| on_tokio(over_tonic::serve(path(address)?)),
        measure: |task, address| on_tokio(over_tonic::measure(task, path(address)?)),
    },
    Contender {
        name: "tarpc",
        serve: |_, address| on_tokio(over_tarpc::serve(path(address)?)),
        measure: |task, address| on_tokio(over_tarpc::measure(task, path(address)?)),
    },
    Contender {
        name: "tungstenite",
        serve: |role, _| on_tokio(over_tungstenite::serve(role)),
        measure: |task, address| on_tokio(over_tungstenite::measure(task, address)),
    },
];

fn main() -> std::process::ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match run(CONTENDERS, &arguments) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rival: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// The path of a Unix socket.
fn path(address: &str) -> Outcome<&str> {
    address.strip_prefix("unix:").ok_or_else(|| format!("rivals listen on Unix sockets, not on {address}").into())
}
