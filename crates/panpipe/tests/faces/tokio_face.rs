use std::time::{Duration, Instant};

use panpipe::plain::Server;
use panpipe::{Bytes, ErrorKind, Ran};

use crate::{ADDRESSES, with};

async fn upper(address: &str, options: &str) -> Server {
    let upper = |message: Bytes| async move { message.to_ascii_uppercase() };
    panpipe::plain::serve(&with(address, options), upper).await.unwrap()
}

#[tokio::test]
async fn the_founding_example_over_every_address_and_framing() {
    for address in ADDRESSES {
        for framing in
            ["raw", "lines", "nul", "length", "length:u8", "length:u64le", "netstring", "varint", "content-length"]
        {
            let server = upper(address, &format!("framing={framing}")).await;
            let peer = panpipe::plain::connect(server.address()).await.unwrap();
            let reply = peer.call("Hello, server!").await.unwrap();
            assert_eq!(reply, "HELLO, SERVER!", "{}", server.address());
            peer.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn many_calls_in_flight_each_get_their_own_reply() {
    let server = upper("unix:@panpipe-test-*", "framing=length").await;
    let peer = std::sync::Arc::new(panpipe::plain::connect(server.address()).await.unwrap());
    let calls: Vec<_> = (0..2000)
        .map(|number| {
            let peer = std::sync::Arc::clone(&peer);
            tokio::spawn(async move { (number, peer.call(format!("call {number}")).await.unwrap()) })
        })
        .collect();
    for call in calls {
        let (number, reply) = call.await.unwrap();
        assert_eq!(reply, format!("CALL {number}"));
    }
}

#[tokio::test]
async fn huge_messages_arrive_whole_both_ways() {
    for address in ADDRESSES {
        let server = upper(address, "framing=length").await;
        let peer = panpipe::plain::connect(server.address()).await.unwrap();
        let huge: Vec<u8> = (0..8_000_000).map(|at| b'a' + (at % 23) as u8).collect();
        assert_eq!(peer.call(&huge).await.unwrap(), huge.to_ascii_uppercase());
    }
}

#[tokio::test]
async fn both_sides_send_without_a_deadlock() {
    let (one, other) = panpipe::plain::pair("framing=length").unwrap();
    let message = vec![b'x'; 1 << 20];
    let send = |peer: &panpipe::plain::Connection| {
        let message = &message;
        let peer: *const panpipe::plain::Connection = peer;
        // SAFETY: both connections outlive the join below.
        let peer = unsafe { &*peer };
        async move {
            for _ in 0..64 {
                peer.send(message).await.unwrap();
            }
        }
    };
    let count = async |peer: &panpipe::plain::Connection| {
        for _ in 0..64 {
            assert_eq!(peer.recv().await.unwrap().unwrap().len(), 1 << 20);
        }
    };
    tokio::join!(send(&one), send(&other), count(&one), count(&other));
}

#[tokio::test]
async fn a_slow_and_a_silent_client_delay_nobody() {
    let slow_then_fast = |message: Bytes| async move {
        if message.starts_with(b"slow") {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        message
    };
    let server = panpipe::plain::serve("unix:@panpipe-test-*?framing=lines", slow_then_fast).await.unwrap();
    let _silent = panpipe::plain::connect(server.address()).await.unwrap();
    let slow = panpipe::plain::connect(server.address()).await.unwrap();
    slow.send("slow").await.unwrap();
    let peer = panpipe::plain::connect(server.address()).await.unwrap();
    let started = Instant::now();
    assert_eq!(peer.call("fast").await.unwrap(), "fast");
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_reply_does_not_wait_for_a_slow_request_behind_it() {
    let handler = |message: Bytes| async move {
        if message == "slow" {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        message
    };
    let server = panpipe::plain::serve("unix:@panpipe-test-*?framing=lines", handler).await.unwrap();
    let peer = panpipe::plain::connect(server.address()).await.unwrap();
    peer.send("fast").await.unwrap();
    peer.send("slow").await.unwrap();
    let reply = tokio::time::timeout(Duration::from_secs(30), peer.recv()).await.unwrap();
    assert_eq!(reply.unwrap().unwrap(), "fast");
}

#[tokio::test]
async fn recv_answers_none_after_a_clean_close_and_an_error_after_a_cut() {
    let listener = panpipe::plain::listen("unix:@panpipe-test-*?framing=length").await.unwrap();
    let peer = panpipe::plain::connect(listener.address()).await.unwrap();
    let accepted = listener.accept().await.unwrap().unwrap();
    accepted.send("last").await.unwrap();
    accepted.close().await.unwrap();
    assert_eq!(peer.recv().await.unwrap().unwrap(), "last");
    assert!(peer.recv().await.unwrap().is_none());
    assert!(peer.recv().await.unwrap().is_none());

    use tokio::io::AsyncWriteExt;
    let listener = panpipe::plain::listen("tcp://127.0.0.1:0?framing=length").await.unwrap();
    let place = listener.address().trim_start_matches("tcp://").split('?').next().unwrap().to_owned();
    let mut plain = tokio::net::TcpStream::connect(place).await.unwrap();
    let accepted = listener.accept().await.unwrap().unwrap();
    plain.write_all(b"\0\0\0\x05hel").await.unwrap();
    drop(plain);
    assert_eq!(accepted.recv().await.unwrap_err().kind(), ErrorKind::ConnectionLost);
}

#[tokio::test]
async fn a_client_that_has_finished_sending_still_gets_its_answers() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = upper("tcp://127.0.0.1:0", "framing=lines").await;
    let place = server.address().trim_start_matches("tcp://").split('?').next().unwrap().to_owned();
    let mut plain = tokio::net::TcpStream::connect(place).await.unwrap();
    plain.write_all(b"one\ntwo\n").await.unwrap();
    plain.shutdown().await.unwrap();
    let mut answers = String::new();
    plain.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers, "ONE\nTWO\n");
}

#[tokio::test]
async fn a_call_out_of_time_says_maybe_and_its_late_reply_is_dropped() {
    let listener = panpipe::plain::listen("unix:@panpipe-test-*?framing=lines&timeout=50ms").await.unwrap();
    let peer = panpipe::plain::connect(listener.address()).await.unwrap();
    let accepted = listener.accept().await.unwrap().unwrap();
    let error = peer.call("first").await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::DeadlineExceeded, Ran::Maybe));
    assert_eq!(accepted.recv().await.unwrap().unwrap(), "first");
    let answer = async {
        assert_eq!(accepted.recv().await.unwrap().unwrap(), "second");
        accepted.send("FIRST").await.unwrap();
        accepted.send("SECOND").await.unwrap();
    };
    let (reply, ()) = tokio::join!(peer.call_within(Duration::from_secs(30), "second"), answer);
    assert_eq!(reply.unwrap(), "SECOND");
}

#[tokio::test]
async fn a_cancelled_recv_and_call_lose_nothing() {
    let (one, other) = panpipe::plain::pair("framing=lines").unwrap();
    for _ in 0..3 {
        assert!(tokio::time::timeout(Duration::from_millis(2), one.recv()).await.is_err());
        assert!(tokio::time::timeout(Duration::from_millis(2), one.call("given up")).await.is_err());
        assert_eq!(other.recv().await.unwrap().unwrap(), "given up");
    }
    for late in ["late 1", "late 2", "late 3", "message"] {
        other.send(late).await.unwrap();
    }
    assert_eq!(one.recv().await.unwrap().unwrap(), "message");
}

#[tokio::test]
async fn waiting_calls_fail_when_the_peer_goes() {
    let (one, other) = panpipe::plain::pair("framing=lines").unwrap();
    let gone = async {
        other.recv().await.unwrap();
        drop(other);
    };
    let (outcome, ()) = tokio::join!(one.call("anybody?"), gone);
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::ConnectionLost, Ran::Maybe));
    let error = one.call("still?").await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::ConnectionLost, Ran::No));
}

