//! The report of a run, on the screen and in `bench/results`.

use std::fmt::Write;
use std::fs;

use crate::Outcome;
use crate::face::Face;
use crate::machine;
use crate::pair::root;
use crate::row::{HEADINGS, Row};

const METHOD: &str = "\
Framing `length` (u32 big-endian), where panpipe sends plain messages; TCP with TCP_NODELAY on both sides. On a Unix socket panpipe asks for a send buffer of 256 KiB, as it always does; the bare side has the system's default.
Each contender's server and client are two processes: bare against bare, panpipe against panpipe. Rivals have their own default settings, and the messages are bytes, which none of them serializes further.
`pinned` has both ends on one CPU, `unpinned` leaves them to the kernel. `apart` has them on two CPUs; it has no bar.
Each round measures all contenders of a row twice, A B C C B A or C B A A B C, on a new connection each time, 40 ms (thousands of connections: 200 ms) after 10 ms of warm-up; before the first round each has run 100 ms (Node 800 ms).
The client checks each reply's length, and the content of the first and of the last (in flight: of the first of each caller); one way, the server checks each length, the content of the first message, and the client the count.
A round trip is the median over a measurement. In flight is so many calls outstanding at any time. One way is a stream of messages that a server receives and counts, until it has acknowledged the last; MB is 10⁶ bytes.
1,000 connections: one call after another on each of them; the CPU time is with opening them. Memory is how much the server's resident memory grew from one connection to the most that it had with all of them, in KiB for each.
The rows `idle` compare panpipe with itself: one client's calls to a server that has no other, and to one that has 10,000 more that are idle, in turns; the value is the 99th percentile of 50 ms, and CPU is the server's alone.
The rows `flat` compare panpipe with itself as well: few calls in flight, topics or subscribers, and many.
`unsteady` marks rows in which a contender's own rounds (of five or more, all but the two extremes) differ by half or more. Where the ends are unpinned that is mostly luck: the kernel lets them share a CPU, or keeps them apart and pays for a wake-up each time; `pinned` and `apart` are these two cases alone.
Values are medians over the rounds, `ratio` is panpipe's by the rival's, `spread` the least and the greatest ratio of a single round.
`CPU` is what both processes used for one round trip, call or message, in µs.
";

const WIDTHS: [usize; HEADINGS.len()] = [4, 8, 23, 9, 11, 11, 5, 11, 22, 14, 16];

/// All rows of a run.
pub(crate) struct Report {
    facts: Vec<String>,
    rounds: usize,
    rows: Vec<Row>,
    not_run: Vec<String>,
}

impl Report {
    /// Says what will be measured, and where.
    pub(crate) fn begin(rounds: usize) -> Self {
        let report = Report { facts: machine::facts(), rounds, rows: Vec::new(), not_run: Vec::new() };
        println!("{}\n{rounds} rounds. {METHOD}", report.facts.join("\n"));
        report
    }

    /// Takes a row and prints it.
    pub(crate) fn add(&mut self, row: Row) {
        if self.rows.last().is_none_or(|last| last.face.name != row.face.name) {
            println!("\n{}", about(row.face));
            println!("{}", columns(HEADINGS.map(str::to_owned)));
        }
        println!("{}", columns(row.cells()));
        self.rows.push(row);
    }

    /// Takes a reason why rows are missing.
    pub(crate) fn not_run(&mut self, reason: String) {
        println!("NOT MEASURED: {reason}");
        self.not_run.push(reason);
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.not_run.is_empty() && !self.rows.is_empty()
    }

    pub(crate) fn end(&self) {
        print!("\n{}", self.summary());
    }

    /// Writes everything, with the values of each round, to a file named after today.
    pub(crate) fn write(&self) -> Outcome<String> {
        let mut text = format!("# Measured on {}\n\n", machine::date());
        for fact in &self.facts {
            writeln!(text, "* {fact}")?;
        }
        writeln!(text, "\n{} rounds.\n{METHOD}\n{}", self.rounds, self.summary())?;
        let mut face = "";
        for row in &self.rows {
            if face != row.face.name {
                face = row.face.name;
                writeln!(
                    text,
                    "\n## {}\n\n| {} |\n|{}",
                    about(row.face),
                    HEADINGS.join(" | "),
                    "---|".repeat(HEADINGS.len())
                )?;
            }
            writeln!(text, "| {} |", row.cells().join(" | "))?;
        }
        writeln!(text, "\n## Each round\n\n```\n{}```", self.each_round())?;
        let path = format!("bench/results/{}.md", machine::date());
        fs::create_dir_all(root().join("bench/results"))?;
        fs::write(root().join(&path), text)?;
        Ok(path)
    }

    /// The values of each round.
    pub(crate) fn each_round(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            for (side, values) in row.each_round().into_iter().filter(|(_, values)| !values.is_empty()) {
                text += &format!("{}, {side}, {}: {}\n", row.name(), row.workload.unit, values.join(" "));
            }
        }
        text
    }

    fn summary(&self) -> String {
        let (judged, alone): (Vec<_>, Vec<_>) =
            self.rows.iter().filter(|row| row.bar().is_some()).partition(|row| row.has_panpipe());
        let missed: Vec<_> = judged.iter().filter(|row| !row.is_met()).collect();
        let mut text = format!("{} of {} rows that have a bar meet it.\n", judged.len() - missed.len(), judged.len());
        if !alone.is_empty() {
            text += &format!("{} wait for panpipe: the rival was measured alone.\n", alone.len());
        }
        for row in missed {
            text += &format!("* {}: {}: {:.2}\n", row.verdict(), row.name(), row.ratio());
        }
        for reason in &self.not_run {
            text += &format!("* NOT MEASURED: {reason}\n");
        }
        text
    }
}

fn about(face: &Face) -> String {
    let mut text = format!("{}\n\n", face.name);
    for rival in face.rivals {
        text += &format!("{}: {}.  \n", rival.name, rival.program.about);
    }
    match face.panpipe {
        Some(panpipe) => text + &format!("panpipe: {}.\n", panpipe.about),
        None => text + "panpipe does not have this yet.\n",
    }
}

fn columns(cells: [String; HEADINGS.len()]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(WIDTHS) {
        line += &format!("{cell:width$}  ");
    }
    line.trim_end().to_owned()
}
