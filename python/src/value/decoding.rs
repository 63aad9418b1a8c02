//! MessagePack as Python objects, of what may come from anybody.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDelta, PyDict, PyFloat, PyList, PyString, PyTuple};

use super::{Fault, Key, deeper, epoch};

type Read<'py> = Result<Bound<'py, PyAny>, Fault>;

/// Announced items are believed, as far as taking memory goes, only up to this many.
const BELIEVED: usize = 64;

/// The value of a payload; an empty one is nil.
///
/// # Errors
/// Names the path inside of the value.
pub(crate) fn decode<'py>(py: Python<'py>, payload: &[u8], is_raw: bool) -> Read<'py> {
    match payload {
        _ if is_raw => Ok(PyBytes::new(py, payload).into_any()),
        [] => Ok(py.None().into_bound(py)),
        _ => read_whole(py, payload),
    }
}

/// Reads one value, with nothing behind it.
pub(super) fn read_whole<'py>(py: Python<'py>, payload: &[u8]) -> Read<'py> {
    let mut reader = Reader { py, rest: payload };
    let value = reader.read(0)?;
    match reader.rest {
        [] => Ok(value),
        rest => Err(Fault::new(format!("{} bytes behind the value", rest.len()))),
    }
}

/// The positional arguments of a payload and, if `is_named`, the named ones.
///
/// # Errors
/// Names the value's path: `arguments[0].user.when`, `arguments.user.when` for named ones.
pub(crate) fn decode_arguments<'py>(
    py: Python<'py>,
    payload: &[u8],
    is_raw: bool,
    is_named: bool,
) -> Result<(Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>), Fault> {
    if is_raw {
        return Ok((PyTuple::new(py, [PyBytes::new(py, payload)])?, None));
    }
    let mut reader = Reader { py, rest: payload };
    let mut values = Vec::new();
    while !reader.rest.is_empty() {
        let value = reader.read(0).map_err(|fault| fault.within(format_args!("arguments[{}]", values.len())))?;
        values.push(value);
    }
    let named = match is_named {
        false => None,
        true => {
            let last = values.pop().and_then(|last| last.cast_into::<PyDict>().ok());
            Some(last.ok_or_else(|| Fault::new("the named arguments are not a map").within("arguments"))?)
        }
    };
    if let Some(key) = named.iter().flat_map(|named| named.keys()).find(|key| !key.is_instance_of::<PyString>()) {
        return Err(Fault::new(format!("a named argument with the name {key}")).within("arguments"));
    }
    Ok((PyTuple::new(py, values)?, named))
}

struct Reader<'a, 'py> {
    py: Python<'py>,
    rest: &'a [u8],
}

