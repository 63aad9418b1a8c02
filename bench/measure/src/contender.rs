//! A contender: a program that is started as one end of a connection.
//!
//! A contender in any language is started in one of two roles:
//!
//! * `server ROLE ADDRESS` prints the address that it listens on, then answers connections until it is killed.
//!   `echo` sends each message back. `sink` only counts them, and answers [`END`] with the count.
//! * `client ECHO SINK` reads a line for each measurement, `WORKLOAD SIZE COUNT WARM-UP MEASURED` (bytes; calls in
//!   flight, connections, …; milliseconds), connects anew, measures, and prints
//!   `{"operations": all, "value": measured}`: the median in microseconds, or operations per second.

use std::io::Write;
use std::time::Duration;

use crate::Outcome;
use crate::timing::{Measured, Span};

/// Asks a sink for the count of messages since it was last asked, as eight bytes, big-endian.
pub const END: &[u8] = b"the end!";

/// Ends a conversation over a method that has no end of its own.
pub const BYE: &[u8] = b"good bye";

/// What a contender is called, and both its roles.
pub struct Contender {
    /// What the command line calls it.
    pub name: &'static str,
    /// Listens on an address and answers.
    pub serve: fn(Role, &str) -> Outcome<()>,
    /// Connects to an address and measures.
    pub measure: fn(Task, &str) -> Outcome<Measured>,
}

/// What a server does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sends each message back.
    Echo,
    /// Counts messages.
    Sink,
    /// Passes on what is published, on any of this many topics.
    Topics(usize),
}

/// What a client is asked to measure.
#[derive(Clone, Copy)]
pub struct Task {
    /// What it does.
    pub workload: Workload,
    /// Bytes of a message.
    pub size: usize,
    /// How many calls, connections, topics or subscribers there are at once.
    pub count: usize,
    /// How long.
    pub span: Span,
}

/// What a client does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// One call after another; the median time counts.
    RoundTrip,
    /// As many calls on one connection as `count` says, at any time.
    InFlight,
    /// Messages one way.
    Stream,
    /// One call after another on each of as many connections as `count` says.
    Crowd,
    /// Items published on as many topics as `count` says, in turns, each with a subscriber.
    Topics,
    /// Items published on one topic with as many subscribers as `count` says; each delivery is an operation.
    Subscribers,
}

/// Runs the contender that the arguments name.
///
/// # Errors
///
/// Whatever its server or its client could not do; a name, a role or a line that means nothing.
pub fn run(contenders: &[Contender], arguments: &[String]) -> Outcome<()> {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let find = |name: &str| {
        let contender = contenders.iter().find(|contender| contender.name == name);
        contender.ok_or_else(|| format!("no contender is called {name:?}"))
    };
    match arguments[..] {
        [name, "server", role, address] => (find(name)?.serve)(Role::parse(role)?, address),
        [name, "client", echo, sink] => {
            let contender = find(name)?;
            for line in std::io::stdin().lines() {
                let task = Task::parse(&line?)?;
                let address = if task.workload == Workload::Stream { sink } else { echo };
                let Measured { operations, value } = (contender.measure)(task, address)?;
                println!("{{\"operations\": {operations}, \"value\": {value}}}");
            }
            Ok(())
        }
        _ => Err("a contender is started as NAME server ROLE ADDRESS or NAME client ECHO SINK".into()),
    }
}

/// Tells the bench where a server listens.
///
/// # Errors
///
/// Those of writing to stdout.
pub fn announce(address: &str) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{address}")?;
    output.flush()
}

impl Role {
    fn parse(role: &str) -> Outcome<Self> {
        match (role, role.strip_prefix("topics:")) {
            ("echo", _) => Ok(Role::Echo),
            ("sink", _) => Ok(Role::Sink),
            (_, Some(count)) => Ok(Role::Topics(count.parse()?)),
            _ => Err(format!("no role is called {role:?}").into()),
        }
    }
}

impl Task {
    fn parse(line: &str) -> Outcome<Self> {
        let [workload, size, count, warm, measured] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            return Err(format!("a task is WORKLOAD SIZE COUNT WARM-UP MEASURED, not {line:?}").into());
        };
        let workload = match workload {
            "round-trip" => Workload::RoundTrip,
            "in-flight" => Workload::InFlight,
            "stream" => Workload::Stream,
            "crowd" => Workload::Crowd,
            "topics" => Workload::Topics,
            "subscribers" => Workload::Subscribers,
            _ => return Err(format!("no workload is called {workload:?}").into()),
        };
        let span =
            Span { warm: Duration::from_millis(warm.parse()?), measured: Duration::from_millis(measured.parse()?) };
        Ok(Task { workload, size: size.parse()?, count: count.parse()?, span })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_task() {
        let task = Task::parse("crowd 64 1000 10 40").unwrap();
        assert!(task.workload == Workload::Crowd && task.size == 64 && task.count == 1000);
        assert_eq!(task.span.warm, Duration::from_millis(10));
        assert_eq!(task.span.measured, Duration::from_millis(40));
        assert!(Task::parse("crowd 64 1000 10").is_err());
        assert!(Task::parse("crowds 64 1000 10 40").is_err());
    }

    #[test]
    fn a_role_may_have_a_count() {
        assert!(Role::parse("topics:10").unwrap() == Role::Topics(10));
        assert!(Role::parse("topics").is_err());
    }
}
