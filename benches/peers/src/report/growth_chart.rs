//! The chart of growth: a small plot for each curve, both axes logarithmic.

use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;

use super::curves::{Curves, Exponent, tidy};
use super::style::{
    Area, BAD, FAINT, GOOD, INK, RULE, Side, bold, card, color, dashed, failed, figure, line, mark, text,
    unit,
};
use crate::broker::Kind;
use crate::growth::{AXES, CURVES, Curve, Rule};
use crate::sample::Machine;

const COLUMNS: usize = 4;
const PLOT: (i32, i32) = (262, 252);
const MARGIN: i32 = 28;
const TOP: i32 = 116;
const FOOT: i32 = 12;
/// Within a plot: room for its title, for the figures at its left, for what stands below it.
const ABOVE: i32 = 48;
const ASIDE: i32 = 44;
const BELOW: i32 = 44;
const BESIDE: i32 = 16;

/// A plot's frame, and what its axes reach.
struct Frame {
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
    x: (f64, f64),
    y: (f64, f64),
}

pub fn draw(path: &Path, machine: &Machine, curves: &Curves) -> Result<()> {
    let rows = CURVES.len().div_ceil(COLUMNS) as i32;
    let (width, height) = (2 * MARGIN + PLOT.0 * COLUMNS as i32, TOP + rows * PLOT.1 + FOOT);
    let root = SVGBackend::new(path, (width as u32, height as u32)).into_drawing_area();
    card(&root)?;
    head(&root, machine)?;
    for (place, curve) in CURVES.iter().enumerate() {
        let (column, row) = ((place % COLUMNS) as i32, (place / COLUMNS) as i32);
        plot(&root, (MARGIN + column * PLOT.0, TOP + row * PLOT.1), curve, curves)?;
    }
    root.present().map_err(failed)
}

fn head(root: &Area<'_>, machine: &Machine) -> Result<()> {
    let Machine { date, cpu, cores, rounds, .. } = machine;
    bold(root, (MARGIN, 34), "What sealmq's broker spends as it grows", 23, INK, Side::Left)?;
    let day = date.split(' ').next().unwrap_or(date);
    let quick = if machine.quick { "; a quick run, no figures to quote" } else { "" };
    let what = format!(
        "CPU time, lower is better; both axes logarithmic. Medians of {rounds} rounds; {cpu}, {cores} cores; {day}{quick}"
    );
    text(root, (MARGIN, 62), &what, 14, FAINT, Side::Left)?;
    let mut x = MARGIN;
    for kind in [Kind::Sealmq, Kind::SealmqDisk] {
        mark(root, (x + 6, 90), kind, 5)?;
        bold(root, (x + 20, 90), kind.title(), 14, color(kind), Side::Left)?;
        x += 150;
    }
    dashed(root, (x, 90), (x + 34, 90), FAINT)?;
    let rule = "as much as it may grow: linear work, or none at all where what grows is apart";
    text(root, (x + 44, 90), rule, 14, FAINT, Side::Left)
}

fn plot(root: &Area<'_>, at: (i32, i32), curve: &Curve, curves: &Curves) -> Result<()> {
    let brokers = AXES.iter().find(|axis| axis.id == curve.axis).map_or(&[][..], |axis| axis.brokers);
    let series: Vec<(Kind, Vec<(f64, f64)>)> = brokers
        .iter()
        .map(|broker| {
            let points = curves.series(curve, *broker).into_iter();
            (*broker, points.map(|(size, spread)| (size as f64, spread.median)).collect())
        })
        .collect();
    bold(root, (at.0, at.1 + 12), curve.title, 14, INK, Side::Left)?;
    let Some(frame) = Frame::of(at, series.iter().flat_map(|(_, points)| points)) else {
        return text(root, (at.0, at.1 + 34), "not measured", 12, FAINT, Side::Left);
    };
    axes(root, &frame, curve)?;
    let mut x = at.0;
    for (broker, points) in &series {
        if let Some(exponent) = curves.exponent(curve, *broker) {
            let (words, tint) = verdict(curve.rule, *broker, brokers.len() > 1, exponent);
            text(root, (x, at.1 + 32), &words, 12, tint, Side::Left)?;
            x += 122;
        }
        draw_series(root, &frame, curve.rule, *broker, points)?;
    }
    Ok(())
}

/// What grows, and how: the exponent that is judged.
fn verdict(rule: Rule, broker: Kind, is_one_of_many: bool, exponent: Exponent) -> (String, RGBColor) {
    let what = match (is_one_of_many, broker) {
        (false, _) if rule == Rule::Share => "all of it grows as",
        (false, _) => "grows as",
        (true, Kind::SealmqDisk) => "disk: as",
        (true, _) => "memory: as",
    };
    (format!("{what} n^{:.2}", tidy(exponent.end)), if exponent.holds() { GOOD } else { BAD })
}

