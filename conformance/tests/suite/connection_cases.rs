//! What a connection does under stress, in every language, connected or accepted, over every transport.
//!
//! The suite is the other end, so that it can be slow, or another process is, so that it can be killed.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use panpipe::plain::blocking::{Connection, Listener, connect, listen};
use panpipe_conformance::{Answer, Failure, Flow, Job, Outcome, Pause, Serving, Step, to_hex};

use crate::Case;
use crate::peer::{PANPIPE_CLIENTS, PANPIPE_LISTENERS, Peer, Process, RUST};
use crate::place::{self, Folder, places};
use crate::server_cases::memory;
use crate::skip::Skips;

struct ConnectionCase {
    name: &'static str,
    /// What the peer does.
    steps: &'static [Step],
    /// On how many connections, each.
    connections: usize,
    /// What the other end does if it is a process of its own, to be killed.
    victim: &'static [Step],
    /// What the suite does at the other end, and what it wants to see.
    check: fn(&mut Meeting) -> Result<(), String>,
    /// Its message is larger than any packet.
    needs_stream: bool,
    /// It is the same for who connects and for who accepts, and takes its time.
    once: bool,
}

const CASE: ConnectionCase = ConnectionCase {
    name: "",
    steps: &[],
    connections: 1,
    victim: &[],
    check: |_| Ok(()),
    needs_stream: false,
    once: false,
};

/// Texts that take turns in a flow: the first are small, and half of all are large.
const SMALL: usize = 8;
const ALL: usize = 16;
const LARGE_BYTES: usize = 60_000;
/// Small ones are what languages copy, and this one is as large as those get.
const LAST_SMALL: usize = SMALL - 1;
const LAST_SMALL_BYTES: usize = 12_000;
/// The text of the largest size that `max` allows if nothing else is said.
const HUGE: usize = ALL;
const HUGE_BYTES: usize = 16 << 20;

/// Milliseconds after which what waits is given up.
const PENDING: u64 = 50;
/// So many texts that they fit in no two buffers: about 100 MB.
const TOO_MANY: usize = 3_500;
const TOO_MANY_SMALL: usize = 70_000;
/// So many that they are 64 MiB.
const MANY: usize = (64 << 20) / (LARGE_BYTES / 2);
/// How much more memory a process may take, whatever its peer does.
const MOST_MEMORY: u64 = 24 << 20;

const fn flow(send: usize, recv: usize, of: usize, within: u64) -> Step {
    Step::Flow(Flow { send, recv, of, within })
}

const PAUSE: Step = Step::Pause(Pause::Pause);
const SEND: Step = flow(1, 0, SMALL, 0);
const ANY: Step = Step::Recv;
const RECV: Step = flow(0, 1, SMALL, 0);
const GIVE_UP_RECV: Step = flow(0, 1, SMALL, PENDING);
const GIVE_UP_SEND: Step = flow(TOO_MANY, 0, ALL, PENDING);

