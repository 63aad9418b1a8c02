//! A session without a link, whose time moves when it is told to.

use std::time::{Duration, Instant};

use super::super::{Panpipe, Side};
use crate::address::{Address, Method};
use crate::session::Session;

pub(super) fn method(reaches: &'static str) -> &'static Method {
    Box::leak(Box::new(Method {
        scheme: "mem",
        form: "mem:NAME",
        options: &[],
        check: |_| Ok(()),
        moves_packets: false,
        protocol: "panpipe",
        reaches,
        reliable: "",
        ordered: "",
        readers: "",
        death: "",
        costs: "",
        trial: None,
        good_for: "",
        not_for: "",
    }))
}

pub(super) struct Played {
    pub(super) session: Panpipe,
    pub(super) now: Instant,
}

impl Played {
    pub(super) fn new(side: Side, is_remote: bool) -> Self {
        let method = method(if is_remote { "other machines" } else { "this machine" });
        let address = Address::parse("mem:played", Box::leak(Box::new([method]))).unwrap();
        let now = Instant::now();
        let mut session = Panpipe::new(&address, side, now);
        session.greet();
        Played { session, now }
    }

    pub(super) fn wait(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }

    /// Gives what arrives to the session, as far as it wants it.
    pub(super) fn reads(&mut self, bytes: &[u8]) {
        self.session.input_mut().room().extend_from_slice(bytes);
    }

    /// All that it has to write.
    pub(super) fn writes(&mut self) -> Vec<u8> {
        let mut written = Vec::new();
        while self.session.outbox().iter().any(|part| !part.is_empty()) {
            let parts = self.session.outbox().concat();
            written.extend_from_slice(&parts);
            self.session.written(parts.len());
        }
        written
    }
}
