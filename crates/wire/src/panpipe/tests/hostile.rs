//! Peers that do what no peer should, and moments that are rare: each was a fault once.

use std::time::Duration;

use bytes::Bytes;

use super::super::frame::{Flags, HEAD, Head, Kind};
use super::super::{BACKLOG, Body, Failure, Panpipe, PanpipeEvent, Policy, Side};
use super::play::{Played, method};
use crate::address::Address;
use crate::error::{Error, ErrorKind, Ran};
use crate::plain::CallId;
use crate::session::Session;

const HELLO: &[u8] = b"panpipe\x01\x80";

fn frame(kind: Kind, flags: u8, id: u64, name: u16, body: &[u8]) -> Vec<u8> {
    let head = Head { length: body.len() as u32, kind: kind as u8, flags: Flags(flags), name, id };
    [&head.write()[..], body].concat()
}

/// A CALL of the method `m`, or a SEND.
fn request(kind: Kind, flags: u8, id: u64, payload: &[u8]) -> Vec<u8> {
    let timeout: &[u8] = if kind == Kind::Call { &[0; 4] } else { &[] };
    frame(kind, flags, id, 1, &[timeout, b"m", payload].concat())
}

fn greeted(side: Side, is_remote: bool) -> Played {
    let mut played = Played::new(side, is_remote);
    played.reads(&frame(Kind::Hello, 0, 0, 0, HELLO));
    assert!(events(&mut played).is_empty());
    played.writes();
    played
}

fn events(played: &mut Played) -> Vec<PanpipeEvent> {
    std::iter::from_fn(|| played.session.next_event(played.now)).collect()
}

fn heads(mut bytes: &[u8]) -> Vec<(u8, u64)> {
    let mut heads = Vec::new();
    while let Some(head) = Head::read(bytes) {
        heads.push((head.kind, head.id));
        bytes = &bytes[HEAD + head.length as usize..];
    }
    heads
}

fn ended(events: &[PanpipeEvent]) -> Option<&'static str> {
    match events.last() {
        Some(PanpipeEvent::Ended(error)) => Some(error.as_ref().map_or("cleanly", |error| error.kind().code())),
        _ => None,
    }
}

/// A server whose output is full of the replies to the calls 1 and 3, which its peer does not read.
fn backlogged() -> Played {
    let mut played = greeted(Side::Server, false);
    for id in [1, 3] {
        played.reads(&request(Kind::Call, 0, id, b""));
        assert_eq!(events(&mut played).len(), 1);
        played.session.reply(CallId(id), Flags::NONE, Body::Shared(Bytes::from(vec![0; BACKLOG / 2])));
    }
    played
}

fn datagrams(most: usize) -> Played {
    let mut played = Played::new(Side::Server, false);
    let address = Address::parse("mem:hostile?max=1000", Box::leak(Box::new([method("this machine")]))).unwrap();
    played.session = Panpipe::new(&address, Side::Server, played.now);
    played.session.use_packets(most, false);
    played.session.use_datagrams(true);
    played
}

