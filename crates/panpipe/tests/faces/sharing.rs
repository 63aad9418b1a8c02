//! Many tasks on one connection or listener, some of which do not go on: nobody waits for them.

use std::future::{Future, poll_fn};
use std::io::Write;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use panpipe::plain::Connection;
use panpipe::{Bytes, ErrorKind, Ran};
use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;
use tokio::time::timeout;

/// How long a test waits for what must come: only a failure takes so long.
const NET: Duration = Duration::from_secs(10);

/// More than the system takes and than may wait to be written.
const MUCH: usize = 4 << 20;

/// Polls once, in the task that calls this.
async fn begin<T>(mut waiting: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await
}

/// Polls once what has nothing to answer yet.
async fn begin_to_wait<T>(waiting: Pin<&mut impl Future<Output = T>>) {
    assert!(begin(waiting).await.is_pending());
}

/// Answers each message with itself, in the background.
fn echo(peer: Connection) {
    tokio::spawn(async move {
        while let Ok(Some(message)) = peer.recv().await {
            if peer.send(message).await.is_err() {
                break;
            }
        }
    });
}

/// A connection and the bare socket at its other end.
async fn over_a_bare_socket() -> (Connection, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let connection =
        panpipe::plain::connect(&format!("fd:{}?framing=lines&timeout=10s", ours.as_raw_fd())).await.unwrap();
    (connection, theirs)
}

#[tokio::test]
async fn a_call_that_is_held_unpolled_does_not_keep_the_next_one_from_its_reply() {
    let (one, other) = panpipe::plain::pair("framing=lines&timeout=10s").unwrap();
    echo(other);
    let mut held = pin!(one.call("held"));
    begin_to_wait(held.as_mut()).await;
    assert_eq!(one.call("next").await.unwrap(), "next");
    assert_eq!(held.await.unwrap(), "held");
}

#[tokio::test]
async fn a_recv_that_is_held_unpolled_does_not_keep_a_call_from_its_reply() {
    let (one, other) = panpipe::plain::pair("framing=lines&timeout=10s").unwrap();
    echo(other);
    let mut held = pin!(one.recv());
    begin_to_wait(held.as_mut()).await;
    assert_eq!(one.call("ping").await.unwrap(), "ping");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recv_held_by_a_task_that_does_other_things_does_not_keep_others_from_their_replies() {
    let (one, other) = panpipe::plain::pair("framing=lines&timeout=10s").unwrap();
    echo(other);
    let one = Arc::new(one);
    let (began, begun) = oneshot::channel();
    let holder = tokio::spawn({
        let one = Arc::clone(&one);
        async move {
            let mut held = pin!(one.recv());
            begin_to_wait(held.as_mut()).await;
            began.send(()).unwrap();
            std::future::pending::<()>().await;
        }
    });
    begun.await.unwrap();
    for round in 0..100 {
        let message = format!("round {round}");
        assert_eq!(one.call(&message).await.unwrap(), message);
    }
    holder.abort();
}

#[tokio::test]
async fn messages_that_come_in_one_burst_reach_all_who_wait() {
    let (one, mut other) = over_a_bare_socket().await;
    let one = Arc::new(one);
    let receiver = || {
        let one = Arc::clone(&one);
        tokio::spawn(async move { one.recv().await.unwrap().unwrap() })
    };
    let receivers = [receiver(), receiver(), receiver()];
    // Each begins to wait.
    yield_now().await;
    other.write_all(b"a\nb\nc\n").unwrap();
    let mut received = Vec::new();
    for receiver in receivers {
        received.push(timeout(NET, receiver).await.expect("one burst is enough").unwrap());
    }
    received.sort();
    assert_eq!(received, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_call_gets_its_reply_when_those_before_it_are_dropped_one_after_another() {
    let (one, other) = panpipe::plain::pair("framing=lines&timeout=10s").unwrap();
    let one = Arc::new(one);
    let (mut first, mut second) = (Box::pin(one.call("first")), Box::pin(one.call("second")));
    begin_to_wait(first.as_mut()).await;
    begin_to_wait(second.as_mut()).await;
    let last = tokio::spawn({
        let one = Arc::clone(&one);
        async move { one.call("last").await }
    });
    yield_now().await;
    // The second may be the one to go on for the first, but has no time to.
    drop(first);
    drop(second);
    echo(other);
    assert_eq!(last.await.unwrap().unwrap(), "last");
}

#[tokio::test]
async fn a_call_that_finds_no_room_in_time_was_not_sent() {
    let (one, other) = panpipe::plain::pair("framing=lines").unwrap();
    one.send(vec![b'x'; MUCH]).await.unwrap();
    let late = one.call_within(Duration::from_millis(20), "late");
    let error = timeout(NET, late).await.expect("it has a deadline").unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::DeadlineExceeded, Ran::No));
    assert_eq!(other.recv().await.unwrap().unwrap().len(), MUCH);
    one.send("next").await.unwrap();
    assert_eq!(other.recv().await.unwrap().unwrap(), "next");
}

#[tokio::test]
async fn a_call_that_waits_behind_another_message_may_still_run_after_its_deadline() {
    let (one, other) = panpipe::plain::pair("framing=lines").unwrap();
    // More than the system takes, and less than makes callers wait for room.
    one.send(vec![b'x'; 900 << 10]).await.unwrap();
    let error = one.call_within(Duration::from_millis(20), "debit").await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::DeadlineExceeded, Ran::Maybe));
    assert_eq!(other.recv().await.unwrap().unwrap().len(), 900 << 10);
    assert_eq!(other.recv().await.unwrap().unwrap(), "debit");
}

