//! Draws what `scripts/bench --save` has written: how we compare, and how costs grow.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use serde::Deserialize;

const WIDTH: u32 = 960;
/// The height of a bar with its space.
const BAR: i32 = 20;
/// Where bars begin and end, and which ratios that stands for.
const BARS: (i32, i32) = (470, 910);
const RATIOS: (f64, f64) = (0.005, 10.0);
const GROWTH_HEIGHT: u32 = 250;

const BETTER: RGBColor = RGBColor(46, 125, 50);
const WORSE: RGBColor = RGBColor(198, 40, 40);
const COLOURS: [RGBColor; 3] = [RGBColor(21, 101, 192), RGBColor(239, 108, 0), RGBColor(106, 27, 154)];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

#[derive(Deserialize)]
struct Measured {
    rows: Vec<Row>,
    curves: Vec<Curve>,
}

#[derive(Deserialize)]
struct Row {
    what: String,
    ours: Option<f64>,
    unit: String,
    against: Option<String>,
    theirs: Option<f64>,
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Curve {
    what: String,
    of: String,
    ours: Vec<(f64, f64)>,
    theirs: std::collections::BTreeMap<String, Vec<(f64, f64)>>,
}

pub(super) fn plot(from: &Path, to: &Path) -> Result<()> {
    let text = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    let Measured { rows, curves } = serde_json::from_slice(&text)?;
    let bars: Vec<(String, f64)> = rows.iter().filter_map(Row::bar).collect();
    let bars_height = BAR * i32::try_from(bars.len() + 3)?;
    let growth_height = GROWTH_HEIGHT * u32::try_from(curves.len().div_ceil(2))?;
    let all = SVGBackend::new(to, (WIDTH, u32::try_from(bars_height)? + growth_height)).into_drawing_area();
    all.fill(&WHITE)?;
    let (above, below) = all.split_vertically(bars_height);
    draw_bars(&above, &bars)?;
    for (curve, area) in curves.iter().zip(below.split_evenly((curves.len().div_ceil(2), 2))) {
        draw_growth(&area, curve)?;
    }
    all.present()?;
    Ok(())
}

impl Row {
    /// Its text, and how much of the other's cost is ours. Differences are in the table only.
    fn bar(&self) -> Option<(String, f64)> {
        let (ours, theirs) = (self.ours?, self.theirs?);
        if ours <= 0.0 || theirs <= 0.0 || self.kind.as_deref() == Some("at most +") {
            return None;
        }
        let is_rate = self.unit.ends_with("/s");
        let ratio = if is_rate { theirs / ours } else { ours / theirs };
        Some((format!("{} / {}", self.what, self.against.as_deref()?), ratio))
    }
}

/// One bar for each ratio, from 1 to the left if it is better, to the right if it is worse.
fn draw_bars(area: &Area<'_>, bars: &[(String, f64)]) -> Result<()> {
    let place = |ratio: f64| {
        let share = (ratio.clamp(RATIOS.0, RATIOS.1) / RATIOS.0).ln() / (RATIOS.1 / RATIOS.0).ln();
        BARS.0 + (share * f64::from(BARS.1 - BARS.0)) as i32
    };
    let (small, bottom) = (("sans-serif", 11).into_font(), BAR * i32::try_from(bars.len() + 2)?);
    let title = "our cost / that of the other, logarithmic: below 1 is better";
    area.draw(&Text::new(title, (10, 4), ("sans-serif", 14).into_font()))?;
    for tick in [0.01, 0.1, 1.0, 10.0] {
        let x = place(tick);
        area.draw(&PathElement::new([(x, BAR + 4), (x, bottom)], BLACK.mix(if tick == 1.0 { 0.8 } else { 0.2 })))?;
        area.draw(&Text::new(tick.to_string(), (x - 6, bottom + 2), small.clone()))?;
    }
    for (number, (label, ratio)) in bars.iter().enumerate() {
        let top = BAR * i32::try_from(number + 1)? + 8;
        let (colour, x) = (if *ratio <= 1.0 { BETTER } else { WORSE }, place(*ratio));
        area.draw(&Text::new(label.clone(), (10, top + 1), small.clone()))?;
        area.draw(&Rectangle::new([(place(1.0).min(x), top), (place(1.0).max(x), top + BAR - 8)], colour.filled()))?;
        let beside = if *ratio <= 1.0 { place(1.0) } else { x } + 5;
        let shown = if *ratio < 0.1 { format!("1/{:.0}", 1.0 / ratio) } else { format!("{ratio:.2}") };
        area.draw(&Text::new(shown, (beside, top + 1), small.clone()))?;
    }
    Ok(())
}

/// The cost of all, relative to the first point, and the straight line for comparison.
fn draw_growth(area: &Area<'_>, curve: &Curve) -> Result<()> {
    let Some(&(first, _)) = curve.ours.first() else { return Ok(()) };
    let relative = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
        let own = points.first().map_or(1.0, |point| point.1);
        points.iter().map(|&(number, value)| (number, value / own)).collect()
    };
    let last = curve.ours.last().map_or(first, |point| point.0);
    let lines =
        std::iter::once(("ours", &curve.ours)).chain(curve.theirs.iter().map(|(name, points)| (name.as_str(), points)));
    let lines: Vec<_> = lines.map(|(name, points)| (name, relative(points))).collect();
    let highest = lines.iter().flat_map(|(_, points)| points).map(|point| point.1).fold(2.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{}: cost by {}, first = 1", curve.what, curve.of), ("sans-serif", 13))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(40)
        .build_cartesian_2d((first..last).log_scale(), (0.8..highest * 1.3).log_scale())?;
    chart.configure_mesh().disable_mesh().x_label_formatter(&|x| format!("{x:.0}")).draw()?;
    let straight = [first, last].map(|number| (number, number / first));
    chart
        .draw_series(LineSeries::new(straight, BLACK.mix(0.25)))?
        .label("in proportion")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 14, y)], BLACK.mix(0.25)));
    for ((name, points), colour) in lines.into_iter().zip(COLOURS) {
        let drawn = chart.draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?;
        drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).border_style(BLACK.mix(0.2)).draw()?;
    Ok(())
}