fn axes(root: &Area<'_>, frame: &Frame, curve: &Curve) -> Result<()> {
    for (value, label) in ticks(frame.x, curve.axis == "size") {
        let x = frame.at(value, frame.y.0).0;
        line(root, (x, frame.top), (x, frame.bottom), RULE, 1)?;
        text(root, (x, frame.bottom + 12), &label, 11, FAINT, Side::Middle)?;
    }
    for value in steps(frame.y) {
        let y = frame.at(frame.x.0, value).1;
        line(root, (frame.left, y), (frame.right, y), RULE, 1)?;
        text(root, (frame.left - 6, y), &format!("{value}"), 11, FAINT, Side::Right)?;
    }
    text(root, (frame.left - 6, frame.top - 3), unit(curve.unit), 11, FAINT, Side::Right)?;
    let middle = (frame.left + frame.right) / 2;
    text(root, (middle, frame.bottom + 29), curve.along, 12, FAINT, Side::Middle)
}

fn draw_series(
    root: &Area<'_>,
    frame: &Frame,
    rule: Rule,
    broker: Kind,
    points: &[(f64, f64)],
) -> Result<()> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Ok(()) };
    let grown = if rule == Rule::Whole { last.0 / first.0 } else { 1.0 };
    // Cut where it leaves the plot, so that its slope stays what it is.
    let (end, value) = match first.1 * grown <= frame.y.1 {
        true => (last.0, first.1 * grown),
        false => (first.0 * frame.y.1 / first.1, frame.y.1),
    };
    dashed(root, frame.at(first.0, first.1), frame.at(end, value), FAINT)?;
    let at: Vec<_> = points.iter().map(|(x, y)| frame.at(*x, *y)).collect();
    root.draw(&PathElement::new(at.clone(), color(broker).stroke_width(2))).map_err(failed)?;
    at.iter().try_for_each(|at| mark(root, *at, broker, 4))?;
    for (point, place) in [(first, Side::Left), (last, Side::Right)] {
        let at = frame.at(point.0, point.1);
        let above = if broker == Kind::SealmqDisk { -12 } else { 13 };
        text(root, (at.0, at.1 + above), &figure(point.1), 11, INK, place)?;
    }
    Ok(())
}

impl Frame {
    /// Two decades high at least, so that noise looks like noise.
    fn of<'a>(at: (i32, i32), points: impl Iterator<Item = &'a (f64, f64)>) -> Option<Frame> {
        let none = (f64::INFINITY, 0.0);
        let span = |(low, high): (f64, f64), v: f64| (low.min(v), high.max(v));
        let (x, y) = points.fold((none, none), |(x, y), point| (span(x, point.0), span(y, point.1)));
        if x.0 >= x.1 || y.0 <= 0.0 {
            return None;
        }
        let room = (100.0 / (y.1 / y.0)).sqrt().max(2.0);
        Some(Frame {
            left: at.0 + ASIDE,
            right: at.0 + PLOT.0 - BESIDE,
            top: at.1 + ABOVE + 6,
            bottom: at.1 + PLOT.1 - BELOW,
            x,
            y: (y.0 / room, y.1 * room),
        })
    }

    fn at(&self, x: f64, y: f64) -> (i32, i32) {
        let part = |v: f64, (low, high): (f64, f64)| (v.clamp(low, high) / low).ln() / (high / low).ln();
        let right = part(x, self.x) * f64::from(self.right - self.left);
        let up = part(y, self.y) * f64::from(self.bottom - self.top);
        (self.left + right.round() as i32, self.bottom - up.round() as i32)
    }
}

/// Powers of ten; of bytes, powers of two that have short names.
fn ticks(range: (f64, f64), is_bytes: bool) -> Vec<(f64, String)> {
    const BYTES: [(f64, &str); 5] =
        [(16.0, "16 B"), (256.0, "256 B"), (4096.0, "4 KiB"), (65_536.0, "64 KiB"), (1_048_576.0, "1 MiB")];
    const COUNTS: [(f64, &str); 7] = [
        (1.0, "1"),
        (10.0, "10"),
        (100.0, "100"),
        (1e3, "1,000"),
        (1e4, "10,000"),
        (1e5, "100,000"),
        (1e6, "1,000,000"),
    ];
    let all = if is_bytes { &BYTES[..] } else { &COUNTS[..] };
    let within = all.iter().filter(|(value, _)| range.0 <= *value && *value <= range.1);
    // Long numbers beside each other would run together.
    let step = if !is_bytes && range.1 >= 1e5 { 2 } else { 1 };
    within.step_by(step).map(|(value, label)| (*value, (*label).to_owned())).collect()
}

/// Powers of ten within a range.
fn steps((low, high): (f64, f64)) -> Vec<f64> {
    (-3..7).map(|power| 10_f64.powi(power)).filter(|value| low <= *value && *value <= high).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corners_of_a_plot_are_the_ends_of_its_axes() {
        let points = [(1.0, 2.0), (10_000.0, 3.0)];
        let frame = Frame::of((0, 0), points.iter()).expect("two points");
        assert_eq!(frame.at(1.0, frame.y.0), (frame.left, frame.bottom));
        assert_eq!(frame.at(10_000.0, frame.y.1), (frame.right, frame.top));
        assert!(frame.y.1 / frame.y.0 > 99.0);
        assert!(Frame::of((0, 0), points[..1].iter()).is_none());
    }

    #[test]
    fn ticks_lie_within_their_range() {
        assert_eq!(ticks((1.0, 2_000.0), false).len(), 4);
        assert_eq!(ticks((16.0, 1_048_576.0), true).len(), 5);
        assert_eq!(steps((0.5, 20.0)), [1.0, 10.0]);
    }
}
