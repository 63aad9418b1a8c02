//! `unix-seqpacket:`: boundaries are the system's, and everything else is as on a stream.

use panpipe::plain::blocking;
use panpipe::{Bytes, ErrorKind};

const PLACES: [&str; 2] =
    ["unix-seqpacket:/tmp/panpipe-test-*?protocol=plain", "unix-seqpacket:@panpipe-test-*?protocol=plain"];

#[tokio::test]
async fn the_founding_example() {
    for place in PLACES {
        let upper = |message: Bytes| async move { message.to_ascii_uppercase() };
        let server = panpipe::plain::serve(place, upper).await.unwrap();
        let peer = panpipe::plain::connect(server.address()).await.unwrap();
        assert_eq!(peer.call("Hello, server!").await.unwrap(), "HELLO, SERVER!");
        let calls: Vec<_> = (0..500).map(|number| peer.call(format!("call {number}"))).collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), format!("CALL {number}"));
        }
        let large: Vec<u8> = (0..150_000).map(|at| b'a' + (at % 23) as u8).collect();
        assert_eq!(peer.call(&large).await.unwrap(), large.to_ascii_uppercase());
        peer.close().await.unwrap();
        server.close().await.unwrap();
    }
}

#[test]
fn boundaries_are_kept_and_the_end_is_none() {
    let listener = blocking::listen(PLACES[1]).unwrap();
    let one = blocking::connect(listener.address()).unwrap();
    let other = listener.accept().unwrap().unwrap();
    for message in ["a", "bc\n", "\0"] {
        one.send(message).unwrap();
    }
    one.close().unwrap();
    for message in ["a", "bc\n", "\0"] {
        assert_eq!(other.recv().unwrap().unwrap(), message);
    }
    assert!(other.recv().unwrap().is_none());
}

#[test]
fn what_no_packet_can_carry_is_an_error_and_the_connection_lives() {
    let listener = blocking::listen(PLACES[1]).unwrap();
    let one = blocking::connect(listener.address()).unwrap();
    let other = listener.accept().unwrap().unwrap();
    assert_eq!(one.send("").unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(one.send(vec![0; 1 << 20]).unwrap_err().kind(), ErrorKind::TooLarge);
    one.send("fine").unwrap();
    assert_eq!(other.recv().unwrap().unwrap(), "fine");
}

#[test]
fn the_largest_message_goes_through_and_one_byte_more_does_not() {
    let listener = blocking::listen(PLACES[1]).unwrap();
    let one = blocking::connect(listener.address()).unwrap();
    let other = listener.accept().unwrap().unwrap();
    std::thread::scope(|scope| {
        let largest = scope.spawn(|| {
            let mut sizes = 1..=1 << 20;
            // The limit lies where sending begins to be refused, and it is refused before it reaches the system.
            let (mut low, mut high) = (sizes.next().unwrap(), 1 << 20);
            while low < high {
                let middle = (low + high) / 2;
                match one.send(vec![7; middle]) {
                    Ok(()) => low = middle + 1,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::TooLarge);
                        high = middle;
                    }
                }
            }
            one.close().unwrap();
            low - 1
        });
        let mut received = 0;
        while let Some(message) = other.recv().unwrap() {
            received = received.max(message.len());
        }
        assert_eq!(largest.join().unwrap(), received);
        assert!(received > 100_000);
    });
}

#[tokio::test]
async fn both_sides_send_without_a_deadlock() {
    let listener = panpipe::plain::listen(PLACES[1]).await.unwrap();
    let one = panpipe::plain::connect(listener.address()).await.unwrap();
    let other = listener.accept().await.unwrap().unwrap();
    let send = async |peer: &panpipe::plain::Connection| {
        for _ in 0..500 {
            peer.send(vec![b'x'; 100_000]).await.unwrap();
        }
    };
    let count = async |peer: &panpipe::plain::Connection| {
        for _ in 0..500 {
            assert_eq!(peer.recv().await.unwrap().unwrap().len(), 100_000);
        }
    };
    tokio::join!(send(&one), send(&other), count(&one), count(&other));
}

#[test]
fn a_framing_has_no_place_on_packets() {
    let error = blocking::connect("unix-seqpacket:a?framing=lines").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_stale_file_is_replaced_and_a_stream_is_another_kind() {
    let first = blocking::listen(PLACES[0]).unwrap();
    let error = blocking::listen(first.address()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AddressInUse);
    let stream = first.address().replace("unix-seqpacket", "unix");
    assert_eq!(blocking::listen(&stream).err().unwrap().kind(), ErrorKind::AddressInUse);
    assert!(blocking::connect(&stream).is_err());
}
