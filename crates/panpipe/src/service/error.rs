//! What a handler answers when it fails.

use std::any::type_name;
use std::error::Error as StdError;
use std::fmt;

use panpipe_link::Error;
use panpipe_values::{Failure, Value};
use serde::Serialize;

/// Why a handler failed, as its caller gets to know it.
///
/// `?` makes one of any error: with its text, its type's name and its chain of sources. An error of panpipe, which the
/// handler's own call to another peer met, is passed on with its code, and says through which address it came.
/// (It is no [`std::error::Error`] itself, since it could not be made of any other then.)
pub struct HandlerError(Box<Failure>);

impl HandlerError {
    /// A failure with a text for people; its code is `remote`.
    pub fn new(message: impl fmt::Display) -> Self {
        HandlerError(Box::new(Failure::new(REMOTE, message.to_string())))
    }

    /// What `?` would make of an error whose type is not known any more: a boxed one, or one of `anyhow`.
    pub fn of(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let error = error.into();
        made_of(&*error, None)
    }

    /// What went wrong before the handler began.
    pub(crate) fn refused(code: &str, message: impl fmt::Display) -> Self {
        HandlerError(Box::new(Failure { did_not_run: true, ..Failure::new(code, message.to_string()) }))
    }

    /// Gives the failure another of panpipe's codes, as `not-found`.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.0.code = code.into();
        self
    }

    /// Names the kind of failure, as callers in other languages see the name of an exception.
    #[must_use]
    pub fn type_name(mut self, name: impl Into<String>) -> Self {
        self.0.type_name = Some(name.into());
        self
    }

    /// Attaches a value; what has no place in panpipe's values is left out.
    #[must_use]
    pub fn data<T: Serialize + ?Sized>(mut self, data: &T) -> Self {
        self.0.data = Value::of(data).ok();
        self
    }

    /// What goes to the caller.
    pub fn failure(&self) -> &Failure {
        &self.0
    }
}

const REMOTE: &str = "remote";

impl<E: StdError + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        made_of(&error, Some(type_name::<E>().to_owned()))
    }
}

fn made_of(error: &(dyn StdError + 'static), type_name: Option<String>) -> HandlerError {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return passed_on(failure.clone(), None);
    }
    if let Some(met) = error.downcast_ref::<Error>() {
        let answered = met.source().and_then(|source| source.downcast_ref::<Failure>());
        let failure = answered.cloned().unwrap_or_else(|| Failure::new(met.code(), met.to_string()));
        return passed_on(failure, met.address());
    }
    let failure = Failure { type_name, cause: causes(error.source(), 16), ..message(error) };
    HandlerError(Box::new(failure))
}

/// As it came, and through where; `ran` is left out, since it speaks of another call than the one that failed now.
fn passed_on(mut failure: Failure, address: Option<&str>) -> HandlerError {
    failure.via.splice(0..0, address.map(str::to_owned));
    failure.did_not_run = false;
    HandlerError(Box::new(failure))
}

fn message(error: &dyn StdError) -> Failure {
    Failure::new(REMOTE, error.to_string())
}

fn causes(source: Option<&(dyn StdError + 'static)>, levels: usize) -> Option<Box<Failure>> {
    let error = source.filter(|_| levels > 0)?;
    Some(Box::new(Failure { cause: causes(error.source(), levels - 1), ..message(error) }))
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HandlerError").field(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use panpipe_link::ErrorKind;

    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("no number given")
        }
    }

    impl StdError for Outer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn keeps_the_type_and_the_chain_of_any_error() {
        let error = HandlerError::from(Outer("x".parse::<u8>().unwrap_err())).data(&[1, 2]);
        let failure = error.failure();
        assert_eq!((failure.code.as_str(), failure.message.as_str()), ("remote", "no number given"));
        assert!(failure.type_name.as_ref().is_some_and(|name| name.ends_with("::Outer")));
        assert_eq!(failure.cause.as_ref().unwrap().message, "invalid digit found in string");
        assert_eq!(failure.data, Some(vec![1, 2].into()));
        assert!(!failure.did_not_run);
    }

    #[test]
    fn is_made_of_boxed_errors_too() {
        let boxed: Box<dyn StdError + Send + Sync> = Box::new(Outer("x".parse::<u8>().unwrap_err()));
        let failure = HandlerError::of(boxed);
        assert_eq!(failure.failure().message, "no number given");
        assert_eq!(failure.failure().cause.as_ref().unwrap().message, "invalid digit found in string");
        assert_eq!(HandlerError::of("just a text").failure(), &Failure::new("remote", "just a text"));
        let met = Error::new(ErrorKind::Busy, "calling grow");
        assert_eq!(HandlerError::of(met).failure().code, "busy");
    }

    #[test]
    fn passes_on_what_another_peer_answered() {
        let far = Failure { via: vec!["unix:far".to_owned()], did_not_run: true, ..Failure::new("busy", "no room") };
        let met = Error::new(ErrorKind::Busy, "calling grow").at(&Arc::from("tcp://near:1")).because(far.clone());
        let passed = HandlerError::from(met);
        let via = vec!["tcp://near:1".to_owned(), "unix:far".to_owned()];
        assert_eq!(passed.failure(), &Failure { via, did_not_run: false, ..far });
    }

    #[test]
    fn passes_on_what_its_own_call_met() {
        let lost = Error::new(ErrorKind::ConnectionLost, "calling grow").at(&Arc::from("tcp://near:1"));
        let via = vec!["tcp://near:1".to_owned()];
        let expected = Failure { via, ..Failure::new("connection-lost", "calling grow: connection-lost") };
        assert_eq!(HandlerError::from(lost).failure(), &expected);
    }
}
