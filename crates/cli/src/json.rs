//! Values as JSON, which has fewer kinds of them.

use panpipe::{Timestamp, Value};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A value as JSON: bytes in base64, a time as RFC 3339 has it, keys as text, and what JSON has no number for as text.
pub(crate) struct AsJson<'v>(pub(crate) &'v Value);

impl Serialize for AsJson<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Nil => to.serialize_unit(),
            Value::Bool(bool) => to.serialize_bool(*bool),
            Value::Integer(integer) => match (i64::try_from(*integer), u64::try_from(*integer)) {
                (Ok(signed), _) => to.serialize_i64(signed),
                (_, Ok(unsigned)) => to.serialize_u64(unsigned),
                _ => to.collect_str(integer),
            },
            Value::Float(float) if float.is_finite() => to.serialize_f64(*float),
            Value::Float(float) => to.collect_str(float),
            Value::Text(text) => to.serialize_str(text),
            Value::Bytes(bytes) => to.serialize_str(&base64(bytes)),
            Value::Array(items) => to.collect_seq(items.iter().map(AsJson)),
            Value::Map(entries) => {
                let mut map = to.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(&key_of(key), &AsJson(value))?;
                }
                map.end()
            }
            Value::Time(time) => to.serialize_str(&rfc3339(*time)),
        }
    }
}

/// A value as a line of JSON.
pub(crate) fn line(value: &Value) -> String {
    // Only a map with keys that are no text could fail, and AsJson writes none.
    serde_json::to_string(&AsJson(value)).unwrap_or_default()
}

/// A value as JSON for people to read.
pub(crate) fn lines(value: &Value) -> String {
    serde_json::to_string_pretty(&AsJson(value)).unwrap_or_default()
}

/// The value that a JSON text writes, when it is one.
pub(crate) fn parse(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

fn key_of(key: &Value) -> String {
    match key {
        Value::Text(text) => text.clone(),
        other => line(other),
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) as usize & 63;
            text.push(if digit <= three.len() { DIGITS[value] as char } else { '=' });
        }
    }
    text
}

/// `1970-01-01T00:00:00Z`, with as many digits of a second as there are.
fn rfc3339(time: Timestamp) -> String {
    let (days, second) = (time.seconds().div_euclid(86_400), time.seconds().rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let clock = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
    let fraction = match time.nanoseconds() {
        0 => String::new(),
        nanoseconds => format!(".{nanoseconds:09}").trim_end_matches('0').to_owned(),
    };
    format!("{year:04}-{month:02}-{day:02}T{clock}{fraction}Z")
}

/// The date of a day counted from 1970, in the Gregorian calendar before and after it began.
fn civil(days: i64) -> (i128, i64, i64) {
    // Years that begin in March have their leap day at their end; 400 of them are 146,097 days.
    let days = i128::from(days) + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (era * 400 + year, month as i64, day as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_has_its_json() {
        let time = |seconds, nanoseconds| Value::Time(Timestamp::new(seconds, nanoseconds).unwrap());
        for (value, json) in [
            (Value::Nil, "null"),
            (Value::Integer(u64::MAX.into()), "18446744073709551615"),
            (Value::Float(f64::INFINITY), "\"inf\""),
            (Value::Float(1.0), "1.0"),
            (Value::Bytes(b"\0\xff".as_slice().into()), "\"AP8=\""),
            (Value::Map(vec![(Value::Bool(true), vec![1, 2].into())]), "{\"true\":[1,2]}"),
            (time(951_782_400, 120_000_000), "\"2000-02-29T00:00:00.12Z\""),
            (time(-1, 0), "\"1969-12-31T23:59:59Z\""),
        ] {
            assert_eq!(line(&value), json);
        }
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn what_json_writes_comes_back_in_its_order() {
        let text = r#"{"b":[1,-2,2.5,true,null,"x"],"a":18446744073709551615}"#;
        assert_eq!(line(&parse(text).unwrap()), text);
        assert_eq!(parse("hello"), None);
    }
}
