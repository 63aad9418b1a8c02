//! Two sessions and what is between them, driven at random and held to a model of both ends.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::super::{Body, Failure, Flags, Panpipe, PanpipeEvent, Payload, Policy, Request, Side, WINDOW};
use super::play::method;
use crate::address::Address;
use crate::error::{Error, ErrorKind, Ran};
use crate::plain::CallId;
use crate::session::Session;

/// What is between the two sessions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Between {
    Bytes,
    Packets(usize),
    /// They get lost, come twice, and overtake each other.
    Datagrams(usize),
}

/// A step: what is done, and two numbers that say how.
pub(super) type Step = (u8, u32, u32);

/// A call, as the end that made it knows it.
#[derive(Default)]
struct Made {
    token: u64,
    deadline: Option<Instant>,
    flags: u8,
    has_ended: bool,
    is_open: bool,
    /// The number that the next item must have, and how many of its own were accepted.
    next_item: u64,
    own_items: u64,
    untaken: VecDeque<usize>,
    is_blocked: bool,
}

/// A call, as the end that answers it knows it.
struct Running {
    id: CallId,
    token: u64,
    flags: Flags,
    is_cancelled: bool,
    is_open: bool,
    items: u64,
    next_argument: u64,
    arguments_ended: bool,
    untaken: VecDeque<usize>,
    is_blocked: bool,
}

/// What is known of a call by its token, wherever it was learnt.
#[derive(Default)]
struct Known {
    has_begun: bool,
    must_not_begin: bool,
    /// What it was answered with, and how many items and arguments came before.
    answer: Option<Vec<u8>>,
    items: u64,
    arguments: u64,
    arguments_ended: bool,
}

struct End {
    session: Panpipe,
    made: HashMap<u64, Made>,
    running: Vec<Running>,
    messages: Vec<Request>,
    flushes: HashSet<u64>,
    /// The greatest token that began here: requests begin in their order.
    last_begun: u64,
    has_ended: bool,
    has_failed: bool,
    /// What is on its way to it, and whether nothing comes after that.
    wire: BytesMut,
    datagrams: VecDeque<Vec<u8>>,
    is_cut: bool,
}

pub(super) struct Pair {
    between: Between,
    now: Instant,
    began: Instant,
    ends: [End; 2],
    known: HashMap<u64, Known>,
    tokens: u64,
}

const SIZES: [usize; 10] = [8, 8, 64, 500, 3_000, 20_000, 70_000, 262_144, 262_145, 600_000];

fn payload(token: u64, number: u64, size: usize) -> Vec<u8> {
    let mut bytes = token.to_be_bytes().to_vec();
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.resize(16 + size, token as u8 ^ number as u8);
    bytes
}

fn token_and_number(bytes: &[u8]) -> (u64, u64) {
    let (token, rest) = bytes.split_first_chunk().unwrap();
    let (number, rest) = rest.split_first_chunk().unwrap();
    let (token, number) = (u64::from_be_bytes(*token), u64::from_be_bytes(*number));
    assert!(rest == vec![token as u8 ^ number as u8; rest.len()], "a payload came as it was sent");
    (token, number)
}

fn body(bytes: &[u8], is_shared: bool) -> Body<'_> {
    if is_shared { Body::Shared(Bytes::copy_from_slice(bytes)) } else { Body::Slice(bytes) }
}

impl Pair {
    pub(super) fn new(between: Between) -> Self {
        let now = Instant::now();
        let ends = [Side::Client, Side::Server].map(|side| {
            let address = Address::parse("mem:pair", Box::leak(Box::new([method("this machine")]))).unwrap();
            let mut session = Panpipe::new(&address, side, now);
            match between {
                Between::Bytes => {}
                Between::Packets(most) => session.use_packets(most, false),
                Between::Datagrams(most) => {
                    session.use_packets(most, false);
                    session.use_datagrams(true);
                    session.begin_ids_at(12_345);
                }
            }
            session.greet();
            End {
                session,
                made: HashMap::new(),
                running: Vec::new(),
                messages: Vec::new(),
                flushes: HashSet::new(),
                last_begun: 0,
                has_ended: false,
                has_failed: false,
                wire: BytesMut::new(),
                datagrams: VecDeque::new(),
                is_cut: false,
            }
        });
        Pair { between, now, began: now, ends, known: HashMap::new(), tokens: 0 }
    }

