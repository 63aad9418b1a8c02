//! A session of either side under a peer that sends anything at all: it ends at most once, and holds little.
#![no_main]

use libfuzzer_sys::fuzz_target;
use panpipe_fuzz::Played;
use panpipe_wire::Session;
use panpipe_wire::panpipe::Side;

fuzz_target!(|bytes: &[u8]| {
    let [mode, chunk, bytes @ ..] = bytes else { return };
    let side = if mode & 1 > 0 { Side::Client } else { Side::Server };
    let is_datagrams = mode & 6 == 6;
    let packets = (mode & 4 > 0).then_some(1500);
    let mut played = Played::new(side, packets, is_datagrams);
    let chunk = 1 + usize::from(*chunk);
    for (number, part) in bytes.chunks(chunk).enumerate() {
        if mode & 8 > 0 {
            played.act(part[0], number as u8 & 0xf3);
        }
        if packets.is_some() && mode & 16 > 0 {
            // The length of the packet is right: what it holds is anything.
            let length = part.len() as u32;
            played.session.input_mut().room().extend_from_slice(&length.to_be_bytes());
        }
        if played.session.input().wants_more() {
            played.session.input_mut().room().extend_from_slice(part);
        }
        played.take_events();
        if mode & 32 > 0 {
            played.write(usize::MAX);
        }
        assert!(played.session.unwritten() < 64 << 20, "what waits is bounded");
    }
    played.session.input_mut().end();
    played.take_events();
    assert!(played.has_ended);
});
