//! Every case of `requests` and `responses` in `vectors/websocket.json`: requests to every server, answers to every client.

use std::fs;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use panpipe_conformance::{Began, Failure, Job, MeetRequest, Meeting, Outcome};
use serde_json::Value as Data;

use crate::frames::HELLO;
use crate::peer::{PANPIPE_CLIENTS, PANPIPE_SERVERS, PROTOCOL_CLIENTS, PROTOCOL_SERVERS, Peer};
use crate::place::Folder;
use crate::stream::{Listener, Stream};
use crate::victim::Shared;
use crate::web_victim::WebVictim;
use crate::written_websocket::{
    BINARY, CLOSE, Frame, Sender, accept, bytes, check_upgrade, field, goodbye, name_of, read_head, text,
    write_in_pieces,
};
use crate::{Case, Result};

/// What is longer does not come byte by byte.
const SHORT: usize = 600;
const AT_ONCE: usize = 1 << 24;
const PIECES: &[usize] = &[AT_ONCE, 1, 7];
const LARGE_PIECES: &[usize] = &[AT_ONCE, 1021];

/// How long a peer may take for one case: a net, not a measure.
const LONGEST: Duration = Duration::from_secs(15);

/// The field by which an upgrade says whether it is to panpipe.
const SUBPROTOCOL: &str = "Sec-WebSocket-Protocol";

/// Hosts that the machine of a test can listen on.
const HOSTS: [&str; 4] = ["localhost", "0.0.0.0", "[::]", "127.0.0.2"];

fn vectors() -> &'static Data {
    static VECTORS: OnceLock<Data> = OnceLock::new();
    VECTORS.get_or_init(|| {
        serde_json::from_str(include_str!("../../../vectors/websocket.json")).expect("websocket.json is right")
    })
}

/// The cases of a section for peers that speak panpipe, or plain messages.
///
/// Most are written for panpipe. Where nothing in them is about the subprotocol, they hold without it as well.
fn cases_for(section: &str, speaks_panpipe: bool) -> Vec<Data> {
    let mut cases = vectors()[section].as_array().cloned().unwrap_or_default();
    cases.retain(|case| {
        let listens = case["policy"]["listens"].as_str().unwrap_or("localhost");
        // Who could have a port that is said, or an address of another machine, is not to be expected here.
        case["policy"]["port"].is_null() && HOSTS.contains(&listens) && means(case, section) != Some(!speaks_panpipe)
    });
    assert!(cases.len() >= 50, "most of {section} can be played");
    cases
}

/// What a case is about, if it is about one of the two.
fn means(case: &Data, section: &str) -> Option<bool> {
    let protocols = case["policy"]["protocols"].as_array().map(|names| names.iter().any(|name| name == "panpipe"));
    match (section, protocols, case["panpipe"].as_bool()) {
        ("responses", _, Some(false)) => Some(false),
        ("requests", Some(has_panpipe), _) => Some(has_panpipe),
        _ if case.to_string().to_lowercase().contains("sec-websocket-protocol") => Some(true),
        _ => None,
    }
}

/// Whether the head of a case is to be without the subprotocol that the vectors begin with.
fn lacks_subprotocol(case: &Data, section: &str, speaks_panpipe: bool) -> bool {
    !speaks_panpipe && means(case, section).is_none()
}

