//! `learner-sync log show`: one entry in full.

use serde_json::Value;

use super::open;
use super::records::Printer;
use crate::cli::narrow::{ListColumns, ListRow};
use crate::cli::output::{
    DONE, FAILED, Failure, OutputFormat, action_in_words, local_time, print, print_json, print_labelled, shown,
    value_text, with_ends,
};
use crate::model::{Attribute, Reason};
use crate::store::{LearnerDatabase, LogFilter, LogRow, NamedLearner, RowRange, Store};
use crate::view::{Entries, NOTHING, Records};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The number of the entry, which `log --format json` and `csv` show as `id`.
    id: i64,
    /// The output format.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub(super) format: OutputFormat,
}

pub(super) async fn run(database: LearnerDatabase, arguments: Arguments) -> Result<u8, Failure> {
    let Arguments { id, format } = arguments;
    let entries = Entries(LogFilter { id: Some(id), ..LogFilter::default() });
    let store = open(database).await?;
    let unknown = || Failure::new(FAILED, format!("the provisioning log has no entry {id}; it may have expired"));
    let store = store.ok_or_else(unknown)?;
    let page = entries.read(&store, RowRange::default()).await?;
    store.unreadable_rows().iter().for_each(|row| tracing::warn!("{row}"));
    let row = page.rows.first().ok_or_else(unknown)?;
    match format {
        OutputFormat::Json => print_json(&Entries::as_json(row))?,
        OutputFormat::Csv => Printer::<Entries>::new(format, false).print(std::slice::from_ref(row))?,
        OutputFormat::Table => {
            let cycle = store.cycle(row.cycle).await?;
            let holders = holders(&store, row).await?;
            let trigger = cycle.map(|cycle| format!(" ({}, {})", cycle.trigger, local_time(cycle.started_at)));
            print_entry(row, &trigger.unwrap_or_default(), &holders)?;
        }
    }
    Ok(DONE)
}

/// The other learners that have a value which this one wanted, as they are now.
async fn holders(store: &Store, row: &LogRow) -> Result<Vec<String>, Failure> {
    let mut holders = Vec::new();
    if row.reason != Reason::Conflict {
        return Ok(holders);
    }
    for change in row.changes.as_array().into_iter().flatten() {
        let attribute = Attribute::UNIQUE.into_iter().find(|attribute| change["attribute"] == attribute.path());
        let Some((attribute, value)) = attribute.zip(change["new"].as_str()) else { continue };
        for NamedLearner { learner, user_name } in store.learners_with(attribute, value).await? {
            if row.learner.as_ref() != Some(&learner) {
                let name = user_name.as_deref().map_or_else(|| "without a user name".to_owned(), shown);
                holders.push(format!("{}: learner {}, {name}", attribute.path(), shown(&learner.to_string())));
            }
        }
    }
    Ok(holders)
}

const CHANGES: ListColumns = ListColumns(&["attribute", "old", "new"]);

fn print_entry(row: &LogRow, trigger: &str, holders: &[String]) -> Result<(), Failure> {
    let LogRow {
        id,
        cycle,
        at,
        action,
        status,
        entra_id,
        learner,
        user_name,
        reason,
        detail,
        changes,
        approved_by,
        request_id,
        phase,
    } = row;
    let lines = [
        ("Entry", Some(id.to_string())),
        ("Time", Some(local_time(*at))),
        ("Cycle", Some(format!("{cycle}{trigger}"))),
        ("Action", Some(action_in_words(*action, *status, *phase))),
        ("Status", Some(status.to_string())),
        ("Reason", Some(reason.to_string())),
        ("User", user_name.as_deref().map(shown)),
        ("Entra id", Some(entra_id.to_string())),
        ("Learner", learner.as_ref().map(|learner| shown(&learner.to_string()))),
        ("Hold", phase.map(|phase| phase.to_string())),
        ("Approved by", approved_by.as_deref().map(shown)),
        ("Detail", detail.as_deref().map(shown)),
        ("Request id", request_id.as_deref().map(shown)),
    ];
    for (name, value) in lines {
        if let Some(value) = value {
            print_labelled(&format!("{name:<13} "), &value)?;
        }
    }
    for holder in holders {
        print_labelled(&format!("{:<13} ", "Held now by"), holder)?;
    }
    let value = |value: &Value| match value {
        Value::String(text) => shown(&with_ends(text)),
        value => shown(&value_text(value, NOTHING)),
    };
    let rows = changes.as_array().into_iter().flatten().map(|change| {
        let cells = ["attribute", "old", "new"].map(|key| value(&change[key]));
        let [path, old, new] = &cells;
        let narrow = [path.clone(), format!("{old} -> {new}")];
        ListRow { cells: cells.to_vec(), narrow }
    });
    let rows: Vec<ListRow> = rows.collect();
    if !rows.is_empty() {
        print("")?;
        print(&CHANGES.list(rows))?;
    }
    Ok(())
}
