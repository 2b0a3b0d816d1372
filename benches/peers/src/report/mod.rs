//! Samples to tables and a chart. Reads files that a run has left, and measures nothing.

mod chart;
mod figures;
mod table;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::sample::{Machine, Sample};
use figures::Figures;

/// Writes `table.md` and `chart.svg` beside `samples.jsonl` and `machine.json`.
pub fn write(out: &Path) -> Result<()> {
    let read = |name: &str| {
        let path = out.join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let machine: Machine = serde_json::from_str(&read("machine.json")?).context("machine.json")?;
    let lines = read("samples.jsonl")?;
    let samples: Vec<Sample> =
        lines.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("samples.jsonl")?;
    let figures = Figures::new(samples);
    fs::write(out.join("table.md"), table::write(&machine, &figures))?;
    chart::draw(&out.join("chart.svg"), &machine, &figures)
}