const CASES: &[ConnectionCase] = &[
    ConnectionCase {
        name: "cancel_of_a_pending_recv",
        steps: &[GIVE_UP_RECV, SEND, RECV, GIVE_UP_RECV, GIVE_UP_RECV, SEND, RECV],
        check: cancel_of_a_pending_recv,
        ..CASE
    },
    ConnectionCase {
        name: "cancel_of_a_pending_send",
        steps: &[GIVE_UP_SEND, GIVE_UP_SEND, GIVE_UP_SEND, PAUSE, flow(20, 0, ALL, 0)],
        check: cancel_of_a_pending_send,
        ..CASE
    },
    ConnectionCase {
        name: "a_slow_reader_costs_its_sender_no_memory",
        steps: &[PAUSE, flow(TOO_MANY, 0, ALL, 4 * PENDING), PAUSE],
        check: |meeting| a_slow_reader(meeting, TOO_MANY, ALL),
        ..CASE
    },
    ConnectionCase {
        name: "a_slow_reader_of_small_messages_costs_their_sender_no_memory",
        steps: &[PAUSE, flow(TOO_MANY_SMALL, 0, SMALL, 4 * PENDING), PAUSE],
        check: |meeting| a_slow_reader(meeting, TOO_MANY_SMALL, SMALL),
        ..CASE
    },
    ConnectionCase {
        name: "messages_that_nobody_receives_cost_no_memory",
        steps: &[flow(0, 1, ALL, 0), PAUSE, flow(0, TOO_MANY - 1, ALL, 0)],
        check: messages_that_nobody_receives_cost_no_memory,
        ..CASE
    },
    ConnectionCase {
        name: "many_messages_both_ways",
        steps: &[flow(2_000, 2_000, SMALL, 0)],
        check: many_messages_both_ways,
        ..CASE
    },
    ConnectionCase {
        name: "both_sides_write_64_mib_at_once",
        steps: &[flow(MANY, MANY, ALL, 0)],
        check: both_sides_write_64_mib_at_once,
        once: true,
        ..CASE
    },
    ConnectionCase {
        name: "a_huge_message",
        steps: &[Step::Call(HUGE)],
        check: a_huge_message,
        needs_stream: true,
        once: true,
        ..CASE
    },
    ConnectionCase {
        name: "two_hundred_connections",
        steps: &[RECV, SEND],
        connections: 200,
        check: two_hundred_connections,
        ..CASE
    },
    ConnectionCase {
        name: "killed_during_a_call",
        steps: &[Step::Call(0)],
        victim: &[RECV, PAUSE],
        check: killed_during_calls,
        ..CASE
    },
    ConnectionCase {
        name: "killed_during_many_calls",
        steps: &[Step::Calls { calls: SMALL }],
        // They come in any order.
        victim: &[ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, PAUSE],
        check: killed_during_calls,
        ..CASE
    },
    ConnectionCase {
        name: "killed_while_a_send_waits",
        steps: &[flow(TOO_MANY, 0, ALL, 0)],
        victim: &[flow(0, 1, ALL, 0), PAUSE],
        check: killed_while_a_send_waits,
        ..CASE
    },
];

/// How long a case may take: a net, not a measure.
const LONGEST: Duration = Duration::from_secs(30);
/// How soon a killed peer is noticed, far below the timeout of the addresses.
const AT_ONCE: Duration = Duration::from_secs(3);
const OPTIONS: &str = "protocol=plain&timeout=20s";

/// The cases of one language at one place, connected or accepted: one process does them in turn.
struct Batch {
    peer: Peer,
    place: &'static str,
    accepts: bool,
    cases: Vec<&'static ConnectionCase>,
    results: OnceLock<Vec<Result<(), String>>>,
}

pub(crate) fn cases(folder: &Arc<Folder>, skips: &mut Skips) -> Vec<Case> {
    let mut cases = Vec::new();
    for method in panpipe::methods() {
        // What names a transport's address does nothing to its connections: one place is enough.
        let place = match method.scheme {
            // Messages of any size are for those who are alone on their FIFOs.
            "fifo" => "fifo_exclusive",
            scheme => places(scheme)[0],
        };
        for (accepts, role, peers) in [(false, "client", PANPIPE_CLIENTS), (true, "server", PANPIPE_LISTENERS)] {
            for &peer in peers {
                let has_any_size = !method.moves_packets || place::is_websocket(place);
                let applies = |case: &&ConnectionCase| !(case.needs_stream && !has_any_size || case.once && accepts);
                let named = |case: &'static ConnectionCase| {
                    let name = format!("{place}::{role}::{}::{}", peer.name, case.name);
                    (!skips.matches(&name)).then_some((name, case))
                };
                let (names, of_batch): (Vec<_>, Vec<_>) = CASES.iter().filter(applies).filter_map(named).unzip();
                let batch = Arc::new(Batch { peer, place, accepts, cases: of_batch, results: OnceLock::new() });
                for (number, name) in names.into_iter().enumerate() {
                    let (batch, folder) = (Arc::clone(&batch), Arc::clone(folder));
                    let run = move || batch.results.get_or_init(|| batch.run(&folder))[number].clone();
                    cases.push((number, Case::new(name, run)));
                }
            }
        }
    }
    // Neighbours are of different batches: those of one would wait for each other.
    cases.sort_by_key(|(number, _)| *number);
    cases.into_iter().map(|(_, case)| case).collect()
}

/// Small ones of different lengths, large ones, and the huge one.
fn texts() -> Vec<String> {
    (0..=HUGE).map(|number| format!("{}*{}", to_hex(&[letter(number)]), length(number))).collect()
}

/// A text as bytes.
fn text(number: usize) -> Vec<u8> {
    vec![letter(number); length(number)]
}

