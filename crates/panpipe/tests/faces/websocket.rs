//! WebSocket, TLS, and one port for all.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use panpipe::plain;
use panpipe::{Bytes, ErrorKind, Ran, Service};
use panpipe_wire::websocket::{Answer, Policy, default_hosts, read_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A time limit that only what hangs reaches.
const NET: Duration = Duration::from_secs(20);

fn service() -> Service {
    Service::new().method("upper", |text: String| async move { Ok(text.to_uppercase()) })
}

async fn upper(message: Bytes) -> Vec<u8> {
    message.to_ascii_uppercase()
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("panpipe-port-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The options of a listener that proves to be localhost, and of who trusts it.
fn pair(folder: &Folder) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let cert = folder.file("localhost.crt", &made.cert.pem());
    let key = folder.file("localhost.key", &made.signing_key.serialize_pem());
    (format!("cert={cert}&key={key}"), format!("ca={cert}"))
}

/// The address that a client takes, whose options are not its listener's.
fn to(listener: &str, options: &str) -> String {
    let place = listener.split('?').next().unwrap();
    format!("{place}?{options}").trim_end_matches('?').to_owned()
}

fn port(address: &str) -> u16 {
    let place = address.split_once("//").unwrap().1;
    let place = place.split(['/', '?']).next().unwrap();
    place.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// A plain socket to a listener.
async fn socket(address: &str) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port(address))).await.unwrap()
}

/// All that a socket brings until its end.
async fn rest(mut socket: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(NET, socket.read_to_end(&mut answer)).await.expect("it ends");
    answer
}

/// What a raw client gets for what it sends.
async fn say(address: &str, words: &str) -> String {
    let mut socket = socket(address).await;
    socket.write_all(words.as_bytes()).await.unwrap();
    String::from_utf8_lossy(&rest(socket).await).into_owned()
}

/// A request for a WebSocket with more fields.
fn upgrade(address: &str, fields: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: localhost:{}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n",
        port(address)
    )
}

#[tokio::test]
async fn calls_go_over_a_websocket() {
    let server = panpipe::serve("ws://localhost:0/room", &service()).await.unwrap();
    assert!(server.address().ends_with("/room"), "{}", server.address());
    let peer = panpipe::connect(server.address()).await.unwrap();
    for size in [0, 1, 125, 126, 65535, 65536, 300_000, 3 << 20] {
        let reply: String = peer.call("upper", "x".repeat(size)).await.unwrap();
        assert_eq!(reply, "X".repeat(size));
    }
    let elsewhere = server.address().replace("/room", "/hall");
    let refused = panpipe::connect(&elsewhere).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused}");
    peer.close().await.unwrap();
    server.close().await.unwrap();
}

#[tokio::test]
async fn plain_messages_keep_their_boundaries_over_a_websocket() {
    let server = plain::serve("ws://localhost:0?protocol=plain", upper).await.unwrap();
    let peer = plain::connect(server.address()).await.unwrap();
    for message in ["Hello, server!", "", "two\nlines", &"x".repeat(1 << 20)] {
        assert_eq!(peer.call(message).await.unwrap(), message.to_ascii_uppercase());
    }
    let wrong = panpipe::connect(&to(server.address(), "")).await.err().unwrap();
    assert_eq!(wrong.kind(), ErrorKind::BadPeer, "{wrong}");
    assert!(wrong.to_string().contains("400"), "{wrong}");
    peer.close().await.unwrap();
}

#[tokio::test]
async fn many_at_once_share_a_websocket() {
    let server = panpipe::serve("ws://localhost:0", &service()).await.unwrap();
    let peer = panpipe::connect(server.address()).await.unwrap();
    let calls = (0..1000).map(|number| {
        let peer = peer.clone();
        tokio::spawn(async move { peer.call::<String>("upper", format!("n{number}")).await })
    });
    for (number, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap(), format!("N{number}"));
    }
}

