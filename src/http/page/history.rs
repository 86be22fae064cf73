//! The charts of `/`: learners over time, and the changes of each cycle. A table has the same numbers.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::layout::table;
use crate::runtime::status::StatusSummary;
use crate::store::{CycleRow, Store, StoreError};
use crate::view::{counted, local_time};

/// How many cycles the curve of learners shows.
const CURVE: u32 = 500;
/// How many cycles have a bar.
const BARS: usize = 60;
/// How many cycles the table has.
const TABLE: usize = 30;
/// The size of a chart, in units of its own.
const WIDTH: u64 = 600;
const HEIGHT: u64 = 140;

/// A kind of change with its class and its word.
const KINDS: [(&str, &str); 4] =
    [("create", "created"), ("update", "updated"), ("reactivate", "reactivated"), ("deactivate", "deactivated")];

/// A cycle that has ended, and the active learners after it.
struct Point {
    cycle: i64,
    at: Timestamp,
    active: u64,
    /// In the order of [`KINDS`].
    changes: [u64; 4],
}

/// The section with the charts; empty before the first cycle.
pub(super) async fn section(store: &Store, summary: &StatusSummary) -> Result<Markup, StoreError> {
    let cycles = store.ended_cycles(&summary.source, CURVE).await?;
    let points = points(&cycles, summary.learners.active);
    if points.is_empty() {
        return Ok(html! {});
    }
    let bars = &points[points.len().saturating_sub(BARS)..];
    Ok(html! {
        section aria-labelledby="charts" {
            h2 #charts { "Charts" }
            (curve(&points))
            p.note {
                "The earlier numbers are computed back from the present one; changes made outside learner-sync shift them."
            }
            (changes(bars))
            details {
                summary { "The last cycles as a table" }
                (numbers(&points[points.len().saturating_sub(TABLE)..]))
            }
        }
    })
}

/// The cycles, oldest first. Each number of learners follows from the present one and from the changes since.
fn points(newest_first: &[CycleRow], active: u64) -> Vec<Point> {
    let mut active = active;
    let mut points: Vec<Point> = newest_first
        .iter()
        .map(|row| {
            let counts = &row.counts;
            let changes = [counts.created, counts.updated, counts.reactivated, counts.deactivated];
            let point = Point { cycle: row.id.0, at: row.started_at, active, changes };
            active = (active + counts.deactivated).saturating_sub(counts.created + counts.reactivated);
            point
        })
        .collect();
    points.reverse();
    points
}

fn curve(points: &[Point]) -> Markup {
    let numbers = || points.iter().map(|point| point.active);
    let (most, fewest) = (numbers().max().unwrap_or_default(), numbers().min().unwrap_or_default());
    let last = points.last().map_or(0, |point| point.active);
    let title = format!("Active learners after each of the last {}", counted(points.len() as u64, "cycle"));
    let text = format!("Between {fewest} and {most}; {last} now.");
    // The lowest and the highest number have some room below and above.
    let height = |number: u64| HEIGHT - 10 - scaled(number - fewest, most - fewest, HEIGHT - 20);
    let place = |(index, point): (usize, &Point)| {
        format!("{},{}", scaled(index as u64, points.len().saturating_sub(1) as u64, WIDTH), height(point.active))
    };
    let mut line: Vec<String> = points.iter().enumerate().map(place).collect();
    if points.len() == 1 {
        line.push(format!("{WIDTH},{}", height(last)));
    }
    let drawing = html! { polyline class="learners" points=(line.join(" ")) {} };
    figure("learners", &title, &text, points, &drawing)
}

