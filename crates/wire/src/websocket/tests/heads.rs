//! The sections `requests` and `responses` of the vectors.

use serde_json::Value;

use super::super::*;
use super::vectors::{CHUNKS, bytes, cases, describe, read, text};
use crate::error::ErrorKind;

const PORT: u16 = 9000;

/// The head that a case says, with what follows it: `base` and how it differs.
fn head(case: &Value, base: &Value, replace: impl Fn(&str) -> String) -> Vec<u8> {
    if let Some(raw) = case.get("raw") {
        return raw.get("hex").map_or_else(|| replace(&text(raw)).into_bytes(), bytes);
    }
    let mut lines = vec![text(case.get("line").unwrap_or(&base["line"]))];
    let without: Vec<_> = case["without"].as_array().into_iter().flatten().collect();
    for (name, value) in base["fields"].as_object().unwrap() {
        let value = case["with"].get(name).unwrap_or(value);
        if !without.contains(&&Value::from(name.as_str())) {
            lines.push(format!("{name}: {}", text(value)));
        }
    }
    for name in without {
        assert!(base["fields"].get(name.as_str().unwrap()).is_some(), "{name} is there without");
    }
    let mut fill = None;
    for line in case["more"].as_array().into_iter().flatten() {
        match (line["fill"].as_u64(), &line["repeat"]) {
            (Some(size), _) => fill = Some(size as usize),
            (None, Value::Array(repeated)) => {
                let line = repeated[0].as_str().unwrap().to_owned();
                lines.extend(vec![line; repeated[1].as_u64().unwrap() as usize]);
            }
            _ => lines.push(text(line)),
        }
    }
    let mut head = replace(&lines.join("\r\n"));
    if let Some(size) = fill {
        head.push_str("\r\nX-Fill: ");
        head.push_str(&"a".repeat(size - "\r\n\r\n".len() - head.len()));
    }
    let body = case.get("body").map(text).unwrap_or_default();
    format!("{head}\r\n\r\n{body}").into_bytes()
}

fn policy(case: &Value) -> Policy {
    let policy = &case["policy"];
    let protocols = policy["protocols"]
        .as_array()
        .map_or(vec!["panpipe"], |names| names.iter().map(|name| name.as_str().unwrap()).collect());
    let has_files = policy["static"] == true;
    let mut hosts = default_hosts(policy["listens"].as_str().unwrap_or("localhost"));
    hosts.extend(policy["hosts"].as_str().into_iter().flat_map(|list| parse_hosts(list).unwrap()));
    Policy {
        path: policy["path"].as_str().unwrap_or("/").to_owned(),
        port: policy["port"].as_u64().map_or(PORT, |port| port as u16),
        is_tls: policy["tls"] == true,
        hosts,
        origins: policy["origins"].as_str().map_or(Vec::new(), |list| parse_origins(list).unwrap()),
        allows_own_origin: has_files,
        token: policy["token"].as_str().map(|token| Token::new(token).unwrap()),
        allows_panpipe: protocols.contains(&"panpipe"),
        allows_plain: protocols.contains(&"plain"),
        has_files,
    }
}

/// What `read` makes of the first bytes, then of more, and so on: its first answer, and what was there.
fn in_pieces<T>(bytes: &[u8], chunk: usize, mut read: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
    let size = chunk.min(bytes.len()).max(1);
    // Whoever reads stops at the limit, so that a piece at a time is not too much for a test either.
    let ends = (1..=bytes.len().div_ceil(size)).map(|count| (count * size).min(bytes.len()));
    ends.take_while(|end| *end < 10_000 || *end == bytes.len()).find_map(|end| read(&bytes[..end]))
}

