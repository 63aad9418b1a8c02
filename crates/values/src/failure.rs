//! What an ERROR says.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::error::{Error, Result, Step};
use crate::payload::{decode_slice, encode};
use crate::value::Value;

/// Longer messages and tracebacks are cut, in bytes.
const TEXT_MAX: usize = 16 * 1024;

/// Deeper causes are left out.
const CAUSES_MAX: usize = 16;

/// What went wrong on the other side: the payload of an ERROR, and of a GOODBYE that has one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Failure {
    /// One of panpipe's codes, as `not-found`; what a handler raised is `remote`.
    pub code: String,
    /// A text for people.
    pub message: String,
    /// The handler provably did not begin.
    pub did_not_run: bool,
    /// The name of the exception, as the remote language calls it.
    pub type_name: Option<String>,
    /// The remote side's traceback.
    pub traceback: Option<String>,
    /// What the handler attached.
    pub data: Option<Value>,
    /// What caused it.
    pub cause: Option<Box<Failure>>,
    /// The addresses through which it came, the nearest first.
    pub via: Vec<String>,
}

impl Failure {
    /// A failure with nothing but a code and a message.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Failure { code: code.into(), message: message.into(), ..Failure::default() }
    }

    /// The payload: texts cut at 16 KiB, causes at 16 levels, and without `data` when that has no place in the model.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        if encode(&Level { failure: self, level: 0, data: true }, &mut payload).is_err() {
            payload.clear();
            let written = encode(&Level { failure: self, level: 0, data: false }, &mut payload);
            debug_assert!(written.is_ok(), "texts in 17 levels have a place in the model");
        }
        payload
    }

    /// Reads a payload. What it has beyond the spec, or in another type, is ignored: an error that says less is better
    /// than none.
    ///
    /// # Errors
    /// No map with a `code`, or what breaks the rules of values.
    pub fn decode(payload: &[u8]) -> Result<Failure> {
        let value = decode_slice(payload)?;
        Failure::from_value(value, 0).ok_or_else(|| Error::new("an error without a code").inside(Step::Root("value")))
    }

    fn from_value(value: Value, level: usize) -> Option<Failure> {
        let Value::Map(entries) = value else { return None };
        let mut failure = Failure::default();
        let mut code = None;
        for (key, value) in entries {
            match key.as_str().unwrap_or_default() {
                "code" => code = text(value),
                "message" => failure.message = text(value).unwrap_or_default(),
                "ran" => failure.did_not_run = value.as_str() == Some("no"),
                "type" => failure.type_name = text(value),
                "traceback" => failure.traceback = text(value),
                "data" => failure.data = Some(value),
                "cause" if level < CAUSES_MAX => failure.cause = Failure::from_value(value, level + 1).map(Box::new),
                "via" => {
                    let Value::Array(addresses) = value else { continue };
                    failure.via = addresses.into_iter().filter_map(text).collect();
                }
                _ => {}
            }
        }
        failure.code = code?;
        Some(failure)
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

struct Level<'a> {
    failure: &'a Failure,
    level: usize,
    data: bool,
}

impl Serialize for Level<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Level { failure, level, data } = *self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", &failure.code)?;
        map.serialize_entry("message", cut(&failure.message))?;
        if failure.did_not_run {
            map.serialize_entry("ran", "no")?;
        }
        if let Some(name) = &failure.type_name {
            map.serialize_entry("type", name)?;
        }
        if let Some(traceback) = &failure.traceback {
            map.serialize_entry("traceback", cut(traceback))?;
        }
        if let (Some(value), true) = (&failure.data, data) {
            map.serialize_entry("data", value)?;
        }
        if let (Some(cause), true) = (&failure.cause, level < CAUSES_MAX) {
            map.serialize_entry("cause", &Level { failure: cause, level: level + 1, data })?;
        }
        if !failure.via.is_empty() {
            map.serialize_entry("via", &failure.via)?;
        }
        map.end()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.type_name {
            Some(name) => write!(f, "{}: {name}: {}", self.code, self.message),
            None => write!(f, "{}: {}", self.code, self.message),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(levels: usize, data: Option<Value>) -> Failure {
        let cause = (levels > 0).then(|| Box::new(chain(levels - 1, data.clone())));
        Failure { data, cause, ..Failure::new("remote", "it broke") }
    }

    #[test]
    fn is_what_was_said() {
        let failure = Failure {
            did_not_run: true,
            type_name: Some("ValueError".into()),
            traceback: Some("at line 1".into()),
            data: Some(Value::map([("retry", 5)])),
            cause: Some(Box::new(Failure::new("busy", "no room"))),
            via: vec!["unix:a".into(), "tcp://b:1".into()],
            ..Failure::new("refused", "not now")
        };
        assert_eq!(Failure::decode(&failure.encode()).unwrap(), failure);
    }

    #[test]
    fn is_cut() {
        let long = "é".repeat(TEXT_MAX);
        let failure = Failure { traceback: Some(long.clone()), ..Failure::new("remote", format!("x{long}")) };
        let read = Failure::decode(&failure.encode()).unwrap();
        assert_eq!(read.message.len(), TEXT_MAX - 1);
        assert_eq!(read.traceback.unwrap().len(), TEXT_MAX);
        let mut levels = 0;
        let mut cause = Failure::decode(&chain(40, None).encode()).unwrap().cause;
        while let Some(failure) = cause {
            (levels, cause) = (levels + 1, failure.cause);
        }
        assert_eq!(levels, CAUSES_MAX);
    }

    #[test]
    fn leaves_out_data_that_has_no_place() {
        for data in [Value::Integer(i128::MAX), (0..64).fold(Value::Nil, |inner, _| Value::Array(vec![inner]))] {
            let read = Failure::decode(&chain(1, Some(data)).encode()).unwrap();
            assert_eq!(read, chain(1, None));
        }
    }

    #[test]
    fn is_read_tolerantly() {
        let read = |value: &Value| {
            let mut payload = Vec::new();
            encode(value, &mut payload).unwrap();
            Failure::decode(&payload)
        };
        let more = Value::Map(vec![("code".into(), "busy".into()), (7.into(), 8.into()), ("new".into(), 1.into())]);
        assert_eq!(read(&more).unwrap(), Failure::new("busy", ""));
        for nothing in [Value::from(1), Value::map([("message", "x")]), Value::map([("code", 1)])] {
            assert_eq!(read(&nothing).unwrap_err().to_string(), "value: an error without a code");
        }
        let entries = [("code", Value::from("busy")), ("message", 1.into()), ("cause", Value::map([("code", 1)]))];
        assert_eq!(read(&Value::map(entries)).unwrap(), Failure::new("busy", ""));
        let twice = b"\x82\xa4code\xa1a\xa4code\xa1b";
        assert_eq!(Failure::decode(twice).unwrap_err().path(), "value.code");
        assert!(Failure::decode(&[]).is_err());
    }
}
