//! Every framing: whatever comes, and wherever it is cut, the same messages come of it.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use panpipe_wire::{Event, Plain, Session};

const FRAMINGS: [&str; 13] = [
    "raw",
    "lines",
    "nul",
    "length",
    "length:u8",
    "length:u16le",
    "length:u32ne",
    "length:u64be",
    "length:u64le",
    "netstring",
    "varint",
    "content-length",
    "lines&text=true",
];

fn messages(framing: &str, bytes: &[u8], chunk: usize) -> Vec<String> {
    let address = panpipe_fuzz::address(&format!("mem:fuzz?framing={framing}&max=300")).expect("an address");
    let mut session = Plain::new(&address);
    let now = Instant::now();
    let mut told = Vec::new();
    let mut take = |session: &mut Plain| {
        while let Some(event) = session.next_event(now, true) {
            match event {
                Event::Message(message) => told.push(format!("{message:?}")),
                Event::Ended(error) => {
                    told.push(format!("ended: {:?}", error.map(|error| error.code())));
                    return true;
                }
                other => told.push(format!("{other:?}")),
            }
        }
        false
    };
    for part in bytes.chunks(chunk) {
        if session.input().wants_more() {
            session.input_mut().room().extend_from_slice(part);
        }
        if take(&mut session) {
            return told;
        }
    }
    session.input_mut().end();
    take(&mut session);
    told
}

fuzz_target!(|bytes: &[u8]| {
    let [which, chunk, bytes @ ..] = bytes else { return };
    let framing = FRAMINGS[*which as usize % FRAMINGS.len()];
    let whole = messages(framing, bytes, bytes.len().max(1));
    if framing != "raw" {
        assert_eq!(messages(framing, bytes, 1 + *chunk as usize % 40), whole, "{framing}");
    }
});
