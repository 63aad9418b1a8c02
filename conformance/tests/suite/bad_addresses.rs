//! What every language says of an address that cannot be used: one table for all.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, OnceLock};

use panpipe_conformance::{Failure, Job, Outcome};
use serde::Deserialize;

use crate::Case;
use crate::peer::{PANPIPE_CLIENTS, Peer};
use crate::place::Folder;

const CONNECTING: &str = "connecting";
const LISTENING: &str = "listening";

/// The part of `vectors/address.json` that lists what is wrong.
#[derive(Deserialize)]
struct Vectors {
    invalid: Vec<Row>,
}

/// An address, the code that it gets, and what the error's text mentions beside the address.
#[derive(Deserialize)]
struct Row {
    address: String,
    code: String,
    #[serde(default)]
    mentions: Vec<String>,
    /// The only action that it is wrong for.
    when: Option<String>,
}

impl Row {
    fn new(address: impl Into<String>, code: &str) -> Self {
        let address = address.into();
        let mentions = vec![address.clone()];
        Row { address, code: code.to_owned(), mentions, when: None }
    }
}

struct Table {
    connect: Vec<Row>,
    listen: Vec<Row>,
    /// They hold what the addresses collide with.
    _listeners: (TcpListener, UnixListener),
}

type Shared = Arc<OnceLock<Result<Table, String>>>;

pub(crate) fn cases(folder: &Arc<Folder>) -> Vec<Case> {
    let table = Shared::default();
    let mut cases = Vec::new();
    for &peer in PANPIPE_CLIENTS {
        for listen in [false, true] {
            let (table, folder) = (Arc::clone(&table), Arc::clone(folder));
            let action = if listen { LISTENING } else { CONNECTING };
            cases.push(Case::new(format!("bad_addresses::{}::{action}", peer.name), move || {
                let make = || Table::new(&folder).map_err(|reason| reason.to_string());
                let table = table.get_or_init(make).as_ref()?;
                check(peer, listen, if listen { &table.listen } else { &table.connect })
            }));
        }
    }
    cases
}

impl Table {
    fn new(folder: &Folder) -> std::io::Result<Self> {
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        let [live, stale, file, forbidden] = [(); 4].map(|()| folder.path());
        let unix = UnixListener::bind(&live)?;
        for path in [&stale, &forbidden] {
            drop(UnixListener::bind(path)?);
        }
        std::fs::set_permissions(&forbidden, PermissionsExt::from_mode(0o000))?;
        std::fs::write(&file, "no socket")?;
        let locked = folder.path();
        std::fs::create_dir(&locked)?;
        std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o500))?;
        let long = format!("unix:/tmp/{}?framing=length", "x".repeat(103));

        let mut connect = invalid(CONNECTING)?;
        connect.extend([
            // Below the ports that the system picks, so that no listener of another case can have it.
            Row::new("tcp://127.0.0.1:1?framing=length", "refused"),
            Row::new("tcp://localhost:1?framing=length", "refused"),
            Row::new(format!("unix:{stale}?framing=length"), "refused"),
            Row::new(format!("unix:{file}?framing=length"), "refused"),
            Row::new("unix:@panpipe-nobody?framing=length", "refused"),
            Row::new("mem:nobody?framing=length", "refused"),
            Row::new("tcp://name.invalid:1?insecure=true&framing=length", "not-found"),
            Row::new("unix:/nowhere/at/all?framing=length", "not-found"),
            Row::new("fd:987?framing=length", "not-found"),
            Row::new(format!("unix:{forbidden}?framing=length"), "permission"),
            Row::new(&long, "path-too-long"),
        ]);
        let mut listen = invalid(LISTENING)?;
        listen.extend([
            Row::new(format!("tcp://{}?framing=length", tcp.local_addr()?), "address-in-use"),
            Row::new(format!("tcp://localhost:{}?framing=length", tcp.local_addr()?.port()), "address-in-use"),
            Row::new(format!("unix:{live}?framing=length"), "address-in-use"),
            Row::new(format!("unix:{file}?framing=length"), "address-in-use"),
            Row::new("tcp://name.invalid:1?insecure=true&framing=length", "not-found"),
            Row::new("unix:/nowhere/at/all?framing=length", "not-found"),
            Row::new("fd:987?framing=length", "not-found"),
            Row::new(format!("unix:{locked}/a.sock?framing=length"), "permission"),
            Row::new(long, "path-too-long"),
        ]);
        Ok(Table { connect, listen, _listeners: (tcp, unix) })
    }
}

/// What is wrong for everybody, from the vectors.
fn invalid(action: &str) -> std::io::Result<Vec<Row>> {
    let Vectors { mut invalid } = serde_json::from_str(include_str!("../../../vectors/address.json"))?;
    invalid.retain(|row| row.when.as_deref().is_none_or(|when| when == action));
    Ok(invalid)
}

fn check(peer: Peer, listen: bool, rows: &[Row]) -> Result<(), String> {
    let job = |row: &Row| Job { address: row.address.clone(), listen, ..Job::default() };
    let outcomes = peer.call_without_privilege(&[b"Hello, server!".to_vec()], rows.iter().map(job).collect())?;
    let told = |(row, outcome): (&Row, &Result<Outcome, String>)| {
        format!("{:?} is {}, not {outcome:?}", row.address, row.code)
    };
    let wrong = rows.iter().zip(&outcomes).filter(|(row, outcome)| !row.is_met_by(outcome));
    let wrong: Vec<_> = wrong.map(told).collect();
    match wrong[..] {
        [] => Ok(()),
        _ => Err(wrong.join("\n")),
    }
}

impl Row {
    fn is_met_by(&self, outcome: &Result<Outcome, String>) -> bool {
        let Ok(Outcome::Failed(Failure { code, ran, text })) = outcome else { return false };
        let mentions = |word: &String| text.contains(word.as_str());
        *code == self.code && ran.as_deref() != Some("maybe") && self.mentions.iter().all(mentions)
    }
}
