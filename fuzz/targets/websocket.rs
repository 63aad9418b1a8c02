//! A WebSocket under anything at all: wherever it is cut, the same comes of it, and what it says is said once.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use panpipe_wire::websocket::{
    Answer, Carries, Closed, Policy, Role, Token, Upgrade, Violation, WebSocket, default_hosts, parse_hosts,
    parse_origins, read_request,
};

const MOST: usize = 1000;

/// The inbox, what broke the connection, and the Close that came.
type Received = (BytesMut, Option<Violation>, Option<Closed>);

fn receive(role: Role, carries: Carries, bytes: &[u8], chunk: usize) -> Received {
    let mut websocket = WebSocket::new(role, MOST, carries);
    let (mut inbox, mut output) = (BytesMut::new(), Vec::new());
    for part in bytes.chunks(chunk) {
        let outcome = websocket.receive(&mut part.to_vec(), &mut inbox);
        if let Err(violation) = outcome {
            websocket.close(violation.close, &violation.reason, [1, 2, 3, 4], &mut output);
            assert!(websocket.has_sent_close() && !websocket.has_control());
            return (inbox, Some(violation), None);
        }
        if websocket.has_control() {
            websocket.control([1, 2, 3, 4], &mut output);
            assert!(!websocket.has_control(), "one answer is all that is due");
        }
    }
    if carries == Carries::Stream {
        assert!(inbox.len() <= bytes.len(), "no more than came");
        return (inbox, None, websocket.closed().cloned());
    }
    let mut rest = &inbox[..];
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        assert!(length <= MOST);
        rest = &after[length..];
    }
    assert!(rest.is_empty(), "whole messages");
    (inbox, None, websocket.closed().cloned())
}

fn judge(bytes: &[u8], mode: u8) -> Option<(usize, Answer)> {
    let policy = Policy {
        path: "/a b?c".to_owned(),
        port: 9000,
        is_tls: mode & 1 > 0,
        hosts: [default_hosts("localhost"), parse_hosts("a.example,b:1").expect("hosts")].concat(),
        origins: parse_origins("https://a.example").expect("origins"),
        allows_own_origin: mode & 2 > 0,
        token: Some("a-token-of-no-use").filter(|_| mode & 4 > 0).and_then(Token::new),
        allows_panpipe: mode & 8 == 0,
        allows_plain: mode & 8 > 0,
        has_files: mode & 2 > 0,
    };
    let answer = match read_request(bytes) {
        Ok(None) => return None,
        Ok(Some((request, size))) => (size, policy.judge(&request)),
        Err(refusal) => (0, Answer::Refuse(refusal)),
    };
    match &answer.1 {
        Answer::Refuse(refusal) => assert!(refusal.response().ends_with(b"\n")),
        Answer::File { path, .. } => {
            assert!(path.split('/').all(|name| !name.is_empty() && !name.starts_with('.')), "{path}");
        }
        Answer::Upgrade { response, .. } => assert!(response.ends_with(b"\r\n\r\n")),
    }
    Some(answer)
}

fuzz_target!(|bytes: &[u8]| {
    let [mode, chunk, bytes @ ..] = bytes else { return };
    let chunk = 1 + usize::from(*chunk) % 40;
    let role = if mode & 1 > 0 { Role::Client } else { Role::Server };
    let carries = [Carries::Binary, Carries::Text, Carries::Stream][usize::from(mode >> 1) % 3];
    match mode >> 6 {
        0 | 1 => {
            let whole = receive(role, carries, bytes, bytes.len().max(1));
            assert_eq!(receive(role, carries, bytes, chunk), whole);
        }
        2 => {
            let whole = judge(bytes, *mode);
            let first = (1..=bytes.len()).step_by(chunk).find_map(|end| judge(&bytes[..end], *mode));
            assert!(first.is_none() || status(&first) == status(&whole), "{first:?}, and at once {whole:?}");
        }
        _ => {
            let upgrade = Upgrade::new("localhost:9000", "/a b?c", [7; 16], mode & 1 > 0, None);
            let first =
                (1..=bytes.len()).step_by(chunk).find_map(|end| upgrade.read_response(&bytes[..end]).transpose());
            let whole = upgrade.read_response(bytes).transpose();
            let kind = |read: Option<Result<usize, (_, String)>>| read.map(|read| read.map_err(|(kind, _)| kind));
            assert!(first.is_none() || kind(first) == kind(whole));
        }
    }
});

/// What stays the same when more bytes are there: a reason may tell more.
fn status(answer: &Option<(usize, Answer)>) -> Option<(usize, u16)> {
    answer.as_ref().map(|(size, answer)| match answer {
        Answer::Upgrade { .. } => (*size, 101),
        Answer::File { .. } => (*size, 200),
        Answer::Refuse(refusal) => (*size, refusal.status),
    })
}
