//! Waiting for a descriptor on Node's own loop: libuv's `uv_poll`, whose symbols node exports.
//!
//! libuv owns the handle until it has closed it, in a later turn of the loop, and so each side holds the state: what a
//! watch runs may drop that watch, and an environment that ends closes what it finds.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use napi::{Env, sys};
use panpipe_link::Alarm;

use crate::javascript::{Fault, fault};

/// What to wait for (`uv_poll_event`).
pub(crate) const NOTHING: c_int = 0;
pub(crate) const READABLE: c_int = 1;
pub(crate) const WRITABLE: c_int = 2;

/// libuv's `uv_poll_t`, of which only libuv knows the size.
#[repr(C)]
struct UvPoll {
    _private: [u8; 0],
}

type OnPoll = unsafe extern "C" fn(handle: *mut UvPoll, status: c_int, events: c_int);
type OnClosed = unsafe extern "C" fn(handle: *mut UvPoll);

/// `UV_POLL` of `uv_handle_type`, part of libuv's ABI since 1.0.
const UV_POLL: c_int = 8;

// libuv 1.x keeps its ABI; uv.h of Node 20 is the reference.
unsafe extern "C" {
    fn uv_handle_size(kind: c_int) -> usize;
    fn uv_handle_set_data(handle: *mut UvPoll, data: *mut c_void);
    fn uv_handle_get_data(handle: *const UvPoll) -> *mut c_void;
    fn uv_poll_init(event_loop: *mut sys::uv_loop_s, handle: *mut UvPoll, descriptor: c_int) -> c_int;
    fn uv_poll_start(handle: *mut UvPoll, events: c_int, on_poll: OnPoll) -> c_int;
    fn uv_poll_stop(handle: *mut UvPoll) -> c_int;
    fn uv_close(handle: *mut UvPoll, on_closed: OnClosed);
    fn uv_ref(handle: *mut UvPoll);
    fn uv_unref(handle: *mut UvPoll);
}

/// Runs something whenever a descriptor is ready, until it is dropped. It keeps the process alive unless told not to.
pub(crate) struct Watch(Rc<State>);

struct State {
    env: Env,
    /// The memory of libuv's handle.
    handle: Box<[UnsafeCell<u128>]>,
    /// In which what runs continues, for `AsyncLocalStorage`.
    context: sys::napi_async_context,
    /// Tells us when the environment ends before we do.
    teardown: Cell<sys::napi_async_cleanup_hook_handle>,
    events: Cell<c_int>,
    is_closed: Cell<bool>,
    descriptor: RefCell<Option<Arc<OwnedFd>>>,
    on_ready: RefCell<Option<Rc<dyn Fn()>>>,
}

impl Watch {
    /// Runs `on_ready` whenever `descriptor` is ready for one of `events`, in a scope in which JavaScript can be called.
    ///
    /// A loop takes the number of a descriptor once.
    pub(crate) fn new(
        env: Env,
        descriptor: &Arc<OwnedFd>,
        events: c_int,
        on_ready: impl Fn() + 'static,
    ) -> Result<Self, Fault> {
        // SAFETY: it only looks up a number.
        let size = unsafe { uv_handle_size(UV_POLL) };
        let handle: Box<[_]> = (0..size.div_ceil(size_of::<u128>())).map(|_| UnsafeCell::new(0)).collect();
        let mut event_loop = ptr::null_mut();
        // SAFETY: the environment is the one that this thread runs in; the handle has the size that libuv asks for, and
        // moves no more, since it is boxed.
        let outcome = unsafe {
            sys::napi_get_uv_event_loop(env.raw(), &mut event_loop);
            uv_poll_init(event_loop, handle.as_ptr().cast_mut().cast(), descriptor.as_raw_fd())
        };
        if outcome != 0 {
            let reason = std::io::Error::from_raw_os_error(-outcome);
            return Err(Fault::new("io", format!("waiting for a descriptor: {reason}")));
        }
        let state = Rc::new(State {
            env,
            handle,
            context: new_context(env),
            teardown: Cell::new(ptr::null_mut()),
            events: Cell::new(NOTHING),
            is_closed: Cell::new(false),
            descriptor: RefCell::new(Some(Arc::clone(descriptor))),
            on_ready: RefCell::new(Some(Rc::new(on_ready))),
        });
        let data: *mut c_void = Rc::into_raw(Rc::clone(&state)).cast_mut().cast();
        let mut teardown = ptr::null_mut();
        // SAFETY: libuv and the hook hold one count of the state together, which `on_closed` takes back.
        unsafe {
            uv_handle_set_data(state.handle(), data);
            sys::napi_add_async_cleanup_hook(env.raw(), Some(on_teardown), data, &mut teardown);
        }
        state.teardown.set(teardown);
        let watch = Watch(state);
        watch.wait_for(events);
        Ok(watch)
    }

