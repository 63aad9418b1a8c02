use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::{panpipe, run, wait};

/// The table as it is on a terminal so many columns wide.
fn on_a_terminal(columns: u16) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let stdout = File::options().read(true).write(true).open(name).unwrap();
    let mut child = panpipe(["methods"]).stdin(Stdio::null()).stdout(stdout).spawn().unwrap();
    let mut shown = Vec::new();
    let mut terminal = File::from(terminal);
    let mut buffer = [0; 4096];
    // A terminal that nobody holds any more answers EIO.
    while let Ok(count @ 1..) = terminal.read(&mut buffer) {
        shown.extend_from_slice(&buffer[..count]);
    }
    assert!(wait(&mut child).success());
    String::from_utf8(shown).unwrap().replace('\r', "")
}

fn width(table: &str) -> usize {
    table.lines().map(|line| line.chars().count()).max().unwrap_or_default()
}

#[test]
fn lists_every_transport_and_framing_there_is_in_100_columns() {
    let outcome = run(["methods"], b"");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let table = String::from_utf8(outcome.stdout).unwrap();
    let names = panpipe::methods().iter().map(|method| method.scheme);
    for name in names.chain(panpipe::framings().iter().map(|framing| framing.name)) {
        assert!(table.lines().any(|line| line.starts_with(&format!(" {name} "))), "{name}:\n{table}");
    }
    assert_eq!(width(&table), 100, "{table}");
    assert!(!table.contains('\x1b') && table.lines().all(|line| line.trim_end() == line), "{table}");
}

#[test]
fn takes_the_width_of_the_terminal() {
    for columns in [70, 132] {
        let table = on_a_terminal(columns);
        assert_eq!(width(&table), usize::from(columns), "{table}");
    }
}

#[test]
fn compares_and_measures_every_transport_that_one_program_can_try_alone() {
    let outcome = run(["methods", "--markdown", "--measure"], b"");
    let text = String::from_utf8(outcome.stdout).unwrap();
    let tables: Vec<_> = text.split("## ").collect();
    let [compared, measured] = ["Compared", "Measured"].map(|title| {
        let table = tables.iter().find(|table| table.starts_with(title)).unwrap();
        move |scheme: &str| table.lines().find(|line| line.starts_with(&format!("| `{scheme}` | ")))
    });
    for method in panpipe::methods() {
        let row = compared(method.scheme).unwrap();
        for answer in [method.reaches, method.reliable, method.ordered, method.readers, method.death, method.costs] {
            assert!(!answer.is_empty() && row.contains(answer), "{row}");
        }
        let row = measured(method.scheme);
        assert_eq!(row.is_some(), method.trial.is_some(), "{}", method.scheme);
        let cells: Vec<_> = row.into_iter().flat_map(|row| row.split(" | ")).collect();
        if let [_, round_trip, rate] = cells.as_slice() {
            let round_trip: f64 = round_trip.strip_suffix(" µs").unwrap().parse().unwrap();
            assert!(round_trip > 1.0, "{cells:?}");
            assert!(rate.contains(" MB/s") || rate.contains("not measured"), "{cells:?}");
        }
    }
}

#[test]
fn markdown_has_a_row_for_each() {
    let outcome = run(["methods", "--markdown"], b"");
    let text = String::from_utf8(outcome.stdout).unwrap();
    for method in panpipe::methods() {
        let row = text.lines().find(|line| line.starts_with(&format!("| `{}` | ", method.scheme))).unwrap();
        let options = method.options.iter().all(|option| row.contains(&format!("{}={}", option.name, option.default)));
        assert!(row.contains(method.good_for) && row.contains(method.not_for) && options, "{row}");
    }
    for framing in panpipe::framings() {
        let row = text.lines().find(|line| line.starts_with(&format!("| `{}", framing.name))).unwrap();
        assert!(row.contains(framing.good_for) && row.contains(framing.cannot_carry), "{row}");
    }
    for table in text.split("## ").skip(1) {
        let bars: Vec<_> =
            table.lines().filter(|line| line.starts_with('|')).map(|line| line.matches('|').count()).collect();
        assert!(bars.len() > 2 && bars.iter().all(|&count| count == bars[0]), "{table}");
    }
}
