//! Plays sessions.json and bad.json: vectors/protocol/README.md.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::frame::{HEAD, Head};
use super::super::{Body, Failure, Flags, PanpipeEvent, Payload, Policy, Request, Side};
use super::frames::{bytes, encode, flags};
use super::play::Played;
use crate::error::Ran;
use crate::plain::CallId;
use crate::session::Session;

struct Script {
    played: Played,
    calls: HashMap<String, CallId>,
    /// What came as one-way messages, by what the script calls them.
    sends: HashMap<String, Request>,
    /// The sizes of the items of each call that were not taken.
    items: HashMap<CallId, VecDeque<usize>>,
    /// Events that the script has not asked for yet.
    taken: VecDeque<PanpipeEvent>,
    /// Failures that came at once.
    early: Vec<Value>,
}

impl Script {
    fn new(case: &Value) -> Self {
        let side = if case["side"] == "client" { Side::Client } else { Side::Server };
        let played = Played::new(side, case["remote"] == true);
        Script {
            played,
            calls: HashMap::new(),
            sends: HashMap::new(),
            items: HashMap::new(),
            taken: VecDeque::new(),
            early: Vec::new(),
        }
    }

    fn call(&self, action: &Value) -> CallId {
        self.calls[action["call"].as_str().unwrap()]
    }

    fn name_of(&self, call: CallId) -> String {
        let known = self.calls.iter().find(|(_, id)| **id == call);
        known.map_or_else(|| format!("unknown {}", call.0), |(name, _)| name.clone())
    }

    fn act(&mut self, what: &str, action: &Value, suffix: &str) {
        let now = self.played.now;
        let payload = bytes(&action["payload"]);
        let flags = flags(&action["flags"]);
        let body = Body::Slice(&payload);
        match what {
            "call" => {
                let name = format!("{}{suffix}", action["as"].as_str().unwrap());
                let deadline = action["timeout"].as_u64().filter(|timeout| *timeout > 0);
                let deadline = deadline.map(|timeout| now + Duration::from_millis(timeout));
                let method = action["method"].as_str().unwrap();
                match self.played.session.call(method, flags, body, deadline, now) {
                    Ok(call) => drop(self.calls.insert(name, call)),
                    Err(error) => self.early.push(failed(&name, error.code(), error.may_have_run())),
                }
            }
            "send" => self.played.session.send(action["method"].as_str().unwrap(), flags, body, now).unwrap(),
            "reply" => self.played.session.reply(self.call(action), flags, body),
            "fail" => self.played.session.fail(self.call(action), &payload),
            "item" => self.played.session.item(self.call(action), flags, body).unwrap(),
            "end" => self.played.session.end(self.call(action)),
            "open" => self.played.session.open(self.call(action), Policy::default()),
            "cancel" => {
                if let Some(ran) = self.played.session.cancel(self.call(action)) {
                    let name = self.name_of(self.call(action));
                    self.early.push(failed(&name, "cancelled", ran));
                }
            }
            "taken" => {
                let call = self.call(action);
                let size = self.items.get_mut(&call).unwrap().pop_front().unwrap();
                self.played.session.taken(call, size);
            }
            "done" => self.played.session.handled(&self.sends[action["send"].as_str().unwrap()]),
            "flush" => {
                let flush = self.played.session.flush(now).unwrap();
                self.calls.insert(action["as"].as_str().unwrap().to_owned(), flush);
            }
            "goodbye" => self.played.session.say_goodbye(),
            "wait" => self.played.wait(action["ms"].as_u64().unwrap()),
            other => panic!("the script does {other}"),
        }
    }

