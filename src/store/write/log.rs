//! Writing the provisioning log: one row for each change of a learner, and one when a failure, skip or hold begins.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;

use super::WriteSession;
use crate::model::{AttributeKind, EntraId, LearnerId};
use crate::plan::{AttributeChange, Decision, EXTERNAL_ID};
use crate::store::db::{DbError, SqlValue, Statement};
use crate::store::error::StoreError;
use crate::store::handle::{EARLIEST, Store};

impl Store {
    /// Deletes log rows and cycles that are older than `before`, but no row of the audit log. Returns the number of deleted
    /// log rows.
    pub async fn expire(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.write(async |connection| {
            connection.execute(Statement::new("DELETE FROM sync_cycles WHERE started_at < $1").bind(before)).await?;
            let expired = format!("DELETE FROM provisioning_log WHERE at < $1 AND at >= '{EARLIEST}'");
            Ok(connection.execute(Statement::new(expired).bind(before)).await?)
        })
        .await
    }
}

/// A row to write.
pub(super) struct LogEntry<'e> {
    pub(super) decision: &'e Decision,
    pub(super) learner: Option<&'e LearnerId>,
    /// How the row differs from what was written.
    pub(super) discrepancy: Option<&'e str>,
}

/// Writes `entries` in order.
pub(super) async fn write_log(session: &mut WriteSession<'_>, entries: &[LogEntry<'_>]) -> Result<(), DbError> {
    let WriteSession { connection, layout, context } = session;
    for chunk in connection.row_chunks(entries) {
        let mut statement = Statement::new(
            "INSERT INTO provisioning_log
                 (cycle_id, at, action, status, entra_id, learner_id, user_name, reason, detail, changes, approved_by) ",
        );
        statement.push_values(chunk, |row, entry| {
            let LogEntry { decision, learner, discrepancy } = entry;
            let Decision { user, action, reason, detail, row: _, user_name, changes, old_external_id, effect: _ } =
                decision;
            row.push_bind(context.cycle.0).push_bind(context.at);
            row.push_bind(action.as_str()).push_bind(decision.status().as_str());
            row.push_bind(user.to_string())
                .push_bind(layout.learner_value(*learner))
                .push_bind(loggable(user_name.as_deref()));
            row.push_bind(reason.as_str()).push_bind(SqlValue::Loggable(join_details(detail.as_deref(), *discrepancy)));
            row.push_bind(SqlValue::Json(changes_text(*user, old_external_id.as_deref(), changes)));
            row.push_bind(loggable(decision.row_after().and_then(|after| after.approved_by.as_deref())));
        });
        connection.execute(statement).await?;
    }
    Ok(())
}

pub(super) fn loggable(text: Option<&str>) -> SqlValue<'_> {
    SqlValue::Loggable(text.map(Cow::Borrowed))
}

fn join_details<'t>(detail: Option<&'t str>, discrepancy: Option<&'t str>) -> Option<Cow<'t, str>> {
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
fn changes_text(user: EntraId, old_external_id: Option<&str>, changes: &[AttributeChange]) -> String {
    let user = user.to_string();
    let replaced = old_external_id.map(|old| LoggedChange {
        attribute: EXTERNAL_ID,
        old: LoggedValue::Text(Some(old)),
        new: LoggedValue::Text(Some(&user)),
    });
    let logged: Vec<LoggedChange<'_>> = replaced
        .into_iter()
        .chain(changes.iter().map(|changed| {
            let ((old, new), kind) = (changed.shown(), changed.attribute.kind());
            let attribute = changed.attribute.path();
            LoggedChange { attribute, old: logged_value(kind, old), new: logged_value(kind, new) }
        }))
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
