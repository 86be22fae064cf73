//! Writing the provisioning log: one row for each change of a learner, one when a failure, skip or hold begins, and one
//! when a hold ends.

use std::borrow::Cow;

use jiff::Timestamp;

use super::{WriteSession, insert_verb};
use crate::model::{AttributeKind, EntraId, LearnerId, Phase, Status};
use crate::plan::{Changes, Decision, EXTERNAL_ID, EndedHold};
use crate::store::db::{Connection, DbError, Dialect, SqlValue, Statement};
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
    pub(super) approved_by: Option<&'e str>,
    /// For a hold: whether it begins or ends.
    pub(super) phase: Option<Phase>,
    /// How the row differs from what was written.
    pub(super) discrepancy: Option<&'e str>,
}

impl<'e> LogEntry<'e> {
    /// A change that was written.
    pub(super) fn applied(decision: &'e Decision, learner: &'e LearnerId, discrepancy: Option<&'e str>) -> Self {
        let approved_by = decision.row_after().and_then(|after| after.approved_by.as_deref());
        Self { decision, learner: Some(learner), approved_by, phase: None, discrepancy }
    }

    /// The beginning of a failure, skip or hold.
    pub(super) fn begun(decision: &'e Decision) -> Self {
        let phase = (decision.status() == Status::Held).then_some(Phase::Begun);
        Self { decision, learner: decision.row.learner(), approved_by: None, phase, discrepancy: None }
    }

    /// The end of a hold.
    pub(super) fn ended(EndedHold { held, approved_by }: &'e EndedHold) -> Self {
        let (learner, approved_by) = (held.row.learner(), approved_by.as_deref());
        Self { decision: held, learner, approved_by, phase: Some(Phase::Ended), discrepancy: None }
    }
}

/// Writes `entries` in order.
pub(super) async fn write_log(session: &mut WriteSession<'_>, entries: &[LogEntry<'_>]) -> Result<(), DbError> {
    let WriteSession { connection, layout, context, .. } = session;
    let plain = !has_triggers(connection).await?;
    let insert = insert_verb(connection, plain);
    let statements = connection.row_chunks(entries).map(|chunk| {
        let mut statement = Statement::new(format!(
            "{insert} INTO provisioning_log
                 (cycle_id, at, action, status, entra_id, learner_id, user_name, reason, detail, changes, approved_by,
                  request_id, phase)
             SELECT "
        ));
        statement.push_bind(context.cycle.0).push(", ").push_bind(context.at).push(", v.* FROM (");
        statement.push_values(chunk, |row, entry| {
            let LogEntry { decision, learner, approved_by, phase, discrepancy } = entry;
            let Decision { user, action, reason, detail, changes, request_id, .. } = decision;
            row.push_bind(action.as_str()).push_bind(decision.status().as_str());
            row.push_bind(*user).push_bind(layout.learner_value(*learner)).push_bind(loggable(decision.user_name()));
            row.push_bind(reason.as_str()).push_bind(SqlValue::Loggable(join_details(detail.as_deref(), *discrepancy)));
            row.push_bind(SqlValue::Json(changes_text(*user, decision.old_external_id(), changes).into()));
            row.push_bind(loggable(*approved_by)).push_bind(loggable(request_id.as_str()));
            row.push_bind(phase.map(Phase::as_str));
        });
        statement.push(") AS v");
        statement
    });
    connection.execute_each(statements).await.map(drop)
}

/// Whether the log has triggers, which another program has created.
async fn has_triggers(connection: &mut Connection) -> Result<bool, DbError> {
    if connection.dialect() == Dialect::Postgres {
        return Ok(false);
    }
    let triggers = "SELECT EXISTS (SELECT 1 FROM sqlite_master
                                   WHERE type = 'trigger' AND lower(tbl_name) = 'provisioning_log')";
    connection.row(Statement::new(triggers)).await?.get(0)
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

/// A JSON array of the changed attributes. Written without a document in between: a first load has millions of them.
#[expect(clippy::expect_used, reason = "the writes are JSON, and writing to memory never fails")]
fn changes_text(user: EntraId, old_external_id: Option<&str>, changes: &Changes) -> String {
    let mut json = Vec::with_capacity(1024);
    let mut push = |attribute: &str, kind: AttributeKind, old: Option<&str>, new: Option<&str>| {
        json.extend_from_slice(if json.is_empty() { b"[{\"attribute\":" } else { b",{\"attribute\":" });
        push_value(&mut json, AttributeKind::Text, Some(attribute))?;
        json.extend_from_slice(b",\"old\":");
        push_value(&mut json, kind, old)?;
        json.extend_from_slice(b",\"new\":");
        push_value(&mut json, kind, new)?;
        json.push(b'}');
        Ok(())
    };
    let replaced =
        old_external_id.map(|old| push(EXTERNAL_ID, AttributeKind::Text, Some(old), Some(&user.to_string())));
    let pushed: serde_json::Result<()> = replaced.unwrap_or(Ok(())).and_then(|()| {
        changes.iter().try_for_each(|changed| {
            let (old, new) = changed.shown();
            push(changed.attribute.path(), changed.attribute.kind(), old, new)
        })
    });
    pushed.expect("strings and booleans");
    json.extend_from_slice(if json.is_empty() { b"[]" } else { b"]" });
    String::from_utf8(json).expect("JSON is UTF-8")
}

fn push_value(json: &mut Vec<u8>, kind: AttributeKind, value: Option<&str>) -> serde_json::Result<()> {
    match (kind, value) {
        (AttributeKind::Boolean, Some(value @ ("true" | "false"))) => serde_json::to_writer(json, &(value == "true")),
        (AttributeKind::Boolean | AttributeKind::Text, text) => serde_json::to_writer(json, &text),
    }
}
