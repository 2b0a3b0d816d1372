//! Medians, spreads and ratios over the rounds of a run.

use std::collections::BTreeSet;

use crate::broker::Kind;
use crate::plan::{Line, Reach};
use crate::sample::Sample;

pub struct Figures {
    samples: Vec<Sample>,
}

/// One figure over all rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Figures {
    pub fn new(samples: Vec<Sample>) -> Figures {
        Figures { samples }
    }

    /// The brokers that were measured.
    pub fn brokers(&self) -> Vec<Kind> {
        self.samples.iter().map(|sample| sample.broker).collect::<BTreeSet<Kind>>().into_iter().collect()
    }

    /// What went wrong, each once.
    pub fn errors(&self) -> BTreeSet<(String, Kind, String)> {
        let failed =
            self.samples.iter().filter_map(|s| Some((s.workload.clone(), s.broker, s.error.clone()?)));
        failed.collect()
    }

    pub fn spread(&self, workload: &str, metric: &str, broker: Kind) -> Option<Spread> {
        let of_it = |sample: &&Sample| sample.workload == workload && sample.broker == broker;
        spread(self.samples.iter().filter(of_it).filter_map(|s| s.metrics.get(metric).copied()).collect())
    }

    /// `broker` against the best peer of the same round.
    pub fn ratio(&self, line: &Line, broker: Kind) -> Option<Spread> {
        let rounds: BTreeSet<u32> = self.samples.iter().map(|sample| sample.round).collect();
        let ratio = |round: u32| {
            let of_round = |s: &&Sample| s.round == round && s.workload == line.workload;
            let value = |s: &Sample| s.metrics.get(line.metric).copied();
            let best = self.samples.iter().filter(of_round).filter(|s| s.broker.is_peer()).filter_map(value);
            let best = best.reduce(f64::min)?;
            let ours = self.samples.iter().filter(of_round).find(|s| s.broker == broker).and_then(value)?;
            (best > 0.0).then_some(ours / best)
        };
        spread(rounds.into_iter().filter_map(ratio).collect())
    }

    /// The peer whose median is the lowest.
    pub fn best_peer(&self, line: &Line) -> Option<(Kind, f64)> {
        let peers = self.brokers().into_iter().filter(|kind| kind.is_peer());
        let median = |kind| Some((kind, self.spread(line.workload, line.metric, kind)?.median));
        peers.filter_map(median).min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Whether sealmq reaches what the line asks for; nothing where nothing is asked, or known.
    pub fn is_reached(&self, line: &Line) -> Option<bool> {
        match line.reach {
            Reach::TimesBest(times) => Some(self.ratio(line, line.judged)?.median <= times),
            Reach::AtMost(most) => Some(self.spread(line.workload, line.metric, line.judged)?.median <= most),
            Reach::Nothing => None,
        }
    }
}

/// The upper median of an even number.
pub fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (*values.first()?, *values.last()?);
    Some(Spread { median: values[values.len() / 2], low, high })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::LINES;
    use crate::work::Metrics;

    fn sample(round: u32, broker: Kind, value: f64) -> Sample {
        let metrics = Metrics::from([(LINES[0].metric.to_owned(), value)]);
        Sample { round, workload: LINES[0].workload.into(), broker, metrics, error: None }
    }

    #[test]
    fn ratios_are_those_of_each_round() {
        // In the second round the machine was twice as slow: the ratio is the same.
        let values = [(1, 10.0, 4.0, 2.0), (2, 20.0, 8.0, 4.0), (3, 5.0, 8.0, 5.0)];
        let samples = values.iter().flat_map(|(round, mosquitto, nats, ours)| {
            [
                sample(*round, Kind::Mosquitto, *mosquitto),
                sample(*round, Kind::Nats, *nats),
                sample(*round, Kind::Sealmq, *ours),
            ]
        });
        let figures = Figures::new(samples.collect());
        let ratio = figures.ratio(&LINES[0], Kind::Sealmq);
        assert_eq!(ratio, Some(Spread { median: 0.5, low: 0.5, high: 1.0 }));
        assert_eq!(figures.is_reached(&LINES[0]), Some(true));
        let ours = figures.spread(LINES[0].workload, LINES[0].metric, Kind::Sealmq);
        assert_eq!(ours, Some(Spread { median: 4.0, low: 2.0, high: 5.0 }));
        assert_eq!(figures.ratio(&LINES[1], Kind::Sealmq), None);
    }
}
