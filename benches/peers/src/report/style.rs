//! How charts look: one hand for all of them. They bring their own background, so that a dark page does not
//! matter, and name fonts that every system has some of.

use anyhow::{Result, anyhow};
use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::broker::Kind;

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

pub const INK: RGBColor = RGBColor(31, 35, 40);
pub const FAINT: RGBColor = RGBColor(89, 99, 110);
pub const RULE: RGBColor = RGBColor(225, 228, 232);
pub const BAD: RGBColor = RGBColor(179, 38, 30);
pub const GOOD: RGBColor = RGBColor(0, 109, 79);
/// Behind what is better.
pub const BETTER: RGBColor = RGBColor(234, 247, 241);

const FONT: &str = "Helvetica, Arial, sans-serif";

/// Where a text has its anchor.
#[derive(Clone, Copy)]
pub enum Side {
    Left,
    Middle,
    Right,
}

/// The colours of Okabe and Ito, which people tell apart who do not see all colours; shapes differ too.
pub fn color(kind: Kind) -> RGBColor {
    match kind {
        Kind::Mosquitto => RGBColor(213, 94, 0),
        Kind::Nats => RGBColor(0, 114, 178),
        Kind::Rumqttd => RGBColor(204, 121, 167),
        Kind::Sealmq | Kind::SealmqDisk => RGBColor(0, 158, 115),
    }
}

/// A figure as people write it.
pub fn figure(value: f64) -> String {
    let plain = super::table::figure(value);
    match plain.len() {
        len @ 4.. if !plain.contains('.') => format!("{},{}", &plain[..len - 3], &plain[len - 3..]),
        _ => plain,
    }
}

pub fn unit(unit: &str) -> &str {
    if unit == "us" { "µs" } else { unit }
}

/// A background of its own, with an edge.
pub fn card(area: &Area<'_>) -> Result<()> {
    area.fill(&WHITE).map_err(failed)?;
    let (width, height) = area.dim_in_pixel();
    let edge = [(0, 0), (width as i32 - 1, height as i32 - 1)];
    area.draw(&Rectangle::new(edge, RULE)).map_err(failed)
}

/// A text at its left end, middle or right end; `at` is halfway up.
pub fn text(
    area: &Area<'_>,
    at: (i32, i32),
    words: &str,
    size: i32,
    color: RGBColor,
    side: Side,
) -> Result<()> {
    write(area, at, words, (FONT, size).into_font(), color, side)
}

pub fn bold(
    area: &Area<'_>,
    at: (i32, i32),
    words: &str,
    size: i32,
    color: RGBColor,
    side: Side,
) -> Result<()> {
    write(area, at, words, (FONT, size).into_font().style(FontStyle::Bold), color, side)
}

fn write(
    area: &Area<'_>,
    at: (i32, i32),
    words: &str,
    font: FontDesc<'_>,
    color: RGBColor,
    side: Side,
) -> Result<()> {
    let side = match side {
        Side::Left => HPos::Left,
        Side::Middle => HPos::Center,
        Side::Right => HPos::Right,
    };
    let style = font.color(&color).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(words.to_owned(), at, style)).map_err(failed)
}

pub fn line(area: &Area<'_>, from: (i32, i32), to: (i32, i32), color: RGBColor, width: u32) -> Result<()> {
    area.draw(&PathElement::new([from, to], color.stroke_width(width))).map_err(failed)
}

pub fn dashed(area: &Area<'_>, from: (i32, i32), to: (i32, i32), color: RGBColor) -> Result<()> {
    const DASHES: i32 = 24;
    let part = |n: i32| (from.0 + (to.0 - from.0) * n / DASHES, from.1 + (to.1 - from.1) * n / DASHES);
    (0..DASHES).step_by(2).try_for_each(|n| line(area, part(n), part(n + 1), color, 1))
}

/// A broker's mark: round for sealmq, hollow where topics are on disk; others have corners.
pub fn mark(area: &Area<'_>, (x, y): (i32, i32), kind: Kind, size: i32) -> Result<()> {
    let color = color(kind);
    let shape = |corners: &[(i32, i32)]| {
        let corners: Vec<_> = corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
        area.draw(&Polygon::new(corners, color.filled())).map_err(failed)
    };
    match kind {
        Kind::Mosquitto => shape(&[(0, -size), (size, size - 1), (-size, size - 1)]),
        Kind::Nats => {
            let s = size - 1;
            shape(&[(-s, -s), (s, -s), (s, s), (-s, s)])
        }
        Kind::Rumqttd => shape(&[(0, -size), (size, 0), (0, size), (-size, 0)]),
        Kind::Sealmq => area.draw(&Circle::new((x, y), size, color.filled())).map_err(failed),
        Kind::SealmqDisk => {
            area.draw(&Circle::new((x, y), size - 1, WHITE.filled())).map_err(failed)?;
            area.draw(&Circle::new((x, y), size - 1, color.stroke_width(2))).map_err(failed)
        }
    }
}

pub fn failed(e: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a chart: {e}")
}
