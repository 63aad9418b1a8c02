//! Two sessions, what their users do, and where the bytes between them are cut, all as the input says: neither finds
//! anything wrong with the other, and every call ends once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use panpipe_fuzz::Played;
use panpipe_wire::Session;
use panpipe_wire::panpipe::Side;

fn pass(from: &mut Played, to: &mut Played, most: usize) -> bool {
    if !to.session.input().wants_more() {
        return false;
    }
    let written = from.write(most);
    to.session.input_mut().room().extend_from_slice(&written);
    !written.is_empty()
}

fuzz_target!(|bytes: &[u8]| {
    let mut client = Played::new(Side::Client, None, false);
    let mut server = Played::new(Side::Server, None, false);
    let began = client.now;
    for step in bytes.chunks_exact(2).take(600) {
        let (what, how) = (step[0], step[1]);
        let most = if how & 1 > 0 { usize::from(how) } else { usize::from(how) * 2048 };
        match what {
            0..=31 => drop(pass(&mut client, &mut server, most)),
            32..=63 => drop(pass(&mut server, &mut client, most)),
            64..=79 => client.take_events(),
            80..=95 => server.take_events(),
            96..=175 => client.act(what, how),
            176..=255 => server.act(what, how),
        }
        // A hello is due within five seconds.
        let now = client.now.max(server.now).min(began + std::time::Duration::from_secs(4));
        (client.now, server.now) = (now, now);
    }
    loop {
        let has_moved = pass(&mut client, &mut server, usize::MAX) | pass(&mut server, &mut client, usize::MAX);
        client.take_events();
        server.take_events();
        if !has_moved && client.session.outbox()[0].is_empty() && server.session.outbox()[0].is_empty() {
            break;
        }
    }
    assert!(!client.has_ended && !server.has_ended, "{:?} {:?}", client.code, server.code);
    client.session.input_mut().end();
    server.session.input_mut().end();
    client.take_events();
    server.take_events();
    assert!(client.has_ended && server.has_ended);
});
