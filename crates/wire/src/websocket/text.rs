//! Text that arrives in pieces is judged as it comes (RFC 6455, section 8.1).

/// Where a text stands: the bytes of a character that is not whole yet, at most three.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Text {
    begun: [u8; 4],
    len: u8,
}

impl Text {
    /// Looks at the next bytes; whether the text can still be UTF-8.
    #[inline]
    pub(super) fn goes_on(&mut self, mut bytes: &[u8]) -> bool {
        while self.len > 0 {
            let [byte, rest @ ..] = bytes else { return true };
            bytes = rest;
            self.begun[usize::from(self.len)] = *byte;
            self.len += 1;
            match std::str::from_utf8(&self.begun[..usize::from(self.len)]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        let Err(error) = std::str::from_utf8(bytes) else { return true };
        let begun = &bytes[error.valid_up_to()..];
        if error.error_len().is_some() {
            return false;
        }
        self.begun[..begun.len()].copy_from_slice(begun);
        self.len = begun.len() as u8;
        true
    }

    /// Ends the text; whether its last character was whole.
    #[inline]
    pub(super) fn ends(&mut self) -> bool {
        std::mem::take(&mut self.len) == 0
    }
}
