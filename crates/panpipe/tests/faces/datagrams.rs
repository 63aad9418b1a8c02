//! `udp://` and `unix-dgram:`: messages that stand for themselves.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use panpipe::plain::blocking;
use panpipe::{Bytes, ErrorKind, Ran};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

const PLACES: [&str; 4] =
    ["udp://localhost:0", "udp://[::1]:0", "unix-dgram:/tmp/panpipe-test-*", "unix-dgram:@panpipe-test-*"];

/// What is found at `unix-dgram:PATH`.
fn path(address: &str) -> &str {
    address.trim_start_matches("unix-dgram:").split('?').next().unwrap()
}

/// A plain socket that waits ten seconds at most, and the address that panpipe reaches it at.
fn plain() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let address = format!("udp://{}", socket.local_addr().unwrap());
    (socket, address)
}

/// A plain socket that sends to a UDP listener.
fn plain_to(address: &str) -> UdpSocket {
    let port = address.split('?').next().unwrap().rsplit(':').next().unwrap();
    let (socket, _) = plain();
    socket.connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    socket
}

fn next(socket: &UdpSocket) -> (String, std::net::SocketAddr) {
    let mut room = [0; 2000];
    let (count, from) = socket.recv_from(&mut room).unwrap();
    (String::from_utf8(room[..count].to_vec()).unwrap(), from)
}

#[tokio::test]
async fn the_founding_example() {
    for place in PLACES {
        let upper = |message: Bytes| async move { message.to_ascii_uppercase() };
        let server = panpipe::plain::serve(place, upper).await.unwrap();
        let peer = panpipe::plain::connect(server.address()).await.unwrap();
        assert_eq!(peer.call("Hello, server!").await.unwrap(), "HELLO, SERVER!");
        assert_eq!(peer.call("").await.unwrap(), "", "an empty datagram is a message");
        let calls: Vec<_> = (0..200).map(|number| peer.call(format!("call {number}"))).collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), format!("CALL {number}"));
        }
        peer.close().await.unwrap();
        server.close().await.unwrap();
    }
}

#[test]
fn the_founding_example_for_threads() {
    for place in PLACES {
        let listener = blocking::listen(place).unwrap();
        let address = listener.address().to_owned();
        std::thread::spawn(move || blocking::serve(listener, |message: Bytes| message.to_ascii_uppercase()));
        let peer = blocking::connect(&address).unwrap();
        for number in 0..200 {
            assert_eq!(peer.call(format!("call {number}")).unwrap(), format!("CALL {number}"));
        }
        assert_eq!(peer.call("").unwrap(), "");
    }
}

#[test]
fn several_senders_are_told_apart_and_answered() {
    for place in PLACES {
        let listener = blocking::listen(place).unwrap();
        let senders: Vec<_> = (0..5).map(|_| blocking::connect(listener.address()).unwrap()).collect();
        for (number, sender) in senders.iter().enumerate() {
            sender.send(format!("first of {number}")).unwrap();
        }
        let links: Vec<_> = senders.iter().map(|_| listener.accept().unwrap().unwrap()).collect();
        for (number, sender) in senders.iter().enumerate() {
            sender.send(format!("second of {number}")).unwrap();
        }
        for link in links.iter().rev() {
            let first = String::from_utf8(link.recv().unwrap().unwrap().to_vec()).unwrap();
            assert_eq!(link.recv().unwrap().unwrap(), first.replace("first", "second"));
            link.send(format!("to {first}")).unwrap();
        }
        for (number, sender) in senders.iter().enumerate() {
            assert_eq!(sender.recv().unwrap().unwrap(), format!("to first of {number}"));
        }
        let names: HashSet<_> = links.iter().map(|link| link.remote().address.unwrap()).collect();
        assert_eq!(names.len(), 5);
    }
}

