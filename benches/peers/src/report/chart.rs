//! The chart beside the peers: each figure as so many times the best peer's, with what sealmq is to reach.

use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;

use super::figures::Figures;
use super::style::{
    Area, BAD, BETTER, FAINT, GOOD, INK, RULE, Side, bold, card, color, failed, figure, line, mark, text,
    unit,
};
use crate::broker::Kind;
use crate::plan::{LINES, Line, Reach};
use crate::sample::Machine;

const WIDTH: u32 = 1080;
const TOP: i32 = 152;
const ROW: i32 = 25;
const SECTION: i32 = 32;
const FOOT: i32 = 46;
const MARGIN: i32 = 28;
/// The plot's edges.
const LEFT: i32 = 282;
const RIGHT: i32 = 716;
/// Right ends of the columns beside it.
const OURS: i32 = 806;
const BEST: i32 = 934;
const GOAL: i32 = WIDTH as i32 - MARGIN;

/// The sections of the chart, by metric. The size of the program file is in the table alone: the peers'
/// take shared libraries.
const SECTIONS: [(&str, &[&str]); 4] = [
    ("CPU time for each delivery", &["broker_us_per_delivery"]),
    ("Latency", &["p50_us", "p99_us"]),
    ("CPU time for each new connection", &["broker_ms_per_connection"]),
    ("Memory", &["kib_per_connection", "empty_mib"]),
];

/// A line of the chart: what each broker costs, the best peer being 1.
struct Row {
    line: &'static Line,
    times: Vec<(Kind, f64)>,
    /// Of sealmq, where it is judged.
    ours: f64,
    goal: Option<f64>,
}

/// From times to pixels.
struct Scale {
    low: f64,
    high: f64,
}

pub fn draw(path: &Path, machine: &Machine, figures: &Figures) -> Result<()> {
    let sections: Vec<(&str, Vec<Row>)> =
        SECTIONS.iter().map(|(title, metrics)| (*title, rows(metrics, figures))).collect();
    let sections: Vec<_> = sections.into_iter().filter(|(_, rows)| !rows.is_empty()).collect();
    let heights = sections.iter().map(|(_, rows)| SECTION + ROW * rows.len() as i32);
    let bottom = TOP + heights.sum::<i32>();
    let scale = Scale::of(sections.iter().flat_map(|(_, rows)| rows));
    let root = SVGBackend::new(path, (WIDTH, (bottom + FOOT) as u32)).into_drawing_area();
    card(&root)?;
    head(&root, machine, figures)?;
    grid(&root, &scale, bottom)?;
    let mut y = TOP;
    for (title, rows) in &sections {
        bold(&root, (MARGIN, y + SECTION - 12), title, 14, INK, Side::Left)?;
        y += SECTION;
        for row in rows {
            draw_row(&root, &scale, row, figures, y + ROW / 2 - 2)?;
            y += ROW;
        }
    }
    root.present().map_err(failed)
}

/// The lines of these metrics for which there is a peer to compare with, the lowest ratio first.
fn rows(metrics: &[&str], figures: &Figures) -> Vec<Row> {
    let row = |line: &'static Line| {
        let (_, best) = figures.best_peer(line)?;
        let ratio = |kind| Some((kind, figures.ratio(line, kind)?.median));
        let times: Vec<_> = figures.brokers().into_iter().filter_map(ratio).collect();
        let ours = figures.ratio(line, line.judged)?.median;
        let goal = match line.reach {
            Reach::TimesBest(times) => Some(times),
            Reach::AtMost(most) => Some(most / best),
            Reach::Nothing => None,
        };
        Some(Row { line, times, ours, goal })
    };
    let mut rows: Vec<Row> =
        LINES.iter().filter(|line| metrics.contains(&line.metric)).filter_map(row).collect();
    rows.sort_by(|a, b| a.ours.total_cmp(&b.ours));
    rows
}

fn head(root: &Area<'_>, machine: &Machine, figures: &Figures) -> Result<()> {
    let Machine { date, cpu, cores, rounds, .. } = machine;
    bold(root, (MARGIN, 34), "What the broker spends: sealmq beside its peers", 23, INK, Side::Left)?;
    let how = "Times the best peer's figure, on a logarithmic scale: further left is better. \
               Mutual authentication with RSA-2048 everywhere.";
    text(root, (MARGIN, 62), how, 14, FAINT, Side::Left)?;
    let quick = if machine.quick { "; a quick run, no figures to quote" } else { "" };
    let what = format!("Medians of {rounds} rounds; {cpu}, {cores} cores; {}{quick}", day(date));
    text(root, (MARGIN, 82), &what, 14, FAINT, Side::Left)?;
    let mut x = MARGIN;
    let (ours, peers): (Vec<_>, Vec<_>) = figures.brokers().into_iter().partition(|kind| !kind.is_peer());
    for kind in ours.into_iter().chain(peers) {
        mark(root, (x + 6, 112), kind, 6)?;
        bold(root, (x + 20, 112), kind.title(), 14, color(kind), Side::Left)?;
        x += 46 + 8 * kind.title().len() as i32;
    }
    line(root, (x + 4, 104), (x + 4, 120), INK, 3)?;
    text(root, (x + 14, 112), "sealmq's goal", 14, INK, Side::Left)?;
    for (at, words) in [(OURS, "sealmq"), (BEST, "best peer"), (GOAL, "goal")] {
        text(root, (at, TOP - 12), words, 13, FAINT, Side::Right)?;
    }
    Ok(())
}

