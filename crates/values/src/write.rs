//! Writing serde's types as MessagePack, in the shortest form.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use crate::DEPTH_MAX;
use crate::arguments::NAMED;
use crate::error::{Error, Result, Step};
use crate::payload::decode_slice;
use crate::timestamp::Timestamp;
use crate::token::Tokens;

/// Takes the content of a bytes value.
type Lone<'o> = dyn FnMut(&[u8]) + 'o;

/// Appends values to a buffer.
pub(crate) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    depth: usize,
    /// Values are arguments: the first tuple is several of them.
    pub(crate) spread: bool,
    /// The last argument is a map of named ones.
    pub(crate) named: bool,
    /// Takes the content of the only value when that is bytes, which then is not written.
    lone: Option<&'o mut Lone<'o>>,
}

impl<'o> Writer<'o> {
    pub(crate) fn new(out: &'o mut Vec<u8>) -> Self {
        Writer { out, depth: 0, spread: false, named: false, lone: None }
    }

    pub(crate) fn handing_on(self, lone: &'o mut Lone<'o>) -> Self {
        Writer { lone: Some(lone), ..self }
    }

    fn integer(&mut self, value: i64) {
        if let Ok(value) = u64::try_from(value) {
            return self.unsigned(value);
        }
        if value >= -32 {
            self.out.push(value as u8);
        } else if let Ok(value) = i8::try_from(value) {
            self.out.extend_from_slice(&[0xd0, value as u8]);
        } else if let Ok(value) = i16::try_from(value) {
            self.head(0xd1, &value.to_be_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            self.head(0xd2, &value.to_be_bytes());
        } else {
            self.head(0xd3, &value.to_be_bytes());
        }
    }

    fn unsigned(&mut self, value: u64) {
        if value < 0x80 {
            self.out.push(value as u8);
        } else if let Ok(value) = u8::try_from(value) {
            self.out.extend_from_slice(&[0xcc, value]);
        } else if let Ok(value) = u16::try_from(value) {
            self.head(0xcd, &value.to_be_bytes());
        } else if let Ok(value) = u32::try_from(value) {
            self.head(0xce, &value.to_be_bytes());
        } else {
            self.head(0xcf, &value.to_be_bytes());
        }
    }

    fn head(&mut self, first: u8, rest: &[u8]) {
        self.out.push(first);
        self.out.extend_from_slice(rest);
    }

    fn text(&mut self, value: &str) -> Result<()> {
        head(self.out, Kind::Text, value.len())?;
        self.out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn enter(&mut self) -> Result<()> {
        if self.depth == DEPTH_MAX {
            return Err(Error::new(format!("nested deeper than {DEPTH_MAX}")));
        }
        self.depth += 1;
        Ok(())
    }

    /// Begins the map of one entry that a variant with content is.
    fn variant(&mut self, variant: &'static str) -> Result<()> {
        self.enter()?;
        head(self.out, Kind::Map, 1)?;
        self.text(variant)
    }

    fn compound(&mut self, kind: Kind, len: Option<usize>) -> Result<Compound<'_, 'o>> {
        self.enter()?;
        let start = self.out.len();
        let claimed = len.unwrap_or(0);
        head(self.out, kind, claimed)?;
        let items = self.out.len();
        Ok(Compound { writer: self, kind, start, items, claimed, count: 0, variant: None, key: 0 })
    }

    fn compound_of(&mut self, variant: &'static str, kind: Kind, len: usize) -> Result<Compound<'_, 'o>> {
        self.variant(variant)?;
        let compound = self.compound(kind, Some(len)).map_err(|error| error.inside(Step::Name(variant.to_owned())))?;
        Ok(Compound { variant: Some(variant), ..compound })
    }

    fn time<T: Serialize + ?Sized>(&mut self, pair: &T) -> Result<()> {
        let start = self.out.len();
        // Written as any other pair, read again, and replaced; it is no nesting and no arguments.
        let depth = std::mem::replace(&mut self.depth, 1);
        pair.serialize(&mut *self)?;
        self.depth = depth;
        let (seconds, nanoseconds): (i64, u32) = decode_slice(&self.out[start..])?;
        self.out.truncate(start);
        match (u64::try_from(seconds), u32::try_from(seconds)) {
            (_, Ok(seconds)) if nanoseconds == 0 => self.head(0xd6, &with_type(seconds.to_be_bytes())),
            (Ok(whole), _) if whole >> 34 == 0 => {
                self.head(0xd7, &with_type((u64::from(nanoseconds) << 34 | whole).to_be_bytes()));
            }
            _ => {
                self.head(0xc7, &[12, TIME]);
                self.out.extend_from_slice(&nanoseconds.to_be_bytes());
                self.out.extend_from_slice(&seconds.to_be_bytes());
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Text,
    Bytes,
    Array,
    Map,
    /// Arguments: an array without a head, and no nesting.
    Arguments,
}

/// The ext type −1.
const TIME: u8 = 0xff;

fn with_type<const N: usize>(content: [u8; N]) -> Vec<u8> {
    let mut ext = vec![TIME];
    ext.extend_from_slice(&content);
    ext
}

/// Appends what goes before so many bytes, items or entries.
fn head(out: &mut Vec<u8>, kind: Kind, len: usize) -> Result<()> {
    let (short, short_max, forms) = match kind {
        Kind::Text => (0xa0, 31, [0xd9, 0xda, 0xdb]),
        // There is no short form.
        Kind::Bytes => (0, -1, [0xc4, 0xc5, 0xc6]),
        // There is no form of 8 bits; what is longer than 15 skips it.
        Kind::Array => (0x90, 15, [0, 0xdc, 0xdd]),
        Kind::Map => (0x80, 15, [0, 0xde, 0xdf]),
        Kind::Arguments => return Ok(()),
    };
    if len as i128 <= short_max {
        out.push(short | len as u8);
    } else if let (Ok(len), 1..) = (u8::try_from(len), forms[0]) {
        out.extend_from_slice(&[forms[0], len]);
    } else if let Ok(len) = u16::try_from(len) {
        out.push(forms[1]);
        out.extend_from_slice(&len.to_be_bytes());
    } else if let Ok(len) = u32::try_from(len) {
        out.push(forms[2]);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        return Err(Error::new("a value of more than 4 GiB"));
    }
    Ok(())
}

macro_rules! integers {
    ($($method:ident($type:ty) $write:ident;)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<()> {
            self.$write(value.into());
            Ok(())
        }
    )*};
}

impl<'w, 'o> Serializer for &'w mut Writer<'o> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Compound<'w, 'o>;
    type SerializeTuple = Compound<'w, 'o>;
    type SerializeTupleStruct = Compound<'w, 'o>;
    type SerializeTupleVariant = Compound<'w, 'o>;
    type SerializeMap = Compound<'w, 'o>;
    type SerializeStruct = Compound<'w, 'o>;
    type SerializeStructVariant = Compound<'w, 'o>;

    integers! {
        serialize_i8(i8) integer;
        serialize_i16(i16) integer;
        serialize_i32(i32) integer;
        serialize_i64(i64) integer;
        serialize_u8(u8) unsigned;
        serialize_u16(u16) unsigned;
        serialize_u32(u32) unsigned;
        serialize_u64(u64) unsigned;
    }

    fn serialize_i128(self, value: i128) -> Result<()> {
        match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => self.integer(value),
            (_, Ok(value)) => self.unsigned(value),
            _ => return Err(Error::new(format!("the integer {value}, which is not from -2^63 to 2^64-1"))),
        }
        Ok(())
    }

    fn serialize_u128(self, value: u128) -> Result<()> {
        let value = u64::try_from(value)
            .map_err(|_| Error::new(format!("the integer {value}, which is not from -2^63 to 2^64-1")))?;
        self.serialize_u64(value)
    }

    fn serialize_bool(self, value: bool) -> Result<()> {
        self.out.push(if value { 0xc3 } else { 0xc2 });
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<()> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<()> {
        // There are many NaNs; one is written.
        let bits = if value.is_nan() { 0x7ff8_0000_0000_0000 } else { value.to_bits() };
        self.head(0xcb, &bits.to_be_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.text(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<()> {
        self.text(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<()> {
        if self.depth == 0
            && let Some(lone) = self.lone.take()
        {
            lone(value);
            return Ok(());
        }
        head(self.out, Kind::Bytes, value.len())?;
        self.out.extend_from_slice(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<()> {
        self.out.push(0xc0);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<()> {
        if self.depth == 0 && self.spread {
            return Ok(());
        }
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result<()> {
        self.text(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<()> {
        match name {
            Timestamp::SERDE_NAME => self.time(value),
            NAMED if self.depth == 0 => {
                (self.named, self.spread, self.lone) = (true, false, None);
                let start = self.out.len();
                value.serialize(&mut *self)?;
                match self.out.get(start) {
                    Some(0x80..=0x8f | 0xde | 0xdf) => Ok(()),
                    _ => Err(Error::new("named arguments that are no map")),
                }
            }
            _ => value.serialize(self),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        self.variant(variant)?;
        value.serialize(&mut *self).map_err(|error| error.inside(Step::Name(variant.to_owned())))?;
        self.depth -= 1;
        Ok(())
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Compound<'w, 'o>> {
        self.compound(Kind::Array, len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Compound<'w, 'o>> {
        if self.depth > 0 || !self.spread {
            return self.compound(Kind::Array, Some(len));
        }
        self.spread = false;
        if len != 1 {
            self.lone = None;
        }
        let compound = self.compound(Kind::Arguments, Some(len))?;
        compound.writer.depth -= 1;
        Ok(compound)
    }

    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Compound<'w, 'o>> {
        self.compound(Kind::Array, Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Compound<'w, 'o>> {
        self.compound_of(variant, Kind::Array, len)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Compound<'w, 'o>> {
        self.compound(Kind::Map, len)
    }

    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Compound<'w, 'o>> {
        self.compound(Kind::Map, Some(len))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Compound<'w, 'o>> {
        self.compound_of(variant, Kind::Map, len)
    }
}

/// An array, a map or arguments, being written.
pub(crate) struct Compound<'w, 'o> {
    writer: &'w mut Writer<'o>,
    kind: Kind,
    /// Where the head begins, and where it ends.
    start: usize,
    items: usize,
    claimed: usize,
    count: usize,
    variant: Option<&'static str>,
    /// Where the key of the entry begins whose value comes next.
    key: usize,
}

impl Compound<'_, '_> {
    #[cold]
    fn inside(&self, error: Error, step: Step) -> Error {
        let error = error.inside(step);
        match self.variant {
            Some(variant) => error.inside(Step::Name(variant.to_owned())),
            None => error,
        }
    }

    #[inline]
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        if self.kind == Kind::Arguments && self.writer.named {
            return Err(Error::new("an argument after the named ones").inside(Step::Number(self.count as i128)));
        }
        let written = value.serialize(&mut *self.writer);
        written.map_err(|error| self.inside(error, Step::Number(self.count as i128)))?;
        self.count += 1;
        Ok(())
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
        self.writer.text(name)?;
        let written = value.serialize(&mut *self.writer);
        written.map_err(|error| self.inside(error, Step::Name(name.to_owned())))?;
        self.count += 1;
        Ok(())
    }

    #[inline]
    fn finish(self) -> Result<()> {
        let Compound { writer, kind, start, items, claimed, count, variant, .. } = self;
        if count != claimed {
            let mut right = Vec::new();
            head(&mut right, kind, count)?;
            writer.out.splice(start..items, right);
        }
        if kind != Kind::Arguments {
            writer.depth -= 1 + usize::from(variant.is_some());
        }
        Ok(())
    }
}

macro_rules! sequences {
    ($($trait:ident::$method:ident;)*) => {$(
        impl $trait for Compound<'_, '_> {
            type Ok = ();
            type Error = Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.item(value)
            }

            #[inline]
            fn end(self) -> Result<()> {
                self.finish()
            }
        }
    )*};
}

sequences! {
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
    SerializeTupleVariant::serialize_field;
}

macro_rules! structs {
    ($($trait:ident)*) => {$(
        impl $trait for Compound<'_, '_> {
            type Ok = ();
            type Error = Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
                self.field(name, value)
            }

            #[inline]
            fn end(self) -> Result<()> {
                self.finish()
            }
        }
    )*};
}

structs! { SerializeStruct SerializeStructVariant }

impl SerializeMap for Compound<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.key = self.writer.out.len();
        key.serialize(&mut *self.writer)?;
        match self.writer.out.get(self.key) {
            Some(0x00..=0x7f | 0xa0..=0xbf | 0xc2 | 0xc3 | 0xcc..=0xd3 | 0xd9..=0xdb | 0xe0..) => Ok(()),
            _ => Err(Error::new("a key that is no text, integer or bool")),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        if let Err(error) = value.serialize(&mut *self.writer) {
            let key = Tokens::new(&self.writer.out[self.key..], false).key()?;
            return Err(self.inside(error, key.step()));
        }
        self.count += 1;
        Ok(())
    }

    fn end(self) -> Result<()> {
        self.finish()
    }
}