#[tokio::test]
async fn a_server_drops_what_is_too_large_or_fails_and_nothing_else() {
    for place in ["udp://localhost:0?max=9", "unix-dgram:@panpipe-test-*?max=9"] {
        let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
        let server = panpipe::plain::serve(place, move |message: Bytes| {
            let heard = heard.clone();
            async move {
                // Those that come behind it wait.
                tokio::time::sleep(Duration::from_millis(10)).await;
                heard.send(message.clone()).unwrap();
                if message == "two" { Err("two is too much") } else { Ok(()) }
            }
        });
        let server = server.await.unwrap();
        let sender = panpipe::plain::connect(server.address().split('?').next().unwrap()).await.unwrap();
        for message in ["one", "two", "much too large", "three", "four"] {
            sender.send(message).await.unwrap();
        }
        for message in ["one", "two", "three", "four"] {
            let heard = tokio::time::timeout(Duration::from_secs(20), hears.recv()).await;
            assert_eq!(heard.expect(message).unwrap(), message, "{place}");
        }
        server.close().await.unwrap();
    }
}

#[test]
fn a_server_for_threads_drops_what_is_too_large_or_fails_and_nothing_else() {
    for place in ["udp://localhost:0?max=9", "unix-dgram:@panpipe-test-*?max=9"] {
        let (heard, hears) = std::sync::mpsc::channel();
        let listener = blocking::listen(place).unwrap();
        let address = listener.address().to_owned();
        std::thread::spawn(move || {
            blocking::serve(listener, move |message: Bytes| {
                std::thread::sleep(Duration::from_millis(10));
                heard.send(message.clone()).unwrap();
                if message == "two" { Err("two is too much") } else { Ok(()) }
            })
        });
        let sender = blocking::connect(address.split('?').next().unwrap()).unwrap();
        for message in ["one", "two", "much too large", "three", "four"] {
            sender.send(message).unwrap();
        }
        for message in ["one", "two", "three", "four"] {
            assert_eq!(hears.recv_timeout(Duration::from_secs(20)).expect(message), message, "{place}");
        }
    }
}

#[test]
fn what_is_too_large_is_never_cut_and_ends_nothing() {
    let listener = blocking::listen("udp://127.0.0.1:0").unwrap();
    let sender = plain_to(listener.address());
    for message in ["first".to_owned(), "x".repeat(1201), String::new(), "y".repeat(1200)] {
        sender.send(message.as_bytes()).unwrap();
    }
    let link = listener.accept().unwrap().unwrap();
    assert_eq!(link.recv().unwrap().unwrap(), "first");
    assert_eq!(link.recv().unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(link.recv().unwrap().unwrap(), "");
    assert_eq!(link.recv().unwrap().unwrap(), "y".repeat(1200));
    assert_eq!(link.send(vec![0; 1201]).unwrap_err().kind(), ErrorKind::TooLarge);

    let (receiver, address) = plain();
    let peer = blocking::connect(&format!("{address}?max=1MiB")).unwrap();
    let error = peer.send(vec![0; 65_508]).unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::TooLarge, Ran::No));
    peer.send(vec![0; 65_507]).unwrap();
    let (count, from) = receiver.recv_from(&mut [0; 70_000]).unwrap();
    assert_eq!(count, 65_507);
    let small = blocking::connect(&format!("{address}?max=10")).unwrap();
    small.send("0123456789").unwrap();
    let (_, from_small) = receiver.recv_from(&mut [0; 70_000]).unwrap();
    assert_ne!(from, from_small);
    receiver.send_to(b"eleven more", from_small).unwrap();
    receiver.send_to(b"fits", from_small).unwrap();
    assert_eq!(small.recv().unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(small.recv().unwrap().unwrap(), "fits");
}

