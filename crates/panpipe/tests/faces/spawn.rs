//! Children: what they say by their end, and that none is left.

use panpipe::{ErrorKind, Ran, blocking};

fn sh(script: &str) -> [&str; 3] {
    ["sh", "-c", script]
}

#[test]
fn a_child_answers_and_ends_with_its_stdin() {
    let child = blocking::spawn(["cat"], "framing=lines").unwrap();
    let pid = child.remote().pid.unwrap();
    assert_eq!(child.remote().transport, "spawn");
    assert_eq!(child.call("hello").unwrap(), "hello");
    child.close().unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn child_exits_3_in_the_middle_of_a_call() {
    let child = blocking::spawn(sh("read line; echo no such luck >&2; exit 3"), "framing=lines").unwrap();
    let error = child.call("hello").unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::ConnectionLost, Ran::Maybe));
    assert!(error.to_string().ends_with("the child exited with status 3; its stderr ended: no such luck"), "{error}");
}
