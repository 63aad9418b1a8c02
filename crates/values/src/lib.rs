//! The values of panpipe for serde types: what `docs/protocol.md` says of values, arguments and errors. No I/O.
//!
//! * **Out**: [`with_arguments`] and [`with_value`] hand the payload of a call or a reply to a closure; one lone bytes
//!   value (`bytes::Bytes`, `serde_bytes`) is handed on from where it lies.
//! * **In**: [`decode`] reads the payload of a reply or an item, [`Arguments`] that of a call, one argument after
//!   another; where [`bytes::Bytes`] is wanted it shares the payload's memory.
//! * [`Value`] is any value, [`Timestamp`] a time, [`Failure`] what an ERROR says.
//!
//! Serde's types are written as they are in JSON: structs as maps from their fields' names, enums with their variant's
//! name outside, and types that know a form for people (addresses, UUIDs) in that form.
//! Everything that has no place in the model is an [`Error`] that names the value's path.

mod arguments;
pub use arguments::{Arguments, Named};

mod error;
pub use error::{Error, Result};

mod failure;
pub use failure::Failure;

mod payload;
pub use payload::{Payload, decode, encode, with_arguments, with_value};

mod read;

mod timestamp;
pub use timestamp::Timestamp;

mod token;

mod value;
pub use value::Value;

mod write;

/// How deep arrays and maps may lie in each other.
pub const DEPTH_MAX: usize = 64;