    fn is_lossy(&self) -> bool {
        matches!(self.between, Between::Datagrams(_))
    }

    fn is_disturbed(&self) -> bool {
        self.ends.iter().any(|end| end.is_cut || end.has_failed)
    }

    fn size(&self, number: u32) -> usize {
        let size = SIZES[number as usize % SIZES.len()];
        match self.between {
            Between::Datagrams(most) => size.min(most - 100),
            _ => size,
        }
    }

    pub(super) fn step(&mut self, (what, a, b): Step) {
        let end = (a & 1) as usize;
        let a = a >> 1;
        match what % 32 {
            0..=3 => self.call(end, a, b),
            4 => self.send(end, a, b),
            5 => {
                if let Ok(flush) = self.ends[end].session.flush(self.now) {
                    self.ends[end].flushes.insert(flush.0);
                }
            }
            6 | 7 => self.cancel(end, a),
            8 if a % 16 == 0 => self.ends[end].session.say_goodbye(),
            8 | 9 => self.pass(u64::from(b % 40)),
            10..=12 => self.answer(end, a, b),
            13 | 14 => self.item(end, a, b),
            15 => self.argument(end, a, b),
            16 => self.end_arguments(end, a),
            17 => self.take(end, a),
            18 => {
                if let Some(request) = self.ends[end].messages.pop() {
                    self.ends[end].session.handled(&request);
                }
            }
            19 => self.open(end, a, b),
            20 if a % 64 == 0 => self.fail_output(end),
            21 if a % 64 == 0 => self.cut(b),
            20..=24 => self.write(end, b as usize),
            25..=28 => self.read(end, b as usize),
            _ => drop(self.take_events(end, 1 + a as usize % 8)),
        }
    }

    fn pass(&mut self, milliseconds: u64) {
        // A hello is due within five seconds, and who does not read is closed after ten.
        if self.now - self.began < Duration::from_secs(4) {
            self.now += Duration::from_millis(milliseconds);
        }
    }

    fn next_token(&mut self) -> u64 {
        self.tokens += 1;
        self.known.insert(self.tokens, Known::default());
        self.tokens
    }

    fn call(&mut self, end: usize, a: u32, b: u32) {
        let token = self.next_token();
        let shape = if self.is_lossy() { 0 } else { a % 8 };
        let flags = match shape {
            1 => Flags::NONE.stream(true),
            2 => Flags::NONE.arguments(true),
            3 => Flags::NONE.stream(true).arguments(true),
            4 | 5 => Flags::NONE.stream(true).topic(true),
            _ => Flags::NONE.raw(a & 16 > 0),
        };
        let deadline = (b.is_multiple_of(4)).then(|| self.now + Duration::from_millis(u64::from(b % 97)));
        let bytes = payload(token, 0, self.size(b >> 8));
        let made = self.ends[end].session.call("a", flags, body(&bytes, a & 8 > 0), deadline, self.now);
        if let Ok(id) = made {
            let made = Made { token, deadline, flags: flags.0, ..Made::default() };
            assert!(self.ends[end].made.insert(id.0, made).is_none(), "an id is used once");
        } else {
            self.known.get_mut(&token).unwrap().must_not_begin = true;
        }
    }

    fn send(&mut self, end: usize, a: u32, b: u32) {
        let token = self.next_token();
        let bytes = payload(token, 0, self.size(b));
        let sent = self.ends[end].session.send("b", Flags::NONE.topic(a & 2 > 0), body(&bytes, a & 1 > 0), self.now);
        self.known.get_mut(&token).unwrap().must_not_begin = sent.is_err();
    }

