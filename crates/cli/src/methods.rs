//! `panpipe methods`: what may stand in an address, from the registries.

use std::process::ExitCode;

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use panpipe::{Method, OptionInfo, Result};

use crate::measure::{Measured, measure as measure_at};
use crate::report;

/// Columns that a name may take before it is broken.
const LONGEST_NAME: usize = 16;

/// Columns when stdout is no terminal.
const PIPED_WIDTH: u16 = 100;

pub(crate) fn run(markdown: bool, measure: bool) -> Result<ExitCode> {
    let mut tables = vec![
        ("Transports", transports()),
        ("Compared", comparison()),
        ("Protocols", protocols()),
        ("Framings of plain messages", framings()),
        ("Options", options()),
    ];
    if measure {
        tables.insert(2, ("Measured on this machine, both ends in one process", measured()));
    }
    let written = tables.iter().map(|(title, rows)| match markdown {
        true => format!("## {title}\n\n{}", rows.markdown()),
        false => format!("{title}\n{}\n", rows.plain()),
    });
    let text = written.collect::<Vec<_>>().join("\n");
    report::print(&[text.as_bytes()])?;
    Ok(ExitCode::SUCCESS)
}

/// Rows of Markdown text, whose first column holds names.
struct Rows {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

fn transports() -> Rows {
    let rows = panpipe::methods().iter().map(|method| {
        let options = method.options.iter().map(|option| format!("{}={}", option.name, option.default));
        let texts = [method.scheme, method.form, method.good_for, method.not_for].map(str::to_owned);
        texts.into_iter().chain([options.collect::<Vec<_>>().join(", ")]).collect()
    });
    Rows { head: vec!["scheme", "form", "good for", "not for", "options"], rows: rows.collect() }
}

fn comparison() -> Rows {
    let rows = panpipe::methods().iter().map(|method| {
        let boundaries = if method.moves_packets { "its own" } else { "by framing" };
        let Method { scheme, reaches, reliable, ordered, readers, death, costs, .. } = method;
        [scheme, reaches, boundaries, reliable, ordered, readers, death, costs].map(|text| (*text).to_owned()).to_vec()
    });
    let head = vec!["scheme", "reaches", "boundaries", "reliable", "ordered", "readers", "when one side dies", "costs"];
    Rows { head, rows: rows.collect() }
}

fn measured() -> Rows {
    let rows = panpipe::methods().iter().filter_map(|method| {
        let Measured { round_trip, rate } = match measure_at(method.trial?) {
            Ok(measured) => measured,
            // A machine without it is no reason to leave the others out.
            Err(error) => return Some(vec![method.scheme.to_owned(), error.to_string(), String::new()]),
        };
        let rate = rate.map_or_else(|| "not measured".to_owned(), |rate| format!("{rate:.0} MB/s"));
        Some(vec![method.scheme.to_owned(), format!("{:.1} µs", round_trip.as_secs_f64() * 1e6), rate])
    });
    Rows { head: vec!["scheme", "round trip of 64 bytes, median", "64 KiB messages, one way"], rows: rows.collect() }
}

fn protocols() -> Rows {
    let rows = panpipe::protocols().iter().map(|protocol| {
        let meant: Vec<_> = panpipe::methods()
            .iter()
            .filter_map(|method| (method.protocol == protocol.name).then_some(method.scheme))
            .collect();
        vec![protocol.name.to_owned(), protocol.summary.to_owned(), meant.join(", ")]
    });
    Rows { head: vec!["protocol", "what it is", "meant without framing= by"], rows: rows.collect() }
}

fn framings() -> Rows {
    let rows = panpipe::framings().iter().map(|framing| {
        let variants = match framing.variants {
            [] => String::new(),
            variants => format!(" (:{})", variants.join(", :")),
        };
        let carries = match framing.cannot_carry {
            "" => "anything".to_owned(),
            but => format!("anything but {but}"),
        };
        vec![format!("{}{variants}", framing.name), framing.wire.to_owned(), carries, framing.good_for.to_owned()]
    });
    Rows { head: vec!["framing", "on the wire", "carries", "good for"], rows: rows.collect() }
}

fn options() -> Rows {
    let row = |option: &OptionInfo, of: &str| {
        [option.name, option.value, option.default, option.summary, of].map(str::to_owned).to_vec()
    };
    let mut rows: Vec<_> = panpipe::COMMON_OPTIONS.iter().map(|option| row(option, "all")).collect();
    for method in panpipe::methods() {
        for option in method.options {
            match rows.iter_mut().find(|row| row[0] == option.name) {
                Some(row) => row[4] = format!("{}, {}", row[4], method.scheme),
                None => rows.push(row(option, method.scheme)),
            }
        }
    }
    Rows { head: vec!["option", "value", "default", "what it says", "of"], rows }
}

impl Rows {
    /// A table as wide as the terminal.
    fn plain(&self) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_HORIZONTAL_ONLY)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width())
            .set_header(&self.head);
        for row in &self.rows {
            table.add_row(row);
        }
        // Names stay whole, unless variants stand behind them.
        let longest = self.rows.iter().map(|row| row[0].len()).max();
        if let Some(names) = table.column_mut(0).filter(|_| longest <= Some(LONGEST_NAME)) {
            names.set_constraint(ColumnConstraint::ContentWidth);
        }
        table.trim_fmt()
    }

    fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let head: Vec<_> = self.head.iter().map(ToString::to_string).collect();
        let rows = self.rows.iter().map(|row| {
            let mut cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            if let [name, ..] = cells.as_mut_slice() {
                *name = format!("`{name}`");
            }
            line(&cells)
        });
        line(&head) + &line(&vec!["---".to_owned(); head.len()]) + &rows.collect::<String>()
    }
}

fn width() -> u16 {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 => size.ws_col,
        _ => PIPED_WIDTH,
    }
}