/// Each text is one letter again and again; a part of one in place of another is seen.
fn letter(number: usize) -> u8 {
    b'a' + number as u8
}

fn length(number: usize) -> usize {
    match number {
        HUGE => HUGE_BYTES,
        SMALL.. => LARGE_BYTES,
        LAST_SMALL => LAST_SMALL_BYTES,
        _ => 1 + 9 * number,
    }
}

impl Batch {
    /// Does all cases; what goes wrong in one ends its process, and the next begins with a new one.
    fn run(&self, folder: &Arc<Folder>) -> Vec<Result<(), String>> {
        let mut results = Vec::new();
        while results.len() < self.cases.len() {
            if let Err(reason) = self.run_on(folder, &mut results) {
                results.push(Err(reason));
            }
        }
        results
    }

    fn run_on(&self, folder: &Arc<Folder>, results: &mut Vec<Result<(), String>>) -> Result<(), String> {
        let cases = &self.cases[results.len()..];
        let ends: Vec<_> = cases.iter().map(|case| self.other_end(case, folder)).collect::<Result<_, _>>()?;
        let job = |(case, end): (&&ConnectionCase, &OtherEnd)| Job {
            address: match self.accepts {
                true => end.address().to_owned(),
                false => place::reached(self.place, end.address(), OPTIONS, folder),
            },
            listen: self.accepts,
            connections: case.connections,
            steps: [self.hello(case), case.steps].concat(),
        };
        let mut process = self.peer.converse(texts(), cases.iter().zip(&ends).map(job).collect())?;
        for (&case, end) in cases.iter().zip(ends) {
            let (sender, done) = channel();
            let says_hello = !self.hello(case).is_empty();
            let (place, folder) = (self.place, Arc::clone(folder));
            thread::spawn(move || {
                let reach = |address: &str| place::reached(place, address, OPTIONS, &folder);
                let checked = Meeting::new(process, end, case, says_hello, reach).and_then(|mut meeting| {
                    (case.check)(&mut meeting)?;
                    Ok(meeting.process)
                });
                sender.send(checked)
            });
            let checked = done.recv_timeout(LONGEST);
            process = checked.unwrap_or_else(|reason| Err(format!("the case came to no end: {reason}")))?;
            results.push(Ok(()));
        }
        Ok(())
    }

    /// What the peer does first where it takes a message for an accepting end to see a connection at all.
    fn hello(&self, case: &ConnectionCase) -> &'static [Step] {
        match place::begins_with_a_message(self.place) {
            true if self.accepts => &[ANY],
            // A victim is not greeted: it answers no call.
            true if case.victim.is_empty() => &[Step::Call(0)],
            _ => &[],
        }
    }

    fn other_end(&self, case: &ConnectionCase, folder: &Folder) -> Result<OtherEnd, String> {
        if let Some(child) = place::child(self.place, OPTIONS) {
            return OtherEnd::child(&child, case, folder);
        }
        let address = place::address(self.place, OPTIONS, folder)?;
        if self.accepts {
            return Ok(OtherEnd::Connects(address));
        }
        if case.victim.is_empty() {
            return listen(&address).map(OtherEnd::Listens).map_err(|error| error.to_string());
        }
        let job = Job { address, listen: true, steps: case.victim.to_vec(), ..Job::default() };
        let process = RUST.converse(texts(), vec![job])?;
        let [serving] = process.next_answer()?;
        Ok(OtherEnd::Victim(process, serving))
    }
}

/// What the peer is to meet.
enum OtherEnd {
    /// The suite listens.
    Listens(Listener),
    /// A process listens, to be killed.
    Victim(Process, Serving),
    /// The peer is to start a child: one that hands everything on to the suite, or one that kills itself.
    Child { address: String, relayed: Option<Listener> },
    /// The suite or the process is to connect; the peer listens there.
    Connects(String),
}

impl OtherEnd {
    fn child(place: &place::ChildPlace, case: &ConnectionCase, folder: &Folder) -> Result<Self, String> {
        if !case.victim.is_empty() {
            // As a process that is killed from outside it reads what it is to receive, and pauses.
            let read: usize = (0..case.victim.len() - 1).map(|number| 4 + length(number)).sum();
            let script = format!("head -c {read} >&2 && kill -s KILL $$");
            let address = place.address(&["sh", "-c", &script].map(str::to_owned));
            return Ok(OtherEnd::Child { address, relayed: None });
        }
        let path = folder.path();
        let listener = listen(&format!("unix:{path}?{OPTIONS}")).map_err(told)?;
        Ok(OtherEnd::Child { address: place.address(&Peer::relay(path)), relayed: Some(listener) })
    }

