//! The plot of the cost against the number of users.

use std::path::Path;

use anyhow::{anyhow, ensure};
use plotters::prelude::*;

use crate::child::Cost;
use crate::report::medians;
use crate::scenarios::{Measured, Scenario};

const SIZE: (u32, u32) = (1000, 520);
const LINES: [(Scenario, RGBColor); 5] = [
    (Scenario::FirstLoad, RGBColor(0xb2, 0x18, 0x2b)),
    (Scenario::WriteFloor, RGBColor(0xe8, 0x9a, 0x8a)),
    (Scenario::FewChanged, RGBColor(0x1b, 0x78, 0x37)),
    (Scenario::Unchanged, RGBColor(0x21, 0x66, 0xac)),
    (Scenario::ReadFloor, RGBColor(0x92, 0xc5, 0xde)),
];

/// Writes time and memory side by side, for users in groups.
pub(crate) fn write(path: &Path, results: &[Measured]) -> anyhow::Result<()> {
    let results: Vec<&Measured> = results.iter().filter(|result| result.setting.groups > 0).collect();
    ensure!(results.len() > 1, "a plot needs several numbers of users in groups: --users 10000,100000,1000000");
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(error)?;
    let database = results[0].database;
    let (left, right) = root.split_horizontally(SIZE.0 / 2);
    draw(&left, &results, &format!("{database}: wall time in seconds"), |cost| cost.wall)?;
    draw(&right, &results, &format!("{database}: peak memory in MiB"), |cost| cost.peak)?;
    root.present().map_err(error)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Draws a quantity of each scenario on logarithmic axes, where a constant cost per user is a line of slope one.
fn draw(area: &Area<'_>, results: &[&Measured], title: &str, quantity: fn(&Cost) -> f64) -> anyhow::Result<()> {
    let points = |scenario: Scenario| -> Vec<(f64, f64)> {
        let point = |result: &&Measured| {
            let value = quantity(&medians(result.costs.get(&scenario)?));
            (value > 0.0).then_some((result.setting.users as f64, value))
        };
        results.iter().filter_map(point).collect()
    };
    let all = || LINES.into_iter().flat_map(|(scenario, _)| points(scenario));
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        10f64.powf(low.log10().floor())..10f64.powf(high.log10().ceil())
    };
    let users = range(&mut all().map(|(users, _)| users));
    let values = range(&mut all().map(|(_, value)| value));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        // For the last label of the axis.
        .margin_right(32)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(users.log_scale(), values.log_scale())
        .map_err(error)?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("users").light_line_style(WHITE).x_label_formatter(&|users| format!("{users:.0}"));
    mesh.draw().map_err(error)?;
    for (scenario, color) in LINES {
        let points = points(scenario);
        if points.is_empty() {
            continue;
        }
        let style = color.stroke_width(2);
        let dots = points.iter().map(|point| Circle::new(*point, 3, color.filled()));
        chart.draw_series(dots).map_err(error)?;
        let line = chart.draw_series(LineSeries::new(points, style)).map_err(error)?;
        line.label(scenario.name()).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    let mut labels = chart.configure_series_labels();
    labels.position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.2));
    labels.draw().map_err(error)
}

fn error(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw the plot: {error}")
}
