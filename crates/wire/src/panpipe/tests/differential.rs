//! Random conversations of this session, written as scripts that the session in TypeScript plays after it:
//! `javascript/test/differential.test.mjs`. What this one tells and writes is what that one must tell and write.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use serde_json::{Value, json};

use super::super::calling::Sent;
use super::super::{Body, Failure, Flags, Panpipe, PanpipeEvent, Payload, Policy, Request, Side};
use super::frames::{UNIT, arriving, split, with_payload, written};
use super::play::Played;
use crate::error::Ran;
use crate::plain::CallId;

const CONVERSATIONS: u64 = 100;
const STEPS: usize = 200;

/// Numbers by chance, the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % most as u64) as usize
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// What one end knows of a call that it may say something of.
#[derive(Clone)]
struct Known {
    name: String,
    id: CallId,
    flags: Flags,
    is_mine: bool,
    is_open: bool,
    has_ended: bool,
    /// It was answered or cancelled; items may still be told, while its answer waits behind others.
    is_over: bool,
    /// Sizes of the items that were told and not taken.
    items: VecDeque<usize>,
}

impl Known {
    fn new(name: &str, id: CallId, flags: Flags, is_mine: bool) -> Self {
        let items = VecDeque::new();
        Known { name: name.to_owned(), id, flags, is_mine, is_open: false, has_ended: false, is_over: false, items }
    }

    fn may_send_items(&self) -> bool {
        let is_stream = if self.is_mine { self.flags.has_arguments() } else { self.flags.is_stream() };
        is_stream && !self.has_ended && (!self.flags.is_topic() || self.is_open)
    }
}

/// One end: what it may still do.
#[derive(Default)]
struct End {
    calls: Vec<Known>,
    messages: VecDeque<(String, Request)>,
    flushes: HashMap<CallId, String>,
    named: usize,
}

impl End {
    fn name(&mut self, kind: &str) -> String {
        self.named += 1;
        format!("{kind}{}", self.named)
    }

    fn call(&mut self, id: CallId) -> &mut Known {
        self.calls.iter_mut().find(|call| call.id == id).expect("it is known")
    }

    fn finish(&mut self, id: CallId) -> String {
        let call = self.call(id);
        call.is_over = true;
        call.name.clone()
    }
}

/// The session that is written down, and the one that it talks to.
struct Conversation {
    chance: Chance,
    large_one_in: usize,
    hears_one_in: usize,
    told: Played,
    other: Played,
    told_end: End,
    other_end: End,
    steps: Vec<Value>,
}

impl Conversation {
    fn new(seed: u64) -> Self {
        let side = if seed.is_multiple_of(2) { Side::Client } else { Side::Server };
        let other = if side == Side::Client { Side::Server } else { Side::Client };
        Conversation {
            chance: Chance(seed),
            large_one_in: [2, 10, 40][(seed / 2 % 3) as usize],
            hears_one_in: [3, 20][(seed / 6 % 2) as usize],
            told: Played::new(side, false),
            other: Played::new(other, false),
            told_end: End::default(),
            other_end: End::default(),
            steps: Vec::new(),
        }
    }

    fn step(&mut self, step: Value) {
        self.steps.push(step);
    }

    /// Small payloads mostly, and in some conversations many that use up a window; none that goes in pieces.
    fn payload(&mut self) -> Vec<u8> {
        let most = if self.chance.one_in(self.large_one_in) { 50_000 } else { 10 };
        let unit: [u8; UNIT] = std::array::from_fn(|_| self.chance.below(256) as u8);
        unit.repeat(self.chance.below(most))
    }

    /// Writes down what the session tells and writes, and carries it to the other.
    fn settle(&mut self) {
        let mut events = Vec::new();
        while let Some(event) = self.told.session.next_event(self.told.now) {
            if let Some(event) = note(&mut self.told_end, event, self.told.now) {
                events.push(event);
            }
        }
        self.step(json!({"events": events}));
        let bytes = self.told.writes();
        self.step(json!({"writes": split(&bytes, written)}));
        self.other.reads(&bytes);
        while let Some(event) = self.other.session.next_event(self.other.now) {
            note(&mut self.other_end, event, self.other.now);
        }
    }