    fn address(&self) -> &str {
        match self {
            OtherEnd::Listens(listener) => listener.address(),
            OtherEnd::Victim(_, serving) => &serving.address,
            OtherEnd::Child { address, .. } | OtherEnd::Connects(address) => address,
        }
    }
}

/// The peer at its job, and the other ends of its connections.
struct Meeting {
    process: Process,
    connections: Vec<Connection>,
    victim: Option<Process>,
    says_hello: bool,
}

impl Meeting {
    fn new(
        process: Process,
        end: OtherEnd,
        case: &ConnectionCase,
        says_hello: bool,
        reach: impl Fn(&str) -> String,
    ) -> Result<Self, String> {
        let mut meeting = Meeting { process, connections: Vec::new(), victim: None, says_hello };
        match end {
            OtherEnd::Victim(victim, _) => meeting.victim = Some(victim),
            OtherEnd::Child { relayed: None, .. } => {}
            OtherEnd::Listens(listener) | OtherEnd::Child { relayed: Some(listener), .. } => {
                for _ in 0..case.connections {
                    let connection = listener.accept().map_err(told)?.ok_or("nobody can come any more")?;
                    if says_hello {
                        connection.send(receive(&connection)?).map_err(told)?;
                    }
                    meeting.connections.push(connection);
                }
            }
            OtherEnd::Connects(_) => {
                let [Serving { address, .. }] = meeting.process.next_answer()?;
                let address = reach(&address);
                if !case.victim.is_empty() {
                    let hello: &[Step] = if says_hello { &[SEND] } else { &[] };
                    let job = Job { address, steps: [hello, case.victim].concat(), ..Job::default() };
                    meeting.victim = Some(RUST.converse(texts(), vec![job])?);
                    return Ok(meeting);
                }
                for _ in 0..case.connections {
                    let connection = connect(&address).map_err(told)?;
                    if says_hello {
                        connection.send(text(0)).map_err(told)?;
                    }
                    meeting.connections.push(connection);
                }
            }
        }
        Ok(meeting)
    }

    /// What the steps have brought, up to a pause or the end.
    fn answers(&self) -> Result<Vec<Answer>, String> {
        let mut answers = opened(&self.process)?;
        answers.retain(|answer| !self.says_hello || *answer != Answer::Text(0));
        Ok(answers)
    }

    /// The same, once the other end was killed where it paused.
    fn answers_to_a_kill(&mut self) -> Result<Vec<Answer>, String> {
        let mut begun = Instant::now();
        // A child kills itself.
        if let Some(victim) = &mut self.victim {
            opened(victim)?;
            begun = Instant::now();
            victim.kill()?;
        }
        let answers = self.answers()?;
        let elapsed = begun.elapsed();
        match elapsed < AT_ONCE {
            true => Ok(answers),
            false => Err(format!("it took {elapsed:?} to notice: {answers:?}")),
        }
    }

    /// The same for steps that are all flows: how many were sent and received in each.
    fn flows(&self) -> Result<Vec<(usize, usize)>, String> {
        let flow = |answer| match answer {
            Answer::Flowed { sent, received } => Ok((sent, received)),
            answer => Err(format!("a flow was broken off: {answer:?}")),
        };
        self.answers()?.into_iter().map(flow).collect()
    }
}

fn cancel_of_a_pending_recv(meeting: &mut Meeting) -> Result<(), String> {
    for number in 0..2 {
        // It sends when it has given up, and only then there is something to receive.
        receive_texts(&meeting.connections[0], number..number + 1, SMALL)?;
        send_texts(&meeting.connections[0], number..number + 1, SMALL, &AtomicUsize::new(0))?;
    }
    equal(&meeting.flows()?, &vec![(0, 0), (1, 0), (0, 1), (0, 0), (0, 0), (1, 0), (0, 1)])
}