fn grid(root: &Area<'_>, scale: &Scale, bottom: i32) -> Result<()> {
    let one = scale.x(1.0);
    root.draw(&Rectangle::new([(LEFT, TOP), (one, bottom)], BETTER.filled())).map_err(failed)?;
    for tick in [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0] {
        if scale.low <= tick && tick <= scale.high {
            let x = scale.x(tick);
            line(root, (x, TOP), (x, bottom), if tick == 1.0 { FAINT } else { RULE }, 1)?;
            text(root, (x, TOP - 12), &format!("{tick}×"), 12, FAINT, Side::Middle)?;
            text(root, (x, bottom + 14), &format!("{tick}×"), 12, FAINT, Side::Middle)?;
        }
    }
    text(root, (one - 8, bottom + 32), "cheaper than every peer", 12, GOOD, Side::Right)?;
    text(root, (one + 8, bottom + 32), "dearer than the best peer", 12, FAINT, Side::Left)
}

fn draw_row(root: &Area<'_>, scale: &Scale, row: &Row, figures: &Figures, y: i32) -> Result<()> {
    let title = row.line.title;
    text(root, (LEFT - 12, y), title, 13, INK, Side::Right)?;
    line(root, (LEFT, y), (RIGHT, y), RULE, 1)?;
    line(root, (scale.x(row.ours), y), (scale.x(1.0), y), color(Kind::Sealmq), 2)?;
    if let Some(goal) = row.goal {
        line(root, (scale.x(goal), y - 8), (scale.x(goal), y + 8), INK, 3)?;
    }
    // What is judged lies on top.
    let later = |kind: Kind| kind == row.line.judged;
    for is_later in [false, true] {
        for (kind, times) in row.times.iter().filter(|(kind, _)| later(*kind) == is_later) {
            mark(root, (scale.x(*times), y), *kind, if is_later { 7 } else { 6 })?;
        }
    }
    let value = |kind| figures.spread(row.line.workload, row.line.metric, kind).map(|s| s.median);
    let unit = unit(row.line.unit);
    if let Some(ours) = value(row.line.judged) {
        bold(root, (OURS, y), &format!("{} {unit}", figure(ours)), 13, INK, Side::Right)?;
    }
    if let Some((kind, best)) = figures.best_peer(row.line) {
        let words = format!("{} {}", kind.title(), figure(best));
        text(root, (BEST, y), &words, 13, color(kind), Side::Right)?;
    }
    let (words, color) = match (row.line.reach, figures.is_reached(row.line)) {
        (Reach::TimesBest(times), Some(yes)) => verdict(format!("{times}×"), yes),
        (Reach::AtMost(most), Some(yes)) => verdict(format!("{most} {unit}"), yes),
        _ => return Ok(()),
    };
    bold(root, (GOAL, y), &words, 13, color, Side::Right)
}

fn verdict(goal: String, yes: bool) -> (String, RGBColor) {
    match yes {
        true => (format!("{goal}: reached"), GOOD),
        false => (format!("{goal}: missed"), BAD),
    }
}

/// A date and a time without the time.
fn day(date: &str) -> &str {
    date.split(' ').next().unwrap_or(date)
}

impl Scale {
    /// Wide enough for all, the goals included.
    fn of<'a>(rows: impl Iterator<Item = &'a Row>) -> Scale {
        let times = |row: &'a Row| row.times.iter().map(|(_, times)| *times).chain(row.goal);
        let (low, high) =
            rows.flat_map(times).fold((0.5_f64, 2.0_f64), |(low, high), t| (low.min(t), high.max(t)));
        Scale { low: (low / 1.25).max(0.005), high: (high * 1.25).min(900.0) }
    }

    fn x(&self, times: f64) -> i32 {
        let part = (times.clamp(self.low, self.high) / self.low).ln() / (self.high / self.low).ln();
        LEFT + (part * f64::from(RIGHT - LEFT)).round() as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_twice_as_much_lies_as_far_to_the_right_everywhere() {
        let scale = Scale { low: 0.1, high: 10.0 };
        assert_eq!((scale.x(0.01), scale.x(0.1)), (LEFT, LEFT));
        assert_eq!((scale.x(10.0), scale.x(1e9)), (RIGHT, RIGHT));
        assert_eq!(scale.x(1.0), (LEFT + RIGHT) / 2);
    }

    #[test]
    fn every_section_has_lines() {
        for (title, metrics) in SECTIONS {
            assert!(LINES.iter().any(|line| metrics.contains(&line.metric)), "{title}");
        }
    }
}