/// The head that a case says, and what follows it: how it differs from the right one.
fn head(case: &Data, section: &str, speaks_panpipe: bool, replace: impl Fn(&str) -> String) -> Vec<u8> {
    if let Some(raw) = case.get("raw") {
        return raw.get("hex").map_or_else(|| replace(&text(raw)).into_bytes(), bytes);
    }
    let right = &vectors()[section.trim_end_matches('s')];
    let mut lines = vec![text(case.get("line").unwrap_or(&right["line"]))];
    for (name, value) in right["fields"].as_object().into_iter().flatten() {
        let is_left_out = case["without"].as_array().is_some_and(|without| without.iter().any(|each| each == name))
            || name == SUBPROTOCOL && lacks_subprotocol(case, section, speaks_panpipe);
        if !is_left_out {
            lines.push(format!("{name}: {}", text(case["with"].get(name).unwrap_or(value))));
        }
    }
    let mut fill = None;
    for line in case["more"].as_array().into_iter().flatten() {
        match (line["fill"].as_u64(), &line["repeat"]) {
            (Some(size), _) => fill = Some(size as usize),
            (None, Data::Array(repeated)) => {
                let times = repeated[1].as_u64().unwrap_or_default() as usize;
                lines.extend(vec![repeated[0].as_str().unwrap_or_default().to_owned(); times]);
            }
            _ => lines.push(text(line)),
        }
    }
    let missing = usize::from(lacks_subprotocol(case, section, speaks_panpipe));
    if lines.iter().filter(|line| line.starts_with("X-Field: 1")).count() > 1 {
        // So many fields are at the limit, or beyond it.
        lines.extend(vec!["X-Field: 1".to_owned(); missing]);
    }
    let mut head = replace(&lines.join("\r\n"));
    if let Some(size) = fill {
        head.push_str("\r\nX-Fill: ");
        head.push_str(&"a".repeat(size - "\r\n\r\n".len() - head.len()));
    }
    format!("{head}\r\n\r\n{}", case.get("body").map(text).unwrap_or_default()).into_bytes()
}

fn pieces(bytes: &[u8]) -> &'static [usize] {
    if bytes.len() <= SHORT { PIECES } else { LARGE_PIECES }
}

pub(crate) fn cases(folder: &Arc<Folder>) -> Vec<Case> {
    let mut cases = Vec::new();
    let plain = PANPIPE_SERVERS.iter().filter(|peer| peer.name != "command_program");
    let servers = plain.map(|peer| (peer, false)).chain(PROTOCOL_SERVERS.iter().map(|peer| (peer, true)));
    for (&peer, speaks_panpipe) in servers {
        let victim = Shared::<WebVictim>::default();
        for case in cases_for("requests", speaks_panpipe) {
            let role = if speaks_panpipe { "panpipe_server" } else { "server" };
            let name = format!("ws::{role}::{}::requests::{}", peer.name, name_of(&case));
            let (victim, folder) = (Arc::clone(&victim), Arc::clone(folder));
            cases.push(Case::new(name, move || {
                let start = || serve(peer, speaks_panpipe, &folder).map_err(crate::text);
                let victim = victim.get_or_init(start).as_ref().map_err(String::clone)?;
                let policies = policies(speaks_panpipe);
                let place = policies.iter().position(|policy| *policy == case["policy"]);
                let address = victim.address(place.ok_or("nobody listens with this policy")?);
                ask(&case, address, speaks_panpipe)?;
                victim.still_serves()
            }));
        }
    }
    for &peer in PANPIPE_CLIENTS {
        let told = Arc::new(OnceLock::new());
        for (number, case) in cases_for("responses", false).iter().enumerate() {
            let name = format!("ws::client::{}::responses::{}", peer.name, name_of(case));
            cases.push(response_case(name, number, Arc::clone(&told), move || answer_plain(peer)));
        }
    }
    for &peer in PROTOCOL_CLIENTS {
        let told = Arc::new(OnceLock::new());
        for (number, case) in cases_for("responses", true).iter().enumerate() {
            let name = format!("ws::panpipe_client::{}::responses::{}", peer.name, name_of(case));
            cases.push(response_case(name, number, Arc::clone(&told), move || answer_panpipe(peer)));
        }
    }
    cases
}

/// The policies of all cases, each once; the first is the usual one.
fn policies(speaks_panpipe: bool) -> Vec<Data> {
    let mut policies = vec![Data::Null];
    for case in cases_for("requests", speaks_panpipe) {
        if !policies.contains(&case["policy"]) {
            policies.push(case["policy"].clone());
        }
    }
    policies
}

fn serve(peer: Peer, speaks_panpipe: bool, folder: &Folder) -> Result<WebVictim> {
    let site = site(speaks_panpipe, folder)?;
    let address = |policy: &Data| address(policy, speaks_panpipe, &site, folder);
    WebVictim::start(peer, policies(speaks_panpipe).iter().map(address).collect::<Result<_>>()?)
}