    fn pick(&self, end: usize, number: u32) -> Option<u64> {
        let mut ids: Vec<_> = self.ends[end].made.iter().filter(|made| !made.1.has_ended).map(|made| *made.0).collect();
        ids.sort_unstable();
        (!ids.is_empty()).then(|| ids[number as usize % ids.len()])
    }

    fn cancel(&mut self, end: usize, a: u32) {
        let Some(id) = self.pick(end, a) else { return };
        // If it has ended already, its event waits to be taken.
        if let Some(ran) = self.ends[end].session.cancel(CallId(id)) {
            self.finish_call(end, id, ran);
        }
    }

    fn finish_call(&mut self, end: usize, id: u64, ran: Ran) {
        let made = self.ends[end].made.get_mut(&id).expect("it was made");
        assert!(!made.has_ended, "a call ends once");
        made.has_ended = true;
        made.is_blocked = false;
        let known = self.known.get_mut(&made.token).unwrap();
        if ran == Ran::No {
            assert!(!known.has_begun, "what has begun may have run");
            known.must_not_begin = true;
        }
    }

    fn answer(&mut self, end: usize, a: u32, b: u32) {
        let count = self.ends[end].running.len();
        if count == 0 {
            return;
        }
        let running = self.ends[end].running.swap_remove(a as usize % count);
        let known = self.known.get_mut(&running.token).unwrap();
        known.items = running.items;
        let session = &mut self.ends[end].session;
        if b % 8 < 2 {
            let answer = panpipe_values::Failure::new("remote", running.token.to_string()).encode();
            session.fail(running.id, &answer);
            known.answer = Some(answer);
        } else {
            let size = match self.between {
                Between::Datagrams(most) => SIZES[b as usize >> 3 & 7].min(most - 100),
                _ => SIZES[(b as usize >> 3) % SIZES.len()],
            };
            let answer = payload(running.token, 7, size);
            session.reply(running.id, Flags::NONE, body(&answer, b & 4 > 0));
            known.answer = Some(answer);
        }
    }

