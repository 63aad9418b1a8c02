//! What an endpoint of the plain protocol sends, calls and tells.

use std::io::IoSlice;
use std::time::Instant;

use panpipe_wire::{Address, CallId, Error, ErrorKind, Event, Head, Plain, Ran, Result, Session};
use rustix::io::Errno;

use super::Endpoint;
use crate::transport::Link;
use crate::whole_writes::WholeWrites;

/// A larger message goes to the system from where it lies; a smaller one is copied next to its head.
const COPIED: usize = 4 << 10;

impl Endpoint<Plain> {
    /// A connection over `link`, configured by `address`.
    pub fn new(link: Link, address: &Address) -> Self {
        let session = Plain::new(link.address_of(address));
        Self::over(link, address, session)
    }

    /// Whether messages are strings.
    pub fn is_text(&self) -> bool {
        self.session.is_text()
    }

    /// Whether any call waits for its reply.
    #[inline]
    pub fn is_calling(&self) -> bool {
        self.session.is_calling()
    }

    /// The next event, as [`Plain::next_event`].
    #[inline]
    pub fn next_event(&mut self, now: Instant, wants_message: bool) -> Option<Event> {
        if self.retry_at.is_some() {
            self.flush();
        }
        let event = self.session.next_event(now, wants_message);
        if self.is_datagrams {
            self.end_call(event.as_ref());
        }
        event
    }

    /// Sees to it that no late reply comes to the next call, and sends that once those out of time are known.
    fn end_call(&mut self, event: Option<&Event>) {
        match event {
            Some(Event::Reply { .. }) if self.link.reaches_many() => self.session.expect_more_replies(),
            Some(_) => {}
            None => return self.flush(),
        }
        if self.session.take_stale() {
            self.renew();
        }
    }

    #[cold]
    fn renew(&mut self) {
        if self.check_usable("calling").is_err() {
            return;
        }
        match self.link.renew() {
            // A listener's connection to one of many: docs/reference.md says what may happen.
            Ok(false) if self.is_lossy => {}
            Ok(false) => {
                let error = self.session.error(ErrorKind::ConnectionLost, "calling");
                let error =
                    error.because("a call got no reply, and a late one would be taken for the next; connect anew");
                self.session.output_failed(error.clone());
                self.session.input_mut().fail(error);
            }
            Ok(true) => {
                self.renewals = self.renewals.wrapping_add(1);
                self.session.input_mut().discard();
            }
            Err(errno) => self.fail_input(errno),
        }
    }

    /// Sends a message: now if `at_once` and nothing waits before it, else with the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// `too-large`, `unsupported`, `connection-lost`, `closed`; unless the error says that it may have run, nothing was sent.
    #[inline]
    pub fn send(&mut self, message: &[u8], at_once: bool) -> Result<()> {
        self.transmit(message, at_once, "sending to", |_| Ok(()))?;
        match self.output_failure() {
            Some(failure) => Err(failure.clone().ran(Ran::Maybe)),
            None => Ok(()),
        }
    }

    /// Sends a call, as [`send`](Self::send); its [`Event::Reply`] names the returned id.
    ///
    /// # Errors
    /// Those of `send`, and `busy` when 65,536 calls wait.
    #[inline]
    pub fn call(&mut self, message: &[u8], deadline: Option<Instant>, at_once: bool) -> Result<CallId> {
        self.transmit(message, at_once, "calling", |session| session.begin_call(deadline))
    }

    #[inline]
    fn transmit<T>(
        &mut self,
        message: &[u8],
        at_once: bool,
        doing: &str,
        begin: impl FnOnce(&mut Plain) -> Result<T>,
    ) -> Result<T> {
        self.check_usable(doing)?;
        if let Some(error) = &self.broken {
            return Err(error.clone().met_while(format!("{doing} {}", self.address())));
        }
        if self.is_lossy {
            self.check_arrived(doing)?;
        }
        let mut head = Head::new();
        self.session.frame(message, &mut head, doing)?;
        let frame = head.as_slice().len() + message.len() + self.session.tail().len();
        if let Some(most) = self.whole_writes.as_ref().map(WholeWrites::most).filter(|&most| frame > most) {
            return Err(self.too_large_to_write_whole(frame, most, doing));
        }
        let calls = self.session.waiting_calls();
        let begun = begin(&mut self.session)?;
        let is_small = message.len() < COPIED && !self.is_lossy;
        if !at_once || is_small || self.whole_writes.is_some() || !self.session.goes_first() {
            self.session.queue(&head, message, 0);
            if let Some(writes) = &mut self.whole_writes {
                writes.queued(frame);
            }
            if at_once {
                self.flush();
            }
            return Ok(begun);
        }
        let parts = [head.as_slice(), message, self.session.tail()];
        match self.link.write(&parts.map(IoSlice::new)) {
            Ok(written) => self.session.queue(&head, message, written),
            Err(Errno::AGAIN) => {
                self.session.queue(&head, message, 0);
                self.wait_for_room();
            }
            Err(errno) if self.link.survives(errno) => {
                self.session.take_back_calls(calls);
                return Err(self.os_error(errno, doing));
            }
            Err(errno) => self.fail_writing(errno),
        }
        Ok(begun)
    }

    #[cold]
    fn too_large_to_write_whole(&self, frame: usize, most: usize, doing: &str) -> Error {
        let reason = format!(
            "with its framing the message is {frame} bytes, and beyond {most} others' messages would get in between; \
             exclusive=true keeps others away"
        );
        self.session.error(ErrorKind::TooLarge, doing).because(reason)
    }

    /// Says that an earlier datagram did not arrive, if nobody was told.
    fn check_arrived(&mut self, doing: &str) -> Result<()> {
        if self.session.is_calling() {
            return Ok(());
        }
        let refusal = self.session.take_refusal();
        refusal.map_or(Ok(()), |refusal| Err(refusal.met_while(format!("{doing} {}", self.session.address()))))
    }

    /// Gives a call up, as [`Plain::abandon`].
    pub fn abandon(&mut self, call: CallId) {
        self.session.abandon(call);
        if self.is_datagrams {
            if self.session.take_stale() {
                self.renew();
            }
            // The next one's turn has come.
            self.flush();
        }
    }
}
