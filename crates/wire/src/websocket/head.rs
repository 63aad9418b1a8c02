//! The head of an HTTP message (RFC 9112), and its limits.

use memchr::memchr_iter;

/// A head has at most so many bytes.
pub(super) const MOST_BYTES: usize = 8 << 10;

/// A head has at most so many fields.
pub(super) const MOST_FIELDS: usize = 64;

/// The part of `bytes` that is to be parsed, and whether it ends with a line feed that stands alone.
///
/// The parser takes such a line end for one, and RFC 9112, section 2.2, lets it; who stands in between may not, and then
/// reads another head than this side does.
pub(super) fn within_limits(bytes: &[u8]) -> (&[u8], bool) {
    let bytes = &bytes[..bytes.len().min(MOST_BYTES)];
    for at in memchr_iter(b'\n', bytes) {
        let line = &bytes[..=at];
        if !line.ends_with(b"\r\n") {
            return (line, true);
        }
        if line.ends_with(b"\r\n\r\n") {
            return (line, false);
        }
    }
    (bytes, false)
}

/// The fields of a head.
#[derive(Debug)]
pub(super) struct Fields<'a>(Vec<(&'a str, &'a [u8])>);

impl<'a> Fields<'a> {
    pub(super) fn new(fields: &[httparse::Header<'a>]) -> Self {
        Fields(fields.iter().map(|field| (field.name, field.value)).collect())
    }

    /// The values of every field of this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// The value of the field of this name, which may be there once and has to be ASCII; or what is wrong with it.
    pub(super) fn one(&self, name: &str) -> Result<Option<&'a str>, String> {
        let mut values = self.all(name);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(format!("the field {name} is there more than once"));
        }
        match std::str::from_utf8(value) {
            Ok(value) if value.is_ascii() => Ok(Some(value)),
            _ => Err(format!("the field {name} is not ASCII")),
        }
    }

    /// The items of a list that may stand in several fields (RFC 9110, section 5.6.1), without empty ones.
    pub(super) fn list(&self, name: &str) -> Vec<&'a [u8]> {
        let items = self.all(name).flat_map(|value| value.split(|byte| *byte == b','));
        items.map(<[u8]>::trim_ascii).filter(|item| !item.is_empty()).collect()
    }
}

/// Whether `text` is a token (RFC 9110, section 5.6.2).
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Whether a list has this item, in whatever case.
pub(super) fn has_item(list: &str, item: &str) -> bool {
    list.split(',').any(|other| other.trim_matches([' ', '\t']).eq_ignore_ascii_case(item))
}
