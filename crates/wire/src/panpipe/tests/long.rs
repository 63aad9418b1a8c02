//! Long messages, read as drivers read: no more than there is room for.

use super::super::{Body, Flags, PanpipeEvent, Side};
use super::play::Played;
use crate::session::Session;

/// Gives what one has written to the other, `step` bytes at a time; what the other tells.
fn carry(from: &mut Played, to: &mut Played, step: usize) -> Vec<PanpipeEvent> {
    let (written, mut told) = (from.writes(), Vec::new());
    let mut left = &written[..];
    loop {
        while to.session.input().wants_more() && !left.is_empty() {
            let room = to.session.input_mut().room();
            let count = step.min(room.capacity() - room.len()).min(left.len());
            assert!(count > 0, "who wants more has room for it");
            room.extend_from_slice(&left[..count]);
            left = &left[count..];
        }
        let before = told.len();
        told.extend(std::iter::from_fn(|| to.session.next_event(to.now)));
        if left.is_empty() && told.len() == before {
            return told;
        }
    }
}

fn payload(size: u32) -> Vec<u8> {
    (0..size).map(|n| (n * 7 % 251) as u8).collect()
}

#[test]
fn long_messages_come_whole_however_they_are_read() {
    for step in [1000, 70_000, 1 << 30] {
        let (mut client, mut server) = (Played::new(Side::Client, false), Played::new(Side::Server, false));
        let flags = Flags::NONE.raw(true);
        client.session.call("m", flags, Body::Slice(&payload(3_000_000)), None, client.now).unwrap();
        let told = carry(&mut client, &mut server, step);
        let [PanpipeEvent::Call(call)] = &told[..] else { panic!("{told:?}") };
        assert!(call.payload().bytes == payload(3_000_000), "as it was sent");
        server.session.reply(call.id, flags, Body::Slice(&[]));
        carry(&mut server, &mut client, step);

        // Two answers whose pieces take turns, and a short one between.
        let sizes = [3_000_000, 1, 1_000_003];
        for size in sizes {
            client.session.call("m", flags, Body::Slice(&u32::to_be_bytes(size)), None, client.now).unwrap();
        }
        for event in carry(&mut client, &mut server, step) {
            let PanpipeEvent::Call(call) = event else { panic!("{event:?}") };
            let size = u32::from_be_bytes(call.payload().bytes[..].try_into().unwrap());
            server.session.reply(call.id, flags, Body::Shared(payload(size).into()));
        }
        let mut replies: Vec<_> = carry(&mut server, &mut client, step)
            .into_iter()
            .map(|event| {
                let PanpipeEvent::Reply { payload: reply, .. } = event else { panic!("{event:?}") };
                assert!(reply.bytes == payload(reply.bytes.len() as u32), "as it was sent");
                reply.bytes.len() as u32
            })
            .collect();
        replies.sort_unstable();
        assert_eq!(replies, [1, 1_000_003, 3_000_000]);
    }
}

#[test]
fn a_connection_that_ends_inside_a_long_message_says_so() {
    let mut client = Played::new(Side::Client, false);
    client.session.call("m", Flags::NONE, Body::Slice(&vec![0; 3_000_000]), None, client.now).unwrap();
    let written = client.writes();
    for end in [300_000, 600_000, 2_999_999] {
        let mut left = &written[..end];
        let mut server = Played::new(Side::Server, false);
        while !left.is_empty() {
            let room = server.session.input_mut().room();
            let count = (room.capacity() - room.len()).min(left.len());
            room.extend_from_slice(&left[..count]);
            left = &left[count..];
            assert!(server.session.next_event(server.now).is_none());
        }
        server.session.input_mut().end();
        let Some(PanpipeEvent::Ended(Some(error))) = server.session.next_event(server.now) else {
            panic!("it goes on")
        };
        assert!(error.to_string().contains("inside a message"), "{error}");
    }
}
