//! An open link, as JavaScript holds it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::BytesMut;
use napi::Env;
use napi::bindgen_prelude::{BufferSlice, Uint32ArraySlice};
use napi_derive::napi;
use panpipe_link::{Error, ErrorKind, Packets, Remote, Room};

use crate::javascript::{Callback, Fault, call, fault, value};
use crate::watch::{NOTHING, READABLE, WRITABLE, Watch};

thread_local! {
    /// Where a turn of reading gathers what has arrived: one for all links of a thread, each of which needs it for a moment.
    static ARRIVED: RefCell<(BytesMut, Vec<u32>)> = RefCell::default();
}

/// What is known of the other end.
#[napi(object, object_from_js = false)]
pub struct NativeRemote {
    /// The scheme that it came by.
    pub transport: String,
    /// Its own address, where it has one.
    pub address: Option<String>,
    /// The user, group and process that it was when the link was opened.
    pub uid: Option<u32>,
    /// See `uid`.
    pub gid: Option<u32>,
    /// See `uid`.
    pub pid: Option<i32>,
}

/// An open link of packets.
#[napi]
pub struct NativeLink(Rc<Inner>);

struct Inner {
    env: Env,
    remote: Remote,
    largest: u32,
    /// `None` once it is closed.
    packets: RefCell<Option<Packets>>,
    handlers: RefCell<Option<Rc<Handlers>>>,
    /// Waits for packets; `None` before the start, and after the end.
    reading: RefCell<Option<Watch>>,
    /// Waits for room.
    writing: RefCell<Option<Watch>>,
    on_writable: RefCell<Option<Callback>>,
    is_paused: Cell<bool>,
    keeps_alive: Cell<bool>,
}

struct Handlers {
    on_packets: Callback,
    on_end: Callback,
    on_lost: Callback,
}

#[napi]
impl NativeLink {
    pub(crate) fn new(env: Env, packets: Packets) -> Self {
        NativeLink(Rc::new(Inner {
            env,
            remote: packets.remote().clone(),
            largest: packets.largest() as u32,
            packets: RefCell::new(Some(packets)),
            handlers: RefCell::new(None),
            reading: RefCell::new(None),
            writing: RefCell::new(None),
            on_writable: RefCell::new(None),
            is_paused: Cell::new(false),
            keeps_alive: Cell::new(true),
        }))
    }

    /// What is known of the other end.
    #[napi(getter)]
    pub fn remote(&self) -> NativeRemote {
        let Remote { transport, address, uid, gid, pid } = self.0.remote.clone();
        NativeRemote { transport: transport.to_owned(), address, uid, gid, pid }
    }

    /// The bytes of the largest packet.
    #[napi(getter)]
    pub fn largest(&self) -> u32 {
        self.0.largest
    }

    /// Begins to read.
    #[napi]
    pub fn start(&self, on_packets: Callback, on_end: Callback, on_lost: Callback) -> Result<(), Fault> {
        let reader = self.0.with_packets("starting", |packets| Ok(packets.reader().clone()))?;
        let link = Rc::clone(&self.0);
        let watch = Watch::new(self.0.env, &reader, self.0.read_events(), move || link.on_readable())?;
        watch.keep_alive(self.0.keeps_alive.get());
        drop(self.0.handlers.replace(Some(Rc::new(Handlers { on_packets, on_end, on_lost }))));
        drop(self.0.reading.replace(Some(watch)));
        Ok(())
    }

    /// Sends a packet; `false` when there is no room now.
    #[napi]
    pub fn write(&self, packet: BufferSlice) -> Result<bool, Fault> {
        self.0.with_packets("sending", |packets| packets.write(&packet))
    }

