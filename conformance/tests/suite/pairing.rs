//! The founding exchange in every pairing of server and client, over every place and framing.

use std::iter::once;
use std::sync::{Arc, OnceLock};

use panpipe_conformance::{Answer, Job, Outcome, Step};

use crate::Case;
use crate::peer::{CLIENTS, Outcomes, SERVERS, Server};
use crate::place::{self, Folder, places};
use crate::skip::Skips;

/// A server or a pair is started by the first case that needs it, and all others wait for that one.
type Shared<T> = OnceLock<Result<T, String>>;

struct Pairing {
    folder: Arc<Folder>,
    rows: Vec<Row>,
    messages: Vec<Message>,
    servers: Vec<Shared<Addresses>>,
    /// Of server and client.
    pairs: Vec<Vec<Shared<Outcomes>>>,
}

/// Where a server is met in each row that it serves.
struct Addresses {
    of_rows: Vec<String>,
    _server: Server,
}

/// One address of every server, and those who meet there.
struct Row {
    place: &'static str,
    framing: String,
    /// Of server and client.
    met: Vec<(usize, usize)>,
}

struct Message {
    bytes: Vec<u8>,
    fits: fn(framing: &str, length: usize) -> bool,
}

/// What stands for a framing where packets keep the boundaries.
const PACKETS: &str = "packets";
/// And where those are of one network, whose largest the address must allow.
const DATAGRAMS: &str = "datagrams";
/// And where they may have any size.
const MESSAGES: &str = "messages";

/// The bytes that a framing adds to a short message at most: `Content-Length: 4096\r\n\r\n`.
const MOST_FRAMING: usize = 24;

/// The cases of every transport and framing that the registries know.
pub(crate) fn cases(folder: &Arc<Folder>, skips: &mut Skips) -> Vec<Case> {
    let mut rows = Vec::new();
    let mut names = Vec::new();
    let of_method =
        |&method: &&'static panpipe::Method| places(method.scheme).iter().map(move |place| (*place, method));
    for (place, method) in panpipe::methods().iter().flat_map(of_method) {
        let framings = match (method.moves_packets, method.reaches) {
            _ if place::is_websocket(place) => vec![MESSAGES.to_owned()],
            (false, _) => framings().collect(),
            (true, "this machine") => vec![PACKETS.to_owned()],
            (true, _) => vec![DATAGRAMS.to_owned()],
        };
        for framing in framings {
            let mut met = Vec::new();
            for (client, server) in pairs() {
                let name = format!("{place}::{framing}::{}_to_{}", SERVERS[server].name, CLIENTS[client].name);
                if !skips.matches(&name) {
                    names.push((name, rows.len(), met.len()));
                    met.push((server, client));
                }
            }
            rows.push(Row { place, framing, met });
        }
    }
    let pairing = Arc::new(Pairing::new(Arc::clone(folder), rows));
    let case = |(name, row, meeting)| {
        let pairing = Arc::clone(&pairing);
        Case::new(name, move || pairing.check(row, meeting))
    };
    names.into_iter().map(case).collect()
}

/// Each with its variants, as `lines` and `length:u16le`.
fn framings() -> impl Iterator<Item = String> {
    panpipe::framings().iter().flat_map(|info| {
        let variants = info.variants.iter().map(|variant| format!("{}:{variant}", info.name));
        once(info.name.to_owned()).chain(variants)
    })
}

fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..CLIENTS.len()).flat_map(|client| (0..SERVERS.len()).map(move |server| (client, server)))
}

impl Pairing {
    fn new(folder: Arc<Folder>, rows: Vec<Row>) -> Self {
        let row_of_cells = |_| CLIENTS.iter().map(|_| Shared::new()).collect();
        Pairing {
            folder,
            rows,
            messages: messages(),
            servers: SERVERS.iter().map(|_| Shared::new()).collect(),
            pairs: SERVERS.iter().map(row_of_cells).collect(),
        }
    }

    /// Whether the exchange went as it should.
    fn check(&self, row: usize, meeting: usize) -> Result<(), String> {
        let (server, client) = self.rows[row].met[meeting];
        let outcomes = self.pairs[server][client].get_or_init(|| self.run(server, client)).as_ref()?;
        let place = self.rows[..row].iter().filter(|row| row.met.contains(&(server, client))).count();
        let Outcome::Opened { answers } = outcomes[place].as_ref()? else {
            return Err(format!("no connection: {:?}", outcomes[place]));
        };
        let asked = self.asked(row);
        let texts = self.texts();
        for (&message, answer) in asked.iter().zip(answers) {
            let (request, reply) = (&texts[2 * message], &texts[2 * message + 1]);
            match answer {
                Answer::Text(text) if &texts[*text] == reply => {}
                _ => {
                    return Err(format!(
                        "{} was answered with {answer:?}",
                        request[..request.len().min(50)].escape_ascii()
                    ));
                }
            }
        }
        match asked.len() == answers.len() {
            true => Ok(()),
            false => Err(format!("{} messages were asked, and {} answered", asked.len(), answers.len())),
        }
    }

