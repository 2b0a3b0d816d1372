//! The chart: what a delivery costs each broker, on a logarithmic scale.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::figures::Figures;
use crate::broker::Kind;
use crate::plan::LINES;
use crate::sample::Machine;

const SIZE: (u32, u32) = (1000, 520);
/// Microseconds.
const LOW: f64 = 0.1;
const HIGH: f64 = 200.0;
/// Of each group's width.
const GAP: f64 = 0.12;
const METRIC: &str = "broker_us_per_delivery";

pub fn draw(path: &Path, machine: &Machine, figures: &Figures) -> Result<()> {
    let brokers = figures.brokers();
    let is_shown =
        |workload: &str| brokers.iter().any(|kind| figures.spread(workload, METRIC, *kind).is_some());
    let lines: Vec<_> =
        LINES.iter().filter(|line| line.metric == METRIC && is_shown(line.workload)).collect();
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let title = format!("Broker CPU time per delivery, us (logarithmic; lower is better), {}", machine.cpu);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 17))
        .margin(12)
        .x_label_area_size(58)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..lines.len().max(1) as f64, (LOW..HIGH).log_scale())
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .light_line_style(WHITE)
        .y_label_formatter(&|value| format!("{value}"))
        .draw()
        .map_err(failed)?;
    for (place, kind) in brokers.iter().enumerate() {
        let width = (1.0 - 2.0 * GAP) / brokers.len() as f64;
        let bar = |(group, line): (usize, &&crate::plan::Line)| {
            let top = figures.spread(line.workload, METRIC, *kind)?.median.clamp(LOW, HIGH);
            let left = group as f64 + GAP + place as f64 * width;
            Some(Rectangle::new([(left, LOW), (left + width * 0.92, top)], color(*kind).filled()))
        };
        chart
            .draw_series(lines.iter().enumerate().filter_map(bar))
            .map_err(failed)?
            .label(kind.title())
            .legend(|(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color(*kind).filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
        .map_err(failed)?;
    for (group, line) in lines.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(group as f64 + GAP, LOW));
        for (row, words) in line.title.split(", ").enumerate() {
            let style = ("sans-serif", 12).into_text_style(&root);
            root.draw_text(words, &style, (x, y + 6 + 15 * row as i32)).map_err(failed)?;
        }
    }
    root.present().map_err(failed)
}

fn color(kind: Kind) -> RGBColor {
    match kind {
        Kind::Mosquitto => RGBColor(150, 150, 150),
        Kind::Nats => RGBColor(90, 130, 190),
        Kind::Rumqttd => RGBColor(200, 150, 90),
        Kind::Sealmq => RGBColor(30, 130, 90),
        Kind::SealmqDisk => RGBColor(120, 190, 150),
    }
}

fn failed(e: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the chart: {e}")
}
