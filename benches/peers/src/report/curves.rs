//! How a figure moves as something grows: medians over the rounds, and the power of the size that they follow.

use std::collections::{BTreeMap, BTreeSet};

use super::figures::{Spread, spread};
use crate::broker::Kind;
use crate::growth::{Curve, Point, Rule};

pub struct Curves {
    points: Vec<Point>,
}

/// The exponent of the size in what all of the work costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exponent {
    /// Over all sizes.
    pub all: f64,
    /// From a tenth of the largest size on: what is small at first and takes over later shows here.
    pub end: f64,
    /// What would still be linear, or nothing at all.
    pub may: f64,
}

/// Between two sizes that are ten times apart, figures that differ by two fifths from noise alone
/// give this exponent.
const NOISE: f64 = 0.15;

impl Curves {
    pub fn new(points: Vec<Point>) -> Curves {
        Curves { points }
    }

    /// Median and spread, by size.
    pub fn series(&self, curve: &Curve, broker: Kind) -> Vec<(u64, Spread)> {
        let mut values = BTreeMap::<u64, Vec<f64>>::new();
        for point in self.points.iter().filter(|point| point.axis == curve.axis && point.broker == broker) {
            if let Some(value) = point.metrics.get(curve.metric) {
                values.entry(point.size).or_default().push(*value);
            }
        }
        values.into_iter().filter_map(|(size, values)| Some((size, spread(values)?))).collect()
    }

    pub fn exponent(&self, curve: &Curve, broker: Kind) -> Option<Exponent> {
        let series = self.series(curve, broker);
        let largest = series.last()?.0;
        let logs = |from: u64| {
            let kept = series.iter().filter(move |(size, _)| *size >= from);
            kept.map(|(size, spread)| ((*size as f64).ln(), spread.median.ln())).collect::<Vec<_>>()
        };
        let (all, end) = (slope(&logs(0))?, slope(&logs(largest / 10))?);
        let (more, may) = match curve.rule {
            Rule::Share => (1.0, 1.0),
            Rule::Whole => (0.0, 1.0),
            Rule::Apart => (0.0, 0.0),
        };
        Some(Exponent { all: all + more, end: end + more, may })
    }

    /// What went wrong, each once.
    pub fn errors(&self) -> BTreeSet<(String, u64, String)> {
        let failed = self.points.iter().filter_map(|p| Some((p.axis.clone(), p.size, p.error.clone()?)));
        failed.collect()
    }
}

impl Exponent {
    pub fn holds(self) -> bool {
        self.end <= self.may + NOISE
    }
}

/// To two places, and without the sign of a zero.
pub fn tidy(exponent: f64) -> f64 {
    (exponent * 100.0).round() / 100.0 + 0.0
}

/// Of the line with the least squares.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let across: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let along: f64 = points.iter().map(|p| (p.0 - x) * (p.0 - x)).sum();
    (along > 0.0 && across.is_finite()).then(|| across / along)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::CURVES;
    use crate::work::Metrics;

    fn curves(curve: &Curve, cost: fn(f64) -> f64) -> Curves {
        let point = |round, size: u64| {
            // One bad round of three does not show.
            let factor = if round == 2 { 7.0 } else { 1.0 };
            let metrics = Metrics::from([(curve.metric.to_owned(), cost(size as f64) * factor)]);
            Point { round, axis: curve.axis.into(), broker: Kind::Sealmq, size, metrics, error: None }
        };
        let sizes = [1, 10, 100, 1_000, 10_000];
        Curves::new((1..=3).flat_map(|round| sizes.map(|size| point(round, size))).collect())
    }

    #[test]
    fn a_share_that_stays_is_linear_and_a_scan_is_not() {
        let share = CURVES.iter().find(|curve| curve.rule == Rule::Share).expect("one in the plan");
        let flat = curves(share, |_| 3.0).exponent(share, Kind::Sealmq).expect("enough points");
        assert!((flat.all - 1.0).abs() < 1e-9 && flat.holds(), "{flat:?}");
        // A hundredth of the first cost for each of them: nothing at first, everything at the end.
        let scan = curves(share, |size| 3.0 + 0.03 * size);
        let scan = scan.exponent(share, Kind::Sealmq).expect("enough points");
        assert!(scan.end > 1.8 && !scan.holds(), "{scan:?}");
    }

    #[test]
    fn the_whole_may_grow_with_the_size_and_what_is_apart_may_not() {
        let of = |rule| CURVES.iter().find(|curve| curve.rule == rule).expect("one in the plan");
        let linear = |size: f64| 3.0 + size;
        let (whole, apart) = (of(Rule::Whole), of(Rule::Apart));
        let exponent = |curve| curves(curve, linear).exponent(curve, Kind::Sealmq).expect("enough points");
        assert!(exponent(whole).holds());
        assert!(!exponent(apart).holds());
        assert_eq!(Curves::new(Vec::new()).exponent(whole, Kind::Sealmq), None);
    }
}
