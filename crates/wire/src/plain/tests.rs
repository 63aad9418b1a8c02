//! Two sessions and a clock made by hand: no socket, no sleep.

use std::time::Duration;

use super::*;
use crate::address::Method;
use crate::framing::Head;

const ANY: &Method = &Method {
    scheme: "any",
    form: "any:",
    options: &[],
    check: |_| Ok(()),
    moves_packets: false,
    protocol: "plain",
    reaches: "",
    reliable: "",
    ordered: "",
    readers: "",
    death: "",
    costs: "",
    trial: None,
    good_for: "",
    not_for: "",
};

fn session(options: &str) -> Plain {
    Plain::new(&Address::parse(&format!("any:?{options}"), &[ANY]).unwrap())
}

fn send(session: &mut Plain, message: &[u8]) -> Result<()> {
    let mut head = Head::new();
    session.frame(message, &mut head, "sending to")?;
    session.queue(&head, message, 0);
    Ok(())
}

fn call(session: &mut Plain, message: &[u8], deadline: Option<Instant>) -> CallId {
    let call = session.begin_call(deadline).unwrap();
    send(session, message).unwrap();
    call
}

fn deliver(from: &mut Plain, to: &mut Plain) {
    let bytes = from.outbox()[0].to_vec();
    from.written(bytes.len());
    to.input_mut().room().extend_from_slice(&bytes);
}

fn message(session: &mut Plain) -> Option<String> {
    match session.next_event(Instant::now(), true)? {
        Event::Message(message) => Some(String::from_utf8(message.unwrap().to_vec()).unwrap()),
        other => panic!("{other:?}"),
    }
}

fn reply(session: &mut Plain, now: Instant) -> (CallId, Result<Bytes>) {
    match session.next_event(now, false) {
        Some(Event::Reply { call, outcome }) => (call, outcome),
        other => panic!("{other:?}"),
    }
}

#[test]
fn replies_answer_calls_in_order() {
    let (mut client, mut server) = (session("framing=length"), session("framing=length"));
    let now = Instant::now();
    let calls = [call(&mut client, b"a", None), call(&mut client, b"b", None)];
    deliver(&mut client, &mut server);
    while let Some(request) = message(&mut server) {
        send(&mut server, request.to_uppercase().as_bytes()).unwrap();
    }
    send(&mut server, b"unasked").unwrap();
    deliver(&mut server, &mut client);
    for (expected, text) in calls.iter().zip(["A", "B"]) {
        let (call, outcome) = reply(&mut client, now);
        assert_eq!((call, &outcome.unwrap()[..]), (*expected, text.as_bytes()));
    }
    assert!(client.next_event(now, false).is_none(), "a message is kept until somebody wants it");
    assert_eq!(message(&mut client).as_deref(), Some("unasked"));
}

#[test]
fn a_message_that_was_there_first_answers_no_call() {
    let (mut client, mut server) = (session("framing=lines"), session("framing=lines"));
    send(&mut server, b"greeting").unwrap();
    deliver(&mut server, &mut client);
    let asked = call(&mut client, b"question", None);
    send(&mut server, b"answer").unwrap();
    deliver(&mut server, &mut client);
    let (answered, outcome) = reply(&mut client, Instant::now());
    assert_eq!((answered, &outcome.unwrap()[..]), (asked, &b"answer"[..]));
    assert_eq!(message(&mut client).as_deref(), Some("greeting"));
}

#[test]
fn messages_that_nobody_receives_are_bounded() {
    let (mut client, mut server) = (session("framing=length"), session("framing=length"));
    let mut rounds = 0;
    loop {
        send(&mut server, &[0; 10_000]).unwrap();
        deliver(&mut server, &mut client);
        let Err(error) = client.begin_call(None).map(|_| ()) else {
            send(&mut server, b"reply").unwrap();
            deliver(&mut server, &mut client);
            reply(&mut client, Instant::now()).1.unwrap();
            rounds += 1;
            continue;
        };
        assert_eq!(error.kind(), ErrorKind::BadPeer);
        break;
    }
    assert_eq!(rounds, (1 << 20) / (10_000 + MESSAGE_COST));
}

