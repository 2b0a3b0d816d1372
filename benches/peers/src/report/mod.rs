//! Samples to tables and charts. Reads files that runs have left, and measures nothing.

mod chart;
mod curves;
mod figures;
mod growth_chart;
mod growth_table;
mod style;
mod table;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

use crate::growth::Point;
use crate::sample::{Machines, Sample};
use curves::Curves;
use figures::Figures;

/// Writes `table.md`, `chart.svg` and `growth.svg` beside what was measured: of both parts, or of the one
/// that is there.
pub fn write(out: &Path) -> Result<()> {
    let machines = Machines::read(out)?;
    let (samples, points) = (lines::<Sample>(out, "samples.jsonl")?, lines::<Point>(out, "growth.jsonl")?);
    let mut text = String::new();
    if let Some((machine, samples)) = machines.peers.as_ref().zip(samples) {
        let figures = Figures::new(samples);
        text += &table::write(machine, &figures);
        chart::draw(&out.join("chart.svg"), machine, &figures)?;
    }
    if let Some((machine, points)) = machines.growth.as_ref().zip(points) {
        let curves = Curves::new(points);
        text += &growth_table::write(machine, &curves);
        growth_chart::draw(&out.join("growth.svg"), machine, &curves)?;
    }
    ensure!(!text.is_empty(), "there are no results in {}", out.display());
    fs::write(out.join("table.md"), text)?;
    Ok(())
}

/// The lines of a file of JSON, if it is there.
fn lines<T: DeserializeOwned>(out: &Path, name: &str) -> Result<Option<Vec<T>>> {
    let path = out.join(name);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| path.display().to_string()),
    };
    let lines: Result<Vec<T>, _> = text.lines().map(serde_json::from_str).collect();
    Ok(Some(lines.with_context(|| path.display().to_string())?))
}
