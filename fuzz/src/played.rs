//! A session under a user that keeps the rules of sessions, and picks among what they allow by bytes.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use panpipe_wire::panpipe::{Body, Flags, Policy, Request, Side};
use panpipe_wire::{CallId, Panpipe, PanpipeEvent, Session};

/// A session, and what its user knows.
pub struct Played {
    /// The session.
    pub session: Panpipe,
    /// The time.
    pub now: Instant,
    /// Whether it has told its end.
    pub has_ended: bool,
    /// The code of the error that it ended with.
    pub code: Option<&'static str>,
    side: Side,
    calls: Vec<CallId>,
    live: HashSet<u64>,
    running: Vec<Request>,
    opened: HashSet<u64>,
    messages: Vec<Request>,
    items: Vec<(CallId, usize)>,
}

impl Played {
    /// One of this side, whose link moves bytes, packets or datagrams.
    pub fn new(side: Side, packets: Option<usize>, is_datagrams: bool) -> Self {
        let address = crate::address("mem:fuzz").expect("an address");
        let now = Instant::now();
        let mut session = Panpipe::new(&address, side, now);
        if let Some(most) = packets {
            session.use_packets(most, false);
        }
        if is_datagrams {
            session.use_datagrams(true);
        }
        session.greet();
        Played {
            session,
            now,
            has_ended: false,
            code: None,
            side,
            calls: Vec::new(),
            live: HashSet::new(),
            running: Vec::new(),
            opened: HashSet::new(),
            messages: Vec::new(),
            items: Vec::new(),
        }
    }

    /// Does one thing, as two bytes say.
    pub fn act(&mut self, what: u8, how: u8) {
        // Long messages are worth a few, and cost the time of many.
        let size = if how >= 0xf8 { 270_000 } else { [0, 1, 60, 300, 4000, 20_000, 100, 1000][how as usize & 7] };
        let payload = Bytes::from(vec![0xc0; size]);
        let body = if how & 8 > 0 { Body::Shared(payload) } else { Body::Slice(&payload) };
        let place = |count: usize| how as usize % count.max(1);
        match what % 16 {
            0 | 1 => {
                let stream = Flags::NONE.stream(how & 16 > 0).arguments(how & 32 > 0);
                let flags = if how & 64 > 0 { stream.stream(true).topic(true) } else { stream };
                let deadline = (how & 128 > 0).then(|| self.now + Duration::from_millis(300));
                if let Ok(call) = self.session.call("a", flags, body, deadline, self.now) {
                    assert!(self.live.insert(call.0), "an id is used once");
                    self.calls.push(call);
                }
            }
            2 => drop(self.session.send("b", Flags::NONE.topic(how & 16 > 0), body, self.now)),
            3 => drop(self.session.flush(self.now)),
            4 => {
                if let Some(call) = self.calls.get(place(self.calls.len()))
                    && self.session.cancel(*call).is_some()
                {
                    assert!(self.live.remove(&call.0), "a call ends once");
                }
            }
            5 | 6 if !self.running.is_empty() => {
                let request = self.running.swap_remove(place(self.running.len()));
                match what & 16 > 0 {
                    true => self.session.fail(request.id, b"\x81\xa4code\xa6remote"),
                    false => self.session.reply(request.id, Flags::NONE, body),
                }
            }
            7 => {
                if let Some(request) = self.running.get(place(self.running.len())) {
                    drop(self.session.item(request.id, Flags::NONE, body));
                    self.session.has_room(request.id);
                }
            }
            8 => {
                if let Some(call) = self.calls.get(place(self.calls.len())) {
                    drop(self.session.item(*call, Flags::NONE, body));
                    self.session.has_room(*call);
                }
            }
            9 => {
                if let Some(call) = self.calls.get(place(self.calls.len())) {
                    self.session.end(*call);
                }
            }
            10 => {
                if let Some((call, size)) = self.items.pop() {
                    self.session.taken(call, size);
                }
            }
            11 => {
                if let Some(request) = self.messages.pop() {
                    self.session.handled(&request);
                }
            }
            12 => {
                let request = self.running.get(place(self.running.len()));
                if let Some(request) = request.filter(|request| request.flags.is_topic() && request.flags.is_stream())
                    && self.opened.insert(request.id.0)
                {
                    self.session.open(request.id, Policy::ALL[how as usize & 3].1);
                }
            }
            13 if how == 255 => self.session.say_goodbye(),
            _ => self.now += Duration::from_millis(u64::from(how)),
        }
    }

    /// Takes all events.
    pub fn take_events(&mut self) {
        while let Some(event) = self.session.next_event(self.now) {
            assert!(!self.has_ended, "nothing comes after the end");
            match event {
                PanpipeEvent::Call(request) => self.running.push(request),
                PanpipeEvent::Send(request) => self.messages.push(request),
                PanpipeEvent::Reply { call, .. } | PanpipeEvent::Failed { call, .. } => {
                    assert!(self.live.remove(&call.0), "a call ends once");
                }
                PanpipeEvent::Item { call, payload } => {
                    assert!(self.live.contains(&call.0) || (call.0 & 1 == 1) != (self.side == Side::Client));
                    self.items.push((call, payload.bytes.len()));
                }
                PanpipeEvent::Lost(_) => unreachable!("no session here outlasts its connection"),
                PanpipeEvent::Ended(error) => {
                    self.has_ended = true;
                    self.code = error.map(|error| error.code());
                    assert!(self.live.is_empty(), "no call outlives the connection");
                }
                _ => {}
            }
        }
        assert!(!self.has_ended || self.session.next_deadline().is_none());
    }

    /// Takes up to so many bytes of what it writes.
    pub fn write(&mut self, most: usize) -> Vec<u8> {
        let mut written = Vec::new();
        for part in self.session.outbox() {
            written.extend_from_slice(&part[..part.len().min(most - written.len())]);
        }
        self.session.written(written.len());
        written
    }
}
