//! The Rust contenders: this program again, as one end of a connection.

mod bare_blocking;
mod bare_methods;
mod bare_tokio;
mod inbox;
mod panpipe_blocking;
mod panpipe_calls;
mod panpipe_tokio;

use std::net::SocketAddr;

use panpipe_bench_measure::Contender;
use panpipe_bench_measure::concurrent::on_tokio;

use crate::Outcome;

/// Runs the contender that the arguments name.
pub(crate) fn run(arguments: &[String]) -> Outcome<()> {
    panpipe_bench_measure::run(CONTENDERS, arguments)
}

const CONTENDERS: &[Contender] = &[
    Contender {
        name: "bare-blocking",
        serve: |role, address| bare_blocking::serve(role, Place::parse(address)?),
        measure: |task, address| bare_blocking::measure(task, Place::parse(address)?),
    },
    Contender { name: "bare-methods", serve: bare_methods::serve, measure: bare_methods::measure },
    Contender { name: "panpipe-blocking", serve: panpipe_blocking::serve, measure: panpipe_blocking::measure },
    Contender {
        name: "bare-tokio",
        serve: |role, address| on_tokio(bare_tokio::serve(role, Place::parse(address)?)),
        measure: |task, address| on_tokio(bare_tokio::measure(task, Place::parse(address)?)),
    },
    Contender {
        name: "panpipe-tokio",
        serve: |role, address| on_tokio(panpipe_tokio::serve(role, address)),
        measure: |task, address| on_tokio(panpipe_tokio::measure(task, address)),
    },
    Contender {
        name: "panpipe-calls",
        serve: |role, address| on_tokio(panpipe_calls::serve(role, address)),
        measure: |task, address| on_tokio(panpipe_calls::measure(task, address)),
    },
];

/// Where a contender without panpipe listens or connects.
enum Place {
    Unix(String),
    Tcp(SocketAddr),
}

impl Place {
    fn parse(address: &str) -> Outcome<Self> {
        let place = address.split('?').next().unwrap_or_default();
        match (place.strip_prefix("unix:"), place.strip_prefix("tcp://")) {
            (Some(path), _) => Ok(Place::Unix(path.to_owned())),
            (_, Some(place)) => Ok(Place::Tcp(place.parse()?)),
            _ => Err(format!("no address for a bare socket: {address}").into()),
        }
    }
}
