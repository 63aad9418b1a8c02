//! `panpipe call` to a program that it starts.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Folder, call, panpipe, run, wait};

#[test]
fn a_program_after_two_dashes_is_started_and_called() {
    call(&["spawn:?framing=lines", "hello", "--", "sed", "-u", "s/.*/\\U&/"]).is("HELLO\n");
    call(&["spawn:[\"cat\"]?framing=lines", "hello"]).is("hello\n");
    run(["call", "spawn:?framing=nul", "--", "cat"], b"hello").is("hello\n");
    run(["call", "spawn:?framing=length", "--", "cat"], b"hello").is("hello\n");
}

#[test]
fn a_program_that_fails_is_7_with_its_status_and_its_stderr() {
    let outcome = call(&["spawn:?framing=lines", "hello", "--", "sh", "-c", "read line; echo alas >&2; exit 3"]);
    assert_eq!(outcome.code, Some(7), "{outcome:?}");
    assert!(outcome.stderr.starts_with("alas\npanpipe: calling spawn:"), "{outcome:?}");
    assert!(outcome.stderr.contains("connection-lost: the child exited with status 3; its stderr ended: alas\n"));
}

#[test]
fn a_program_that_is_not_there_is_3_and_none_or_one_too_many_is_2() {
    let outcome = call(&["spawn:?framing=length", "hello", "--", "panpipe-no-such-program"]);
    assert_eq!(outcome.code, Some(3));
    assert!(
        outcome.stderr.contains("not-found: no program in PATH is called \"panpipe-no-such-program\""),
        "{outcome:?}"
    );
    for arguments in [
        &["spawn:", "hello"][..],
        &["tcp://localhost:1?framing=lines", "hello", "--", "cat"],
        &["tcp://localhost:1?framing=lines", "--", "a", "b"],
    ] {
        let outcome = call(arguments);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
    }
}

#[test]
fn a_program_ends_with_a_call_that_is_interrupted() {
    let folder = Folder::new("interrupted");
    let mark = folder.path("pid");
    let script = format!("echo $$ > {mark}.new; mv {mark}.new {mark}; exec sleep 1000");
    let mut calling = panpipe(["call", "spawn:?framing=length", "hello", "--", "sh", "-c", &script])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let pid = loop {
        if let Ok(pid) = fs::read_to_string(&mark) {
            break pid.trim().to_owned();
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(1));
    };
    kill_process(Pid::from_child(&calling), Signal::INT).unwrap();
    assert_eq!(wait(&mut calling).code(), Some(130));
    let begun = Instant::now();
    // One that nobody has reaped is no process any more.
    while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(begun.elapsed() < Duration::from_secs(1), "it lives on");
        thread::sleep(Duration::from_millis(1));
    }
}
