//! The Rust contenders: this program again, as one end of a connection.
//!
//! A contender in any language is started in one of two roles:
//!
//! * `server echo|sink ADDRESS` prints the address that it listens on, then answers one connection after another
//!   until it is killed. `echo` sends each message back. `sink` only counts them, and answers [`END`] with the count.
//! * `client ECHO SINK` reads a line per measurement, `WORKLOAD SIZE WARM-UP MEASURED` (bytes and milliseconds),
//!   connects anew, measures, and prints `{"operations": all, "value": measured}`.

mod bare_blocking;
mod bare_methods;
mod bare_tokio;
mod blocking;
mod inbox;
mod measure;
mod panpipe_blocking;
mod panpipe_tokio;

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use crate::Outcome;
use measure::{Measured, Span};

/// Asks a sink for the count of messages since it was last asked, as eight bytes, big-endian.
const END: &[u8] = b"the end!";

/// Ends a conversation over a method that has no end of its own.
const BYE: &[u8] = b"good bye";

/// Calls in flight at once.
const WINDOW: usize = 64;

/// What a server does with messages.
#[derive(Clone, Copy)]
enum Role {
    Echo,
    Sink,
}

/// What a client is asked to measure.
#[derive(Clone, Copy)]
struct Task {
    workload: Workload,
    size: usize,
    span: Span,
}

#[derive(Clone, Copy)]
enum Workload {
    RoundTrip,
    InFlight,
    Stream,
}

/// Where a contender without panpipe listens or connects.
enum Place {
    Unix(String),
    Tcp(SocketAddr),
}

/// Runs the contender that the arguments name.
pub(crate) fn run(arguments: &[String]) -> Outcome<()> {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [name, "server", role, address] => {
            let role = match role {
                "echo" => Role::Echo,
                "sink" => Role::Sink,
                _ => return Err(format!("no role is called {role:?}").into()),
            };
            match name {
                "bare-blocking" => bare_blocking::serve(role, Place::parse(address)?),
                "bare-methods" => bare_methods::serve(role, address),
                "panpipe-blocking" => panpipe_blocking::serve(role, address),
                "bare-tokio" => runtime()?.block_on(bare_tokio::serve(role, Place::parse(address)?)),
                "panpipe-tokio" => runtime()?.block_on(panpipe_tokio::serve(role, address)),
                _ => Err(format!("no contender is called {name:?}").into()),
            }
        }
        [name, "client", echo, sink] => {
            for line in std::io::stdin().lines() {
                let task = Task::parse(&line?)?;
                let address = match task.workload {
                    Workload::Stream => sink,
                    Workload::RoundTrip | Workload::InFlight => echo,
                };
                let measured = match name {
                    "bare-blocking" => bare_blocking::measure(task, Place::parse(address)?),
                    "bare-methods" => bare_methods::measure(task, address),
                    "panpipe-blocking" => panpipe_blocking::measure(task, address),
                    "bare-tokio" => on_tokio(bare_tokio::measure(task, Place::parse(address)?)),
                    "panpipe-tokio" => on_tokio(panpipe_tokio::measure(task, address)),
                    _ => Err(format!("no contender is called {name:?}").into()),
                }?;
                println!("{}", serde_json::json!({ "operations": measured.operations, "value": measured.value }));
            }
            Ok(())
        }
        _ => Err("a contender is started as NAME server ROLE ADDRESS or NAME client ECHO SINK".into()),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn on_tokio(measuring: impl Future<Output = Outcome<Measured>>) -> Outcome<Measured> {
    runtime()?.block_on(measuring)
}

/// Tells the bench where a server listens.
fn announce(address: &str) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{address}")?;
    output.flush()
}

impl Task {
    fn parse(line: &str) -> Outcome<Self> {
        let [workload, size, warm, measured] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            return Err(format!("a task is WORKLOAD SIZE WARM-UP MEASURED, not {line:?}").into());
        };
        let workload = match workload {
            "round-trip" => Workload::RoundTrip,
            "in-flight" => Workload::InFlight,
            "stream" => Workload::Stream,
            _ => return Err(format!("no workload is called {workload:?}").into()),
        };
        let span =
            Span { warm: Duration::from_millis(warm.parse()?), measured: Duration::from_millis(measured.parse()?) };
        Ok(Task { workload, size: size.parse()?, span })
    }
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