fn cancel_of_a_pending_send(meeting: &mut Meeting) -> Result<(), String> {
    let sent: Vec<_> = meeting.flows()?.into_iter().map(|(sent, _)| sent).collect();
    if sent.len() != 3 || sent.contains(&TOO_MANY) {
        return Err(format!("no send waited: {sent:?}"));
    }
    meeting.process.go_on()?;
    receive_what_was_sent(&meeting.connections[0], ALL, &sent, 20)?;
    equal(&meeting.flows()?, &vec![(20, 0)])
}

fn a_slow_reader(meeting: &mut Meeting, most: usize, of: usize) -> Result<(), String> {
    equal(&meeting.answers()?, &vec![])?;
    let memory = Memory::of(meeting.process.id())?;
    meeting.process.go_on()?;
    let flows = meeting.flows()?;
    memory.has_hardly_grown()?;
    let [(sent, _)] = flows[..] else { return Err(format!("one flow is wanted, not {flows:?}")) };
    if sent == most {
        return Err("no send waited".into());
    }
    meeting.process.go_on()?;
    receive_what_was_sent(&meeting.connections[0], of, &[sent], 0)?;
    equal(&meeting.answers()?, &vec![])
}

fn messages_that_nobody_receives_cost_no_memory(meeting: &mut Meeting) -> Result<(), String> {
    let Meeting { process, connections, .. } = &mut *meeting;
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        send_texts(&connections[0], 0..1, ALL, &sent)?;
        let [.., Answer::Flowed { .. }] = opened(process)?[..] else { return Err("nothing was received".to_owned()) };
        let memory = Memory::of(process.id())?;
        let sending = scope.spawn(|| send_texts(&connections[0], 1..TOO_MANY, ALL, &sent));
        wait_until_still(&sent);
        let waited = sent.load(Ordering::Relaxed) < TOO_MANY;
        let grown = memory.has_hardly_grown();
        process.go_on()?;
        sending.join().map_err(|_| "sending panicked")??;
        grown?;
        if waited { Ok(()) } else { Err("the peer took everything in".into()) }
    })?;
    equal(&meeting.flows()?, &vec![(0, TOO_MANY - 1)])
}

fn many_messages_both_ways(meeting: &mut Meeting) -> Result<(), String> {
    let connection = &meeting.connections[0];
    thread::scope(|scope| {
        let sending = scope.spawn(|| send_texts(connection, 0..2_000, SMALL, &AtomicUsize::new(0)));
        receive_texts(connection, 0..2_000, SMALL)?;
        sending.join().map_err(|_| "sending panicked")?
    })?;
    equal(&meeting.flows()?, &vec![(2_000, 2_000)])
}

fn both_sides_write_64_mib_at_once(meeting: &mut Meeting) -> Result<(), String> {
    // Nobody receives on this side before everything is sent: the peer must go on receiving while it cannot send.
    send_texts(&meeting.connections[0], 0..MANY, ALL, &AtomicUsize::new(0))?;
    receive_texts(&meeting.connections[0], 0..MANY, ALL)?;
    equal(&meeting.flows()?, &vec![(MANY, MANY)])
}

fn a_huge_message(meeting: &mut Meeting) -> Result<(), String> {
    let asked = receive(&meeting.connections[0])?;
    if asked != text(HUGE) {
        return Err(format!("{} bytes came", asked.len()));
    }
    meeting.connections[0].send(asked).map_err(told)?;
    equal(&meeting.answers()?, &vec![Answer::Text(HUGE)])
}

fn two_hundred_connections(meeting: &mut Meeting) -> Result<(), String> {
    // They come to an end one after the other; all are open until the first has.
    for connection in &meeting.connections {
        send_texts(connection, 0..1, SMALL, &AtomicUsize::new(0))?;
    }
    for connection in &meeting.connections {
        receive_texts(connection, 0..1, SMALL)?;
    }
    equal(&meeting.flows()?, &[(0, 1), (1, 0)].repeat(meeting.connections.len()))
}

fn killed_during_calls(meeting: &mut Meeting) -> Result<(), String> {
    let answers = meeting.answers_to_a_kill()?;
    let calls = match &answers[..] {
        [Answer::Many(calls)] => calls,
        _ => &answers,
    };
    // The command says nothing of `ran`.
    let is_lost = |answer: &Answer| {
        matches!(answer, Answer::Failure(Failure { code, ran, text })
            if code == "connection-lost" && ran.as_deref().is_none_or(|ran| ran == "maybe")
                // How a child has ended, its parent knows.
                && (meeting.victim.is_some() || text.contains("the child was killed by signal 9 (SIGKILL)")))
    };
    match !calls.is_empty() && calls.iter().all(is_lost) {
        true => Ok(()),
        false => Err(format!("connection-lost is wanted, which may have run, not {answers:?}")),
    }
}