/// An address that listens with this policy.
fn address(policy: &Data, speaks_panpipe: bool, site: &str, folder: &Folder) -> Result<String> {
    let host = policy["listens"].as_str().unwrap_or("localhost");
    let protocols = policy["protocols"].as_array().map_or(0, Vec::len);
    let mut address = match protocols {
        2 => format!("tcp://{host}:0?accept=panpipe,ws,lines"),
        _ => {
            let path = policy["path"].as_str().unwrap_or_default().replace('%', "%25").replace('?', "%3F");
            format!("ws://{host}:0{path}?protocol={}", if speaks_panpipe { "panpipe" } else { "plain" })
        }
    };
    if !matches!(host, "localhost" | "127.0.0.2") {
        address.push_str("&insecure=true");
    }
    for (name, option) in [("hosts", "host"), ("origins", "origin")] {
        if let Some(list) = policy[name].as_str() {
            address.push_str(&format!("&{option}={list}"));
        }
    }
    if let Some(token) = policy["token"].as_str() {
        let path = folder.path();
        fs::write(&path, format!("{token}\n"))?;
        address.push_str(&format!("&token=file:{path}"));
    }
    if policy["static"] == true {
        address.push_str(&format!("&static={site}"));
    }
    Ok(address)
}

/// A folder of the files that the cases name, each of which holds its own path.
fn site(speaks_panpipe: bool, folder: &Folder) -> Result<String> {
    let site = folder.path();
    fs::create_dir(&site)?;
    for case in cases_for("requests", speaks_panpipe) {
        if let Some(file) = case["file"].as_str() {
            let path = std::path::Path::new(&site).join(file);
            fs::create_dir_all(path.parent().ok_or("a file is in a folder")?)?;
            fs::write(path, file)?;
        }
    }
    Ok(site)
}

/// Sends a request in pieces of each size, and judges how it is answered.
fn ask(case: &Data, address: &str, speaks_panpipe: bool) -> Result<()> {
    let (_, rest) = address.split_once("://").ok_or("an address has a place")?;
    let place = rest.split(['/', '?']).next().unwrap_or_default();
    let (host, port) = place.rsplit_once(':').ok_or("a place has a port")?;
    let reached = match host {
        "0.0.0.0" => format!("tcp://127.0.0.1:{port}"),
        "[::]" => format!("tcp://[::1]:{port}"),
        _ => format!("tcp://{place}"),
    };
    let request = head(case, "requests", speaks_panpipe, |text| text.replace("{port}", port));
    for &size in pieces(&request) {
        let mut stream = Stream::connect(&reached)?;
        write_in_pieces(&mut stream, &request, size);
        judge_answer(case, stream, speaks_panpipe).map_err(|reason| format!("in pieces of {size}: {reason}"))?;
    }
    Ok(())
}

fn judge_answer(case: &Data, mut stream: Stream, speaks_panpipe: bool) -> Result<()> {
    let head = read_head(&mut stream)?;
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse::<u64>().ok());
    if status != case["status"].as_u64() {
        return Err(format!("{} is wanted, not {head:?}", case["status"]).into());
    }
    if status == Some(101) {
        let selects_panpipe = speaks_panpipe && case["panpipe"] == true;
        let key = vectors()["request"]["fields"]["Sec-WebSocket-Key"].as_str().unwrap_or_default();
        let selected = case["selects"].as_str().or(selects_panpipe.then_some("panpipe"));
        check_upgrade(&head, key, selected)?;
        stream.write_all(&goodbye(Sender::Client))?;
        loop {
            match Frame::read(&mut stream, Sender::Server)?.ok_or("it ended without a Close")? {
                frame if frame.opcode == CLOSE && frame.close_code() == Some(1000) => return Ok(()),
                // Its HELLO, and its GOODBYE.
                frame if frame.opcode == BINARY && selects_panpipe => {}
                frame => return Err(format!("the Close is answered with {frame:?}").into()),
            }
        }
    }
    let body = String::from_utf8(stream.read_rest()?)?;
    let has = |name: &str| field(&head, name).is_some();
    let is_file = status == Some(200);
    let is_head = case["head_only"] == true
        || [&case["line"], &case["raw"]].iter().any(|line| line.as_str().is_some_and(|line| line.starts_with("HEAD ")));
    let is_whole = match (is_head, is_file) {
        (true, _) => body.is_empty(),
        (false, true) => case["file"] == *body,
        (false, false) => body.ends_with('\n') && body.lines().count() == 1,
    };
    let length = field(&head, "Content-Length").and_then(|length| length.parse::<usize>().ok());
    let secret = case["policy"]["token"].as_str();
    let is_right = is_whole
        && (is_head || length == Some(body.len()))
        && field(&head, "Connection") == Some("close")
        && field(&head, "X-Content-Type-Options") == Some("nosniff")
        && (status == Some(426)) == (field(&head, "Sec-WebSocket-Version") == Some("13"))
        && (status == Some(405)) == has("Allow")
        && !has("Access-Control-Allow-Origin")
        && secret.is_none_or(|secret| !head.contains(secret) && !body.contains(secret));
    match is_right {
        true => Ok(()),
        false => Err(format!("it is answered with {head:?} {body:?}").into()),
    }
}

