//! What `lines` and `nul` share: the search for the byte that ends a message.

use memchr::memchr;

/// Searches each byte once, however the input is cut.
#[derive(Default)]
pub(super) struct Search {
    looked_at: usize,
}

impl Search {
    /// Where `end` stands in `input`, which has only grown since the last search that found nothing.
    pub(super) fn find(&mut self, end: u8, input: &[u8]) -> Option<usize> {
        let found = memchr(end, &input[self.looked_at..]).map(|at| self.looked_at + at);
        self.looked_at = if found.is_some() { 0 } else { input.len() };
        found
    }
}