#[tokio::test]
async fn what_was_sent_before_a_drop_still_arrives() {
    let (one, other) = panpipe::plain::pair("framing=length").unwrap();
    let message = vec![7; 3 << 20];
    one.send(&message).await.unwrap();
    drop(one);
    assert_eq!(other.recv().await.unwrap().unwrap(), message);
    assert!(other.recv().await.unwrap().is_none());
}

#[tokio::test]
async fn a_failing_handler_closes_its_connection_and_no_other() {
    let handler = |message: Bytes| async move { if message == "bad" { Err("no such thing") } else { Ok(message) } };
    let server = panpipe::plain::serve("unix:@panpipe-test-*?framing=lines", handler).await.unwrap();
    let (bad, good) =
        tokio::join!(panpipe::plain::connect(server.address()), panpipe::plain::connect(server.address()));
    let (bad, good) = (bad.unwrap(), good.unwrap());
    assert_eq!(bad.call("good").await.unwrap(), "good");
    assert_eq!(bad.call("bad").await.unwrap_err().kind(), ErrorKind::ConnectionLost);
    assert_eq!(good.call("good").await.unwrap(), "good");
}

#[tokio::test]
async fn a_closed_server_leaves_no_socket_file_and_answers_nobody() {
    let server = upper("unix:/tmp/panpipe-test-*", "framing=lines").await;
    let address = server.address().to_owned();
    let path = address.trim_start_matches("unix:").split('?').next().unwrap().to_owned();
    let peer = panpipe::plain::connect(&address).await.unwrap();
    assert_eq!(peer.call("x").await.unwrap(), "X");
    server.close().await.unwrap();
    assert!(!std::path::Path::new(&path).exists());
    assert!(peer.recv().await.unwrap().is_none());
    assert_eq!(panpipe::plain::connect(&address).await.err().unwrap().kind(), ErrorKind::NotFound);
}