/// What a client told of each size in which an answer came.
type Told = Arc<OnceLock<Vec<std::result::Result<(), String>>>>;

fn response_case(
    name: String,
    number: usize,
    told: Told,
    answer: impl Fn() -> Result<Vec<std::result::Result<(), String>>> + Send + 'static,
) -> Case {
    Case::new(name, move || {
        let all = told.get_or_init(|| match answer() {
            Ok(all) => all,
            Err(reason) => vec![Err(reason.to_string())],
        });
        Ok(all.get(number).or(all.last()).cloned().ok_or("it was not played")??)
    })
}

/// A server for each answer in each size, and how each has met its client.
struct Servers {
    addresses: Vec<String>,
    met: Vec<mpsc::Receiver<std::result::Result<(), String>>>,
    all: Vec<(Data, usize)>,
}

impl Servers {
    fn start(speaks_panpipe: bool) -> Result<Self> {
        let mut servers = Servers { addresses: Vec::new(), met: Vec::new(), all: Vec::new() };
        for case in cases_for("responses", speaks_panpipe) {
            let sizes = pieces(&head(&case, "responses", speaks_panpipe, str::to_owned));
            for &size in sizes {
                let listener = Listener::tcp()?;
                let protocol = if speaks_panpipe { "panpipe" } else { "plain" };
                servers.addresses.push(format!("ws://{}/a room%3Fb=1?protocol={protocol}", listener.place()?));
                let (sender, receiver) = mpsc::channel();
                servers.met.push(receiver);
                servers.all.push((case.clone(), size));
                let case = case.clone();
                thread::spawn(move || {
                    let met = listener.accept().map_err(Into::into);
                    let met = met.and_then(|stream| answer(&case, stream, size, speaks_panpipe));
                    let _ = sender.send(met.map_err(crate::text));
                });
            }
        }
        Ok(servers)
    }

    /// How each case went, where `told` says what its client made of each size; `None` is a connection.
    fn judge(self, mut told: impl FnMut() -> Result<Option<Failure>>) -> Result<Vec<std::result::Result<(), String>>> {
        let mut results: Vec<(Data, std::result::Result<(), String>)> = Vec::new();
        for ((case, size), met) in self.all.into_iter().zip(self.met) {
            let told = told()?;
            let met = met.recv_timeout(LONGEST).map_err(|missing| missing.to_string()).and_then(|met| met);
            let is_right = match (&told, case["code"].as_str()) {
                (None, None) => true,
                (Some(failure), Some(code)) => {
                    let says = case["says"].as_str().unwrap_or_default();
                    failure.code == code
                        && failure.ran.as_deref() != Some("maybe")
                        && failure.text.contains(says)
                        && failure.text.contains("connecting")
                }
                _ => false,
            };
            let wanted = &case["code"];
            let result = match is_right {
                true => met.map_err(|reason| format!("in pieces of {size}: {reason}")),
                false => Err(format!("in pieces of {size} it is {told:?}, where {wanted} is wanted; {met:?}")),
            };
            match results.last_mut() {
                Some((last, so_far)) if *last == case => *so_far = so_far.clone().and(result),
                _ => results.push((case, result)),
            }
        }
        Ok(results.into_iter().map(|(_, result)| result).collect())
    }
}

