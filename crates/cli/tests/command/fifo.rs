//! `fifo:` in a shell, which is what it is for.

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::{Folder, Outcome, Server, finish, run};

fn shell(script: &str) -> Outcome {
    finish(Command::new("sh").args(["-c", script]).stdin(Stdio::null()), b"")
}

#[test]
fn echo_and_cat_are_answered_again_and_again() {
    let folder = Folder::new("fifo");
    let (fifo, reply) = (folder.path("in"), folder.path("out"));
    let mut server = Server::start(&format!("fifo:{fifo}?reply={reply}&framing=lines"), &["--upper"]);
    for number in 0..5 {
        shell(&format!("echo hi {number} > {fifo} & cat {reply}")).is(&format!("HI {number}\n"));
    }
    for _ in 0..3 {
        server.call("Hello, server!").is("HELLO, SERVER!\n");
    }
    server.end(Signal::TERM);
    assert!(!fs::exists(fifo).unwrap(), "what it made is removed");
    assert!(!fs::exists(reply).unwrap(), "what it made is removed");
}

#[test]
fn a_killed_server_leaves_fifos_that_the_next_one_uses() {
    let folder = Folder::new("fifo-killed");
    let (fifo, reply) = (folder.path("in"), folder.path("out"));
    let address = format!("fifo:{fifo}?reply={reply}&framing=lines");
    Server::start(&address, &["--upper"]).end(Signal::KILL);
    assert!(fs::exists(&fifo).unwrap());
    let _server = Server::start(&address, &["--upper"]);
    shell(&format!("echo hi > {fifo} & cat {reply}")).is("HI\n");
}

#[test]
fn without_a_fifo_for_replies_serve_and_call_refuse_at_once() {
    let folder = Folder::new("fifo-one-way");
    let address = format!("fifo:{}", folder.path("in"));
    for handler in [&["--upper"][..], &["--echo"], &["--", "cat"]] {
        let outcome = run(["serve", &address].iter().chain(handler).copied(), b"");
        let reason = "this end of the FIFO only reads; reply=PATH2 makes it two-way";
        outcome.is_error(2, &[&format!("panpipe: answering on {address}: unsupported: {reason}")]);
    }
    let _listener = panpipe::plain::blocking::listen(&address).unwrap();
    let reason = "this end of the FIFO only writes; reply=PATH2 makes it two-way";
    let outcome = run(["call", &address, "hi"], b"");
    outcome.is_error(2, &[&format!("panpipe: calling {address}: unsupported: {reason}")]);
}

#[test]
fn a_second_server_is_refused() {
    let folder = Folder::new("fifo-second");
    let address = format!("fifo:{}?reply={}", folder.path("in"), folder.path("out"));
    let _first = Server::start(&address, &["--upper"]);
    let outcome = run(["serve", &address, "--upper"], b"");
    assert_eq!(outcome.code, Some(3));
    assert!(outcome.stderr.contains("address-in-use: another process reads this FIFO"), "{outcome:?}");
}
