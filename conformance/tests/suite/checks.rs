//! The panpipe protocol in every pairing of server and client, over every place that has connections: each client does
//! the same checks of the standard service, once for each place.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use panpipe_conformance::{CheckRequest, Checked};

use crate::Case;
use crate::peer::{PROTOCOL_CLIENTS, PROTOCOL_SERVERS, Peer, Server};
use crate::place::{self, Folder, places};
use crate::skip::Skips;

/// What every client checks; one that leaves a check out fails it.
const CHECKS: &[&str] = &[
    "calls_are_answered",
    "arguments_have_names",
    "bytes_come_back",
    "a_thousand_calls_have_a_reply_each",
    "answers_come_in_any_order",
    "an_unknown_method_was_not_run",
    "arguments_that_do_not_fit_were_not_run",
    "what_is_too_large_was_not_run",
    "an_error_travels_whole",
    "an_error_says_through_whom_it_came",
    "a_handler_calls_back",
    "a_deadline_goes_on_to_the_handlers_calls",
    "a_deadline_reaches_the_handler",
    "giving_up_reaches_the_handler",
    "a_stream_brings_its_items_and_its_end",
    "a_slow_consumer_stops_its_producer",
    "arguments_stream",
    "streams_go_both_ways",
    "one_way_messages_keep_their_order",
    "a_subscriber_gets_what_is_published",
    "a_slow_subscriber_is_told_what_it_missed",
    "an_unknown_topic_is_not_found",
    "a_service_describes_itself",
];

const OPTIONS: &str = "protocol=panpipe";

type Shared<T> = Arc<OnceLock<Result<T, String>>>;

/// What a client found at each place.
type Found = HashMap<&'static str, Findings>;

/// Why a check failed, by its name, if it did; and why there are no more.
#[derive(Debug, Default)]
struct Findings {
    checked: HashMap<String, Option<String>>,
    broke_off: Option<String>,
}

/// Where a server is met: a client, a place, and their address. Two clients at one FIFO would be one stream.
struct Met {
    addresses: Vec<(&'static str, &'static str, String)>,
    _server: Server,
}

pub(crate) fn cases(folder: &Arc<Folder>, skips: &mut Skips) -> Vec<Case> {
    let of_pairs = PROTOCOL_SERVERS.iter().flat_map(|&server| cases_of(server, folder, skips));
    let mut of_pairs: Vec<_> = of_pairs.map(Vec::into_iter).collect();
    let mut cases = Vec::new();
    // In turns: threads that all waited for the same pair would leave the others for later.
    loop {
        let before = cases.len();
        cases.extend(of_pairs.iter_mut().filter_map(Iterator::next));
        if cases.len() == before {
            return cases;
        }
    }
}

/// Of one server with each client.
fn cases_of(server: Peer, folder: &Arc<Folder>, skips: &mut Skips) -> Vec<Vec<Case>> {
    // Datagrams have no streams and no topics.
    let methods = panpipe::methods().iter().filter(|method| !matches!(method.scheme, "udp" | "unix-dgram"));
    let all: Vec<_> = methods.flat_map(|method| places(method.scheme)).copied().collect();
    let mut rows = Vec::new();
    for &client in PROTOCOL_CLIENTS {
        let mut visits = |place: &&'static str| {
            let name = format!("{place}::panpipe::{}_to_{}::", server.name, client.name);
            match place::is_inside_one_process(place) {
                true => server.name == client.name,
                false => !skips.matches(&name),
            }
        };
        rows.push((client, all.iter().copied().filter(&mut visits).collect::<Vec<_>>()));
    }
    let of_row = |(client, places): &(Peer, Vec<&'static str>)| {
        let name = client.name;
        places.iter().map(move |place| (name, *place)).collect::<Vec<_>>()
    };
    let served: Vec<_> = rows.iter().flat_map(of_row).collect();
    let met = Shared::<Met>::default();
    let mut of_pairs = Vec::new();
    for (client, visited) in rows {
        let mut cases = Vec::new();
        let found = Shared::<Found>::default();
        for &place in &visited {
            for &check in CHECKS {
                let name = format!("{place}::panpipe::{}_to_{}::{check}", server.name, client.name);
                let (met, found, folder) = (Arc::clone(&met), Arc::clone(&found), Arc::clone(folder));
                let (visited, served) = (visited.clone(), served.clone());
                cases.push(Case::new(name, move || {
                    let met = met.get_or_init(|| serve(server, &served, &folder)).as_ref()?;
                    let found = found.get_or_init(|| visit(client, met, &visited, &folder)).as_ref()?;
                    match found[place].checked.get(check) {
                        Some(None) => Ok(()),
                        Some(Some(reason)) => Err(reason.clone()),
                        None => Err(format!("it was not done: {:?}", found[place].broke_off)),
                    }
                }));
            }
        }
        of_pairs.push(cases);
    }
    of_pairs
}

/// Has a server listen where others can reach it.
fn serve(server: Peer, served: &[(&'static str, &'static str)], folder: &Folder) -> Result<Met, String> {
    let (mut addresses, mut listened) = (Vec::new(), Vec::new());
    for &(client, place) in served {
        match place::child(place, OPTIONS) {
            Some(child) => addresses.push((client, place, child.address(&server.child(&child.serves)?))),
            None if place::is_inside_one_process(place) => {}
            None => listened.push((client, place, place::address(place, OPTIONS, folder)?)),
        }
    }
    let serving = server.serve(listened.iter().map(|(_, _, address)| address.clone()).collect())?;
    for ((client, place, _), serving) in listened.into_iter().zip(&serving.places) {
        addresses.push((client, place, place::reached(place, &serving.address, OPTIONS, folder)));
    }
    Ok(Met { addresses, _server: serving })
}

/// Has a client check a server at each place; where only its own process can be reached, it serves there itself.
fn visit(client: Peer, met: &Met, visited: &[&'static str], folder: &Folder) -> Result<Found, String> {
    let inside = visited.iter().copied().filter(|place| place::is_inside_one_process(place));
    let inside: Vec<_> = inside.collect();
    let met: Vec<_> = met.addresses.iter().filter(|(name, _, _)| *name == client.name).collect();
    let own = inside.iter().map(|place| place::address(place, OPTIONS, folder)).collect::<Result<Vec<_>, _>>()?;
    let order = met.iter().map(|(_, place, _)| *place).chain(inside);
    let addresses = met.iter().map(|(_, _, address)| address.clone()).collect();
    let process = client.ask("check", &CheckRequest { addresses, own })?;
    let mut found = Found::new();
    for place in order {
        let findings: &mut Findings = found.entry(place).or_default();
        loop {
            match process.next_answer::<Option<Checked>>() {
                Ok(Some(check)) => drop(findings.checked.insert(check.check, check.failed)),
                Ok(None) => break,
                Err(reason) => {
                    findings.broke_off = Some(reason);
                    break;
                }
            }
        }
    }
    Ok(found)
}