    /// Events as data, with the names that the script wants for what comes.
    fn events(&mut self, wanted: &[Value]) -> Vec<Value> {
        let mut told = std::mem::take(&mut self.early);
        self.take_in();
        while let Some(event) = self.taken.pop_front() {
            let name = |kind: &str| {
                let next = wanted.get(told.len()).and_then(|wanted| wanted[kind]["as"].as_str());
                next.unwrap_or("unnamed").to_owned()
            };
            let value = match event {
                PanpipeEvent::Call(request) => {
                    let name = name("call");
                    self.calls.insert(name.clone(), request.id);
                    let timeout = request.deadline.map_or(0, |at| (at - self.played.now).as_millis() as u64);
                    let mut value = told_request(&name, &request);
                    value["timeout"] = json!(timeout);
                    json!({"call": value})
                }
                PanpipeEvent::Send(request) => {
                    let name = name("send");
                    let value = json!({"send": told_request(&name, &request)});
                    self.sends.insert(name, request);
                    value
                }
                PanpipeEvent::Item { call, payload } => {
                    self.items.entry(call).or_default().push_back(payload.bytes.len());
                    json!({"item": self.told(call, &payload)})
                }
                PanpipeEvent::Reply { call, payload } => json!({"reply": self.told(call, &payload)}),
                PanpipeEvent::Failed { call, failure } => match failure {
                    Failure::Local(error) => failed(&self.name_of(call), error.code(), error.may_have_run()),
                    Failure::Remote(map) => {
                        let (code, ran) = code_and_ran(&map);
                        failed(&self.name_of(call), &code, ran)
                    }
                },
                PanpipeEvent::End { call } => json!({"end": {"call": self.name_of(call)}}),
                PanpipeEvent::Opened { call } => json!({"open": {"call": self.name_of(call)}}),
                PanpipeEvent::Cancelled { call, .. } => json!({"cancelled": {"call": self.name_of(call)}}),
                PanpipeEvent::Room { .. } => continue,
                PanpipeEvent::Flushed { flush } => json!({"flushed": {"flush": self.name_of(flush)}}),
                PanpipeEvent::Lost(_) => unreachable!("no session of the vectors outlasts its connection"),
                PanpipeEvent::Draining => json!({"draining": true}),
                PanpipeEvent::Ended(error) => json!({"ended": error.map(|error| error.code())}),
            };
            told.push(value);
        }
        told
    }

    fn told(&self, call: CallId, payload: &Payload) -> Value {
        told_payload(json!({"call": self.name_of(call)}), payload.flags, &payload.bytes)
    }

    fn step(&mut self, step: &Value) {
        if let Some(action) = step.get("do") {
            let (what, action) = action.as_object().unwrap().iter().next().unwrap();
            match step["times"].as_u64() {
                None => self.act(what, action, ""),
                Some(times) => (0..times).for_each(|number| self.act(what, action, &number.to_string())),
            }
        } else if let Some(reads) = step.get("reads") {
            for part in frames(reads) {
                self.played.reads(&part);
            }
            self.take_in();
        } else if let Some(wanted) = step.get("events") {
            let wanted = wanted.as_array().unwrap();
            let told = self.events(wanted);
            assert_eq!(told.len(), wanted.len(), "told {told:.500?}, wanted {wanted:.500?}");
            for (told, wanted) in told.iter().zip(wanted) {
                let (kind, wanted) = wanted.as_object().unwrap().iter().next().unwrap();
                assert!(same(&told[kind], wanted), "told {told:.500?}, wanted {kind} {wanted:.500?}");
            }
        } else if let Some(wanted) = step.get("writes") {
            self.check_writes(wanted.as_array().unwrap());
        } else if step["link"] == "ends" {
            self.played.session.input_mut().end();
        } else {
            panic!("a step that is none: {step}");
        }
    }

    fn check_writes(&mut self, wanted: &[Value]) {
        // A driver takes what came before it writes; the script asks for it later.
        self.take_in();
        let written = self.played.writes();
        let mut rest = &written[..];
        let mut next = || -> Option<Vec<u8>> {
            let head = Head::read(rest)?;
            let (frame, left) = rest.split_at(HEAD + head.length as usize);
            rest = left;
            Some(frame.to_vec())
        };
        for wanted in wanted {
            let times = wanted["times"].as_u64();
            let frame = if times.is_some() { &wanted["frame"] } else { wanted };
            let mut frame = frame.clone();
            for _ in 0..times.unwrap_or(1) {
                let written = next().unwrap_or_else(|| panic!("nothing written, wanted {frame:.300}"));
                check_frame(&written, &frame);
                if let Some(id) = frame["id"].as_u64().filter(|_| times.is_some()) {
                    frame["id"] = json!(id + wanted["step"].as_u64().unwrap_or(2));
                }
            }
        }
        let more = next();
        assert!(more.is_none(), "written too: {:?}", Head::read(&more.unwrap()));
    }

    fn take_in(&mut self) {
        while let Some(event) = self.played.session.next_event(self.played.now) {
            self.taken.push_back(event);
        }
    }
}

fn check_frame(written: &[u8], wanted: &Value) {
    let head = Head::read(written).unwrap();
    match wanted["kind"].as_str() {
        Some("HELLO") if wanted.get("version").is_none() => {
            assert_eq!(head.kind, 1, "wanted a HELLO");
        }
        Some("ERROR") if wanted.get("error").is_some() => {
            assert_eq!((head.kind, Some(head.id)), (5, wanted["id"].as_u64()), "wanted {wanted}");
            let (code, ran) = code_and_ran(&written[HEAD..]);
            let wanted = &wanted["error"];
            assert_eq!(wanted["code"], code);
            assert_eq!(wanted["ran"] == "no", ran == Ran::No, "{wanted}");
        }
        _ => {
            let wanted_bytes = encode(wanted);
            assert!(written == wanted_bytes, "wrote {head:?}, wanted {wanted:.300}");
        }
    }
}

