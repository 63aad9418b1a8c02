//! What a pair may be made of, how its ends are handed over, and what bad days do to it.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use panpipe::plain::blocking;
use panpipe::{ErrorKind, Ran};

/// How long a test waits for what must come.
const NET: Duration = Duration::from_secs(20);

#[test]
fn a_pair_of_sockets_or_of_pipes_goes_both_ways() {
    for kind in ["framing=lines", "?framing=lines", "protocol=plain", "socket?framing=lines", "pipe?framing=lines"] {
        let (one, other) = blocking::pair(kind).unwrap();
        let large = vec![b'x'; 3 << 20];
        std::thread::scope(|scope| {
            scope.spawn(|| one.send(&large).unwrap());
            assert_eq!(other.recv().unwrap().unwrap(), large, "{kind}");
        });
        other.send("back").unwrap();
        assert_eq!(one.recv().unwrap().unwrap(), "back");
        one.close().unwrap();
        assert!(other.recv().unwrap().is_none(), "{kind}");
        assert_eq!(one.recv().unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[test]
fn of_a_one_way_pair_the_first_reads_and_the_second_writes() {
    let (reader, writer) = blocking::pair("one-way?framing=lines").unwrap();
    writer.send("hi").unwrap();
    assert_eq!(reader.recv().unwrap().unwrap(), "hi");
    let reads = [reader.send("no").unwrap_err(), reader.call("no").unwrap_err()];
    let writes = [writer.recv().unwrap_err(), writer.call("no").unwrap_err()];
    for (errors, reason) in [(reads, "this end only reads"), (writes, "this end only writes")] {
        for error in errors {
            assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Unsupported, Ran::No));
            assert!(error.to_string().ends_with(reason), "{error}");
        }
    }
    writer.close().unwrap();
    assert!(reader.recv().unwrap().is_none());
    reader.close().unwrap();
}

#[tokio::test]
async fn the_same_on_tokio() {
    for kind in ["socket", "pipe"] {
        let (one, other) = panpipe::plain::pair(&format!("{kind}?framing=lines")).unwrap();
        let large = vec![b'x'; 3 << 20];
        let (sent, received) = tokio::join!(one.send(&large), other.recv());
        sent.unwrap();
        assert_eq!(received.unwrap().unwrap(), large);
        let answer = async { other.send(other.recv().await.unwrap().unwrap()).await.unwrap() };
        let (reply, ()) = tokio::join!(one.call("echo"), answer);
        assert_eq!(reply.unwrap(), "echo");
        one.close().await.unwrap();
        assert!(other.recv().await.unwrap().is_none());
    }
    let (reader, writer) = panpipe::plain::pair("one-way").unwrap();
    writer.send("hi").await.unwrap();
    assert_eq!(reader.recv().await.unwrap().unwrap(), "hi");
    assert_eq!(reader.send("no").await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(writer.recv().await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(writer.call("no").await.unwrap_err().kind(), ErrorKind::Unsupported);
    // Of what can never be sent nothing is lost.
    reader.close().await.unwrap();
    writer.close().await.unwrap();
}

#[test]
fn an_unknown_kind_is_told_the_known_ones() {
    let error = blocking::pair("tube?framing=lines").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("known: socket, pipe, one-way"), "{error}");
    assert_eq!(blocking::pair("pipe?framing=lines&colour=red").err().unwrap().kind(), ErrorKind::Unsupported);
    assert_eq!(blocking::pair("pipe?framing=lines&chaos=1").err().unwrap().kind(), ErrorKind::Unsupported);
}

fn tr((reader, writer): (OwnedFd, Option<OwnedFd>)) -> std::process::Child {
    let writer = writer.unwrap_or_else(|| reader.try_clone().unwrap());
    Command::new("tr").args(["a-z", "A-Z"]).stdin(Stdio::from(reader)).stdout(Stdio::from(writer)).spawn().unwrap()
}

#[tokio::test]
async fn a_child_gets_an_end_that_is_detached() {
    for kind in ["socket", "pipe"] {
        let (ours, theirs) = panpipe::plain::pair(&format!("{kind}?framing=raw")).unwrap();
        let descriptors = theirs.detach().unwrap();
        assert_eq!(descriptors.1.is_some(), kind == "pipe");
        let mut child = std::fs::File::from(descriptors.0);
        ours.send("to the child").await.unwrap();
        let mut room = [0; 32];
        let count = child.read(&mut room).unwrap();
        assert_eq!(&room[..count], b"to the child");
        let mut answers = descriptors.1.map_or_else(|| child.try_clone().unwrap(), std::fs::File::from);
        answers.write_all(b"to the parent").unwrap();
        assert_eq!(ours.recv().await.unwrap().unwrap(), "to the parent");
        drop((child, answers));
        // Nobody else holds the end that was detached.
        assert!(tokio::time::timeout(NET, ours.recv()).await.expect("it ends").unwrap().is_none());
    }
}

#[test]
fn a_program_that_knows_nothing_of_panpipe_can_be_the_other_end() {
    for kind in ["socket", "pipe"] {
        let (ours, theirs) = blocking::pair(&format!("{kind}?framing=raw")).unwrap();
        // Its descriptors were used, and waited with, before.
        ours.send("first").unwrap();
        assert_eq!(theirs.recv().unwrap().unwrap(), "first");
        assert!(theirs.recv_within(Duration::from_millis(1)).is_err());
        let mut child = tr(theirs.detach().unwrap());
        assert_eq!(theirs.send("again").unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(theirs.detach().unwrap_err().kind(), ErrorKind::Closed);
        std::thread::sleep(Duration::from_millis(20)); // it must wait for its input
        assert!(child.try_wait().unwrap().is_none());
        ours.send("hello").unwrap();
        // tr writes when its input ends.
        ours.send("\n").unwrap();
        let descriptors = ours.detach().unwrap();
        let output = match descriptors {
            (reader, Some(writer)) => {
                drop(writer);
                reader
            }
            (socket, None) => {
                rustix::net::shutdown(&socket, rustix::net::Shutdown::Write).unwrap();
                socket
            }
        };
        let mut text = String::new();
        std::fs::File::from(output).read_to_string(&mut text).unwrap();
        assert_eq!(text, "HELLO\n");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn an_end_that_was_detached_is_held_by_nobody_else() {
    for kind in ["socket?framing=lines", "pipe?framing=lines"] {
        let (ours, theirs) = blocking::pair(kind).unwrap();
        drop(theirs.detach().unwrap());
        assert!(ours.recv_within(NET).unwrap().is_none(), "{kind}");
        assert_eq!(theirs.recv().unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[test]
fn an_end_with_something_on_its_way_is_not_detached() {
    let (one, other) = blocking::pair("framing=lines").unwrap();
    one.send("first\nsecond").unwrap_err();
    one.send("first").unwrap();
    one.send("second").unwrap();
    assert_eq!(other.recv().unwrap().unwrap(), "first");
    let error = other.detach().unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Busy, Ran::No));
    assert_eq!(other.recv().unwrap().unwrap(), "second", "it is as it was");
    other.detach().unwrap();

    let (one, _other) = blocking::pair("pipe?framing=lines").unwrap();
    assert_eq!(one.call_within(Duration::from_millis(10), "?").unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    assert_eq!(one.detach().unwrap_err().kind(), ErrorKind::Busy, "the late reply would answer somebody else");
}

const FRAMINGS: [&str; 6] = ["lines", "nul", "length", "netstring", "varint", "content-length"];

/// Messages of mixed sizes, which hold nothing that a framing could not carry.
fn messages(seed: u64) -> Vec<Vec<u8>> {
    let sizes = [0, 1, 2, 17, 255, 256, 4096, 4097, 70_000, 3, 0, 12_345];
    (0..12).map(|at| vec![b'a' + ((seed + at) % 26) as u8; sizes[((seed * 7 + at) % 12) as usize]]).collect()
}

/// Echoes until the other side has gone.
fn echo(peer: &blocking::Connection) {
    while let Ok(Some(message)) = peer.recv() {
        if peer.send(message).is_err() {
            break;
        }
    }
}

#[test]
fn two_hundred_bad_days_change_no_conversation() {
    for seed in 0..200 {
        let framing = FRAMINGS[seed as usize % FRAMINGS.len()];
        let (one, other) = blocking::pair(&format!("?chaos={seed}&framing={framing}&timeout=20s")).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| echo(&other));
            for message in messages(seed) {
                assert_eq!(one.call(&message).unwrap(), message, "seed {seed}");
            }
            one.close().unwrap();
        });
    }
}

#[tokio::test]
async fn two_hundred_bad_days_on_tokio() {
    for seed in 0..200 {
        let framing = FRAMINGS[seed as usize % FRAMINGS.len()];
        let place = format!("mem:bad-days-{seed}?chaos={seed}&framing={framing}&timeout=20s");
        let server = panpipe::plain::serve(&place, |message: panpipe::Bytes| async move { message }).await.unwrap();
        let peer = panpipe::plain::connect(&place).await.unwrap();
        // All in flight at once.
        let messages = messages(seed);
        let calls: Vec<_> = messages.iter().map(|message| peer.call(message)).collect();
        for (call, message) in calls.into_iter().zip(&messages) {
            assert_eq!(call.await.unwrap(), *message, "seed {seed}");
        }
        peer.close().await.unwrap();
        server.close().await.unwrap();
    }
}

#[test]
fn a_connection_that_is_cut_tells_so_and_never_gives_a_wrong_message() {
    let mut cut = 0;
    for seed in 0..200 {
        let framing = FRAMINGS[seed as usize % FRAMINGS.len()];
        let (one, other) = blocking::pair(&format!("?chaos={seed},cut&framing={framing}&timeout=20s")).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| echo(&other));
            for message in messages(seed) {
                match one.call(&message) {
                    Ok(reply) => assert_eq!(reply, message, "seed {seed}"),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::ConnectionLost, "seed {seed}: {error}");
                        cut += 1;
                        break;
                    }
                }
            }
            let _ = one.close();
        });
    }
    assert!((10..200).contains(&cut), "{cut}");
}