#[test]
fn a_late_reply_is_dropped_and_answers_no_other_call() {
    let (mut client, mut server) = (session("framing=lines"), session("framing=lines"));
    let now = Instant::now();
    let soon = now + Duration::from_millis(5);
    let slow = call(&mut client, b"slow", Some(soon));
    assert_eq!(client.next_deadline(), Some(soon));
    deliver(&mut client, &mut server);
    let (ended, outcome) = reply(&mut client, soon);
    assert_eq!(ended, slow);
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::DeadlineExceeded, Ran::Maybe));
    assert!(client.next_event(soon, false).is_none());
    assert_eq!(client.next_deadline(), None);

    let next = call(&mut client, b"next", None);
    send(&mut server, b"SLOW").unwrap();
    send(&mut server, b"NEXT").unwrap();
    deliver(&mut server, &mut client);
    let (answered, outcome) = reply(&mut client, soon);
    assert_eq!((answered, &outcome.unwrap()[..], client.late_replies()), (next, &b"NEXT"[..], 1));
}

#[test]
fn a_call_that_may_still_leave_may_run_although_the_peer_has_finished() {
    let mut client = session("framing=lines");
    let kept = call(&mut client, b"kept", None);
    client.input_mut().end();
    let (ended, outcome) = reply(&mut client, Instant::now());
    let error = outcome.unwrap_err();
    assert_eq!((ended, error.kind(), error.may_have_run()), (kept, ErrorKind::ConnectionLost, Ran::Maybe));
    assert_eq!(client.outbox()[0], b"kept\n", "it is still on its way");
}

#[test]
fn calls_that_can_no_longer_be_sent_end_at_once() {
    let mut client = session("framing=lines");
    let sent = call(&mut client, b"sent", None);
    client.written(client.outbox()[0].len());
    let halfway = call(&mut client, b"halfway", None);
    client.written(3);
    let kept = call(&mut client, b"kept", None);
    client.output_failed(client.error(ErrorKind::ConnectionLost, "sending to"));
    let (ended, outcome) = reply(&mut client, Instant::now());
    let error = outcome.unwrap_err();
    assert_eq!((ended, error.kind(), error.may_have_run()), (kept, ErrorKind::ConnectionLost, Ran::No));
    assert!(client.next_event(Instant::now(), false).is_none(), "what was sent may still be answered");
    client.input_mut().room().extend_from_slice(b"SENT\nHALFWAY\n");
    for (expected, text) in [(sent, "SENT"), (halfway, "HALFWAY")] {
        let (answered, outcome) = reply(&mut client, Instant::now());
        assert_eq!((answered, &outcome.unwrap()[..]), (expected, text.as_bytes()));
    }
}

#[test]
fn a_call_out_of_time_may_still_be_sent() {
    let mut client = session("framing=lines");
    let now = Instant::now();
    call(&mut client, b"slow", Some(now));
    let error = reply(&mut client, now).1.unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::DeadlineExceeded, Ran::Maybe));
    assert_eq!(client.outbox()[0], b"slow\n");
}

