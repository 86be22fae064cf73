//! The rows of the provisioning log, of the audit log and of the cycles.

use serde_json::{Map, Value, json};

use super::words::{NOTHING, action_in_words, counted, local_time, seconds, short_change, shown, value_text};
use crate::model::{LearnerId, Outcome, Phase};
use crate::plan::Counts;
use crate::runtime::status::CycleNumbers;
use crate::store::{AuditRow, CycleRow, LogFilter, LogRow, RowPage, RowRange, Store, StoreError};

/// A kind of rows.
pub(crate) trait Records {
    type Row;

    /// The keys of a document, in the order of the columns of CSV.
    const KEYS: &'static [&'static str];
    /// The columns of a table, for reading.
    const HEADERS: &'static [&'static str];
    /// The sentence in place of an empty table.
    const NOTHING: &'static str;

    async fn read(&self, store: &Store, range: RowRange) -> Result<RowPage<Self::Row>, StoreError>;
    fn as_json(row: &Self::Row) -> Value;
    fn cells(row: &Self::Row) -> Vec<String>;

    /// Two columns for a terminal that is too narrow for the table. The first is never broken.
    fn narrow_cells(row: &Self::Row) -> [String; 2];
}

/// The provisioning log.
pub(crate) struct Entries(pub(crate) LogFilter);

impl Records for Entries {
    type Row = LogRow;

    const KEYS: &'static [&'static str] = &[
        "id",
        "cycle_id",
        "at",
        "action",
        "status",
        "entra_id",
        "learner_id",
        "user_name",
        "reason",
        "detail",
        "changes",
        "approved_by",
        "request_id",
        "phase",
    ];
    const HEADERS: &'static [&'static str] = &["id", "at", "action", "reason", "user", "learner", "changes"];
    const NOTHING: &'static str = "No log entries.";

    async fn read(&self, store: &Store, range: RowRange) -> Result<RowPage<LogRow>, StoreError> {
        store.log(&LogFilter { range, ..self.0.clone() }).await
    }

    fn as_json(row: &LogRow) -> Value {
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
        json!({
            "id": id, "cycle_id": cycle.0, "at": seconds(*at), "action": action.as_str(), "status": status.as_str(),
            "entra_id": entra_id.to_string(), "learner_id": learner.as_ref().map(LearnerId::to_json),
            "user_name": user_name, "reason": reason.as_str(), "detail": detail, "changes": changes,
            "approved_by": approved_by, "request_id": request_id, "phase": phase.map(Phase::as_str),
        })
    }

    fn cells(row: &LogRow) -> Vec<String> {
        vec![
            row.id.to_string(),
            local_time(row.at),
            action_in_words(row.action, row.status, row.phase),
            row.reason.to_string(),
            user(row),
            row.learner.as_ref().map(ToString::to_string).unwrap_or_default(),
            changes(row),
        ]
    }

    fn narrow_cells(row: &LogRow) -> [String; 2] {
        let (action, reason) = (action_in_words(row.action, row.status, row.phase), row.reason);
        let changes = Some(changes(row)).filter(|changes| !changes.is_empty());
        let why = std::iter::once(reason.to_string()).chain(changes).collect::<Vec<_>>().join("; ");
        [local_time(row.at), format!("{action} {}\nentry {}: {why}", user(row), row.id)]
    }
}

fn user(row: &LogRow) -> String {
    row.user_name.as_deref().map_or_else(|| row.entra_id.to_string(), shown)
}

fn changes(row: &LogRow) -> String {
    let changes = row.changes.as_array().into_iter().flatten().map(short);
    let what: Vec<String> = row.detail.iter().cloned().chain(changes).collect();
    shown(&what.join(", "))
}

/// `department: Sales -> Research`
fn short(change: &Value) -> String {
    let (path, new) = (change["attribute"].as_str().unwrap_or_default(), value_text(&change["new"], NOTHING));
    let old = Some(&change["old"]).filter(|old| !old.is_null()).map(|old| value_text(old, NOTHING));
    short_change(path, old.as_deref(), &new)
}

/// The audit log.
pub(crate) struct Audit;

impl Records for Audit {
    type Row = AuditRow;