#[test]
fn a_unix_datagram_above_max_is_an_error_of_that_message() {
    let listener = blocking::listen("unix-dgram:@panpipe-test-*?max=1000").unwrap();
    let sender = blocking::connect(listener.address().split('?').next().unwrap()).unwrap();
    for size in [10, 1001, 1000] {
        sender.send(vec![b'x'; size]).unwrap();
    }
    let link = listener.accept().unwrap().unwrap();
    assert_eq!(link.recv().unwrap().unwrap().len(), 10);
    assert_eq!(link.recv().unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(link.recv().unwrap().unwrap().len(), 1000);
    assert_eq!(sender.send(vec![0; 1 << 20]).unwrap_err().kind(), ErrorKind::TooLarge);
    sender.send("fine").unwrap();
}

#[tokio::test]
async fn a_call_to_a_silent_server_ends_at_its_deadline_and_may_have_run() {
    let (_server, address) = plain();
    let path = format!("/tmp/panpipe-test-silent-{}", std::process::id());
    let _unix = UnixDatagram::bind(&path).unwrap();
    for address in [address, format!("unix-dgram:{path}")] {
        let address = format!("{address}?timeout=30ms");
        let error = panpipe::plain::connect(&address).await.unwrap().call("anybody?").await.unwrap_err();
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::DeadlineExceeded, Ran::Maybe));
        let error = blocking::connect(&address).unwrap().call("anybody?").unwrap_err();
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::DeadlineExceeded, Ran::Maybe));
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_late_reply_answers_no_later_call() {
    let (server, address) = plain();
    let peer = blocking::connect(&address).unwrap();
    let mut ports = HashSet::new();
    for round in 0..20 {
        let error = peer.call_within(Duration::from_millis(1), format!("lost {round}")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        let (_, late) = next(&server);
        std::thread::scope(|scope| {
            let call = scope.spawn(|| peer.call(format!("call {round}")).unwrap());
            let (asked, from) = next(&server);
            server.send_to(b"too late", late).unwrap();
            server.send_to(asked.to_uppercase().as_bytes(), from).unwrap();
            assert_eq!(call.join().unwrap(), format!("CALL {round}"));
            ports.insert(from.port());
        });
    }
    assert!(ports.len() > 15, "each lost call moves the connection to a port of its own");
}

#[tokio::test]
async fn a_lost_call_shifts_no_reply() {
    let (server, address) = plain();
    let answering = std::thread::spawn(move || {
        for _ in 0..4 {
            let (asked, from) = next(&server);
            if asked != "call 1" {
                server.send_to(asked.to_uppercase().as_bytes(), from).unwrap();
            }
        }
    });
    let peer = panpipe::plain::connect(&address).await.unwrap();
    let within = |number: u64| peer.call_within(Duration::from_millis(100 * number), format!("call {number}"));
    let calls = [within(20), within(1), within(21), within(22)];
    let [zero, one, two, three] = calls;
    assert_eq!(zero.await.unwrap(), "CALL 20");
    assert_eq!(one.await.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    assert_eq!(two.await.unwrap(), "CALL 21");
    assert_eq!(three.await.unwrap(), "CALL 22");
    answering.join().unwrap();
}

#[tokio::test]
async fn a_call_that_waited_behind_another_to_its_deadline_did_not_run() {
    let (server, address) = plain();
    let peer = panpipe::plain::connect(&address).await.unwrap();
    let first = peer.call_within(Duration::from_millis(150), "first");
    let second = peer.call_within(Duration::from_millis(50), "second");
    let error = second.await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::DeadlineExceeded, Ran::No));
    assert_eq!(first.await.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    peer.send("third").await.unwrap();
    assert_eq!([next(&server).0, next(&server).0], ["first", "third"]);
}

#[tokio::test]
async fn a_call_that_is_given_up_makes_way_for_the_next() {
    let (server, address) = plain();
    let answering = std::thread::spawn(move || {
        assert_eq!(next(&server).0, "first");
        let (asked, from) = next(&server);
        server.send_to(asked.to_uppercase().as_bytes(), from).unwrap();
    });
    let peer = panpipe::plain::connect(&address).await.unwrap();
    let (first, second) = (peer.call("first"), peer.call("second"));
    drop(first);
    assert_eq!(second.await.unwrap(), "SECOND");
    answering.join().unwrap();
}

#[tokio::test]
async fn nobody_there_is_refused_and_a_server_that_comes_later_is_reached() {
    let (gone, address) = plain();
    let place = gone.local_addr().unwrap();
    drop(gone);
    let threads = blocking::connect(&address).unwrap();
    let tasks = panpipe::plain::connect(&address).await.unwrap();
    for _ in 0..3 {
        let error = threads.call("anybody?").unwrap_err();
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Refused, Ran::Maybe));
        let error = tasks.call("anybody?").await.unwrap_err();
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Refused, Ran::Maybe));
    }
    threads.send("one").unwrap();
    let error = threads.send("two").unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Refused, Ran::No));
    threads.send("three").unwrap();
    assert_eq!(threads.recv().unwrap_err().kind(), ErrorKind::Refused);

    let server =
        panpipe::plain::serve(&format!("udp://{place}"), |message: Bytes| async move { message }).await.unwrap();
    assert_eq!(tasks.call("now?").await.unwrap(), "now?");
    tokio::task::spawn_blocking(move || assert_eq!(threads.call("now?").unwrap(), "now?")).await.unwrap();
    server.close().await.unwrap();
}

