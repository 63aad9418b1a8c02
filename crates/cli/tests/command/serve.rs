use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::{Server, run};

#[test]
fn upper_answers_call_over_every_address_and_framing() {
    for address in ["tcp://localhost:0", "unix:/tmp/panpipe-cli-*", "unix:@panpipe-cli-*"] {
        for info in panpipe::framings() {
            let variants = info.variants.iter().map(|variant| format!("{}:{variant}", info.name));
            for framing in std::iter::once(info.name.to_owned()).chain(variants) {
                let server = Server::start(&format!("{address}?framing={framing}"), &["--upper"]);
                server.call("Hello, server!").is("HELLO, SERVER!\n");
            }
        }
    }
}

#[test]
fn the_default_framing_of_plain_is_the_same_on_both_sides() {
    Server::start("tcp://localhost:0?protocol=plain", &["--upper"]).call("Hello, server!").is("HELLO, SERVER!\n");
}

#[test]
fn upper_answers_call_by_datagrams() {
    for address in ["udp://localhost:0", "udp://[::1]:0", "unix-dgram:/tmp/panpipe-cli-*", "unix-dgram:@panpipe-cli-*"]
    {
        let server = Server::start(address, &["--upper"]);
        server.call("Hello, server!").is("HELLO, SERVER!\n");
        server.call("again").is("AGAIN\n");
    }
}

#[test]
fn echo_answers_the_message_itself() {
    Server::start("unix:@panpipe-cli-*?framing=length", &["--echo"]).call("Hello, server!").is("Hello, server!\n");
}

#[test]
fn upper_knows_every_letter_of_text_and_only_ascii_in_bytes() {
    Server::start("unix:@panpipe-cli-*?text=true&framing=length", &["--upper"]).call("grün ß").is("GRÜN SS\n");
    Server::start("unix:@panpipe-cli-*?framing=length", &["--upper"]).call("grün").is("GRüN\n");
}

#[test]
fn a_plain_client_of_lines_is_answered_while_a_silent_one_is_connected() {
    let server = Server::start("tcp://localhost:0?framing=lines", &["--upper"]);
    let _silent = TcpStream::connect(server.place()).unwrap();
    let mut client = TcpStream::connect(server.place()).unwrap();
    client.write_all(b"Hello, server!\r\nagain\n").unwrap();
    let lines: Vec<_> = BufReader::new(&client).lines().take(2).map(Result::unwrap).collect();
    assert_eq!(lines, ["HELLO, SERVER!", "AGAIN"]);
}

#[test]
fn a_plain_client_of_raw_that_finishes_sending_still_gets_its_answer() {
    let server = Server::start("tcp://localhost:0?framing=raw", &["--upper"]);
    let mut client = TcpStream::connect(server.place()).unwrap();
    client.write_all(b"Hello, server!").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut reply = String::new();
    client.read_to_string(&mut reply).unwrap();
    assert_eq!(reply, "HELLO, SERVER!");
}

#[test]
fn stdio_answers_until_stdin_ends_and_then_exits_with_0() {
    for address in ["-?framing=lines", "stdio:?framing=lines"] {
        for handler in [&["--upper"][..], &["--", "tr", "a-z", "A-Z"]] {
            let outcome = run(["serve", address].iter().chain(handler).copied(), b"Hello, server!\nagain\n");
            assert_eq!(outcome.stdout, b"HELLO, SERVER!\nAGAIN\n");
            assert_eq!((outcome.code, outcome.stderr), (Some(0), format!("listening on {address}\n")));
        }
    }
}

#[test]
fn a_broken_client_costs_one_line_and_its_connection_alone() {
    let server = Server::start("tcp://localhost:0?framing=netstring", &["--upper"]);
    let mut broken = TcpStream::connect(server.place()).unwrap();
    broken.write_all(b"\x1b[2Jgarbage").unwrap();
    let address = &server.address;
    let line = server.line();
    assert!(line.starts_with(&format!("panpipe: connection closed: receiving from {address}: bad-peer: ")), "{line}");
    assert_eq!(broken.read(&mut [0; 8]).unwrap(), 0);
    server.call("Hello, server!").is("HELLO, SERVER!\n");
}

#[test]
fn a_browser_that_was_sent_there_is_turned_away() {
    let server = Server::start("tcp://localhost:0?framing=lines", &["--echo"]);
    let mut browser = TcpStream::connect(server.place()).unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(server.line().contains(": bad-peer: an HTTP request"));
    assert_eq!(browser.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn files_may_stand_for_stdin_and_stdout_from_where_they_are() {
    let folder = crate::Folder::new("files");
    let (requests, replies) = (folder.path("requests"), folder.path("replies"));
    std::fs::write(&requests, "skipped\nHello, server!\nagain\n").unwrap();
    std::fs::write(&replies, "kept\n").unwrap();
    let script = r#"{ read skipped; "$1" serve '-?framing=lines' --upper; } < "$2" >> "$3" 2> /dev/null"#;
    let program = env!("CARGO_BIN_EXE_panpipe");
    let shell =
        |script| std::process::Command::new("sh").args(["-c", script, "sh", program, &requests, &replies]).status();
    assert!(shell(script).unwrap().success());
    assert_eq!(std::fs::read_to_string(&replies).unwrap(), "kept\nHELLO, SERVER!\nAGAIN\n");
    let many = "x".repeat(1000).lines().cycle().take(5000).collect::<Vec<_>>().join("\n") + "\n";
    std::fs::write(&requests, &many).unwrap();
    assert!(shell(r#""$1" serve '-?framing=lines' --upper < "$2" > "$3" 2> /dev/null"#).unwrap().success());
    assert!(std::fs::read_to_string(&replies).unwrap() == many.to_uppercase());
    assert!(shell(r#""$1" serve "-?framing=lines" --upper < /dev/null > /dev/null 2> /dev/null"#).unwrap().success());
}