    /// Lets the other say what it has to say.
    fn hear(&mut self) {
        let bytes = self.other.writes();
        if !bytes.is_empty() {
            self.told.reads(&bytes);
            self.step(json!({"reads": split(&bytes, arriving)}));
            self.settle();
        }
    }

    /// One end does something; what that is in a script.
    fn act(&mut self, is_told: bool) -> Option<Value> {
        let payload = self.payload();
        let chance = &mut self.chance;
        let (played, end) = match is_told {
            true => (&mut self.told, &mut self.told_end),
            false => (&mut self.other, &mut self.other_end),
        };
        let raw = Flags::NONE.raw(chance.one_in(3));
        let live: Vec<_> = end.calls.iter().filter(|call| !call.is_over).collect();
        match chance.below(20) {
            what @ ..=5 if live.len() < 60 => begin(what, chance, played, end, raw, &payload),
            what if !live.is_empty() => {
                let call = live[chance.below(live.len())].clone();
                go_on(what, &call, chance, &mut played.session, end, raw, &payload)
            }
            _ => None,
        }
    }

    fn converse(mut self, seed: u64) -> Value {
        self.settle();
        self.hear();
        for _ in 0..STEPS {
            let is_told = self.chance.one_in(2);
            if let Some(action) = self.act(is_told).filter(|_| is_told) {
                let cancelled = action["cancel"]["call"].clone();
                self.step(json!({"do": action}));
                if !cancelled.is_null() {
                    let error = json!({"error": {"call": cancelled, "code": "cancelled", "ran": "maybe"}});
                    self.step(json!({"events": [error]}));
                }
                self.settle();
            }
            if self.chance.one_in(self.hears_one_in) {
                self.hear();
            }
        }
        let side = if seed.is_multiple_of(2) { "client" } else { "server" };
        json!({"name": format!("conversation {seed}"), "side": side, "steps": self.steps})
    }
}

/// Begins a call, or sends what is none.
fn begin(
    what: usize,
    chance: &mut Chance,
    played: &mut Played,
    end: &mut End,
    raw: Flags,
    payload: &[u8],
) -> Option<Value> {
    let (session, now) = (&mut played.session, played.now);
    let body = Body::Slice(payload);
    match what {
        0..=2 => {
            let flags = match chance.below(6) {
                0 => raw.stream(true),
                1 => raw.arguments(true),
                2 => raw.stream(true).arguments(true),
                3 => Flags::NONE.stream(true).topic(true),
                _ => raw.named(chance.one_in(4)),
            };
            let name = end.name("call");
            let id = session.call("method", flags, body, None, now).ok()?;
            end.calls.push(Known::new(&name, id, flags, true));
            let how = json!({"as": name, "method": "method", "timeout": 0});
            Some(json!({"call": with_payload(how, flags, payload)}))
        }
        3 => {
            let flags = raw.topic(chance.one_in(3));
            session.send("note", flags, body, now).ok()?;
            Some(json!({"send": with_payload(json!({"method": "note"}), flags, payload)}))
        }
        4 => {
            let name = end.name("flush");
            end.flushes.insert(session.flush(now).ok()?, name.clone());
            Some(json!({"flush": {"as": name}}))
        }
        // Now and then only, so that the window of the connection is used up.
        _ if chance.one_in(4) => {
            let (name, request) = end.messages.pop_front()?;
            session.handled(&request);
            Some(json!({"done": {"send": name}}))
        }
        _ => None,
    }
}

