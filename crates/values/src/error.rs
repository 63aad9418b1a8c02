//! Why a value cannot be written or read, and where in it.

use std::fmt::{self, Write as _};

/// A result whose error names the path of a value.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong with a value, and where, as `arguments[0].user.when: …`.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    reason: String,
    /// From the inside out, as the error travels.
    steps: Vec<Step>,
}

/// One step of a path.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// What the path begins with, as `arguments`.
    Root(&'static str),
    /// An item of an array, or an integer key.
    Number(i128),
    /// A text key.
    Name(String),
    /// A bool key.
    Bool(bool),
}

impl Error {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Error(Box::new(Inner { reason: reason.into(), steps: Vec::new() }))
    }

    /// The same error, seen from what holds the value.
    #[cold]
    pub(crate) fn inside(mut self, step: Step) -> Self {
        self.0.steps.push(step);
        self
    }

    /// The path of the value, as `arguments[0].user.when` or `value["two words"]`.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for step in self.0.steps.iter().rev() {
            let written = match step {
                Step::Root(root) => write!(path, "{root}"),
                Step::Number(number) => write!(path, "[{number}]"),
                Step::Bool(key) => write!(path, "[{key}]"),
                Step::Name(name) if is_plain(name) => write!(path, ".{name}"),
                Step::Name(name) => write!(path, "[{name:?}]"),
            };
            // A text takes whatever is written to it.
            debug_assert!(written.is_ok());
        }
        path
    }

    /// What is wrong, without the path.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }
}

fn is_plain(name: &str) -> bool {
    let letter = |c: char| c == '_' || c.is_ascii_alphabetic();
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.steps.is_empty() {
            true => f.write_str(&self.0.reason),
            false => write!(f, "{}: {}", self.path(), self.0.reason),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?})", self.to_string())
    }
}

impl std::error::Error for Error {}

impl serde::ser::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error::new(message.to_string())
    }
}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error::new(message.to_string())
    }
}
