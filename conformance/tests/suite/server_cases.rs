//! What every server does, whatever its language: the suite is its client, on a plain socket.

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use panpipe_conformance::Serving;

use crate::Case;
use crate::peer::{PANPIPE_SERVERS, Peer, Server};
use crate::place::{self, Folder};
use crate::stream::{Stream, frame};

struct ServerCase {
    name: &'static str,
    options: &'static str,
    check: fn(&Serving) -> std::io::Result<()>,
    /// Its server is asked for nothing else meanwhile, so that its memory can be measured.
    alone: bool,
}

const fn case(name: &'static str, options: &'static str, check: fn(&Serving) -> std::io::Result<()>) -> ServerCase {
    ServerCase { name, options, check, alone: false }
}

const CASES: &[ServerCase] = &[
    case("two_hundred_clients_at_once", "framing=length", two_hundred_clients_at_once),
    case("a_message_cut_at_every_position_is_whole", "framing=length", |server| {
        cut_at_every_position(server, b"\0\0\0\x06cut me", b"\0\0\0\x06CUT ME", &frame("x"), &frame("X"))
    }),
    case("a_head_cut_at_every_position_is_whole", "framing=content-length", |server| {
        let [small, large] = ["x", "X"].map(|text| format!("Content-Length: 1\r\n\r\n{text}").into_bytes());
        let reply = b"Content-Length: 6\r\n\r\nCUT ME";
        cut_at_every_position(server, b"Content-Length: 6\r\n\r\ncut me", reply, &small, &large)
    }),
    case("a_slow_and_a_silent_client_delay_nobody", "framing=length", a_slow_and_a_silent_client_delay_nobody),
    case("half_close_is_answered", "framing=length", half_close_is_answered),
    case("closing_between_messages_is_closed_in_return", "framing=length", closing_between_messages),
    case("too_large_is_refused_by_the_receiver", "framing=length&max=10", too_large_is_refused),
    case("a_broken_length_ends_its_connection_alone", "framing=netstring", a_broken_length_ends_its_connection_alone),
    case("text_mode_has_strings_for_the_handler", "framing=length&text=true", text_mode_has_strings),
    case("http_request_is_refused", "framing=lines", |server| http_request_is_refused(server, "/")),
    case("http_request_that_comes_in_parts_is_refused", "framing=lines", |server| {
        http_request_is_refused(server, &"/long".repeat(200_000))
    }),
    ServerCase {
        name: "a_length_of_2_pow_32_minus_1_and_2_pow_63_costs_no_memory",
        options: "framing=length:u64&max=8GiB",
        check: a_huge_length_costs_no_memory,
        alone: true,
    },
    ServerCase {
        name: "a_client_that_does_not_read_its_replies_costs_no_memory",
        options: "framing=length",
        check: a_client_that_does_not_read_costs_no_memory,
        alone: true,
    },
];

/// The addresses of one server: its cases at tcp, then at unix.
type Shared = Arc<OnceLock<Result<Server, String>>>;

pub(crate) fn cases(folder: &Arc<Folder>) -> Vec<Case> {
    let mut cases = Vec::new();
    for &peer in PANPIPE_SERVERS {
        for place in ["tcp", "unix", "one_port"] {
            let shared = Shared::default();
            for (number, case) in CASES.iter().enumerate() {
                let name = format!("{place}::server::{}::{}", peer.name, case.name);
                let (shared, folder) = (Arc::clone(&shared), Arc::clone(folder));
                cases.push(Case::new(name, move || {
                    let check = |serving| (case.check)(serving).map_err(|reason| reason.to_string());
                    if case.alone {
                        return check(&serve(peer, place, std::slice::from_ref(case), &folder)?.places[0]);
                    }
                    let server = shared.get_or_init(|| serve(peer, place, CASES, &folder)).as_ref()?;
                    check(&server.places[number])
                }));
            }
        }
    }
    cases
}

