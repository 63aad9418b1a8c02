//! What every client does with a server that breaks a rule: the suite is that server, on a plain socket.

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};
use std::thread;

use panpipe_conformance::{Answer, Failure, Job, Outcome};

use crate::Case;
use crate::peer::{Outcomes, PANPIPE_CLIENTS};
use crate::place::Folder;
use crate::stream::{Listener, Stream};

/// What the server does with each connection.
#[derive(Clone, Copy)]
enum Server {
    /// Reads so many bytes, writes these, and ends.
    Answers(usize, &'static [u8]),
    /// The same, and stays.
    AnswersAndStays(usize, &'static [u8]),
    /// Is gone before anybody connects.
    Gone,
}

use Server::{Answers, AnswersAndStays, Gone};

/// What a step must bring.
#[derive(Debug)]
enum Want {
    Text(usize),
    Closed,
    /// Code, and whether the server may have run it.
    Fails(&'static str, &'static str),
}

use Want::{Closed, Fails, Text};

struct ClientCase {
    name: &'static str,
    options: &'static str,
    server: Server,
    steps: &'static [Option<usize>],
    want: &'static [Want],
}

/// The messages that the steps name.
const TEXTS: &[&str] = &["Hello, server!", "HELLO, SERVER!", "four", "grüße"];
const HELLO: Option<usize> = Some(0);
const FOUR: Option<usize> = Some(2);
const RECV: Option<usize> = None;

const CASES: &[ClientCase] = &[
    ClientCase {
        name: "closed_between_messages",
        options: "framing=lines",
        server: Answers(15, b"HELLO, SERVER!\n"),
        steps: &[HELLO, RECV, RECV],
        want: &[Text(1), Closed, Closed],
    },
    ClientCase {
        name: "closed_before_the_reply",
        options: "framing=lines",
        server: Answers(15, b""),
        steps: &[HELLO],
        want: &[Fails("connection-lost", "maybe")],
    },
    ClientCase {
        name: "closed_inside_a_message_that_answers_a_call",
        options: "framing=length",
        server: Answers(18, b"\0\0\0\x0eHELLO"),
        steps: &[HELLO],
        want: &[Fails("connection-lost", "maybe")],
    },
    ClientCase {
        name: "closed_inside_a_message_that_answers_none",
        options: "framing=length",
        server: Answers(0, b"\0\0\0\x0eHELLO"),
        steps: &[RECV],
        want: &[Fails("connection-lost", "no")],
    },
    ClientCase {
        name: "too_large_is_refused_by_the_sender_and_the_connection_lives_on",
        options: "framing=lines&max=4",
        server: AnswersAndStays(5, b"four\n"),
        steps: &[HELLO, FOUR],
        want: &[Fails("too-large", "no"), Text(2)],
    },
    ClientCase {
        name: "too_large_is_refused_by_the_receiver",
        options: "framing=length&max=4",
        server: AnswersAndStays(8, b"\0\0\0\x05"),
        steps: &[FOUR],
        want: &[Fails("too-large", "maybe")],
    },
    ClientCase {
        name: "a_length_of_2_pow_63_is_too_large",
        options: "framing=length:u64le",
        server: AnswersAndStays(22, b"\0\0\0\0\0\0\0\x80"),
        steps: &[HELLO],
        want: &[Fails("too-large", "maybe")],
    },
    ClientCase {
        name: "what_a_count_cannot_hold_is_too_large",
        options: "framing=length:u8",
        server: AnswersAndStays(256, b""),
        steps: &[Some(4)],
        want: &[Fails("too-large", "no")],
    },
    ClientCase {
        name: "what_a_framing_cannot_carry_is_unsupported",
        options: "framing=lines",
        server: AnswersAndStays(7, b""),
        steps: &[Some(5)],
        want: &[Fails("unsupported", "no")],
    },
    ClientCase {
        name: "a_broken_length_is_bad_peer",
        options: "framing=netstring",
        server: AnswersAndStays(18, b"014:HELLO, SERVER!,"),
        steps: &[HELLO],
        want: &[Fails("bad-peer", "maybe")],
    },
    ClientCase {
        name: "a_broken_header_is_bad_peer",
        options: "framing=content-length",
        server: AnswersAndStays(36, b"Content-Type: text\r\n\r\n"),
        steps: &[HELLO],
        want: &[Fails("bad-peer", "maybe")],
    },
    ClientCase {
        name: "a_count_of_more_than_64_bits_is_bad_peer",
        options: "framing=varint",
        server: AnswersAndStays(15, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
        steps: &[HELLO],
        want: &[Fails("bad-peer", "maybe")],
    },
    ClientCase {
        name: "a_silent_server_is_deadline_exceeded",
        options: "framing=lines&timeout=200ms",
        server: AnswersAndStays(15, b""),
        steps: &[HELLO],
        want: &[Fails("deadline-exceeded", "maybe")],
    },
    ClientCase {
        name: "text_mode_has_strings",
        options: "framing=lines&text=true",
        server: AnswersAndStays(8, "grüße\n".as_bytes()),
        steps: &[Some(3)],
        want: &[Text(3)],
    },
    ClientCase {
        name: "text_mode_and_bytes_that_are_not_utf8_is_bad_peer_for_that_message",
        options: "framing=lines&text=true",
        server: AnswersAndStays(15, b"HELL\xff\nfour\n"),
        steps: &[HELLO, RECV],
        want: &[Fails("bad-peer", "maybe"), Text(2)],
    },
    ClientCase { name: "nobody_listens_is_refused", options: "framing=lines", server: Gone, steps: &[], want: &[] },
];

/// The addresses of the servers of every case at one place.
type Servers = Arc<OnceLock<Result<Vec<String>, String>>>;

type SharedOutcomes = Arc<OnceLock<Result<Outcomes, String>>>;

pub(crate) fn cases(folder: &Arc<Folder>) -> Vec<Case> {
    let mut cases = Vec::new();
    for place in ["tcp", "unix"] {
        let servers = Servers::default();
        for &client in PANPIPE_CLIENTS {
            let outcomes = SharedOutcomes::default();
            for (number, case) in CASES.iter().enumerate() {
                let name = format!("{place}::client::{}::{}", client.name, case.name);
                let (servers, outcomes, folder) = (Arc::clone(&servers), Arc::clone(&outcomes), Arc::clone(folder));
                cases.push(Case::new(name, move || {
                    let start = || start_all(place, &folder).map_err(|reason| reason.to_string());
                    let addresses = servers.get_or_init(start).as_ref()?;
                    let run = || client.call(&texts(), jobs(addresses));
                    check(case, &addresses[number], outcomes.get_or_init(run).as_ref()?[number].as_ref()?)
                }));
            }
        }
    }
    cases
}

fn texts() -> Vec<Vec<u8>> {
    let texts = TEXTS.iter().map(|text| text.as_bytes().to_vec());
    texts.chain([vec![b'a'; 256], b"a line\nand another".to_vec()]).collect()
}

fn start_all(place: &str, folder: &Folder) -> std::io::Result<Vec<String>> {
    CASES.iter().map(|case| start(case, place, folder)).collect()
}

fn start(case: &'static ClientCase, place: &str, folder: &Folder) -> std::io::Result<String> {
    if place == "tcp" && matches!(case.server, Gone) {
        // Below the ports that the system picks, so that no listener of another case can have it.
        return Ok(format!("tcp://127.0.0.1:1?{}", case.options));
    }
    let listener = if place == "tcp" { Listener::tcp()? } else { Listener::unix(folder.path())? };
    let address = listener.address(case.options)?;
    if !matches!(case.server, Gone) {
        thread::spawn(move || {
            while let Ok(stream) = listener.accept() {
                // A client that goes away earlier has been judged by what it said.
                thread::spawn(|| case.server.converse(stream));
            }
        });
    }
    Ok(address)
}

impl Server {
    fn converse(self, mut stream: Stream) -> std::io::Result<()> {
        let (Answers(count, reply) | AnswersAndStays(count, reply)) = self else { return Ok(()) };
        stream.read_exact(&mut vec![0; count])?;
        stream.write_all(reply)?;
        if let AnswersAndStays(..) = self {
            stream.read_rest()?;
        }
        Ok(())
    }
}

fn jobs(addresses: &[String]) -> Vec<Job> {
    let job = |(case, address): (&ClientCase, &String)| Job {
        address: address.clone(),
        steps: case.steps.to_vec(),
        ..Job::default()
    };
    CASES.iter().zip(addresses).map(job).collect()
}

fn check(case: &ClientCase, address: &str, outcome: &Outcome) -> Result<(), String> {
    let answers = match (outcome, case.server) {
        (Outcome::Opened { answers }, Answers(..) | AnswersAndStays(..)) => answers,
        (Outcome::Failed(failure), Gone) => return check_failure(failure, address, "refused", "no"),
        _ => return Err(format!("{outcome:?}")),
    };
    if answers.len() != case.want.len() {
        return Err(format!("{answers:?}"));
    }
    for (answer, want) in answers.iter().zip(case.want) {
        match (answer, want) {
            (Answer::Text(text), Text(wanted)) if text == wanted => {}
            (Answer::Closed, Closed) => {}
            (Answer::Failure(failure), Fails(code, ran)) => check_failure(failure, address, code, ran)?,
            _ => return Err(format!("{want:?} is wanted, not {answer:?}")),
        }
    }
    Ok(())
}

fn check_failure(failure: &Failure, address: &str, code: &str, ran: &str) -> Result<(), String> {
    // The command says nothing of `ran`.
    let same_ran = failure.ran.as_deref().is_none_or(|told| told == ran);
    match failure.code == code && same_ran && failure.text.contains(address) {
        true => Ok(()),
        false => Err(format!("{code} with ran={ran} on {address} is wanted, not {failure:?}")),
    }
}
