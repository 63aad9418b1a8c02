//! Calling JavaScript from the loop, and errors as JavaScript sees them.

use std::error::Error as _;
use std::ptr;

use napi::bindgen_prelude::{FunctionRef, ToNapiValue};
use napi::{Env, JsError, sys};
use panpipe_link::Error;

/// A function of the user's. What it is called with is not typed here.
pub(crate) type Callback = FunctionRef<(), ()>;

/// An error whose `code` is panpipe's and whose message is the reason.
pub(crate) type Fault = napi::Error<&'static str>;

/// The same error for JavaScript, whose session says what was being done, and where.
pub(crate) fn fault(error: &Error) -> Fault {
    Fault::new(error.code(), error.source().map_or_else(|| error.doing().to_owned(), ToString::to_string))
}

/// An error object.
pub(crate) fn error_value(env: Env, fault: Fault) -> sys::napi_value {
    // SAFETY: the environment is the one that this thread runs in.
    unsafe { JsError::from(fault).into_value(env.raw()) }
}

/// A value of JavaScript's; `None` when the environment can make none any more.
pub(crate) fn value(env: Env, value: impl ToNapiValue) -> Option<sys::napi_value> {
    // SAFETY: the environment is the one that this thread runs in.
    unsafe { ToNapiValue::to_napi_value(env.raw(), value) }.ok()
}

/// Calls `function`. What it throws becomes an `uncaughtException`, as of any callback of the loop.
pub(crate) fn call<const N: usize>(env: Env, function: &Callback, arguments: [Option<sys::napi_value>; N]) {
    // Where a value cannot be made any more the environment is ending, and so nothing can be called.
    let Ok(function) = function.borrow_back(&env) else { return };
    let Some(function) = value(env, function) else { return };
    let mut values = [ptr::null_mut(); N];
    for (value, argument) in values.iter_mut().zip(arguments) {
        let Some(argument) = argument else { return };
        *value = argument;
    }
    let (mut this, mut exception) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: all values are of this environment and of the scope that the caller has opened.
    unsafe {
        sys::napi_get_undefined(env.raw(), &mut this);
        let status = sys::napi_call_function(env.raw(), this, function, values.len(), values.as_ptr(), ptr::null_mut());
        if status == sys::Status::napi_pending_exception
            && sys::napi_get_and_clear_last_exception(env.raw(), &mut exception) == sys::Status::napi_ok
        {
            sys::napi_fatal_exception(env.raw(), exception);
        }
    }
}

/// Raises an `uncaughtException`.
pub(crate) fn uncaught(env: Env, fault: Fault) {
    let error = error_value(env, fault);
    // SAFETY: the value is of this environment and of the scope that the caller has opened.
    unsafe { sys::napi_fatal_exception(env.raw(), error) };
}
