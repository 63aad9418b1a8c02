//! `@panpipe/native`: links that Node.js cannot open itself, and what it does not tell of its own.
//!
//! It opens, accepts, reads and writes what the link crate has of links that move packets. The loop is Node's, and so
//! are the sessions above: there is no thread here, no timer and no queue. `index.d.ts` says what each function does.

mod javascript;
mod link;
mod listener;
mod opening;
mod watch;

use std::os::fd::BorrowedFd;

use napi::Env;
use napi::bindgen_prelude::PromiseRaw;
use napi_derive::napi;
use panpipe_link::{Address, Error, ErrorKind};

use javascript::{Callback, Fault, fault};
use link::NativeLink;
use listener::NativeListener;
use opening::Opening;

/// What an opening may spend.
#[napi(object, object_to_js = false)]
pub struct OpenOptions {
    /// In milliseconds.
    pub timeout: f64,
}

/// Opens a link.
#[napi]
pub fn open(env: Env, address: String, options: OpenOptions) -> napi::Result<PromiseRaw<'static, NativeLink>> {
    Opening::begin(env, &address, options.timeout)
}

/// Listens for links.
#[napi]
pub fn listen(env: Env, address: String, on_link: Callback) -> Result<NativeListener, Fault> {
    let address = parse(&address, "listening on").map_err(|error| fault(&error))?;
    NativeListener::begin(env, &address, on_link)
}

/// The process at the other end of a Unix socket.
#[napi(object, object_from_js = false)]
pub struct Peer {
    /// The user that it ran as when it connected or listened.
    pub uid: u32,
    /// Its group then.
    pub gid: u32,
    /// Its number then, where this process can see it.
    pub pid: Option<i32>,
}

/// The peer of a connected Unix socket.
#[napi]
pub fn peer_of(descriptor: i32) -> Option<Peer> {
    if descriptor < 0 {
        return None;
    }
    // SAFETY: it is borrowed for this call, in which nothing else runs, and one that is not open is only refused.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let remote = panpipe_link::Remote::of(socket, "");
    Some(Peer { uid: remote.uid?, gid: remote.gid?, pid: remote.pid })
}

/// Takes the right to be the only reader of a FIFO.
#[napi]
pub fn claim_to_read(descriptor: i32) -> napi::Result<bool> {
    if descriptor < 0 {
        return Err(napi::Error::from_reason("there is no such descriptor"));
    }
    // SAFETY: it is borrowed for this call, in which nothing else runs, and one that is not open is only refused.
    let fifo = unsafe { BorrowedFd::borrow_raw(descriptor) };
    panpipe_link::claim_to_read(fifo).map_err(|error| napi::Error::from_reason(error.to_string()))
}

/// Reads an address that can be opened here.
fn parse(text: &str, doing: &str) -> Result<Address, Error> {
    let address = panpipe_link::parse(text)?;
    let refusal = |reason: &str| {
        Err(Error::new(ErrorKind::Unsupported, format!("{doing} {text}")).because(reason).at(address.text()))
    };
    if !address.method().moves_packets {
        return refusal("the addon opens links of packets, and Node.js itself links of bytes");
    }
    if panpipe_link::may_block(&address) {
        return refusal("looking the name up would hold up the loop; give an address");
    }
    Ok(address)
}
