//! `learner-sync log`: the provisioning log.

use std::io::{BufWriter, ErrorKind, IsTerminal, Stdout, Write};

use comfy_table::{ColumnConstraint, Width};
use jiff::civil::{Date, DateTime};
use jiff::{Span, Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use super::Context;
use super::output::{DONE, Failure, USAGE, shown, table, value_text, visible_json, with_ends};
use super::spreadsheet::safe_cell;
use crate::model::{Action, LearnerId, Status};
use crate::store::{Access, LogFilter, LogRow, Store, StoreError};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only this user: user name, Entra object id, or learner id.
    #[arg(long)]
    user: Option<String>,
    /// Only this action: create, update, deactivate, reactivate.
    #[arg(long)]
    action: Option<Action>,
    /// Only this status: success, failure, skipped, held.
    #[arg(long)]
    status: Option<Status>,
    /// Only since this time: 2026-01-02T03:04:05Z, 2026-01-02 or 2026-01-02 03:04 in local time, or an age such as 2h or 7d.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only the last ROWS rows; without it a terminal shows the last 100, and a file or pipe gets all of them.
    #[arg(long, value_name = "ROWS")]
    limit: Option<u32>,
    /// The output format.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub(super) format: OutputFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum OutputFormat {
    /// For reading.
    Table,
    /// One JSON array.
    Json,
    /// With a header; changes are JSON.
    Csv,
}

/// The rows of a page: enough to be quick, and few enough to be held in memory.
const PAGE: u32 = 500;
/// The rows that a terminal shows without `--limit`.
const TERMINAL_ROWS: u32 = 100;

pub(super) async fn run(context: Context, arguments: Arguments, now: Timestamp) -> Result<u8, Failure> {
    let Arguments { user, action, status, since, limit, format } = arguments;
    let since = since.map(|text| parse_since(&text, now, &TimeZone::system())).transpose()?;
    let by_default = limit.is_none() && std::io::stdout().is_terminal();
    let limit = if by_default { Some(TERMINAL_ROWS) } else { limit };
    let filter = LogFilter { user, action, status, since, limit: None, after: None, skip: 0 };
    let store = match Store::open(context.learners()?, Access::ReadOnly).await {
        Err(StoreError::Missing { .. } | StoreError::Older { found: 0, .. }) => None,
        opened => Some(opened?),
    };
    let mut printer = LogPrinter::new(format);
    let printed = print_pages(store.as_ref(), filter, limit, &mut printer).await;
    match printed {
        Ok(rows) => {
            if by_default && rows == TERMINAL_ROWS {
                let _ = writeln!(std::io::stderr(), "These are the last {rows} rows; --limit ROWS shows more.");
            }
            Ok(DONE)
        }
        // A reader that closes standard output early, such as `head`, has seen enough.
        Err(LogError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(DONE),
        Err(LogError::Output(error)) => Err(error.into()),
        Err(LogError::Store(error)) => Err(error.into()),
    }
}

enum LogError {
    Store(StoreError),
    Output(std::io::Error),
}

impl From<StoreError> for LogError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<std::io::Error> for LogError {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

/// Prints the last `limit` rows page by page, oldest first, and returns their number.
async fn print_pages(
    store: Option<&Store>,
    filter: LogFilter,
    limit: Option<u32>,
    printer: &mut LogPrinter,
) -> Result<u32, LogError> {
    let mut rows = 0;
    if let Some(store) = store {
        let mut after = match limit {
            None => 0,
            Some(0) => i64::MAX,
            Some(limit) => {
                let first = LogFilter { limit: Some(1), skip: limit - 1, ..filter.clone() };
                store.log(&first).await?.ids.first().map_or(0, |id| id - 1)
            }
        };
        loop {
            let left = limit.map_or(PAGE, |limit| PAGE.min(limit - rows));
            let page = store.log(&LogFilter { after: Some(after), limit: Some(left), ..filter.clone() }).await?;
            let Some(last) = page.ids.last() else { break };
            after = *last;
            rows = rows.saturating_add(u32::try_from(page.ids.len()).unwrap_or(u32::MAX));
            if !page.rows.is_empty() {
                printer.print(&page.rows)?;
            }
            if limit.is_some_and(|limit| rows >= limit) {
                break;
            }
        }
    }
    printer.finish()?;
    store.iter().flat_map(|store| store.unreadable_rows()).for_each(|row| tracing::warn!("{row}"));
    Ok(rows)
}

/// Prints rows as they arrive.
struct LogPrinter {
    format: OutputFormat,
    output: BufWriter<Stdout>,
    is_empty: bool,
    /// The widths of the columns of the first page, which the others keep.
    widths: Vec<u16>,
}

impl LogPrinter {
    fn new(format: OutputFormat) -> Self {
        Self { format, output: BufWriter::new(std::io::stdout()), is_empty: true, widths: Vec::new() }
    }

    fn print(&mut self, page: &[LogRow]) -> std::io::Result<()> {
        match self.format {
            OutputFormat::Json => {
                for row in page {
                    self.output.write_all(if self.is_empty { b"[\n  " } else { b",\n  " })?;
                    self.is_empty = false;
                    let document = visible_json(format!("{:#}", as_json(row)));
                    self.output.write_all(document.replace('\n', "\n  ").as_bytes())?;
                }
            }
            OutputFormat::Csv => {
                let mut writer = csv::Writer::from_writer(Vec::new());
                if self.is_empty {
                    writer.write_record(COLUMNS)?;
                }
                for document in page.iter().map(as_json) {
                    writer.write_record(COLUMNS.map(|column| safe_cell(&value_text(&document[column], ""))))?;
                }
                let page = writer.into_inner().map_err(|error| error.into_error())?;
                self.output.write_all(&page)?;
            }
            OutputFormat::Table => {
                let (text, widths) = as_table(page, self.is_empty, &self.widths);
                self.widths = widths;
                writeln!(self.output, "{text}")?;
            }
        }
        self.is_empty = false;
        self.output.flush()
    }

    fn finish(&mut self) -> std::io::Result<()> {
        match (self.format, self.is_empty) {
            (OutputFormat::Json, true) => writeln!(self.output, "[]")?,
            (OutputFormat::Json, false) => writeln!(self.output, "\n]")?,
            (OutputFormat::Csv, true) => writeln!(self.output, "{}", COLUMNS.join(","))?,
            (OutputFormat::Table, true) => writeln!(self.output, "No log entries.")?,
            (OutputFormat::Csv | OutputFormat::Table, false) => {}
        }
        self.output.flush()
    }
}

/// A time, a local time or day, or an age.
fn parse_since(text: &str, now: Timestamp, local: &TimeZone) -> Result<Timestamp, Failure> {
    let day = || Some(Date::strptime("%Y-%m-%d", text).ok()?.at(0, 0, 0, 0));
    let time = |format| DateTime::strptime(format, text).ok();
    let civil = || day().or_else(|| time("%Y-%m-%d %H:%M")).or_else(|| time("%Y-%m-%d %H:%M:%S"));
    let civil = || local.to_timestamp(civil()?).ok();
    // A day of an age has 24 hours.
    let age = || now.to_zoned_datetime(TimeZone::UTC).checked_sub(text.parse::<Span>().ok()?).ok();
    text.parse().ok().or_else(civil).or_else(|| Some(age()?.timestamp())).ok_or_else(|| {
        let valid = "2026-01-02T03:04:05Z, 2026-01-02 or 2026-01-02 03:04 in local time, or an age such as 2h or 7d";
        Failure::new(USAGE, format!("--since: {text:?} is not a time; write {valid}"))
    })
}

fn as_json(row: &LogRow) -> Value {
    let LogRow { id, cycle, at, action, status, entra_id, learner, user_name, reason, detail, changes } = row;
    json!({
        "id": id, "cycle_id": cycle.0, "at": format!("{at:.0}"), "action": action.as_str(), "status": status.as_str(),
        "entra_id": entra_id.to_string(), "learner_id": learner.as_ref().map(LearnerId::to_json), "user_name": user_name,
        "reason": reason.as_str(), "detail": detail, "changes": changes,
    })
}

const COLUMNS: [&str; 11] =
    ["id", "cycle_id", "at", "action", "status", "entra_id", "learner_id", "user_name", "reason", "detail", "changes"];

/// A page as a table whose columns have at least the given `widths`, and the widths of its columns.
fn as_table(rows: &[LogRow], with_header: bool, widths: &[u16]) -> (String, Vec<u16>) {
    let mut lines = table(&["at", "action", "status", "reason", "user", "learner", "changes"]);
    if !with_header {
        lines.set_header(comfy_table::Row::new());
    }
    for LogRow { id: _, cycle: _, at, action, status, entra_id, learner, user_name, reason, detail, changes } in rows {
        let user = user_name.clone().unwrap_or_else(|| entra_id.to_string());
        let what: Vec<String> =
            detail.iter().cloned().chain(changes.as_array().into_iter().flatten().map(short)).collect();
        lines.add_row([
            format!("{at:.0}"),
            action.to_string(),
            status.to_string(),
            reason.to_string(),
            shown(&user),
            learner.as_ref().map(ToString::to_string).unwrap_or_default(),
            shown(&what.join(", ")),
        ]);
    }
    let found: Vec<u16> = lines.column_max_content_widths();
    // A terminal has a width of its own.
    if lines.width().is_none() {
        for (column, width) in lines.column_iter_mut().zip(widths) {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*width)));
        }
    }
    let widths = if widths.is_empty() { found } else { widths.to_vec() };
    // Without a header, an empty line stands in its place.
    (lines.trim_fmt().trim_start_matches('\n').to_owned(), widths)
}