#[tokio::test]
async fn a_full_receiver_makes_the_sender_wait() {
    for place in &PLACES[2..] {
        let listener = blocking::listen(place).unwrap();
        let peer = panpipe::plain::connect(listener.address()).await.unwrap();
        peer.send("0").await.unwrap();
        let reading = std::thread::spawn(move || {
            let link = listener.accept().unwrap().unwrap();
            std::thread::sleep(Duration::from_millis(100));
            for number in 0..1000 {
                assert_eq!(link.recv().unwrap().unwrap(), number.to_string());
            }
        });
        for number in 1..1000 {
            peer.send(number.to_string()).await.unwrap();
        }
        peer.close().await.unwrap();
        reading.join().unwrap();
    }
}

#[test]
fn a_slow_reader_of_replies_gets_them_all_and_nobody_spins() {
    let listener = blocking::listen(PLACES[3]).unwrap();
    let peer = blocking::connect(listener.address()).unwrap();
    peer.send("hello").unwrap();
    let link = listener.accept().unwrap().unwrap();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            for number in 0..1000 {
                link.send(number.to_string()).unwrap();
            }
            let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            Duration::try_from(used).unwrap()
        });
        std::thread::sleep(Duration::from_millis(500));
        for number in 0..1000 {
            assert_eq!(peer.recv().unwrap().unwrap(), number.to_string());
        }
        let used = sending.join().unwrap();
        assert!(used < Duration::from_millis(250), "the sender was busy for {used:?}");
    });
}

#[tokio::test]
async fn a_slow_reader_of_replies_does_not_hold_up_a_server() {
    let server = panpipe::plain::serve(PLACES[3], |message: Bytes| async move { message }).await.unwrap();
    let slow = panpipe::plain::connect(server.address()).await.unwrap();
    for number in 0..100 {
        slow.send(number.to_string()).await.unwrap();
    }
    let quick = panpipe::plain::connect(server.address()).await.unwrap();
    for number in 0..100 {
        assert_eq!(quick.call(number.to_string()).await.unwrap(), number.to_string());
    }
    for number in 0..100 {
        assert_eq!(slow.recv().await.unwrap().unwrap(), number.to_string());
    }
}

#[test]
fn a_slow_connection_makes_senders_wait_and_loses_nothing() {
    let listener = blocking::listen(PLACES[3]).unwrap();
    let (one, other) = (blocking::connect(listener.address()).unwrap(), blocking::connect(listener.address()).unwrap());
    one.send("hello").unwrap();
    let slow = listener.accept().unwrap().unwrap();
    let sent = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..1000 {
                one.send(format!("{number:01000}")).unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
            }
            other.send("at last").unwrap();
        });
        // Whoever waits for the other one reads for the slow one too, until that has enough.
        let waiting = scope.spawn(|| listener.accept().unwrap().unwrap().recv().unwrap().unwrap());
        std::thread::sleep(Duration::from_millis(200));
        let sent = sent.load(Ordering::Relaxed);
        assert!((100..500).contains(&sent), "{sent} messages of a kilobyte are in 256 KiB");
        assert_eq!(slow.recv().unwrap().unwrap(), "hello");
        for number in 0..1000 {
            assert_eq!(slow.recv().unwrap().unwrap(), format!("{number:01000}"));
        }
        assert_eq!(waiting.join().unwrap(), "at last");
    });
    assert_eq!(listener.dropped(), 0);
}

