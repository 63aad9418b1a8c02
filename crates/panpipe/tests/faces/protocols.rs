//! Which protocol an address means, and what the faces make of the other one.

use std::os::fd::AsRawFd;

use panpipe::plain::blocking;
use panpipe::{Error, ErrorKind, Service};

fn unsupported(error: Option<Error>, hint: &str) {
    let error = error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains(hint), "{error}");
}

#[tokio::test]
async fn an_address_alone_means_panpipe() {
    let service = Service::new().method("upper", |text: String| async move { Ok(text.to_uppercase()) });
    for address in ["tcp://localhost:0", "unix:@panpipe-test-*", "unix-seqpacket:@panpipe-test-*", "mem:alone"] {
        let server = panpipe::serve(address, &service).await.unwrap();
        let peer = panpipe::connect(server.address()).await.unwrap();
        assert_eq!(peer.call::<String>("upper", "Hello, server!").await.unwrap(), "HELLO, SERVER!");
    }
    for kind in ["", "socket", "pipe"] {
        let (one, _other) = panpipe::pair(kind, None, Some(&service)).unwrap();
        assert_eq!(one.call::<String>("upper", "Hello").await.unwrap(), "HELLO");
    }
}

#[tokio::test]
async fn plain_faces_take_no_address_that_means_panpipe() {
    use panpipe::plain;

    let hint = "as framing=length, or protocol=plain";
    for address in ["tcp://localhost:0", "unix:@panpipe-test-*", "fd:987", "-", "udp://localhost:0?protocol=panpipe"] {
        unsupported(plain::connect(address).await.err(), hint);
        unsupported(plain::listen(address).await.err(), hint);
        unsupported(plain::serve(address, |message: panpipe::Bytes| async { message }).await.err(), hint);
        unsupported(blocking::connect(address).err(), hint);
        unsupported(blocking::listen(address).err(), hint);
    }
    unsupported(plain::spawn(["cat"], "").await.err(), hint);
    unsupported(blocking::spawn(["cat"], "stderr=null").err(), hint);
    unsupported(plain::pair("").err(), hint);
    unsupported(blocking::pair("pipe").err(), hint);
}

#[tokio::test]
async fn peers_take_no_address_that_means_plain_messages() {
    for address in ["udp://localhost:0", "unix-dgram:@panpipe-test-*", "fifo:/nowhere", "mem:lines?framing=lines"] {
        unsupported(panpipe::connect(address).await.err(), "plain");
        unsupported(panpipe::listen(address).await.err(), "plain");
    }
    unsupported(panpipe::pair("one-way", None, None).err(), "plain");
}

#[tokio::test]
async fn panpipe_goes_both_ways_or_not_at_all() {
    let fifo = std::env::temp_dir().join(format!("panpipe-test-{}-one-way", std::process::id()));
    let fifo = format!("fifo:{}?protocol=panpipe", fifo.display());
    unsupported(panpipe::connect(&fifo).await.err(), "reply=PATH2 makes it two-way");
    unsupported(panpipe::listen(&fifo).await.err(), "reply=PATH2 makes it two-way");
    unsupported(panpipe::pair("one-way?protocol=panpipe", None, None).err(), "goes both ways");
    let (reader, writer) = std::io::pipe().unwrap();
    for end in [reader.as_raw_fd(), writer.as_raw_fd()] {
        unsupported(panpipe::connect(&format!("fd:{end}")).await.err(), "fd:IN,OUT");
        unsupported(panpipe::listen(&format!("fd:{end}")).await.err(), "fd:IN,OUT");
    }
}