    /// Calls back once there may be room.
    #[napi]
    pub fn on_writable(&self, callback: Callback) -> Result<(), Fault> {
        drop(self.0.on_writable.replace(Some(callback)));
        if let Some(watch) = &*self.0.writing.borrow() {
            watch.wait_for(WRITABLE);
            return Ok(());
        }
        let link = Rc::clone(&self.0);
        // It keeps the process alive even for a link that does not, as Node's own pending writes do.
        let watch = match self.0.with_packets("sending", |packets| packets.room())? {
            Room::Writable(writer) => Watch::new(self.0.env, &writer, WRITABLE, move || link.on_room())?,
            Room::After(pause) => Watch::after(self.0.env, pause, move || {
                // An alarm goes off once.
                drop(link.writing.take());
                link.on_room();
            })?,
        };
        drop(self.0.writing.replace(Some(watch)));
        Ok(())
    }

    /// Stops reading.
    #[napi]
    pub fn pause(&self) {
        self.0.pause(true);
    }

    /// Reads on.
    #[napi]
    pub fn resume(&self) {
        self.0.pause(false);
    }

    /// Keeps the process alive for this link.
    #[napi(js_name = "ref")]
    pub fn hold(&self) {
        self.0.keep_alive(true);
    }

    /// Lets the process end although this link is open.
    #[napi(js_name = "unref")]
    pub fn release(&self) {
        self.0.keep_alive(false);
    }

    /// Closes at once.
    #[napi]
    pub fn close(&self) {
        self.0.close();
    }
}

impl Inner {
    fn with_packets<T>(&self, doing: &str, act: impl FnOnce(&mut Packets) -> Result<T, Error>) -> Result<T, Fault> {
        let outcome = match &mut *self.packets.borrow_mut() {
            Some(packets) => act(packets),
            None => Err(Error::new(ErrorKind::Closed, doing).because("this side has closed the link")),
        };
        outcome.map_err(|error| fault(&error))
    }

    fn read_events(&self) -> i32 {
        match self.is_paused.get() {
            true => NOTHING,
            false => READABLE,
        }
    }

    fn pause(&self, pause: bool) {
        self.is_paused.set(pause);
        if let Some(watch) = &*self.reading.borrow() {
            watch.wait_for(self.read_events());
        }
    }

    fn keep_alive(&self, keep: bool) {
        self.keeps_alive.set(keep);
        if let Some(watch) = &*self.reading.borrow() {
            watch.keep_alive(keep);
        }
    }

    fn on_readable(&self) {
        let (outcome, arrived) = ARRIVED.with_borrow_mut(|(slab, lengths)| {
            let outcome = self.with_packets("receiving", |packets| packets.read(slab, lengths));
            let values = (!lengths.is_empty()).then(|| {
                // Copied: memory that Node does not own costs more to hand over and to collect than to copy.
                let slab = BufferSlice::copy_from(&self.env, &slab[..]).ok().and_then(|slab| value(self.env, &slab));
                let lengths = Uint32ArraySlice::copy_from(&self.env, &lengths[..]).ok();
                [slab, lengths.and_then(|lengths| value(self.env, lengths))]
            });
            slab.clear();
            lengths.clear();
            (outcome, values)
        });
        let Some(handlers) = self.handlers.borrow().clone() else { return };
        if let Some(arrived) = arrived {
            call(self.env, &handlers.on_packets, arrived);
        }
        // The callback may have closed the link.
        if matches!(outcome, Ok(true)) || self.handlers.borrow().is_none() {
            return;
        }
        drop(self.reading.take());
        drop(self.handlers.take());
        match outcome {
            Ok(_) => call(self.env, &handlers.on_end, []),
            Err(fault) => {
                call(
                    self.env,
                    &handlers.on_lost,
                    [value(self.env, fault.status), value(self.env, fault.reason.as_str())],
                );
            }
        }
    }

    fn on_room(&self) {
        if let Some(watch) = &*self.writing.borrow() {
            watch.wait_for(NOTHING);
        }
        let callback = self.on_writable.take();
        if let Some(callback) = callback {
            call(self.env, &callback, []);
        }
    }

    fn close(&self) {
        // The loop lets go of the descriptors first, for the link to close them.
        drop(self.reading.take());
        drop(self.writing.take());
        drop(self.packets.take());
        drop(self.handlers.take());
        drop(self.on_writable.take());
    }
}
