//! What the suite and its peer programs say to each other: one line of JSON each way. `README.md` explains it.

use serde::{Deserialize, Serialize};

/// What a peer in the role `serve` is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub struct ServeRequest {
    /// Where to listen and answer in upper case.
    pub addresses: Vec<String>,
    /// Where the standard service notes what has begun.
    #[serde(default)]
    pub log: Option<Log>,
}

/// Where a server notes the calls of `begin`, one number a line, before it answers them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Log {
    /// A file, which is appended to.
    pub path: String,
    /// After so many the server kills itself; only Rust does.
    #[serde(default)]
    pub most: Option<u64>,
}

/// What a peer in the role `check` is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub struct CheckRequest {
    /// The servers to check, one after another.
    pub addresses: Vec<String>,
    /// Addresses that this process is to serve itself, and then to check.
    pub own: Vec<String>,
}

/// How a check went. After the last of a server comes `null` in its place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Checked {
    /// Its name.
    pub check: String,
    /// Why it failed, if it did.
    pub failed: Option<String>,
}

/// What a peer in the role `values` is asked for: a value comes from `take(NUMBER)` of the source, goes to `values` of
/// the server, and what that answers to `back` of the source.
#[derive(Debug, Serialize, Deserialize)]
pub struct ValuesRequest {
    /// The source.
    pub source: String,
    /// The server.
    pub address: String,
    /// How many values there are. The peer tells for each `null`, or an error.
    pub count: usize,
}

/// What a peer in the role `meet` is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub struct MeetRequest {
    /// Servers, one after another. The peer tells for each how everything ended that it began: `null`, or an error.
    pub meetings: Vec<Meeting>,
}

/// A server that will break a rule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Meeting {
    /// Its address.
    pub address: String,
    /// What to begin there, in this order; the name is always `wait`.
    pub began: Vec<Began>,
}

/// What a client can begin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Began {
    /// A call.
    Call,
    /// A call that is answered with a stream.
    Stream,
    /// A subscription.
    Subscription,
}

/// What a peer in the role `killed` is asked for: each further line is the address of a server.
#[derive(Debug, Serialize, Deserialize)]
pub struct KilledRequest {
    /// How many calls of `begin` to make at once. The peer tells how they ended.
    pub calls: usize,
}

/// How the calls of a server that was killed have ended; each is named by its number.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outcomes {
    /// With their own reply.
    pub answered: Vec<usize>,
    /// With an error that says that they have not run.
    pub no: Vec<usize>,
    /// With another error.
    pub maybe: Vec<usize>,
    /// With the reply of another.
    pub crossed: Vec<(usize, usize)>,
}

/// What it says of each address once all are open.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Serving {
    /// The real address.
    pub address: String,
    /// The process that serves it.
    pub pid: u32,
}

/// What a peer in the role `call` is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallRequest {
    /// The messages that jobs and answers name by their place; hexadecimal, and `*N` if that comes N times.
    pub texts: Vec<String>,
    /// What to do, one after another.
    pub jobs: Vec<Job>,
}

/// One connection and what to do on it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Job {
    /// Whom to connect to.
    pub address: String,
    /// Listen there instead: without steps stop at once, else say where and do them with whoever comes first.
    #[serde(default)]
    pub listen: bool,
    /// How many connections are opened before the steps are done on one after the other; 0 is 1.
    #[serde(default)]
    pub connections: usize,
    /// What to do.
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// A step on a connection.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Step {
    /// Calls with that text.
    Call(usize),
    /// Receives.
    Recv,
    /// Tells what the steps have brought so far, and goes on when the suite has written a line.
    Pause(Pause),
    /// Calls with the first so many texts, all at once.
    Calls {
        /// How many.
        calls: usize,
    },
    /// Sends and receives, both at once.
    Flow(Flow),
}

/// The word for a pause.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Pause {
    /// It.
    #[serde(rename = "pause")]
    Pause,
}

/// Messages both ways: the first texts in turn, and where the last flow of this connection left off.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Flow {
    /// How many to send.
    pub send: usize,
    /// How many to receive; each must be the text whose turn it is.
    pub recv: usize,
    /// How many texts take turns.
    pub of: usize,
    /// Milliseconds after which a send or receive is given up, and with it its direction of the flow; 0 is never.
    ///
    /// The next flow does not send again what was given up, and waits again for what was not received.
    pub within: u64,
}

/// How a job went: an answer a step, or why there is no connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Outcome {
    /// It was opened.
    Opened {
        /// What each step brought.
        answers: Vec<Answer>,
    },
    /// It was not.
    Failed(Failure),
}

/// What a step brought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// One of the texts.
    Text(usize),
    /// Another message; hexadecimal.
    Other(String),
    /// Those of calls made at once.
    Many(Vec<Answer>),
    /// What a flow did before it was done or gave up; any other answer is what broke it off.
    Flowed {
        /// Messages.
        sent: usize,
        /// Messages.
        received: usize,
    },
    /// An error.
    Failure(Failure),
    /// The peer has closed.
    Closed,
}

/// An error as a user of the language sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Its code.
    pub code: String,
    /// `no` or `maybe`; absent where the peer cannot see it.
    pub ran: Option<String>,
    /// Its whole text.
    pub text: String,
}

impl CallRequest {
    /// The texts as bytes.
    pub fn decoded_texts(&self) -> Vec<Vec<u8>> {
        let decode = |text: &String| match text.split_once('*') {
            Some((part, times)) => from_hex(part).repeat(times.parse().unwrap_or_default()),
            None => from_hex(text),
        };
        self.texts.iter().map(decode).collect()
    }
}

impl Failure {
    /// An error as a user of Rust sees it.
    pub fn of(error: &panpipe::Error) -> Self {
        let ran = match error.may_have_run() {
            panpipe::Ran::No => "no",
            panpipe::Ran::Maybe => "maybe",
        };
        Failure { code: error.code().to_owned(), ran: Some(ran.to_owned()), text: error.to_string() }
    }
}

impl Answer {
    /// The answer that holds `message`.
    pub fn of(message: &[u8], texts: &[Vec<u8>]) -> Self {
        match texts.iter().position(|text| text == message) {
            Some(place) => Answer::Text(place),
            None => Answer::Other(to_hex(message)),
        }
    }

    /// Whether the job's other steps are left out: they would only run out of time too.
    pub fn ends_job(&self) -> bool {
        matches!(self, Answer::Failure(failure) if failure.code == "deadline-exceeded")
    }
}

/// Bytes as hexadecimal.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// Hexadecimal as bytes; what is no digit counts as zero.
pub fn from_hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Reads the request, the one line that the suite writes to a peer's stdin.
///
/// # Errors
/// When the line is no such request.
pub fn read_request<T: for<'de> Deserialize<'de>>() -> std::io::Result<T> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// Tells the suite something: one line on stdout.
///
/// # Errors
/// When the suite has gone.
pub fn tell(what: &impl Serialize) -> std::io::Result<()> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(what)?)?;
    stdout.flush()
}

/// Waits until the suite writes a line; `None` at the end of stdin.
///
/// # Errors
/// When stdin cannot be read.
pub fn wait_for_line() -> std::io::Result<Option<String>> {
    let mut line = String::new();
    let count = std::io::stdin().read_line(&mut line)?;
    Ok((count > 0).then(|| line.trim_end().to_owned()))
}

/// Waits until the suite closes this peer's stdin: it wants no more, or it has gone.
///
/// # Errors
/// When stdin cannot be read.
pub fn wait_for_end() -> std::io::Result<()> {
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()).map(drop)
}
