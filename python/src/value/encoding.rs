//! Python objects as MessagePack, in the shortest form.

use bytes::Bytes;
use panpipe_link::panpipe::{Body, Flags};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyUnicodeEncodeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDateTime, PyDict, PyFloat, PyInt, PyList, PyMemoryView, PyString, PyTuple, PyType,
};

use super::{Fault, Key, deeper, epoch};

type Written = Result<(), Fault>;

/// A payload of at least so many bytes is shared with the session in place of being copied.
const SHARED: usize = 16 << 10;

/// Encoded values, as a frame has them.
pub(crate) struct Payload<'a> {
    /// Raw or named.
    pub(crate) flags: Flags,
    /// The values one after another; of a raw one its content.
    pub(crate) body: Body<'a>,
}

/// Encodes arguments and passes them on. A lone `bytes` is passed as it lies; `scratch` holds anything else.
///
/// # Errors
/// Names the value's path: `arguments[0].user.when`, `arguments.user.when` for named ones.
pub(crate) fn with_arguments<T>(
    positional: &Bound<'_, PyTuple>,
    named: Option<&Bound<'_, PyDict>>,
    scratch: &mut Vec<u8>,
    use_it: impl FnOnce(Payload<'_>) -> T,
) -> Result<T, Fault> {
    let named = named.filter(|named| !named.is_empty());
    scratch.clear();
    if named.is_none() && positional.len() == 1 {
        let lone = positional.get_borrowed_item(0)?;
        return with_value(&lone, scratch, use_it).map_err(|fault| fault.within("arguments[0]"));
    }
    for (place, argument) in positional.iter_borrowed().enumerate() {
        write(scratch, &argument, 0).map_err(|fault| fault.within(format_args!("arguments[{place}]")))?;
    }
    if let Some(named) = named {
        write_map(scratch, named, 0).map_err(|fault| fault.within("arguments"))?;
    }
    Ok(use_it(Payload { flags: Flags::NONE.named(named.is_some()), body: body(scratch) }))
}

/// Encodes one value and passes it on, as [`with_arguments`].
///
/// # Errors
/// Names the path inside of the value.
pub(crate) fn with_value<T>(
    value: &Bound<'_, PyAny>,
    scratch: &mut Vec<u8>,
    use_it: impl FnOnce(Payload<'_>) -> T,
) -> Result<T, Fault> {
    scratch.clear();
    if let Ok(bytes) = value.cast::<PyBytes>() {
        let body = match bytes.as_bytes() {
            small if small.len() < SHARED => Body::Slice(small),
            _ => Body::Shared(Bytes::from_owner(PyBackedBytes::from(bytes.clone()))),
        };
        return Ok(use_it(Payload { flags: Flags::NONE.raw(true), body }));
    }
    let is_raw = match buffer(value)? {
        Some(bytes) => {
            *scratch = bytes;
            true
        }
        None => {
            write(scratch, value, 0)?;
            false
        }
    };
    Ok(use_it(Payload { flags: Flags::NONE.raw(is_raw), body: body(scratch) }))
}

fn body(scratch: &mut Vec<u8>) -> Body<'_> {
    match scratch.len() < SHARED {
        true => Body::Slice(scratch),
        false => Body::Shared(Bytes::from(std::mem::take(scratch))),
    }
}

/// Writes a value that `depth` arrays and maps lie around.
fn write(out: &mut Vec<u8>, value: &Bound<'_, PyAny>, depth: usize) -> Written {
    if value.is_exact_instance_of::<PyString>() {
        write_text(out, value.cast::<PyString>().map_err(PyErr::from)?)
    } else if value.is_exact_instance_of::<PyInt>() {
        write_integer(out, value)
    } else if value.is_none() {
        out.push(0xc0);
        Ok(())
    } else if let Ok(value) = value.cast::<PyBool>() {
        out.push(0xc2 + u8::from(value.is_true()));
        Ok(())
    } else if let Ok(value) = value.cast::<PyFloat>() {
        out.push(0xcb);
        out.extend_from_slice(&value.value().to_be_bytes());
        Ok(())
    } else if let Ok(value) = value.cast::<PyDict>() {
        write_map(out, value, depth)
    } else if let Ok(value) = value.cast::<PyList>() {
        // Code of the user's that runs for an item could change the list behind the count that was written.
        write_array(out, &value.to_tuple(), depth)
    } else if let Ok(value) = value.cast::<PyTuple>() {
        write_array(out, value, depth)
    } else if let Ok(value) = value.cast::<PyBytes>() {
        write_bytes(out, value.as_bytes())
    } else if let Ok(value) = value.cast::<PyString>() {
        write_text(out, value)
    } else if value.is_instance_of::<PyInt>() {
        write_integer(out, value)
    } else if let Some(bytes) = buffer(value)? {
        write_bytes(out, &bytes)
    } else if value.is_instance_of::<PyDateTime>() {
        write_time(out, value)
    } else {
        write_dataclass(out, value, depth)
    }
}

fn write_text(out: &mut Vec<u8>, text: &Bound<'_, PyString>) -> Written {
    let text = text.to_str().map_err(|raised| match raised.is_instance_of::<PyUnicodeEncodeError>(text.py()) {
        true => Fault::new("text with a lone surrogate"),
        false => Fault::Raised(raised),
    })?;
    match text.len() {
        length @ ..32 => out.push(0xa0 | length as u8),
        length => write_length(out, [0xd9, 0xda, 0xdb], length)?,
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Written {
    write_length(out, [0xc4, 0xc5, 0xc6], bytes.len())?;
    out.extend_from_slice(bytes);
    Ok(())
}

fn write_integer(out: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> Written {
    match value.extract::<i64>() {
        Ok(number @ 0..) => write_unsigned(out, number as u64),
        Ok(number @ -32..) => out.push(number as u8),
        Ok(number) => match (i8::try_from(number), i16::try_from(number), i32::try_from(number)) {
            (Ok(number), ..) => out.extend_from_slice(&[0xd0, number as u8]),
            (_, Ok(number), _) => write_sized(out, 0xd1, &number.to_be_bytes()),
            (.., Ok(number)) => write_sized(out, 0xd2, &number.to_be_bytes()),
            _ => write_sized(out, 0xd3, &number.to_be_bytes()),
        },
        Err(_) => match value.extract::<u64>() {
            Ok(number) => write_unsigned(out, number),
            Err(_) => return Err(Fault::new("an integer that is not between −2^63 and 2^64−1")),
        },
    }
    Ok(())
}

fn write_unsigned(out: &mut Vec<u8>, number: u64) {
    match number {
        0..0x80 => out.push(number as u8),
        0x80..0x100 => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..0x1_0000 => write_sized(out, 0xcd, &(number as u16).to_be_bytes()),
        0x1_0000..0x1_0000_0000 => write_sized(out, 0xce, &(number as u32).to_be_bytes()),
        _ => write_sized(out, 0xcf, &number.to_be_bytes()),
    }
}

fn write_sized(out: &mut Vec<u8>, marker: u8, bytes: &[u8]) {
    out.push(marker);
    out.extend_from_slice(bytes);
}

/// Writes a count behind the marker of its size: of 8, 16 or 32 bits; a marker of 0 is none.
fn write_length(out: &mut Vec<u8>, markers: [u8; 3], length: usize) -> Written {
    match length {
        0..0x100 if markers[0] != 0 => out.extend_from_slice(&[markers[0], length as u8]),
        0..0x1_0000 => write_sized(out, markers[1], &(length as u16).to_be_bytes()),
        _ => {
            let length = u32::try_from(length).map_err(|_| Fault::new("4 GiB or more"))?;
            write_sized(out, markers[2], &length.to_be_bytes());
        }
    }
    Ok(())
}

fn write_array(out: &mut Vec<u8>, items: &Bound<'_, PyTuple>, depth: usize) -> Written {
    let depth = deeper(depth)?;
    match items.len() {
        length @ ..16 => out.push(0x90 | length as u8),
        length => write_length(out, [0, 0xdc, 0xdd], length)?,
    }
    for (place, item) in items.iter_borrowed().enumerate() {
        write(out, &item, depth).map_err(|fault| fault.within(format_args!("[{place}]")))?;
    }
    Ok(())
}

fn write_map_length(out: &mut Vec<u8>, length: usize) -> Written {
    match length {
        ..16 => out.push(0x80 | length as u8),
        _ => write_length(out, [0, 0xde, 0xdf], length)?,
    }
    Ok(())
}

fn write_map(out: &mut Vec<u8>, map: &Bound<'_, PyDict>, depth: usize) -> Written {
    let depth = deeper(depth)?;
    // As they are now: code of the user's that runs for a value could change the map.
    let items = map.items();
    write_map_length(out, items.len())?;
    for item in items {
        let (key, value) = item.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        if !(key.is_instance_of::<PyString>() || key.is_instance_of::<PyInt>()) {
            return Err(Fault::new(format!("a map with a key of type {}", name_of(&key.get_type()))));
        }
        write(out, &key, depth)?;
        write(out, &value, depth).map_err(|fault| fault.within(Key(&key)))?;
    }
    Ok(())
}

fn write_dataclass(out: &mut Vec<u8>, value: &Bound<'_, PyAny>, depth: usize) -> Written {
    static FIELDS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    let kind = value.get_type();
    if !kind.hasattr(intern!(py, "__dataclass_fields__"))? {
        return Err(Fault::new(format!("a value of type {} has no place in a message", name_of(&kind))));
    }
    let depth = deeper(depth)?;
    let fields = FIELDS.import(py, "dataclasses", "fields")?.call1((&kind,))?.cast_into::<PyTuple>();
    let fields = fields.map_err(PyErr::from)?;
    write_map_length(out, fields.len())?;
    for field in fields {
        let name = field.getattr(intern!(py, "name"))?.cast_into::<PyString>().map_err(PyErr::from)?;
        write_text(out, &name)?;
        write(out, &value.getattr(&name)?, depth).map_err(|fault| fault.within(Key(&name)))?;
    }
    Ok(())
}

fn write_time(out: &mut Vec<u8>, time: &Bound<'_, PyAny>) -> Written {
    let py = time.py();
    if time.call_method0(intern!(py, "utcoffset"))?.is_none() {
        return Err(Fault::new("a datetime without a time zone"));
    }
    let since = time.sub(epoch(py)?)?;
    let part = |name| since.getattr(name)?.extract::<i64>();
    let seconds = part(intern!(py, "days"))? * 86_400 + part(intern!(py, "seconds"))?;
    let nanoseconds = part(intern!(py, "microseconds"))? as u64 * 1000;
    match (u32::try_from(seconds), seconds) {
        (Ok(seconds), _) if nanoseconds == 0 => {
            out.extend_from_slice(&[0xd6, 0xff]);
            out.extend_from_slice(&seconds.to_be_bytes());
        }
        (_, 0..0x4_0000_0000) => {
            out.extend_from_slice(&[0xd7, 0xff]);
            out.extend_from_slice(&(nanoseconds << 34 | seconds as u64).to_be_bytes());
        }
        _ => {
            out.extend_from_slice(&[0xc7, 12, 0xff]);
            out.extend_from_slice(&(nanoseconds as u32).to_be_bytes());
            out.extend_from_slice(&seconds.to_be_bytes());
        }
    }
    Ok(())
}

/// The bytes of a `bytearray` or `memoryview`, copied: others may change them.
fn buffer(value: &Bound<'_, PyAny>) -> Result<Option<Vec<u8>>, Fault> {
    if !(value.is_instance_of::<PyByteArray>() || value.is_instance_of::<PyMemoryView>()) {
        return Ok(None);
    }
    let bytes = PyBuffer::<u8>::get(value).map_err(|_| Fault::new("a memoryview of something else than bytes"))?;
    Ok(Some(bytes.to_vec(value.py())?))
}

fn name_of(kind: &Bound<'_, PyType>) -> String {
    kind.qualname().map_or_else(|_| "?".into(), |name| name.to_string())
}
