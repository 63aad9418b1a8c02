use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;

use crate::{Server, call, finish, panpipe, run, wait};

#[test]
fn the_message_may_come_from_stdin() {
    let server = Server::start("unix:@panpipe-cli-*?framing=length", &["--upper"]);
    run(["call", &server.address], b"Hello,\nserver!").is("HELLO,\nSERVER!\n");
    run(["call", &server.address], b"").is("\n");
}

#[test]
fn a_message_as_long_as_max_is_read_whole_from_stdin() {
    let server = Server::start("unix:@panpipe-cli-*?max=5&framing=length", &["--echo"]);
    run(["call", &server.address], b"12345").is("12345\n");
}

#[test]
fn a_newline_is_added_only_where_none_is_and_never_with_n() {
    let server = Server::start("unix:@panpipe-cli-*?framing=length", &["--echo"]);
    let address = &server.address;
    call(&[address, "one"]).is("one\n");
    call(&[address, "one\n"]).is("one\n");
    call(&["-n", address, "one"]).is("one");
    call(&[address, "--no-newline", "one\n"]).is("one\n");
    run(["call", "-n", address], b"").is("");
}

#[test]
fn any_bytes_pass_both_ways_untouched() {
    let server = Server::start("unix:@panpipe-cli-*?framing=length", &["--echo"]);
    let bytes: Vec<u8> = (0..1 << 20).map(|at| (at % 251) as u8).collect();
    let outcome = run(["call", "-n", &server.address], &bytes);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    assert!(outcome.stdout == bytes);
}

#[test]
fn a_message_that_looks_like_a_flag_stands_after_two_dashes() {
    let server = Server::start("unix:@panpipe-cli-*?framing=length", &["--echo"]);
    call(&[&server.address, "--", "-5"]).is("-5\n");
}

#[test]
fn a_plain_server_of_raw_is_called() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}?framing=raw", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut message = [0; 100];
        let count = client.read(&mut message).unwrap();
        client.write_all(&message[..count].to_ascii_uppercase()).unwrap();
    });
    call(&[&address, "Hello, server!"]).is("HELLO, SERVER!\n");
}

#[test]
fn a_reader_that_has_gone_is_no_error_and_a_full_disk_is() {
    let server = Server::start("unix:@panpipe-cli-*?framing=length", &["--echo"]);
    let (gone, stdout) = std::io::pipe().unwrap();
    drop(gone);
    let mut command = panpipe(["call", &server.address, "Hello, server!"]);
    let mut child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(wait(&mut child).code(), Some(0));
    assert_eq!(crate::all_of(child.stderr.take().unwrap()), b"");

    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut child =
        panpipe(["call", &server.address, "Hello, server!"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(wait(&mut child).code(), Some(3));
    let stderr = String::from_utf8(crate::all_of(child.stderr.take().unwrap())).unwrap();
    assert!(stderr.starts_with("panpipe: writing to stdout: io: No space left on device"), "{stderr}");
}

#[test]
fn help_manual_and_completions_show_what_there_is() {
    for (arguments, shows) in [
        (&["--help"][..], "panpipe serve tcp://localhost:9999 --upper"),
        (&["--help"], "panpipe call tcp://localhost:9999 upper 'Hello, server!'"),
        (&["serve", "--help"], "-- tr a-z A-Z"),
        (&["cert", "--help"], "panpipe cert server.example 192.0.2.7"),
        (&["call", "--help"], "panpipe call tcp://localhost:9999 upper 'Hello, server!'"),
    ] {
        let outcome = finish(panpipe(arguments.iter().copied()).stdin(Stdio::null()), b"");
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
        let help = String::from_utf8(outcome.stdout).unwrap();
        assert!(help.contains(shows), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
    }
    for (arguments, shows) in [
        (&["man"][..], ".TH panpipe-subscribe 1"),
        (&["man"], "panpipe call tcp://localhost:9999 upper"),
        (&["completions", "bash"], "--policy"),
        (&["completions", "fish"], "stubs"),
    ] {
        let outcome = run(arguments.iter().copied(), b"");
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
        let text = String::from_utf8(outcome.stdout).unwrap();
        assert!(text.contains(shows), "{shows}: {text}");
    }
    run(["--version"], b"").is(&format!("panpipe {}\n", env!("CARGO_PKG_VERSION")));
}
