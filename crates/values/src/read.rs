//! Reading MessagePack strictly, straight into serde's types.

use std::collections::HashSet;

use serde::de::value::{BorrowedStrDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, MapAccess, SeqAccess, Unexpected, VariantAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use crate::DEPTH_MAX;
use crate::error::{Error, Result, Step};
use crate::timestamp::Timestamp;

/// Maps of more entries look for a repeated key in a set, smaller ones one key after another.
const FEW_KEYS: usize = 16;

/// Reads one value after another from a payload.
pub(crate) struct Reader<'de> {
    rest: &'de [u8],
    /// All of `rest` is the content of one bytes value.
    raw: bool,
    depth: usize,
    /// How many items are believed of the arrays and maps that are open. Each takes a byte at least, so that all
    /// together reserve no more than what is there can fill.
    believed: usize,
    /// The keys so far of the small maps that are open.
    keys: Vec<Key<'de>>,
}

enum Token<'de> {
    Nil,
    Bool(bool),
    Int(i64),
    /// Only beyond 2^63−1.
    Uint(u64),
    Float(f64),
    Text(&'de str),
    Bytes(&'de [u8]),
    Array(usize),
    Map(usize),
    Time(Timestamp),
}

/// What a map may have as key; equal numbers are equal in whatever form they came.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key<'de> {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Text(&'de str),
}

impl Key<'_> {
    pub(crate) fn step(self) -> Step {
        match self {
            Key::Bool(key) => Step::Bool(key),
            Key::Int(key) => Step::Number(key.into()),
            Key::Uint(key) => Step::Number(key.into()),
            Key::Text(key) => Step::Name(key.to_owned()),
        }
    }
}

impl<'de> Reader<'de> {
    pub(crate) fn new(input: &'de [u8], raw: bool) -> Self {
        Reader { rest: input, raw, depth: 0, believed: 0, keys: Vec::new() }
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'de [u8] {
        self.rest
    }

