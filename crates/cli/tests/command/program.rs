//! `panpipe serve ADDRESS -- PROGRAM`: one run per message.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::{Folder, Server, call, run};

#[test]
fn tr_answers_like_upper_over_every_framing() {
    for info in panpipe::framings() {
        let server = Server::start(&format!("unix:@panpipe-cli-*?framing={}", info.name), &["--", "tr", "a-z", "A-Z"]);
        server.call("Hello, server!").is("HELLO, SERVER!\n");
    }
}

#[test]
fn arguments_pass_without_a_shell() {
    let server =
        Server::start("unix:@panpipe-cli-*?framing=length", &["--", "printf", "%s|", "$HOME", "a b", "--upper"]);
    call(&["-n", &server.address, "hi"]).is("$HOME|a b|--upper|");
}

#[test]
fn one_newline_at_the_end_is_dropped_where_a_message_cannot_hold_it() {
    let with_newlines = &["--", "sh", "-c", r"printf 'hi\n'"];
    let server = Server::start("tcp://localhost:0?framing=lines&max=2", with_newlines);
    let mut client = TcpStream::connect(server.place()).unwrap();
    client.write_all(b"a\nb\n").unwrap();
    let lines: Vec<_> = BufReader::new(&client).lines().take(2).map(Result::unwrap).collect();
    assert_eq!(lines, ["hi", "hi"]);
    let server = Server::start("unix:@panpipe-cli-*?framing=length", with_newlines);
    call(&["-n", &server.address, "a"]).is("hi\n");
    let server = Server::start("unix:@panpipe-cli-*?framing=lines", &["--", "printf", r"hi\n\n"]);
    assert_eq!(server.call("a").code, Some(7));
    assert!(server.line().contains(": unsupported: a newline inside would end the message"));
}

#[test]
fn a_message_larger_than_any_pipe_passes_through_cat() {
    let server = Server::start("unix:@panpipe-cli-*?framing=length", &["--", "cat"]);
    let message = vec![b'x'; 1 << 20];
    let outcome = run(["call", "-n", &server.address], &message);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    assert!(outcome.stdout == message);
}

#[test]
fn a_program_need_not_read_its_message() {
    let server = Server::start("unix:@panpipe-cli-*?framing=length", &["--", "echo", "done"]);
    run(["call", &server.address], &vec![b'x'; 1 << 20]).is("done\n");
}

#[test]
fn a_program_that_fails_closes_that_connection_and_says_why() {
    for (script, reason) in [
        ("echo half; exit 3", "sh ended with exit status 3"),
        ("kill -9 $$", "sh was ended by signal 9"),
        ("cat >/dev/null; exit 1", "sh ended with exit status 1"),
    ] {
        let server = Server::start("unix:@panpipe-cli-*?framing=length", &["--", "sh", "-c", script]);
        let address = &server.address;
        let line = format!("panpipe: calling {address}: connection-lost: the other side closed before it answered");
        server.call("hi").is_error(7, &[&line, "hint: do both sides use the same framing?"]);
        assert_eq!(server.line(), format!("panpipe: connection closed: handling {address}: closed: {reason}"));
    }
}

#[test]
fn what_a_program_says_on_stderr_passes_through() {
    let server = Server::start("unix:@panpipe-cli-*?framing=length", &["--", "sh", "-c", "echo oops >&2; cat"]);
    server.call("hi").is("hi\n");
    assert_eq!(server.line(), "oops");
}

#[test]
fn a_program_that_writes_without_end_is_killed() {
    let server =
        Server::start("unix:@panpipe-cli-*?max=1MiB&framing=length", &["--", "sh", "-c", "echo $$ >&2; yes; true"]);
    assert_eq!(server.call("hi").code, Some(7));
    let shell = server.line();
    let reason = "sh wrote more than the 1048576 bytes that a message may have";
    assert!(server.line().ends_with(&format!(": closed: {reason}")));
    assert!(!std::fs::exists(format!("/proc/{shell}")).unwrap(), "killed and waited for");
}

#[test]
fn output_as_long_as_max_is_a_reply_and_one_byte_more_is_not() {
    let server = Server::start("unix:@panpipe-cli-*?max=4&framing=length", &["--", "printf", "1234"]);
    server.call("hi").is("1234\n");
    let server = Server::start("unix:@panpipe-cli-*?max=4&framing=length", &["--", "printf", "12345"]);
    assert_eq!(server.call("hi").code, Some(7));
    assert!(server.line().ends_with("printf wrote more than the 4 bytes that a message may have"));
    // The newline that is dropped is the last byte of all, not the last of those that were read.
    let server = Server::start("unix:@panpipe-cli-*?framing=lines&max=2", &["--", "printf", r"hi\nx"]);
    assert_eq!(server.call("hi").code, Some(7));
    assert!(server.line().ends_with("printf wrote more than the 2 bytes that a message may have"));
}

#[test]
fn a_program_that_is_not_there_is_found_out_at_once() {
    for name in ["no-such-program", "./no-such-program", "/etc/passwd"] {
        let outcome = run(["serve", "tcp://localhost:0?framing=length", "--", name], b"");
        let line =
            format!("panpipe: serving tcp://localhost:0?framing=length: unsupported: no program is called {name:?}");
        outcome.is_error(2, &[&line]);
    }
}

#[test]
fn no_more_than_64_run_at_once_and_the_others_get_their_turn() {
    let folder = Folder::new("gate");
    let gate = folder.path("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    // Open for both, this waits for nobody; while it is open, those who read from the gate wait.
    let held = File::options().read(true).write(true).open(&gate).unwrap();
    let script = r#"echo begun >&2; read line < "$0"; cat"#;
    let server = Server::start("tcp://localhost:0?framing=raw", &["--", "sh", "-c", script, &gate]);
    let mut clients: Vec<_> = (0..70).map(|_| TcpStream::connect(server.place()).unwrap()).collect();
    clients.iter_mut().for_each(|client| client.write_all(b"hi").unwrap());
    for _ in 0..64 {
        assert_eq!(server.line(), "begun");
    }
    assert!(server.lines.recv_timeout(Duration::from_millis(200)).is_err(), "one too many");
    // Whoever comes now reads from a file that holds nothing, and does not wait.
    std::fs::write(folder.path("open"), "").unwrap();
    std::fs::rename(folder.path("open"), &gate).unwrap();
    drop(held);
    for client in &mut clients {
        let mut reply = [0; 2];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"hi");
    }
}
