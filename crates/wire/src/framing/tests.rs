//! Every framing against `vectors/framing.json`, and against arbitrary bytes cut at every place.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../../vectors/framing.json")).unwrap()
}

fn unhex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap().as_bytes();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn max_of(row: &Value) -> usize {
    row["max"].as_u64().unwrap_or(16 << 20) as usize
}

fn skip(row: &Value) -> bool {
    row["native"] == "little" && cfg!(target_endian = "big")
}

/// Messages and the fault that ended them, when `wire` arrives in pieces of these sizes, over and over.
fn decode(spec: &str, wire: &[u8], max: usize, sizes: &[usize]) -> (Vec<Vec<u8>>, Option<Fault>, usize) {
    let mut framing = make(spec).unwrap();
    let (mut input, mut messages, mut rest) = (Vec::new(), Vec::new(), wire);
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = (*sizes.next().unwrap()).clamp(1, rest.len());
        input.extend_from_slice(&rest[..size]);
        rest = &rest[size..];
        loop {
            match framing.scan(&input, max) {
                Ok(Scan::Partial(missing)) => {
                    assert!(missing >= 1);
                    break;
                }
                Ok(Scan::Frame(frame)) => {
                    messages.push(input[frame.head..frame.head + frame.body].to_vec());
                    input.drain(..frame.head + frame.body + frame.tail);
                }
                Err(fault) => return (messages, Some(fault), 0),
            }
        }
    }
    (messages, None, input.len())
}

fn encode(spec: &str, message: &[u8]) -> Result<Vec<u8>, Fault> {
    let framing = make(spec).unwrap();
    let mut head = Head::new();
    framing.head(message, &mut head)?;
    Ok([head.as_slice(), message, framing.tail()].concat())
}

#[test]
fn reads_the_vectors_at_every_chunk_size() {
    for row in vectors()["read_and_write"].as_array().unwrap() {
        if skip(row) {
            continue;
        }
        let (spec, wire) = (row["framing"].as_str().unwrap(), unhex(&row["wire"]));
        let expected: Vec<_> = row["messages"].as_array().unwrap().iter().map(unhex).collect();
        for size in 1..=wire.len().max(1) {
            if spec == "raw" && size < wire.len() {
                continue; // raw keeps no boundaries: each piece is a message
            }
            let (messages, fault, left) = decode(spec, &wire, max_of(row), &[size]);
            assert_eq!(messages, expected, "{row}");
            let code = match fault {
                Some(Fault::TooLarge(_)) => Some("too-large"),
                Some(Fault::Broken(_)) => Some("bad-peer"),
                Some(Fault::Cannot(_)) => panic!("a reader cannot answer that: {row}"),
                None if row["eof"] == true && left > 0 => Some("connection-lost"),
                None => None,
            };
            assert_eq!(code, row["code"].as_str(), "in pieces of {size}: {row}");
        }
    }
}

#[test]
fn writes_the_vectors() {
    let mut written = 0;
    for row in vectors()["read_and_write"].as_array().unwrap() {
        if row["writes"] != true || skip(row) {
            continue;
        }
        let spec = row["framing"].as_str().unwrap();
        let wire: Vec<u8> =
            row["messages"].as_array().unwrap().iter().flat_map(|m| encode(spec, &unhex(m)).unwrap()).collect();
        assert_eq!(wire, unhex(&row["wire"]), "{row}");
        written += 1;
    }
    assert!(written > ALL.len());
}

#[test]
fn refuses_to_write_what_cannot_be_read_back() {
    for row in vectors()["refused_to_write"].as_array().unwrap() {
        let (spec, message) = (row["framing"].as_str().unwrap(), unhex(&row["message"]));
        let code = match encode(spec, &message) {
            Err(Fault::Cannot(_)) => "unsupported",
            Err(Fault::TooLarge(_)) => "too-large",
            Err(Fault::Broken(_)) => "bad-peer",
            Ok(_) if message.len() > max_of(row) => "too-large", // the session's check, the same for all
            Ok(_) => "",
        };
        assert_eq!(code, row["code"], "{row}");
    }
}

fn any_spec() -> impl Strategy<Value = &'static str> {
    let specs =
        ["lines", "nul", "length", "length:u8", "length:u16le", "length:u64", "netstring", "varint", "content-length"];
    prop::sample::select(specs.to_vec())
}

/// Bytes that come near to being frames, so that decoders get past their first byte.
fn any_wire() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        prop::sample::select(vec![
            b"Content-Length: 3\r\n\r\nabc".to_vec(),
            b"content-length:".to_vec(),
            b"3:abc,".to_vec(),
            b"\r\n".to_vec(),
            b"\0\0\0\x03abc".to_vec(),
            b"\x03abc".to_vec(),
            b"12".to_vec(),
        ]),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn the_cut_of_the_input_changes_nothing(
        spec in any_spec(), wire in any_wire(), max in 0usize..40,
        sizes in prop::collection::vec(1usize..9, 1..6),
    ) {
        let whole = decode(spec, &wire, max, &[wire.len()]);
        prop_assert_eq!(decode(spec, &wire, max, &[1]), whole.clone());
        prop_assert_eq!(decode(spec, &wire, max, &sizes), whole.clone());
        prop_assert!(whole.0.iter().all(|message| message.len() <= max));
    }

    #[test]
    fn what_is_written_is_read_back(
        spec in any_spec(), messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5),
        sizes in prop::collection::vec(1usize..200, 1..6),
    ) {
        let (mut wire, mut sent) = (Vec::new(), Vec::new());
        for message in messages {
            if let Ok(frame) = encode(spec, &message) {
                wire.extend(frame);
                sent.push(message);
            }
        }
        prop_assert_eq!(decode(spec, &wire, 1000, &sizes), (sent, None, 0));
    }
}

#[test]
fn a_line_is_searched_once_however_it_is_cut() {
    let mut framing = make("lines").unwrap();
    let input = vec![b'x'; 1 << 20];
    let started = std::time::Instant::now();
    for end in 1..=input.len() {
        assert_eq!(framing.scan(&input[..end], 1 << 21), Ok(Scan::Partial(1)));
    }
    // A search from the start each time would look at 5 * 10^11 bytes.
    assert!(started.elapsed().as_secs() < 20);
}