fn killed_while_a_send_waits(meeting: &mut Meeting) -> Result<(), String> {
    match &meeting.answers_to_a_kill()?[..] {
        [Answer::Failure(Failure { code, .. })] if code == "connection-lost" => Ok(()),
        answers => Err(format!("connection-lost is wanted, not {answers:?}")),
    }
}

/// What the steps of a process have brought, up to a pause or the end.
fn opened(process: &Process) -> Result<Vec<Answer>, String> {
    match process.next_answer()? {
        Outcome::Opened { answers } => Ok(answers),
        Outcome::Failed(failure) => Err(format!("there is no connection: {failure:?}")),
    }
}

fn told(error: panpipe::Error) -> String {
    error.to_string()
}

fn receive(connection: &Connection) -> Result<panpipe::Bytes, String> {
    connection.recv().map_err(told)?.ok_or("the connection has ended".into())
}

/// Receives those of the first `of` texts, which take turns, that have these numbers.
fn receive_texts(connection: &Connection, numbers: Range<usize>, of: usize) -> Result<(), String> {
    let texts: Vec<_> = (0..of).map(text).collect();
    numbers.into_iter().try_for_each(|number| equal(&&receive(connection)?[..], &&texts[number % of][..]))
}

/// Sends them, and counts them in `sent`.
fn send_texts(connection: &Connection, numbers: Range<usize>, of: usize, sent: &AtomicUsize) -> Result<(), String> {
    let texts: Vec<_> = (0..of).map(text).collect();
    for number in numbers {
        connection.send(&texts[number % of]).map_err(told)?;
        sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Receives to the end what flows of the first `of` texts have sent, and then `last` more.
///
/// Each flow gave one more up, which comes whole or not at all.
fn receive_what_was_sent(connection: &Connection, of: usize, flows: &[usize], last: usize) -> Result<(), String> {
    let mut all = Vec::new();
    for sent in flows {
        all.extend(vec![true; *sent]);
        all.push(false);
    }
    all.extend(vec![true; last]);
    let texts: Vec<_> = (0..of).map(text).collect();
    let mut wanted = all.into_iter().enumerate().map(|(number, surely)| (&texts[number % of], surely));
    while let Some(message) = connection.recv().map_err(told)? {
        match wanted.find(|(text, surely)| *surely || **text == message) {
            Some((text, _)) => equal(&&message[..], &&text[..])?,
            None => return Err("more came than was sent".into()),
        }
    }
    equal(&wanted.filter(|(_, surely)| *surely).count(), &0)
}

/// Waits until a number has not changed for a while.
fn wait_until_still(number: &AtomicUsize) {
    let (mut last, mut since) = (number.load(Ordering::Relaxed), Instant::now());
    while since.elapsed() < Duration::from_millis(4 * PENDING) {
        thread::sleep(Duration::from_millis(5));
        let now = number.load(Ordering::Relaxed);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}

fn equal<T: PartialEq + std::fmt::Debug + ?Sized>(is: &T, wanted: &T) -> Result<(), String> {
    match is == wanted {
        true => Ok(()),
        false => {
            let [is, wanted] = [is, wanted].map(|each| format!("{each:.200?}").chars().take(200).collect::<String>());
            Err(format!("{wanted} is wanted, not {is}"))
        }
    }
}

/// The memory of a process before something happens.
struct Memory {
    pid: u32,
    before: u64,
}

impl Memory {
    fn of(pid: u32) -> Result<Self, String> {
        let before = memory(pid, "VmRSS").map_err(|reason| format!("measuring memory: {reason}"))?;
        // From here on the peak counts (proc_pid_clear_refs(5)).
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").map_err(|reason| format!("clear_refs: {reason}"))?;
        Ok(Memory { pid, before })
    }

    fn has_hardly_grown(&self) -> Result<(), String> {
        let peak = memory(self.pid, "VmHWM").map_err(|reason| format!("measuring memory: {reason}"))?;
        match peak.saturating_sub(self.before) {
            0..=MOST_MEMORY => Ok(()),
            grown => Err(format!("its memory grew by {grown} bytes")),
        }
    }
}