#[test]
fn the_end_is_clean_between_messages_and_an_error_inside_one() {
    let mut receiver = session("framing=lines");
    receiver.input_mut().room().extend_from_slice(b"whole\n");
    receiver.input_mut().end();
    assert_eq!(message(&mut receiver).as_deref(), Some("whole"));
    for _ in 0..2 {
        assert!(matches!(receiver.next_event(Instant::now(), true), Some(Event::Ended(None))));
    }

    let mut receiver = session("framing=lines");
    receiver.input_mut().room().extend_from_slice(b"whole\nhal");
    receiver.input_mut().end();
    assert_eq!(message(&mut receiver).as_deref(), Some("whole"));
    for _ in 0..2 {
        match receiver.next_event(Instant::now(), true) {
            Some(Event::Ended(Some(error))) => assert_eq!(error.kind(), ErrorKind::ConnectionLost),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_huge_length_takes_no_memory_and_ends_the_session() {
    let mut receiver = session("framing=length:u64&max=1GiB");
    receiver.input_mut().room().extend_from_slice(&(1u64 << 63).to_be_bytes());
    match receiver.next_event(Instant::now(), true) {
        Some(Event::Ended(Some(error))) => assert_eq!(error.kind(), ErrorKind::TooLarge),
        other => panic!("{other:?}"),
    }
    assert!(!receiver.input().wants_more());

    let mut receiver = session("framing=length:u64&max=1GiB");
    receiver.input_mut().room().extend_from_slice(&(1u64 << 30).to_be_bytes());
    assert!(receiver.next_event(Instant::now(), true).is_none());
    assert!(receiver.input_mut().room().capacity() <= 512 << 10, "room for what came, not for what was announced");
}

#[test]
fn reads_ahead_a_bounded_amount_but_a_whole_message_always() {
    let mut receiver = session("framing=length");
    receiver.input_mut().room().extend_from_slice(&(200_000u32).to_be_bytes());
    receiver.input_mut().room().extend_from_slice(&[0; 100_000]);
    assert!(receiver.next_event(Instant::now(), true).is_none());
    assert!(receiver.input().wants_more());
    receiver.input_mut().room().extend_from_slice(&[0; 100_000]);
    assert!(!receiver.input().wants_more());
    assert!(matches!(receiver.next_event(Instant::now(), true), Some(Event::Message(Ok(_)))));
    assert!(receiver.input().wants_more());
}

#[test]
fn text_that_is_none_fails_that_message_alone() {
    let mut receiver = session("framing=lines&text=true");
    receiver.input_mut().room().extend_from_slice(b"\xff\nfine\n");
    match receiver.next_event(Instant::now(), true) {
        Some(Event::Message(Err(error))) => assert_eq!(error.kind(), ErrorKind::BadPeer),
        other => panic!("{other:?}"),
    }
    assert_eq!(message(&mut receiver).as_deref(), Some("fine"));
    assert_eq!(send(&mut receiver, b"\xff").unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn an_http_request_is_refused_where_a_browser_can_reach() {
    for (input, refused) in [
        (&b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nhello\n"[..], true),
        (b"GET it done\n", false),
        (b"hello HTTP/1.1\n", false),
    ] {
        for cut in 0..input.len() {
            let mut receiver = session("framing=lines");
            receiver.input_mut().refuse_http();
            let mut event = None;
            for part in [&input[..cut], &input[cut..]] {
                receiver.input_mut().room().extend_from_slice(part);
                event = event.or_else(|| receiver.next_event(Instant::now(), true));
            }
            assert_eq!(matches!(event, Some(Event::Ended(Some(_)))), refused, "{event:?}");
        }
    }
}

#[test]
fn what_is_too_large_is_not_sent_and_the_session_lives() {
    let mut sender = session("framing=lines&max=4");
    assert_eq!(send(&mut sender, b"12345").unwrap_err().kind(), ErrorKind::TooLarge);
    send(&mut sender, b"1234").unwrap();
    assert_eq!(sender.outbox()[0], b"1234\n");
}

/// Has `receiver` take in `bytes`, and wait for more.
fn arrive(receiver: &mut Plain, bytes: &[u8]) {
    receiver.input_mut().room().extend_from_slice(bytes);
    while let Some(Event::Message(_)) = receiver.next_event(Instant::now(), true) {}
}

#[test]
fn a_session_that_waits_holds_no_more_than_what_has_arrived() {
    let frame = |size: usize| [&(size as u32).to_be_bytes()[..], &vec![b'x'; size]].concat();
    let mut receiver = session("framing=length");
    arrive(&mut receiver, &frame(60_000));
    assert_eq!(receiver.inbox.capacity(), 0);
    // What another has read in between stays its own.
    let mut other = session("framing=length");
    arrive(&mut other, &frame(60_000)[..50_000]);
    arrive(&mut receiver, &frame(1000)[..600]);
    assert!(receiver.inbox.capacity() < 1000, "{}", receiver.inbox.capacity());
    other.input_mut().room().extend_from_slice(&frame(60_000)[50_000..]);
    assert_eq!(message(&mut other).unwrap().len(), 60_000);
    receiver.input_mut().room().extend_from_slice(&frame(1000)[600..]);
    assert_eq!(message(&mut receiver).unwrap(), "x".repeat(1000));

    send(&mut receiver, &[b'x'; 60_000]).unwrap();
    deliver(&mut receiver, &mut other);
    assert_eq!(receiver.outbox.capacity(), 0);
}

#[test]
fn room_for_reading_is_used_again_unless_it_is_very_large() {
    let place = |session: &mut Plain| session.input_mut().room().as_ptr();
    let mut receiver = session("framing=length");
    let first = place(&mut receiver);
    receiver.input_mut().room().extend_from_slice(b"\0\0\0\x04room");
    let _held = receiver.next_event(Instant::now(), true);
    assert!(receiver.next_event(Instant::now(), true).is_none());
    assert_eq!(place(&mut session("framing=length")), first.wrapping_add(8), "behind what is still in use");
    let large = [&(2u32 << 20).to_be_bytes()[..], &vec![b'x'; 2 << 20]].concat();
    for part in large.chunks(256 << 10) {
        arrive(&mut receiver, part);
    }
    assert!(session("framing=length").input_mut().room().capacity() < 1 << 20);
}

#[test]
fn room_that_is_lent_is_not_given_away() {
    let mut receiver = session("framing=lines");
    receiver.input_mut().room().extend_from_slice(b"whole\nhal");
    let mut lent = receiver.input_mut().lend();
    assert!(receiver.next_event(Instant::now(), true).is_none());
    lent.extend_from_slice(b"f\n");
    receiver.input_mut().take_back(lent);
    assert_eq!(message(&mut receiver).as_deref(), Some("whole"));
    assert_eq!(message(&mut receiver).as_deref(), Some("half"));
    assert!(receiver.next_event(Instant::now(), true).is_none());
    assert_eq!(receiver.inbox.capacity(), 0, "it is shared once it is back");
}

fn datagrams(may_be_lost: bool) -> Plain {
    let mut session = session("max=100");
    session.use_packets(100, true);
    session.use_datagrams(may_be_lost);
    session
}

fn packet(session: &mut Plain, message: &[u8]) {
    session.input_mut().room().extend_from_slice(&(message.len() as u32).to_be_bytes());
    session.input_mut().room().extend_from_slice(message);
}

/// Takes what may be written, as messages.
fn sent(session: &mut Plain) -> Vec<String> {
    let mut sent = Vec::new();
    let mut rest = session.outbox()[0];
    while let Some((length, after)) = rest.split_first_chunk() {
        let (packet, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        sent.push(String::from_utf8(packet.to_vec()).unwrap());
        rest = after;
    }
    session.written(session.outbox()[0].len());
    sent
}

#[test]
fn a_datagram_that_is_too_large_fails_that_message_alone() {
    let mut session = datagrams(false);
    session.input_mut().room().extend_from_slice(&101u32.to_be_bytes());
    packet(&mut session, b"");
    packet(&mut session, b"fits");
    match session.next_event(Instant::now(), true) {
        Some(Event::Message(Err(error))) => assert_eq!(error.kind(), ErrorKind::TooLarge),
        other => panic!("{other:?}"),
    }
    assert_eq!(message(&mut session).unwrap(), "");
    assert_eq!(message(&mut session).unwrap(), "fits");
    call(&mut session, b"", None);
    session.input_mut().room().extend_from_slice(&101u32.to_be_bytes());
    let (_, outcome) = reply(&mut session, Instant::now());
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::TooLarge, Ran::Maybe));
}

#[test]
fn where_messages_may_be_lost_one_call_at_a_time_is_on_its_way() {
    let mut session = datagrams(true);
    let now = Instant::now();
    let first = call(&mut session, b"first", None);
    assert!(session.goes_first() || session.unwritten() > 0);
    let second = call(&mut session, b"second", None);
    send(&mut session, b"after").unwrap();
    assert_eq!(sent(&mut session), ["first"]);
    packet(&mut session, b"FIRST");
    let (call, outcome) = reply(&mut session, now);
    assert_eq!((call, &*outcome.unwrap()), (first, &b"FIRST"[..]));
    assert!(!session.take_stale());
    assert_eq!(sent(&mut session), ["second", "after"]);
    packet(&mut session, b"SECOND");
    assert_eq!(reply(&mut session, now).0, second);
    assert!(session.goes_first());
}

#[test]
fn a_call_out_of_time_leaves_no_place_and_one_that_waited_is_withdrawn() {
    let mut session = datagrams(true);
    let now = Instant::now();
    let at = |ms| Some(now + Duration::from_millis(ms));
    let first = call(&mut session, b"first", at(20));
    let second = call(&mut session, b"second", at(10));
    let third = call(&mut session, b"third", at(99));
    assert_eq!(sent(&mut session), ["first"]);
    let (ended, outcome) = reply(&mut session, now + Duration::from_millis(15));
    let error = outcome.unwrap_err();
    assert_eq!((ended, error.kind(), error.may_have_run()), (second, ErrorKind::DeadlineExceeded, Ran::No));
    assert!(!session.take_stale(), "nothing of it was sent");
    let (ended, outcome) = reply(&mut session, now + Duration::from_millis(25));
    assert_eq!((ended, outcome.unwrap_err().may_have_run()), (first, Ran::Maybe));
    assert!(session.take_stale());
    assert_eq!(sent(&mut session), ["third"]);
    session.abandon(third);
    assert!(session.take_stale());
    assert!(!session.is_calling());
}

#[test]
fn a_refusal_ends_the_call_on_its_way_or_is_told_once() {
    let mut session = datagrams(true);
    let now = Instant::now();
    let refusal = |session: &Plain| session.error(ErrorKind::Refused, "receiving from");
    let first = call(&mut session, b"first", None);
    call(&mut session, b"second", None);
    assert_eq!(sent(&mut session), ["first"]);
    session.datagram_refused(refusal(&session));
    let (ended, outcome) = reply(&mut session, now);
    let error = outcome.unwrap_err();
    assert_eq!((ended, error.kind(), error.may_have_run()), (first, ErrorKind::Refused, Ran::Maybe));
    assert_eq!(sent(&mut session), ["second"]);
    packet(&mut session, b"SECOND");
    reply(&mut session, now).1.unwrap();
    session.datagram_refused(refusal(&session));
    assert!(session.next_event(now, false).is_none());
    assert!(matches!(session.next_event(now, true), Some(Event::Message(Err(_)))));
    assert!(session.next_event(now, true).is_none());
    assert!(session.take_refusal().is_none());
}

#[test]
fn where_nothing_is_lost_one_call_at_a_time_is_on_its_way_too() {
    let mut session = datagrams(false);
    let now = Instant::now();
    let first = call(&mut session, b"first", Some(now));
    let second = call(&mut session, b"second", None);
    assert_eq!(sent(&mut session), ["first"]);
    assert_eq!(reply(&mut session, now).0, first);
    // A handler may have failed: nothing says whether what comes next is this call's reply or the next one's.
    assert!(session.take_stale());
    assert_eq!(sent(&mut session), ["second"]);
    packet(&mut session, b"SECOND");
    let (ended, outcome) = reply(&mut session, now);
    assert_eq!((ended, &*outcome.unwrap()), (second, &b"SECOND"[..]));
}
