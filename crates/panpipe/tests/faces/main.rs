//! The Rust faces, tokio and blocking, over every address of this program.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod blocking;
mod both_ways;
mod datagrams;
mod errors;
mod fifo;
mod packets;
mod pairs;
mod peers;
mod protocols;
mod sharing;
mod spawn;
mod tokio_face;
mod websocket;

/// The addresses that a test can listen on anywhere.
const ADDRESSES: [&str; 4] = ["tcp://localhost:0", "unix:/tmp/panpipe-test-*", "unix:@panpipe-test-*", "mem:*"];

/// `address` with options, and for `mem:` with a name that no other test has.
fn with(address: &str, options: &str) -> String {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    let name = NAMES.fetch_add(1, Ordering::Relaxed);
    match address {
        "mem:*" => format!("mem:{name}?{options}"),
        _ => format!("{address}?{options}"),
    }
}
