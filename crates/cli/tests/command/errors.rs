//! Each bad input has its code, says what was being done and to which address, and where it helps what to do.

use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::thread;

use crate::{Folder, Server, call, finish, panpipe, run};

const RUNNING: &str = "hint: is the server running? `panpipe serve ADDRESS --echo` is one to try with";
const NAMED: &str = "hint: is the server running, and is this the name that it told?";
const FRAMING: &str = "hint: do both sides use the same framing?";

/// A listener that reads the message `hi`, framed in `length` bytes, answers with `answer` and closes.
fn answers(framing: &str, length: usize, answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}?framing={framing}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        client.read_exact(&mut vec![0; length]).unwrap();
        client.write_all(answer).unwrap();
    });
    address
}

/// A listener that never answers.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}?framing=length", listener.local_addr().unwrap());
    (listener, address)
}

#[test]
fn wrong_usage_is_2() {
    for arguments in [
        &[][..],
        &["listen"],
        &["serve"],
        &["serve", "tcp://localhost:0?framing=length"],
        &["serve", "tcp://localhost:0?framing=length", "--"],
        &["serve", "tcp://localhost:0?framing=length", "--upper", "--echo"],
        &["serve", "tcp://localhost:0?framing=length", "--upper", "--", "cat"],
        &["serve", "tcp://localhost:0?framing=length", "--lower"],
        &["call"],
        &["call", "tcp://localhost:1?framing=length", "one", "two"],
        &["call", "tcp://localhost:1"],
        &["subscribe", "tcp://localhost:1"],
        &["publish", "tcp://localhost:1", "topic"],
        &["describe"],
        &["call", "tcp://localhost:1?framing=length", "--timeout", "2"],
        &["call", "tcp://localhost:1?framing=length", "--timeout", "0s"],
        &["call", "tcp://localhost:1?framing=length", "--timeout", "2s&text=true"],
    ] {
        let outcome = run(arguments.iter().copied(), b"");
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {outcome:?}");
        assert!(outcome.stderr.contains("Usage: panpipe") || outcome.stderr.contains("--timeout"), "{outcome:?}");
    }
}

#[test]
fn an_address_that_cannot_be_is_2_with_what_could_be() {
    for (address, error) in [
        (
            "gopher://x",
            "unsupported: no scheme is called \"gopher\"; known: tcp, tls, ws, wss, unix, unix-seqpacket, udp, unix-dgram, fifo, stdio, \
             fd, mem, spawn",
        ),
        (
            "tcp://localhost:1?framing=morse",
            "unsupported: no framing is called \"morse\"; known: panpipe, raw, lines, nul, length, netstring, varint, content-length",
        ),
        ("tcp://localhost:1?protocol=http", "unsupported: no protocol is called \"http\"; known: panpipe, plain"),
        (
            "tcp://localhost:1?mode=0600",
            "unsupported: tcp has no option \"mode\"; known: framing, protocol, max, timeout, text, reconnect, backlog, connections, insecure, accept, host, origin, token, static",
        ),
        ("tcp://localhost", "invalid-address: the port is missing: tcp://HOST:PORT"),
        ("localhost", "invalid-address: an address is written scheme:target, as tcp://localhost:9999"),
        ("unix:", "invalid-address: the path is missing: unix:PATH"),
        (
            "tcp://192.0.2.1:1",
            "invalid-address: 192.0.2.1 is not loopback and tcp is not encrypted; add insecure=true if that is meant",
        ),
    ] {
        let line = format!("panpipe: reading the address {address:?}: {error}");
        call(&[address, "hi"]).is_error(2, &[&line]);
        run(["serve", address, "--echo"], b"").is_error(2, &[&line]);
        // Before anything of stdin is read.
        run(["call", address], b"hi").is_error(2, &[&line]);
    }
}

#[test]
fn nobody_there_is_3() {
    let nobody = Folder::new("nobody");
    let path = format!("unix:{}?framing=length", nobody.path("a.sock"));
    let line = format!("panpipe: connecting to {path}: not-found: No such file or directory");
    call(&[&path, "hi"]).is_error(3, &[&line, NAMED]);
    let line = "panpipe: connecting to tcp://127.0.0.1:1?framing=length: refused: Connection refused";
    call(&["tcp://127.0.0.1:1?framing=length", "hi"]).is_error(3, &[line, RUNNING]);
    let address = "tcp://x.invalid:1?insecure=true&framing=length";
    let outcome = call(&[address, "hi"]);
    let lines: Vec<_> = outcome.stderr.lines().collect();
    assert!(lines[0].starts_with(&format!("panpipe: connecting to {address}: not-found: ")), "{outcome:?}");
    assert_eq!((outcome.code, &lines[1..]), (Some(3), &[NAMED][..]));
    let line = "panpipe: opening fd:987?framing=length: not-found: Bad file descriptor";
    call(&["fd:987?framing=length", "hi"]).is_error(3, &[line]);
}