#[test]
fn a_flood_is_counted() {
    let listener = blocking::listen("udp://127.0.0.1:0").unwrap();
    let sender = plain_to(listener.address());
    let flood = |count| (0..count).for_each(|_| assert_eq!(sender.send(&[7; 1000]).unwrap(), 1000));
    flood(5000);
    let link = listener.accept().unwrap().unwrap();
    let mut received = 0;
    while link.recv_within(Duration::from_millis(20)).is_ok() {
        received += 1;
    }
    let by_system = listener.dropped();
    assert!(by_system > 0);
    assert_eq!(received + by_system, 5000);

    // Read by another connection, a mailbox is full before the system's buffer.
    let other = plain_to(listener.address());
    other.send(b"hello").unwrap();
    let quick = listener.accept().unwrap().unwrap();
    for _ in 0..20 {
        flood(50);
        let _ = quick.recv_within(Duration::from_millis(1));
    }
    assert!(link.dropped() > 0);
    assert_eq!(listener.dropped(), by_system + link.dropped());
    let client = blocking::connect(listener.address()).unwrap();
    client.send("hello").unwrap();
    let back = listener.accept().unwrap().unwrap();
    (0..5000).for_each(|_| back.send(vec![7; 1000]).unwrap());
    assert!(client.dropped() > 0);
}

#[tokio::test]
async fn more_senders_than_there_is_room_for_let_the_quietest_go() {
    let listener = panpipe::plain::listen("udp://127.0.0.1:0").await.unwrap();
    let address = listener.address().to_owned();
    let (quiet, loud) = (plain_to(&address), plain_to(&address));
    quiet.send(b"quiet").unwrap();
    let quiet = listener.accept().await.unwrap().unwrap();
    loud.send(b"loud").unwrap();
    let loud_link = listener.accept().await.unwrap().unwrap();
    let (mut links, mut senders) = (Vec::new(), Vec::new());
    for number in 0..1100 {
        // Kept, so that each has a port of its own.
        senders.push(plain_to(&address));
        senders[number].send(b"one").unwrap();
        loud.send(b"still there").unwrap();
        if number < 1022 {
            links.push(listener.accept().await.unwrap().unwrap());
        }
    }
    assert_eq!(quiet.recv().await.unwrap().unwrap(), "quiet");
    assert!(quiet.recv().await.unwrap().is_none(), "it was let go");
    assert_eq!(loud_link.recv().await.unwrap().unwrap(), "loud");
    assert!(listener.dropped() > 0);
    drop(quiet);
    let last = plain_to(&address);
    loop {
        last.send(b"there is room").unwrap();
        // Those who came before it are still to be accepted, and what was dropped closes in the background.
        let come = tokio::time::timeout(Duration::from_millis(20), listener.accept()).await;
        let Ok(come) = come else { continue };
        if come.unwrap().unwrap().recv().await.unwrap().unwrap() == "there is room" {
            break;
        }
    }
}

/// 1,100 clients that stay, of whom each asks and then the first 50 ask again.
fn many_call(address: &str) {
    let call = |peer: &blocking::Connection, number: usize| {
        // The first datagram of a new sender may find no room, until somebody who was let go is gone.
        let reply = (0..20).find_map(|_| peer.call_within(Duration::from_millis(500), number.to_string()).ok());
        assert_eq!(reply.unwrap(), number.to_string());
    };
    let peers: Vec<_> = (0..1100).map(|_| blocking::connect(address).unwrap()).collect();
    for (number, peer) in peers.iter().enumerate().chain(peers.iter().take(50).enumerate()) {
        call(peer, number);
    }
}

