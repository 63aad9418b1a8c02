//! The peer of panpipe in Rust, blocking: a thread for each address that it serves.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use panpipe::plain::blocking::{Connection, Listener, connect, listen, serve};
use panpipe::{Bytes, ErrorKind};
use panpipe_conformance::{
    Answer, CallRequest, Failure, Flow, Job, Outcome, ServeRequest, Serving, Step, read_request, tell, wait_for_end,
    wait_for_line,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => serve_all(&read_request()?),
        ["call"] => call(&read_request()?),
        ["relay", path] => relay(path),
        ["child", address] => Ok(serve_upper(listen(address)?)?),
        _ => Err(format!("there is nothing to do for {arguments:?}").into()),
    }
}

fn serve_all(request: &ServeRequest) -> Result<()> {
    let mut serving = Vec::new();
    for address in &request.addresses {
        let listener = listen(address)?;
        serving.push(Serving { address: listener.address().to_owned(), pid: std::process::id() });
        thread::spawn(|| serve_upper(listener));
    }
    tell(&serving)?;
    Ok(wait_for_end()?)
}

/// Is the child of one process and the client of another: whoever listens at `path` has its stdin and stdout.
fn relay(path: &str) -> Result<()> {
    let (mut stdin, mut stdout) = (stream(std::io::stdin())?, stream(std::io::stdout())?);
    let mut socket = UnixStream::connect(path)?;
    let mut input = socket.try_clone()?;
    thread::spawn(move || {
        let handed_on = hand_on(&mut input, &mut stdout);
        std::process::exit(handed_on.is_err().into())
    });
    // A child ends with its stdin.
    hand_on(&mut stdin, &mut socket)?;
    Ok(())
}

/// Through this process, since `splice` waits for more than one message.
fn hand_on(from: &mut dyn Read, to: &mut dyn Write) -> std::io::Result<u64> {
    std::io::copy(from, to)
}

/// Without a buffer in between.
fn stream(stream: impl AsFd) -> std::io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

fn serve_upper(listener: Listener) -> panpipe::Result<()> {
    match listener.address().contains("text=true") {
        true => serve(listener, |text: Bytes| String::from_utf8_lossy(&text).to_uppercase()),
        false => serve(listener, |bytes: Bytes| bytes.to_ascii_uppercase()),
    }
}

fn call(request: &CallRequest) -> Result<()> {
    let texts = request.decoded_texts();
    for job in &request.jobs {
        let outcome = match run(job, &texts) {
            Ok(answers) => Outcome::Opened { answers },
            Err(error) => Outcome::Failed(Failure::of(&error)),
        };
        tell(&outcome)?;
    }
    Ok(())
}

fn run(job: &Job, texts: &[Vec<u8>]) -> panpipe::Result<Vec<Answer>> {
    let count = job.connections.max(1);
    let mut peers = Vec::new();
    if job.listen {
        let listener = listen(&job.address)?;
        if !job.steps.is_empty() {
            let _ = tell(&[Serving { address: listener.address().to_owned(), pid: std::process::id() }]);
            while peers.len() < count {
                peers.extend(listener.accept()?);
            }
        }
    } else {
        for _ in 0..count {
            peers.push(connect(&job.address)?);
        }
    }
    let mut answers = Vec::new();
    for peer in peers {
        let mut progress = Progress::default();
        for step in &job.steps {
            let answer = match step {
                Step::Call(text) => answer_of(peer.call(&texts[*text]).map(Some), texts),
                Step::Recv => answer_of(peer.recv(), texts),
                Step::Pause(_) => {
                    let _ = tell(&Outcome::Opened { answers: std::mem::take(&mut answers) });
                    let _ = wait_for_line();
                    continue;
                }
                Step::Calls { calls } => Answer::Many(all_at_once(&peer, &texts[..*calls], texts)),
                Step::Flow(flow) => progress.flow(&peer, *flow, texts).unwrap_or_else(|answer| answer),
            };
            let ends = answer.ends_job();
            answers.push(answer);
            if ends {
                break;
            }
        }
        // What could not be written any more, the steps have told.
        let _ = peer.close();
    }
    Ok(answers)
}

fn all_at_once(peer: &Connection, asked: &[Vec<u8>], texts: &[Vec<u8>]) -> Vec<Answer> {
    thread::scope(|scope| {
        let call = |text| scope.spawn(move || answer_of(peer.call(text).map(Some), texts));
        let calls: Vec<_> = asked.iter().map(call).collect();
        calls.into_iter().filter_map(|call| call.join().ok()).collect()
    })
}

/// How many texts flows have sent and received on a connection.
#[derive(Default)]
struct Progress {
    sent: usize,
    received: usize,
}

impl Progress {
    fn flow(&mut self, peer: &Connection, flow: Flow, texts: &[Vec<u8>]) -> std::result::Result<Answer, Answer> {
        let (Progress { sent, received }, texts) = (self, &texts[..flow.of]);
        thread::scope(|scope| {
            let sending = (flow.send > 0).then(|| scope.spawn(|| send(peer, flow, texts, sent)));
            let received = receive(peer, flow, texts, received)?;
            // A thread that panicked has said why, and its count is missed.
            let sent = sending.map_or(Ok(0), |sending| sending.join().unwrap_or(Ok(0)))?;
            Ok(Answer::Flowed { sent, received })
        })
    }
}

fn send(peer: &Connection, flow: Flow, texts: &[Vec<u8>], sent: &mut usize) -> std::result::Result<usize, Answer> {
    for _ in 0..flow.send {
        let text = &texts[*sent % flow.of];
        *sent += 1;
        peer.send(text).map_err(|error| Answer::Failure(Failure::of(&error)))?;
    }
    Ok(flow.send)
}

fn receive(
    peer: &Connection,
    flow: Flow,
    texts: &[Vec<u8>],
    received: &mut usize,
) -> std::result::Result<usize, Answer> {
    for count in 0..flow.recv {
        let message = match flow.within {
            0 => peer.recv(),
            within => peer.recv_within(Duration::from_millis(within)),
        };
        match message {
            Ok(Some(message)) if message == texts[*received % flow.of] => *received += 1,
            Err(error) if flow.within > 0 && error.kind() == ErrorKind::DeadlineExceeded => return Ok(count),
            message => return Err(answer_of(message, texts)),
        }
    }
    Ok(flow.recv)
}

fn answer_of(received: panpipe::Result<Option<Bytes>>, texts: &[Vec<u8>]) -> Answer {
    match received {
        Ok(Some(message)) => Answer::of(&message, texts),
        Ok(None) => Answer::Closed,
        Err(error) => Answer::Failure(Failure::of(&error)),
    }
}