#[tokio::test]
async fn calls_go_over_tls_and_over_a_websocket_in_it() {
    let folder = Folder::new();
    let (proof, trust) = pair(&folder);
    for scheme in ["tls", "wss"] {
        let server = panpipe::serve(&format!("{scheme}://localhost:0?{proof}"), &service()).await.unwrap();
        let peer = panpipe::connect(&to(server.address(), &trust)).await.unwrap();
        for size in [0, 1, 20_000, 3 << 20] {
            let reply: String = peer.call("upper", "x".repeat(size)).await.unwrap();
            assert_eq!(reply, "X".repeat(size), "{scheme}");
        }
        let stranger = panpipe::connect(&to(server.address(), "")).await.err().unwrap();
        assert_eq!(stranger.kind(), ErrorKind::Unauthenticated, "{stranger}");
        peer.close().await.unwrap();
        server.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_came_before_a_peer_was_let_in_is_answered() {
    let folder = Folder::new();
    let (proof, trust) = pair(&folder);
    let everybody = service().plain(upper);
    let server = panpipe::serve(&format!("tls://localhost:0?accept=panpipe,lines&{proof}"), &everybody).await.unwrap();
    // The hello and the call are read to tell the peer apart, and nothing follows that would announce them.
    let peer = panpipe::connect(&to(server.address(), &trust)).await.unwrap();
    assert_eq!(peer.call::<String>("upper", "a").await.unwrap(), "A");
    let lines = plain::connect(&to(server.address(), &format!("framing=lines&{trust}"))).await.unwrap();
    assert_eq!(lines.call("b").await.unwrap(), "B");
}

#[tokio::test]
async fn what_speaks_tls_and_what_does_not_say_so_to_each_other() {
    let folder = Folder::new();
    let (proof, trust) = pair(&folder);
    let secure = panpipe::serve(&format!("tls://localhost:0?{proof}"), &service()).await.unwrap();
    let open = panpipe::serve("tcp://localhost:0", &service()).await.unwrap();
    let error = panpipe::connect(&format!("tls://localhost:{}?{trust}", port(open.address()))).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::BadPeer, "{error}");
    let peer = panpipe::connect(&format!("tcp://localhost:{}", port(secure.address()))).await.unwrap();
    let error = peer.call::<String>("upper", "a").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::BadPeer | ErrorKind::ConnectionLost), "{error}");
}

#[tokio::test]
async fn one_port_tells_its_peers_apart() {
    let everybody = service().plain(upper);
    let server = panpipe::serve("tcp://localhost:0?accept=panpipe,ws,lines", &everybody).await.unwrap();
    for scheme in ["tcp", "ws"] {
        let peer = panpipe::connect(&format!("{scheme}://localhost:{}", port(server.address()))).await.unwrap();
        assert_eq!(peer.call::<String>("upper", scheme).await.unwrap(), scheme.to_uppercase());
        peer.close().await.unwrap();
    }
    let page = plain::connect(&format!("ws://localhost:{}?protocol=plain", port(server.address()))).await.unwrap();
    assert_eq!(page.call("page").await.unwrap(), "PAGE");
    let mut person = socket(server.address()).await;
    person.write_all(b"GE").await.unwrap();
    person.write_all(b"ORGE\nsecond\n").await.unwrap();
    let mut lines = [0; 14];
    person.read_exact(&mut lines).await.unwrap();
    assert_eq!(&lines, b"GEORGE\nSECOND\n");
}

#[tokio::test]
async fn who_says_nothing_at_first_is_taken_for_a_person() {
    let everybody = service().plain(upper);
    let server = panpipe::serve("tcp://localhost:0?accept=panpipe,lines", &everybody).await.unwrap();
    let mut crowd = Vec::new();
    for _ in 0..64 {
        crowd.push(socket(server.address()).await);
    }
    // They make way after a second, and not when those are sent away who have to speak.
    let begun = Instant::now();
    let peer = panpipe::connect(&to(server.address(), "")).await.unwrap();
    assert_eq!(peer.call::<String>("upper", "a").await.unwrap(), "A");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let mut person = socket(server.address()).await;
    // Beyond the time after which anybody else would be sent away.
    tokio::time::sleep(Duration::from_millis(5500)).await;
    person.write_all(b"slow\n").await.unwrap();
    let mut line = [0; 5];
    tokio::time::timeout(NET, person.read_exact(&mut line)).await.unwrap().unwrap();
    assert_eq!(&line, b"SLOW\n");
}