#[tokio::test]
async fn a_server_answers_more_senders_than_it_remembers() {
    for place in [PLACES[0], PLACES[3]] {
        let server = panpipe::plain::serve(place, |message: Bytes| async move { message }).await.unwrap();
        let address = server.address().to_owned();
        tokio::task::spawn_blocking(move || many_call(&address)).await.unwrap();
        server.close().await.unwrap();

        let listener = blocking::listen(place).unwrap();
        let address = listener.address().to_owned();
        std::thread::spawn(move || blocking::serve(listener, |message: Bytes| message));
        tokio::task::spawn_blocking(move || many_call(&address)).await.unwrap();
    }
}

#[tokio::test]
async fn tasks_that_wait_all_get_theirs_however_many_they_are() {
    for place in [PLACES[0], PLACES[3]] {
        let listener = panpipe::plain::listen(place).await.unwrap();
        let mut pairs = Vec::new();
        for _ in 0..300 {
            let peer = panpipe::plain::connect(listener.address()).await.unwrap();
            peer.send("hello").await.unwrap();
            let link = listener.accept().await.unwrap().unwrap();
            assert_eq!(link.recv().await.unwrap().unwrap(), "hello");
            pairs.push((peer, link));
        }
        let mut tasks = tokio::task::JoinSet::new();
        let mut peers = Vec::new();
        for (peer, link) in pairs {
            peers.push(peer);
            tasks.spawn(async move {
                for number in 0..3 {
                    assert_eq!(link.recv().await.unwrap().unwrap(), number.to_string());
                }
            });
        }
        for number in 0..3 {
            for peer in peers.iter().rev() {
                tokio::task::yield_now().await;
                peer.send(number.to_string()).await.unwrap();
            }
        }
        while let Some(ended) = tokio::time::timeout(Duration::from_secs(10), tasks.join_next()).await.unwrap() {
            ended.unwrap();
        }
    }
}

#[test]
fn senders_without_a_name_are_one_connection_that_cannot_be_answered() {
    let listener = blocking::listen(PLACES[2]).unwrap();
    for word in ["one", "two", ""] {
        UnixDatagram::unbound().unwrap().send_to(word.as_bytes(), path(listener.address())).unwrap();
    }
    let link = listener.accept().unwrap().unwrap();
    for word in ["one", "two", ""] {
        assert_eq!(link.recv().unwrap().unwrap(), word);
    }
    let error = link.send("who are you?").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost);
    assert!(error.to_string().contains("no name"), "{error}");
    assert_eq!(link.remote().address, None);
}

#[tokio::test]
async fn a_server_hears_senders_without_a_name() {
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let server = panpipe::plain::serve(PLACES[2], move |message: Bytes| {
        let _ = heard.send(message.clone());
        async move { message }
    });
    let server = server.await.unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    for number in 0..100 {
        sender.send_to(number.to_string().as_bytes(), path(server.address())).unwrap_or_else(|_| unreachable!());
        assert_eq!(hears.recv().await.unwrap(), number.to_string());
    }
    server.close().await.unwrap();
}

