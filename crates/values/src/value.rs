//! Any value of the model.

use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};

use crate::error::Result;
use crate::payload::{decode_slice, encode};
use crate::timestamp::{Timestamp, TimestampVisitor};

/// Any value that panpipe carries.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing: `()`, `None`.
    #[default]
    Nil,
    /// A truth value.
    Bool(bool),
    /// An integer from −2^63 to 2^64−1; others cannot be written.
    Integer(i128),
    /// A number in 64-bit floating point.
    Float(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Bytes),
    /// Values in their order.
    Array(Vec<Value>),
    /// Pairs in their order; keys are texts, integers or bools, each of them once.
    Map(Vec<(Value, Value)>),
    /// A point in time.
    Time(Timestamp),
}

impl Value {
    /// The value that a serde type is written as.
    ///
    /// # Errors
    /// What has no place in the model.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Value> {
        let mut written = Vec::new();
        encode(value, &mut written)?;
        decode_slice(&written)
    }

    /// This value as another type.
    ///
    /// # Errors
    /// A value that does not fit the type, or has no place in the model.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T> {
        let mut written = Vec::new();
        encode(self, &mut written)?;
        decode_slice(&written)
    }

    /// What a map has under a text key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Value::Map(entries) = self else { return None };
        entries.iter().find(|(name, _)| name.as_str() == Some(key)).map(|(_, value)| value)
    }

    /// The text, when it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items, when it is an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    /// A map from names.
    pub fn map<K: Into<String>, V: Into<Value>>(entries: impl IntoIterator<Item = (K, V)>) -> Value {
        Value::Map(entries.into_iter().map(|(key, value)| (Value::Text(key.into()), value.into())).collect())
    }
}

macro_rules! from {
    ($($type:ty: $value:ident => $made:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($value: $type) -> Value { $made }
        }
    )*};
}

from! {
    (): _nothing => Value::Nil;
    bool: value => Value::Bool(value);
    i8: value => Value::Integer(value.into());
    i16: value => Value::Integer(value.into());
    i32: value => Value::Integer(value.into());
    i64: value => Value::Integer(value.into());
    u8: value => Value::Integer(value.into());
    u16: value => Value::Integer(value.into());
    u32: value => Value::Integer(value.into());
    u64: value => Value::Integer(value.into());
    f32: value => Value::Float(value.into());
    f64: value => Value::Float(value);
    &str: value => Value::Text(value.to_owned());
    String: value => Value::Text(value);
    Bytes: value => Value::Bytes(value);
    Timestamp: value => Value::Time(value);
    SystemTime: value => Value::Time(value.into());
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Nil, T::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Value {
        Value::Array(items.into_iter().map(T::into).collect())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Nil => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Integer(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => serializer.serialize_i64(value),
                (_, Ok(value)) => serializer.serialize_u64(value),
                _ => serializer.serialize_i128(*value),
            },
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Text(value) => serializer.serialize_str(value),
            Value::Bytes(value) => serializer.serialize_bytes(value),
            Value::Array(items) => serializer.collect_seq(items),
            Value::Map(entries) => {
                check_keys(entries).map_err(S::Error::custom)?;
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Value::Time(value) => value.serialize(serializer),
        }
    }
}

/// Rust's own maps have each key once; pairs may not.
fn check_keys(entries: &[(Value, Value)]) -> Result<(), String> {
    let mut keys: Vec<_> = entries.iter().map(|(key, _)| rank(key)).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1] && pair[0].0 < NO_KEY) {
        Some([(0, key, _), _]) => Err(format!("the key {} twice", *key == 1)),
        Some([(1, key, _), _]) => Err(format!("the key {key} twice")),
        Some([(_, _, key), _]) => Err(format!("the key {key:?} twice")),
        _ => Ok(()),
    }
}

/// What cannot be a key is refused by who writes it.
const NO_KEY: u8 = 3;