#[tokio::test]
async fn senders_that_give_up_leave_nothing_behind() {
    struct Nobody;
    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    let (one, _other) = panpipe::plain::pair("framing=lines").unwrap();
    one.send(vec![b'x'; MUCH]).await.unwrap();
    let nobody = Arc::new(Nobody);
    let waker = Waker::from(Arc::clone(&nobody));
    for _ in 0..1000 {
        assert!(pin!(one.send("given up")).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    drop(waker);
    assert!(Arc::strong_count(&nobody) <= 2, "{} wakers are kept", Arc::strong_count(&nobody) - 1);
}

#[tokio::test]
async fn a_server_closes_at_once_under_a_peer_that_leaves_its_replies_unread() {
    let handled = Arc::new(AtomicUsize::new(0));
    let handler = {
        let handled = Arc::clone(&handled);
        move |_: Bytes| {
            handled.fetch_add(1, Ordering::Relaxed);
            async { vec![b'x'; MUCH] }
        }
    };
    let server = panpipe::plain::serve("unix:@panpipe-test-*?framing=length", handler).await.unwrap();
    let peer = panpipe::plain::connect(server.address()).await.unwrap();
    for _ in 0..3 {
        peer.send("go").await.unwrap();
    }
    while handled.load(Ordering::Relaxed) == 0 {
        yield_now().await;
    }
    timeout(NET / 2, server.close()).await.expect("it does not wait for room").unwrap();
    assert_eq!(handled.load(Ordering::Relaxed), 1, "without room no more requests are handled");
}

#[tokio::test(start_paused = true)]
async fn a_server_gives_its_last_reply_ten_seconds_to_be_read() {
    let answered = Arc::new(Notify::new());
    let handler = {
        let answered = Arc::clone(&answered);
        move |_: Bytes| {
            answered.notify_one();
            // More than the system takes, and less than makes the server wait for room.
            async { vec![b'x'; 900 << 10] }
        }
    };
    let server = panpipe::plain::serve("unix:@panpipe-test-*?framing=length", handler).await.unwrap();
    let peer = panpipe::plain::connect(server.address()).await.unwrap();
    peer.send("go").await.unwrap();
    answered.notified().await;
    let closing = tokio::time::Instant::now();
    timeout(6 * NET, server.close()).await.expect("its time is limited").unwrap();
    let took = closing.elapsed();
    assert!((Duration::from_secs(10)..Duration::from_secs(15)).contains(&took), "{took:?}");
}

#[test]
fn a_call_ends_when_the_runtime_of_its_connection_is_gone() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The task that drives a connection may not even have begun.
    for has_begun in [true, false] {
        let first = runtime();
        let (one, _other) = {
            let _inside = first.enter();
            panpipe::plain::pair("framing=lines&timeout=60s").unwrap()
        };
        if has_begun {
            first.block_on(yield_now());
        }
        drop(first);
        let call = async { timeout(NET, one.call("x")).await.expect("it ends") };
        let error = runtime().block_on(call).unwrap_err();
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Closed, Ran::No), "{has_begun}");
    }
}