    fn item(&mut self, end: usize, a: u32, b: u32) {
        let now = self.size(b);
        let end = &mut self.ends[end];
        let mut streams: Vec<_> = end.running.iter_mut().filter(|running| running.flags.is_stream()).collect();
        if streams.is_empty() {
            return;
        }
        let place = a as usize % streams.len();
        let running = &mut streams[place];
        if running.flags.is_topic() && !running.is_open {
            return;
        }
        let bytes = payload(running.token, running.items, now);
        match end.session.item(running.id, Flags::NONE, body(&bytes, b & 64 > 0)) {
            Ok(()) => running.items += 1,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Busy | ErrorKind::Lagged | ErrorKind::Closed), "{error}");
                running.is_blocked = error.kind() != ErrorKind::Closed && !end.session.has_room(running.id);
            }
        }
    }

    fn argument(&mut self, end: usize, a: u32, b: u32) {
        let size = self.size(b);
        let Some(id) = self.pick(end, a) else { return };
        let end = &mut self.ends[end];
        let made = end.made.get_mut(&id).unwrap();
        let bytes = payload(made.token, made.own_items, size);
        match end.session.item(CallId(id), Flags::NONE, body(&bytes, b & 64 > 0)) {
            Ok(()) => {
                assert!(Flags(made.flags).has_arguments());
                made.own_items += 1;
                self.known.get_mut(&made.token).unwrap().arguments += 1;
            }
            Err(error) => made.is_blocked = error.kind() == ErrorKind::Busy && !end.session.has_room(CallId(id)),
        }
    }

    fn end_arguments(&mut self, end: usize, a: u32) {
        let Some(id) = self.pick(end, a) else { return };
        let end = &mut self.ends[end];
        end.session.end(CallId(id));
        let made = end.made.get_mut(&id).unwrap();
        made.is_blocked = false;
        self.known.get_mut(&made.token).unwrap().arguments_ended |= Flags(made.flags).has_arguments();
    }

    fn take(&mut self, end: usize, a: u32) {
        let end = &mut self.ends[end];
        for (id, made) in &mut end.made {
            if (a & 1 > 0 || id % 3 == 0)
                && let Some(size) = made.untaken.pop_front()
            {
                end.session.taken(CallId(*id), size);
            }
        }
        for running in &mut end.running {
            if (a & 1 == 0 || running.id.0 % 3 == 0)
                && let Some(size) = running.untaken.pop_front()
            {
                end.session.taken(running.id, size);
            }
        }
    }

    fn open(&mut self, end: usize, a: u32, b: u32) {
        let end = &mut self.ends[end];
        let is_closed = |running: &&mut Running| running.flags.is_topic() && !running.is_open;
        let mut topics: Vec<_> = end.running.iter_mut().filter(is_closed).collect();
        if !topics.is_empty() {
            let place = a as usize % topics.len();
            topics[place].is_open = true;
            end.session.open(topics[place].id, Policy::ALL[b as usize % 4].1);
        }
    }

    fn fail_output(&mut self, end: usize) {
        if self.is_lossy() {
            return;
        }
        let error = Error::new(ErrorKind::ConnectionLost, "sending to mem:pair".to_owned());
        self.ends[end].session.output_failed(error);
        self.ends[end].has_failed = true;
        self.ends[1 - end].is_cut = true;
    }

    /// The link ends, and so much of what was on its way arrives.
    fn cut(&mut self, b: u32) {
        for (end, keep) in self.ends.iter_mut().zip([b & 0xffff, b >> 16]) {
            if !end.is_cut {
                end.wire.truncate(keep as usize);
            }
            end.is_cut = true;
        }
    }

    fn write(&mut self, end: usize, most: usize) {
        let other = 1 - end;
        if self.ends[end].has_failed {
            assert_eq!(self.ends[end].session.unwritten(), 0, "nothing waits where nothing can be written");
            return;
        }
        let parts = self.ends[end].session.outbox();
        assert!(!parts[0].is_empty() || parts.concat().is_empty(), "the first part is empty only when all are");
        let mut waiting = Vec::new();
        parts.iter().for_each(|part| waiting.extend_from_slice(&part[..part.len().min(400_000 - waiting.len())]));
        match self.between {
            Between::Bytes => {
                let most = if most.is_multiple_of(3) { most % 100 } else { most % 400_000 };
                let count = waiting.len().min(most);
                self.ends[end].session.written(count);
                if !self.ends[other].is_cut {
                    self.ends[other].wire.extend_from_slice(&waiting[..count]);
                }
            }
            Between::Packets(limit) | Between::Datagrams(limit) => {
                let Some(length) = waiting.first_chunk() else { return };
                let length = u32::from_be_bytes(*length) as usize;
                assert!(length <= limit, "a packet of {length} bytes");
                self.ends[end].session.written(4 + length);
                if self.ends[other].is_cut {
                } else if self.is_lossy() {
                    self.ends[other].datagrams.push_back(waiting[..4 + length].to_vec());
                } else {
                    self.ends[other].wire.extend_from_slice(&waiting[..4 + length]);
                }
            }
        }
    }

    fn read(&mut self, end: usize, number: usize) {
        let is_lossy = self.is_lossy();
        let is_packets = matches!(self.between, Between::Packets(_));
        let end = &mut self.ends[end];
        if !end.session.input().wants_more() {
            return;
        }
        if is_lossy {
            let waiting = end.datagrams.len();
            if waiting == 0 {
                if end.is_cut {
                    end.session.input_mut().end();
                }
                return;
            }
            let place = if number.is_multiple_of(4) { number / 4 % waiting } else { 0 };
            let packet = match number % 7 {
                5 => end.datagrams[place].clone(),
                _ => end.datagrams.remove(place).unwrap(),
            };
            if number % 7 != 6 {
                end.session.input_mut().room().extend_from_slice(&packet);
            }
            return;
        }
        let count = match (is_packets, end.wire.len() >= 4) {
            (true, true) => 4 + u32::from_be_bytes([end.wire[0], end.wire[1], end.wire[2], end.wire[3]]) as usize,
            _ if number.is_multiple_of(3) => number / 3 % 40,
            _ => number % 300_000,
        };
        let bytes = end.wire.split_to(count.min(end.wire.len()));
        end.session.input_mut().room().extend_from_slice(&bytes);
        if end.wire.is_empty() && end.is_cut {
            end.session.input_mut().end();
        }
    }

    fn take_events(&mut self, end: usize, most: usize) -> usize {
        for taken in 0..most {
            let Some(event) = self.ends[end].session.next_event(self.now) else { return taken };
            self.on_event(end, event);
        }
        most
    }

    fn on_event(&mut self, at: usize, event: PanpipeEvent) {
        assert!(!self.ends[at].has_ended, "nothing comes after the end: {event:?}");
        match event {
            PanpipeEvent::Call(request) => self.on_call(at, &request),
            PanpipeEvent::Send(request) => {
                let (token, _) = token_and_number(&request.payload().bytes);
                self.begin(at, token);
                self.ends[at].messages.push(request);
            }
            PanpipeEvent::Reply { call, payload } => {
                let made = &self.ends[at].made[&call.0];
                let (known, next_item) = (&self.known[&made.token], made.next_item);
                assert_eq!(Some(&payload.bytes[..]), known.answer.as_deref(), "the reply is of this call");
                assert_eq!(next_item, known.items, "all items came before it, or were told of");
                self.finish_call(at, call.0, Ran::Maybe);
            }
            PanpipeEvent::Failed { call, failure: Failure::Remote(map) } => {
                let failure = panpipe_values::Failure::decode(&map).unwrap();
                let made = &self.ends[at].made[&call.0];
                let known = &self.known[&made.token];
                if failure.code == "remote" {
                    assert_eq!(Some(&map[..]), known.answer.as_deref(), "the failure is of this call");
                    assert_eq!(made.next_item, known.items, "all items came before it, or were told of");
                } else {
                    assert!(["refused", "deadline-exceeded", "cancelled"].contains(&&*failure.code), "{failure:?}");
                    assert!(failure.code == "refused" || made.deadline.is_some(), "{failure:?}");
                }
                self.finish_call(at, call.0, if failure.did_not_run { Ran::No } else { Ran::Maybe });
            }
            PanpipeEvent::Failed { call, failure: Failure::Local(error) } => {
                match error.kind() {
                    ErrorKind::DeadlineExceeded => {
                        let deadline = self.ends[at].made[&call.0].deadline;
                        assert!(deadline.is_some_and(|deadline| deadline <= self.now), "{error}");
                    }
                    ErrorKind::ConnectionLost => assert!(self.is_disturbed(), "{error}"),
                    _ => panic!("{error}"),
                }
                self.finish_call(at, call.0, error.may_have_run());
            }
            PanpipeEvent::Item { call, payload } => self.on_item(at, call, &payload),
            PanpipeEvent::End { call } => {
                let running = self.ends[at].running.iter_mut().find(|running| running.id == call);
                if let Some(running) = running {
                    assert!(!running.arguments_ended, "arguments end once");
                    running.arguments_ended = true;
                    let known = &self.known[&running.token];
                    assert!(known.arguments_ended && running.next_argument == known.arguments, "they ended there");
                }
            }
            PanpipeEvent::Opened { call } => {
                let made = self.ends[at].made.get_mut(&call.0).unwrap();
                assert!(!made.has_ended && !made.is_open);
                made.is_open = true;
            }
            PanpipeEvent::Cancelled { call, .. } => {
                let running = self.ends[at].running.iter_mut().find(|running| running.id == call);
                if let Some(running) = running {
                    assert!(!running.is_cancelled, "a handler is told to stop once");
                    running.is_cancelled = true;
                }
            }
            PanpipeEvent::Room { call } => {
                let end = &mut self.ends[at];
                if let Some(running) = end.running.iter_mut().find(|running| running.id == call) {
                    running.is_blocked = false;
                }
                if let Some(made) = end.made.get_mut(&call.0) {
                    made.is_blocked = false;
                }
            }
            PanpipeEvent::Flushed { flush } => {
                assert!(self.ends[at].flushes.remove(&flush.0), "a flush is told once");
                let other = &self.ends[1 - at].session;
                assert!(self.is_lossy() || other.serving.last >= flush.0, "all before the flush was read");
            }
            PanpipeEvent::Draining => {}
            PanpipeEvent::Lost(_) => unreachable!("no session here outlasts its connection"),
            PanpipeEvent::Ended(error) => {
                assert!(self.is_disturbed(), "ended by itself: {error:?}");
                let end = &mut self.ends[at];
                end.has_ended = true;
                assert!(end.made.values().all(|made| made.has_ended), "no call outlives the connection");
                assert!(end.running.iter().all(|running| running.is_cancelled), "every handler was told to stop");
                end.running.clear();
                end.messages.clear();
                assert_eq!(end.session.next_deadline(), None);
            }
        }
    }

    fn begin(&mut self, at: usize, token: u64) {
        let known = self.known.get_mut(&token).unwrap();
        assert!(!known.has_begun, "a handler begins once");
        assert!(!known.must_not_begin, "a caller was told that this one does not begin");
        known.has_begun = true;
        let is_lossy = self.is_lossy();
        let end = &mut self.ends[at];
        assert!(is_lossy || token > end.last_begun, "requests begin in their order");
        end.last_begun = token;
    }

    fn on_call(&mut self, at: usize, request: &Request) {
        let (token, _) = token_and_number(&request.payload().bytes);
        self.begin(at, token);
        self.ends[at].running.push(Running {
            id: request.id,
            token,
            flags: request.flags,
            is_cancelled: false,
            is_open: false,
            items: 0,
            next_argument: 0,
            arguments_ended: false,
            untaken: VecDeque::new(),
            is_blocked: false,
        });
    }

    fn on_item(&mut self, at: usize, call: CallId, payload: &Payload) {
        let end = &mut self.ends[at];
        if end.session.is_mine(call) {
            let made = end.made.get_mut(&call.0).unwrap();
            assert!(!made.has_ended, "no item comes after the end of its call");
            if payload.flags.is_lagged() {
                let missed: u64 = panpipe_values::decode(payload.bytes.clone(), false).unwrap();
                made.next_item += missed;
                return;
            }
            let (token, number) = token_and_number(&payload.bytes);
            assert_eq!((token, number), (made.token, made.next_item), "items come in their order");
            made.next_item += 1;
            made.untaken.push_back(payload.bytes.len());
            return;
        }
        // A handler may have answered already.
        if let Some(running) = end.running.iter_mut().find(|running| running.id == call) {
            let (token, number) = token_and_number(&payload.bytes);
            assert_eq!((token, number), (running.token, running.next_argument), "arguments come in their order");
            assert!(!running.arguments_ended);
            running.next_argument += 1;
            running.untaken.push_back(payload.bytes.len());
        }
    }

    /// Moves everything until nothing moves any more.
    fn settle(&mut self) {
        if self.is_disturbed() {
            self.ends.iter_mut().for_each(|end| end.is_cut = true);
        }
        loop {
            let mut has_moved = false;
            for end in 0..2 {
                while !self.ends[end].session.outbox()[0].is_empty() {
                    self.write(end, 399_999);
                    has_moved = true;
                }
                has_moved |= self.take_events(end, usize::MAX) > 0;
                has_moved |= !self.ends[end].session.outbox()[0].is_empty();
                let waiting = self.ends[end].wire.len() + self.ends[end].datagrams.len();
                if self.ends[end].session.input().wants_more() && (waiting > 0 || self.ends[end].is_cut) {
                    self.read(end, 299_999);
                    has_moved = true;
                }
                while self.ends[end].made.values().any(|made| !made.untaken.is_empty())
                    || self.ends[end].running.iter().any(|running| !running.untaken.is_empty())
                {
                    self.take(end, 0);
                    self.take(end, 1);
                    has_moved = true;
                }
                while let Some(request) = self.ends[end].messages.pop() {
                    self.ends[end].session.handled(&request);
                    has_moved = true;
                }
            }
            if !has_moved {
                return;
            }
        }
    }

    /// Lets everything end, and looks whether all of it did and nothing is left.
    pub(super) fn finish(mut self) {
        self.settle();
        for end in &self.ends {
            let is_blocked = end.running.iter().any(|running| running.is_blocked && !running.is_cancelled)
                || end.made.values().any(|made| made.is_blocked);
            assert!(!is_blocked, "who had no room is told when there is some");
        }
        while self.ends.iter().any(|end| !end.running.is_empty()) {
            for end in 0..2 {
                while !self.ends[end].running.is_empty() {
                    self.answer(end, 0, self.ends[end].running.len() as u32);
                }
            }
            self.settle();
        }
        if self.is_lossy() {
            self.now += Duration::from_secs(1);
            self.settle();
            return;
        }
        for end in &self.ends {
            assert_eq!(end.has_ended, self.is_disturbed());
            assert!(end.made.values().all(|made| made.has_ended), "every call has ended");
            let session = &end.session;
            assert!(!session.is_calling() && session.serving() == 0);
            assert_eq!(session.unwritten(), 0);
            assert!(session.is_idle() || end.has_ended, "nothing is left");
            assert!(end.has_ended || end.flushes.is_empty(), "every flush was answered");
        }
        if self.is_disturbed() {
            return;
        }
        for (end, other) in [(0, 1), (1, 0)] {
            let (session, other) = (&self.ends[end].session, &self.ends[other].session);
            let (window, slots) = session.calling.window_and_slots();
            assert_eq!(slots, (0, 0), "every place is free");
            assert_eq!(window + other.requests.held_back(), WINDOW, "all of the window came back");
            assert!(session.pieces.is_empty() && session.flushes.is_empty() && session.pongs.is_empty());
        }
    }
}

