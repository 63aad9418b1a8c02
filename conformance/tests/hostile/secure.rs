//! TLS that goes wrong: certificates that prove nothing, handshakes that are cut, and what is no TLS, at every server, at
//! every connection that is accepted and at every client. The suite's own end is rustls, or plain bytes.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use panpipe_conformance::{Answer, Job, Outcome, Serving, Step, to_hex};
use rcgen::date_time_ymd;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::certificate::Certificate;
use crate::frames::{self, Frame, GOODBYE};
use crate::peer::{PANPIPE_CLIENTS, PANPIPE_LISTENERS, PANPIPE_SERVERS, PROTOCOL_SERVERS, Peer, Server};
use crate::place::Folder;
use crate::stream::{Listener, Stream, frame};
use crate::victim::Shared;
use crate::{Case, Result, process};

/// The handshake limit of listeners, and what a busy machine adds.
const MOST_OF_A_HANDSHAKE: Duration = Duration::from_secs(8);

/// How long a listener may take to notice that nothing more comes: less than it gives to who is silent.
const MOST_OF_AN_END: Duration = Duration::from_secs(3);

/// How long a peer may take for one case: a net, not a measure.
const LONGEST: Duration = Duration::from_secs(15);

/// How much more memory a server may take for all of this; V8 collects late.
const MOST_MEMORY: usize = 64 << 20;

type ClientStream = StreamOwned<ClientConnection, Stream>;
type ServerStream = StreamOwned<ServerConnection, Stream>;

/// Whose certificate an end shows.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Localhost,
    /// A client that listeners believe, where they ask.
    Client,
    /// Somebody whom nobody believes.
    Stranger,
    Elsewhere,
    Expired,
    Future,
    /// Somebody whose certificate an authority has issued that nobody believes.
    Issued,
}

/// The certificate of each, made once.
fn certificate(who: Who, folder: &Folder) -> &'static Certificate {
    static ALL: OnceLock<Vec<Certificate>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let plain = || Certificate::signed_by_itself(folder, |_| {});
        vec![
            plain(),
            plain(),
            plain(),
            Certificate::signed_by_itself(folder, |params| {
                let name = "elsewhere.example".try_into().expect("it is a name");
                params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
            }),
            Certificate::signed_by_itself(folder, |params| params.not_after = date_time_ymd(2020, 1, 1)),
            Certificate::signed_by_itself(folder, |params| params.not_before = date_time_ymd(2999, 1, 1)),
            Certificate::issued_by_a_stranger(folder),
        ]
    });
    &all[who as usize]
}

fn roots(certificate: &Certificate) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificate.cert)?)?;
    Ok(roots)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(certificate: &Certificate) -> Result<Identity> {
    Ok((vec![CertificateDer::from_pem_file(&certificate.cert)?], PrivateKeyDer::from_pem_file(&certificate.key)?))
}

/// A client that believes the listeners, before its first byte.
fn client(shows: Option<Who>, folder: &Folder) -> Result<ClientConnection> {
    let builder =
        ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots(certificate(Who::Localhost, folder))?);
    let config = match shows {
        Some(who) => {
            let (chain, key) = identity(certificate(who, folder))?;
            builder.with_client_auth_cert(chain, key)?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?)
}

/// A server, before its first byte.
fn server(shows: Who, asks: bool, folder: &Folder) -> Result<ServerConnection> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match asks {
        true => {
            let roots = Arc::new(roots(certificate(Who::Client, folder))?);
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(roots, provider).build()?)
        }
        false => builder.with_no_client_auth(),
    };
    let (chain, key) = identity(certificate(shows, folder))?;
    Ok(ServerConnection::new(Arc::new(builder.with_single_cert(chain, key)?))?)
}

/// The first bytes of a TLS client.
fn client_hello(folder: &Folder) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    client(None, folder)?.write_tls(&mut bytes)?;
    Ok(bytes)
}

/// Bytes that mean nothing, the same each time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

type Bytes = fn() -> Vec<u8>;

