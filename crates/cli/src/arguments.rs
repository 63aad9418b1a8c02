//! The command line: what may be asked, and the help that says so.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  panpipe serve 'tcp://localhost:9999?framing=raw' --upper            answers every message in upper case, for ever
  panpipe call 'tcp://localhost:9999?framing=raw' 'Hello, server!'    prints HELLO, SERVER!
  panpipe methods                                       what may stand in an address

Exit codes:
  0 ok                              4 deadline passed           7 the other side closed early
  1 the peer answered an error      5 bad peer or framing       130 Ctrl-C
  2 usage                           6 message too large
  3 cannot connect or listen";

const SERVE_EXAMPLES: &str = "\
Examples:
  panpipe serve 'tcp://localhost:9999?framing=length' --upper
  panpipe serve 'tcp://localhost:9999?framing=raw' --upper            any plain socket program may call
  panpipe serve 'unix:/tmp/upper.sock?framing=lines' -- tr a-z A-Z    one run of tr a message

The real address is told on stderr once it is ready: `listening on ADDRESS`.
Port 0, or a unix: path that ends in *, picks a free one.";

const CALL_EXAMPLES: &str = "\
Examples:
  panpipe call 'tcp://localhost:9999?framing=length' 'Hello, server!'
  panpipe call 'tcp://localhost:9999?framing=raw' 'Hello, server!'    to any plain socket program
  panpipe call -n 'unix:/tmp/upper.sock?framing=length' < letter.txt > LETTER.TXT
  panpipe call 'spawn:?framing=lines' hello -- sed -u 's/l/L/g'       starts a program, and it ends with the call";

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
    /// Send one message and print the reply
    Call(Call),
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
    /// Answer in upper case: ASCII letters, or every letter with the option text=true
    #[arg(long)]
    pub(crate) upper: bool,
    /// Answer with the message itself
    #[arg(long)]
    pub(crate) echo: bool,
    /// Run a program per message, without a shell: the message is its stdin, its stdout the reply
    #[arg(last = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<OsString>,
}

#[derive(Args)]
#[command(override_usage = "panpipe call [OPTIONS] <ADDRESS> [MESSAGE] [-- PROGRAM [ARG]...]", after_help = CALL_EXAMPLES)]
pub(crate) struct Call {
    /// Whom to call
    #[arg(allow_hyphen_values = true)]
    pub(crate) address: String,
    /// What to send [default: all of stdin]
    pub(crate) message: Option<OsString>,
    /// How long connecting and the call may take each, as 500ms or 2s [default: the address's]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Print exactly the reply, without a newline where it has none at its end
    #[arg(short, long)]
    pub(crate) no_newline: bool,
    /// The program that the address leaves out; with any other address, the message
    #[arg(last = true, value_name = "PROGRAM")]
    pub(crate) rest: Vec<OsString>,
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