/// What the user of a call gets: what cannot be read fails that call alone.
fn code_and_ran(map: &[u8]) -> (String, Ran) {
    match panpipe_values::Failure::decode(map) {
        Ok(failure) => (failure.code, if failure.did_not_run { Ran::No } else { Ran::Maybe }),
        Err(_) => ("bad-peer".into(), Ran::Maybe),
    }
}

fn told_request(name: &str, request: &Request) -> Value {
    let payload = request.payload();
    let value = json!({"as": name, "method": request.name()});
    told_payload(value, payload.flags, &payload.bytes)
}

fn told_payload(mut value: Value, flags: Flags, bytes: &[u8]) -> Value {
    value["flags"] = json!(flags.0);
    value["payload"] = json!(bytes);
    value
}

fn failed(call: &str, code: &str, ran: Ran) -> Value {
    json!({"error": {"call": call, "code": code, "ran": ran.to_string()}})
}

/// Whether what was told is what was wanted, where flags and payloads are written in words.
fn same(told: &Value, wanted: &Value) -> bool {
    if !wanted.is_object() {
        return told == wanted;
    }
    let is_payload = told.get("payload").is_some();
    let payload = !is_payload || told["payload"] == json!(bytes(&wanted["payload"]));
    let flags_are = !is_payload || told["flags"] == json!(flags(&wanted["flags"]).0);
    let others = ["as", "call", "method", "timeout", "code", "ran", "flush"];
    payload && flags_are && others.iter().all(|key| wanted.get(key).is_none() || told[*key] == wanted[*key])
}

/// Frames and hex texts as bytes.
fn frames(list: &Value) -> Vec<Vec<u8>> {
    let list = match list {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    };
    let mut parts = Vec::new();
    for part in list {
        if part.is_string() {
            parts.push(bytes(&part));
        } else if let Some(times) = part["times"].as_u64() {
            let mut frame = part["frame"].clone();
            for _ in 0..times {
                match part.get("hex") {
                    Some(hex) => parts.push(bytes(hex)),
                    None => parts.push(encode(&frame)),
                }
                if let Some(id) = frame["id"].as_u64() {
                    frame["id"] = json!(id + part["step"].as_u64().unwrap_or(2));
                }
            }
        } else {
            parts.push(encode(&part));
        }
    }
    parts
}

fn play(name: &Value, script: impl FnOnce() + std::panic::UnwindSafe) -> bool {
    let outcome = std::panic::catch_unwind(script);
    if outcome.is_err() {
        eprintln!("in {name}");
    }
    outcome.is_ok()
}

#[test]
fn sessions_go_as_the_vectors_say() {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("../../../../../vectors/protocol/sessions.json")).unwrap();
    assert!(cases.len() >= 30);
    let played = cases.iter().filter(|case| {
        play(&case["name"], || {
            let mut script = Script::new(case);
            for step in case["steps"].as_array().unwrap() {
                script.step(step);
            }
        })
    });
    assert_eq!(played.count(), cases.len());
}

#[test]
fn bad_peers_end_as_the_vectors_say() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../../../../vectors/protocol/bad.json")).unwrap();
    assert!(cases.len() >= 40);
    let played = cases.iter().filter(|case| {
        play(&case["name"], || {
            let mut script = Script::new(case);
            if case["hello"] != false {
                script.step(&json!({"reads": [{"kind": "HELLO", "version": 1, "settings": "80"}]}));
            }
            for step in case["before"].as_array().map(Vec::as_slice).unwrap_or_default() {
                script.step(step);
            }
            script.step(&json!({"reads": case["reads"]}));
            let error = loop {
                match script.taken.pop_front() {
                    Some(PanpipeEvent::Ended(Some(error))) => break error,
                    Some(PanpipeEvent::Ended(None)) => panic!("it ended without an error"),
                    Some(_) => {}
                    None => panic!("it goes on"),
                }
            };
            assert_eq!(error.code(), case["code"].as_str().unwrap(), "{error}");
            let says = case["says"].as_str().unwrap();
            assert!(error.to_string().contains(says), "{error} says nothing of {says}");
        })
    });
    assert_eq!(played.count(), cases.len());
}
