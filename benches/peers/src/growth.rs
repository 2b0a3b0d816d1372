//! Growth: what is let grow, how far, and what sealmq's cost may do meanwhile. The measuring is in
//! `work/growth/`, tables and chart in `report/`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::args::Growth;
use crate::broker::{Kind, Program};
use crate::folder::TempFolder;
use crate::pki::Pki;
use crate::round::say_times;
use crate::sample::{Machine, Machines};
use crate::work::Metrics;
use crate::work::growth::{Stock, climb};
use crate::{process, report};

/// Something that grows.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    pub id: &'static str,
    pub ladder: Ladder,
    pub sizes: &'static [u64],
    /// Sizes above this one take long.
    pub quick_max: u64,
    pub brokers: &'static [Kind],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ladder {
    Subscribers,
    Topics,
    Idle,
    Size,
    History,
}

/// A figure over an axis.
#[derive(Clone, Copy, Debug)]
pub struct Curve {
    pub axis: &'static str,
    pub metric: &'static str,
    pub title: &'static str,
    /// What grows, as it stands below the plot.
    pub along: &'static str,
    pub unit: &'static str,
    pub rule: Rule,
}

/// What the figure may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It is a share: times the size it is the whole, which may grow as the size does. The share stays.
    Share,
    /// It is the whole, and may grow as the size does.
    Whole,
    /// What grows is none of its business.
    Apart,
}

/// What one size gave in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Point {
    pub round: u32,
    pub axis: String,
    pub broker: Kind,
    pub size: u64,
    #[serde(default)]
    pub metrics: Metrics,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Where the memory of connections is more than the noise of a heap.
pub const CONNECTIONS_SEEN_FROM: u64 = 100;
/// Below, a subscription costs more than what is read.
pub const PAST_SEEN_FROM: u64 = 1_000;
/// Descriptors that are not connections: the programs' own, and a busy few.
const OTHER_FILES: u64 = 100;

const MEMORY: &[Kind] = &[Kind::Sealmq];
const BOTH: &[Kind] = &[Kind::Sealmq, Kind::SealmqDisk];

/// In the order in which they run.
pub const AXES: &[Axis] = &[
    Axis {
        id: "subscribers",
        ladder: Ladder::Subscribers,
        sizes: &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000],
        quick_max: 200,
        brokers: MEMORY,
    },
    Axis {
        id: "topics",
        ladder: Ladder::Topics,
        sizes: &[1, 4, 16, 64, 256, 1_000, 3_000, 10_000],
        quick_max: 256,
        brokers: MEMORY,
    },
    Axis {
        id: "connections",
        ladder: Ladder::Idle,
        sizes: &[1, 10, 100, 300, 1_000, 3_000, 10_000],
        quick_max: 300,
        brokers: MEMORY,
    },
    Axis {
        id: "size",
        ladder: Ladder::Size,
        sizes: &[16, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20],
        quick_max: 64 << 10,
        brokers: MEMORY,
    },
    Axis {
        id: "history",
        ladder: Ladder::History,
        sizes: &[1, 1_000, 10_000, 100_000, 1_000_000],
        quick_max: 10_000,
        brokers: BOTH,
    },
];

const DELIVERY: &str = "broker_us_per_delivery";

/// In the order of the plots.
pub const CURVES: &[Curve] = &[
    Curve {
        axis: "subscribers",
        metric: DELIVERY,
        title: "Delivery, by subscribers",
        along: "subscribers of one topic; 100 B",
        unit: "us",
        rule: Rule::Share,
    },
    Curve {
        axis: "topics",
        metric: DELIVERY,
        title: "Delivery, by topics",
        along: "topics used in turn; 1 to 1, 100 B",
        unit: "us",
        rule: Rule::Share,
    },
    Curve {
        axis: "connections",
        metric: DELIVERY,
        title: "Delivery, by idle connections",
        along: "idle connections beside 1 to 4, 1 in flight",
        unit: "us",
        rule: Rule::Apart,
    },
    Curve {
        axis: "size",
        metric: DELIVERY,
        title: "Delivery, by message size",
        along: "bytes of a message; 1 to 1",
        unit: "us",
        rule: Rule::Whole,
    },
    Curve {
        axis: "history",
        metric: DELIVERY,
        title: "Live delivery, by history",
        along: "messages kept before; 1 to 1, 100 B",
        unit: "us",
        rule: Rule::Apart,
    },
    Curve {
        axis: "history",
        metric: "past_us_per_message",
        title: "Reading the past",
        along: "messages read from the beginning",
        unit: "us",
        rule: Rule::Share,
    },
    Curve {
        axis: "history",
        metric: "publish_us_per_message",
        title: "Filling a topic",
        along: "messages published, nobody reads",
        unit: "us",
        rule: Rule::Share,
    },
    Curve {
        axis: "connections",
        metric: "broker_ms_per_connection",
        title: "New connection, by those open",
        along: "connections open; 32 made at once",
        unit: "ms",
        rule: Rule::Share,
    },
];

