//! Values: what is read is written and read the same again, and serde's types take what they can.
#![no_main]

use std::collections::HashMap;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use panpipe_values::{Arguments, Timestamp, Value, decode, encode};
use serde::Deserialize;

#[derive(Deserialize)]
#[allow(dead_code, reason = "it is only read into")]
struct User {
    name: String,
    age: Option<u8>,
    tags: Vec<Tag>,
    when: Option<Timestamp>,
    #[serde(default)]
    rest: Option<Value>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "it is only read into")]
enum Tag {
    Plain,
    Number(f64),
    Pair(i16, char),
    Named { at: u64 },
}

fuzz_target!(|bytes: &[u8]| {
    let payload = Bytes::copy_from_slice(bytes);
    if let Ok(value) = decode::<Value>(payload.clone(), false) {
        let mut written = Vec::new();
        encode(&value, &mut written).expect("what was read has a place in the model");
        let again: Value = decode(Bytes::from(written.clone()), false).expect("it was written here");
        let mut rewritten = Vec::new();
        encode(&again, &mut rewritten).expect("what was read has a place in the model");
        assert_eq!(rewritten, written);
    }
    let _ = decode::<User>(payload.clone(), false);
    let _ = decode::<Vec<Tag>>(payload.clone(), false);
    let _ = decode::<HashMap<String, u32>>(payload.clone(), false);
    let _ = decode::<(u8, String, Bytes)>(payload.clone(), false);
    let names = ["name".to_owned(), "age".to_owned()];
    if let Ok(mut arguments) = Arguments::new(payload, false, bytes.len() % 2 == 0, &names) {
        let _ = arguments.take::<String>();
        let _ = arguments.take::<Option<u64>>();
        let _ = arguments.end();
    }
});