/// Says something of a call.
fn go_on(
    what: usize,
    call: &Known,
    chance: &mut Chance,
    session: &mut Panpipe,
    end: &mut End,
    raw: Flags,
    payload: &[u8],
) -> Option<Value> {
    let body = Body::Slice(payload);
    let of_call = json!({"call": call.name});
    Some(match what {
        6..=7 if !call.is_mine => {
            end.finish(call.id);
            session.reply(call.id, raw, body);
            json!({"reply": with_payload(of_call, raw, payload)})
        }
        8 if !call.is_mine => {
            end.finish(call.id);
            let failure = panpipe_values::Failure::new("remote", "trouble").encode();
            session.fail(call.id, &failure);
            json!({"fail": with_payload(of_call, Flags::NONE, &failure)})
        }
        9 if call.is_mine => {
            // Only here has a call that was never sent used up an id.
            if session.calling.calls.get(call.id.0).is_none_or(|call| call.sent == Sent::No) {
                return None;
            }
            end.finish(call.id);
            session.cancel(call.id);
            json!({"cancel": of_call})
        }
        10 if !call.is_mine && call.flags.is_topic() && !call.is_open => {
            end.call(call.id).is_open = true;
            session.open(call.id, Policy::Block);
            json!({"open": of_call})
        }
        11..=12 if !call.items.is_empty() => {
            let size = end.call(call.id).items.pop_front()?;
            session.taken(call.id, size);
            json!({"taken": of_call})
        }
        _ if !call.may_send_items() => return None,
        _ if call.is_mine && chance.one_in(5) => {
            end.call(call.id).has_ended = true;
            session.end(call.id);
            json!({"end": of_call})
        }
        _ => {
            session.item(call.id, raw, body).ok()?;
            json!({"item": with_payload(of_call, raw, payload)})
        }
    })
}

/// Notes what an end was told; what that is in a script.
fn note(end: &mut End, event: PanpipeEvent, now: std::time::Instant) -> Option<Value> {
    let payload_of = |how: Value, payload: &Payload| with_payload(how, payload.flags, &payload.bytes);
    Some(match event {
        PanpipeEvent::Call(request) => {
            let name = end.name("served");
            end.calls.push(Known::new(&name, request.id, request.flags, false));
            let timeout = request.deadline.map_or(0, |at| (at - now).as_millis() as u64);
            let how = json!({"as": name, "method": request.name(), "timeout": timeout});
            json!({"call": payload_of(how, &request.payload())})
        }
        PanpipeEvent::Send(request) => {
            let name = end.name("message");
            let how = json!({"as": name, "method": request.name()});
            let event = json!({"send": payload_of(how, &request.payload())});
            end.messages.push_back((name, request));
            event
        }
        PanpipeEvent::Reply { call, payload } => {
            let name = end.finish(call);
            json!({"reply": payload_of(json!({"call": name}), &payload)})
        }
        PanpipeEvent::Failed { call, failure: Failure::Remote(map) } => {
            let failure = panpipe_values::Failure::decode(&map).expect("an error");
            let ran = if failure.did_not_run { Ran::No } else { Ran::Maybe };
            json!({"error": {"call": end.finish(call), "code": failure.code, "ran": ran.to_string()}})
        }
        PanpipeEvent::Item { call, payload } => {
            let known = end.call(call);
            known.items.push_back(payload.bytes.len());
            json!({"item": payload_of(json!({"call": known.name.clone()}), &payload)})
        }
        PanpipeEvent::End { call } => json!({"end": {"call": end.call(call).name.clone()}}),
        PanpipeEvent::Opened { call } => json!({"open": {"call": end.call(call).name.clone()}}),
        PanpipeEvent::Cancelled { call, .. } => json!({"cancelled": {"call": end.call(call).name.clone()}}),
        PanpipeEvent::Flushed { flush } => {
            json!({"flushed": {"flush": end.flushes.remove(&flush).expect("it is known")}})
        }
        PanpipeEvent::Room { .. } => return None,
        other => unreachable!("nobody ends these conversations: {other:?}"),
    })
}

#[test]
fn conversations_are_written_for_the_session_in_typescript() {
    let conversations: Vec<_> = (0..CONVERSATIONS).map(|seed| Conversation::new(seed).converse(seed)).collect();
    let said: usize = conversations.iter().map(|script| script["steps"].as_array().unwrap().len()).sum();
    assert!(said > 100 * CONVERSATIONS as usize, "{said} steps");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/differential");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("sessions.json"), serde_json::to_vec(&conversations).unwrap()).unwrap();
}
