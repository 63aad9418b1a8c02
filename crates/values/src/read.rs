//! Reading MessagePack strictly, straight into serde's types.

use std::collections::HashSet;

use serde::de::value::{BorrowedStrDeserializer, SeqDeserializer};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

use crate::DEPTH_MAX;
use crate::error::{Error, Result, Step};
use crate::timestamp::Timestamp;
use crate::token::{Key, Token, Tokens};

/// Maps of more entries look for a repeated key in a set, smaller ones one key after another.
const FEW_KEYS: usize = 16;

/// Reads one value after another from a payload.
pub(crate) struct Reader<'de> {
    pub(crate) tokens: Tokens<'de>,
    depth: usize,
    /// How many items are believed of the arrays and maps that are open. Each takes a byte at least, so that all
    /// together reserve no more than what is there can fill.
    believed: usize,
    /// The keys so far of the small maps that are open.
    keys: Vec<Key<'de>>,
}

impl<'de> Reader<'de> {
    pub(crate) fn new(input: &'de [u8], raw: bool) -> Self {
        Reader { tokens: Tokens::new(input, raw), depth: 0, believed: 0, keys: Vec::new() }
    }

    /// Begins an array or a map; says how many of the items that it claims are to be believed.
    #[inline]
    fn enter(&mut self, claimed: usize) -> Result<usize> {
        if self.depth == DEPTH_MAX {
            return Err(Error::new(format!("nested deeper than {DEPTH_MAX}")));
        }
        self.depth += 1;
        let believed = claimed.min(self.tokens.rest().len().saturating_sub(self.believed));
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

fn give_time<'de, V: Visitor<'de>>(time: Timestamp, visitor: V) -> Result<V::Value> {
    let pair = [time.seconds(), time.nanoseconds().into()];
    visitor.visit_newtype_struct(SeqDeserializer::new(pair.into_iter()))
}

/// What serde asks for by name is given under no other: a text is no bytes, an array is no struct.
macro_rules! only {
    ($($method:ident($($argument:ident: $type:ty),*) $token:ident $give:ident;)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value> {
            match self.tokens.next()? {
                Token::$token(content) => only! { @$give self, visitor, content },
                other => Err(other.is_not(&visitor)),
            }
        }
    )*};
    (@array $reader:ident, $visitor:ident, $content:ident) => { $reader.array($content, $visitor) };
    (@map $reader:ident, $visitor:ident, $content:ident) => { $reader.map($content, $visitor) };
    (@$give:ident $reader:ident, $visitor:ident, $content:ident) => { $visitor.$give($content) };
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let token = self.tokens.next()?;
        self.give(token, visitor)
    }

    only! {
        deserialize_char() Text visit_borrowed_str;
        deserialize_str() Text visit_borrowed_str;
        deserialize_string() Text visit_borrowed_str;
        deserialize_identifier() Text visit_borrowed_str;
        deserialize_bytes() Bytes visit_borrowed_bytes;
        deserialize_byte_buf() Bytes visit_borrowed_bytes;
        deserialize_seq() Array array;
        deserialize_tuple(_len: usize) Array array;
        deserialize_tuple_struct(_name: &'static str, _len: usize) Array array;
        deserialize_map() Map map;
        deserialize_struct(_name: &'static str, _fields: &'static [&'static str]) Map map;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.tokens.takes_nil() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        if name != Timestamp::SERDE_NAME {
            return visitor.visit_newtype_struct(self);
        }
        match self.tokens.next()? {
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
        match self.tokens.next()? {
            Token::Text(variant) => visitor.visit_enum(BorrowedStrDeserializer::new(variant)),
            Token::Map(1) => {
                let believed = self.enter(1)?;
                let variant = match self.tokens.key()? {
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
        let key = self.reader.tokens.key()?;
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
        match self.reader.tokens.next() {
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
