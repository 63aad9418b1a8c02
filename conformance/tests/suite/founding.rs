//! The founding example, literally: no panpipe on either side, port 9999.

use panpipe_conformance::{Answer, Job, Outcome, Step};

use crate::Case;
use crate::peer::{CLIENTS, SERVERS};

pub(crate) fn cases() -> Vec<Case> {
    let (server, client) = (SERVERS[0], CLIENTS[0]);
    let name = format!("founding_example::{}_to_{}", server.name, client.name);
    vec![Case::new(name, move || {
        let serve = |port| server.serve(vec![format!("tcp://localhost:{port}?framing=raw")]);
        let server = serve(9999).or_else(|reason| {
            eprintln!("\nthe founding example takes another port than 9999: {}", reason.trim_end());
            serve(0)
        })?;
        let texts = [b"Hello, server!".to_vec(), b"HELLO, SERVER!".to_vec()];
        let job = Job { address: server.places[0].address.clone(), steps: vec![Step::Call(0)], ..Job::default() };
        match &client.call(&texts, vec![job])?[..] {
            [Ok(Outcome::Opened { answers })] if *answers == [Answer::Text(1)] => Ok(()),
            outcome => Err(format!("{outcome:?}")),
        }
    })]
}