/// `department: Sales -> Research`, with the last part of a long SCIM path.
fn short(change: &Value) -> String {
    let path = change["attribute"].as_str().unwrap_or_default();
    let name = if path.starts_with("urn:") { path.rsplit(':').next().unwrap_or(path) } else { path };
    let new = value_text(&change["new"], "(nothing)");
    match &change["old"] {
        Value::Null => format!("{name}: {new}"),
        Value::String(old) => format!("{name}: {} -> {new}", with_ends(old)),
        old => format!("{name}: {old} -> {new}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_accepts_times_days_and_ages() {
        let now: Timestamp = "2026-01-10T12:00:00Z".parse().unwrap();
        let local = TimeZone::fixed(jiff::tz::offset(2));
        let at = |text| parse_since(text, now, &local).map(|at| at.to_string()).map_err(|_| ());
        let accepted = [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05-01:00", "2026-01-02T04:04:05Z"),
            ("2026-01-02", "2026-01-01T22:00:00Z"),
            ("2026-01-02 03:04", "2026-01-02T01:04:00Z"),
            ("2026-01-02 03:04:05", "2026-01-02T01:04:05Z"),
            ("7d", "2026-01-03T12:00:00Z"),
            ("90m", "2026-01-10T10:30:00Z"),
        ];
        for (text, expected) in accepted {
            assert_eq!(at(text), Ok(expected.to_owned()), "{text}");
        }
        for text in ["yesterday", "2026-01-02T03:04:05", "2026-01-02 03", "2026-01-02 25:00", "2026-02-30", "", "03:04"]
        {
            assert_eq!(at(text), Err(()), "{text}");
        }
    }
}
