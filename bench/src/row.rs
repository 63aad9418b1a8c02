//! One row: a rival beside panpipe, and what the ratio says.

use crate::face::{Bar, Face, Rival, Workload};
use crate::pair::{Placement, Sample};

/// What the cells of a row are.
pub(crate) const HEADINGS: [&str; 11] = [
    "over",
    "ends",
    "what",
    "against",
    "rival",
    "panpipe",
    "ratio",
    "spread",
    "CPU µs, rival, panpipe",
    "must be",
    "and is",
];

/// One comparison: a face, its rival, a transport, where it runs, a workload, and the values of each round.
pub(crate) struct Row {
    pub(crate) face: &'static Face,
    /// Its place among those of the face.
    pub(crate) rival: usize,
    transport: &'static str,
    pub(crate) placement: Placement,
    pub(crate) workload: &'static Workload,
    of_rival: Vec<Sample>,
    /// None while panpipe does not have this face.
    of_panpipe: Vec<Sample>,
}

impl Row {
    pub(crate) fn new(
        face: &'static Face,
        rival: usize,
        transport: &'static str,
        placement: Placement,
        workload: &'static Workload,
    ) -> Self {
        Row { face, rival, transport, placement, workload, of_rival: Vec::new(), of_panpipe: Vec::new() }
    }

    pub(crate) fn name(&self) -> String {
        let Row { face, transport, placement, workload, .. } = self;
        format!("{} {transport} {} {} against {}", face.name, placement.name(), workload.name, self.rival().name)
    }

    pub(crate) fn rival(&self) -> &'static Rival {
        &self.face.rivals[self.rival]
    }

    /// Adds a round.
    pub(crate) fn add(&mut self, rival: Sample, panpipe: Option<Sample>) {
        self.of_rival.push(rival);
        self.of_panpipe.extend(panpipe);
    }

    pub(crate) fn ratio(&self) -> f64 {
        middle(&self.of_panpipe) / middle(&self.of_rival)
    }

    pub(crate) fn is_met(&self) -> bool {
        self.bar().is_some_and(|bar| bar.is_met_by(middle(&self.of_rival), middle(&self.of_panpipe)))
    }

    /// Whether a contender's own rounds are so far apart that the ratio says little. Of many, the extremes are let off.
    fn is_unsteady(&self) -> bool {
        [&self.of_rival, &self.of_panpipe].into_iter().filter(|samples| !samples.is_empty()).any(|samples| {
            let mut values: Vec<_> = samples.iter().map(|sample| sample.value).collect();
            values.sort_by(f64::total_cmp);
            let let_off = if values.len() >= 5 { 1 } else { 0 };
            values[values.len() - 1 - let_off] >= 1.5 * values[let_off]
        })
    }

    /// What panpipe must reach. The rows that only show what being unpinned is made of have none.
    pub(crate) fn bar(&self) -> Option<Bar> {
        self.workload.bars[self.rival].filter(|_| self.placement != Placement::Apart)
    }

    /// Whether panpipe was there to be measured.
    pub(crate) fn has_panpipe(&self) -> bool {
        self.face.panpipe.is_some()
    }

    pub(crate) fn verdict(&self) -> String {
        let verdict = match (self.bar(), self.is_met()) {
            (None, _) => "no bar",
            (Some(_), _) if !self.has_panpipe() => "NOT YET",
            (Some(_), true) => "met",
            (Some(_), false) => "MISSED",
        };
        let unsteady = if self.is_unsteady() { ", unsteady" } else { "" };
        format!("{verdict}{unsteady}")
    }

    pub(crate) fn cells(&self) -> [String; HEADINGS.len()] {
        let unit = self.workload.unit;
        let panpipe = |cell: &dyn Fn() -> String| if self.has_panpipe() { cell() } else { "–".to_owned() };
        let value = |samples| number(median(samples, |sample| sample.value), unit) + " " + unit;
        let cpu = |samples| match median(samples, |sample| sample.cpu) {
            // Not measured.
            cpu if cpu.is_nan() => "–".to_owned(),
            cpu => format!("{cpu:.2}"),
        };
        let ratios = self.of_rival.iter().zip(&self.of_panpipe).map(|(rival, panpipe)| panpipe.value / rival.value);
        let (least, greatest) = range(ratios);
        let bar = match self.bar() {
            None => String::new(),
            Some(Bar::AtMost(bar)) => format!("≤ {bar:.2}"),
            Some(Bar::AtLeast(bar)) => format!("≥ {bar:.2}"),
            Some(Bar::AtMostAndWithin(bar, limit)) => format!("≤ {bar:.2}, {limit:.0} {unit}"),
            Some(Bar::AtLeastAndReaching(bar, goal)) => format!("≥ {bar:.2}, {goal:.0} {unit}"),
            Some(Bar::MoreByAtMost(bar)) => format!("≤ +{bar:.0} {unit}"),
        };
        [
            self.transport.into(),
            self.placement.name().into(),
            self.workload.name.into(),
            self.rival().name.into(),
            value(&self.of_rival),
            panpipe(&|| value(&self.of_panpipe)),
            panpipe(&|| format!("{:.2}", self.ratio())),
            panpipe(&|| format!("{least:.2}..{greatest:.2}")),
            format!("{}, {}", cpu(&self.of_rival), panpipe(&|| cpu(&self.of_panpipe))),
            bar,
            self.verdict(),
        ]
    }

    /// The values of each round, of the rival and of panpipe.
    pub(crate) fn each_round(&self) -> [(&'static str, Vec<String>); 2] {
        let values =
            |samples: &[Sample]| samples.iter().map(|sample| number(sample.value, self.workload.unit)).collect();
        [(self.rival().name, values(&self.of_rival)), ("panpipe", values(&self.of_panpipe))]
    }
}

fn number(value: f64, unit: &str) -> String {
    match unit {
        "µs" | "KiB" => format!("{value:.1}"),
        "ms" => format!("{value:.2}"),
        "k/s" if value < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0f64), |(least, greatest), value| (least.min(value), greatest.max(value)))
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