#[test]
fn descriptors_that_come_along_are_closed() {
    let listener = blocking::listen(PLACES[2]).unwrap();
    let (ours, theirs) = std::io::pipe().unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.connect(path(listener.address())).unwrap();
    let mut link = None;
    for _ in 0..100 {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [std::os::fd::AsFd::as_fd(&theirs)];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(&sender, &[std::io::IoSlice::new(b"READY=1")], &mut ancillary, SendFlags::empty()).unwrap();
        let link = link.get_or_insert_with(|| listener.accept().unwrap().unwrap());
        assert_eq!(link.recv().unwrap().unwrap(), "READY=1");
    }
    // A copy of it anywhere would keep the pipe from ending.
    drop(theirs);
    assert_eq!(std::io::Read::read(&mut &ours, &mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_receiver_that_dies_is_connection_lost_and_a_sender_that_dies_ends_alone() {
    let listener = blocking::listen(PLACES[2]).unwrap();
    let one = blocking::connect(listener.address()).unwrap();
    let other = blocking::connect(listener.address()).unwrap();
    one.send("one").unwrap();
    let to_one = listener.accept().unwrap().unwrap();
    other.send("other").unwrap();
    let to_other = listener.accept().unwrap().unwrap();
    drop(one);
    let error = to_one.send("are you there?").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
    assert_eq!(to_one.recv().unwrap().unwrap(), "one");
    assert!(to_one.recv().unwrap().is_none());
    to_other.send("you live").unwrap();
    assert_eq!(other.recv().unwrap().unwrap(), "you live");

    drop((listener, to_one, to_other));
    let error = other.call("are you there?").unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::ConnectionLost, Ran::No), "{error}");
    assert_eq!(other.recv().unwrap_err().kind(), ErrorKind::ConnectionLost);
}

#[test]
fn connections_outlive_their_listener_and_nobody_new_comes() {
    for place in PLACES {
        let listener = blocking::listen(place).unwrap();
        let address = listener.address().to_owned();
        let peer = blocking::connect(&address).unwrap();
        peer.send("hello").unwrap();
        let link = listener.accept().unwrap().unwrap();
        drop(listener);
        assert_eq!(link.recv().unwrap().unwrap(), "hello");
        link.send("still here").unwrap();
        assert_eq!(peer.recv().unwrap().unwrap(), "still here");
        peer.send("me too").unwrap();
        assert_eq!(link.recv().unwrap().unwrap(), "me too");
        assert!(!std::path::Path::new(path(&address)).exists());
    }
}

#[test]
fn a_stale_file_is_replaced_and_a_live_one_is_not() {
    let listener = blocking::listen(PLACES[2]).unwrap();
    let error = blocking::listen(listener.address()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AddressInUse);
    let address = listener.address().to_owned();
    drop(listener);
    assert_eq!(blocking::connect(&address).err().unwrap().kind(), ErrorKind::NotFound);
    drop(UnixDatagram::bind(path(&address)).unwrap());
    assert_eq!(blocking::connect(&address).err().unwrap().kind(), ErrorKind::Refused);
    let listener = blocking::listen(&address).unwrap();
    let mode = std::fs::metadata(path(&address)).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    assert_eq!(listener.address(), address);
    let taken = blocking::listen("udp://127.0.0.1:0").unwrap();
    assert_eq!(blocking::listen(taken.address()).err().unwrap().kind(), ErrorKind::AddressInUse);
}

#[test]
fn a_group_reaches_all_who_joined_and_each_may_answer() {
    let one = blocking::listen("udp://localhost:0?group=239.77.1.1").unwrap();
    let other = blocking::listen(one.address()).unwrap();
    let peer = blocking::connect(one.address()).unwrap();
    std::thread::scope(|scope| {
        for listener in [&one, &other] {
            scope.spawn(|| {
                for _ in 0..10 {
                    // Each call comes from a port of its own.
                    let link = listener.accept().unwrap().unwrap();
                    let asked = link.recv().unwrap().unwrap();
                    link.send(asked.to_ascii_uppercase()).unwrap();
                }
            });
        }
        for number in 0..10 {
            assert_eq!(peer.call(format!("call {number}")).unwrap(), format!("CALL {number}"));
        }
    });
}

#[test]
fn a_broadcast_goes_to_whom_the_network_has() {
    let listener = blocking::listen("udp://127.255.255.255:0?broadcast=true").unwrap();
    let denied = blocking::connect(&listener.address().replace("?broadcast=true", "")).err().unwrap();
    assert_eq!(denied.kind(), ErrorKind::Permission);
    let peer = blocking::connect(listener.address()).unwrap();
    peer.send("to all").unwrap();
    assert_eq!(listener.accept().unwrap().unwrap().recv().unwrap().unwrap(), "to all");
}

#[test]
fn closing_ends_who_waits() {
    for (place, closes_link) in PLACES.iter().flat_map(|place| [(place, true), (place, false)]) {
        let listener = blocking::listen(place).unwrap();
        let peer = blocking::connect(listener.address()).unwrap();
        peer.send("hello").unwrap();
        let link = listener.accept().unwrap().unwrap();
        assert_eq!(link.recv().unwrap().unwrap(), "hello");
        let connection = if closes_link { link } else { peer };
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| connection.recv());
            let calling = scope.spawn(|| connection.call("anybody?"));
            std::thread::sleep(Duration::from_millis(20));
            connection.close().unwrap();
            let begun = Instant::now();
            assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
            assert_eq!(calling.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
            assert!(begun.elapsed() < Duration::from_secs(5));
        });
    }
}