fn changes(points: &[Point]) -> Markup {
    let total = |point: &Point| point.changes.iter().sum::<u64>();
    let most = points.iter().map(total).max().unwrap_or_default();
    let sums: Vec<u64> = (0..KINDS.len()).map(|kind| points.iter().map(|point| point.changes[kind]).sum()).collect();
    let title = format!("Changes of each of the last {}", counted(points.len() as u64, "cycle"));
    let all = KINDS.iter().zip(&sums).map(|((_, word), sum)| format!("{sum} {word}")).collect::<Vec<_>>().join(", ");
    let text = format!("{all}; at most {most} in one cycle.");
    let slot = WIDTH / BARS as u64;
    let drawing = html! {
        @for (index, point) in points.iter().enumerate() {
            @for (kind, y, height) in bar(point, most) {
                rect class=(kind) x=(index as u64 * slot + 1) y=(y) width=(slot - 2) height=(height) {}
            }
        }
        line class="axis" x1="0" x2=(WIDTH) y1=(HEIGHT) y2=(HEIGHT) {}
    };
    html! {
        (figure("changes", &title, &text, points, &drawing))
        ul.legend {
            @for (class, word) in KINDS {
                li { svg viewBox="0 0 10 10" aria-hidden="true" { rect class=(class) width="10" height="10" {} } (word) }
            }
        }
    }
}

/// The parts of a bar from the bottom to the top: class, upper edge and height.
fn bar(point: &Point, most: u64) -> Vec<(&'static str, u64, u64)> {
    let mut below = 0;
    let mut parts = Vec::new();
    for ((class, _), number) in KINDS.into_iter().zip(point.changes).filter(|(_, number)| *number > 0) {
        // Also a single change can be seen.
        let height = scaled(number, most, HEIGHT - 10).max(2);
        below += height;
        parts.push((class, HEIGHT.saturating_sub(below), height));
    }
    parts
}

/// A chart with its title, its summary and the times at its ends.
fn figure(id: &str, title: &str, text: &str, points: &[Point], drawing: &Markup) -> Markup {
    let (first, last) = (points.first().map(|point| day(point.at)), points.last().map(|point| day(point.at)));
    html! {
        figure {
            figcaption { strong { (title) } br; (text) }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-labelledby={ (id) "-title " (id) "-text" } {
                title id={ (id) "-title" } { (title) }
                desc id={ (id) "-text" } { (text) }
                (drawing)
            }
            p.ends { span { (first.unwrap_or_default()) } span { (last.unwrap_or_default()) } }
        }
    }
}

fn numbers(points: &[Point]) -> Markup {
    let headers = ["cycle", "started", "active learners", "created", "updated", "reactivated", "deactivated"];
    let rows = points.iter().rev().map(|point| {
        let cycle = html! { a href={ "/log?cycle=" (point.cycle) } { (point.cycle) } };
        let head = [cycle, html! { (local_time(point.at)) }, html! { (point.active) }];
        head.into_iter().chain(point.changes.map(|number| html! { (number) })).collect()
    });
    table("Active learners and changes, newest cycle first", &headers, rows)
}

fn day(at: Timestamp) -> String {
    at.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// `number` of `whole` on a length.
fn scaled(number: u64, whole: u64, length: u64) -> u64 {
    u64::try_from(u128::from(number) * u128::from(length) / u128::from(whole.max(1))).unwrap_or(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(changes: [u64; 4]) -> Point {
        Point { cycle: 1, at: Timestamp::UNIX_EPOCH, active: 3, changes }
    }

    #[test]
    fn bars_stack_and_a_single_change_can_be_seen() {
        assert_eq!(bar(&point([0, 0, 0, 0]), 0), []);
        assert_eq!(bar(&point([100, 0, 0, 0]), 100), [("create", 10, 130)]);
        assert_eq!(bar(&point([1, 1, 0, 0]), 1_000_000), [("create", HEIGHT - 2, 2), ("update", HEIGHT - 4, 2)]);
        assert_eq!(scaled(u64::MAX, 1, 10), 10);
    }

    #[test]
    fn one_cycle_is_a_line_and_huge_numbers_fit() {
        let drawn = curve(&[point([u64::MAX / 8; 4])]).into_string();
        assert!(drawn.contains("points=\"0,130 600,130\""), "{drawn}");
        assert!(drawn.contains("<title id=\"learners-title\">") && drawn.contains("<desc id=\"learners-text\">"));
    }
}
