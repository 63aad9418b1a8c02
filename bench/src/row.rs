//! One row: two contenders side by side, and what the ratio says.

use crate::Outcome;
use crate::face::{Bar, Face, Workload};
use crate::pair::{Pair, Placement, Sample};

/// Milliseconds before each measurement that are not counted.
const WARM_UP: u32 = 10;

/// What the cells of a row are.
pub(crate) const HEADINGS: [&str; 10] =
    ["over", "ends", "what", "bare", "panpipe", "ratio", "spread", "CPU µs, bare, panpipe", "must be", "and is"];

/// One comparison: a face, a transport, where it runs, a workload, and the values of each round.
pub(crate) struct Row {
    pub(crate) face: &'static Face,
    transport: &'static str,
    placement: Placement,
    pub(crate) workload: &'static Workload,
    bare: Vec<Sample>,
    panpipe: Vec<Sample>,
}

impl Row {
    pub(crate) fn new(
        face: &'static Face,
        transport: &'static str,
        placement: Placement,
        workload: &'static Workload,
    ) -> Self {
        Row { face, transport, placement, workload, bare: Vec::new(), panpipe: Vec::new() }
    }

    pub(crate) fn name(&self) -> String {
        format!("{} {} {} {}", self.face.name, self.transport, self.placement.name(), self.workload.name)
    }

    /// Measures both contenders A B B A, or B A A B: what drifts, or favours the first, hits both alike.
    pub(crate) fn measure_round(&mut self, round: usize, bare: &mut Pair, panpipe: &mut Pair) -> Outcome<()> {
        let (mut of_bare, mut of_panpipe) = (Vec::new(), Vec::new());
        let bare_is_first = round.is_multiple_of(2);
        for is_bare in [bare_is_first, !bare_is_first, !bare_is_first, bare_is_first] {
            let (pair, samples) = if is_bare { (&mut *bare, &mut of_bare) } else { (&mut *panpipe, &mut of_panpipe) };
            samples.push(pair.measure(self.workload, self.placement, WARM_UP)?);
        }
        self.add(mean(&of_bare), mean(&of_panpipe));
        Ok(())
    }

    /// Adds a round.
    pub(crate) fn add(&mut self, bare: Sample, panpipe: Sample) {
        self.bare.push(bare);
        self.panpipe.push(panpipe);
    }

    pub(crate) fn ratio(&self) -> f64 {
        middle(&self.panpipe) / middle(&self.bare)
    }

    pub(crate) fn is_met(&self) -> bool {
        self.workload.bar.is_met_by(middle(&self.bare), middle(&self.panpipe))
    }

    /// Whether a contender's own rounds are so far apart that the ratio says little. Of many, the extremes are let off.
    fn is_unsteady(&self) -> bool {
        [&self.bare, &self.panpipe].into_iter().any(|samples| {
            let mut values: Vec<_> = samples.iter().map(|sample| sample.value).collect();
            values.sort_by(f64::total_cmp);
            let let_off = if values.len() >= 5 { 1 } else { 0 };
            values[values.len() - 1 - let_off] >= 1.5 * values[let_off]
        })
    }

    /// Whether the bar is for this row: it is not for the rows that only show what being unpinned is made of.
    pub(crate) fn has_bar(&self) -> bool {
        self.placement != Placement::Apart
    }

    pub(crate) fn verdict(&self) -> String {
        let verdict = match (self.has_bar(), self.is_met()) {
            (false, _) => "no bar",
            (true, true) => "met",
            (true, false) => "MISSED",
        };
        let unsteady = if self.is_unsteady() { ", unsteady" } else { "" };
        format!("{verdict}{unsteady}")
    }

    pub(crate) fn cells(&self) -> [String; HEADINGS.len()] {
        let value = |samples| self.value(median(samples, |sample| sample.value)) + " " + self.workload.unit;
        let ratios = self.bare.iter().zip(&self.panpipe).map(|(bare, panpipe)| panpipe.value / bare.value);
        let (least, greatest) = range(ratios);
        let bar = match self.workload.bar {
            _ if !self.has_bar() => String::new(),
            Bar::AtMost(bar) => format!("≤ {bar:.2}"),
            Bar::AtLeast(bar) => format!("≥ {bar:.2}"),
            Bar::MoreByAtMost(bar) => format!("≤ +{bar:.0} {}", self.workload.unit),
        };
        let cpu = |samples| median(samples, |sample| sample.cpu);
        [
            self.transport.into(),
            self.placement.name().into(),
            self.workload.name.into(),
            value(&self.bare),
            value(&self.panpipe),
            format!("{:.2}", self.ratio()),
            format!("{least:.2}..{greatest:.2}"),
            format!("{:.2}, {:.2}", cpu(&self.bare), cpu(&self.panpipe)),
            bar,
            self.verdict(),
        ]
    }

    /// The values of each round, of the bare side and of panpipe.
    pub(crate) fn each_round(&self) -> [(&'static str, Vec<String>); 2] {
        let values = |samples: &[Sample]| samples.iter().map(|sample| self.value(sample.value)).collect();
        [("bare", values(&self.bare)), ("panpipe", values(&self.panpipe))]
    }

    fn value(&self, value: f64) -> String {
        match self.workload.unit {
            "µs" => format!("{value:.1}"),
            "ms" => format!("{value:.2}"),
            "k/s" => format!("{:.0}", value / 1e3),
            _ => format!("{value:.0}"),
        }
    }
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0f64), |(least, greatest), value| (least.min(value), greatest.max(value)))
}

fn mean(samples: &[Sample]) -> Sample {
    let mean = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / samples.len() as f64;
    Sample { value: mean(|sample| sample.value), cpu: mean(|sample| sample.cpu) }
}

fn middle(samples: &[Sample]) -> f64 {
    median(samples, |sample| sample.value)
}

fn median(samples: &[Sample], of: fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<_> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 if middle > 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values.get(middle).copied().unwrap_or(f64::NAN),
    }
}
