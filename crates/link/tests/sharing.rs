//! Many threads on one connection, and many connections of one server: nobody waits for those that do not go on.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use panpipe_link::{
    Blocking, Endpoint, Error, ErrorKind, Ran, Result, Server, ServerEvent, Token, Wait, WaitFor, blocking, listen,
    pair_address, parse,
};
use rustix::event::{PollFd, PollFlags};

/// How long a test waits for what must come: only a failure takes so long.
const NET: Duration = Duration::from_secs(10);

/// More than the system takes and than may wait to be written.
const MUCH: usize = 4 << 20;

fn pair(options: &str) -> (Arc<Blocking>, Arc<Blocking>) {
    let address = pair_address(options).unwrap();
    let (one, other) = panpipe_link::pair(&address).unwrap();
    let connection = |link| Arc::new(Blocking::new(Endpoint::new(link, &address)));
    (connection(one), connection(other))
}

/// Runs `work` on a thread of its own; what it answers is received.
fn begin<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (answer, answered) = channel();
    thread::spawn(move || answer.send(work()));
    answered
}

#[test]
fn closing_ends_a_recv_from_a_pipe_in_another_thread() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let address = parse(&format!("fd:{}?framing=lines", reader.as_raw_fd())).unwrap();
    let connection = Arc::new(blocking::connect(&address, None, &mut WaitFor).unwrap());
    let waiting = begin({
        let connection = Arc::clone(&connection);
        move || connection.recv(None, &mut WaitFor)
    });
    // Whether it waits already makes no difference to the outcome.
    thread::sleep(Duration::from_millis(20));
    connection.close(None, &mut WaitFor).unwrap();
    let received = waiting.recv_timeout(NET).expect("it is called back");
    assert_eq!(received.unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_call_that_is_cancelled_while_it_waits_may_have_run() {
    /// Ctrl-C, whenever something waits.
    struct Interrupted;
    impl Wait for Interrupted {
        fn run<T: Send>(&mut self, _: impl FnOnce() -> T + Send) -> Result<T> {
            Err(Error::new(ErrorKind::Cancelled, "waiting"))
        }
    }

    let (one, other) = pair("framing=lines");
    let error = one.call(b"debit", None, &mut Interrupted).unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Cancelled, Ran::Maybe));
    assert!(error.doing().starts_with("calling "), "{error}");
    assert!(error.address().is_some());
    assert_eq!(other.recv(Some(NET), &mut WaitFor).unwrap().unwrap(), "debit");
}

#[test]
fn a_small_message_that_waits_for_a_recv_keeps_no_large_buffer() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let address = parse(&format!("fd:{}?framing=lines", ours.as_raw_fd())).unwrap();
    let connection = blocking::connect(&address, None, &mut WaitFor).unwrap();
    drop(ours);
    let answering = thread::spawn(move || {
        for _ in 0..100 {
            theirs.read_exact(&mut [0; 2]).unwrap();
            theirs.write_all(b"reply\nunasked\n").unwrap();
        }
        theirs
    });
    for _ in 0..100 {
        assert_eq!(connection.call(b"?", Some(NET), &mut WaitFor).unwrap(), "reply");
    }
    let _theirs = answering.join().unwrap();
    // The last one came after the last call, and lies where it was read.
    for _ in 0..99 {
        let message = connection.recv(Some(NET), &mut WaitFor).unwrap().unwrap();
        assert_eq!(message, "unasked");
        let memory = message.try_into_mut().expect("it shares its memory with nothing").capacity();
        assert!(memory < 64, "{memory} bytes");
    }
}

#[test]
fn threads_get_their_own_replies_while_other_calls_run_out_of_time() {
    let (one, other) = pair("framing=lines");
    thread::spawn(move || {
        while let Ok(Some(message)) = other.recv(None, &mut WaitFor) {
            if other.send(&message, None, &mut WaitFor).is_err() {
                break;
            }
        }
    });
    let calls = |number: u32| {
        for round in 1..=500 {
            let message = format!("thread {number} round {round}");
            let hurries = round % 7 == 0;
            let timeout = if hurries { Duration::from_micros(20) } else { NET };
            match one.call(message.as_bytes(), Some(timeout), &mut WaitFor) {
                Ok(reply) => assert_eq!(reply, message),
                Err(error) => {
                    assert!(hurries, "{error}");
                    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
                }
            }
        }
    };
    let begun = Instant::now();
    thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || calls(number));
        }
    });
    // Who is not called when its reply has come finds it when its time is up.
    assert!(begun.elapsed() < NET, "{:?}", begun.elapsed());
}

