//! The arguments of a call.

use bytes::Bytes;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny, Visitor};
use serde::forward_to_deserialize_any;
use serde::ser::{Serialize, Serializer};

use crate::error::{Error, Result, Step};
use crate::payload::read_from;
use crate::read::Reader;
use crate::token::Key;

/// The name by which the writer knows named arguments among other types.
pub(crate) const NAMED: &str = "panpipe::Named";

/// Named arguments of a call: a struct, or a map with text keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<T>(pub T);

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(NAMED, &self.0)
    }
}

/// Reads the arguments of a call one after another, by position or by the names of the parameters.
///
/// ```
/// # use panpipe_values::{Arguments, Result, with_arguments};
/// # let mut payload = Vec::new();
/// # with_arguments(&("Hello", 3), &mut payload, |_| ())?;
/// let mut arguments = Arguments::new(payload.into(), false, false, &[])?;
/// let (text, times): (String, u32) = (arguments.take()?, arguments.take()?);
/// arguments.end()?;
/// # assert_eq!((text.as_str(), times), ("Hello", 3));
/// # Ok::<(), panpipe_values::Error>(())
/// ```
pub struct Arguments<'n> {
    payload: Bytes,
    raw: bool,
    /// Where the next positional argument begins, and where they end.
    at: usize,
    end: usize,
    taken: usize,
    names: &'n [String],
    /// Those that were given by name and not taken yet, and where their values begin.
    named: Vec<(String, usize)>,
}

impl<'n> Arguments<'n> {
    /// The arguments of a payload with its flags RAW and NAMED; `names` are those of the parameters, in their order,
    /// and may be empty when nothing can be given by name.
    ///
    /// # Errors
    /// Named arguments that break the rules of values.
    pub fn new(payload: Bytes, raw: bool, named: bool, names: &'n [String]) -> Result<Self> {
        let end = payload.len();
        let mut arguments = Arguments { payload, raw, at: 0, end, taken: 0, names, named: Vec::new() };
        if named {
            arguments.find_named().map_err(|error| error.inside(ROOT))?;
        }
        Ok(arguments)
    }

    /// The next argument; a missing one is `None` where that fits.
    ///
    /// # Errors
    /// An argument that is missing, given twice, breaks the rules of values or does not fit the type.
    #[inline]
    pub fn take<T: DeserializeOwned + 'static>(&mut self) -> Result<T> {
        let index = self.taken;
        self.taken += 1;
        if self.has_positional() {
            return self.take_positional().map_err(|error| error.inside(Step::Number(index as i128)).inside(ROOT));
        }
        self.take_named(index)
    }

    /// Says that all arguments were taken.
    ///
    /// # Errors
    /// Arguments that nobody took.
    pub fn end(self) -> Result<()> {
        if self.has_positional() {
            let reason = format!("one argument too many, expected {}", self.taken);
            return Err(Error::new(reason).inside(Step::Number(self.taken as i128)).inside(ROOT));
        }
        let Some((name, _)) = self.named.into_iter().next() else { return Ok(()) };
        let reason = match (self.names.iter().position(|known| *known == name), self.names) {
            (Some(index), _) if index < self.taken => format!("given twice, by name and as argument {index}"),
            (_, []) => "a named argument, but the parameters have no names".to_owned(),
            (_, names) => format!("an unknown name, known are {}", names.join(", ")),
        };
        Err(Error::new(reason).inside(Step::Name(name)).inside(ROOT))
    }

    #[inline]
    fn has_positional(&self) -> bool {
        self.raw || self.at < self.end
    }

    #[inline]
    fn take_positional<T: DeserializeOwned + 'static>(&mut self) -> Result<T> {
        // Everything is one bytes value, and then there is nothing.
        let raw = std::mem::take(&mut self.raw);
        let (value, end) = read_from(&self.payload, self.at, raw)?;
        self.at = end;
        Ok(value)
    }

    #[cold]
    fn take_named<T: DeserializeOwned + 'static>(&mut self, index: usize) -> Result<T> {
        let Some(name) = self.names.get(index) else {
            return T::deserialize(Missing).map_err(|error| error.inside(Step::Number(index as i128)).inside(ROOT));
        };
        let value = match self.named.iter().position(|(given, _)| given == name) {
            Some(found) => {
                let (_, start) = self.named.swap_remove(found);
                read_from(&self.payload, start, false).map(|(value, _)| value)
            }
            None => T::deserialize(Missing),
        };
        value.map_err(|error| error.inside(Step::Name(name.clone())).inside(ROOT))
    }

    /// The last value is the map; those before it are positional.
    #[cold]
    fn find_named(&mut self) -> Result<()> {
        if self.raw {
            return Err(Error::new("named arguments in one bytes value"));
        }
        let mut reader = Reader::new(&self.payload, false);
        let mut last = None;
        for index in 0.. {
            if reader.tokens.rest().is_empty() {
                break;
            }
            last = Some(self.payload.len() - reader.tokens.rest().len());
            IgnoredAny::deserialize(&mut reader).map_err(|error| error.inside(Step::Number(index)))?;
        }
        let Some(start) = last else { return Err(Error::new("no map of named arguments")) };
        self.end = start;
        let mut reader = Reader::new(&self.payload[start..], false);
        for _ in 0..reader.tokens.entries()? {
            let Key::Text(name) = reader.tokens.key()? else { return Err(Error::new("a name that is no text")) };
            let begin = self.payload.len() - reader.tokens.rest().len();
            IgnoredAny::deserialize(&mut reader)?;
            self.named.push((name.to_owned(), begin));
        }
        Ok(())
    }
}

