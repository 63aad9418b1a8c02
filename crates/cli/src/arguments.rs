//! The command line: what may be asked, and the help that says so.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use panpipe::Policy;
use panpipe_link::Address;

use crate::cert;
use crate::program::Program;
use crate::stubs::Language;

const EXAMPLES: &str = "\
Examples:
  panpipe serve tcp://localhost:9999 --upper                   offers the method upper, for ever
  panpipe call tcp://localhost:9999 upper 'Hello, server!'     prints HELLO, SERVER!
  panpipe describe tcp://localhost:9999                        what a service offers
  panpipe serve 'tcp://localhost:9999?framing=raw' --upper     the same for any plain socket program
  panpipe serve 'tcp://localhost:9999?accept=panpipe,ws,lines' --upper
                                                               for callers, browsers and nc on one port
  panpipe methods                                              what may stand in an address

Exit codes:
  0 ok                              4 deadline passed           7 the other side closed early
  1 the peer answered an error      5 bad peer or framing       130 Ctrl-C
  2 usage                           6 message too large
  3 cannot connect or listen";

const SERVE_EXAMPLES: &str = "\
Examples:
  panpipe serve tcp://localhost:9999 --upper                          offers the method upper
  panpipe serve unix:/tmp/tr.sock -- tr a-z A-Z                       offers the method run: one run of tr a call
  panpipe serve 'tcp://localhost:9999?framing=raw' --upper            any plain socket program may call
  panpipe serve 'unix:/tmp/upper.sock?framing=lines' -- tr a-z A-Z    one run of tr a message

The real address is told on stderr once it is ready: `listening on ADDRESS`.
Port 0, or a unix: path that ends in *, picks a free one.
SIGTERM lets the calls that run finish, for ten seconds at most.";

const CALL_EXAMPLES: &str = "\
Examples:
  panpipe call tcp://localhost:9999 upper 'Hello, server!'
  panpipe call tcp://localhost:9999 grow plant='{\"name\":\"oak\"}' by=3
  panpipe call unix:/tmp/tr.sock run - < letter.txt > LETTER.TXT
  panpipe call spawn: upper hello -- python3 worker.py                starts a program, and it ends with the call
  panpipe call 'tcp://localhost:9999?framing=raw' 'Hello, server!'    a plain message, to any plain socket program

An argument is JSON where it is some, else text; what the service says of itself decides where it does.
`-` is all of stdin, as bytes; NAME=VALUE is an argument by name.
A method that takes a stream gets the lines of stdin.
Bytes are printed as they are, text as text, anything else as JSON; a stream as one item a line.";

const STUBS_EXAMPLES: &str = "\
Examples:
  panpipe stubs tcp://localhost:9999 --lang ts > garden.ts
  panpipe stubs spawn: --lang py -- node garden.mjs > garden.py";

const CERT_EXAMPLES: &str = "\
Examples:
  panpipe cert server.example 192.0.2.7        writes server.example.crt and server.example.key
  panpipe cert server.example --days 30 --force

It signs itself, and is for localhost, 127.0.0.1 and ::1 too. The key is for its owner alone to read.
Whoever listens gives cert= and key=; whoever connects gives ca= with the .crt, or fingerprint= with what is printed.
The other way round it works too: a listener with client_ca= or fingerprint= takes clients that show theirs.";

/// Connects any two processes over any IPC method: the method is only an address.
#[derive(Parser)]
#[command(name = "panpipe", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Listen on an address and answer every message, until Ctrl-C
    Serve(Serve),
    /// Call a method, or send one plain message, and print the reply
    Call(Call),
    /// Print what is published on a topic, an item a line, until Ctrl-C
    Subscribe(Subscribe),
    /// Publish an item on a topic
    Publish(Publish),
    /// Say what a service offers
    Describe(Describe),
    /// Write a client with types from what a service offers
    Stubs(Stubs),
    /// Make a certificate and its key, for addresses over TLS
    Cert(Cert),
    /// Print the script that has a shell complete this command: bash, zsh, fish and others
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual, for man -l
    Man,
    /// List the transports and framings, with what each is good for
    Methods {
        /// Print Markdown tables
        #[arg(long)]
        markdown: bool,
        /// Measure each on this machine too, which takes a second or two
        #[arg(long)]
        measure: bool,
    },
}

