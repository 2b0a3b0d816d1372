//! The tables of growth, in Markdown.

use std::fmt::Write;

use super::curves::{Curves, tidy};
use super::table::{describe, figure};
use crate::broker::Kind;
use crate::growth::{AXES, Axis, CURVES, Curve, MORE_CURVES};
use crate::sample::Machine;

const NOTES: &str = "\
CPU time of the broker, medians of the rounds. An exponent e says that all of the work costs as much as the e-th power \
of what grows: 1 is linear, 0 that it does not matter, and at most that is allowed (\"may be\"), with 0.15 for noise. \
It is fitted by least squares to the logarithms, over all sizes and, so that nothing that takes over late is \
hidden, from a tenth of the largest size on; the second one is judged.
";

pub fn write(machine: &Machine, curves: &Curves) -> String {
    let mut out = String::from("\n# What it costs as it grows\n\n");
    describe(machine, &mut out);
    let _ = writeln!(out, "\n{NOTES}");
    exponents(curves, &mut out);
    for axis in AXES {
        sizes(axis, curves, &mut out);
    }
    let errors = curves.errors();
    if !errors.is_empty() {
        let _ = writeln!(out, "\n## What did not count, of growth\n");
    }
    for (axis, size, error) in errors {
        let _ = writeln!(out, "- {axis}, {size}: {error}");
    }
    out
}

fn exponents(curves: &Curves, out: &mut String) {
    let _ = writeln!(out, "| cost | sizes | exponent, all sizes | at the end | may be | holds |");
    let _ = writeln!(out, "|---|---|---|---|---|---|");
    for (curve, broker) in shown() {
        let (series, Some(exponent)) = (curves.series(curve, broker), curves.exponent(curve, broker)) else {
            continue;
        };
        let (Some((from, _)), Some((to, _))) = (series.first(), series.last()) else { continue };
        let holds = if exponent.holds() { "yes" } else { "**no**" };
        let _ = writeln!(
            out,
            "| {} | {from} to {to} | {:.2} | {:.2} | {:.0} | {holds} |",
            title(curve, broker),
            tidy(exponent.all),
            tidy(exponent.end),
            exponent.may
        );
    }
}

/// One table for each axis: a column for each size.
fn sizes(axis: &Axis, curves: &Curves, out: &mut String) {
    let measured: Vec<u64> =
        axis.sizes.iter().copied().filter(|size| is_measured(axis, *size, curves)).collect();
    let Some(curve) = CURVES.iter().find(|curve| curve.axis == axis.id) else { return };
    if measured.is_empty() {
        return;
    }
    let heads: Vec<String> = measured.iter().map(u64::to_string).collect();
    let _ = writeln!(out, "\n| {} | {} |", curve.along, heads.join(" | "));
    let _ = writeln!(out, "|---|{}", "---|".repeat(heads.len()));
    for (curve, broker) in shown().filter(|(curve, _)| curve.axis == axis.id) {
        let series = curves.series(curve, broker);
        let cell = |size: &u64| {
            let found = series.iter().find(|(other, _)| other == size);
            found.map_or("-".to_owned(), |(_, spread)| figure(spread.median))
        };
        let cells: Vec<String> = measured.iter().map(cell).collect();
        if !series.is_empty() {
            let _ = writeln!(out, "| {}, {} | {} |", title(curve, broker), curve.unit, cells.join(" | "));
        }
    }
}

fn is_measured(axis: &Axis, size: u64, curves: &Curves) -> bool {
    let of_axis = |(curve, _): &(&Curve, Kind)| curve.axis == axis.id;
    let has = |(curve, broker)| curves.series(curve, broker).iter().any(|(other, _)| *other == size);
    shown().filter(of_axis).any(has)
}

fn shown() -> impl Iterator<Item = (&'static Curve, Kind)> {
    let brokers = |curve: &Curve| AXES.iter().find(|axis| axis.id == curve.axis).map(|axis| axis.brokers);
    CURVES
        .iter()
        .chain(MORE_CURVES)
        .flat_map(move |curve| brokers(curve).unwrap_or(&[]).iter().map(move |broker| (curve, *broker)))
}

fn title(curve: &Curve, broker: Kind) -> String {
    match broker {
        Kind::SealmqDisk => format!("{}, disk", curve.title),
        _ => curve.title.to_owned(),
    }
}