fn check_request(case: &Value, bytes: &[u8], chunk: usize) {
    let describe = || format!("in pieces of {chunk}: {}", describe(case));
    let answer = in_pieces(bytes, chunk, |bytes| match read_request(bytes) {
        Ok(None) => None,
        Ok(Some((request, size))) => {
            let body = case.get("body").map(text).unwrap_or_default();
            let is_end = bytes[..size].ends_with(b"\r\n\r\n") && body.as_bytes().starts_with(&bytes[size..]);
            assert!(is_end || case.get("raw").is_some(), "{}", describe());
            Some(policy(case).judge(&request))
        }
        Err(refusal) => Some(Answer::Refuse(refusal)),
    });
    match answer.unwrap_or_else(|| panic!("no answer, {}", describe())) {
        Answer::Upgrade { response, speaks_panpipe } => {
            assert_eq!((&case["status"], &case["panpipe"]), (&101.into(), &speaks_panpipe.into()), "{}", describe());
            let response = String::from_utf8(response).unwrap();
            assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
            assert!(response.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{response}");
            let selected = response.split("\r\n").find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
            let wanted = case["selects"].as_str().or(speaks_panpipe.then_some("panpipe"));
            assert_eq!(selected, wanted, "{}", describe());
            assert!(!response.contains("token") && !response.contains("Extensions"), "{response}");
        }
        Answer::File { path, head_only } => {
            assert_eq!((&case["status"], &case["file"]), (&200.into(), &path.into()), "{}", describe());
            assert_eq!(case["head_only"] == true, head_only, "{}", describe());
        }
        Answer::Refuse(refusal) => {
            assert_eq!(case["status"], refusal.status, "{}, {}", refusal.reason, describe());
            assert_eq!(refusal.head_only, bytes.starts_with(b"HEAD "), "{}", describe());
            check_response(&refusal, case["policy"]["token"].as_str());
        }
    }
}

fn check_response(refusal: &Refusal, token: Option<&str>) {
    let response = String::from_utf8(refusal.response()).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with(&format!("HTTP/1.1 {} ", refusal.status)) && !head.contains(" Error\r\n"), "{head}");
    assert!(
        head.contains("\r\nConnection: close\r\n") && head.contains("\r\nX-Content-Type-Options: nosniff"),
        "{head}"
    );
    assert_eq!(refusal.status == 426, head.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{head}");
    assert_eq!(refusal.status == 401, head.contains("\r\nWWW-Authenticate: Bearer\r\n"), "{head}");
    assert_eq!(refusal.status == 405, head.contains("\r\nAllow: GET"), "{head}");
    let line = format!("{}\n", refusal.reason);
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", line.len())), "{head}");
    assert_eq!(body, if refusal.head_only { "" } else { &line });
    assert!(!line[..line.len() - 1].contains(char::is_control), "{line:?}");
    assert!(token.is_none_or(|token| !response.contains(token)), "{response}");
}

#[test]
fn the_requests_of_the_vectors_are_answered_as_they_say() {
    let vectors = read();
    for case in cases(&vectors, "requests", 250) {
        let port = case["policy"]["port"].as_u64().unwrap_or(PORT.into()).to_string();
        let bytes = head(case, &vectors["request"], |text| text.replace("{port}", &port));
        for chunk in CHUNKS {
            check_request(case, &bytes, chunk);
        }
    }
}

#[test]
fn the_responses_of_the_vectors_are_read_as_they_say() {
    let vectors = read();
    let nonce = *b"a nonce of tests";
    let key = key::encode(nonce);
    let accept = key::accept(&key);
    for case in cases(&vectors, "responses", 60) {
        let bytes = head(case, &vectors["response"], |text| {
            let text = text.replace("{accept}", &accept).replace("{key}", &key);
            text.replace("{accept-unpadded}", accept.trim_end_matches('='))
                .replace("{accept-lower}", &accept.to_lowercase())
        });
        let speaks_panpipe = case["panpipe"] != false;
        let upgrade = Upgrade::new("localhost", "/", nonce, speaks_panpipe, None);
        for chunk in CHUNKS {
            let describe = || format!("in pieces of {chunk}: {}", describe(case));
            let read = in_pieces(&bytes, chunk, |bytes| upgrade.read_response(bytes).transpose());
            match read {
                Some(Ok(size)) => {
                    assert!(case["code"].is_null(), "{}", describe());
                    assert!(bytes[..size].ends_with(b"\r\n\r\n"));
                }
                Some(Err((kind, reason))) => {
                    assert_eq!(case["code"], kind.code(), "{reason}, {}", describe());
                    assert!(reason.contains(case["says"].as_str().unwrap_or_default()), "{reason}");
                }
                None => {
                    assert!(case["cut"] == true, "{}", describe());
                    assert_eq!(case["code"], ErrorKind::ConnectionLost.code());
                }
            }
        }
    }
}

#[test]
fn a_clients_request_is_granted_by_a_server_of_the_same_address() {
    let path = "/a b/ä%?x=1 2&y=#\"\u{1}";
    for (speaks_panpipe, token) in [(true, Some("a-token/of+24.characters")), (false, None)] {
        let upgrade = Upgrade::new("localhost:9000", path, [7; 16], speaks_panpipe, token);
        let (request, size) = read_request(upgrade.request()).unwrap().unwrap();
        assert_eq!(size, upgrade.request().len());
        let policy = Policy {
            path: path.to_owned(),
            token: token.and_then(Token::new),
            allows_plain: true,
            ..policy(&Value::Null)
        };
        let Answer::Upgrade { response, .. } = policy.judge(&request) else { panic!("{request:?}") };
        assert_eq!(upgrade.read_response(&response), Ok(Some(response.len())));
        let behind = [&response[..], &[0x81, 0]].concat();
        assert_eq!(upgrade.read_response(&behind), Ok(Some(response.len())));
    }
}

#[test]
fn a_refusal_is_told_with_its_first_line() {
    let upgrade = Upgrade::new("localhost", "/", [7; 16], true, None);
    let response = Refusal::new(403, "the host \"evil.example\" is not allowed here").response();
    let (kind, reason) = upgrade.read_response(&response).unwrap_err();
    assert_eq!(kind, ErrorKind::Permission);
    let told = r#"the server answered with the status 403: "the host \"evil.example\" is not allowed here""#;
    assert_eq!(reason, told);
}

#[test]
fn the_options_are_lists_of_hosts_and_of_origins() {
    for list in ["app.example", "app.example:80,[::1],127.0.0.1:1", "a", "localhost:65535"] {
        assert!(parse_hosts(list).is_some(), "{list}");
    }
    for list in
        ["", ",", "a,", "a, b", "a:", "a:x", "a:65536", "a/b", "https://a", "[::1", "::1", "*", "ä.example", "a@b"]
    {
        assert!(parse_hosts(list).is_none(), "{list}");
    }
    for list in ["https://app.example", "http://a:8080,https://[::1]:1", "HTTPS://A", "chrome-extension://abc"] {
        assert!(parse_origins(list).is_some(), "{list}");
    }
    for list in
        ["", "null", "*", "app.example", "https://", "https://a/", "https://a,", "https://a b", "1x://a", "https://a:x"]
    {
        assert!(parse_origins(list).is_none(), "{list}");
    }
}

#[test]
fn a_token_has_a_length_and_characters_and_is_not_shown() {
    let visible: String = ('!'..='~').collect();
    for text in ["0123456789abcdef", &visible, &"x".repeat(512)] {
        let token = Token::new(text).unwrap();
        assert!(token.is(text.as_bytes()) && !token.is(b"") && !token.is(&text.as_bytes()[1..]));
        assert!(!token.is(&[text.as_bytes(), b"x"].concat()));
        assert!(!format!("{token:?}").contains(text));
    }
    for text in ["", "0123456789abcde", &"x".repeat(513), "0123456789 abcdef", "0123456789abcdef\n", "0123456789abcdeä"]
    {
        assert!(Token::new(text).is_none(), "{text}");
    }
}

#[test]
fn a_file_has_the_type_of_its_extension() {
    for (path, media_type) in [
        ("index.html", "text/html; charset=utf-8"),
        ("a/b.JS", "text/javascript; charset=utf-8"),
        ("a.b/c.mjs", "text/javascript; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.json", "application/json"),
        ("app.js.map", "application/json"),
        ("a.svg", "image/svg+xml"),
        ("a.png", "image/png"),
        ("a.jpg", "image/jpeg"),
        ("a.gif", "image/gif"),
        ("favicon.ico", "image/x-icon"),
        ("a.wasm", "application/wasm"),
        ("a.woff2", "font/woff2"),
        ("html", "application/octet-stream"),
        ("a.exe", "application/octet-stream"),
    ] {
        let head = String::from_utf8(file_head(path, 1 << 40)).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        for field in [&format!("Content-Type: {media_type}"), "Content-Length: 1099511627776", "Connection: close"] {
            assert!(head.contains(&format!("\r\n{field}\r\n")), "{head}");
        }
    }
}