/// Curves that stand in the table alone.
pub const MORE_CURVES: &[Curve] = &[
    Curve {
        axis: "connections",
        metric: "kib_per_connection",
        title: "Memory of an idle connection",
        along: "connections open",
        unit: "KiB",
        rule: Rule::Share,
    },
    Curve {
        axis: "topics",
        metric: "create_ms_per_topic",
        title: "Creating a topic",
        along: "topics created at once",
        unit: "ms",
        rule: Rule::Share,
    },
];

pub fn run(growth: &Growth) -> Result<()> {
    for id in &growth.only {
        ensure!(AXES.iter().any(|axis| axis.id == id), "nothing called {id} grows; see `peers list`");
    }
    let mut programs = BTreeMap::new();
    for kind in BOTH {
        programs.insert(*kind, Program::find(*kind, growth.sealmqd.as_deref())?);
    }
    let rounds = if growth.quick { 1 } else { growth.rounds };
    let files = process::raise_descriptors()?;
    let found: Vec<Program> = programs.values().cloned().collect();
    let machine = Machine::describe(&found, rounds, growth.quick, 0);
    Machines::update(&growth.out, |machines| machines.growth = Some(machine))?;
    let mut points = File::create(growth.out.join("growth.jsonl"))?;

    let home = TempFolder::new()?;
    eprintln!("making certificates ...");
    let (pki, mut stock) = (Rc::new(Pki::make(home.path())?), Stock::default());
    let chosen = |axis: &&Axis| growth.only.is_empty() || growth.only.iter().any(|id| id == axis.id);
    let mut times = BTreeMap::<&str, Duration>::new();
    for round in 1..=rounds {
        for axis in AXES.iter().filter(chosen) {
            let (sizes, left_out) = sizes(axis, growth.quick, files);
            for broker in axis.brokers.iter().copied() {
                let mut tell = |size, done: Result<Metrics>| -> Result<()> {
                    let point = point(round, axis, broker, size, done);
                    say(&point, rounds);
                    Ok(writeln!(points, "{}", serde_json::to_string(&point)?)?)
                };
                for size in &left_out {
                    tell(*size, Err(anyhow::anyhow!("left out: the system allows {files} open files")))?;
                }
                let began = Instant::now();
                let done = climb(&programs[&broker], &pki, axis, &sizes, &mut stock, &mut tell);
                if let Err(e) = done {
                    tell(0, Err(e))?;
                }
                *times.entry(axis.id).or_default() += began.elapsed();
            }
        }
    }
    say_times(&times);
    report::write(&growth.out)
}

/// The sizes that are measured, and those for which there are not enough descriptors.
fn sizes(axis: &Axis, quick: bool, files: u64) -> (Vec<u64>, Vec<u64>) {
    let wanted = axis.sizes.iter().copied().filter(|size| !quick || *size <= axis.quick_max);
    let is_of_connections = matches!(axis.ladder, Ladder::Idle | Ladder::Subscribers);
    wanted.partition(|size| !is_of_connections || size + OTHER_FILES <= files)
}

fn point(round: u32, axis: &Axis, broker: Kind, size: u64, done: Result<Metrics>) -> Point {
    let (metrics, error) = match done {
        Ok(metrics) => (metrics, None),
        Err(e) => (Metrics::new(), Some(format!("{e:#}"))),
    };
    Point { round, axis: axis.id.into(), broker, size, metrics, error }
}

fn say(point: &Point, rounds: u32) {
    let Point { round, axis, broker, size, metrics, error } = point;
    let curves = CURVES.iter().chain(MORE_CURVES).filter(|curve| curve.axis == axis);
    let shown =
        curves.filter_map(|curve| Some(format!("{} {:.3}", curve.metric, metrics.get(curve.metric)?)));
    let figures = error.clone().unwrap_or_else(|| shown.collect::<Vec<_>>().join(", "));
    eprintln!("round {round} of {rounds}  {axis:12} {size:>8}  {:15} {figures}", broker.title());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_curve_is_of_an_axis_and_sizes_ascend() {
        for curve in CURVES.iter().chain(MORE_CURVES) {
            assert!(AXES.iter().any(|axis| axis.id == curve.axis), "{}", curve.title);
        }
        for axis in AXES {
            assert!(axis.sizes.is_sorted_by(|a, b| a < b), "{}", axis.id);
            assert!(axis.sizes.contains(&axis.quick_max), "{}", axis.id);
        }
    }

    #[test]
    fn sizes_beyond_the_open_files_are_left_out_where_they_are_connections() {
        let of = |id: &str| *AXES.iter().find(|axis| axis.id == id).expect("an axis of the plan");
        assert_eq!(sizes(&of("connections"), false, 4096).1, [10_000]);
        assert!(sizes(&of("topics"), false, 1024).1.is_empty());
        assert_eq!(sizes(&of("history"), true, 1024).0, [1, 1_000, 10_000]);
    }
}