#[test]
fn who_waits_is_found_although_those_who_waited_last_have_gone() {
    for place in PLACES {
        let listener = blocking::listen(place).unwrap();
        let accept = || {
            let peer = blocking::connect(listener.address()).unwrap();
            peer.send("hello").unwrap();
            let accepted = listener.accept().unwrap().unwrap();
            assert_eq!(accepted.recv().unwrap().unwrap(), "hello");
            (peer, accepted)
        };
        let (first, waiting) = accept();
        let (tell, told) = std::sync::mpsc::channel();
        let waits = std::thread::spawn(move || {
            tell.send(waiting.recv_within(Duration::from_millis(1)).unwrap_err().kind()).unwrap();
            tell.send(ErrorKind::Busy).unwrap();
            waiting.recv_within(Duration::from_secs(10)).unwrap().unwrap()
        });
        assert_eq!(told.recv().unwrap(), ErrorKind::DeadlineExceeded);
        told.recv().unwrap();
        // Long enough for it to wait; if it does not yet, nothing is shown and nothing fails.
        std::thread::sleep(Duration::from_millis(20));
        let others: Vec<_> = (0..100).map(|_| accept()).collect();
        for (_, accepted) in &others {
            assert_eq!(accepted.recv_within(Duration::from_millis(1)).unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        }
        drop(others);
        first.send("found").unwrap();
        assert_eq!(waits.join().unwrap(), "found", "{place}");
    }
}

#[test]
fn no_reply_answers_another_call_than_its_own() {
    for place in ["unix-dgram:/tmp/panpipe-test-*", "unix-dgram:@panpipe-test-*"] {
        let server = blocking::listen(&format!("{place}?max=1000")).unwrap();
        let address = server.address().to_owned();
        std::thread::spawn(move || {
            let answer = |message: Bytes| match &*message {
                b"bad" => Err("no"),
                message => Ok(message.to_ascii_uppercase()),
            };
            blocking::serve(server, answer)
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let peer = panpipe::plain::connect(&address).await.unwrap();
            assert_eq!(peer.call("first").await.unwrap(), "FIRST");
            let bad = peer.call_within(Duration::from_millis(100), "bad");
            let after = peer.call("after");
            assert_eq!(bad.await.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
            let error = after.await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
            assert_eq!(peer.call("again").await.unwrap_err().kind(), ErrorKind::ConnectionLost);
            assert_eq!(panpipe::plain::connect(&address).await.unwrap().call("anew").await.unwrap(), "ANEW");
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ids_begin_with_the_time_so_that_who_comes_anew_is_not_taken_for_what_has_been() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    let (socket, address) = plain();
    let mut last = now();
    for round in 0..3 {
        let peer = panpipe::connect(&format!("{address}?protocol=panpipe")).await.unwrap();
        peer.send("note", (round,)).await.unwrap();
        let mut frame = [0; 1200];
        // What the one before has said at its end may come first.
        while frame[4] != 3 {
            socket.recv(&mut frame).unwrap();
        }
        let id = u64::from_be_bytes(frame[8..16].try_into().unwrap());
        assert!((last..=now() + 1).contains(&id), "{id} after {last}");
        last = id + 2;
        peer.close().await.unwrap();
    }
}
