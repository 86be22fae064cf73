//! Medians, as a table.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};

use crate::bounds::{Bound, bound, requests};
use crate::child::Cost;
use crate::scenarios::{Measured, Scenario};

/// Processor, cores and load.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    format!("{}, {cores} cores, load {load}", processor.map_or("unknown processor", |(_, name)| name))
}

/// The middle of the runs, for each quantity.
pub(crate) fn medians(costs: &[Cost]) -> Cost {
    let of = |quantity: fn(&Cost) -> f64| median(costs.iter().map(quantity).collect());
    Cost {
        wall: of(|cost| cost.wall),
        cpu: of(|cost| cost.cpu),
        peak: of(|cost| cost.peak),
        requests: costs.iter().map(|cost| cost.requests).max().unwrap_or_default(),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(crate) fn print(measured: &Measured) {
    let Measured { setting, database, costs } = measured;
    let how = match setting.groups {
        0 => "assigned directly".to_owned(),
        1 => "in one group".to_owned(),
        groups => format!("in {groups} groups"),
    };
    let latency = if setting.latency == 0 { String::new() } else { format!(", {} ms per answer", setting.latency) };
    let runs = costs.values().map(Vec::len).max().unwrap_or_default();
    println!("\n{} users {how}, {database}{latency}, median of {runs}", setting.users);
    println!("lists need {} requests\n", requests(setting));
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["scenario", "wall s", "CPU s", "peak MiB", "requests", "of the floor", "bound"]);
    for (scenario, runs) in costs {
        let Cost { wall, cpu, peak, requests } = medians(runs);
        let ratio = |multiples| ratio_to_floor(costs, *scenario, multiples);
        let floor = match scenario {
            Scenario::ReadFloor | Scenario::WriteFloor | Scenario::Idle => None,
            Scenario::FirstLoad => Some((1.0, 1.0)),
            _ => Some((1.0, 0.0)),
        };
        let positive = |number: f64, digits| if number > 0.0 { format!("{number:.digits$}") } else { String::new() };
        table.add_row([
            scenario.name().to_owned(),
            if scenario == &Scenario::Idle { String::new() } else { format!("{wall:.2}") },
            format!("{cpu:.2}"),
            positive(peak, 0),
            positive(requests as f64, 0),
            floor.and_then(ratio).map(|ratio| format!("{ratio:.1}")).unwrap_or_default(),
            describe(bound(setting, *scenario), &medians(runs), ratio),
        ]);
    }
    for column in table.column_iter_mut().skip(1).take(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}

/// The wall time in multiples of weighted floors, within each run.
fn ratio_to_floor(costs: &BTreeMap<Scenario, Vec<Cost>>, scenario: Scenario, (read, write): (f64, f64)) -> Option<f64> {
    let floor = |floor: Scenario, run: usize| costs.get(&floor)?.get(run).map(|cost| cost.wall);
    let ratios = costs.get(&scenario)?.iter().enumerate().map(|(run, cost)| {
        let read = if read > 0.0 { read * floor(Scenario::ReadFloor, run)? } else { 0.0 };
        let write = if write > 0.0 { write * floor(Scenario::WriteFloor, run)? } else { 0.0 };
        Some(cost.wall / (read + write))
    });
    ratios.collect::<Option<Vec<f64>>>().map(median)
}

/// Each part of a bound, and whether it is met.
fn describe(bound: Bound, cost: &Cost, ratio: impl Fn((f64, f64)) -> Option<f64>) -> String {
    let Bound { wall, peak, floors } = bound;
    let mark = |met: bool| if met { "met" } else { "MISSED" };
    let mut parts = Vec::new();
    if wall.is_finite() {
        parts.push(format!("{wall} s {}", mark(cost.wall <= wall)));
    }
    if peak.is_finite() {
        parts.push(format!("{peak} MiB {}", mark(cost.peak <= peak)));
    }
    if let Some((read, write)) = floors
        && let Some(ratio) = ratio((read, write))
    {
        let floor = if write > 0.0 { format!("F_read + {write} F_write") } else { format!("{read} F_read") };
        parts.push(format!("{floor} {} ({ratio:.2})", mark(ratio <= 1.0)));
    }
    parts.join(", ")
}
