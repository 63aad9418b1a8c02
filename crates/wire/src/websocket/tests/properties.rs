//! Any messages, cut anyhow, arrive; any bytes at all are taken or refused.

use proptest::prelude::*;

use super::super::frame::{LAST, Opcode};
use super::super::*;

/// A frame as it was not made to be sent: a fragment, or with a mask of its own.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let head = FrameHead::new(Opcode::Continuation, payload.len(), mask);
    let mut frame = [head.as_slice(), payload].concat();
    frame[0] = first;
    if let Some(mask) = mask {
        mask::apply(mask, &mut frame[head.as_slice().len()..]);
    }
    frame
}

/// A message in these fragments, with a ping behind each.
fn fragments(is_text: bool, message: &[u8], ends: &[usize], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut ends: Vec<_> = ends.iter().map(|end| end % (message.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(message.len());
    let (mut wire, mut start) = (Vec::new(), 0);
    for (number, end) in ends.iter().enumerate() {
        let opcode = match (number, is_text) {
            (0, true) => Opcode::Text,
            (0, false) => Opcode::Binary,
            _ => Opcode::Continuation,
        };
        let last = if number == ends.len() - 1 { LAST } else { 0 };
        wire.extend(frame(last | opcode as u8, &message[start..*end], mask));
        wire.extend(frame(LAST | Opcode::Ping as u8, &[number as u8], mask));
        start = *end;
    }
    wire
}

fn any_message() -> impl Strategy<Value = (bool, Vec<u8>)> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| (false, bytes)),
        (65_500usize..65_600, any::<u8>())
            .prop_map(|(size, step)| { (false, (0..size).map(|at| (at as u8).wrapping_mul(step)).collect()) }),
        prop::collection::vec(any::<char>(), 0..80).prop_map(|text| (true, String::from_iter(text).into_bytes())),
    ]
}

/// Bytes that come near to being frames.
fn any_wire() -> impl Strategy<Value = Vec<u8>> {
    let first = prop::sample::select(vec![0x00, 0x80, 0x01, 0x81, 0x02, 0x82, 0x88, 0x89, 0x8a, 0x83, 0xc1]);
    let piece = prop_oneof![
        4 => (first, prop::collection::vec(any::<u8>(), 0..130), any::<Option<[u8; 4]>>())
            .prop_map(|(first, payload, mask)| frame(first, &payload, mask)),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// What comes of `wire` in pieces of these sizes: the inbox, the violation, the Close.
fn receive(
    role: Role,
    carries: Carries,
    wire: &[u8],
    sizes: &[usize],
) -> (BytesMut, Option<Violation>, Option<Closed>) {
    let mut websocket = WebSocket::new(role, 200, carries);
    let (mut inbox, mut rest, mut given) = (BytesMut::new(), wire, 0);
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let (part, after) = rest.split_at((*sizes.next().unwrap()).clamp(1, rest.len()));
        rest = after;
        given += part.len();
        let outcome = websocket.receive(&mut part.to_vec(), &mut inbox);
        let held = websocket.gathered.len() + websocket.control.len() + websocket.ping.len();
        // Each message stands behind four bytes, in the inbox and where it is gathered.
        assert!(held <= given + 4 && inbox.len() <= 4 * given, "{held} of {given}");
        assert!(websocket.gathered.capacity() <= 2 * given + 64, "{}", websocket.gathered.capacity());
        if let Err(violation) = outcome {
            return (inbox, Some(violation), None);
        }
    }
    (inbox, None, websocket.closed().cloned())
}

proptest! {
    #[test]
    fn messages_arrive_however_they_are_cut(
        messages in prop::collection::vec((any_message(), prop::collection::vec(any::<usize>(), 0..6)), 1..5),
        mask in any::<[u8; 4]>(), role in prop::sample::select(vec![Role::Server, Role::Client]),
        sizes in prop::collection::vec(1usize..70_000, 1..6),
    ) {
        let mask = (role == Role::Server).then_some(mask);
        let mut websocket = WebSocket::new(role, 1 << 20, Carries::Binary);
        let (mut wire, mut sent) = (Vec::new(), Vec::new());
        for ((is_text, message), ends) in &messages {
            wire.extend(fragments(*is_text, message, ends, mask));
            sent.extend((message.len() as u32).to_be_bytes());
            sent.extend(message);
        }
        let (mut inbox, mut rest) = (BytesMut::new(), &mut wire[..]);
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let (part, after) = rest.split_at_mut((*sizes.next().unwrap()).min(rest.len()));
            websocket.receive(part, &mut inbox).unwrap();
            rest = after;
        }
        prop_assert!(inbox == sent[..]);
        let mut output = Vec::new();
        websocket.control([0; 4], &mut output);
        let number = messages.last().unwrap().1.len() as u8;
        prop_assert_eq!(output.last().copied(), Some(number), "the pong of the last ping");
    }

    #[test]
    fn what_one_end_sends_the_other_receives(
        messages in prop::collection::vec(any_message(), 1..5), mask in any::<[u8; 4]>(),
        roles in prop::sample::select(vec![[Role::Client, Role::Server], [Role::Server, Role::Client]]),
        size in 1usize..70_000, carries in prop::sample::select(vec![Carries::Binary, Carries::Stream]),
    ) {
        let [sender, receiver] = roles;
        let mut sender = WebSocket::new(sender, 1 << 20, carries);
        let mut receiver = WebSocket::new(receiver, 1 << 20, carries);
        let (mut wire, mut sent, mut inbox) = (Vec::new(), Vec::new(), BytesMut::new());
        for (_, message) in &messages {
            sender.send(message, mask, &mut wire);
            if carries == Carries::Binary {
                sent.extend((message.len() as u32).to_be_bytes());
            }
            sent.extend(message);
        }
        sender.close(1000, "done", mask, &mut wire);
        for part in wire.chunks_mut(size) {
            receiver.receive(part, &mut inbox).unwrap();
        }
        prop_assert!(inbox == sent[..]);
        prop_assert_eq!(receiver.closed(), Some(&Closed { code: Some(1000), reason: "done".into() }));
    }

    #[test]
    fn the_cut_of_any_bytes_changes_nothing(
        wire in any_wire(), role in prop::sample::select(vec![Role::Server, Role::Client]),
        carries in prop::sample::select(vec![Carries::Binary, Carries::Text, Carries::Stream]),
        sizes in prop::collection::vec(1usize..40, 1..6),
    ) {
        let whole = receive(role, carries, &wire, &[wire.len()]);
        prop_assert_eq!(&receive(role, carries, &wire, &[1]), &whole);
        prop_assert_eq!(&receive(role, carries, &wire, &sizes), &whole);
    }

    #[test]
    fn the_cut_of_any_request_changes_nothing(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "GET / HTTP/1.1\r\n", "GET", " ", "/", "HTTP/1.1", "\r\n", "\n", "\r", "Host: a\r\n", "Host", ":", "a", "\0", "ä",
        ]), 0..20),
    ) {
        let bytes = pieces.concat().into_bytes();
        let read = |end: usize| {
            let read = read_request(&bytes[..end]).transpose();
            read.map(|read| read.map(|(_, size)| size).map_err(|refusal| refusal.status))
        };
        let first = (0..=bytes.len()).find_map(read);
        prop_assert_eq!(read(bytes.len()), first);
    }
}