    /// All that one client asks of one server, in one process.
    fn run(&self, server: usize, client: usize) -> Result<Outcomes, String> {
        let addresses = self.servers[server].get_or_init(|| self.serve(server)).as_ref()?;
        let rows = self.rows.iter().enumerate().filter(|(_, row)| row.serves(server));
        let met = rows.zip(&addresses.of_rows).filter(|((_, row), _)| row.met.contains(&(server, client)));
        let job = |((row, _), address): ((usize, &Row), &String)| Job {
            address: address.clone(),
            steps: self.asked(row).into_iter().map(|message| Step::Call(2 * message)).collect(),
            ..Job::default()
        };
        CLIENTS[client].call(&self.texts(), met.map(job).collect())
    }

    /// Has a server listen wherever it serves, but where its clients start it as their child.
    fn serve(&self, server: usize) -> Result<Addresses, String> {
        let rows: Vec<_> = self.rows.iter().filter(|row| row.serves(server)).collect();
        let options = |row: &Row| match row.framing.as_str() {
            PACKETS | DATAGRAMS | MESSAGES => "protocol=plain&timeout=5s".to_owned(),
            framing => format!("framing={framing}&timeout=5s"),
        };
        let (mut listened, mut of_rows) = (Vec::new(), Vec::new());
        for row in &rows {
            of_rows.push(match place::child(row.place, &options(row)) {
                Some(child) => child.address(&SERVERS[server].child(&child.serves)?),
                None => {
                    listened.push(of_rows.len());
                    place::address(row.place, &options(row), &self.folder)?
                }
            });
        }
        let serving = SERVERS[server].serve(listened.iter().map(|&row| of_rows[row].clone()).collect())?;
        for (number, serving) in listened.into_iter().zip(&serving.places) {
            let row = rows[number];
            of_rows[number] = place::reached(row.place, &serving.address, &options(row), &self.folder);
        }
        Ok(Addresses { of_rows, _server: serving })
    }

    /// The messages that the framing of a row carries.
    fn asked(&self, row: usize) -> Vec<usize> {
        let Row { place, framing, .. } = &self.rows[row];
        let largest = place::largest(place).saturating_sub(MOST_FRAMING);
        let fits = |&number: &usize| {
            let Message { bytes, fits } = &self.messages[number];
            bytes.len() <= largest && fits(framing, bytes.len())
        };
        (0..self.messages.len()).filter(fits).collect()
    }

    /// Each message, and after it what answers it.
    fn texts(&self) -> Vec<Vec<u8>> {
        let messages = self.messages.iter().map(|message| &message.bytes);
        messages.flat_map(|bytes| [bytes.clone(), bytes.to_ascii_uppercase()]).collect()
    }
}

impl Row {
    fn serves(&self, server: usize) -> bool {
        self.met.iter().any(|&(serving, _)| serving == server)
    }
}

fn messages() -> Vec<Message> {
    let message = |bytes: &[u8], fits| Message { bytes: bytes.to_vec(), fits };
    // Not the same byte all over, so that parts that changed places are seen.
    let long = |length| (0u32..).map(|number| b'a' + (number % 251 % 26) as u8).take(length).collect::<Vec<_>>();
    vec![
        message(b"Hello, server!", |_, _| true),
        message("grüße, 世界 ✓ naïve".as_bytes(), |_, _| true),
        message(b"a\0b\nc\rd\r\n\0\xff\r", |framing, _| !["lines", "nul"].contains(&framing)),
        message(b"a\0b\rc\x80\xff", |framing, _| framing == "lines"),
        message(b"a\nb\rc\x80\xff\r\n", |framing, _| framing == "nul"),
        message(b"", |framing, _| !["raw", PACKETS].contains(&framing)),
        message(&long(255), |framing, length| most(framing) == length),
        message(&long(4_072), |framing, length| most(framing) > length),
        message(&long(65_535), |framing, length| most(framing) == length),
        message(&long(100_000), |framing, length| most(framing) > length),
        message(&long(60_000), |framing, _| framing == DATAGRAMS),
    ]
}

/// The largest message that a framing's count can hold; `raw` is for small ones, which arrive in one read.
fn most(framing: &str) -> usize {
    match framing {
        "raw" | "length:u8" => 255,
        _ if framing.starts_with("length:u16") => 65_535,
        DATAGRAMS => 65_507,
        _ => usize::MAX,
    }
}
