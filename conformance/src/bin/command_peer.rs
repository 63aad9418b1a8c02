//! The peer of the command line: `panpipe serve`, `panpipe call` and `nc`, a process for each address or message.
//!
//! `command_peer ROLE KIND COMMAND`: KIND is `upper` or `program` to serve and `panpipe` or `nc` to call,
//! COMMAND is the path of the `panpipe` command.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use panpipe::ErrorKind;
use panpipe_conformance::{
    Answer, CallRequest, Failure, Job, Outcome, ServeRequest, Serving, Step, read_request, tell, wait_for_end,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A longer message goes to stdin, and so does one with a NUL, which ends an argument.
const LONGEST_ARGUMENT: usize = 1 << 10;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", kind, command] => serve(kind, command, &read_request()?),
        ["call", "nc", _] => call(&read_request()?, call_with_nc),
        ["call", "panpipe", command] => call(&read_request()?, |job, texts| call_with_panpipe(command, job, texts)),
        _ => Err(format!("there is nothing to do for {arguments:?}").into()),
    }
}

fn serve(kind: &str, command: &str, request: &ServeRequest) -> Result<()> {
    let handler: &[&str] = if kind == "upper" { &["--upper"] } else { &["--", "tr", "a-z", "A-Z"] };
    let start = |address: &String| start_server(command, address, handler);
    let children: Vec<_> = request.addresses.iter().map(start).collect::<Result<_>>()?;
    let mut servers = Servers { children };
    let serving: Vec<_> = servers.children.iter_mut().map(wait_for_address).collect::<Result<_>>()?;
    tell(&serving)?;
    Ok(wait_for_end()?)
}

/// Servers that end with this process, however it ends.
struct Servers {
    children: Vec<Child>,
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start_server(command: &str, address: &str, handler: &[&str]) -> Result<Child> {
    let mut server = Command::new(command);
    server.args(["serve", address]).args(handler).stdin(Stdio::null()).stderr(Stdio::piped());
    Ok(server.spawn()?)
}

/// Waits for `listening on ADDRESS`; whatever the server says later is dropped, so that it never waits for us.
fn wait_for_address(server: &mut Child) -> Result<Serving> {
    let mut stderr = BufReader::new(server.stderr.take().ok_or("stderr is not piped")?);
    let mut line = String::new();
    stderr.read_line(&mut line)?;
    let Some(address) = line.trim_end().strip_prefix("listening on ") else {
        stderr.read_to_string(&mut line)?;
        return Err(line.into());
    };
    let serving = Serving { address: address.to_owned(), pid: server.id() };
    thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    Ok(serving)
}

fn call(request: &CallRequest, run: impl Fn(&Job, &[Vec<u8>]) -> Result<Outcome>) -> Result<()> {
    let texts = request.decoded_texts();
    for job in &request.jobs {
        tell(&run(job, &texts)?)?;
    }
    Ok(())
}

fn call_with_panpipe(command: &str, job: &Job, texts: &[Vec<u8>]) -> Result<Outcome> {
    if job.listen {
        return listen_with_panpipe(command, &job.address);
    }
    // A job without steps only connects; the command cannot, so it says something too.
    let steps = if job.steps.is_empty() { &[Step::Call(0)] } else { &job.steps[..] };
    let mut answers = Vec::new();
    for step in steps {
        let Step::Call(text) = step else {
            answers.push(Answer::Failure(failure(None, b"panpipe call can only call")));
            continue;
        };
        let text = &texts[*text];
        let mut command = Command::new(command);
        command.args(["call", "--no-newline", &job.address]);
        let output = match std::str::from_utf8(text) {
            // Behind `--` it would be the program of an address that leaves it out.
            Ok(argument)
                if argument.len() <= LONGEST_ARGUMENT && !argument.contains('\0') && !argument.starts_with('-') =>
            {
                output(command.arg(argument), b"")?
            }
            _ => output(&mut command, text)?,
        };
        let answer = match output.status.success() {
            true => Answer::of(&output.stdout, texts),
            false => Answer::Failure(failure(output.status.code(), &output.stderr)),
        };
        let ends = answer.ends_job();
        answers.push(answer);
        if ends {
            break;
        }
    }
    Ok(match &answers[..] {
        [Answer::Failure(failure)] if job.steps.is_empty() => Outcome::Failed(failure.clone()),
        _ => Outcome::Opened { answers },
    })
}

fn listen_with_panpipe(command: &str, address: &str) -> Result<Outcome> {
    let mut servers = Servers { children: vec![start_server(command, address, &["--upper"])?] };
    let server = &mut servers.children[0];
    match wait_for_address(server) {
        Ok(_) => Ok(Outcome::Opened { answers: Vec::new() }),
        Err(said) => Ok(Outcome::Failed(failure(server.wait()?.code(), said.to_string().as_bytes()))),
    }
}

/// What `panpipe: doing: code: why` and the exit code say.
fn failure(exit: Option<i32>, stderr: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(stderr).into_owned();
    let names = |kind: &&ErrorKind| text.contains(&format!(": {}:", kind.code()));
    let code = match ErrorKind::ALL.iter().find(names) {
        Some(kind) if exit == Some(kind.exit_code().into()) => kind.code().to_owned(),
        Some(kind) => format!("{} with exit {exit:?}", kind.code()),
        None => format!("no code, with exit {exit:?}"),
    };
    Failure { code, ran: None, text }
}

/// Asks each text of a new `nc`, which ends its output after the message and prints until the server ends its own.
fn call_with_nc(job: &Job, texts: &[Vec<u8>]) -> Result<Outcome> {
    let (place, options) = job.address.split_once('?').ok_or("nc needs to know the framing")?;
    let tail: &[u8] = if options.contains("framing=lines") { b"\n" } else { b"" };
    let mut answers = Vec::new();
    for step in &job.steps {
        let Step::Call(text) = step else { return Err("nc is only asked to call".into()) };
        let text = &texts[*text];
        let mut nc = Command::new("nc");
        match place.split_once(':') {
            Some(("tcp", target)) => {
                let (host, port) = target.trim_start_matches('/').rsplit_once(':').ok_or("no port")?;
                nc.args(["-N", host, port])
            }
            Some(("unix", path)) => nc.args(["-N", "-U", path]),
            _ => return Err(format!("nc does not know {place}").into()),
        };
        let output = output(&mut nc, &[text, tail].concat())?;
        answers.push(match output.stdout.strip_suffix(tail) {
            Some(reply) if output.status.success() => Answer::of(reply, texts),
            _ => return Err(format!("{nc:?}: {output:?}").into()),
        });
    }
    Ok(Outcome::Opened { answers })
}

/// Runs `command` with `input` on its stdin.
fn output(command: &mut Command, input: &[u8]) -> Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdin = child.stdin.take();
    thread::scope(|scope| {
        // A process that ends without reading everything is no error of ours.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
        Ok(child.wait_with_output()?)
    })
}