impl<'a, 'py> Reader<'a, 'py> {
    /// Reads a value that `depth` arrays and maps lie around.
    fn read(&mut self, depth: usize) -> Read<'py> {
        let py = self.py;
        let [marker] = self.take()?;
        let value = match marker {
            0x00..=0x7f => marker.into_pyobject(py).map_err(PyErr::from)?.into_any(),
            0x80..=0x8f => return self.read_map(usize::from(marker & 0x0f), depth),
            0x90..=0x9f => return self.read_array(usize::from(marker & 0x0f), depth),
            0xa0..=0xbf => return self.read_text(usize::from(marker & 0x1f)),
            0xc0 => py.None().into_bound(py),
            0xc1 => return Err(Fault::new("the byte c1, which begins no value")),
            0xc2 | 0xc3 => PyBool::new(py, marker == 0xc3).to_owned().into_any(),
            0xc4..=0xc6 => {
                let length = self.read_length(marker - 0xc4)?;
                PyBytes::new(py, self.bytes(length)?).into_any()
            }
            0xc7..=0xc9 => {
                let length = self.read_length(marker - 0xc7)?;
                return self.read_time(length);
            }
            0xca => PyFloat::new(py, f32::from_be_bytes(self.take()?).into()).into_any(),
            0xcb => PyFloat::new(py, f64::from_be_bytes(self.take()?)).into_any(),
            0xcc => self.integer(u8::from_be_bytes)?,
            0xcd => self.integer(u16::from_be_bytes)?,
            0xce => self.integer(u32::from_be_bytes)?,
            0xcf => self.integer(u64::from_be_bytes)?,
            0xd0 => self.integer(i8::from_be_bytes)?,
            0xd1 => self.integer(i16::from_be_bytes)?,
            0xd2 => self.integer(i32::from_be_bytes)?,
            0xd3 => self.integer(i64::from_be_bytes)?,
            0xd4..=0xd8 => return self.read_time(1 << (marker - 0xd4)),
            0xd9..=0xdb => {
                let length = self.read_length(marker - 0xd9)?;
                return self.read_text(length);
            }
            0xdc | 0xdd => {
                let length = self.read_length(marker - 0xdc + 1)?;
                return self.read_array(length, depth);
            }
            0xde | 0xdf => {
                let length = self.read_length(marker - 0xde + 1)?;
                return self.read_map(length, depth);
            }
            0xe0..=0xff => (marker as i8).into_pyobject(py).map_err(PyErr::from)?.into_any(),
        };
        Ok(value)
    }

    fn integer<const N: usize, T>(&mut self, from: fn([u8; N]) -> T) -> Read<'py>
    where
        T: IntoPyObject<'py, Target = pyo3::types::PyInt, Output = Bound<'py, pyo3::types::PyInt>>,
        PyErr: From<T::Error>,
    {
        Ok(from(self.take()?).into_pyobject(self.py).map_err(PyErr::from)?.into_any())
    }

    /// Reads a count of 1, 2 or 4 bytes.
    fn read_length(&mut self, size: u8) -> Result<usize, Fault> {
        Ok(match size {
            0 => u8::from_be_bytes(self.take()?).into(),
            1 => u16::from_be_bytes(self.take()?).into(),
            _ => u32::from_be_bytes(self.take()?) as usize,
        })
    }

    fn read_text(&mut self, length: usize) -> Read<'py> {
        let text = std::str::from_utf8(self.bytes(length)?).map_err(|_| Fault::new("text that is not UTF-8"))?;
        Ok(PyString::new(self.py, text).into_any())
    }

    fn read_array(&mut self, length: usize, depth: usize) -> Read<'py> {
        let depth = deeper(depth)?;
        let mut items = Vec::with_capacity(length.min(BELIEVED));
        for place in 0..length {
            items.push(self.read(depth).map_err(|fault| fault.within(format_args!("[{place}]")))?);
        }
        Ok(PyList::new(self.py, items)?.into_any())
    }

    fn read_map(&mut self, length: usize, depth: usize) -> Read<'py> {
        let depth = deeper(depth)?;
        let map = PyDict::new(self.py);
        for place in 0..length {
            let key = self.read_key()?;
            let value = self.read(depth).map_err(|fault| fault.within(Key(&key)))?;
            map.set_item(&key, value)?;
            // To Python 1 and true are one key.
            if map.len() == place {
                return Err(Fault::new("a key that comes twice").within(Key(&key)));
            }
        }
        Ok(map.into_any())
    }

    fn read_key(&mut self) -> Read<'py> {
        match self.rest.first() {
            Some(0x00..=0x7f | 0xa0..=0xbf | 0xc2 | 0xc3 | 0xcc..=0xd3 | 0xd9..=0xdb | 0xe0..=0xff) => self.read(0),
            Some(_) => Err(Fault::new("a map with a key that is neither text nor an integer nor a bool")),
            None => Err(cut()),
        }
    }

    /// Reads a time: what it is about, and `length` bytes.
    fn read_time(&mut self, length: usize) -> Read<'py> {
        let [kind] = self.take()?;
        if kind as i8 != -1 {
            return Err(Fault::new(format!("an extension of type {}", kind as i8)));
        }
        let (seconds, nanoseconds) = match length {
            4 => (u32::from_be_bytes(self.take()?).into(), 0),
            8 => {
                let both = u64::from_be_bytes(self.take()?);
                ((both & 0x3_ffff_ffff) as i64, (both >> 34) as u32)
            }
            12 => {
                let nanoseconds = u32::from_be_bytes(self.take()?);
                (i64::from_be_bytes(self.take()?), nanoseconds)
            }
            _ => return Err(Fault::new(format!("a time of {length} bytes"))),
        };
        if nanoseconds >= 1_000_000_000 {
            return Err(Fault::new("a time with a second or more of nanoseconds"));
        }
        let py = self.py;
        let days = i32::try_from(seconds.div_euclid(86_400)).ok();
        let second = seconds.rem_euclid(86_400) as i32;
        // Python knows no less than microseconds.
        let since = days.and_then(|days| PyDelta::new(py, days, second, (nanoseconds / 1000) as i32, true).ok());
        let time = since.and_then(|since| epoch(py).and_then(|epoch| epoch.add(since)).ok());
        time.ok_or_else(|| Fault::new("a time that is not between the years 1 and 9999"))
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(cut)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(cut)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

fn cut() -> Fault {
    Fault::new("the value is cut off")
}
