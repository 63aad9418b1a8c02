//! Ctrl-C and SIGTERM end the command at once, and leave nothing behind.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{NET, Server, panpipe, wait};

const ENDINGS: [(Signal, i32); 2] = [(Signal::INT, 130), (Signal::TERM, 143)];

#[test]
fn serve_ends_with_its_code_and_removes_its_socket_file() {
    for (signal, code) in ENDINGS {
        let mut server = Server::start("unix:/tmp/panpipe-cli-*?framing=length", &["--upper"]);
        assert!(server.path().exists());
        assert_eq!(server.end(signal), Some(code));
        assert!(!server.path().exists());
    }
}

#[test]
fn serve_ends_while_clients_are_connected() {
    for (signal, code) in ENDINGS {
        let mut server = Server::start("unix:/tmp/panpipe-cli-*?framing=length", &["--upper"]);
        let peer = panpipe::plain::blocking::connect(&server.address).unwrap();
        assert_eq!(peer.call("hi").unwrap(), "HI");
        assert_eq!(server.end(signal), Some(code));
        assert!(!server.path().exists());
        assert_eq!(peer.recv().unwrap(), None);
    }
}

#[test]
fn serve_ends_at_once_while_a_child_sleeps_and_ends_what_the_child_has_started() {
    for (signal, code) in ENDINGS {
        let script = "sleep 1000 & echo $! >&2; wait";
        let mut server = Server::start("tcp://localhost:0?framing=raw", &["--", "sh", "-c", script]);
        let mut client = TcpStream::connect(server.place()).unwrap();
        client.write_all(b"hi").unwrap();
        let sleeper = server.line();
        let begun = Instant::now();
        assert_eq!(server.end(signal), Some(code));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        while is_running(&sleeper) {
            assert!(begun.elapsed() < NET, "{sleeper} goes on");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Whether there is such a process, one that has not ended and only waits for its parent to notice.
fn is_running(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, stat)| !stat.starts_with(['Z', 'X']))
}

#[test]
fn a_socket_path_can_be_used_again_at_once() {
    let mut first = Server::start("unix:/tmp/panpipe-cli-*?framing=length", &["--upper"]);
    assert_eq!(first.end(Signal::KILL), None);
    assert!(first.path().exists(), "nobody could remove it");
    let second = Server::start(&first.address, &["--upper"]);
    second.call("hi").is("HI\n");
}

#[test]
fn call_ends_with_130_while_it_waits_for_the_reply() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}?framing=raw", listener.local_addr().unwrap());
    let mut child = panpipe(["call", &address, "hi"]).stderr(Stdio::piped()).spawn().unwrap();
    let (mut client, _) = listener.accept().unwrap();
    client.read_exact(&mut [0; 2]).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(wait(&mut child).code(), Some(130));
    assert_eq!(crate::all_of(child.stderr.take().unwrap()), b"");
}
