//! The memory that a server needs for each of a thousand connections, all of which call.

use crate::Outcome;
use crate::calls::MEMORY;
use crate::face::{Program, Workload};
use crate::pair::{Pair, Placement, Sample};
use crate::report::Report;
use crate::row::Row;

const CONNECTIONS: f64 = 1_000.0;

/// What a server has done before its memory is looked at first.
const ONE: Workload = Workload { task: "crowd 64 1", ..MEMORY.workloads[0] };

/// Measures the rows whose names contain `only`.
pub(crate) fn measure(rounds: usize, only: &str, report: &mut Report) {
    for rival in 0..MEMORY.rivals.len() {
        let row = Row::new(&MEMORY, rival, MEMORY.transports[0], Placement::Unpinned, &MEMORY.workloads[0]);
        if row.name().contains(only)
            && let Err(error) = measure_row(row, rounds).map(|row| report.add(row))
        {
            report.not_run(format!("{} against {}: {error}", MEMORY.name, MEMORY.rivals[rival].name));
        }
    }
}

fn measure_row(mut row: Row, rounds: usize) -> Outcome<Row> {
    for _ in 0..rounds {
        row.add(sample(row.rival().program)?, MEMORY.panpipe.map(sample).transpose()?);
    }
    Ok(row)
}

/// Of a server of its own: what one has had once it does not give back to the system.
fn sample(program: Program) -> Outcome<Sample> {
    let mut pair = Pair::start(program, MEMORY.transports[0], MEMORY.options, ["echo", "sink"])?;
    pair.measure(&ONE, Placement::Unpinned, 10)?;
    let before = pair.memory()?;
    pair.measure(&MEMORY.workloads[0], Placement::Unpinned, 10)?;
    let grown = pair.peak_memory()?.saturating_sub(before);
    Ok(Sample { value: grown as f64 / 1024.0 / CONNECTIONS, cpu: f64::NAN })
}
