//! Children: what they say by their end, and that none of them is left.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use panpipe::plain::blocking;
use panpipe::{Error, ErrorKind, Ran};

fn sh(script: &str) -> [&str; 3] {
    ["sh", "-c", script]
}

/// Whether a process runs; one that nobody has reaped does not.
fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !matches!(rest.trim_start().chars().next(), None | Some('Z' | 'X')))
}

/// Whether there is no trace of it, a zombie neither.
fn is_reaped(pid: i32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !holds() {
        if begun.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The children of this process, zombies too.
fn children() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    lists.map(|list| list.split_whitespace().count()).sum()
}

/// This test in a process of its own, with its stderr to nowhere.
fn alone(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("spawn::{test}"), "--nocapture", "--quiet"]).env(ALONE, "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

const ALONE: &str = "PANPIPE_TEST_ALONE";

/// Runs `test` in a process of its own, when this is not that already.
fn is_alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let output = alone(test).output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stdout));
    false
}

#[tokio::test]
async fn a_close_that_is_given_up_ends_the_child_all_the_same() {
    let peer = panpipe::plain::spawn(["sleep", "1000"], "framing=length&stderr=null").await.unwrap();
    let pid = peer.remote().pid.unwrap();
    tokio::time::timeout(Duration::from_millis(10), peer.close()).await.unwrap_err();
    let begun = Instant::now();
    while !is_reaped(pid) {
        assert!(begun.elapsed() < Duration::from_secs(20), "the child lives on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_child_answers_and_ends_with_its_stdin() {
    let child = blocking::spawn(["cat"], "framing=lines").unwrap();
    let pid = child.remote().pid.unwrap();
    assert_eq!(child.remote().transport, "spawn");
    assert_eq!(child.call("hello").unwrap(), "hello");
    child.close().unwrap();
    assert!(is_reaped(pid));

    let child = panpipe::plain::spawn(["cat"], "framing=lines").await.unwrap();
    let pid = child.remote().pid.unwrap();
    assert_eq!(child.call("hello").await.unwrap(), "hello");
    child.close().await.unwrap();
    assert!(is_reaped(pid));
}

#[test]
fn an_argument_arrives_as_it_is() {
    let odd = "a?b%20&c=\"d\" é\n$HOME";
    let child = blocking::spawn(["printf", "%s\\0", odd], "framing=nul").unwrap();
    assert_eq!(child.recv().unwrap().unwrap(), odd);
    assert_eq!(child.recv().unwrap(), None);
}

#[tokio::test]
async fn child_exits_3_in_the_middle_of_a_call() {
    let command = sh("read line; echo no such luck >&2; exit 3");
    let child = blocking::spawn(command, "framing=lines").unwrap();
    let error = child.call("hello").unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::ConnectionLost, Ran::Maybe));
    let words = "the child exited with status 3; its stderr ended: no such luck";
    assert!(error.to_string().ends_with(words), "{error}");
    assert!(child.recv().unwrap_err().to_string().ends_with(words));
    let later = child.call("again").unwrap_err();
    assert_eq!(later.may_have_run(), Ran::No);
    assert!(later.to_string().ends_with(words), "{later}");

    let child = panpipe::plain::spawn(command, "framing=lines").await.unwrap();
    let (one, other) = tokio::join!(child.call("hello"), child.call("there"));
    for error in [one.unwrap_err(), other.unwrap_err(), child.recv().await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::ConnectionLost);
        assert!(error.to_string().ends_with(words), "{error}");
    }
}

#[test]
fn child_killed_by_a_signal() {
    let child = blocking::spawn(sh("read line; kill -s SEGV $$"), "framing=lines").unwrap();
    let error = child.call("hello").unwrap_err();
    assert!(error.to_string().ends_with("connection-lost: the child was killed by signal 11 (SIGSEGV)"), "{error}");
}

#[test]
fn a_child_that_exits_well_has_only_failed_those_who_wait() {
    let child = blocking::spawn(sh("echo bye"), "framing=lines").unwrap();
    assert_eq!(child.recv().unwrap().unwrap(), "bye");
    assert_eq!(child.recv().unwrap(), None);
    let child = blocking::spawn(sh("read line"), "framing=lines").unwrap();
    let error = child.call("hello").unwrap_err();
    assert!(error.to_string().ends_with("the child exited with status 0 before it answered"), "{error}");
    let child = blocking::spawn(sh("printf hal"), "framing=lines").unwrap();
    let error = child.recv().unwrap_err();
    assert!(error.to_string().ends_with("the child exited with status 0 inside a message"), "{error}");
}

