//! A server that is killed with a thousand calls in flight, some of them half answered.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use panpipe_conformance::{KilledRequest, Log, Outcomes};

use crate::Result;
use crate::peer::{Peer, RUST_TOKIO};
use crate::place::{Folder, address, reached};

const OPTIONS: &str = "protocol=panpipe";
const CALLS: usize = 1000;
const ROUNDS: u64 = 100;
/// A net: a round takes a tenth of a second.
const LONGEST: Duration = Duration::from_secs(10);

/// Has `client` make calls of a server that kills itself when so many have begun, each round another number, and
/// compares how they end with what had begun.
pub(crate) fn in_the_middle(client: Peer, folder: &Folder) -> Result<()> {
    let mut process = client.ask("killed", &KilledRequest { calls: CALLS })?;
    let place = if client.only_knows_websockets() { "ws" } else { "unix" };
    let (mut answered, mut maybe, mut no) = (0, 0, 0);
    for round in 0..ROUNDS {
        // Spread over all of them, and never in order.
        let most = 1 + round * 677 % CALLS as u64;
        let log = Log { path: folder.path(), most: Some(most) };
        let server = RUST_TOKIO.serve_noting(vec![address(place, OPTIONS, folder)?], Some(log.clone()))?;
        let begun_at = Instant::now();
        process.say(&reached(place, &server.places[0].address, OPTIONS, folder))?;
        let ended: Outcomes = process.next_answer()?;
        if begun_at.elapsed() > LONGEST {
            return Err(format!("round {round} took {:?}", begun_at.elapsed()).into());
        }
        let begun = fs::read_to_string(&log.path)?;
        let begun: HashSet<usize> = begun.lines().map(str::parse).collect::<std::result::Result<_, _>>()?;
        judge(&ended, &begun).map_err(|reason| format!("round {round}, killed at {most}: {reason}"))?;
        answered += ended.answered.len();
        maybe += ended.maybe.len();
        no += ended.no.len();
    }
    // Otherwise the kills came before or behind everything, or nothing was truthfully said not to have run.
    match answered > 1000 && maybe > 1000 && no > 1000 {
        true => Ok(()),
        false => Err(format!("{answered} answered, {maybe} maybe, {no} no").into()),
    }
}

fn judge(ended: &Outcomes, begun: &HashSet<usize>) -> std::result::Result<(), String> {
    let all: HashSet<_> = [&ended.answered, &ended.no, &ended.maybe].into_iter().flatten().collect();
    let count = ended.answered.len() + ended.no.len() + ended.maybe.len();
    if let Some((call, reply)) = ended.crossed.first() {
        return Err(format!("the call {call} got the reply to {reply}"));
    }
    if (all.len(), count) != (CALLS, CALLS) {
        return Err(format!("{count} ends of {} calls", all.len()));
    }
    if let Some(call) = ended.no.iter().find(|call| begun.contains(call)) {
        return Err(format!("the call {call} is said not to have run, and has"));
    }
    match ended.answered.iter().find(|call| !begun.contains(call)) {
        Some(call) => Err(format!("the call {call} is answered, and has not begun")),
        None => Ok(()),
    }
}
