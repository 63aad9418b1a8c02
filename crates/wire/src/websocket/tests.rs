//! The WebSocket against `vectors/websocket.json`, and against itself.

use super::*;

#[test]
fn an_upgrade_and_a_message_each_way_pass() {
    let upgrade = Upgrade::new("127.0.0.1:9000", "/a b?c", [7; 16], true, Some("a-token-of-no-use"));
    let policy = Policy {
        path: "/a b?c".into(),
        port: 9000,
        is_tls: false,
        hosts: default_hosts("localhost"),
        origins: Vec::new(),
        allows_own_origin: false,
        token: Token::new("a-token-of-no-use"),
        allows_panpipe: true,
        allows_plain: false,
        has_files: false,
    };
    let (request, size) = read_request(upgrade.request()).unwrap().unwrap();
    assert_eq!(size, upgrade.request().len());
    let Answer::Upgrade { response, speaks_panpipe: true } = policy.judge(&request) else { panic!("not upgraded") };
    assert_eq!(upgrade.read_response(&response), Ok(Some(response.len())));

    let mut client = WebSocket::new(Role::Client, 100, Carries::FramesOnly);
    let mut server = WebSocket::new(Role::Server, 100, Carries::FramesOnly);
    let (mut wire, mut inbox) = (Vec::new(), BytesMut::new());
    client.send(b"Hello", [1, 2, 3, 4], &mut wire);
    server.receive(&mut wire, &mut inbox).unwrap();
    assert_eq!(inbox, b"\0\0\0\x05Hello"[..]);
    wire.clear();
    server.close(1000, "", [0; 4], &mut wire);
    client.receive(&mut wire, &mut inbox).unwrap();
    assert_eq!(client.closed().map(Closed::failure), Some(None));
}

#[test]
fn the_key_of_the_rfc_is_answered_as_there() {
    assert_eq!(key::accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}