#[test]
fn somebody_there_already_is_3() {
    let hint = "hint: another server has it; port 0, or a socket path that ends in *, picks a free one";
    let (_listener, address) = silent();
    let line = format!("panpipe: listening on {address}: address-in-use: Address already in use");
    run(["serve", &address, "--echo"], b"").is_error(3, &[&line, hint]);
    let server = Server::start("unix:/tmp/panpipe-cli-*?framing=length", &["--echo"]);
    let address = &server.address;
    let line = format!("panpipe: listening on {address}: address-in-use: another process listens there");
    run(["serve", address, "--echo"], b"").is_error(3, &[&line, hint]);
    server.call("alive").is("alive\n");
}

#[test]
fn a_name_that_is_too_long_is_3() {
    let address = format!("unix:/tmp/{}?framing=length", "x".repeat(103));
    let limit = "108 bytes, and the system takes at most 107";
    let reason = format!("path-too-long: {limit}; a longer path works if its last name has at most 80");
    call(&[&address, "hi"]).is_error(3, &[&format!("panpipe: connecting to {address}: {reason}")]);
    let outcome = run(["serve", &address, "--echo"], b"");
    outcome.is_error(3, &[&format!("panpipe: listening on {address}: {reason}")]);
}

#[test]
fn no_permission_is_3() {
    let folder = Folder::new("permission");
    let server = Server::start(&format!("unix:{}?framing=length", folder.path("a.sock")), &["--echo"]);
    std::fs::set_permissions(server.path(), Permissions::from_mode(0o000)).unwrap();
    std::fs::set_permissions(&folder.0, Permissions::from_mode(0o555)).unwrap();
    let as_nobody = |arguments: &[&str]| {
        let mut command = panpipe(arguments.iter().copied());
        // The superuser is let in everywhere.
        if rustix::process::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        finish(command.stdin(Stdio::null()), b"")
    };
    let address = &server.address;
    let other = address.replace("a.sock", "b.sock");
    as_nobody(&["call", address, "hi"]).is_error(
        3,
        &[
            &format!("panpipe: connecting to {address}: permission: Permission denied"),
            "hint: the server says who may connect, as with the option mode=0660",
        ],
    );
    as_nobody(&["serve", &other, "--echo"]).is_error(
        3,
        &[
            &format!("panpipe: listening on {other}: permission: Permission denied"),
            "hint: take a folder that you may write in, or a port from 1024 on",
        ],
    );
    std::fs::set_permissions(&folder.0, Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_deadline_is_4() {
    let hint = "hint: do both sides use the same framing? --timeout 1m waits longer";
    let (_listener, address) = silent();
    let error = "deadline-exceeded: no reply within the timeout";
    call(&["--timeout", "20ms", &address, "hi"]).is_error(4, &[&format!("panpipe: calling {address}: {error}"), hint]);
    let address = format!("{address}&timeout=20ms");
    call(&[&address, "hi"]).is_error(4, &[&format!("panpipe: calling {address}: {error}"), hint]);
}

#[test]
fn the_timeout_flag_wins_over_the_address_in_both_directions() {
    let server = Server::start("unix:@panpipe-cli-*?framing=length", &["--", "sh", "-c", "sleep 0.1; cat"]);
    let short = format!("{}&timeout=1ms", server.address);
    assert_eq!(call(&[&short, "hi"]).code, Some(4));
    call(&[&short, "hi", "--timeout", "20s"]).is("hi\n");
    assert_eq!(call(&["--timeout", "1ms", &format!("{}&timeout=20s", server.address), "hi"]).code, Some(4));
}

#[test]
fn a_connection_that_does_not_come_about_is_4_within_the_flags_time() {
    let folder = Folder::new("backlog");
    let path = folder.path("a.sock");
    let address = format!("unix:{path}?framing=length");
    let _listener = panpipe::plain::blocking::listen(&format!("{address}&backlog=1")).unwrap();
    let _waiting: Vec<_> = (0..2).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
    let outcome = call(&["--timeout", "20ms", &address, "hi"]);
    outcome.is_error(4, &[&format!("panpipe: connecting to {address}: deadline-exceeded: no answer within 20ms")]);
}

#[test]
fn a_broken_reply_is_5() {
    for (framing, length, answer) in [
        ("netstring", 5, &b"02:hi,"[..]),
        ("netstring", 5, b"2:hi;"),
        ("varint", 3, &[0xff; 10]),
        ("content-length", 23, b"\x1b[2J\r\n\r\n"),
    ] {
        let address = answers(framing, length, answer);
        let outcome = call(&[&address, "hi"]);
        let lines: Vec<_> = outcome.stderr.lines().collect();
        assert!(lines[0].starts_with(&format!("panpipe: calling {address}: bad-peer: ")), "{outcome:?}");
        assert_eq!((outcome.code, &lines[1..]), (Some(5), &[FRAMING][..]), "{outcome:?}");
    }
}

#[test]
fn a_reply_that_is_not_the_text_it_should_be_is_5() {
    let server = Server::start("unix:@panpipe-cli-*?framing=length", &["--", "printf", r"\377"]);
    assert_eq!(call(&[&format!("{}&text=true", server.address), "hi"]).code, Some(5));
}

#[test]
fn a_reply_above_max_is_6_whatever_length_it_claims() {
    let hint = "hint: do both sides use the same framing? the option max= allows larger messages";
    for (framing, length, answer) in [
        ("length", 6, &[0xff; 4][..]),
        ("length:u64", 10, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("lines&max=5", 3, b"a line without an end"),
    ] {
        let address = answers(framing, length, answer);
        let most = if framing.contains("max") { 5 } else { 16 << 20 };
        let reason = format!("too-large: a message may be {most} bytes at most, and this one is larger");
        call(&[&address, "hi"]).is_error(6, &[&format!("panpipe: calling {address}: {reason}"), hint]);
    }
}

#[test]
fn a_message_above_max_is_6_and_is_not_sent() {
    let hint = "hint: the option max= allows larger messages; both sides have one";
    let server = Server::start("unix:@panpipe-cli-*?framing=length", &["--echo"]);
    let address = format!("{}&max=4", server.address);
    let line =
        format!("panpipe: calling {address}: too-large: a message may be 4 bytes at most, and this one is larger");
    call(&[&address, "12345"]).is_error(6, &[&line, hint]);
    let line = format!(
        "panpipe: reading the message for {address}: too-large: a message may be 4 bytes at most, and stdin holds more"
    );
    run(["call", &address], b"12345").is_error(6, &[&line, hint]);
    // Nor is an endless input read to its end.
    finish(panpipe(["call", &address]).stdin(File::open("/dev/zero").unwrap()), b"").is_error(6, &[&line, hint]);
}

#[test]
fn a_message_that_the_framing_cannot_carry_is_2() {
    let server = Server::start("unix:@panpipe-cli-*?framing=lines", &["--echo"]);
    let address = &server.address;
    let reason = "unsupported: a newline inside would end the message (framing lines)";
    call(&[address, "two\nlines"]).is_error(2, &[&format!("panpipe: calling {address}: {reason}")]);
}

#[test]
fn a_peer_that_goes_away_is_7() {
    let address = answers("length", 6, b"");
    let line = format!("panpipe: calling {address}: connection-lost: the other side closed before it answered");
    call(&[&address, "hi"]).is_error(7, &[&line, FRAMING]);
    let address = answers("length", 6, b"\0\0\0\x05he");
    let line = format!("panpipe: calling {address}: connection-lost: the other side closed inside a message");
    call(&[&address, "hi"]).is_error(7, &[&line, FRAMING]);
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let line = r"panpipe: connecting to unix:/nowhere/\u{1b}[2J\n?framing=length: not-found: No such file or directory";
    call(&["unix:/nowhere/\x1b[2J\n?framing=length", "hi"]).is_error(3, &[line, NAMED]);
}

#[test]
fn a_server_says_when_a_client_leaves_inside_a_message_and_goes_on() {
    let server = Server::start("tcp://localhost:0?framing=lines", &["--echo"]);
    TcpStream::connect(server.place()).unwrap().write_all(b"half a li").unwrap();
    let address = &server.address;
    let reason = "connection-lost: the other side closed inside a message";
    assert_eq!(server.line(), format!("panpipe: connection closed: receiving from {address}: {reason}"));
    server.call("hi").is("hi\n");
}
