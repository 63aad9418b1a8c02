//! What an endpoint of the panpipe protocol is beside its session.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use panpipe_wire::panpipe::Side;
use panpipe_wire::{Address, Panpipe, PanpipeEvent, Result, Session};

use super::Endpoint;
use crate::transport::Link;

impl Endpoint<Panpipe> {
    /// This side of a connection over `link`, configured by `address`. A client's hello waits to be written.
    pub fn open(link: Link, address: &Address, side: Side) -> Self {
        Self::open_as(link, address, side, false)
    }

    /// As [`open`](Self::open), for a side that reads only while its user waits, and says so.
    pub fn open_quiet(link: Link, address: &Address, side: Side) -> Self {
        Self::open_as(link, address, side, true)
    }

    fn open_as(link: Link, address: &Address, side: Side, is_quiet: bool) -> Self {
        let mut session = Panpipe::new(link.address_of(address), side, Instant::now());
        if let Some(token) = link.token() {
            session.show_token(Arc::clone(token));
        }
        let mut endpoint = Self::over(link, address, session);
        if endpoint.is_datagrams {
            endpoint.session.begin_ids_at(microseconds_since_1970());
        }
        if is_quiet {
            endpoint.session.be_quiet();
        }
        endpoint.session.greet();
        endpoint
    }

    /// Goes on over another link, after [`PanpipeEvent::Lost`]. The hello, and what waited, wait to be written.
    pub fn renew(&mut self, link: Link, address: &Address, now: Instant) {
        self.remote = link.remote(address.method().scheme);
        if let Some(most) = link.largest_packet() {
            self.session.use_packets(most, link.has_empty_packets());
        }
        if let Some(token) = link.token() {
            self.session.show_token(Arc::clone(token));
        }
        self.link = link;
        (self.broken, self.retry_at, self.read_timeout) = (None, None, None);
        self.renewals = self.renewals.wrapping_add(1);
        self.session.renew(now);
        if self.link.has_begun() {
            self.on_readable();
        }
    }

    /// The session, to be asked.
    #[inline]
    pub fn session(&self) -> &Panpipe {
        &self.session
    }

    /// The session, to do something with.
    ///
    /// # Errors
    /// `closed`, as [`check_usable`](Self::check_usable).
    #[inline]
    pub fn session_for(&mut self, doing: &str) -> Result<&mut Panpipe> {
        self.check_usable(doing)?;
        Ok(&mut self.session)
    }

    /// The next event, as [`Panpipe::next_event`].
    #[inline]
    pub fn next_event(&mut self, now: Instant) -> Option<PanpipeEvent> {
        if self.retry_at.is_some() {
            self.flush();
        }
        self.session.next_event(now)
    }
}

/// Zero before.
fn microseconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// A number that another session is not likely to get.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    let _ = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    u64::from_ne_bytes(bytes)
}
