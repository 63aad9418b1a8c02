use std::thread;
use std::time::Duration;

use panpipe::plain::blocking;
use panpipe::{Bytes, ErrorKind};

use crate::{ADDRESSES, with};

/// A server on a thread that ends with the test's process.
fn upper(address: &str, options: &str) -> String {
    let listener = blocking::listen(&with(address, options)).unwrap();
    let address = listener.address().to_owned();
    thread::spawn(move || blocking::serve(listener, |message: Bytes| message.to_ascii_uppercase()));
    address
}

#[test]
fn the_founding_example_over_every_address() {
    for address in ADDRESSES {
        let address = upper(address, "framing=raw");
        let peer = blocking::connect(&address).unwrap();
        assert_eq!(peer.call("Hello, server!").unwrap(), "HELLO, SERVER!", "{address}");
        peer.close().unwrap();
        assert_eq!(peer.send("x").unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(peer.recv().unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[test]
fn a_huge_message_does_not_deadlock_with_an_echo() {
    let address = upper("unix:@panpipe-test-*", "framing=length");
    let peer = blocking::connect(&address).unwrap();
    let huge = vec![b'a'; 12 << 20];
    assert_eq!(peer.call(&huge).unwrap(), huge.to_ascii_uppercase());
}

#[test]
fn threads_share_a_connection_while_one_waits_in_recv() {
    let address = upper("unix:@panpipe-test-*", "framing=lines");
    let peer = blocking::connect(&address).unwrap();
    thread::scope(|scope| {
        for number in 0..8 {
            let peer = &peer;
            scope.spawn(move || {
                for round in 0..200 {
                    let reply = peer.call(format!("thread {number} round {round}")).unwrap();
                    assert_eq!(reply, format!("THREAD {number} ROUND {round}"));
                }
            });
        }
        let peer = &peer;
        // Nothing comes for it, and it must hold up nobody.
        scope.spawn(move || {
            assert_eq!(peer.recv_within(Duration::from_millis(200)).unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        });
    });
}

#[test]
fn closing_ends_a_recv_in_another_thread() {
    let (one, other) = blocking::pair("framing=lines").unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| one.recv());
        // Whether it waits already makes no difference to the outcome.
        thread::sleep(Duration::from_millis(20));
        one.close().unwrap();
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    });
    assert!(other.recv().unwrap().is_none());
}

#[test]
fn a_send_that_nobody_reads_ends_at_its_deadline_in_close_and_loses_nothing_before() {
    let (one, other) = blocking::pair("framing=length&timeout=50ms").unwrap();
    thread::scope(|scope| {
        let message = vec![1; 8 << 20];
        let sending = scope.spawn({
            let (one, message) = (&one, message.clone());
            move || one.send(message)
        });
        assert_eq!(other.recv().unwrap().unwrap(), message);
        sending.join().unwrap().unwrap();
    });
    assert_eq!(one.call("nobody answers").unwrap_err().kind(), ErrorKind::DeadlineExceeded);
}

#[test]
fn the_pid_of_a_peer_is_known_as_long_as_it_lives_and_the_user_for_ever() {
    let listener = blocking::listen("unix:/tmp/panpipe-test-*?framing=lines").unwrap();
    let path = listener.address().strip_prefix("unix:").unwrap().split('?').next().unwrap().to_owned();
    let mut child = std::process::Command::new("nc").args(["-U", &path]).stdin(std::process::Stdio::piped()).spawn();
    let child = child.as_mut().unwrap();
    let peer = listener.accept().unwrap().unwrap();
    assert_eq!(peer.remote().pid, Some(child.id() as i32));
    child.kill().unwrap();
    child.wait().unwrap();
    let remote = peer.remote();
    assert_eq!((remote.pid, remote.uid), (None, Some(rustix::process::getuid().as_raw())));
}