#[test]
fn a_call_to_a_dead_child_says_how_it_died_and_has_not_run() {
    let child = blocking::spawn(sh("echo oh >&2; exit 3"), "framing=lines").unwrap();
    let pid = child.remote().pid.unwrap();
    assert!(within(Duration::from_secs(5), || !runs(pid)));
    let error = child.call("hello").unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::ConnectionLost, Ran::No));
    assert!(error.to_string().ends_with("the child exited with status 3; its stderr ended: oh"), "{error}");
}

#[test]
fn a_child_that_stops_reading_and_lives_on_fails_what_is_sent() {
    let child = blocking::spawn(sh("exec <&-; echo deaf; exec sleep 1000"), "framing=lines").unwrap();
    assert_eq!(child.recv().unwrap().unwrap(), "deaf");
    let begun = Instant::now();
    let error = child.call("hello").unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::ConnectionLost, Ran::No), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_ignores_all_that_it_may_is_killed_after_seven_seconds() {
    let command = sh("trap '' TERM; echo $$; while :; do sleep 1; done");
    let one = tokio::task::spawn_blocking(move || {
        let child = blocking::spawn(command, "framing=lines").unwrap();
        child.recv().unwrap();
        let pid = child.remote().pid.unwrap();
        let begun = Instant::now();
        child.close().unwrap();
        (pid, begun.elapsed())
    });
    let child = panpipe::plain::spawn(command, "framing=lines").await.unwrap();
    child.recv().await.unwrap();
    let pid = child.remote().pid.unwrap();
    let begun = Instant::now();
    child.close().await.unwrap();
    for (pid, took) in [(pid, begun.elapsed()), one.await.unwrap()] {
        assert!(is_reaped(pid));
        assert!((6.9..9.0).contains(&took.as_secs_f64()), "{took:?}");
    }
}

#[test]
fn a_grandchild_that_holds_stdout_delays_no_error_and_ends_with_the_connection() {
    let script = "sleep 1000 & echo $!; read line; echo alas >&2; exit 3";
    let child = blocking::spawn(sh(script), "framing=lines").unwrap();
    let grandchild: i32 = str::from_utf8(&child.recv().unwrap().unwrap()).unwrap().parse().unwrap();
    let begun = Instant::now();
    let error = child.call("hello").unwrap_err();
    assert!(error.to_string().ends_with("the child exited with status 3; its stderr ended: alas"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert!(runs(grandchild), "who is left behind lives until the connection is closed");
    let begun = Instant::now();
    child.close().unwrap();
    assert!(!runs(grandchild));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn all_that_a_child_wrote_comes_before_its_end_though_a_grandchild_holds_stdout() {
    let command = sh("sleep 1000 & seq 100000; exit 3");
    let child = panpipe::plain::spawn(command, "framing=lines").await.unwrap();
    let pid = child.remote().pid.unwrap();
    assert!(within(Duration::from_secs(5), || !runs(pid)));
    for number in 1..=100_000 {
        assert_eq!(child.recv().await.unwrap().unwrap(), number.to_string());
    }
    let error = tokio::time::timeout(Duration::from_secs(2), child.recv()).await.unwrap().unwrap_err();
    assert!(error.to_string().ends_with("the child exited with status 3"), "{error}");
    child.close().await.unwrap();
}

#[tokio::test]
async fn a_child_that_has_done_its_work_is_no_error_to_close() {
    let child = panpipe::plain::spawn(["echo", "done"], "framing=lines").await.unwrap();
    assert_eq!(child.recv().await.unwrap().unwrap(), "done");
    assert_eq!(child.recv().await.unwrap(), None);
    child.close().await.unwrap();
}

#[test]
fn a_gibibyte_of_stderr_neither_stops_a_child_nor_takes_memory() {
    if !is_alone("a_gibibyte_of_stderr_neither_stops_a_child_nor_takes_memory") {
        return;
    }
    let child = blocking::spawn(sh("head -c 1G /dev/zero >&2; exec cat"), "framing=lines").unwrap();
    assert_eq!(child.call_within(Duration::from_secs(60), "hello").unwrap(), "hello");
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 64 << 10, "{peak} kB");
}

#[test]
fn stderr_is_drained_while_nobody_is_in_a_call() {
    if !is_alone("stderr_is_drained_while_nobody_is_in_a_call") {
        return;
    }
    let mark = std::env::temp_dir().join(format!("panpipe-test-mark-{}", std::process::id()));
    let script = format!("head -c 16M /dev/zero >&2; : > {}; exec cat", mark.display());
    let child = blocking::spawn(sh(&script), "framing=lines").unwrap();
    assert!(within(Duration::from_secs(20), || mark.exists()));
    fs::remove_file(&mark).unwrap();
    assert_eq!(child.call("hello").unwrap(), "hello");
}

#[test]
fn half_a_message_and_silence_is_the_callers_deadline_and_then_a_loss() {
    let child = blocking::spawn(sh("read line; printf hal; exec sleep 1000"), "framing=lines").unwrap();
    let error = child.call_within(Duration::from_millis(200), "hello").unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::DeadlineExceeded, Ran::Maybe));
    // SAFETY: it is a child of ours.
    unsafe { libc::kill(child.remote().pid.unwrap(), libc::SIGKILL) };
    let error = child.recv().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost);
    assert!(error.to_string().ends_with("the child was killed by signal 9 (SIGKILL)"), "{error}");
}