#[test]
fn a_thread_that_waits_for_room_does_not_keep_another_from_receiving() {
    const MESSAGES: usize = 4096;
    let (one, other) = pair("framing=lines");
    // The peer reads only when all of its own messages are on their way.
    let peer = begin(move || {
        for _ in 0..MESSAGES {
            other.send(&[b'y'; 1023], None, &mut WaitFor).unwrap();
        }
        other.recv(None, &mut WaitFor).unwrap().unwrap().len()
    });
    let sender = begin({
        let one = Arc::clone(&one);
        move || one.send(&vec![b'x'; MUCH], None, &mut WaitFor)
    });
    // The sender should be the first to read.
    thread::sleep(Duration::from_millis(50));
    let receiver = begin(move || {
        for _ in 0..MESSAGES {
            one.recv(None, &mut WaitFor).unwrap().unwrap();
        }
    });
    receiver.recv_timeout(NET).expect("all is received");
    sender.recv_timeout(NET).expect("all is sent").unwrap();
    assert_eq!(peer.recv_timeout(NET).unwrap(), MUCH);
}

#[test]
fn sends_that_find_no_room_in_time_were_not_sent_and_take_no_memory() {
    let (one, other) = pair("framing=lines");
    let send = |message: &[u8]| one.send(message, Some(Duration::from_millis(5)), &mut WaitFor).unwrap_err();
    let error = send(&vec![b'x'; MUCH]);
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::DeadlineExceeded, Ran::Maybe));
    for _ in 0..20 {
        let error = send(&vec![b'y'; MUCH]);
        assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::DeadlineExceeded, Ran::No));
    }
    thread::scope(|scope| {
        // It waits until the first one is written.
        scope.spawn(|| one.send(b"next", Some(NET), &mut WaitFor).unwrap());
        let first = other.recv(Some(NET), &mut WaitFor).unwrap().unwrap();
        assert_eq!((first.len(), first[0]), (MUCH, b'x'));
        assert_eq!(other.recv(Some(NET), &mut WaitFor).unwrap().unwrap(), "next");
    });
}

/// Waits for what a server has to do, for `longest` at most, and does it; the requests that came.
fn turn(server: &mut Server, longest: Duration) -> Vec<Token> {
    let now = Instant::now();
    let left = server.next_deadline(now).map(|deadline| deadline.saturating_duration_since(now));
    let mut fds = [PollFd::new(server.descriptor(), PollFlags::IN)];
    WaitFor.poll(&mut fds, Some(left.map_or(longest, |left| left.min(longest)))).unwrap();
    server.turn(Instant::now()).unwrap();
    let mut requests = Vec::new();
    while let Some(event) = server.next_event(Instant::now()) {
        match event {
            ServerEvent::Request { from, .. } => requests.push(from),
            ServerEvent::Lost(error) | ServerEvent::Refused(error) => panic!("{error}"),
        }
    }
    requests
}

#[test]
fn a_request_that_waits_behind_a_large_reply_is_handled_once_that_is_written() {
    let mut server = Server::new(listen(&parse("tcp://127.0.0.1:0?framing=length").unwrap()).unwrap()).unwrap();
    let address = parse(server.address().text()).unwrap();
    let client = thread::spawn(move || {
        let client = blocking::connect(&address, None, &mut WaitFor).unwrap();
        client.send(b"a", None, &mut WaitFor).unwrap();
        client.send(b"b", None, &mut WaitFor).unwrap();
        [(); 2].map(|()| client.recv(Some(NET), &mut WaitFor).map(|reply| reply.unwrap().len()))
    });
    // So much that the next request waits for it, and no more than the system soon takes.
    let large = vec![b'x'; (1 << 20) + 1];
    while !client.is_finished() {
        // One by one, as the requests of a connection come.
        let mut requests = turn(&mut server, Duration::from_millis(10));
        while let Some(from) = requests.pop() {
            server.reply(from, Some(&large), Instant::now()).unwrap();
            while let Some(event) = server.next_event(Instant::now()) {
                if let ServerEvent::Request { from, .. } = event {
                    requests.push(from);
                }
            }
        }
    }
    assert_eq!(client.join().unwrap().map(Result::unwrap), [large.len(); 2]);
}

#[test]
fn clients_that_go_while_their_requests_are_handled_cause_no_busy_loop() {
    let mut server = Server::new(listen(&parse("unix:@panpipe-test-*?framing=length").unwrap()).unwrap()).unwrap();
    let address = parse(server.address().text()).unwrap();
    let clients: Vec<_> = (0..20).map(|_| blocking::connect(&address, None, &mut WaitFor).unwrap()).collect();
    for client in &clients {
        client.send(b"x", None, &mut WaitFor).unwrap();
    }
    let mut handled = Vec::new();
    while handled.len() < clients.len() {
        handled.extend(turn(&mut server, NET));
    }
    drop(clients);
    let has_work = |server: &Server| {
        let mut fds = [PollFd::new(server.descriptor(), PollFlags::IN)];
        WaitFor.poll(&mut fds, Some(Duration::ZERO)).unwrap();
        !fds[0].revents().is_empty() || server.next_deadline(Instant::now()).is_some()
    };
    let mut turns = 0;
    while has_work(&server) {
        turns += 1;
        // Each end may be noticed in a turn of its own.
        assert!(turns < 100, "there is always something to do");
        turn(&mut server, NET);
    }
    for from in handled {
        server.reply(from, Some(b"too late"), Instant::now()).unwrap();
    }
}
