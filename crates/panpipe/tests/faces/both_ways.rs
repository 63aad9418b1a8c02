//! Both sides send 64 MiB at once, far more than any system holds for them, and read meanwhile.

use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

use panpipe::plain::blocking;

const SIZE: usize = 1 << 20;
const COUNT: usize = 64;

/// Two descriptors for each side of a pair of pipes, as a process has them at its stdin and stdout.
struct Pipes([(OwnedFd, OwnedFd); 2]);

impl Pipes {
    fn new() -> Self {
        let ((one_reads, other_writes), (other_reads, one_writes)) =
            (rustix::pipe::pipe().unwrap(), rustix::pipe::pipe().unwrap());
        Pipes([(one_reads, one_writes), (other_reads, other_writes)])
    }

    fn addresses(&self) -> [String; 2] {
        let address = |(reads, writes): &(OwnedFd, OwnedFd)| {
            format!("fd:{},{}?framing=length", reads.as_raw_fd(), writes.as_raw_fd())
        };
        [address(&self.0[0]), address(&self.0[1])]
    }
}

/// A message that tells its place in the stream.
fn message(number: usize) -> Vec<u8> {
    vec![number as u8; SIZE]
}

fn exchange_blocking(one: &blocking::Connection, other: &blocking::Connection) {
    thread::scope(|scope| {
        for peer in [one, other] {
            scope.spawn(move || (0..COUNT).for_each(|number| peer.send(message(number)).unwrap()));
            scope.spawn(move || {
                for number in 0..COUNT {
                    assert!(peer.recv().unwrap().unwrap() == message(number), "message {number}");
                }
            });
        }
    });
}

async fn exchange(one: &panpipe::plain::Connection, other: &panpipe::plain::Connection) {
    let send = async |peer: &panpipe::plain::Connection| {
        for number in 0..COUNT {
            peer.send(message(number)).await.unwrap();
        }
    };
    let receive = async |peer: &panpipe::plain::Connection| {
        for number in 0..COUNT {
            assert!(peer.recv().await.unwrap().unwrap() == message(number), "message {number}");
        }
    };
    tokio::join!(send(one), send(other), receive(one), receive(other));
}

#[test]
fn blocking_sides_that_send_at_once_over_sockets_do_not_deadlock() {
    for place in ["tcp://localhost:0?framing=length", "unix:@panpipe-test-*?framing=length"] {
        let listener = blocking::listen(place).unwrap();
        let one = blocking::connect(listener.address()).unwrap();
        exchange_blocking(&one, &listener.accept().unwrap().unwrap());
    }
}

#[test]
fn blocking_sides_that_send_at_once_over_pipes_do_not_deadlock() {
    let pipes = Pipes::new();
    let [one, other] = pipes.addresses().map(|address| blocking::connect(&address).unwrap());
    exchange_blocking(&one, &other);
}

#[tokio::test]
async fn sides_that_send_at_once_over_tcp_do_not_deadlock() {
    let listener = panpipe::plain::listen("tcp://localhost:0?framing=length").await.unwrap();
    let one = panpipe::plain::connect(listener.address()).await.unwrap();
    exchange(&one, &listener.accept().await.unwrap().unwrap()).await;
}

#[tokio::test]
async fn sides_that_send_at_once_over_pipes_do_not_deadlock() {
    let pipes = Pipes::new();
    let [one, other] = pipes.addresses();
    let (one, other) = (panpipe::plain::connect(&one).await.unwrap(), panpipe::plain::connect(&other).await.unwrap());
    exchange(&one, &other).await;
}