fn rank(key: &Value) -> (u8, i128, &str) {
    match key {
        Value::Bool(key) => (0, (*key).into(), ""),
        Value::Integer(key) => (1, *key, ""),
        Value::Text(key) => (2, 0, key),
        _ => (NO_KEY, 0, ""),
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

/// More items than this are not believed before they are there.
const RESERVED_MAX: usize = 1024;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<Value, D::Error> {
        Value::deserialize(value)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(Bytes::copy_from_slice(value)))
    }

    fn visit_byte_buf<E>(self, value: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::with_capacity(items.size_hint().unwrap_or(0).min(RESERVED_MAX));
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::with_capacity(entries.size_hint().unwrap_or(0).min(RESERVED_MAX));
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Value::Map(map))
    }

    /// The one newtype that a reader of values tells is a time.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, pair: D) -> Result<Value, D::Error> {
        TimestampVisitor.visit_newtype_struct(pair).map(Value::Time)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    fn bytes_of(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// A value as `vectors/protocol/README.md` writes it.
    fn value_of(row: &Json) -> Value {
        let (kind, content) = row.as_object().unwrap().iter().next().unwrap();
        let text = || content.as_str().unwrap();
        let array = || content.as_array().unwrap().iter();
        match kind.as_str() {
            "nil" => Value::Nil,
            "bool" => Value::Bool(content.as_bool().unwrap()),
            "int" => Value::Integer(text().parse().unwrap()),
            "float" => Value::Float(text().parse().unwrap()),
            "text" => text().into(),
            "bytes" => Value::Bytes(bytes_of(text()).into()),
            "array" => Value::Array(array().map(value_of).collect()),
            "map" => Value::Map(array().map(|pair| (value_of(&pair[0]), value_of(&pair[1]))).collect()),
            "time" => {
                let seconds = content[0].as_str().unwrap().parse().unwrap();
                Value::Time(Timestamp::new(seconds, content[1].as_u64().unwrap() as u32).unwrap())
            }
            other => panic!("{other} is no kind of value"),
        }
    }

    #[test]
    fn is_read_and_written_as_the_vectors_say() {
        let mut file = serde_json::Deserializer::from_str(include_str!("../../../vectors/protocol/values.json"));
        // 64 arrays in each other are some more there.
        file.disable_recursion_limit();
        let rows = Vec::<Json>::deserialize(&mut file).unwrap();
        assert!(rows.len() > 100);
        for row in rows {
            let name = row["name"].as_str().unwrap();
            let hex = bytes_of(row["hex"].as_str().unwrap());
            let read = decode_slice::<Value>(&hex);
            if row.get("error").is_some() {
                let error = read.expect_err(name);
                assert_eq!(error.path(), row["path"].as_str().unwrap(), "{name}: {error}");
                continue;
            }
            let value = value_of(&row["value"]);
            // As texts, so that NaN is NaN and −0 is not 0.
            assert_eq!(format!("{:?}", read.expect(name)), format!("{value:?}"), "{name}");
            if row["reads"] != true {
                let mut written = Vec::new();
                encode(&value, &mut written).expect(name);
                assert_eq!(written, hex, "{name}");
            }
        }
    }

    #[test]
    fn with_a_key_twice_is_not_written() {
        let twice = |key: Value| Value::Array(vec![Value::Map(vec![(key.clone(), Value::Nil), (key, Value::Nil)])]);
        for (key, text) in [(Value::from("a"), "\"a\""), (Value::from(7), "7"), (Value::from(true), "true")] {
            let error = encode(&twice(key), &mut Vec::new()).unwrap_err();
            assert_eq!(error.to_string(), format!("value[0]: the key {text} twice"));
        }
    }

    #[test]
    fn with_another_key_or_integer_is_not_written() {
        let wrong = |value: Value| encode(&Value::map([("user", value)]), &mut Vec::new()).unwrap_err().to_string();
        assert_eq!(
            wrong(Value::Map(vec![(Value::Float(1.0), Value::Nil)])),
            "value.user: a key that is no text, integer or bool"
        );
        let beyond = wrong(Value::Integer(1 << 64));
        assert_eq!(beyond, "value.user: the integer 18446744073709551616, which is not from -2^63 to 2^64-1");
    }

    #[test]
    fn comes_from_other_formats_and_goes_there() {
        let json = r#"{"a":[1,-2,null,true,"x",1.5]}"#;
        let value: Value = serde_json::from_str(json).unwrap();
        assert_eq!(value.get("a").and_then(Value::as_array).map(<[_]>::len), Some(6));
        assert_eq!(serde_json::to_string(&value).unwrap(), json);
    }
}
