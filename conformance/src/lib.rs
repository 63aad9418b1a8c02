//! What the suite and its peer programs say to each other: one line of JSON each way. `README.md` explains it.

use serde::{Deserialize, Serialize};

/// What a peer in the role `serve` is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub struct ServeRequest {
    /// Where to listen and answer in upper case.
    pub addresses: Vec<String>,
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
    /// The messages that jobs and answers name by their place; hexadecimal.
    pub texts: Vec<String>,
    /// What to do, one after another.
    pub jobs: Vec<Job>,
}

/// One connection and what to do on it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Job {
    /// Whom to connect to.
    pub address: String,
    /// Listen there instead, and stop at once.
    #[serde(default)]
    pub listen: bool,
    /// A number calls with that text; `null` receives.
    #[serde(default)]
    pub steps: Vec<Option<usize>>,
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
        self.texts.iter().map(|text| from_hex(text)).collect()
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

/// Waits until the suite closes this peer's stdin: it wants no more, or it has gone.
///
/// # Errors
/// When stdin cannot be read.
pub fn wait_for_end() -> std::io::Result<()> {
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()).map(drop)
}
