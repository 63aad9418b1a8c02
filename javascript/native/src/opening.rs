//! A link on its way, as a promise.

use std::cell::{Cell, RefCell};
use std::ptr;
use std::rc::Rc;
use std::time::Duration;

use napi::bindgen_prelude::PromiseRaw;
use napi::{Env, Status, sys};
use panpipe_link::{Address, Connecting, Error, Link, Packets, Progress};

use crate::javascript::{Fault, error_value, fault, value};
use crate::link::NativeLink;
use crate::watch::{READABLE, WRITABLE, Watch};

/// A link on its way.
pub(crate) struct Opening {
    env: Env,
    connecting: RefCell<Connecting>,
    /// Settles the promise, once.
    deferred: Cell<sys::napi_deferred>,
    timeout: Duration,
    /// What the next step waits for.
    step: RefCell<Option<Watch>>,
    deadline: RefCell<Option<Watch>>,
}

impl Opening {
    /// Begins to open `address`, and gives up after `timeout` milliseconds.
    pub(crate) fn begin(env: Env, address: &str, timeout: f64) -> napi::Result<PromiseRaw<'static, NativeLink>> {
        let (mut deferred, mut promise) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: this is a call from JavaScript, in its environment.
        let status = unsafe { sys::napi_create_promise(env.raw(), &mut deferred, &mut promise) };
        if status != sys::Status::napi_ok {
            return Err(napi::Error::new(Status::from(status), "making a promise"));
        }
        let begun = crate::parse(address, "connecting to").and_then(|address| panpipe_link::connect(&address)).map(
            |connecting| {
                Rc::new(Opening {
                    env,
                    connecting: RefCell::new(connecting),
                    deferred: Cell::new(deferred),
                    timeout: Duration::try_from_secs_f64(timeout / 1000.0).unwrap_or(match timeout > 0.0 {
                        true => Duration::MAX,
                        false => Duration::ZERO,
                    }),
                    step: RefCell::new(None),
                    deadline: RefCell::new(None),
                })
            },
        );
        match begun {
            Ok(opening) => opening.advance(),
            Err(error) => settle(env, deferred, Err(fault(&error))),
        }
        Ok(PromiseRaw::new(env.raw(), promise))
    }

    fn advance(self: &Rc<Self>) {
        // A connection that goes on must be the only one who holds its descriptor.
        drop(self.step.take());
        let mut connecting = self.connecting.borrow_mut();
        let waiting = match connecting.advance() {
            Ok(Progress::Connected(link)) => return self.finish(self.link(link, connecting.address())),
            Ok(Progress::WaitWritable(descriptor)) => {
                let opening = Rc::clone(self);
                Watch::new(self.env, &descriptor, WRITABLE, move || opening.advance())
            }
            Ok(Progress::WaitReadable(descriptor)) => {
                let opening = Rc::clone(self);
                Watch::new(self.env, &descriptor, READABLE, move || opening.advance())
            }
            Ok(Progress::WaitFor(pause)) => {
                let opening = Rc::clone(self);
                Watch::after(self.env, pause, move || opening.advance())
            }
            Err(error) => return self.finish(Err(fault(&error))),
        };
        drop(connecting);
        match waiting.and_then(|step| self.watch_the_time().map(|()| step)) {
            Ok(step) => drop(self.step.replace(Some(step))),
            Err(fault) => self.finish(Err(fault)),
        }
    }

    fn link(&self, link: Link, address: &Address) -> Result<NativeLink, Fault> {
        Packets::new(link, address).map(|packets| NativeLink::new(self.env, packets)).map_err(|error| fault(&error))
    }

    fn watch_the_time(self: &Rc<Self>) -> Result<(), Fault> {
        if self.deadline.borrow().is_none() {
            let opening = Rc::clone(self);
            let deadline = Watch::after(self.env, self.timeout, move || opening.give_up())?;
            drop(self.deadline.replace(Some(deadline)));
        }
        Ok(())
    }

    fn give_up(&self) {
        let error: Error = self.connecting.borrow().timed_out().because(format!("no answer within {:?}", self.timeout));
        self.finish(Err(fault(&error)));
    }

    fn finish(&self, outcome: Result<NativeLink, Fault>) {
        drop(self.step.take());
        drop(self.deadline.take());
        settle(self.env, self.deferred.replace(ptr::null_mut()), outcome);
    }
}

fn settle(env: Env, deferred: sys::napi_deferred, outcome: Result<NativeLink, Fault>) {
    if deferred.is_null() {
        return;
    }
    // SAFETY: this is a call from JavaScript or from a watch, in their environment, and the promise is not settled yet.
    unsafe {
        match outcome {
            Ok(link) => {
                if let Some(link) = value(env, link) {
                    sys::napi_resolve_deferred(env.raw(), deferred, link);
                }
            }
            Err(fault) => {
                sys::napi_reject_deferred(env.raw(), deferred, error_value(env, fault));
            }
        }
    }
}