/// The process in which `test` runs alone, and the pid that it has told.
fn parent(test: &str) -> (Child, i32) {
    let mut parent = alone(test).stdin(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let pid = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("child ")?.parse().ok()).unwrap();
    (parent, pid)
}

#[test]
fn a_child_that_never_reads_ends_with_a_parent_that_is_killed() {
    if std::env::var_os(ALONE).is_some() {
        let child = blocking::spawn(["sleep", "1000"], "framing=length").unwrap();
        println!("\nchild {}", child.remote().pid.unwrap());
        std::thread::sleep(Duration::from_secs(60));
    }
    let (mut parent, pid) = parent("a_child_that_never_reads_ends_with_a_parent_that_is_killed");
    assert!(runs(pid));
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(within(Duration::from_secs(1), || !runs(pid)));
}

#[test]
fn a_child_of_a_fork_and_one_of_its_parent_end_each_with_its_own() {
    const TEST: &str = "a_child_of_a_fork_and_one_of_its_parent_end_each_with_its_own";
    if std::env::var_os(ALONE).is_some() {
        let child = blocking::spawn(["sleep", "1000"], "framing=length").unwrap();
        // SAFETY: the child only spawns and sleeps.
        if unsafe { libc::fork() } == 0 {
            let _other = blocking::spawn(["sleep", "1000"], "framing=length").unwrap();
            std::thread::sleep(Duration::from_secs(60));
        }
        println!("\nchild {}", child.remote().pid.unwrap());
        std::thread::sleep(Duration::from_secs(60));
    }
    let (mut parent, pid) = parent(TEST);
    let children = || {
        let stats = fs::read_dir("/proc").unwrap().flatten();
        let stats = stats.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
        let rows = stats.map(|stat| {
            let (pid, rest) = stat.split_once(" (").unwrap();
            let (name, rest) = rest.rsplit_once(") ").unwrap();
            let parent = rest.split(' ').nth(1).unwrap();
            (pid.parse::<i32>().unwrap(), name.to_owned(), parent.parse::<i32>().unwrap())
        });
        rows.collect::<Vec<_>>()
    };
    let parents = parent.id() as i32;
    let mut fork = None;
    let mut other = None;
    assert!(within(Duration::from_secs(5), || {
        let rows = children();
        let is_fork =
            |row: &&(i32, String, i32)| row.2 == parents && row.1 != "sleep" && row.1 != "tee" && row.1 != "tail";
        fork = rows.iter().find(is_fork).map(|row| row.0);
        other = rows.iter().find(|row| Some(row.2) == fork && row.1 == "sleep").map(|row| row.0);
        other.is_some()
    }));
    let (fork, other) = (fork.unwrap(), other.unwrap());
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(within(Duration::from_secs(1), || !runs(pid)), "the fork keeps the parent's child alive");
    assert!(runs(other), "the parent's end is not the fork's");
    // SAFETY: it is a process that this test has started.
    unsafe { libc::kill(fork, libc::SIGKILL) };
    assert!(within(Duration::from_secs(1), || !runs(other)));
}

#[test]
fn a_child_outlives_the_thread_that_spawned_it() {
    let child = std::thread::spawn(|| blocking::spawn(["cat"], "framing=lines").unwrap()).join().unwrap();
    assert_eq!(child.call("hello").unwrap(), "hello");
}