const ROOT: Step = Step::Root("arguments");

/// Stands for an argument that was not given.
struct Missing;

impl<'de> Deserializer<'de> for Missing {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value> {
        Err(Error::new("a missing argument"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_none()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::payload::with_arguments;
    use crate::value::Value;

    fn read(value: &impl Serialize, names: &[&str], read: impl FnOnce(&mut Arguments<'_>) -> Result<()>) -> Result<()> {
        let mut payload = None;
        with_arguments(value, &mut Vec::new(), |sent| {
            payload = Some((Bytes::copy_from_slice(sent.bytes), sent.raw, sent.named));
        })?;
        let (payload, raw, named) = payload.unwrap();
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut arguments = Arguments::new(payload, raw, named, &names)?;
        read(&mut arguments)?;
        arguments.end()
    }

    fn text_and_number(arguments: &mut Arguments<'_>) -> Result<()> {
        assert_eq!((arguments.take::<String>()?, arguments.take::<Option<u8>>()?), ("a".to_owned(), Some(1)));
        Ok(())
    }

    const NAMES: &[&str] = &["text", "times"];

    #[test]
    fn are_taken_by_position_or_by_name() {
        read(&("a", 1), &[], text_and_number).unwrap();
        read(&Named(BTreeMap::from([("text", Value::from("a")), ("times", 1.into())])), NAMES, text_and_number)
            .unwrap();
        read(&("a", Named(BTreeMap::from([("times", 1)]))), NAMES, text_and_number).unwrap();
        read(&(), NAMES, |_| Ok(())).unwrap();
        read(&"a", NAMES, |arguments| arguments.take::<String>().map(|_| ())).unwrap();
        read(&["a", "b"], NAMES, |arguments| {
            arguments.take::<String>()?;
            arguments.take::<String>().map(|_| ())
        })
        .unwrap();
    }

    #[test]
    fn that_are_missing_are_none_where_that_fits() {
        let first = |arguments: &mut Arguments<'_>| {
            arguments.take::<String>()?;
            arguments.take::<Option<u8>>().map(|times| assert_eq!(times, None))
        };
        read(&"a", &[], first).unwrap();
        read(&Named(BTreeMap::from([("text", "a")])), NAMES, first).unwrap();
        let error = read(&(), &[], first).unwrap_err();
        assert_eq!(error.to_string(), "arguments[0]: a missing argument");
        let error = read(&(), NAMES, first).unwrap_err();
        assert_eq!(error.to_string(), "arguments.text: a missing argument");
        let error = read(&(), &[], |arguments| arguments.take::<Bytes>().map(|_| ())).unwrap_err();
        assert_eq!(error.to_string(), "arguments[0]: a missing argument");
    }

    #[test]
    fn that_fit_nothing_are_refused_with_their_path() {
        let refused = |reading: &dyn Fn(&[&str]) -> Result<()>, names: &[&str]| reading(names).unwrap_err().to_string();
        let named = |entries: Vec<(&'static str, Value)>| {
            let entries: BTreeMap<_, _> = entries.into_iter().collect();
            move |names: &[&str]| read(&("a", Named(&entries)), names, text_and_number)
        };
        let times = ("times", Value::from(1));
        let unknown = named(vec![times.clone(), ("tims", 2.into())]);
        assert_eq!(refused(&unknown, NAMES), "arguments.tims: an unknown name, known are text, times");
        let twice = named(vec![times.clone(), ("text", "a".into())]);
        assert_eq!(refused(&twice, NAMES), "arguments.text: given twice, by name and as argument 0");
        let wrong = named(vec![("times", Value::map([("x", 1)]))]);
        assert_eq!(refused(&wrong, NAMES), "arguments.times: invalid type: map, expected u8");
        let nameless = |names: &[&str]| read(&Named(BTreeMap::from([("a", 1)])), names, |_| Ok(()));
        assert_eq!(refused(&nameless, &[]), "arguments.a: a named argument, but the parameters have no names");
        let many = |names: &[&str]| read(&("a", 1, 2), names, text_and_number);
        assert_eq!(refused(&many, NAMES), "arguments[2]: one argument too many, expected 2");
        let deep = |names: &[&str]| {
            read(&("a", vec![BTreeMap::from([("when", 1.5)])]), names, |arguments| {
                arguments.take::<String>()?;
                arguments.take::<Vec<BTreeMap<String, u8>>>().map(|_| ())
            })
        };
        let text = refused(&deep, &[]);
        assert_eq!(text, "arguments[1][0].when: invalid type: floating point `1.5`, expected u8");
    }

    #[test]
    fn that_are_bytes_share_the_payload() {
        let payload = Bytes::from(vec![0x01, 0xc4, 0x02, 0x0a, 0x0b]);
        let mut arguments = Arguments::new(payload.clone(), false, false, &[]).unwrap();
        assert_eq!(arguments.take::<u8>().unwrap(), 1);
        let bytes: Bytes = arguments.take().unwrap();
        assert_eq!((&bytes[..], bytes.as_ptr()), (&[10, 11][..], payload[3..].as_ptr()));
        arguments.end().unwrap();

        for payload in [payload, Bytes::new()] {
            let mut arguments = Arguments::new(payload.clone(), true, false, &[]).unwrap();
            let bytes: Bytes = arguments.take().unwrap();
            assert_eq!((&bytes[..], bytes.as_ptr()), (&payload[..], payload.as_ptr()));
            assert!(arguments.take::<Bytes>().is_err());
        }
    }

    #[test]
    fn by_name_come_last_and_once() {
        let error = read(&(Named(BTreeMap::from([("a", 1)])), 2), &[], |_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "arguments[1]: an argument after the named ones");
        let error = read(&Named(1), &[], |_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "arguments: named arguments that are no map");
        let raw = Arguments::new(Bytes::from_static(b"a"), true, true, &[]);
        assert!(raw.is_err());
        assert!(Arguments::new(Bytes::from_static(&[1]), false, true, &[]).is_err());
        assert!(Arguments::new(Bytes::new(), false, true, &[]).is_err());
    }
}