#[tokio::test]
async fn a_call_that_cannot_be_sent_does_not_wait_for_its_deadline() {
    let (one, other) = over_a_bare_socket().await;
    // It takes nothing more, and may still send.
    other.shutdown(Shutdown::Read).unwrap();
    assert_eq!(one.call("x").await.unwrap_err().kind(), ErrorKind::ConnectionLost);
}

#[tokio::test]
async fn a_task_that_gives_up_accepting_takes_no_wake_up_from_another() {
    let listener = Arc::new(panpipe::plain::listen("unix:@panpipe-test-*?framing=length").await.unwrap());
    let accept = || {
        let listener = Arc::clone(&listener);
        tokio::spawn(async move { listener.accept().await.unwrap().unwrap() })
    };
    let first = accept();
    yield_now().await;
    let second = accept();
    yield_now().await;
    second.abort();
    assert!(second.await.is_err_and(|ended| ended.is_cancelled()));
    let _peer = panpipe::plain::connect(listener.address()).await.unwrap();
    timeout(NET, first).await.expect("it is woken").unwrap();
}

#[tokio::test]
async fn a_send_to_a_peer_that_is_gone_says_so() {
    let (one, other) = panpipe::plain::pair("framing=lines").unwrap();
    other.close().await.unwrap();
    assert!(one.recv().await.unwrap().is_none());
    assert_eq!(one.send("x").await.unwrap_err().kind(), ErrorKind::ConnectionLost);
}

#[tokio::test]
async fn the_time_of_a_call_begins_with_the_call_in_a_long_turn_too() {
    let (one, _other) = panpipe::plain::pair("framing=lines").unwrap();
    one.send("x").await.unwrap();
    // The task computes.
    std::thread::sleep(Duration::from_millis(60));
    let begun = Instant::now();
    let error = one.call_within(Duration::from_millis(50), "nobody answers").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(begun.elapsed() >= Duration::from_millis(50), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_call_gets_its_own_reply_while_others_are_dropped_at_any_point() {
    let (one, other) = panpipe::plain::pair("framing=lines&timeout=10s").unwrap();
    echo(other);
    let one = Arc::new(one);
    let tasks: Vec<_> = (0..32).map(|number| tokio::spawn(call_and_drop(Arc::clone(&one), number))).collect();
    for task in tasks {
        timeout(2 * NET, task).await.expect("no call hangs").unwrap();
    }
}

async fn call_and_drop(one: Arc<Connection>, number: u64) {
    let mut seed = number * 7919 + 1;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for round in 0..1500 {
        let message = format!("task {number} round {round}");
        let mut call = pin!(one.call(&message));
        match random(6) {
            // Given up at any time.
            0 => drop(timeout(Duration::from_micros(random(300)), call).await),
            // Given up unpolled, a little later.
            1 => {
                let _ = begin(call.as_mut()).await;
                for _ in 0..random(3) {
                    yield_now().await;
                }
            }
            // Held while another one is awaited.
            2 => {
                let reply = begin(call.as_mut()).await;
                assert_eq!(one.call("within").await.unwrap(), "within");
                match reply {
                    Poll::Ready(reply) => assert_eq!(reply.unwrap(), message),
                    Poll::Pending if random(2) == 0 => assert_eq!(call.await.unwrap(), message),
                    Poll::Pending => {}
                }
            }
            3 => {
                let (reply, another) = tokio::join!(call, one.call("at once"));
                assert_eq!((reply.unwrap(), another.unwrap()), (Bytes::from(message), Bytes::from("at once")));
            }
            // Beside somebody who waits for a message in vain.
            4 => {
                let mut receiving = pin!(one.recv());
                begin_to_wait(receiving.as_mut()).await;
                yield_now().await;
                assert_eq!(call.await.unwrap(), message);
            }
            _ => assert_eq!(call.await.unwrap(), message),
        }
    }
}