#[test]
fn a_thousand_children_leave_no_zombie_and_no_descriptor() {
    if !is_alone("a_thousand_children_leave_no_zombie_and_no_descriptor") {
        return;
    }
    blocking::spawn(["cat"], "framing=lines").unwrap().close().unwrap();
    let before = descriptors();
    for round in 0..1000 {
        let stderr = if round % 10 == 0 { "tail" } else { "inherit" };
        let program = if round % 2 == 0 { "cat" } else { "true" };
        let child = blocking::spawn([program], &format!("framing=lines&stderr={stderr}")).unwrap();
        match round % 3 {
            0 => child.close().unwrap(),
            1 => drop(child),
            _ => drop(child.call("hello")),
        }
    }
    assert!(blocking::spawn(["/nowhere"], "framing=length").is_err());
    assert_eq!((children(), descriptors()), (0, before));
}

#[test]
fn a_lack_of_descriptors_is_busy_and_leaves_nothing_behind() {
    if !is_alone("a_lack_of_descriptors_is_busy_and_leaves_nothing_behind") {
        return;
    }
    let limit = |soft| {
        // SAFETY: the system reads and writes the whole of it.
        unsafe {
            let mut limits = std::mem::zeroed::<libc::rlimit>();
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits);
            limits.rlim_cur = soft;
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits), 0);
        }
    };
    for options in ["framing=lines", "framing=lines&socket=true"] {
        blocking::spawn(["cat"], options).unwrap().close().unwrap();
        let before = descriptors();
        let mut outcomes = Vec::new();
        for more in 0..40 {
            limit(before as u64 + more);
            let spawned = blocking::spawn(["cat"], options);
            limit(1024);
            outcomes.push(spawned.as_ref().map(|_| ()).map_err(Error::kind));
            if let Ok(child) = spawned {
                child.close().unwrap();
            }
            assert_eq!((children(), descriptors()), (0, before), "with {more} descriptors");
        }
        let enough = outcomes.iter().position(Result::is_ok).unwrap();
        assert!(enough > 10);
        assert!(outcomes[..enough].iter().all(|outcome| *outcome == Err(ErrorKind::Busy)), "{outcomes:?}");
        assert!(outcomes[enough..].iter().all(Result::is_ok), "{outcomes:?}");
    }
}

#[test]
fn a_child_whose_status_somebody_else_takes_has_ended_all_the_same() {
    if !is_alone("a_child_whose_status_somebody_else_takes_has_ended_all_the_same") {
        return;
    }
    let exits = || {
        let child = blocking::spawn(sh("read line; exit 3"), "framing=lines").unwrap();
        let error = child.call("hello").unwrap_err();
        assert!(error.to_string().ends_with("the child exited, its status unknown, before it answered"), "{error}");
        let begun = Instant::now();
        child.close().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert_eq!(children(), 0);
    };
    let before = descriptors();
    // SAFETY: no handler is set.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    exits();
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    blocking::spawn(["cat"], "framing=length").unwrap().close().unwrap();
    let child = blocking::spawn(["true"], "framing=lines").unwrap();
    // SAFETY: it waits for any child, as a program might that knows of none but its own.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
    assert_eq!(child.recv().unwrap(), None);
    drop(child);
    assert_eq!(children(), 0);
    // The watcher's pipe has stayed.
    assert_eq!(descriptors(), before + 1);
}