    /// The content of a bytes value.
    pub(crate) fn bytes(&mut self) -> Result<&'de [u8]> {
        match self.token()? {
            Token::Bytes(bytes) => Ok(bytes),
            other => Err(other.is_not(&"bytes")),
        }
    }

    /// The number of entries of a map; their keys and values come next.
    pub(crate) fn entries(&mut self) -> Result<usize> {
        match self.token()? {
            Token::Map(len) => Ok(len),
            other => Err(other.is_not(&"a map")),
        }
    }

    /// The key of a map's next entry.
    pub(crate) fn key(&mut self) -> Result<Key<'de>> {
        match self.token()? {
            Token::Bool(key) => Ok(Key::Bool(key)),
            Token::Int(key) => Ok(Key::Int(key)),
            Token::Uint(key) => Ok(Key::Uint(key)),
            Token::Text(key) => Ok(Key::Text(key)),
            other => Err(other.is_not(&"a key, which is text, an integer or a bool")),
        }
    }

    #[inline]
    fn token(&mut self) -> Result<Token<'de>> {
        if self.raw {
            self.raw = false;
            return Ok(Token::Bytes(std::mem::take(&mut self.rest)));
        }
        let Some((&first, rest)) = self.rest.split_first() else { return Err(cut_off()) };
        self.rest = rest;
        Ok(match first {
            0x00..=0x7f => Token::Int(first.into()),
            0xe0..=0xff => Token::Int((first as i8).into()),
            0xa0..=0xbf => self.text((first & 0x1f).into())?,
            0x80..=0x8f => Token::Map((first & 0x0f).into()),
            0x90..=0x9f => Token::Array((first & 0x0f).into()),
            0xc0 => Token::Nil,
            0xc1 => return Err(Error::new("the byte c1 begins no value")),
            0xc2 => Token::Bool(false),
            0xc3 => Token::Bool(true),
            0xc4 => self.binary(1)?,
            0xc5 => self.binary(2)?,
            0xc6 => self.binary(4)?,
            0xca => Token::Float(f32::from_bits(self.number(4)? as u32).into()),
            0xcb => Token::Float(f64::from_bits(self.number(8)?)),
            0xcc => Token::Int(self.number(1)? as i64),
            0xcd => Token::Int(self.number(2)? as i64),
            0xce => Token::Int(self.number(4)? as i64),
            0xcf => {
                let number = self.number(8)?;
                i64::try_from(number).map_or(Token::Uint(number), Token::Int)
            }
            0xd0 => Token::Int((self.number(1)? as i8).into()),
            0xd1 => Token::Int((self.number(2)? as i16).into()),
            0xd2 => Token::Int((self.number(4)? as i32).into()),
            0xd3 => Token::Int(self.number(8)? as i64),
            0xd9 => self.long_text(1)?,
            0xda => self.long_text(2)?,
            0xdb => self.long_text(4)?,
            0xdc => Token::Array(self.number(2)? as usize),
            0xdd => Token::Array(self.number(4)? as usize),
            0xde => Token::Map(self.number(2)? as usize),
            0xdf => Token::Map(self.number(4)? as usize),
            0xd4..=0xd8 => self.ext(1 << (first - 0xd4))?,
            0xc7 => self.long_ext(1)?,
            0xc8 => self.long_ext(2)?,
            0xc9 => self.long_ext(4)?,
        })
    }

    #[inline]
    fn take(&mut self, size: usize) -> Result<&'de [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(size) else { return Err(cut_off()) };
        self.rest = rest;
        Ok(taken)
    }

    /// A big-endian number of at most 8 bytes.
    #[inline]
    fn number(&mut self, size: usize) -> Result<u64> {
        Ok(self.take(size)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    #[inline]
    fn text(&mut self, size: usize) -> Result<Token<'de>> {
        match std::str::from_utf8(self.take(size)?) {
            Ok(text) => Ok(Token::Text(text)),
            Err(error) => Err(Error::new(format!("text that is not UTF-8 after {} bytes", error.valid_up_to()))),
        }
    }

    fn long_text(&mut self, length: usize) -> Result<Token<'de>> {
        let size = self.number(length)? as usize;
        self.text(size)
    }

    fn binary(&mut self, length: usize) -> Result<Token<'de>> {
        let size = self.number(length)? as usize;
        Ok(Token::Bytes(self.take(size)?))
    }

    fn long_ext(&mut self, length: usize) -> Result<Token<'de>> {
        let size = self.number(length)? as usize;
        self.ext(size)
    }

    /// A time is the only ext of the model (spec.md of MessagePack, "Timestamp extension type").
    #[cold]
    fn ext(&mut self, size: usize) -> Result<Token<'de>> {
        let kind = self.number(1)? as i8;
        if kind != -1 {
            return Err(Error::new(format!("ext type {kind}, which is no time")));
        }
        let (seconds, nanoseconds) = match size {
            4 => (self.number(4)? as i64, 0),
            8 => {
                let both = self.number(8)?;
                ((both & 0x3_ffff_ffff) as i64, (both >> 34) as u32)
            }
            12 => {
                let nanoseconds = self.number(4)? as u32;
                (self.number(8)? as i64, nanoseconds)
            }
            _ => return Err(Error::new(format!("a time of {size} bytes"))),
        };
        match Timestamp::new(seconds, nanoseconds) {
            Some(time) => Ok(Token::Time(time)),
            None => Err(Error::new(format!("a time of {nanoseconds} ns"))),
        }
    }

    /// Whether a nil comes next; it is taken if so.
    #[inline]
    fn takes_nil(&mut self) -> bool {
        let nil = !self.raw && self.rest.first() == Some(&0xc0);
        if nil {
            self.rest = &self.rest[1..];
        }
        nil
    }

    /// Begins an array or a map; says how many of the items that it claims are to be believed.
    #[inline]
    fn enter(&mut self, claimed: usize) -> Result<usize> {
        if self.depth == DEPTH_MAX {
            return Err(Error::new(format!("nested deeper than {DEPTH_MAX}")));
        }
        self.depth += 1;
        let believed = claimed.min(self.rest.len().saturating_sub(self.believed));
        self.believed += believed;
        Ok(believed)
    }

    fn leave(&mut self, believed: usize) {
        self.believed -= believed;
        self.depth -= 1;
    }

    fn array<V: Visitor<'de>>(&mut self, len: usize, visitor: V) -> Result<V::Value> {
        let believed = self.enter(len)?;
        let mut items = Items { reader: self, index: 0, len, believed };
        let value = visitor.visit_seq(&mut items)?;
        if items.index < len {
            return Err(Error::new(format!("{len} items, expected {}", items.index)));
        }
        self.leave(believed);
        Ok(value)
    }

    fn map<V: Visitor<'de>>(&mut self, len: usize, visitor: V) -> Result<V::Value> {
        let believed = self.enter(len)?;
        let first = self.keys.len();
        let set = if len > FEW_KEYS { Some(HashSet::new()) } else { None };
        let mut entries = Entries { reader: self, left: len, believed, first, set, key: Key::Bool(false) };
        let value = visitor.visit_map(&mut entries)?;
        if entries.left > 0 {
            return Err(Error::new(format!("a map with {} entries more than expected", entries.left)));
        }
        self.keys.truncate(first);
        self.leave(believed);
        Ok(value)
    }

    #[inline]
    fn give<V: Visitor<'de>>(&mut self, token: Token<'de>, visitor: V) -> Result<V::Value> {
        match token {
            Token::Nil => visitor.visit_unit(),
            Token::Bool(value) => visitor.visit_bool(value),
            Token::Int(value) => visitor.visit_i64(value),
            Token::Uint(value) => visitor.visit_u64(value),
            Token::Float(value) => visitor.visit_f64(value),
            Token::Text(value) => visitor.visit_borrowed_str(value),
            Token::Bytes(value) => visitor.visit_borrowed_bytes(value),
            Token::Array(len) => self.array(len, visitor),
            Token::Map(len) => self.map(len, visitor),
            Token::Time(time) => give_time(time, visitor),
        }
    }
}