fn packet(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

#[test]
fn much_to_write_after_a_long_quiet_is_no_stall() {
    let mut played = greeted(Side::Client, false);
    played.wait(60_000);
    played.session.send("m", Flags::NONE, Body::Slice(&[0; 100_000]), played.now).unwrap();
    assert!(events(&mut played).is_empty(), "there was no time to read it");
    played.wait(9_999);
    assert!(events(&mut played).is_empty());
    assert!(played.session.next_deadline().unwrap() <= played.now + Duration::from_millis(1));
    played.wait(1);
    assert_eq!(ended(&events(&mut played)), Some("bad-peer"));
    assert_eq!((played.session.unwritten(), played.session.next_deadline()), (0, None), "nothing holds it open");
}

#[test]
fn a_frame_that_stays_cut_is_no_sign_of_life() {
    let mut played = greeted(Side::Client, true);
    played.reads(&[0, 0, 0]);
    assert!(events(&mut played).is_empty());
    played.wait(20_000);
    assert!(events(&mut played).is_empty());
    assert_eq!(heads(&played.writes()), [(Kind::Ping as u8, 0)]);
    played.wait(20_000);
    assert_eq!(ended(&events(&mut played)), Some("connection-lost"));
}

#[test]
fn credit_after_the_end_of_arguments_ends_them_no_second_time() {
    let mut played = greeted(Side::Client, false);
    let call = played.session.call("m", Flags::NONE.arguments(true), Body::Slice(&[]), None, played.now).unwrap();
    played.session.end(call);
    played.reads(&frame(Kind::Credit, 0, call.0, 0, &131_072_u32.to_be_bytes()));
    assert!(events(&mut played).is_empty());
    let ends = heads(&played.writes()).iter().filter(|head| head.0 == Kind::End as u8).count();
    assert_eq!(ends, 1);
}

#[test]
fn nothing_is_answered_after_a_goodbye() {
    let mut played = greeted(Side::Server, false);
    let message = request(Kind::Send, 0, 3, &[0; 600_000]);
    played.reads(&[request(Kind::Call, 0, 1, b""), message, frame(Kind::Pong, 0, 9, 0, b"")].concat());
    let events = events(&mut played);
    let [PanpipeEvent::Call(call), PanpipeEvent::Send(message), .., PanpipeEvent::Ended(Some(_))] = &events[..] else {
        panic!("{events:?}")
    };
    played.session.reply(call.id, Flags::NONE, Body::Slice(&[]));
    played.session.handled(message);
    played.session.say_goodbye();
    assert_eq!(heads(&played.writes()).last(), Some(&(Kind::Goodbye as u8, 0)));
}

#[test]
fn calls_do_not_begin_after_their_peer_has_closed() {
    let mut played = backlogged();
    played.reads(&request(Kind::Call, 0, 7, b""));
    assert!(events(&mut played).is_empty());
    played.writes();
    let mut late = request(Kind::Call, 0, 9, b"");
    late.extend(frame(Kind::Goodbye, 0, 0, 0, b"\x81\xa4code\xa8bad-peer"));
    played.reads(&late);
    let mut told = events(&mut played);
    let begun = told.iter().position(|event| matches!(event, PanpipeEvent::Ended(_))).unwrap();
    assert_eq!(begun, told.len() - 1);
    assert!(matches!(told.pop(), Some(PanpipeEvent::Ended(Some(_)))));
}

#[test]
fn arguments_of_a_call_that_waits_come_behind_it() {
    let mut played = backlogged();
    played.reads(&request(Kind::Call, Flags::ARGUMENTS, 7, b""));
    played.reads(&frame(Kind::Item, 0, 7, 0, b"\xc0"));
    played.reads(&frame(Kind::End, 0, 7, 0, b""));
    played.reads(&request(Kind::Call, Flags::ARGUMENTS, 9, b""));
    played.reads(&frame(Kind::Item, 0, 9, 0, b"\xc0"));
    played.reads(&frame(Kind::Cancel, 0, 9, 0, b""));
    assert!(events(&mut played).is_empty());
    played.writes();
    let told = events(&mut played);
    assert!(
        matches!(&told[..], [PanpipeEvent::Call(_), PanpipeEvent::Item { .. }, PanpipeEvent::End { .. }]),
        "{told:?}"
    );
}

#[test]
fn a_call_that_waits_is_not_told_to_stop_before_it_begins() {
    let mut played = backlogged();
    played.reads(&request(Kind::Call, 0, 7, b""));
    assert!(events(&mut played).is_empty());
    played.session.input_mut().end();
    let told = events(&mut played);
    assert!(matches!(&told[..], [PanpipeEvent::Ended(None)]), "{told:?}");
}

#[test]
fn who_reads_no_refusals_is_not_given_more_of_them() {
    let mut played = backlogged();
    played.session.say_goodbye();
    let mut id = 7;
    let held = played.session.unwritten();
    while played.session.input().failure().is_none() {
        played.reads(&request(Kind::Call, 0, id, b""));
        events(&mut played);
        id += 2;
        assert!(id < 100_000 && played.session.unwritten() < held + (4 << 20), "a window of calls, and no more");
    }
    assert!(played.session.input().failure().unwrap().to_string().contains("window"));
}

#[test]
fn cancelled_calls_that_wait_cost_their_window_until_replies_are_read() {
    let mut played = backlogged();
    let mut id = 7;
    for _ in 0..8100 {
        played.reads(&request(Kind::Call, 0, id, b""));
        played.reads(&frame(Kind::Cancel, 0, id, 0, b""));
        assert!(events(&mut played).is_empty());
        id += 2;
    }
    assert!(heads(&played.writes()).iter().all(|head| head.0 != Kind::Credit as u8));
    assert!(events(&mut played).is_empty());
    assert_eq!(heads(&played.writes()), [(Kind::Credit as u8, 0)]);
}

#[test]
fn an_error_is_cut_to_what_the_peer_takes() {
    let mut played = Played::new(Side::Server, false);
    let settings = b"panpipe\x01\x81\xa3max\x64";
    played.reads(&[frame(Kind::Hello, 0, 0, 0, settings), request(Kind::Call, 0, 1, b"")].concat());
    assert_eq!(events(&mut played).len(), 1);
    played.writes();
    let long = panpipe_values::Failure::new("not-found", "x".repeat(5000)).encode();
    played.session.fail(CallId(1), &long);
    let written = played.writes();
    assert!(written.len() <= HEAD + 100, "{}", written.len());
    assert_eq!(panpipe_values::Failure::decode(&written[HEAD..]).unwrap().code, "not-found");
}

#[test]
fn counts_of_what_was_missed_are_bounded() {
    let mut played = greeted(Side::Client, false);
    let flags = Flags::NONE.stream(true).topic(true);
    let call = played.session.call("t", flags, Body::Slice(&[]), None, played.now).unwrap();
    let lagged = frame(Kind::Item, Flags::LAGGED, call.0, 0, b"\x01");
    for _ in 0..1024 {
        played.reads(&lagged);
    }
    assert_eq!(events(&mut played).len(), 1024);
    played.reads(&frame(Kind::Item, 0, call.0, 0, b"\xc0"));
    played.reads(&lagged);
    assert_eq!(events(&mut played).len(), 2);
    for _ in 0..1024 {
        played.reads(&lagged);
    }
    assert_eq!(ended(&events(&mut played)), Some("bad-peer"));
    let mut played = greeted(Side::Client, false);
    let call = played.session.call("t", flags, Body::Slice(&[]), None, played.now).unwrap();
    played.reads(&frame(Kind::Item, Flags::LAGGED, call.0, 0, &[0; 10]));
    assert_eq!(ended(&events(&mut played)), Some("bad-peer"), "no count is so long");
}

#[test]
fn nothing_gathers_where_nothing_can_be_written() {
    let mut played = greeted(Side::Server, false);
    let waits = played.session.call("m", Flags::NONE, Body::Slice(&[0; 1 << 20]), None, played.now).unwrap();
    let unsent = played.session.call("m", Flags::NONE, Body::Slice(&[]), None, played.now).unwrap();
    played.session.output_failed(Error::new(ErrorKind::ConnectionLost, "sending to mem:played".to_owned()));
    played.reads(&request(Kind::Call, 0, 1, b""));
    played.reads(&frame(Kind::Credit, 0, 0, 0, &(2_u32 << 20).to_be_bytes()));
    assert_eq!(events(&mut played).len(), 1);
    played.session.reply(CallId(1), Flags::NONE, Body::Slice(&[0; 100]));
    assert_eq!(played.session.unwritten(), 0);
    played.session.input_mut().end();
    let told = events(&mut played);
    for (event, wanted) in told.iter().zip([waits, unsent]) {
        let PanpipeEvent::Failed { call, failure: Failure::Local(error) } = event else { panic!("{event:?}") };
        assert_eq!((*call, error.may_have_run()), (wanted, Ran::No));
    }
}

#[test]
fn an_item_in_pieces_of_a_cancelled_call_is_not_told() {
    let mut played = greeted(Side::Client, false);
    let call = played.session.call("m", Flags::NONE.stream(true), Body::Slice(&[]), None, played.now).unwrap();
    let total = 4000_u32.to_be_bytes();
    played.reads(&frame(Kind::Item, Flags::MORE, call.0, 0, &[&total[..], &[0; 2000]].concat()));
    assert!(events(&mut played).is_empty());
    played.session.cancel(call);
    played.reads(&frame(Kind::Item, 0, call.0, 0, &[0; 2000]));
    assert!(events(&mut played).is_empty());
}

#[test]
fn a_stream_that_is_stopped_before_its_end_says_so() {
    let mut played = greeted(Side::Server, false);
    let call = CallId(1);
    played.reads(&frame(Kind::Call, Flags::STREAM, 1, 1, &[&50_u32.to_be_bytes()[..], b"m"].concat()));
    assert_eq!(events(&mut played).len(), 1);
    for _ in 0..3 {
        played.session.item(call, Flags::NONE, Body::Slice(&[0; 200_000])).unwrap();
    }
    played.session.reply(call, Flags::NONE, Body::Slice(b"\xc0"));
    played.session.reply(call, Flags::NONE, Body::Slice(b"\xc0"));
    played.writes();
    played.wait(50);
    assert!(events(&mut played).is_empty());
    let written = played.writes();
    assert_eq!(heads(&written), [(Kind::Error as u8, 1)], "a reply would say that all items came");
    assert_eq!(panpipe_values::Failure::decode(&written[HEAD..]).unwrap().code, "deadline-exceeded");
}

#[test]
fn calls_that_were_cancelled_before_they_left_make_room() {
    let mut played = Played::new(Side::Server, false);
    for _ in 0..300 {
        let call = played.session.call("m", Flags::NONE, Body::Shared(Bytes::from(vec![0; 1 << 20])), None, played.now);
        played.session.cancel(call.expect("the cancelled ones were forgotten"));
    }
}

#[test]
fn a_datagram_of_the_largest_size_leaves_the_next_where_it_is() {
    let mut played = datagrams(1000);
    let large = request(Kind::Call, 0, 1, &[0; 1000 - HEAD - 5]);
    assert_eq!(large.len(), 1000);
    played.reads(&packet(&large));
    played.reads(&1001_u32.to_be_bytes());
    played.reads(&packet(&request(Kind::Call, 0, 3, b"")));
    assert_eq!(events(&mut played).len(), 2 - usize::from(played.session.counts().dropped > 1));
    assert!(played.session.input().is_empty());
}

#[test]
fn a_datagram_that_is_not_whole_yet_is_waited_for() {
    let mut played = datagrams(1000);
    let whole = packet(&request(Kind::Call, 0, 1, b""));
    played.reads(&whole[..10]);
    assert!(events(&mut played).is_empty());
    played.reads(&whole[10..]);
    assert_eq!(events(&mut played).len(), 1);
}

#[test]
fn floods_of_datagrams_hold_nothing() {
    let mut played = datagrams(1000);
    for id in 0..10_000 {
        played.reads(&packet(&frame(Kind::Ping, 0, 2 * id + 1, 0, b"")));
        events(&mut played);
    }
    assert_eq!(played.session.pongs.len(), 64);
    for _ in 0..1000 {
        played.session.flush(played.now).unwrap();
        played.writes();
    }
    assert_eq!(played.session.flushes.len(), 64);
    // Whom the system does not take datagrams for is told, and what comes meanwhile is dropped.
    while played.session.send("m", Flags::NONE, Body::Slice(&[0; 900]), played.now).is_ok() {}
    for id in 0..1000 {
        played.reads(&packet(&request(Kind::Send, 0, 50_001 + 2 * id, b"")));
        assert!(events(&mut played).is_empty());
    }
    played.writes();
    assert!(events(&mut played).is_empty());
}

#[test]
fn a_packet_begins_with_a_whole_hello() {
    let mut played = Played::new(Side::Server, false);
    played.session.use_packets(4096, false);
    let hello = frame(Kind::Hello, 0, 0, 0, HELLO);
    played.reads(&packet(&[&hello[..], b"more"].concat()));
    assert_eq!(ended(&events(&mut played)), Some("bad-peer"));
}

#[test]
fn only_topics_are_opened_and_only_once_a_goodbye_is_told() {
    let mut played = greeted(Side::Server, false);
    let goodbye = frame(Kind::Goodbye, 0, 0, 0, b"");
    played.reads(&[goodbye.clone(), goodbye].concat());
    let told = events(&mut played);
    assert!(matches!(&told[..], [PanpipeEvent::Draining]), "{told:?}");
    played.session.open(CallId(1), Policy::Block);
    assert!(played.writes().is_empty());
}