#[tokio::test]
async fn what_is_not_listed_is_refused() {
    let server = panpipe::serve("tcp://localhost:0?accept=panpipe,ws", &service()).await.unwrap();
    let answer = say(server.address(), "hello\n").await;
    assert!(answer.contains("bad-peer"), "{answer}");
    let answer = say(server.address(), &upgrade(server.address(), "")).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let plain_only = plain::serve("tcp://localhost:0?accept=lines,ws", upper).await.unwrap();
    let peer = panpipe::connect(&format!("tcp://localhost:{}", port(plain_only.address()))).await.unwrap();
    let error = peer.call::<String>("upper", "a").await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Unsupported, Ran::No), "{error}");
    for (address, service) in [("tcp://localhost:0?accept=panpipe,lines", service())] {
        let error = panpipe::serve(address, &service).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    let error = plain::serve("tcp://localhost:0?accept=panpipe,lines", upper).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

#[tokio::test]
async fn only_who_knows_the_token_gets_in() {
    let folder = Folder::new();
    let right = folder.0.join("right").to_str().unwrap().to_owned();
    let wrong = folder.file("wrong", "this-is-not-it-but-long-enough\n");
    let listened = format!("tcp://localhost:0?accept=panpipe,ws&token=new:{right}");
    let server = panpipe::serve(&listened, &service()).await.unwrap();
    for scheme in ["tcp", "ws"] {
        let address = format!("{scheme}://localhost:{}", port(server.address()));
        let peer = panpipe::connect(&format!("{address}?token=file:{right}")).await.unwrap();
        assert_eq!(peer.call::<String>("upper", "a").await.unwrap(), "A", "{scheme}");
        for wrong in ["".to_owned(), format!("?token=file:{wrong}")] {
            let error = match panpipe::connect(&format!("{address}{wrong}")).await {
                Ok(peer) => peer.call::<String>("upper", "a").await.unwrap_err(),
                Err(error) => error,
            };
            assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Unauthenticated, Ran::No), "{error}");
            assert!(!error.to_string().contains("this-is-not-it"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_page_of_another_place_is_refused_before_it_is_let_in() {
    let server = panpipe::serve("ws://localhost:0?origin=https://app.example", &service()).await.unwrap();
    let panpipe = "Sec-WebSocket-Protocol: panpipe\r\n";
    for (origin, status) in [
        ("https://app.example", None),
        ("https://evil.example", Some(403)),
        ("null", Some(403)),
        ("http://localhost:1", Some(403)),
    ] {
        let request = upgrade(server.address(), &format!("{panpipe}Origin: {origin}\r\n"));
        let mut socket = socket(server.address()).await;
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        socket.read_exact(&mut head).await.unwrap();
        assert_eq!(head, *format!("HTTP/1.1 {}", status.unwrap_or(101)).as_bytes(), "{origin}");
    }
    let rebound = upgrade(server.address(), panpipe).replace("Host: localhost", "Host: evil.example");
    assert!(say(server.address(), &rebound).await.starts_with("HTTP/1.1 403 "));
}

#[tokio::test]
async fn a_folder_is_given_out_and_nothing_beside_it() {
    let folder = Folder::new();
    folder.file("page/index.html", "<h1>here</h1>");
    folder.file("page/.secret", "dot");
    folder.file("outside", "no");
    let big = "x".repeat(3 << 20);
    folder.file("page/sub/big.js", &big);
    let page = folder.0.join("page");
    std::os::unix::fs::symlink(folder.0.join("outside"), page.join("link")).unwrap();
    let address = format!("ws://localhost:0?static={}", page.display());
    let server = panpipe::serve(&address, &service()).await.unwrap();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", port(server.address()));
    let answer = say(server.address(), &get("/")).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n<h1>here</h1>"), "{answer}");
    assert!(answer.contains("Content-Type: text/html; charset=utf-8\r\n"), "{answer}");
    let answer = say(server.address(), &get("/sub/big.js")).await;
    assert!(answer.ends_with(&big) && answer.contains("Content-Length: 3145728\r\n"));
    let answer = say(server.address(), &get("/").replace("GET", "HEAD")).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    for path in ["/none", "/.secret", "/../outside", "/%2e%2e/outside", "/link", "/sub"] {
        let answer = say(server.address(), &get(path)).await;
        let status = &answer[..12];
        assert!(matches!(status, "HTTP/1.1 404" | "HTTP/1.1 400"), "{path}: {answer}");
    }
    let own = format!("Origin: http://localhost:{}\r\nSec-WebSocket-Protocol: panpipe\r\n", port(server.address()));
    let mut socket = socket(server.address()).await;
    socket.write_all(upgrade(server.address(), &own).as_bytes()).await.unwrap();
    let mut head = [0; 12];
    socket.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
}

#[tokio::test]
async fn those_who_say_nothing_keep_nobody_out_for_long() {
    let server = panpipe::serve("ws://localhost:0", &service()).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(socket(server.address()).await);
    }
    let begun = Instant::now();
    let peer = panpipe::connect(&to(server.address(), "")).await.unwrap();
    assert_eq!(peer.call::<String>("upper", "a").await.unwrap(), "A");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    // Not more of them have gone than there were others.
    let last = silent.pop().unwrap();
    assert_eq!(last.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    let answer = rest(silent.remove(0)).await;
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", answer.escape_ascii());
}

#[tokio::test]
async fn who_has_its_answer_gives_way_before_who_has_none() {
    let server = panpipe::serve("ws://localhost:0", &service()).await.unwrap();
    let silent = socket(server.address()).await;
    // From now on it would give way, too.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let mut answered = Vec::new();
    for _ in 0..63 {
        let mut socket = socket(server.address()).await;
        let request = format!("GET /none HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", port(server.address()));
        socket.write_all(request.as_bytes()).await.unwrap();
        socket.read_exact(&mut [0; 12]).await.unwrap();
        answered.push(socket);
    }
    let begun = Instant::now();
    let peer = panpipe::connect(&to(server.address(), "")).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    assert_eq!(silent.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    peer.close().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_cut_is_no_clean_end() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = format!("ws://127.0.0.1:{port}?protocol=plain");
    let policy = Policy {
        path: "/".to_owned(),
        port,
        is_tls: false,
        hosts: default_hosts("127.0.0.1"),
        origins: Vec::new(),
        allows_own_origin: false,
        token: None,
        allows_panpipe: false,
        allows_plain: true,
        has_files: false,
    };
    let server = tokio::spawn(async move {
        for close in [&b""[..], b"\x88\x02\x03\xe8", b"\x88\x02\x03\xf3", b"\x82\x01", b"\x83\x00"] {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let count = socket.read(&mut request).await.unwrap();
            let (request, _) = read_request(&request[..count]).unwrap().unwrap();
            let Answer::Upgrade { response, .. } = policy.judge(&request) else { panic!("a request to be granted") };
            // The first message comes with the response, in one write.
            let all = [&response[..], b"\x82\x02hi", close].concat();
            socket.write_all(&all).await.unwrap();
            socket.shutdown().await.unwrap();
            let _ = tokio::time::timeout(NET, socket.read_to_end(&mut Vec::new())).await;
        }
    });
    for ending in [Some("cut"), None, Some("1011"), Some("cut"), Some("opcode")] {
        let peer = plain::connect(&address).await.unwrap();
        let first = tokio::time::timeout(NET, peer.recv()).await.expect("it came with the response").unwrap().unwrap();
        assert_eq!(first, "hi");
        match (tokio::time::timeout(NET, peer.recv()).await.expect("it ends"), ending) {
            (Ok(None), None) => {}
            (Err(error), Some(ending)) => assert!(error.to_string().contains(ending), "{error}"),
            (other, _) => panic!("{other:?} and not {ending:?}"),
        }
    }
    server.await.unwrap();
}
