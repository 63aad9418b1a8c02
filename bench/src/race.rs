//! The rows of one face over one transport: its rivals and panpipe side by side.

use crate::Outcome;
use crate::face::{Face, Workload};
use crate::pair::{Pair, Placement, Sample};
use crate::report::Report;
use crate::row::Row;

/// Milliseconds before each measurement that are not counted.
const WARM_UP: u32 = 10;

/// Measures the rows whose names contain `only`.
///
/// # Errors
///
/// A contender cannot be started, or does not do what it is asked to.
pub(crate) fn measure(
    face: &'static Face,
    transport: &'static str,
    rounds: usize,
    only: &str,
    report: &mut Report,
) -> Outcome<()> {
    let rows = |workload, placement| {
        let row = move |rival| Row::new(face, rival, transport, placement, workload);
        (0..face.rivals.len()).map(row).filter(|row| row.name().contains(only))
    };
    let rows = |workload| Placement::ALL.into_iter().flat_map(move |placement| rows(workload, placement));
    let races: Vec<Vec<_>> = face.workloads.iter().map(|workload| rows(workload).collect()).collect();

    let takes_part = |rival| races.iter().flatten().any(|row| row.rival == rival);
    let start = |program| Pair::start(program, transport, face.options, ["echo", "sink"]);
    let start_rival = |rival: usize| takes_part(rival).then(|| start(face.rivals[rival].program)).transpose();
    let mut contenders = (0..face.rivals.len()).map(start_rival).collect::<Outcome<Vec<_>>>()?;
    let panpipe = face.panpipe.filter(|_| races.iter().flatten().next().is_some());
    contenders.push(panpipe.map(start).transpose()?);

    for mut rows in races.into_iter().filter(|rows| !rows.is_empty()) {
        let workload = rows[0].workload;
        for contender in contenders.iter_mut().flatten() {
            contender.measure(workload, Placement::Pinned, face.warm_up)?;
        }
        for round in 0..rounds {
            for rows in rows.chunk_by_mut(|row, next| row.placement == next.placement) {
                let samples = measure_round(round, workload, rows[0].placement, &mut contenders)?;
                for row in rows {
                    let rival = samples[row.rival].ok_or("a rival was not measured")?;
                    row.add(rival, samples[face.rivals.len()]);
                }
            }
        }
        rows.into_iter().for_each(|row| report.add(row));
    }
    Ok(())
}

/// Measures each contender twice, A B C C B A, or C B A A B C: what drifts, or favours the first, hits all alike.
fn measure_round(
    round: usize,
    workload: &Workload,
    placement: Placement,
    contenders: &mut [Option<Pair>],
) -> Outcome<Vec<Option<Sample>>> {
    let forth = 0..contenders.len();
    let order: Vec<_> = match round.is_multiple_of(2) {
        true => forth.clone().chain(forth.rev()).collect(),
        false => forth.clone().rev().chain(forth).collect(),
    };
    let mut samples = vec![Vec::new(); contenders.len()];
    for place in order {
        if let Some(contender) = &mut contenders[place] {
            samples[place].push(contender.measure(workload, placement, WARM_UP)?);
        }
    }
    Ok(samples.iter().map(|samples| mean(samples)).collect())
}

/// `None` where there is nothing.
fn mean(samples: &[Sample]) -> Option<Sample> {
    let mean = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / samples.len() as f64;
    (!samples.is_empty()).then(|| Sample { value: mean(|sample| sample.value), cpu: mean(|sample| sample.cpu) })
}