#[cold]
fn cut_off() -> Error {
    Error::new("the payload ends inside a value")
}

fn give_time<'de, V: Visitor<'de>>(time: Timestamp, visitor: V) -> Result<V::Value> {
    let pair = [time.seconds(), time.nanoseconds().into()];
    visitor.visit_newtype_struct(SeqDeserializer::new(pair.into_iter()))
}

impl Token<'_> {
    #[cold]
    fn is_not(&self, expected: &dyn Expected) -> Error {
        let unexpected = match *self {
            Token::Nil => Unexpected::Other("nil"),
            Token::Bool(value) => Unexpected::Bool(value),
            Token::Int(value) => Unexpected::Signed(value),
            Token::Uint(value) => Unexpected::Unsigned(value),
            Token::Float(value) => Unexpected::Float(value),
            Token::Text(_) => Unexpected::Other("text"),
            Token::Bytes(_) => Unexpected::Other("bytes"),
            Token::Array(_) => Unexpected::Other("array"),
            Token::Map(_) => Unexpected::Other("map"),
            Token::Time(_) => Unexpected::Other("time"),
        };
        Error::invalid_type(unexpected, expected)
    }
}

/// What serde asks for by name is given under no other: a text is no bytes, an array is no struct.
macro_rules! only {
    ($($method:ident($($argument:ident: $type:ty),*) $token:pat,)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value> {
            match self.token()? {
                token @ $token => self.give(token, visitor),
                other => Err(other.is_not(&visitor)),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let token = self.token()?;
        self.give(token, visitor)
    }

    only! {
        deserialize_char() Token::Text(_),
        deserialize_str() Token::Text(_),
        deserialize_string() Token::Text(_),
        deserialize_identifier() Token::Text(_),
        deserialize_bytes() Token::Bytes(_),
        deserialize_byte_buf() Token::Bytes(_),
        deserialize_seq() Token::Array(_),
        deserialize_tuple(_len: usize) Token::Array(_),
        deserialize_tuple_struct(_name: &'static str, _len: usize) Token::Array(_),
        deserialize_map() Token::Map(_),
        deserialize_struct(_name: &'static str, _fields: &'static [&'static str]) Token::Map(_),
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.takes_nil() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        if name != Timestamp::SERDE_NAME {
            return visitor.visit_newtype_struct(self);
        }
        match self.token()? {
            Token::Time(time) => give_time(time, visitor),
            other => Err(other.is_not(&visitor)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.token()? {
            Token::Text(variant) => visitor.visit_enum(BorrowedStrDeserializer::new(variant)),
            Token::Map(1) => {
                let believed = self.enter(1)?;
                let variant = match self.key()? {
                    Key::Text(variant) => variant,
                    _ => return Err(Error::new("a variant's name that is no text")),
                };
                let value = visitor.visit_enum(Variant { reader: self, variant })?;
                self.leave(believed);
                Ok(value)
            }
            other => Err(other.is_not(&"a variant: text, or a map of one entry")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 unit unit_struct ignored_any
    }
}

struct Items<'r, 'de> {
    reader: &'r mut Reader<'de>,
    index: usize,
    len: usize,
    believed: usize,
}

impl<'de> SeqAccess<'de> for &mut Items<'_, 'de> {
    type Error = Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        if self.index == self.len {
            return Ok(None);
        }
        let item = seed.deserialize(&mut *self.reader);
        let item = item.map_err(|error| error.inside(Step::Number(self.index as i128)))?;
        self.index += 1;
        Ok(Some(item))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.believed.saturating_sub(self.index))
    }
}

struct Entries<'r, 'de> {
    reader: &'r mut Reader<'de>,
    left: usize,
    believed: usize,
    /// Where this map's keys begin among the reader's.
    first: usize,
    set: Option<HashSet<Key<'de>>>,
    key: Key<'de>,
}

impl<'de> Entries<'_, 'de> {
    /// Remembers the key; false when it was there already.
    #[inline]
    fn is_new(&mut self, key: Key<'de>) -> bool {
        if let Some(set) = &mut self.set {
            return set.insert(key);
        }
        let keys = &mut self.reader.keys;
        if keys[self.first..].contains(&key) {
            return false;
        }
        // The last one is compared with nothing.
        if self.left > 1 {
            keys.push(key);
        }
        true
    }
}

impl<'de> MapAccess<'de> for &mut Entries<'_, 'de> {
    type Error = Error;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        let key = self.reader.key()?;
        if !self.is_new(key) {
            return Err(Error::new("a key twice").inside(key.step()));
        }
        self.key = key;
        self.left -= 1;
        seed.deserialize(key).map(Some)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value> {
        seed.deserialize(&mut *self.reader).map_err(|error| error.inside(self.key.step()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.believed.min(self.left))
    }
}

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Error;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Key::Bool(key) => visitor.visit_bool(key),
            Key::Int(key) => visitor.visit_i64(key),
            Key::Uint(key) => visitor.visit_u64(key),
            Key::Text(key) => visitor.visit_borrowed_str(key),
        }
    }

    /// A struct's fields are known by name, not by the numbers that serde would take too.
    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Key::Text(key) => visitor.visit_borrowed_str(key),
            _ => Err(Error::new("a key that is no text, expected a field's name")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self {
            Key::Text(variant) => visitor.visit_enum(BorrowedStrDeserializer::new(variant)),
            _ => Err(Error::new("a key that is no text, expected a variant's name")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct ignored_any
    }
}

/// A variant with content: the one entry of a map.
struct Variant<'r, 'de> {
    reader: &'r mut Reader<'de>,
    variant: &'de str,
}

impl<'de> Variant<'_, 'de> {
    fn inside(&self, error: Error) -> Error {
        error.inside(Step::Name(self.variant.to_owned()))
    }
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self)> {
        let variant = seed.deserialize(BorrowedStrDeserializer::<Error>::new(self.variant))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<()> {
        match self.reader.token() {
            Ok(Token::Nil) => Ok(()),
            Ok(other) => Err(self.inside(other.is_not(&"nil"))),
            Err(error) => Err(self.inside(error)),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(&mut *self.reader).map_err(|error| self.inside(error))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        self.reader.deserialize_tuple(len, visitor).map_err(|error| self.inside(error))
    }

    fn struct_variant<V: Visitor<'de>>(self, _fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.reader.deserialize_map(visitor).map_err(|error| self.inside(error))
    }
}
