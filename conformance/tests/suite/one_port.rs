//! One port for all: a service that answers plain messages too, met by every client over bytes and over a WebSocket.
//! Its peers of the panpipe protocol do their checks in `checks.rs`.

use std::sync::{Arc, OnceLock};

use panpipe_conformance::{Answer, Job, Outcome, Step};

use crate::Case;
use crate::peer::{CLIENTS, PROTOCOL_SERVERS, Peer, Server};
use crate::place::LETS_BROWSER_IN;

const LISTENS: &str = "tcp://localhost:0?accept=panpipe,ws,lines";

type Shared = Arc<OnceLock<Result<Server, String>>>;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &server in PROTOCOL_SERVERS {
        let shared = Shared::default();
        for (scheme, options) in [("tcp", "framing=lines"), ("ws", "protocol=plain")] {
            for &client in CLIENTS {
                let shared = Arc::clone(&shared);
                let name = format!("one_port::{scheme}::service::{}_to_{}", server.name, client.name);
                cases.push(Case::new(name, move || {
                    let serving =
                        shared.get_or_init(|| server.serve(vec![format!("{LISTENS}&{LETS_BROWSER_IN}")])).as_ref()?;
                    let place = serving.places[0].address.trim_start_matches("tcp").split('?').next();
                    call(client, format!("{scheme}{}?timeout=5s&{options}", place.unwrap_or_default()))
                }));
            }
        }
    }
    cases
}

fn call(client: Peer, address: String) -> Result<(), String> {
    let texts = [&b"Hello, server!"[..], b"HELLO, SERVER!", b"panpipe", b"PANPIPE"];
    let (steps, wanted) = ([Step::Call(0), Step::Call(2)], [1, 3].map(Answer::Text));
    let job = Job { address, steps: steps.to_vec(), ..Job::default() };
    match &client.call(&texts.map(<[u8]>::to_vec), vec![job])?[..] {
        [Ok(Outcome::Opened { answers })] if *answers == wanted => Ok(()),
        outcome => Err(format!("{outcome:?}")),
    }
}
