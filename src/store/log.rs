//! The provisioning log: one row for each change of a learner, and for each reason why one was not made.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;

use super::apply::WriteContext;
use super::cycles::CycleId;
use super::db::{
    Connection, DbError, SqlValue as Value, Statement, parse_column as word, parse_json_column as from_json,
};
use super::error::StoreError;
use super::handle::Store;
use super::table::Layout;
use crate::model::{Action, Attribute, AttributeKind, EntraId, LearnerId, Reason, Status};
use crate::plan::{AttributeChange, Decision};

/// Which rows of the log to show; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// A user name (now or when the row was written; ASCII letter case ignored), an Entra id or a learner id.
    pub user: Option<String>,
    /// What happened.
    pub action: Option<Action>,
    /// How it ended.
    pub status: Option<Status>,
    /// From when on.
    pub since: Option<Timestamp>,
    /// Only the last so many.
    pub limit: Option<u32>,
}

/// A row of `provisioning_log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// Its key.
    pub id: i64,
    /// The cycle that wrote it.
    pub cycle: CycleId,
    /// When.
    pub at: Timestamp,
    /// What happened, or would have.
    pub action: Action,
    /// How it ended.
    pub status: Status,
    /// Who.
    pub entra_id: EntraId,
    /// The learner, when there is one.
    pub learner: Option<LearnerId>,
    /// The user name, where it could be told.
    pub user_name: Option<String>,
    /// Why.
    pub reason: Reason,
    /// In words.
    pub detail: Option<String>,
    /// `[{"attribute", "old", "new"}]`
    pub changes: serde_json::Value,
}

impl Store {
    /// The rows of the log that `filter` lets through, oldest first.
    pub async fn log(&self, filter: &LogFilter) -> Result<Vec<LogRow>, StoreError> {
        let LogFilter { user, action, status, since, limit } = filter;
        let mut connection = self.connection().await;
        let mut statement = Statement::new(
            "SELECT id, cycle_id, at, action, status, entra_id, learner_id, user_name, reason, detail, changes
             FROM provisioning_log WHERE id > 0",
        );
        if let Some(user) = user {
            // An id is compared as text, so that a user name of digits is none.
            let folded = user.to_ascii_lowercase();
            statement.push(" AND (").push(connection.folded("user_name")).push(" = ").push_bind(folded.clone());
            statement.push(" OR entra_id = ").push_bind(folded.clone());
            let (table, id) = (&self.layout.table, self.layout.id());
            statement.push(format_args!(" OR learner_id IN (SELECT {id} FROM {table} WHERE "));
            statement.push(connection.folded(self.layout.attribute(Attribute::UserName)));
            statement.push(" = ").push_bind(folded).push(")");
            if let Ok(learner) = user.parse::<LearnerId>() {
                statement.push(" OR learner_id = ").push_bind(self.layout.learner(Some(learner)));
            }
            statement.push(")");
        }
        if let Some(action) = action {
            statement.push(" AND action = ").push_bind(action.as_str());
        }
        if let Some(status) = status {
            statement.push(" AND status = ").push_bind(status.as_str());
        }
        if let Some(since) = since {
            statement.push(" AND at >= ").push_bind(*since);
        }
        statement.push(" ORDER BY id DESC");
        if let Some(limit) = limit {
            statement.push(" LIMIT ").push_bind(i64::from(*limit));
        }
        let rows = connection.rows(statement).await?;
        rows.iter()
            .rev()
            .map(|row| {
                Ok(LogRow {
                    id: row.get(0)?,
                    cycle: CycleId(row.get(1)?),
                    at: row.time(2, "provisioning_log.at")?,
                    action: word(row.get(3)?, "provisioning_log.action")?,
                    status: word(row.get(4)?, "provisioning_log.status")?,
                    entra_id: word(row.get(5)?, "provisioning_log.entra_id")?,
                    learner: self.layout.optional_learner_at(row, 6)?,
                    user_name: row.get(7)?,
                    reason: word(row.get(8)?, "provisioning_log.reason")?,
                    detail: row.get(9)?,
                    changes: from_json(row.json(10)?, "provisioning_log.changes")?,
                })
            })
            .collect()
    }