    const KEYS: &'static [&'static str] = &["at", "actor", "action", "detail"];
    const HEADERS: &'static [&'static str] = Self::KEYS;
    const NOTHING: &'static str = "No rows in the audit log.";

    async fn read(&self, store: &Store, range: RowRange) -> Result<RowPage<AuditRow>, StoreError> {
        store.audit_rows(range).await
    }

    fn as_json(AuditRow { id: _, at, actor, action, detail }: &AuditRow) -> Value {
        // A detail of this program is a document.
        let parsed: Option<Value> = detail.as_ref().and_then(|detail| serde_json::from_str(detail).ok());
        json!({ "at": seconds(*at), "actor": actor, "action": action, "detail": parsed.or_else(|| detail.clone().map(Value::String)) })
    }

    fn cells(row: &AuditRow) -> Vec<String> {
        let AuditRow { id: _, at, actor, action, detail: _ } = row;
        vec![local_time(*at), shown(actor), shown(action), Self::detail(row)]
    }

    fn narrow_cells(row: &AuditRow) -> [String; 2] {
        let detail = Self::detail(row);
        let below = if detail.is_empty() { detail } else { format!("\n{detail}") };
        [local_time(row.at), format!("{} by {}{below}", shown(&row.action), shown(&row.actor))]
    }
}

impl Audit {
    /// The detail in words.
    fn detail(AuditRow { action, detail, .. }: &AuditRow) -> String {
        let parsed = detail.as_ref().and_then(|detail| serde_json::from_str(detail).ok());
        let words = match parsed {
            Some(Value::Object(fields)) => audit_in_words(action, &fields),
            _ => detail.clone().unwrap_or_default(),
        };
        shown(&words)
    }
}

/// The detail of an audit row. A list of hundreds of ids is for JSON and CSV.
fn audit_in_words(action: &str, fields: &Map<String, Value>) -> String {
    let source = || fields.get("source").map(|source| value_text(source, "")).unwrap_or_default();
    match (action, fields.get("released").and_then(Value::as_u64)) {
        ("approve", Some(released)) => return format!("released {} of {}", counted(released, "held user"), source()),
        ("approve", None) => return format!("admitted the application {}", source()),
        _ => {}
    }
    let field = |(name, value): (&String, &Value)| match value {
        Value::Array(list) if list.len() > 3 => format!("{name}: {} of them", list.len()),
        value => format!("{name}: {}", value_text(value, "none")),
    };
    fields.iter().map(field).collect::<Vec<_>>().join(", ")
}

/// The cycles.
pub(crate) struct Cycles;

impl Records for Cycles {
    type Row = CycleRow;

    const KEYS: &'static [&'static str] = &[
        "cycle",
        "source",
        "trigger",
        "started_at",
        "finished_at",
        "outcome",
        "in_scope",
        "created",
        "updated",
        "deactivated",
        "reactivated",
        "unchanged",
        "skipped",
        "failed",
        "held",
        "requests",
        "error",
        "single_user",
        "full_comparison",
    ];
    const HEADERS: &'static [&'static str] = &["cycle", "started", "trigger", "outcome", "numbers"];
    const NOTHING: &'static str = "No cycles.";

    async fn read(&self, store: &Store, range: RowRange) -> Result<RowPage<CycleRow>, StoreError> {
        store.cycles(range).await
    }

    fn as_json(row: &CycleRow) -> Value {
        json!(CycleNumbers::from(row))
    }

    fn cells(row: &CycleRow) -> Vec<String> {
        let CycleRow { id, trigger, started_at, outcome, .. } = row;
        let outcome = outcome.map_or("not ended", Outcome::as_str);
        vec![id.to_string(), local_time(*started_at), trigger.to_string(), outcome.to_owned(), Self::numbers(row)]
    }

    fn narrow_cells(row: &CycleRow) -> [String; 2] {
        let CycleRow { id, trigger, started_at, outcome, .. } = row;
        let outcome = outcome.map_or("not ended", Outcome::as_str);
        [local_time(*started_at), format!("cycle {id}, {trigger}: {outcome}\n{}", Self::numbers(row))]
    }
}

impl Cycles {
    /// The counts that are not zero, the duration and the error.
    fn numbers(row: &CycleRow) -> String {
        let CycleRow { started_at, finished_at, counts, error, single_user, full_comparison, .. } = row;
        let Counts { in_scope, created, updated, deactivated, reactivated, unchanged: _, skipped, failed, held } =
            counts;
        let named = [
            (created, "created"),
            (updated, "updated"),
            (deactivated, "deactivated"),
            (reactivated, "reactivated"),
            (held, "held"),
            (failed, "failed"),
            (skipped, "skipped"),
        ];
        let changed =
            named.into_iter().filter(|(number, _)| **number > 0).map(|(number, what)| format!("{number} {what}"));
        let took = finished_at.map(|end| format!("took {}s", end.duration_since(*started_at).as_secs()));
        let kind = single_user.then(|| "run for one user".to_owned());
        let full = (*full_comparison == Some(true)).then(|| "full comparison".to_owned());
        let parts = kind.into_iter().chain([format!("{in_scope} in scope")]).chain(changed).chain(full).chain(took);
        parts.chain(error.as_ref().map(|error| shown(error))).collect::<Vec<_>>().join(", ")
    }
}