    /// Runs `on_ready` once `pause` has passed, and again until this is dropped.
    pub(crate) fn after(env: Env, pause: Duration, on_ready: impl Fn() + 'static) -> Result<Self, Fault> {
        let mut alarm = Alarm::new().map_err(|error| fault(&error))?;
        // A pause that no clock holds never ends.
        if let Some(end) = Instant::now().checked_add(pause) {
            alarm.set(end);
        }
        Self::new(env, alarm.descriptor(), READABLE, on_ready)
    }

    /// Waits for these events from now on.
    pub(crate) fn wait_for(&self, events: c_int) {
        self.0.events.set(events);
        self.0.start();
    }

    /// Says whether this keeps the process alive.
    pub(crate) fn keep_alive(&self, keep: bool) {
        if self.0.is_closed.get() {
            return;
        }
        // SAFETY: the handle is open.
        unsafe {
            match keep {
                true => uv_ref(self.0.handle()),
                false => uv_unref(self.0.handle()),
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl State {
    fn handle(&self) -> *mut UvPoll {
        self.handle.as_ptr().cast_mut().cast()
    }

    fn start(&self) {
        if self.is_closed.get() {
            return;
        }
        // SAFETY: the handle is open. Neither call fails for one that is.
        unsafe {
            match self.events.get() {
                NOTHING => uv_poll_stop(self.handle()),
                events => uv_poll_start(self.handle(), events, on_poll),
            }
        };
    }

    fn close(&self) {
        if self.is_closed.replace(true) {
            return;
        }
        // SAFETY: the handle is open, and closed once. This stops it too, after which the descriptor may be closed.
        unsafe { uv_close(self.handle(), on_closed) };
        drop(self.descriptor.take());
        let on_ready = self.on_ready.take();
        drop(on_ready);
    }

    fn run(&self) {
        let Some(on_ready) = self.on_ready.borrow().clone() else { return };
        let (mut handles, mut scope) = (ptr::null_mut(), ptr::null_mut());
        let env = self.env.raw();
        // SAFETY: the loop calls us in the environment's own thread; scopes are closed in the reverse order.
        unsafe {
            if sys::napi_open_handle_scope(env, &mut handles) != sys::Status::napi_ok {
                return;
            }
            if sys::napi_open_callback_scope(env, ptr::null_mut(), self.context, &mut scope) == sys::Status::napi_ok {
                on_ready();
                sys::napi_close_callback_scope(env, scope);
            }
            sys::napi_close_handle_scope(env, handles);
        }
    }
}

fn new_context(env: Env) -> sys::napi_async_context {
    const NAME: &str = "PanpipeNative";
    let (mut name, mut context) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the environment is the one that this thread runs in, inside a call from JavaScript or a scope of `run`.
    unsafe {
        sys::napi_create_string_utf8(env.raw(), NAME.as_ptr().cast(), NAME.len() as isize, &mut name);
        sys::napi_async_init(env.raw(), ptr::null_mut(), name, &mut context);
    }
    context
}

/// # Safety
/// `data` is what `Watch::new` handed out, and `on_closed` has not run.
unsafe fn shared(data: *const c_void) -> Rc<State> {
    let state: *const State = data.cast();
    // SAFETY: as the caller says; the count that was handed out stays.
    unsafe {
        Rc::increment_strong_count(state);
        Rc::from_raw(state)
    }
}

unsafe extern "C" fn on_poll(handle: *mut UvPoll, status: c_int, _events: c_int) {
    // SAFETY: libuv calls this only before it calls `on_closed`.
    let state = unsafe { shared(uv_handle_get_data(handle)) };
    // libuv stops a handle whose descriptor reports an error. Reading or writing finds out which, and clears it.
    if status < 0 {
        state.start();
    }
    state.run();
}

unsafe extern "C" fn on_teardown(_hook: sys::napi_async_cleanup_hook_handle, data: *mut c_void) {
    // SAFETY: `on_closed` removes the hook.
    unsafe { shared(data) }.close();
}

unsafe extern "C" fn on_closed(handle: *mut UvPoll) {
    // SAFETY: libuv calls this once and never touches the handle again; it takes back the count that libuv held. The hook
    // keeps the environment until it is removed.
    unsafe {
        let state = Rc::from_raw(uv_handle_get_data(handle).cast::<State>().cast_const());
        sys::napi_async_destroy(state.env.raw(), state.context);
        sys::napi_remove_async_cleanup_hook(state.teardown.get());
    }
}