/// Reads a request, answers it as the case says, and ends an upgrade well if that was one.
fn answer(case: &Data, mut stream: Stream, size: usize, speaks_panpipe: bool) -> Result<()> {
    let request = read_head(&mut stream)?;
    let place = field(&request, "Host").unwrap_or_default();
    let is_right = request.starts_with("GET /a%20room?b=1 HTTP/1.1\r\n")
        && place.starts_with("127.0.0.1:")
        && field(&request, "Upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
        && field(&request, "Connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade"))
        && field(&request, "Sec-WebSocket-Version") == Some("13")
        && field(&request, SUBPROTOCOL) == speaks_panpipe.then_some("panpipe")
        && field(&request, "Origin").is_none()
        && field(&request, "Sec-WebSocket-Extensions").is_none();
    let key = field(&request, "Sec-WebSocket-Key").filter(|key| key.len() == 24 && is_fresh(key));
    let (true, Some(key)) = (is_right, key) else { return Err(format!("it asks with {request:?}").into()) };
    let accept = accept(key);
    let response = head(case, "responses", speaks_panpipe, |text| {
        let text = text.replace("{accept}", &accept).replace("{key}", key);
        let text = text.replace("{accept-unpadded}", accept.trim_end_matches('='));
        text.replace("{accept-lower}", &accept.to_lowercase())
    });
    write_in_pieces(&mut stream, &response, size);
    if case["cut"] == true {
        return Ok(());
    }
    if !case["code"].is_null() {
        // Whatever it says, it goes.
        return stream.read_rest().map(drop).map_err(Into::into);
    }
    let first = Frame::read(&mut stream, Sender::Client)?.ok_or("it ended without a frame")?;
    let begins_well = match speaks_panpipe {
        true => first.opcode == BINARY && first.payload.get(4) == Some(&HELLO),
        false => true,
    };
    // It may have gone.
    let _ = stream.write_all(&goodbye(Sender::Server));
    let _ = stream.read_rest();
    if begins_well { Ok(()) } else { Err(format!("it begins with {first:?}").into()) }
}

/// Whether no client has taken this key before (RFC 6455, section 4.1: it is random).
fn is_fresh(key: &str) -> bool {
    static KEYS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut keys = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
    let is_fresh = !keys.iter().any(|known| known == key);
    keys.push(key.to_owned());
    is_fresh
}

fn answer_plain(peer: Peer) -> Result<Vec<std::result::Result<(), String>>> {
    let servers = Servers::start(false)?;
    let job = |address: &String| Job { address: address.clone(), ..Job::default() };
    let process = peer.converse(vec!["61".to_owned()], servers.addresses.iter().map(job).collect())?;
    servers.judge(|| {
        Ok(match process.next_answer_within(LONGEST)? {
            Outcome::Opened { .. } => None,
            // The command cannot but call, which that server does not answer.
            Outcome::Failed(failure) if failure.code == "connection-lost" && failure.text.contains("calling") => None,
            Outcome::Failed(failure) => Some(failure),
        })
    })
}

fn answer_panpipe(peer: Peer) -> Result<Vec<std::result::Result<(), String>>> {
    let servers = Servers::start(true)?;
    let meeting = |address: &String| Meeting { address: address.clone(), began: vec![Began::Call] };
    let process = peer.ask("meet", &MeetRequest { meetings: servers.addresses.iter().map(meeting).collect() })?;
    servers.judge(|| {
        let ends: Vec<Option<Failure>> = process.next_answer_within(LONGEST)?;
        Ok(match ends.into_iter().next().flatten() {
            // What it called is not answered where it is let in.
            Some(failure) if failure.code == "connection-lost" && failure.ran.as_deref() == Some("maybe") => None,
            Some(failure) => Some(failure),
            None => return Err("a call was answered".into()),
        })
    })
}
