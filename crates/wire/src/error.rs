//! The one error of panpipe, and the codes that every language shares.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use panpipe_values::Failure;

/// A result whose error is panpipe's own.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, exit $exit:literal;)*) => {
        /// What went wrong, by what a caller would do about it.
        ///
        /// The codes are API and the same in every language; `vectors/errors.json` holds them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind { $($(#[$doc])* $name,)* }

        impl ErrorKind {
            /// Every kind there is.
            pub const ALL: &[ErrorKind] = &[$(ErrorKind::$name,)*];

            /// The code, as `too-large`.
            pub const fn code(self) -> &'static str {
                match self { $(ErrorKind::$name => $code,)* }
            }

            /// The kind with this code.
            pub fn named(code: &str) -> Option<ErrorKind> {
                match code { $($code => Some(ErrorKind::$name),)* _ => None }
            }

            /// The exit code of the `panpipe` command for this kind.
            pub const fn exit_code(self) -> u8 {
                match self { $(ErrorKind::$name => $exit,)* }
            }
        }
    };
}

kinds! {
    /// An address that is malformed, or not allowed without another option.
    InvalidAddress = "invalid-address", exit 2;
    /// An unknown scheme, framing, protocol or option, or a message that the framing cannot carry.
    Unsupported = "unsupported", exit 2;
    /// Nobody listens there.
    Refused = "refused", exit 3;
    /// A name that does not resolve, or a socket file, descriptor or program that is not there.
    NotFound = "not-found", exit 3;
    /// The system says no.
    Permission = "permission", exit 3;
    /// A side could not prove who it is: a certificate or a token that is missing or not accepted.
    Unauthenticated = "unauthenticated", exit 3;
    /// Somebody else listens there.
    AddressInUse = "address-in-use", exit 3;
    /// A socket path of more bytes than the system takes.
    PathTooLong = "path-too-long", exit 3;
    /// A limit of this process or machine was reached: descriptors, memory, connections.
    Busy = "busy", exit 3;
    /// The handler at the other side failed.
    Remote = "remote", exit 1;
    /// Arguments that do not fit the method.
    InvalidArguments = "invalid-arguments", exit 2;
    /// The timeout passed.
    DeadlineExceeded = "deadline-exceeded", exit 4;
    /// The other side broke the framing or the protocol.
    BadPeer = "bad-peer", exit 5;
    /// The other side speaks another version of the protocol.
    Version = "version", exit 5;
    /// A message is larger than `max` allows.
    TooLarge = "too-large", exit 6;
    /// Items were missed, and the subscription was to end then.
    Lagged = "lagged", exit 7;
    /// The other side went away.
    ConnectionLost = "connection-lost", exit 7;
    /// This side closed, or the connection belongs to the process this one was forked from.
    Closed = "closed", exit 7;
    /// The caller gave up.
    Cancelled = "cancelled", exit 130;
    /// The system failed in a way of its own; the source says how.
    Io = "io", exit 3;
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Whether the other side may have run what was asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ran {
    /// It provably did not: asking again is safe.
    No,
    /// It may have: asking again may do it twice.
    Maybe,
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ran::No => "no",
            Ran::Maybe => "maybe",
        })
    }
}

/// An error that says what was being done, its kind, to which address, and whether the peer may have run it.
#[derive(Clone, Debug)]
pub struct Error(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: ErrorKind,
    doing: String,
    address: Option<Arc<str>>,
    ran: Ran,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error that stopped the -ing phrase `doing`; the peer has run nothing.
    pub fn new(kind: ErrorKind, doing: impl Into<String>) -> Self {
        Error(Arc::new(Inner { kind, doing: doing.into(), address: None, ran: Ran::No, source: None }))
    }

    /// Adds the cause: another error, or a text.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Arc::from(source.into()));
        self
    }

    /// Names the address.
    #[must_use]
    pub fn at(mut self, address: &Arc<str>) -> Self {
        Arc::make_mut(&mut self.0).address = Some(Arc::clone(address));
        self
    }

    /// Says whether the peer may have run what was asked.
    #[must_use]
    pub fn ran(mut self, ran: Ran) -> Self {
        Arc::make_mut(&mut self.0).ran = ran;
        self
    }

    /// The same failure, met while doing something else: a lost connection fails the call that waited on it.
    #[must_use]
    pub fn met_while(mut self, doing: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).doing = doing.into();
        self
    }

    /// What the other side says of the failure, where it is the other side that does.
    pub fn remote(&self) -> Option<&Failure> {
        self.0.source.as_deref()?.downcast_ref()
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The code of the kind, as `too-large`.
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// What was being done, as `connecting to tcp://127.0.0.1:1`.
    pub fn doing(&self) -> &str {
        &self.0.doing
    }

    /// The address, as the user wrote it.
    pub fn address(&self) -> Option<&str> {
        self.0.address.as_deref()
    }

    /// Whether the other side may have run it.
    pub fn may_have_run(&self) -> Ran {
        self.0.ran
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.doing, self.0.kind)?;
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_the_vectors() {
        let text = include_str!("../../../vectors/errors.json");
        let rows: serde_json::Value = serde_json::from_str(text).unwrap();
        let theirs: Vec<_> = rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["code"].as_str().unwrap(), row["exit"].as_u64().unwrap() as u8))
            .collect();
        let ours: Vec<_> = ErrorKind::ALL.iter().map(|kind| (kind.code(), kind.exit_code())).collect();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn reads_as_doing_code_source() {
        let error = Error::new(ErrorKind::Refused, "connecting to tcp://127.0.0.1:1").because("nobody");
        assert_eq!(error.to_string(), "connecting to tcp://127.0.0.1:1: refused: nobody");
    }
}