fn serve(peer: Peer, place: &str, cases: &[ServerCase], folder: &Folder) -> Result<Server, String> {
    let address = |case: &ServerCase| place::address(place, case.options, folder);
    peer.serve(cases.iter().map(address).collect::<Result<_, _>>()?)
}

fn two_hundred_clients_at_once(server: &Serving) -> std::io::Result<()> {
    let text = |client: usize, round: usize| format!("client {client} of 200, round {round}");
    let mut clients = (0..200).map(|_| Stream::connect(&server.address)).collect::<Result<Vec<_>, _>>()?;
    for round in 0..3 {
        let frames: Vec<_> = (0..clients.len()).map(|client| frame(&text(client, round))).collect();
        for (client, frame) in clients.iter_mut().zip(&frames) {
            client.write_all(&frame[..9])?;
        }
        for (client, frame) in clients.iter_mut().zip(&frames).rev() {
            client.write_all(&frame[9..])?;
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.receive()?, text(number, round).to_uppercase());
        }
    }
    Ok(())
}

/// Where the other end of a witness is answered, the server has looked at all that came before.
fn cut_at_every_position(
    server: &Serving,
    request: &[u8],
    reply: &[u8],
    ask_witness: &[u8],
    told_witness: &[u8],
) -> std::io::Result<()> {
    let (mut client, mut witness) = (Stream::connect(&server.address)?, Stream::connect(&server.address)?);
    for cut in 1..request.len() {
        client.write_all(&request[..cut])?;
        witness.write_all(ask_witness)?;
        assert_eq!(witness.read_bytes(told_witness.len())?, told_witness);
        client.write_all(&request[cut..])?;
        assert_eq!(client.read_bytes(reply.len())?, reply, "cut after {cut} bytes");
    }
    Ok(())
}

