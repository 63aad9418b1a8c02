//! What every client does with a server that breaks a rule: the suite is that server, on a plain socket.

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use panpipe_conformance::{Answer, Failure, Flow, Job, Outcome, Step};

use crate::Case;
use crate::peer::{Outcomes, PANPIPE_CLIENTS};
use crate::place::Folder;
use crate::stream::{Listener, Stream, frame};

/// What the server does with each connection.
#[derive(Clone, Copy)]
enum Server {
    /// Reads so many bytes, writes these, and ends.
    Answers(usize, &'static [u8]),
    /// The same, and stays.
    AnswersAndStays(usize, &'static [u8]),
    /// Answers each message with itself, cut where it says: `cut 01` after one byte.
    Cuts,
    /// Sends the first text again and again, cut at every position, and its rest when the client has sent it too.
    CutsAndWaits,
    /// Is gone before anybody connects.
    Gone,
}

use Server::{Answers, AnswersAndStays, Cuts, CutsAndWaits, Gone};

/// What a step must bring.
#[derive(Debug, Clone, Copy)]
enum Want {
    Text(usize),
    Closed,
    /// Messages sent and received.
    Flows(usize, usize),
    /// Code, and whether the server may have run it.
    Fails(&'static str, &'static str),
}

use Want::{Closed, Fails, Flows, Text};

struct ClientCase {
    name: &'static str,
    options: &'static str,
    server: Server,
    steps: &'static [Step],
    want: &'static [Want],
}

/// The messages that the steps name.
const TEXTS: &[&str] = &["Hello, server!", "HELLO, SERVER!", "four", "grüße"];
const HELLO: Step = Step::Call(0);
const FOUR: Step = Step::Call(2);
const RECV: Step = Step::Recv;

/// `cut 01` with its head has one byte more.
const CUTS: usize = 26;
const FIRST_CUT: usize = TEXTS.len() + 2;
/// The first text with its head has one byte more.
const WAITING_CUTS: usize = 17;
const GIVES_UP: u64 = 10;

const CUT_STEPS: [Step; CUTS] = {
    let mut steps = [RECV; CUTS];
    let mut number = 0;
    while number < CUTS {
        steps[number] = Step::Call(FIRST_CUT + number);
        number += 1;
    }
    steps
};

const CUT_WANT: [Want; CUTS] = {
    let mut want = [Closed; CUTS];
    let mut number = 0;
    while number < CUTS {
        want[number] = Text(FIRST_CUT + number);
        number += 1;
    }
    want
};

const fn flow(send: usize, recv: usize, within: u64) -> Step {
    Step::Flow(Flow { send, recv, of: 1, within })
}

/// For each cut: gives up on receiving, sends, receives.
const WAITING_STEPS: [[Step; 3]; WAITING_CUTS] = [[flow(0, 1, GIVES_UP), flow(1, 0, 0), flow(0, 1, 0)]; WAITING_CUTS];
const WAITING_WANT: [[Want; 3]; WAITING_CUTS] = [[Flows(0, 0), Flows(1, 0), Flows(0, 1)]; WAITING_CUTS];

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
        steps: &[Step::Call(4)],
        want: &[Fails("too-large", "no")],
    },
    ClientCase {
        name: "what_a_framing_cannot_carry_is_unsupported",
        options: "framing=lines",
        server: AnswersAndStays(7, b""),
        steps: &[Step::Call(5)],
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
        steps: &[Step::Call(3)],
        want: &[Text(3)],
    },
    ClientCase {
        name: "text_mode_and_bytes_that_are_not_utf8_is_bad_peer_for_that_message",
        options: "framing=lines&text=true",
        server: AnswersAndStays(15, b"HELL\xff\nfour\n"),
        steps: &[HELLO, RECV],
        want: &[Fails("bad-peer", "maybe"), Text(2)],
    },
    ClientCase {
        name: "a_message_cut_at_any_position_is_whole",
        options: "framing=content-length",
        server: Cuts,
        steps: &CUT_STEPS,
        want: &CUT_WANT,
    },
    ClientCase {
        name: "cancel_of_a_recv_inside_a_message",
        options: "framing=length",
        server: CutsAndWaits,
        steps: WAITING_STEPS.as_flattened(),
        want: WAITING_WANT.as_flattened(),
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
    let cuts = (1..=CUTS).map(|cut| format!("cut {cut:02}").into_bytes());
    texts.chain([vec![b'a'; 256], b"a line\nand another".to_vec()]).chain(cuts).collect()
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
        match self {
            Answers(count, reply) | AnswersAndStays(count, reply) => {
                stream.read_exact(&mut vec![0; count])?;
                stream.write_all(reply)?;
                if let AnswersAndStays(..) = self {
                    stream.read_rest()?;
                }
            }
            Cuts => loop {
                let mut message = [0; CUTS + 1];
                stream.read_exact(&mut message)?;
                let cut = message[CUTS - 1..].iter().fold(0, |cut, digit| 10 * cut + usize::from(digit & 15));
                stream.write_all(&message[..cut])?;
                // So long that a client that waits has read what there is.
                thread::sleep(Duration::from_millis(2));
                stream.write_all(&message[cut..])?;
            },
            CutsAndWaits => {
                let message = frame(TEXTS[0]);
                for cut in 1..=WAITING_CUTS {
                    stream.write_all(&message[..cut])?;
                    stream.read_exact(&mut vec![0; message.len()])?;
                    stream.write_all(&message[cut..])?;
                }
                stream.read_rest()?;
            }
            Gone => {}
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
        (Outcome::Failed(failure), Gone) => return check_failure(failure, address, "refused", "no"),
        (Outcome::Opened { answers }, server) if !matches!(server, Gone) => answers,
        _ => return Err(format!("{outcome:?}")),
    };
    if answers.len() != case.want.len() {
        return Err(format!("{answers:?}"));
    }
    for (answer, want) in answers.iter().zip(case.want) {
        match (answer, want) {
            (Answer::Text(text), Text(wanted)) if text == wanted => {}
            (Answer::Closed, Closed) => {}
            (Answer::Flowed { sent, received }, Flows(sends, receives)) if (sent, received) == (sends, receives) => {}
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
