//! What `vectors/websocket.md` says of texts and bytes.

use serde_json::Value;

/// The sizes of the pieces in which everything arrives; the last is all at once.
pub(super) const CHUNKS: [usize; 5] = [1, 2, 3, 7, usize::MAX];

pub(super) fn read() -> Value {
    serde_json::from_str(include_str!("../../../../../vectors/websocket.json")).unwrap()
}

/// The cases of a section, of which there are so many at least.
pub(super) fn cases<'a>(vectors: &'a Value, section: &str, least: usize) -> impl Iterator<Item = &'a Value> {
    let cases = vectors[section].as_array().unwrap();
    assert!(cases.len() >= least, "{section}");
    cases.iter()
}

pub(super) fn text(value: &Value) -> String {
    match (value.as_str(), &value["repeat"], value["join"].as_array()) {
        (Some(text), ..) => text.to_owned(),
        (None, _, Some(parts)) => parts.iter().map(text).collect(),
        (None, repeated, None) => repeated[0].as_str().unwrap().repeat(repeated[1].as_u64().unwrap() as usize),
    }
}

pub(super) fn bytes(value: &Value) -> Vec<u8> {
    let digits = text(value);
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// A case's name and whatever it says, cut where that is long.
pub(super) fn describe(case: &Value) -> String {
    case.to_string().chars().take(400).collect()
}