/// `PROPTEST_CASES=10000` makes it a long test.
fn cases() -> u32 {
    ProptestConfig::default().cases / 4
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(any::<Step>(), 0..most)
}

fn play(between: Between, steps: &[Step]) {
    let mut pair = Pair::new(between);
    steps.iter().for_each(|step| pair.step(*step));
    pair.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_sessions_keep_their_promises_over_bytes(steps in steps(400)) {
        play(Between::Bytes, &steps);
    }

    #[test]
    fn two_sessions_keep_their_promises_over_packets(steps in steps(300), most in 4096_usize..70_000) {
        play(Between::Packets(most), &steps);
    }

    #[test]
    fn two_sessions_keep_their_promises_over_datagrams(steps in steps(300), most in 1200_usize..9000) {
        play(Between::Datagrams(most), &steps);
    }
}

#[test]
fn no_credit_is_lost_in_thousands_of_cancels() {
    let mut pair = Pair::new(Between::Bytes);
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as u32
    };
    for _ in 0..100 * cases() {
        pair.step((0, next(), next() % 512));
        for _ in 0..3 {
            pair.step((20 + next() as u8 % 12, next() | 2, next()));
        }
        pair.step((6, next(), 0));
        pair.step((10, next(), next()));
        for end in &mut pair.ends {
            end.made.retain(|_, made| !made.has_ended);
        }
    }
    pair.finish();
}
