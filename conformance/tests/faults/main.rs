//! What goes wrong on a machine, and what each server does then. `../../README.md` explains it.

#[path = "../suite/certificate.rs"]
mod certificate;
mod crowd;
mod descriptors;
mod drain;
mod killed;
#[path = "../suite/peer.rs"]
#[expect(dead_code, reason = "the suite uses more of it")]
mod peer;
#[path = "../suite/place.rs"]
#[expect(dead_code, reason = "the suite uses more of it")]
mod place;
mod process;
mod race;
mod stopped;
mod storm;
#[path = "../suite/stream.rs"]
#[expect(dead_code, reason = "the suite uses more of it")]
mod stream;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::peer::{PANPIPE_SERVERS, PROTOCOL_CLIENTS, PROTOCOL_SERVERS, Peer};
use crate::place::Folder;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

type ServerCase = (&'static str, fn(Peer, &Folder) -> Result<()>);
type Case = (&'static str, fn(&Folder) -> Result<()>);

const IDLE: &str = "ten_thousand_idle_connections_take_little_memory";

/// What a server of each language and loop has to stand.
const SERVER_CASES: &[ServerCase] = &[
    ("running_out_of_descriptors_neither_stops_nor_busies_it", descriptors::running_out),
    ("a_thousand_frames_that_trickle_delay_nobody_and_cost_little", crowd::frames_that_trickle),
    (IDLE, crowd::idle_connections),
];

/// What a server of the panpipe protocol has to stand.
const PROTOCOL_SERVER_CASES: &[ServerCase] = &[
    ("sigterm_loses_no_call_that_has_begun_in_20_restarts", drain::rolling_restarts),
    ("a_subscriber_that_is_stopped_slows_nobody", stopped::subscriber),
];

/// And a client.
const PROTOCOL_CLIENT_CASES: &[ServerCase] =
    &[("a_server_killed_with_1000_calls_in_flight_100_times_leaves_none_open", killed::in_the_middle)];

const CASES: &[Case] = &[
    ("storm::rust_blocking_loses_nothing_to_ten_thousand_signals_a_second", storm::rust_blocking),
    ("storm::rust_tokio_loses_nothing_to_ten_thousand_signals_a_second", storm::rust_tokio),
    ("storm::python_blocking_loses_nothing_to_ten_thousand_signals_a_second", storm::python_blocking),
    ("storm::python_asyncio_loses_nothing_to_ten_thousand_signals_a_second", storm::python_asyncio),
    ("race::python_and_rust_leave_one_winner_at_a_stale_path", race::python_and_rust),
];

/// Most cases mostly wait, so that more threads than processors keep these busy.
const THREADS: usize = 6;

fn main() -> ExitCode {
    // The crowds are at our end of the connections too, and the servers inherit it.
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let folder = Arc::new(Folder::new());
    let mut trials = Vec::new();
    // `panpipe serve` stands for Rust on tokio, and it has no use for a process for each message.
    for &peer in PANPIPE_SERVERS.iter().filter(|peer| !["rust", "command_program"].contains(&peer.name)) {
        let judged = |case: &&ServerCase| peer.name != "node" || case.0 != IDLE;
        for &(name, run) in SERVER_CASES.iter().filter(judged) {
            let folder = Arc::clone(&folder);
            trials.push(Trial::test(format!("{}::{name}", peer.name), move || Ok(run(peer, &folder).map_err(text)?)));
        }
    }
    let of_servers =
        PROTOCOL_SERVERS.iter().flat_map(|peer| PROTOCOL_SERVER_CASES.iter().map(move |case| ("server", peer, case)));
    let of_clients =
        PROTOCOL_CLIENTS.iter().flat_map(|peer| PROTOCOL_CLIENT_CASES.iter().map(move |case| ("client", peer, case)));
    for (side, &peer, &(name, run)) in of_clients.chain(of_servers) {
        let folder = Arc::clone(&folder);
        let name = format!("panpipe::{side}::{}::{name}", peer.name);
        trials.push(Trial::test(name, move || Ok(run(peer, &folder).map_err(text)?)));
    }
    for &(name, run) in CASES {
        let folder = Arc::clone(&folder);
        trials.push(Trial::test(name, move || Ok(run(&folder).map_err(text)?)));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn text(error: Box<dyn std::error::Error>) -> String {
    error.to_string()
}
