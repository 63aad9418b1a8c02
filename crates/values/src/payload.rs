//! Payloads: what stands in the frames of calls, replies and items.

use std::any::{Any, TypeId};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::ser::Serialize;

use crate::error::{Error, Result, Step};
use crate::read::Reader;
use crate::write::Writer;

/// A payload that is to be sent, with the flags that say how to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// The flag RAW: the payload is the content of one bytes value.
    pub raw: bool,
    /// The flag NAMED: the last value is a map of named arguments.
    pub named: bool,
    /// The payload itself.
    pub bytes: &'a [u8],
}

/// Hands the payload of a call with these arguments to `f`.
///
/// A tuple or a fixed-size array is one argument for each item, `()` none, [`Named`](crate::Named) (alone, or last in a
/// tuple) named ones, and any other value one argument. One lone bytes value goes to `f` from where it lies, anything
/// else through `scratch`, whose content is replaced.
///
/// # Errors
/// What has no place in the model, with a path that begins with `arguments`; `f` was not called then.
pub fn with_arguments<T, R>(value: &T, scratch: &mut Vec<u8>, f: impl FnOnce(Payload<'_>) -> R) -> Result<R>
where
    T: Serialize + ?Sized,
{
    hand_on(value, scratch, true, f).map_err(|error| error.inside(Step::Root("arguments")))
}

/// Hands the payload of a reply or an item to `f`; `()` and `None` are an empty one.
///
/// # Errors
/// As [`with_arguments`], with a path that begins with `value`.
pub fn with_value<T, R>(value: &T, scratch: &mut Vec<u8>, f: impl FnOnce(Payload<'_>) -> R) -> Result<R>
where
    T: Serialize + ?Sized,
{
    hand_on(value, scratch, false, f).map_err(|error| error.inside(Step::Root("value")))
}

#[inline]
fn hand_on<T, R>(value: &T, scratch: &mut Vec<u8>, spread: bool, f: impl FnOnce(Payload<'_>) -> R) -> Result<R>
where
    T: Serialize + ?Sized,
{
    scratch.clear();
    let (mut f, mut done) = (Some(f), None);
    let mut lone = |bytes: &[u8]| done = f.take().map(|f| f(Payload { raw: true, named: false, bytes }));
    let mut writer = Writer::new(scratch).handing_on(&mut lone);
    writer.spread = spread;
    if let Err(error) = value.serialize(&mut writer) {
        // Nothing was spread: it is the one argument that fails.
        return Err(if writer.spread { error.inside(Step::Number(0)) } else { error });
    }
    let named = writer.named;
    if let Some(f) = f {
        let bytes = if !spread && scratch[..] == [NIL] { &[] } else { &scratch[..] };
        done = Some(f(Payload { raw: false, named, bytes }));
    }
    done.ok_or_else(|| Error::new("more than one value"))
}

const NIL: u8 = 0xc0;

/// Appends one value to `out`; bytes too are written with their head.
///
/// # Errors
/// What has no place in the model, with a path that begins with `value`; `out` then ends with part of the value.
pub fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    value.serialize(&mut Writer::new(out)).map_err(|error| error.inside(Step::Root("value")))
}

/// Reads the payload of a reply or an item; `raw` is its flag RAW.
///
/// [`Bytes`] share the payload's memory; everything else is copied out of it.
///
/// # Errors
/// A payload that breaks the rules of values or does not fit the type, with a path that begins with `value`.
pub fn decode<T: DeserializeOwned + 'static>(payload: Bytes, raw: bool) -> Result<T> {
    if payload.is_empty() && !raw {
        return decode_slice(&[NIL]);
    }
    let (value, rest) = read_from(&payload, 0, raw).map_err(|error| error.inside(Step::Root("value")))?;
    check_end(payload.len() - rest).map(|()| value)
}

/// Reads one value and nothing else.
pub(crate) fn decode_slice<T: DeserializeOwned>(written: &[u8]) -> Result<T> {
    let mut reader = Reader::new(written, false);
    let value = T::deserialize(&mut reader).map_err(|error| error.inside(Step::Root("value")))?;
    check_end(reader.tokens.rest().len()).map(|()| value)
}

fn check_end(left: usize) -> Result<()> {
    match left {
        0 => Ok(()),
        more => Err(Error::new(format!("{more} bytes after the value")).inside(Step::Root("value"))),
    }
}

/// Reads the value that begins at `at`; also says where it ends.
#[inline]
pub(crate) fn read_from<T: DeserializeOwned + 'static>(payload: &Bytes, at: usize, raw: bool) -> Result<(T, usize)> {
    let mut reader = Reader::new(&payload[at..], raw);
    // Serde would copy them.
    let value = if TypeId::of::<T>() == TypeId::of::<Bytes>() {
        let mut bytes = Some(payload.slice_ref(reader.tokens.bytes()?));
        let slot = (&mut bytes as &mut dyn Any).downcast_mut::<Option<T>>();
        slot.and_then(Option::take).ok_or_else(|| Error::new("no bytes"))?
    } else {
        T::deserialize(&mut reader)?
    };
    Ok((value, payload.len() - reader.tokens.rest().len()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize, Serializer};

    use super::*;
    use crate::arguments::Named;
    use crate::timestamp::Timestamp;
    use crate::value::Value;

    /// The payload, and whether it lies where the value's bytes do.
    fn sent<T: Serialize>(value: &T, lies: &[u8]) -> (Vec<u8>, bool, bool, bool) {
        let mut scratch = vec![9];
        with_arguments(value, &mut scratch, |payload| {
            (payload.bytes.to_vec(), payload.raw, payload.named, payload.bytes.as_ptr() == lies.as_ptr())
        })
        .unwrap()
    }

    #[test]
    fn of_one_lone_bytes_value_is_the_bytes_themselves() {
        let bytes = Bytes::from(vec![1, 2, 3]);
        let lone = (vec![1, 2, 3], true, false, true);
        assert_eq!(sent(&bytes, &bytes), lone);
        assert_eq!(sent(&(&bytes,), &bytes), lone);
        assert_eq!(sent(&Some(bytes.clone()), &bytes), lone);
        assert_eq!(sent(&Value::Bytes(bytes.clone()), &bytes), lone);
        assert_eq!(sent(&(&bytes, &bytes), &bytes).0, [0xc4, 3, 1, 2, 3, 0xc4, 3, 1, 2, 3]);
        assert_eq!(sent(&vec![&bytes], &bytes).0, [0x91, 0xc4, 3, 1, 2, 3]);
        assert_eq!(sent(&Named(BTreeMap::from([("a", &bytes)])), &bytes).0, [0x81, 0xa1, b'a', 0xc4, 3, 1, 2, 3]);
        let raw = with_value(&bytes, &mut Vec::new(), |payload| (payload.raw, payload.bytes.as_ptr()));
        assert_eq!(raw.unwrap(), (true, bytes.as_ptr()));
    }

    #[test]
    fn of_arguments_is_one_value_after_another() {
        let payload = |value: &dyn Fn() -> (Vec<u8>, bool, bool, bool)| (value().0, value().2);
        assert_eq!(payload(&|| sent(&(), &[])), (vec![], false));
        assert_eq!(payload(&|| sent(&((),), &[])), (vec![0xc0], false));
        assert_eq!(payload(&|| sent(&None::<u8>, &[])), (vec![0xc0], false));
        assert_eq!(payload(&|| sent(&1, &[])), (vec![1], false));
        assert_eq!(payload(&|| sent(&(1, (2, 3)), &[])), (vec![1, 0x92, 2, 3], false));
        assert_eq!(payload(&|| sent(&((2, 3),), &[])), (vec![0x92, 2, 3], false));
        assert_eq!(payload(&|| sent(&vec![(2, 3)], &[])), (vec![0x91, 0x92, 2, 3], false));
        let time = Timestamp::new(1, 0).unwrap();
        assert_eq!(payload(&|| sent(&time, &[])), (vec![0xd6, 0xff, 0, 0, 0, 1], false));
        assert_eq!(
            payload(&|| sent(&(1, Named(BTreeMap::from([("a", 2)]))), &[])),
            (vec![1, 0x81, 0xa1, b'a', 2], true)
        );
    }

    #[test]
    fn of_nothing_is_empty_and_read_as_nil() {
        let empty = with_value(&(), &mut Vec::new(), |payload| payload.bytes.is_empty() && !payload.raw);
        assert!(empty.unwrap());
        assert_eq!(decode::<Option<u8>>(Bytes::new(), false).unwrap(), None);
        assert_eq!(decode::<Bytes>(Bytes::new(), true).unwrap(), Bytes::new());
        assert!(decode::<Bytes>(Bytes::new(), false).is_err());
    }

    #[test]
    fn of_bytes_is_shared_by_who_reads_it() {
        let payload = Bytes::from(vec![0xc4, 2, 7, 8]);
        let read: Bytes = decode(payload.clone(), false).unwrap();
        assert_eq!((&read[..], read.as_ptr()), (&[7, 8][..], payload[2..].as_ptr()));
        let read: Bytes = decode(payload.clone(), true).unwrap();
        assert_eq!(read.as_ptr(), payload.as_ptr());
        assert_eq!(decode::<Value>(payload.clone(), true).unwrap(), Value::Bytes(payload.clone()));
        assert_eq!(decode::<Option<Bytes>>(payload.clone(), true).unwrap(), Some(payload.clone()));
        assert!(decode::<String>(payload, true).is_err());
        assert_eq!(
            decode::<Bytes>(vec![0xc4, 0, 1].into(), false).unwrap_err().to_string(),
            "value: 1 bytes after the value"
        );
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Dot,
        Disc(f64),
        Line(i32, i32),
        Area { name: String, when: Timestamp },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Everything {
        shapes: Vec<Shape>,
        small: f32,
        letter: char,
        by_number: BTreeMap<i64, Option<Bytes>>,
        by_shape: BTreeMap<bool, ()>,
        #[serde(skip_serializing_if = "Option::is_none")]
        gone: Option<u8>,
        address: std::net::Ipv4Addr,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }

    fn everything() -> Everything {
        let when = Timestamp::new(-5, 7).unwrap();
        Everything {
            shapes: vec![Shape::Dot, Shape::Disc(0.5), Shape::Line(-70_000, 1), Shape::Area { name: "é".into(), when }],
            small: 0.25,
            letter: '€',
            by_number: BTreeMap::from([(-1, None), (1 << 40, Some(Bytes::from_static(b"x")))]),
            by_shape: BTreeMap::from([(true, ())]),
            gone: None,
            address: [127, 0, 0, 1].into(),
            rest: BTreeMap::from([("z".to_owned(), Value::from(vec![when]))]),
        }
    }

    #[test]
    fn carries_serdes_types_as_json_would() {
        let value = Value::of(&everything()).unwrap();
        assert_eq!(value.to::<Everything>().unwrap(), everything());
        let disc = Value::map([("Disc", 0.5)]);
        assert_eq!(
            value.get("shapes").and_then(Value::as_array).map(|shapes| &shapes[..2]),
            Some(&["Dot".into(), disc][..])
        );
        assert_eq!(value.get("address"), Some(&"127.0.0.1".into()));
        assert_eq!(value.get("gone"), None);
    }

    #[test]
    fn is_never_guessed() {
        fn refused<T: DeserializeOwned + std::fmt::Debug>(value: impl Into<Value>) -> String {
            value.into().to::<T>().unwrap_err().to_string()
        }
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "it is never read")]
        struct Point {
            x: i32,
        }
        assert_eq!(refused::<i32>(1.5), "value: invalid type: floating point `1.5`, expected i32");
        assert!(refused::<u8>(-1).contains("expected u8"));
        assert!(refused::<Bytes>("text").contains("invalid type: text, expected byte array"));
        assert!(refused::<String>(Bytes::from_static(b"a")).contains("invalid type: bytes, expected a string"));
        assert!(refused::<Vec<u8>>(Bytes::from_static(b"a")).contains("expected a sequence"));
        assert!(refused::<Point>(vec![1]).contains("invalid type: array, expected struct Point"));
        assert!(refused::<Point>(Value::Map(vec![(0.into(), 1.into())])).contains("expected a field's name"));
        assert_eq!(refused::<Point>(Value::map([("x", "1")])).split(": ").next(), Some("value.x"));
        assert_eq!(refused::<(u8,)>(vec![1, 2]), "value: 2 items, expected 1");
        assert!(refused::<Timestamp>(1).contains("expected a time"));
        assert!(refused::<Shape>(Value::map([("Line", vec![1])])).starts_with("value.Line: "));
        assert_eq!(Value::from(3).to::<f64>().unwrap(), 3.0);
    }

    #[test]
    fn has_the_path_of_what_cannot_be_written() {
        #[derive(Serialize)]
        struct User {
            when: u128,
        }
        let users = BTreeMap::from([("two words", Some(User { when: u128::MAX }))]);
        let error = with_arguments(&(1, users), &mut Vec::new(), |_| ()).unwrap_err();
        assert_eq!(error.path(), "arguments[1][\"two words\"].when");
        let error = with_arguments(&i128::MIN, &mut Vec::new(), |_| ()).unwrap_err();
        assert_eq!(error.path(), "arguments[0]");
        let error = encode(&BTreeMap::from([((1, 2), 3)]), &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "value: a key that is no text, integer or bool");
        let nested = |depth| (0..depth).fold(Value::Nil, |inner, _| Value::Array(vec![inner]));
        encode(&nested(64), &mut Vec::new()).unwrap();
        with_arguments(&(nested(64),), &mut Vec::new(), |_| ()).unwrap();
        let error = encode(&nested(65), &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), format!("value{}: nested deeper than 64", "[0]".repeat(64)));
    }

    #[test]
    fn counts_what_comes_when_nobody_says_how_much() {
        struct Uncounted(u32);
        impl Serialize for Uncounted {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq((0..self.0).filter(|_| true))
            }
        }
        for count in [0, 1, 15, 16, 70_000] {
            let mut counted = Vec::new();
            encode(&(0..count).collect::<Vec<_>>(), &mut counted).unwrap();
            let mut uncounted = vec![7];
            encode(&Uncounted(count), &mut uncounted).unwrap();
            assert_eq!(uncounted[1..], counted);
        }
    }

    #[test]
    fn with_many_keys_has_each_once() {
        let map = |keys: Vec<u32>| {
            let mut payload = vec![0xde];
            payload.extend_from_slice(&(keys.len() as u16).to_be_bytes());
            keys.iter().for_each(|key| {
                encode(&key, &mut payload).unwrap();
                payload.push(0xc0);
            });
            decode::<Value>(payload.into(), false)
        };
        for count in [16, 17, 300] {
            map((0..count).collect()).unwrap();
            let error = map((0..count).chain([3]).collect()).unwrap_err();
            assert_eq!(error.to_string(), "value[3]: a key twice");
        }
        // The key of the outer map, again after an inner map.
        let payload = b"\x83\xa1a\x82\xa1b\x01\xa1c\x01\xa1d\x01\xa1a\x01";
        assert_eq!(decode_slice::<Value>(payload).unwrap_err().to_string(), "value.a: a key twice");
    }
}
