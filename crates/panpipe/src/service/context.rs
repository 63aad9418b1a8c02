//! What a handler knows of its call.

use std::time::Instant;

/// What a handler knows of the call that it answers, and of who made it.
#[derive(Clone, Debug, Default)]
pub struct Context {
    pub(crate) deadline: Option<Instant>,
}

impl Context {
    /// When the caller stops waiting, if ever.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}
