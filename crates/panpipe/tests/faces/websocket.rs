//! WebSocket, TLS, and one port for all.

use std::path::PathBuf;
use std::time::Duration;

use panpipe::{ErrorKind, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn service() -> Service {
    Service::new().method("upper", |text: String| async move { Ok(text.to_uppercase()) })
}

/// The port of a listener's address.
fn port(address: &str) -> u16 {
    let place = address.split_once("//").unwrap().1;
    let place = place.split(['/', '?']).next().unwrap();
    place.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// What a raw client gets for what it sends.
async fn say(port: u16, words: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    socket.write_all(words).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn calls_go_over_a_websocket() {
    let server = panpipe::serve("ws://localhost:0/room", &service()).await.unwrap();
    assert!(server.address().ends_with("/room"), "{}", server.address());
    let peer = panpipe::connect(server.address()).await.unwrap();
    let reply: String = peer.call("upper", "Hello, server!").await.unwrap();
    assert_eq!(reply, "HELLO, SERVER!");
    for size in [0, 1, 125, 126, 65535, 65536, 300_000, 3 << 20] {
        let text = "x".repeat(size);
        let reply: String = peer.call("upper", &text).await.unwrap();
        assert_eq!(reply.len(), size);
    }
    let elsewhere = server.address().replace("/room", "/hall");
    let refused = panpipe::connect(&elsewhere).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused}");
    peer.close().await.unwrap();
    server.close().await.unwrap();
}