#[derive(Args)]
#[command(override_usage = "panpipe serve <ADDRESS> <--upper | --echo | -- PROGRAM [ARG]...>", after_help = SERVE_EXAMPLES)]
#[group(skip)]
pub(crate) struct Serve {
    /// Where to listen, as tcp://localhost:9999, unix:/tmp/a.sock or - (stdin and stdout)
    // For `-?framing=lines`.
    #[arg(allow_hyphen_values = true)]
    pub(crate) address: String,
    #[command(flatten)]
    pub(crate) handler: Handler,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Handler {
    /// Offer the method upper, or answer each message in upper case: ASCII, or every letter with text=true
    #[arg(long)]
    pub(crate) upper: bool,
    /// Offer the method echo, or answer each message with itself
    #[arg(long)]
    pub(crate) echo: bool,
    /// Offer the method run, or answer each message, by a program: stdin is what came, stdout the reply
    #[arg(last = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<OsString>,
}

impl Handler {
    /// The program that answers, for the messages of `address`.
    pub(crate) fn program_for(&self, address: &Address) -> Option<Arc<Program>> {
        (!self.program.is_empty()).then(|| Arc::new(Program::new(self.program.clone(), address)))
    }

    /// The program with its arguments, for people.
    pub(crate) fn command(&self) -> String {
        self.program.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }
}

#[derive(Args)]
#[command(
    override_usage = "panpipe call [OPTIONS] <ADDRESS> <METHOD> [ARG | NAME=VALUE]... [-- PROGRAM [ARG]...]\n       \
                      panpipe call [OPTIONS] <ADDRESS?framing=...> [MESSAGE] [-- PROGRAM [ARG]...]",
    after_help = CALL_EXAMPLES
)]
pub(crate) struct Call {
    /// Whom to call
    #[arg(allow_hyphen_values = true)]
    pub(crate) address: String,
    /// The method and its arguments, or the message [default of a message: all of stdin]
    #[arg(value_name = "WORD", allow_negative_numbers = true)]
    pub(crate) words: Vec<OsString>,
    /// How long connecting and the call may take each, as 500ms or 2s [default: the address's]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Print exactly the reply, without a newline where it has none at its end
    #[arg(short, long)]
    pub(crate) no_newline: bool,
    /// Print with an error what else the other side tells of it: its traceback, data and causes
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// The program that the address leaves out; with any other address, more words
    #[arg(last = true, value_name = "PROGRAM")]
    pub(crate) rest: Vec<OsString>,
}

/// A peer to go to.
#[derive(Args)]
pub(crate) struct Target {
    /// Whom to connect to
    #[arg(allow_hyphen_values = true)]
    pub(crate) address: String,
    /// How long connecting and each call may take, as 500ms or 2s [default: the address's]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

/// What a child is that the peer is to be.
#[derive(Args)]
pub(crate) struct Started {
    /// The program that the address leaves out
    #[arg(last = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<OsString>,
}

#[derive(Args)]
pub(crate) struct Subscribe {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The topic
    pub(crate) topic: String,
    /// What to do with items that are not printed in time: drop-oldest, drop-newest, disconnect or block
    #[arg(long, default_value = "drop-oldest", value_parser = policy, hide_default_value = true)]
    pub(crate) policy: Policy,
    #[command(flatten)]
    pub(crate) started: Started,
}

#[derive(Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The topic
    pub(crate) topic: String,
    /// The item: JSON where it is some, else text; - is all of stdin, as bytes
    #[arg(allow_negative_numbers = true)]
    pub(crate) item: String,
    #[command(flatten)]
    pub(crate) started: Started,
}

#[derive(Args)]
pub(crate) struct Describe {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Print the OpenRPC document
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) started: Started,
}

#[derive(Args)]
#[command(after_help = STUBS_EXAMPLES)]
pub(crate) struct Stubs {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The language of the client
    #[arg(long)]
    pub(crate) lang: Language,
    #[command(flatten)]
    pub(crate) started: Started,
}

#[derive(Args)]
#[command(after_help = CERT_EXAMPLES)]
pub(crate) struct Cert {
    /// The names or IP addresses that the listener is reached by; the files are called after the first
    #[arg(required = true, value_name = "NAME", value_parser = cert::name)]
    pub(crate) names: Vec<String>,
    /// How many days it is valid
    #[arg(long, value_name = "N", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(crate) days: u32,
    /// Replace files that are there
    #[arg(long)]
    pub(crate) force: bool,
}

fn policy(name: &str) -> Result<Policy, String> {
    let known = Policy::ALL.iter().find(|(known, _)| *known == name).map(|(_, policy)| *policy);
    known.ok_or_else(|| {
        let names: Vec<_> = Policy::ALL.iter().map(|(name, _)| *name).collect();
        format!("no policy is called {name:?}; known: {}", names.join(", "))
    })
}

/// A duration as the option of an address has it, read by the same code.
fn duration(text: &str) -> Result<Duration, String> {
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err("a whole number with us, ms, s or m is wanted".into());
    }
    match panpipe_link::pair_address(&format!("timeout={text}")) {
        Ok(address) => Ok(address.timeout),
        Err(error) => Err(std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)),
    }
}