    /// Removes what is older than `before` from the log and from the cycles; the audit log stays. Answers how many
    /// log rows went.
    pub async fn expire(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.write(async |connection| {
            connection.execute(Statement::new("DELETE FROM sync_cycles WHERE started_at < $1").bind(before)).await?;
            let expired = Statement::new("DELETE FROM provisioning_log WHERE at < $1").bind(before);
            Ok(connection.execute(expired).await?)
        })
        .await
    }
}

/// A row about to be written.
pub(super) struct LogEntry<'e> {
    pub(super) decision: &'e Decision,
    pub(super) learner: Option<LearnerId>,
    /// What the table has instead of what was written.
    pub(super) discrepancy: Option<&'e str>,
}

/// Writes `entries`, in their order.
pub(super) async fn write(
    connection: &mut Connection,
    layout: &Layout,
    entries: &[LogEntry<'_>],
    context: &WriteContext<'_>,
) -> Result<(), DbError> {
    for piece in connection.pieces(entries) {
        let mut statement = Statement::new(
            "INSERT INTO provisioning_log
                 (cycle_id, at, action, status, entra_id, learner_id, user_name, reason, detail, changes, approved_by) ",
        );
        statement.push_values(piece, |row, entry| {
            let LogEntry { decision, learner, discrepancy } = entry;
            let Decision { user, action, reason, detail, row: _, user_name, changes, effect: _ } = decision;
            row.push_bind(context.cycle.0).push_bind(context.at);
            row.push_bind(action.as_str()).push_bind(decision.status().as_str());
            row.push_bind(user.to_string()).push_bind(layout.learner(*learner)).push_bind(user_name.as_deref());
            row.push_bind(reason.as_str()).push_bind(Value::Text(joined(detail.as_deref(), *discrepancy)));
            row.push_bind(Value::Json(changes_text(changes)));
            row.push_bind(decision.row_after().and_then(|after| after.approved_by.as_deref()));
        });
        connection.execute(statement).await?;
    }
    Ok(())
}

fn joined<'t>(detail: Option<&'t str>, discrepancy: Option<&'t str>) -> Option<Cow<'t, str>> {
    match (detail, discrepancy) {
        (Some(detail), Some(discrepancy)) => Some(format!("{detail}; {discrepancy}").into()),
        (detail, discrepancy) => detail.or(discrepancy).map(Cow::Borrowed),
    }
}

#[derive(Serialize)]
struct LoggedChange<'c> {
    attribute: &'static str,
    old: LoggedValue<'c>,
    new: LoggedValue<'c>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum LoggedValue<'c> {
    Boolean(bool),
    Text(Option<&'c str>),
}

#[expect(clippy::expect_used, reason = "structs of strings and booleans always have a JSON form")]
fn changes_text(changes: &[AttributeChange]) -> String {
    let logged: Vec<LoggedChange<'_>> = changes
        .iter()
        .map(|changed| {
            let ((old, new), kind) = (changed.shown(), changed.attribute.kind());
            let attribute = changed.attribute.path();
            LoggedChange { attribute, old: logged_value(kind, old), new: logged_value(kind, new) }
        })
        .collect();
    serde_json::to_string(&logged).expect("strings and booleans")
}

fn logged_value(kind: AttributeKind, value: Option<&str>) -> LoggedValue<'_> {
    match (kind, value) {
        (AttributeKind::Boolean, Some("true")) => LoggedValue::Boolean(true),
        (AttributeKind::Boolean, Some("false")) => LoggedValue::Boolean(false),
        (AttributeKind::Boolean | AttributeKind::Text, text) => LoggedValue::Text(text),
    }
}