/// What is sent where a TLS handshake is to begin.
const NO_TLS: &[(&str, Bytes)] = &[
    ("plain_text", || b"Hello, server!\n".to_vec()),
    ("a_plain_message", || frame("Hello, server!")),
    ("an_HTTP_request", || b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
    ("a_HELLO_of_panpipe", frames::hello),
    ("noise", || noise(64 << 10)),
    ("a_record_of_noise", || [&[22, 3, 1, 1, 0][..], &noise(256)].concat()),
    ("a_record_above_the_limit", || [&[22, 3, 3, 0xff, 0xff][..], &noise(0xffff)].concat()),
    ("application_data_first", || [&[23, 3, 3, 0, 32][..], &noise(32)].concat()),
    ("an_alert_first", || vec![21, 3, 3, 0, 2, 2, 40]),
    ("empty_records_without_end", || [22, 3, 3, 0, 0].repeat(10_000)),
    ("a_handshake_message_of_16_MiB", || vec![22, 3, 3, 0, 4, 1, 0xff, 0xff, 0xff]),
];

/// What a client does with a server that speaks TLS.
type Assault = fn(&Secured, &Folder) -> Result<()>;

type AnyAssault = Box<dyn Fn(&Secured, &Folder) -> Result<()> + Send>;

const ASSAULTS: &[(&str, Assault)] = &[
    ("a_hello_cut_in_the_middle", |secured, folder| {
        let hello = client_hello(folder)?;
        let mut streams = Vec::new();
        for length in [1, 5, hello.len() / 2, hello.len() - 1] {
            for place in [TLS, WSS] {
                let mut stream = secured.connect(place)?;
                stream.write_all(&hello[..length])?;
                stream.end_output()?;
                streams.push(stream);
            }
        }
        streams.iter_mut().try_for_each(|stream| ends_within(MOST_OF_AN_END, stream))
    }),
    ("a_hello_and_then_the_end", |secured, folder| {
        let hello = client_hello(folder)?;
        let mut stream = secured.connect(TLS)?;
        stream.write_all(&hello)?;
        stream.end_output()?;
        ends_soon(&mut stream)
    }),
    ("a_hello_that_does_not_go_on_ends_in_time", |secured, folder| {
        let hello = client_hello(folder)?;
        let mut streams = Vec::new();
        for length in [0, 1, hello.len() / 2] {
            let mut stream = secured.connect(TLS)?;
            stream.write_all(&hello[..length])?;
            streams.push(stream);
        }
        streams.iter_mut().try_for_each(ends_soon)
    }),
    ("a_handshake_byte_by_byte_is_one", |secured, folder| {
        let mut connection = client(None, folder)?;
        let mut stream = secured.connect(TLS)?;
        while connection.is_handshaking() {
            let mut bytes = Vec::new();
            connection.write_tls(&mut bytes)?;
            bytes.iter().try_for_each(|byte| stream.write_all(&[*byte]))?;
            if connection.wants_read() {
                connection.read_tls(&mut stream)?;
                connection.process_new_packets()?;
            }
        }
        exchange(&mut StreamOwned::new(connection, stream))
    }),
    ("no_certificate_where_one_is_wanted", |secured, folder| is_refused(secured.open(ASKS, None, folder)?)),
    ("the_certificate_of_a_stranger", |secured, folder| is_refused(secured.open(ASKS, Some(Who::Stranger), folder)?)),
    ("the_certificate_that_is_wanted", |secured, folder| {
        exchange(&mut secured.open(ASKS, Some(Who::Client), folder)?)
    }),
    ("a_connection_cut_without_a_close_notify", |secured, folder| {
        let mut client = secured.open(TLS, None, folder)?;
        exchange(&mut client)?;
        client.sock.end_output()?;
        ends_soon(&mut client.sock)
    }),
    ("a_record_cut_in_the_middle", |secured, folder| {
        let mut client = secured.open(TLS, None, folder)?;
        exchange(&mut client)?;
        client.sock.write_all(&[23, 3, 3, 1, 0, 7, 7, 7])?;
        client.sock.end_output()?;
        ends_soon(&mut client.sock)
    }),
    ("plain_text_after_the_handshake", |secured, folder| {
        let mut client = secured.open(TLS, None, folder)?;
        exchange(&mut client)?;
        client.sock.write_all(&frame("Hello, server!"))?;
        ends_soon(&mut client.sock)
    }),
    ("a_forged_record_after_the_handshake", |secured, folder| {
        let mut client = secured.open(TLS, None, folder)?;
        exchange(&mut client)?;
        client.sock.write_all(&[&[23, 3, 3, 0, 64][..], &noise(64)].concat())?;
        ends_soon(&mut client.sock)
    }),
    ("a_TLS_hello_where_there_is_no_TLS", |secured, folder| {
        for place in [LINES, LENGTH, WS] {
            let mut stream = secured.connect(place)?;
            stream.write_all(&client_hello(folder)?)?;
            stream.end_output()?;
            let answer = stream.read_rest()?;
            let is_right = match place {
                WS => answer.starts_with(b"HTTP/1.1 400 "),
                // Its first bytes are a length above the limit.
                LENGTH => answer.is_empty(),
                // A line of these bytes is a message as any other.
                _ => true,
            };
            if !is_right {
                return Err(format!("it is answered with {}", answer.escape_ascii()).into());
            }
        }
        Ok(())
    }),
];

/// The places of a server.
const TLS: usize = 0;
const WSS: usize = 1;
const ASKS: usize = 2;
const LINES: usize = 3;
const LENGTH: usize = 4;
const WS: usize = 5;

/// A server that is mistreated, and a client of it that is not.
struct Secured {
    server: Server,
    bystander: Mutex<ClientStream>,
    memory: usize,
}

impl Secured {
    fn start(peer: Peer, folder: &Folder) -> Result<Self> {
        let shown = certificate(Who::Localhost, folder).shown();
        let believed = &certificate(Who::Client, folder).cert;
        let server = peer.serve(vec![
            format!("tls://localhost:0?framing=length&{shown}"),
            format!("wss://localhost:0?protocol=plain&{shown}"),
            format!("tls://localhost:0?framing=length&{shown}&client_ca={believed}"),
            "tcp://localhost:0?framing=lines".to_owned(),
            "tcp://localhost:0?framing=length".to_owned(),
            "ws://localhost:0?protocol=plain".to_owned(),
        ])?;
        let stream = Stream::connect(&server.places[TLS].address)?;
        let mut bystander = StreamOwned::new(client(None, folder)?, stream);
        (0..100).try_for_each(|_| exchange(&mut bystander))?;
        let memory = process::memory(server.places[TLS].pid)?;
        Ok(Secured { server, bystander: Mutex::new(bystander), memory })
    }

    fn connect(&self, place: usize) -> Result<Stream> {
        Ok(Stream::connect(&self.server.places[place].address)?)
    }

    fn open(&self, place: usize, shows: Option<Who>, folder: &Folder) -> Result<ClientStream> {
        Ok(StreamOwned::new(client(shows, folder)?, self.connect(place)?))
    }

    /// Whether the bystander is answered, nothing in the process has broken, and it has not grown.
    fn still_serves(&self) -> Result<()> {
        exchange(&mut self.bystander.lock().unwrap_or_else(PoisonError::into_inner))?;
        let told = self.server.process.stderr();
        if ["panicked", "Traceback", "Unhandled", "uncaught"].iter().any(|sign| told.contains(sign)) {
            return Err(format!("something broke: {told}").into());
        }
        match process::memory(self.server.places[TLS].pid)?.saturating_sub(self.memory) {
            more if more > MOST_MEMORY => Err(format!("it has {more} bytes more than before").into()),
            _ => Ok(()),
        }
    }
}

/// Sends a message and gets its reply.
fn exchange(client: &mut ClientStream) -> Result<()> {
    client.write_all(&frame("bystander"))?;
    let mut reply = [0; 13];
    client.read_exact(&mut reply)?;
    match reply[..] == frame("BYSTANDER") {
        true => Ok(()),
        false => Err(format!("the reply is {reply:?}").into()),
    }
}

/// Whether a server does not talk to this client.
fn is_refused(mut client: ClientStream) -> Result<()> {
    match exchange(&mut client) {
        Ok(()) => Err("it is answered".into()),
        Err(_) => Ok(()),
    }
}

/// Reads to the end, which is to come within the handshake limit.
fn ends_soon(stream: &mut Stream) -> Result<()> {
    ends_within(MOST_OF_A_HANDSHAKE, stream)
}

fn ends_within(longest: Duration, stream: &mut Stream) -> Result<()> {
    let begun = Instant::now();
    stream.read_rest()?;
    match begun.elapsed() {
        took if took > longest => Err(format!("it took {took:?}").into()),
        _ => Ok(()),
    }
}

/// Lets the other end go first, however it does that.
fn waits_for_the_end(stream: &mut Stream) -> Result<()> {
    let _ = stream.read_rest();
    Ok(())
}

/// What a server does with a client, and what the client must say of it.
struct BadServer {
    name: &'static str,
    shows: Who,
    /// The options of the client beside its framing.
    options: fn(&Folder) -> String,
    does: fn(Stream, ServerConnection) -> Result<()>,
    asks: bool,
    /// Where it receives a message and then the end, and not while it connects; with the messages.
    receives: Option<usize>,
    /// `None` for a clean end.
    code: Option<&'static str>,
}

const BAD: BadServer = BadServer {
    name: "",
    shows: Who::Localhost,
    options: |folder| format!("ca={}", certificate(Who::Localhost, folder).cert),
    does: |stream, connection| {
        // The client breaks it off.
        let mut stream = StreamOwned::new(connection, stream);
        let _ = stream.flush();
        let _ = stream.read(&mut [0; 64]);
        Ok(())
    },
    asks: false,
    receives: None,
    code: Some("unauthenticated"),
};

/// What stands in a certificate is not looked at, where its fingerprint is.
fn fingerprint(who: Who, folder: &Folder) -> String {
    let der = CertificateDer::from_pem_file(&certificate(who, folder).cert).expect("it was written");
    let digest = default_provider().cipher_suites.iter().find_map(|suite| {
        let suite = suite.tls13()?;
        // The hash of TLS 1.3's first suites is SHA-256 or SHA-384.
        (suite.common.hash_provider.output_len() == 32).then(|| suite.common.hash_provider.hash(&der))
    });
    format!("fingerprint=sha256:{}", to_hex(digest.expect("a suite has SHA-256").as_ref()))
}

fn says(mut stream: Stream, bytes: &[u8]) -> Result<()> {
    // The client speaks first.
    stream.read_bytes(5)?;
    stream.write_all(bytes)?;
    waits_for_the_end(&mut stream)
}

/// After the handshake and one message.
fn after_a_message(
    stream: Stream,
    connection: ServerConnection,
    then: fn(&mut ServerStream) -> Result<()>,
) -> Result<()> {
    let mut stream = StreamOwned::new(connection, stream);
    stream.write_all(&frame("Hello"))?;
    stream.flush()?;
    then(&mut stream)
}

fn believes(who: Who, folder: &Folder) -> String {
    format!("ca={}", certificate(who, folder).cert)
}

const BAD_SERVERS: &[BadServer] = &[
    BadServer {
        name: "a_certificate_of_another_name",
        shows: Who::Elsewhere,
        options: |folder| believes(Who::Elsewhere, folder),
        ..BAD
    },
    BadServer {
        name: "a_certificate_that_has_expired",
        shows: Who::Expired,
        options: |folder| believes(Who::Expired, folder),
        ..BAD
    },
    BadServer {
        name: "a_certificate_that_is_not_valid_yet",
        shows: Who::Future,
        options: |folder| believes(Who::Future, folder),
        ..BAD
    },
    BadServer { name: "a_self-signed_certificate_that_nobody_knows", shows: Who::Stranger, ..BAD },
    BadServer {
        name: "a_self-signed_certificate_where_the_system_is_believed",
        options: |_| "timeout=10s".to_owned(),
        ..BAD
    },
    BadServer { name: "a_certificate_of_an_unknown_issuer", shows: Who::Issued, ..BAD },
    BadServer {
        name: "a_certificate_of_another_fingerprint",
        options: |folder| fingerprint(Who::Stranger, folder),
        ..BAD
    },
    BadServer {
        name: "a_certificate_of_the_right_fingerprint_whatever_it_says",
        shows: Who::Expired,
        options: |folder| fingerprint(Who::Expired, folder),
        does: |stream, connection| {
            after_a_message(stream, connection, |stream| {
                stream.conn.send_close_notify();
                Ok(stream.flush()?)
            })
        },
        receives: Some(1),
        code: None,
        ..BAD
    },
    BadServer { name: "a_server_that_asks_for_a_certificate", asks: true, receives: Some(0), ..BAD },
    BadServer {
        name: "plain_text",
        does: |stream, _| says(stream, b"220 mail.example ESMTP\r\n"),
        code: Some("bad-peer"),
        ..BAD
    },
    BadServer {
        name: "an_HTTP_response",
        does: |stream, _| says(stream, b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
        code: Some("bad-peer"),
        ..BAD
    },
    BadServer {
        name: "a_HELLO_of_panpipe",
        does: |stream, _| says(stream, &frames::hello()),
        code: Some("bad-peer"),
        ..BAD
    },
    BadServer { name: "noise", does: |stream, _| says(stream, &noise(4096)), code: Some("bad-peer"), ..BAD },
    BadServer {
        name: "a_record_of_noise",
        does: |stream, _| says(stream, &[&[22, 3, 3, 1, 0][..], &noise(256)].concat()),
        code: Some("bad-peer"),
        ..BAD
    },
    BadServer { name: "a_connection_cut_at_once", does: |_, _| Ok(()), code: Some("connection-lost"), ..BAD },
    BadServer {
        name: "a_connection_cut_after_the_hello",
        does: |mut stream, mut connection| {
            connection.read_tls(&mut stream)?;
            Ok(())
        },
        code: Some("connection-lost"),
        ..BAD
    },
    BadServer {
        name: "a_connection_cut_inside_the_answer",
        does: |mut stream, mut connection| {
            let mut answer = Vec::new();
            while answer.is_empty() {
                connection.read_tls(&mut stream)?;
                connection.process_new_packets()?;
                connection.write_tls(&mut answer)?;
            }
            Ok(stream.write_all(&answer[..answer.len() / 2])?)
        },
        code: Some("connection-lost"),
        ..BAD
    },
    BadServer {
        name: "silence",
        options: |_| "timeout=300ms".to_owned(),
        does: |mut stream, _| waits_for_the_end(&mut stream),
        code: Some("deadline-exceeded"),
        ..BAD
    },
    BadServer {
        name: "a_close_notify_between_messages",
        does: |stream, connection| {
            after_a_message(stream, connection, |stream| {
                stream.conn.send_close_notify();
                Ok(stream.flush()?)
            })
        },
        receives: Some(1),
        code: None,
        ..BAD
    },
    BadServer {
        name: "a_connection_cut_without_a_close_notify",
        does: |stream, connection| after_a_message(stream, connection, |_| Ok(())),
        receives: Some(1),
        code: Some("connection-lost"),
        ..BAD
    },
    BadServer {
        name: "a_close_notify_inside_a_message",
        does: |stream, connection| {
            after_a_message(stream, connection, |stream| {
                stream.write_all(&frame("Hello")[..6])?;
                stream.conn.send_close_notify();
                Ok(stream.flush()?)
            })
        },
        receives: Some(1),
        code: Some("connection-lost"),
        ..BAD
    },
    BadServer {
        name: "plain_text_after_the_handshake",
        does: |stream, connection| {
            after_a_message(stream, connection, |stream| {
                stream.sock.write_all(b"Hello, client!\n")?;
                waits_for_the_end(&mut stream.sock)
            })
        },
        receives: Some(1),
        code: Some("bad-peer"),
        ..BAD
    },
    BadServer {
        name: "a_forged_record_after_the_handshake",
        does: |stream, connection| {
            after_a_message(stream, connection, |stream| {
                stream.sock.write_all(&[&[23, 3, 3, 0, 64][..], &noise(64)].concat())?;
                waits_for_the_end(&mut stream.sock)
            })
        },
        receives: Some(1),
        code: Some("bad-peer"),
        ..BAD
    },
];

type End = fn(&mut ClientStream) -> Result<()>;

/// What a client does with an accepted connection after one message, and how that ends.
const BAD_CLIENTS: &[(&str, End, Option<&str>)] = &[
    (
        "a_close_notify_between_messages",
        |client| {
            client.conn.send_close_notify();
            Ok(client.flush()?)
        },
        None,
    ),
    ("a_connection_cut_without_a_close_notify", |_| Ok(()), Some("connection-lost")),
    (
        "a_close_notify_inside_a_message",
        |client| {
            client.write_all(&frame("Hello")[..6])?;
            client.conn.send_close_notify();
            Ok(client.flush()?)
        },
        Some("connection-lost"),
    ),
    (
        "plain_text_after_the_handshake",
        |client| {
            client.sock.write_all(b"Hello, server!\n")?;
            waits_for_the_end(&mut client.sock)
        },
        Some("bad-peer"),
    ),
    (
        "a_forged_record_after_the_handshake",
        |client| {
            client.sock.write_all(&[&[23, 3, 3, 0, 64][..], &noise(64)].concat())?;
            waits_for_the_end(&mut client.sock)
        },
        Some("bad-peer"),
    ),
];

pub(crate) fn cases(folder: &Arc<Folder>) -> Vec<Case> {
    let mut cases = Vec::new();
    for &peer in PANPIPE_SERVERS.iter().filter(|peer| peer.name != "command_program") {
        let shared = Shared::<Secured>::default();
        let mut case = |name: &str, assault: AnyAssault| {
            let (shared, folder) = (Arc::clone(&shared), Arc::clone(folder));
            cases.push(Case::new(format!("tls::server::{}::{name}", peer.name), move || {
                let start = || Secured::start(peer, &folder).map_err(crate::text);
                let secured = shared.get_or_init(start).as_ref().map_err(String::clone)?;
                assault(secured, &folder)?;
                secured.still_serves()
            }));
        };
        for &(name, assault) in ASSAULTS {
            case(name, Box::new(assault));
        }
        for &(name, bytes) in NO_TLS {
            case(name, Box::new(move |secured, _| speak_no_tls(secured, &bytes())));
        }
    }
    for &peer in PROTOCOL_SERVERS {
        let folder = Arc::clone(folder);
        let name = format!("tcp::server::{}::a_TLS_hello_where_there_is_no_TLS", peer.name);
        cases.push(Case::new(name, move || meet_panpipe(peer, &folder)));
    }
    for &peer in PANPIPE_CLIENTS {
        for bad in BAD_SERVERS.iter().filter(|bad| bad.receives.is_none() || peer.name != "command") {
            let folder = Arc::clone(folder);
            cases.push(Case::new(format!("tls::client::{}::{}", peer.name, bad.name), move || {
                meet(peer, bad, "tls", &folder)?;
                // Over a WebSocket it is the same until there is one.
                if bad.receives.is_none() { meet(peer, bad, "wss", &folder) } else { Ok(()) }
            }));
        }
    }
    for &peer in PANPIPE_LISTENERS {
        for &(name, does, code) in BAD_CLIENTS {
            let folder = Arc::clone(folder);
            let name = format!("tls::accepted::{}::{name}", peer.name);
            cases.push(Case::new(name, move || come(peer, does, code, &folder)));
        }
    }
    cases
}

fn speak_no_tls(secured: &Secured, bytes: &[u8]) -> Result<()> {
    let begun = Instant::now();
    let mut streams = Vec::new();
    for place in [TLS, WSS, ASKS] {
        let mut stream = secured.connect(place)?;
        // It may have closed before all of it was written.
        let _ = stream.write_all(bytes);
        streams.push(stream);
    }
    for mut stream in streams {
        let answer = stream.read_rest()?;
        if begun.elapsed() > MOST_OF_A_HANDSHAKE {
            return Err(format!("it took {:?}", begun.elapsed()).into());
        }
        // An alert, or nothing.
        if answer.first().is_some_and(|first| *first != 21) || answer.len() > 64 {
            return Err(format!("it is answered with {}", answer[..answer.len().min(64)].escape_ascii()).into());
        }
    }
    Ok(())
}

fn meet_panpipe(peer: Peer, folder: &Folder) -> Result<()> {
    let server = peer.serve(vec!["tcp://localhost:0".to_owned()])?;
    let mut stream = Stream::connect(&server.places[0].address)?;
    stream.write_all(&client_hello(folder)?)?;
    while let Some(frame) = Frame::read(&mut stream)? {
        if frame.kind == GOODBYE && frame.why().0 == "bad-peer" {
            return Ok(());
        }
    }
    Err("there was no GOODBYE bad-peer".into())
}

fn meet(peer: Peer, bad: &'static BadServer, scheme: &str, folder: &Folder) -> Result<()> {
    let listener = Listener::tcp()?;
    let place = listener.place()?.replace("127.0.0.1", "localhost");
    let protocol = if scheme == "wss" { "protocol=plain" } else { "framing=length" };
    let address = format!("{scheme}://{place}?{protocol}&{}", (bad.options)(folder));
    let connection = server(bad.shows, bad.asks, folder)?;
    thread::spawn(move || {
        // What it meets, its client tells.
        let _ = listener.accept().map_err(Into::into).and_then(|stream| (bad.does)(stream, connection));
    });
    let steps = bad.receives.map_or(Vec::new(), |messages| vec![Step::Recv; messages + 1]);
    let received = bad.receives.unwrap_or_default();
    let process = peer.converse(vec!["61".to_owned()], vec![Job { address, steps, ..Job::default() }])?;
    let outcome = process.next_answer_within(LONGEST)?;
    judge(&outcome, received, bad.code).map_err(|reason| format!("{scheme}: {reason}").into())
}

/// Whether it has received so many messages, and then ended so.
fn judge(outcome: &Outcome, received: usize, code: Option<&str>) -> Result<()> {
    let hello = Answer::Other(to_hex(b"Hello"));
    let is_right = match (outcome, code) {
        (Outcome::Failed(failure), Some(code)) => received == 0 && failure.code == code,
        (Outcome::Opened { answers }, code) => {
            let Some((end, before)) = answers.split_last() else { return Err("it connected".into()) };
            let ends = match (end, code) {
                (Answer::Closed, None) => true,
                (Answer::Failure(failure), Some(code)) => failure.code == code,
                _ => false,
            };
            ends && before == vec![hello; received]
        }
        _ => false,
    };
    match is_right {
        true => Ok(()),
        false => Err(format!("{code:?} is wanted, not {outcome:?}").into()),
    }
}

/// Comes to one who accepts, after others who do not speak TLS.
fn come(peer: Peer, does: fn(&mut ClientStream) -> Result<()>, code: Option<&str>, folder: &Folder) -> Result<()> {
    let shown = certificate(Who::Localhost, folder).shown();
    let address = format!("tls://localhost:0?framing=length&{shown}");
    let job = Job { address, listen: true, steps: vec![Step::Recv; 2], ..Job::default() };
    let process = peer.converse(Vec::new(), vec![job])?;
    let [Serving { address, .. }] = process.next_answer_within(LONGEST)?;
    let mut stranger = Stream::connect(&address)?;
    stranger.write_all(b"Hello, server!\n")?;
    ends_soon(&mut stranger)?;
    let mut client = StreamOwned::new(client(None, folder)?, Stream::connect(&address)?);
    client.write_all(&frame("Hello"))?;
    client.flush()?;
    does(&mut client)?;
    drop(client);
    judge(&process.next_answer_within(LONGEST)?, 1, code)
}
