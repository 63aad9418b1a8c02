//! MessagePack's bytes, taken strictly: what values begin with, and what stands alone.

use std::str::Utf8Error;

use serde::de::{Error as _, Expected, Unexpected};

use crate::error::{Error, Result, Step};
use crate::timestamp::Timestamp;

/// Takes one token after another from a payload.
pub(crate) struct Tokens<'de> {
    rest: &'de [u8],
    /// All of `rest` is the content of one bytes value.
    raw: bool,
}

/// What a value begins with; of scalars, texts and bytes all there is.
pub(crate) enum Token<'de> {
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

impl<'de> Tokens<'de> {
    pub(crate) fn new(input: &'de [u8], raw: bool) -> Self {
        Tokens { rest: input, raw }
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'de [u8] {
        self.rest
    }

    /// The content of a bytes value.
    pub(crate) fn bytes(&mut self) -> Result<&'de [u8]> {
        match self.next()? {
            Token::Bytes(bytes) => Ok(bytes),
            other => Err(other.is_not(&"bytes")),
        }
    }

    /// The number of entries of a map; their keys and values come next.
    pub(crate) fn entries(&mut self) -> Result<usize> {
        match self.next()? {
            Token::Map(len) => Ok(len),
            other => Err(other.is_not(&"a map")),
        }
    }

    /// The key of a map's next entry.
    pub(crate) fn key(&mut self) -> Result<Key<'de>> {
        match self.next()? {
            Token::Bool(key) => Ok(Key::Bool(key)),
            Token::Int(key) => Ok(Key::Int(key)),
            Token::Uint(key) => Ok(Key::Uint(key)),
            Token::Text(key) => Ok(Key::Text(key)),
            other => Err(other.is_not(&"a key, which is text, an integer or a bool")),
        }
    }

    /// What comes next.
    // Where serde asks for one kind the rest of it is dead code, and goes.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Token<'de>> {
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
            0xc4 => self.sized::<1>(Self::binary)?,
            0xc5 => self.sized::<2>(Self::binary)?,
            0xc6 => self.sized::<4>(Self::binary)?,
            0xca => Token::Float(f32::from_be_bytes(self.chunk()?).into()),
            0xcb => Token::Float(f64::from_be_bytes(self.chunk()?)),
            0xcc => Token::Int(u8::from_be_bytes(self.chunk()?).into()),
            0xcd => Token::Int(u16::from_be_bytes(self.chunk()?).into()),
            0xce => Token::Int(u32::from_be_bytes(self.chunk()?).into()),
            0xcf => {
                let number = u64::from_be_bytes(self.chunk()?);
                i64::try_from(number).map_or(Token::Uint(number), Token::Int)
            }
            0xd0 => Token::Int(i8::from_be_bytes(self.chunk()?).into()),
            0xd1 => Token::Int(i16::from_be_bytes(self.chunk()?).into()),
            0xd2 => Token::Int(i32::from_be_bytes(self.chunk()?).into()),
            0xd3 => Token::Int(i64::from_be_bytes(self.chunk()?)),
            0xd9 => self.sized::<1>(Self::text)?,
            0xda => self.sized::<2>(Self::text)?,
            0xdb => self.sized::<4>(Self::text)?,
            0xdc => Token::Array(self.size::<2>()?),
            0xdd => Token::Array(self.size::<4>()?),
            0xde => Token::Map(self.size::<2>()?),
            0xdf => Token::Map(self.size::<4>()?),
            0xd4..=0xd8 => self.ext(1 << (first - 0xd4))?,
            0xc7 => self.sized::<1>(Self::ext)?,
            0xc8 => self.sized::<2>(Self::ext)?,
            0xc9 => self.sized::<4>(Self::ext)?,
        })
    }

    #[inline]
    fn take(&mut self, size: usize) -> Result<&'de [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(size) else { return Err(cut_off()) };
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some((chunk, rest)) = self.rest.split_first_chunk() else { return Err(cut_off()) };
        self.rest = rest;
        Ok(*chunk)
    }

    /// A size in so many bytes.
    #[inline]
    fn size<const N: usize>(&mut self) -> Result<usize> {
        Ok(self.chunk::<N>()?.iter().fold(0, |size, byte| size << 8 | usize::from(*byte)))
    }

    /// What has its size before it, in so many bytes.
    #[inline]
    fn sized<const N: usize>(&mut self, read: fn(&mut Self, usize) -> Result<Token<'de>>) -> Result<Token<'de>> {
        let size = self.size::<N>()?;
        read(self, size)
    }

    fn binary(&mut self, size: usize) -> Result<Token<'de>> {
        self.take(size).map(Token::Bytes)
    }

    #[inline]
    fn text(&mut self, size: usize) -> Result<Token<'de>> {
        match std::str::from_utf8(self.take(size)?) {
            Ok(text) => Ok(Token::Text(text)),
            Err(error) => Err(no_text(error)),
        }
    }

    /// A time is the only ext of the model (spec.md of MessagePack, "Timestamp extension type").
    #[cold]
    fn ext(&mut self, size: usize) -> Result<Token<'de>> {
        let kind = i8::from_be_bytes(self.chunk()?);
        if kind != -1 {
            return Err(Error::new(format!("ext type {kind}, which is no time")));
        }
        let (seconds, nanoseconds) = match size {
            4 => (u32::from_be_bytes(self.chunk()?).into(), 0),
            8 => {
                let both = u64::from_be_bytes(self.chunk()?);
                ((both & 0x3_ffff_ffff) as i64, (both >> 34) as u32)
            }
            12 => {
                let nanoseconds = u32::from_be_bytes(self.chunk()?);
                (i64::from_be_bytes(self.chunk()?), nanoseconds)
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
    pub(crate) fn takes_nil(&mut self) -> bool {
        let nil = !self.raw && self.rest.first() == Some(&0xc0);
        if nil {
            self.rest = &self.rest[1..];
        }
        nil
    }
}

#[cold]
fn no_text(error: Utf8Error) -> Error {
    Error::new(format!("text that is not UTF-8 after {} bytes", error.valid_up_to()))
}

#[cold]
fn cut_off() -> Error {
    Error::new("the payload ends inside a value")
}

impl Token<'_> {
    /// The error of who expected something else.
    #[cold]
    pub(crate) fn is_not(&self, expected: &dyn Expected) -> Error {
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
