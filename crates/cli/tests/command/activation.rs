//! Sockets that systemd has opened already, from the real `systemd-socket-activate`.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::{Folder, all_of, call};

/// `panpipe serve` started by the first that comes to `place`; killed with the test.
struct Activated(Child);

impl Activated {
    fn start(kind: &[&str], place: &str, address: &str) -> Self {
        let mut command = Command::new("systemd-socket-activate");
        command.args(kind).args(["-l", place, "--fdname=web", env!("CARGO_BIN_EXE_panpipe"), "serve", address]);
        command.arg("--upper").stdin(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().expect("systemd-socket-activate is there: package systemd");
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert!(line.contains("Listening on"), "{line}");
        std::thread::spawn(move || all_of(stderr));
        Activated(child)
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_stream_socket_of_systemd_is_served_by_its_name_and_left_in_place() {
    let folder = Folder::new("activated-stream");
    let path = folder.path("a.sock");
    let served = Activated::start(&[], &path, "fd:web?framing=lines");
    for _ in 0..3 {
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"Hello, server!\n").unwrap();
        let mut reply = [0; 15];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"HELLO, SERVER!\n");
    }
    call(&[&format!("unix:{path}?framing=lines"), "again"]).is("AGAIN\n");
    drop(served);
    assert!(Path::new(&path).exists());
}

#[test]
fn a_tcp_socket_of_systemd_is_served_by_its_number_and_still_turns_browsers_away() {
    // A port that was free a moment ago: systemd-socket-activate takes no 0.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _served = Activated::start(&[], &format!("127.0.0.1:{port}"), "fd:3?framing=lines");
    call(&[&format!("tcp://127.0.0.1:{port}?framing=lines"), "Hello, server!"]).is("HELLO, SERVER!\n");
    let mut browser = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    browser.write_all(b"POST / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(browser.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn a_seqpacket_socket_of_systemd_is_served() {
    let folder = Folder::new("activated-seqpacket");
    let path = folder.path("a.sock");
    let _served = Activated::start(&["--seqpacket"], &path, "fd:web?protocol=plain");
    for message in ["Hello, server!", "two\nlines"] {
        call(&["-n", &format!("unix-seqpacket:{path}?protocol=plain"), message]).is(&message.to_uppercase());
    }
}

#[test]
fn datagram_sockets_of_systemd_are_served() {
    let folder = Folder::new("activated-datagram");
    let path = folder.path("a.sock");
    let _unix = Activated::start(&["--datagram"], &path, "fd:web?protocol=plain");
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _udp = Activated::start(&["--datagram"], &format!("127.0.0.1:{port}"), "fd:3?protocol=plain");
    for address in [format!("unix-dgram:{path}"), format!("udp://127.0.0.1:{port}")] {
        for message in ["Hello, server!", "two\nlines"] {
            call(&["-n", &address, message]).is(&message.to_uppercase());
        }
    }
}

#[test]
fn a_name_that_systemd_did_not_give_is_not_found() {
    let nobody = call(&["fd:web?protocol=plain", "hi"]);
    let reason = "no descriptors were handed to this process: LISTEN_PID is not its number";
    nobody.is_error(3, &[&format!("panpipe: opening fd:web?protocol=plain: not-found: {reason}")]);
}
