//! What the server has to say of single connections: a line each on stderr.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::report;

/// Writes warnings and errors as lines; spans are not looked at.
///
/// tracing-subscriber would do the same with eight more crates.
struct Lines;

/// Begins to print the warnings of the panpipe crates.
pub(crate) fn to_stderr() {
    // Nobody has set another one: this is called once, by main's only thread.
    let _ = tracing::subscriber::set_global_default(Lines);
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("panpipe")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        report::say(&format!("panpipe: {}{}", line.message, line.fields));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// `connection closed: receiving from …`: the message, then what the fields hold.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            _ => write!(self.fields, ": {value:?}"),
        };
    }
}