fn a_slow_and_a_silent_client_delay_nobody(server: &Serving) -> std::io::Result<()> {
    let _silent = Stream::connect(&server.address)?;
    let mut slow = Stream::connect(&server.address)?;
    slow.write_all(&frame("slow")[..6])?;
    let begun = Instant::now();
    for _ in 0..10 {
        let mut quick = Stream::connect(&server.address)?;
        quick.send(&["quick"])?;
        assert_eq!(quick.receive()?, "QUICK");
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    slow.write_all(&frame("slow")[6..])?;
    assert_eq!(slow.receive()?, "SLOW");
    Ok(())
}

fn half_close_is_answered(server: &Serving) -> std::io::Result<()> {
    let mut client = Stream::connect(&server.address)?;
    // More than a socket's buffer holds, so that the rest of the reply is written after the end was seen.
    let long = "long".repeat(225_000);
    client.send(&["one", "two", &long])?;
    client.end_output()?;
    assert!(client.read_rest()? == ["ONE", "TWO", &long.to_uppercase()].map(frame).concat());
    Ok(())
}

fn closing_between_messages(server: &Serving) -> std::io::Result<()> {
    let mut client = Stream::connect(&server.address)?;
    client.send(&["one"])?;
    assert_eq!(client.receive()?, "ONE");
    client.end_output()?;
    assert_eq!(client.read_rest()?, b"");
    Ok(())
}

fn too_large_is_refused(server: &Serving) -> std::io::Result<()> {
    let mut client = Stream::connect(&server.address)?;
    client.send(&["ten bytes!"])?;
    assert_eq!(client.receive()?, "TEN BYTES!");
    // It is refused by its length alone: the message itself never comes.
    client.write_all(&11u32.to_be_bytes())?;
    assert_eq!(client.read_rest()?, b"");
    Ok(())
}

fn a_broken_length_ends_its_connection_alone(server: &Serving) -> std::io::Result<()> {
    let (mut broken, mut whole) = (Stream::connect(&server.address)?, Stream::connect(&server.address)?);
    broken.write_all(b"3:abc,x")?;
    assert_eq!(broken.read_rest()?, b"3:ABC,");
    whole.write_all(b"3:abc,")?;
    whole.end_output()?;
    assert_eq!(whole.read_rest()?, b"3:ABC,");
    Ok(())
}

fn text_mode_has_strings(server: &Serving) -> std::io::Result<()> {
    let mut client = Stream::connect(&server.address)?;
    client.send(&["grüße"])?;
    assert_eq!(client.receive()?, "GRÜSSE", "only strings have an ü in upper case");
    Ok(())
}

fn http_request_is_refused(server: &Serving, path: &str) -> std::io::Result<()> {
    let mut client = Stream::connect(&server.address)?;
    // The server may close before it has read everything.
    let _ = client.write_all(format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    let _ = client.end_output();
    let answer = client.read_rest()?;
    assert!(answer.is_empty(), "it was answered with {}", answer[..answer.len().min(50)].escape_ascii());
    Ok(())
}

/// 2³²−1 is below this server's `max`: it waits for more, and only what has come may cost. 2⁶³ is above.
fn a_huge_length_costs_no_memory(server: &Serving) -> std::io::Result<()> {
    const MOST: u64 = 8 << 20;
    /// Memory that is asked for and not used costs address space alone, but nobody asks for all of 2³²−1 bytes.
    const MOST_RESERVED: u64 = 256 << 20;
    let mut witness = Stream::connect(&server.address)?;
    let mut exchange = || {
        witness.write_all(&[&1u64.to_be_bytes(), &b"a"[..]].concat())?;
        witness.read_exact(&mut [0; 9])
    };
    exchange()?;
    let (before, reserved) = (memory(server.pid, "VmRSS")?, memory(server.pid, "VmData")?);
    // From here on the peak counts (proc_pid_clear_refs(5)).
    std::fs::write(format!("/proc/{}/clear_refs", server.pid), "5")?;
    let mut waiting = Stream::connect(&server.address)?;
    waiting.write_all(&[&u64::from(u32::MAX).to_be_bytes(), &b"some of it"[..]].concat())?;
    let mut refused = Stream::connect(&server.address)?;
    refused.write_all(&[&(1u64 << 63).to_be_bytes(), &b"some of it"[..]].concat())?;
    assert_eq!(refused.read_rest()?, b"");
    // What was answered later was read later: the server makes room for more, and is given more.
    exchange()?;
    waiting.write_all(b"more of it")?;
    exchange()?;
    let grown = memory(server.pid, "VmHWM")?.saturating_sub(before);
    assert!(grown <= MOST, "the server grew by {grown} bytes");
    let grown = memory(server.pid, "VmData")?.saturating_sub(reserved);
    assert!(grown <= MOST_RESERVED, "the server reserved {grown} bytes");
    Ok(())
}

fn a_client_that_does_not_read_costs_no_memory(server: &Serving) -> std::io::Result<()> {
    const MOST: u64 = 24 << 20;
    const MESSAGES: usize = 1_500;
    let text = "x".repeat(60_000);
    let mut client = Stream::connect(&server.address)?;
    client.send(&[&text])?;
    assert!(client.receive()? == text.to_uppercase());
    let before = memory(server.pid, "VmRSS")?;
    // From here on the peak counts (proc_pid_clear_refs(5)).
    std::fs::write(format!("/proc/{}/clear_refs", server.pid), "5")?;
    client.limit_writes(Duration::from_millis(300))?;
    let sent = (0..MESSAGES).take_while(|_| client.send(&[&text]).is_ok()).count();
    assert!(sent < MESSAGES, "the server took in {sent} messages");
    let grown = memory(server.pid, "VmHWM")?.saturating_sub(before);
    assert!(grown <= MOST, "the server grew by {grown} bytes");
    // It was only waiting.
    for _ in 0..sent.min(50) {
        assert!(client.receive()? == text.to_uppercase());
    }
    Ok(())
}

/// A line of /proc/PID/status, in bytes.
pub(crate) fn memory(pid: u32, name: &str) -> std::io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.strip_suffix("kB"));
    line.and_then(|line| line.trim().parse::<u64>().ok())
        .map(|kib| kib << 10)
        .ok_or(std::io::ErrorKind::NotFound.into())
}