#[test]
fn a_watcher_that_was_killed_is_replaced_and_told_of_all() {
    const TEST: &str = "a_watcher_that_was_killed_is_replaced_and_told_of_all";
    if std::env::var_os(ALONE).is_some() {
        let first = blocking::spawn(["sleep", "1000"], "framing=length").unwrap();
        let ours: Vec<_> = fs::read_dir("/proc/self/fd").unwrap().flatten().collect();
        let ours: Vec<_> = ours.iter().filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
        let find = |entry: fs::DirEntry| {
            let is_shell = fs::read(entry.path().join("cmdline")).ok()?.starts_with(b"/bin/sh\0-c\0\ntrap");
            let lifeline = fs::read_link(entry.path().join("fd/0")).ok()?;
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            (is_shell && ours.contains(&lifeline)).then_some(pid)
        };
        let mut watcher = None;
        // Its arguments are to be read only a moment after it has begun.
        assert!(within(Duration::from_secs(5), || {
            watcher = fs::read_dir("/proc").unwrap().flatten().find_map(find);
            watcher.is_some()
        }));
        // SAFETY: it is the process that this one has started.
        unsafe { libc::kill(watcher.unwrap(), libc::SIGKILL) };
        assert!(within(Duration::from_secs(5), || !runs(watcher.unwrap())));
        let second = blocking::spawn(["sleep", "1000"], "framing=length").unwrap();
        println!("\nother {}", first.remote().pid.unwrap());
        println!("child {}", second.remote().pid.unwrap());
        std::thread::sleep(Duration::from_secs(60));
    }
    let mut parent = alone(TEST).spawn().unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines().map_while(Result::ok);
    let pids = lines.filter_map(|line| line.strip_prefix("other ").or(line.strip_prefix("child "))?.parse().ok());
    let pids: Vec<i32> = pids.take(2).collect();
    assert!(pids.len() == 2 && pids.iter().all(|pid| runs(*pid)));
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(within(Duration::from_secs(1), || !pids.iter().any(|pid| runs(*pid))));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_children_at_once() {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..50 {
        tasks.spawn(async move {
            let child = panpipe::plain::spawn(["cat"], "framing=lines&timeout=60s").await.unwrap();
            let pid = child.remote().pid.unwrap();
            assert_eq!(child.call(number.to_string()).await.unwrap(), number.to_string());
            child.close().await.unwrap();
            assert!(is_reaped(pid));
        });
    }
    tasks.join_all().await;
}

#[tokio::test]
async fn a_dropped_connection_ends_its_child() {
    let child = panpipe::plain::spawn(["cat"], "framing=lines").await.unwrap();
    let pid = child.remote().pid.unwrap();
    drop(child);
    let gone = async {
        while !is_reaped(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(2), gone).await.unwrap();
}

#[test]
fn what_cannot_be_started_is_named() {
    for (program, kind, mention) in [
        ("panpipe-no-such-program", ErrorKind::NotFound, "no program in PATH is called \"panpipe-no-such-program\""),
        ("/nowhere/at/all", ErrorKind::NotFound, "/nowhere/at/all"),
        ("/etc/passwd", ErrorKind::Permission, "/etc/passwd"),
        ("/", ErrorKind::Permission, "/"),
    ] {
        let error = blocking::spawn([program], "framing=length").err().unwrap();
        assert_eq!((error.kind(), error.may_have_run()), (kind, Ran::No), "{error}");
        assert!(error.to_string().contains(mention), "{error}");
        assert!(error.doing().contains(error.address().unwrap()), "{error}");
    }
    let error = blocking::listen("spawn:[\"cat\"]?framing=length").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn sixty_four_mebibytes_both_ways_at_once_do_not_lock_up() {
    let message = vec![7; 64 << 20];
    let options = "framing=length&max=64MiB&timeout=60s";
    let child = blocking::spawn(["cat"], options).unwrap();
    assert!(child.call(&message).unwrap() == message);
    let child = panpipe::plain::spawn(["cat"], options).await.unwrap();
    assert!(child.call(&message).await.unwrap() == message);
    let begun = Instant::now();
    child.close().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "what waited for room keeps its stdin open");
}

#[test]
fn a_write_to_a_dead_child_is_no_signal() {
    if !is_alone("a_write_to_a_dead_child_is_no_signal") {
        return;
    }
    // As in a C program that has loaded us.
    // SAFETY: no handler is set.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    for options in ["framing=lines", "framing=lines&socket=true"] {
        let child = blocking::spawn(["true"], options).unwrap();
        let pid = child.remote().pid.unwrap();
        assert!(within(Duration::from_secs(5), || !runs(pid)));
        let error = child.call("hello").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
        assert!(error.to_string().contains("exited with status 0"), "{error}");
    }
}

#[test]
fn a_child_has_only_what_is_its_own() {
    let leaked = fs::File::open("/").unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&leaked);
    // SAFETY: the number is open; from here on programs inherit it.
    unsafe { libc::fcntl(number, libc::F_SETFD, 0) };
    // Nothing here opens a descriptor or starts a program while it looks.
    let script = format!(
        "for n in 0 1 2 3 {number}; do [ -e /proc/$$/fd/$n ] && printf '%s ' $n; done; \
         read -r pid name state parent group rest < /proc/$$/stat; echo \"$(($$ - group))\""
    );
    let child = blocking::spawn(sh(&script), "framing=lines").unwrap();
    assert_eq!(child.recv().unwrap().unwrap(), "0 1 2 0");
}

#[test]
fn what_a_child_still_writes_when_it_is_closed_does_not_hold_it_up() {
    let mark = std::env::temp_dir().join(format!("panpipe-test-wrote-{}", std::process::id()));
    let script = format!("cat; head -c 8M /dev/zero; : > {}", mark.display());
    let child = blocking::spawn(sh(&script), "framing=lines").unwrap();
    assert_eq!(child.call("hello").unwrap(), "hello");
    let begun = Instant::now();
    child.close().unwrap();
    fs::remove_file(&mark).unwrap();
    assert!(begun.elapsed() < Duration::from_millis(1500));
}
