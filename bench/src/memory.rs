//! The memory that a server needs for each of many connections, all of which have called.

use crate::Outcome;
use crate::calls::MEMORY;
use crate::face::{Face, Program, Workload};
use crate::pair::{Pair, Placement, Sample};
use crate::report::Report;
use crate::row::Row;
use crate::websocket::MEMORIES;

/// Measures the rows whose names contain `only`.
pub(crate) fn measure(rounds: usize, only: &str, report: &mut Report) {
    for face in std::iter::once(&MEMORY).chain(MEMORIES) {
        for rival in 0..face.rivals.len() {
            let row = Row::new(face, rival, face.transports[0], Placement::Unpinned, &face.workloads[0]);
            if row.name().contains(only)
                && let Err(error) = measure_row(face, row, rounds).map(|row| report.add(row))
            {
                report.not_run(format!("{} against {}: {error}", face.name, face.rivals[rival].name));
            }
        }
    }
}

fn measure_row(face: &Face, mut row: Row, rounds: usize) -> Outcome<Row> {
    for _ in 0..rounds {
        let sample = |program| sample(face, program);
        row.add(sample(row.rival().program)?, face.panpipe.map(sample).transpose()?);
    }
    Ok(row)
}

/// Of a server of its own: what one has had once it does not give back to the system.
fn sample(face: &Face, program: Program) -> Outcome<Sample> {
    // What a server has done before its memory is looked at first.
    let one = Workload { task: "crowd 64 1", ..face.workloads[0] };
    let connections: f64 = face.workloads[0].task.split(' ').nth(2).ok_or("a crowd has a size")?.parse()?;
    let mut pair = Pair::start(program, face.transports[0], face.options, ["echo", "sink"])?;
    pair.measure(&one, Placement::Unpinned, 10)?;
    let before = pair.memory()?;
    pair.measure(&face.workloads[0], Placement::Unpinned, 10)?;
    let grown = pair.peak_memory()?.saturating_sub(before);
    Ok(Sample { value: grown as f64 / 1024.0 / connections, cpu: f64::NAN })
}
