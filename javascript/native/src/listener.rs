//! A listening address, as JavaScript holds it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use napi::Env;
use napi_derive::napi;
use panpipe_link::{Accepted, Address, Alarm, Listener, Packets};

use crate::javascript::{Callback, Fault, call, fault, uncaught, value};
use crate::link::NativeLink;
use crate::watch::{NOTHING, READABLE, Watch};

/// Links that one turn may bring before others get theirs; what is left keeps the listener readable.
const LINKS_A_TURN: usize = 64;

thread_local! {
    static OPEN: RefCell<Open> = const { RefCell::new(Open(Vec::new())) };
}

/// The listeners of a thread. `process.exit` tells no addon that it ends, but it does end the variables of its thread.
struct Open(Vec<Rc<Listener>>);

impl Drop for Open {
    fn drop(&mut self) {
        for listener in &self.0 {
            listener.close();
        }
    }
}

/// A listening address.
#[napi]
pub struct NativeListener(Rc<Inner>);

struct Inner {
    env: Env,
    address: Address,
    on_link: Callback,
    /// `None` once it is closed.
    listener: RefCell<Option<Rc<Listener>>>,
    /// Goes off when descriptors or memory may be there again. Made beforehand, since it needs a descriptor itself.
    alarm: RefCell<Option<Alarm>>,
    /// Of the descriptors that links come from, and then of the alarm.
    watches: RefCell<Vec<Watch>>,
}

#[napi]
impl NativeListener {
    pub(crate) fn begin(env: Env, address: &Address, on_link: Callback) -> Result<Self, Fault> {
        let alarm = Alarm::new().map_err(|error| fault(&error))?;
        let listener = Rc::new(panpipe_link::listen(address).map_err(|error| fault(&error))?);
        let (descriptors, bell) = (listener.descriptors(), Arc::clone(alarm.descriptor()));
        let inner = Rc::new(Inner {
            env,
            address: listener.address().clone(),
            on_link,
            listener: RefCell::new(Some(Rc::clone(&listener))),
            alarm: RefCell::new(Some(alarm)),
            watches: RefCell::new(Vec::new()),
        });
        let mut watches = Vec::new();
        for descriptor in descriptors {
            let listening = Rc::clone(&inner);
            watches.push(Watch::new(env, &descriptor, READABLE, move || listening.on_readable())?);
        }
        let listening = Rc::clone(&inner);
        watches.push(Watch::new(env, &bell, READABLE, move || listening.on_alarm())?);
        drop(inner.watches.replace(watches));
        OPEN.with_borrow_mut(|open| open.0.push(listener));
        Ok(NativeListener(inner))
    }

    /// The real address.
    #[napi(getter)]
    pub fn address(&self) -> String {
        self.0.address.text().to_string()
    }

    /// Keeps the process alive for this listener.
    #[napi(js_name = "ref")]
    pub fn hold(&self) {
        self.0.keep_alive(true);
    }

    /// Lets the process end although this listener is open.
    #[napi(js_name = "unref")]
    pub fn release(&self) {
        self.0.keep_alive(false);
    }

    /// Takes no more links.
    #[napi]
    pub fn close(&self) {
        self.0.close();
    }
}

impl Inner {
    fn on_readable(&self) {
        for _ in 0..LINKS_A_TURN {
            // The callback may have closed it.
            let Some(listener) = self.listener.borrow().clone() else { return };
            match listener.accept() {
                Ok(Accepted::Link(link)) => {
                    // The address moves packets, and so do its links.
                    let Ok(packets) = Packets::new(link, &self.address) else { continue };
                    call(self.env, &self.on_link, [value(self.env, NativeLink::new(self.env, packets))]);
                }
                Ok(Accepted::Nobody) => return,
                Ok(Accepted::Pause(pause)) => return self.pause(pause),
                Ok(Accepted::Finished) => return self.close(),
                // Listening itself is broken: a loop that went on would spin, and one that stopped in silence be deaf.
                Err(error) => {
                    self.close();
                    return uncaught(self.env, Fault::new(error.code(), error.to_string()));
                }
            }
        }
    }

    /// Leaves those who wait alone until the alarm goes off.
    fn pause(&self, pause: Duration) {
        if let Some(alarm) = &mut *self.alarm.borrow_mut() {
            alarm.set(Instant::now() + pause);
        }
        self.wait_for_links(false);
    }

    fn on_alarm(&self) {
        if let Some(alarm) = &mut *self.alarm.borrow_mut() {
            alarm.acknowledge();
        }
        self.wait_for_links(true);
    }

    fn wait_for_links(&self, wait: bool) {
        if let Some((_alarm, links)) = self.watches.borrow().split_last() {
            for watch in links {
                watch.wait_for(if wait { READABLE } else { NOTHING });
            }
        }
    }

    fn keep_alive(&self, keep: bool) {
        for watch in &*self.watches.borrow() {
            watch.keep_alive(keep);
        }
    }

    fn close(&self) {
        drop(self.watches.take());
        drop(self.alarm.take());
        let Some(listener) = self.listener.take() else { return };
        OPEN.with_borrow_mut(|open| open.0.retain(|other| !Rc::ptr_eq(other, &listener)));
        listener.close();
    }
}
