//! `learner-sync log`: the provisioning log.

use jiff::{Span, Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use super::Context;
use super::output::{DONE, Failure, USAGE, print, print_json, shown, table, value_text};
use crate::model::{Action, Status};
use crate::runtime::locked_cycle::learner_as_json;
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
    /// Only since this time: 2026-01-02T03:04:05Z, 2026-01-02, or an age such as 2h or 7d.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only the last ROWS rows.
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

pub(super) async fn run(context: Context, arguments: Arguments, now: Timestamp) -> Result<u8, Failure> {
    let Arguments { user, action, status, since, limit, format } = arguments;
    let since = since.map(|text| parse_since(&text, now)).transpose()?;
    let filter = LogFilter { user, action, status, since, limit };
    let rows = match Store::open(context.learners()?, Access::ReadOnly).await {
        Err(StoreError::Missing { .. } | StoreError::Older { found: 0, .. }) => Vec::new(),
        opened => opened?.log(&filter).await?,
    };
    match format {
        OutputFormat::Json => print_json(&rows.iter().map(as_json).collect())?,
        OutputFormat::Csv => print_csv(&rows)?,
        OutputFormat::Table => print_table(&rows)?,
    }
    Ok(DONE)
}

/// A time, a day (its start in UTC), or an age.
fn parse_since(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let day = || TimeZone::UTC.to_timestamp(text.parse::<jiff::civil::Date>().ok()?.at(0, 0, 0, 0)).ok();
    // A day of an age has 24 hours.
    let age = || now.to_zoned_datetime(TimeZone::UTC).checked_sub(text.parse::<Span>().ok()?).ok();
    text.parse().ok().or_else(day).or_else(|| Some(age()?.timestamp())).ok_or_else(|| {
        let valid = "2026-01-02T03:04:05Z, 2026-01-02, or an age such as 2h or 7d";
        Failure::new(USAGE, format!("--since: {text:?} is not a time; write {valid}"))
    })
}

fn as_json(row: &LogRow) -> Value {
    let LogRow { id, cycle, at, action, status, entra_id, learner, user_name, reason, detail, changes } = row;
    json!({
        "id": id, "cycle_id": cycle.0, "at": format!("{at:.0}"), "action": action.as_str(), "status": status.as_str(),
        "entra_id": entra_id.to_string(), "learner_id": learner.as_ref().map(learner_as_json), "user_name": user_name,
        "reason": reason.as_str(), "detail": detail, "changes": changes,
    })
}

fn print_csv(rows: &[LogRow]) -> Result<(), Failure> {
    let columns = "id,cycle_id,at,action,status,entra_id,learner_id,user_name,reason,detail,changes".split(',');
    let mut writer = csv::Writer::from_writer(Vec::new());
    let failed = |error: csv::Error| Failure::failed(&error, None);
    writer.write_record(columns.clone()).map_err(failed)?;
    for document in rows.iter().map(as_json) {
        let cells = columns.clone().map(|column| value_text(&document[column], ""));
        writer.write_record(cells).map_err(failed)?;
    }
    let bytes = writer.into_inner().map_err(|error| Failure::failed(&error, None))?;
    print(String::from_utf8_lossy(&bytes).trim_end())?;
    Ok(())
}

fn print_table(rows: &[LogRow]) -> Result<(), Failure> {
    if rows.is_empty() {
        print("No log entries.")?;
        return Ok(());
    }
    let mut lines = table(&["at", "action", "status", "reason", "user", "learner", "changes"]);
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
    print(&lines.trim_fmt())?;
    Ok(())
}

/// `department: Sales -> Research`, with the last part of a long SCIM path.
fn short(change: &Value) -> String {
    let path = change["attribute"].as_str().unwrap_or_default();
    let name = if path.starts_with("urn:") { path.rsplit(':').next().unwrap_or(path) } else { path };
    let new = value_text(&change["new"], "(nothing)");
    match &change["old"] {
        Value::Null => format!("{name}: {new}"),
        old => format!("{name}: {} -> {new}", value_text(old, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_accepts_times_days_and_ages() {
        let now: Timestamp = "2026-01-10T12:00:00Z".parse().unwrap();
        let at = |text| parse_since(text, now).map(|at| at.to_string()).map_err(|_| ());
        assert_eq!(at("2026-01-02T03:04:05Z"), Ok("2026-01-02T03:04:05Z".to_owned()));
        assert_eq!(at("2026-01-02"), Ok("2026-01-02T00:00:00Z".to_owned()));
        assert_eq!(at("7d"), Ok("2026-01-03T12:00:00Z".to_owned()));
        assert_eq!(at("90m"), Ok("2026-01-10T10:30:00Z".to_owned()));
        assert_eq!(at("yesterday"), Err(()));
    }
}
