//! The rows of `sync_cycles`.

use std::fmt;

use jiff::Timestamp;

use super::audit::write_audit;
use super::db::{DbError, SqlRow, SqlValue, Statement, parse_column};
use super::error::StoreError;
use super::handle::Store;
use crate::model::{Action, ClockFinding, EntraId, Outcome, Reason, RowSubject, Status, Trigger, UnreadableRow};
use crate::plan::Counts;

/// The key of a row in `sync_cycles`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CycleId(pub i64);

impl fmt::Display for CycleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a cycle ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CycleEnd {
    /// When it began, by the clock that is known better at its end.
    pub began: Timestamp,
    /// When it ended.
    pub at: Timestamp,
    /// How the clocks compare; `None` keeps the last comparison.
    pub clock: Option<ClockFinding>,
    /// Its outcome.
    pub outcome: Outcome,
    /// Its numbers.
    pub counts: Counts,
    /// The number of requests to Graph.
    pub requests: u64,
    /// Why it ended early.
    pub error: Option<String>,
    /// Whether it compared the whole learner database; `None` when it ended before.
    pub full_comparison: Option<bool>,
}

/// The row of the audit log for a cycle that an administrator runs for one user.
#[derive(Clone, Copy, Debug)]
pub struct CycleAudit<'a> {
    /// The administrator.
    pub actor: &'a str,
    /// `provision` or `relink`.
    pub action: &'a str,
    /// A JSON object, to which the number of the cycle is added.
    pub detail: &'a serde_json::Value,
}

/// A row of `sync_cycles`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CycleRow {
    /// Its key.
    pub id: CycleId,
    /// Tenant and enterprise application.
    pub source: String,
    /// The trigger.
    pub trigger: Trigger,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended; none while it runs.
    pub finished_at: Option<Timestamp>,
    /// Its outcome; none while it runs.
    pub outcome: Option<Outcome>,
    /// Its numbers.
    pub counts: Counts,
    /// The number of requests to Graph.
    pub requests: u64,
    /// Why it ended early.
    pub error: Option<String>,
    /// Whether it was a run for one user, which is not a cycle of all users.
    pub single_user: bool,
    /// Whether it compared the whole learner database, where that is known.
    pub full_comparison: Option<bool>,
    /// Random digits of its process: after a failover, two cycles may have one number.
    pub writer_id: Option<String>,
}

/// A change of a learner that a cycle has committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedChange {
    /// The user.
    pub user: EntraId,
    /// The action.
    pub action: Action,
    /// Its reason.
    pub reason: Reason,
}

impl Store {
    /// Begins a cycle. Closes rows of `source` that a kill left open, as interrupted.
    pub async fn begin_cycle(&self, source: &str, trigger: Trigger, at: Timestamp) -> Result<CycleId, StoreError> {
        self.insert_cycle(source, trigger, at, false, None).await
    }

    /// Like [`Store::begin_cycle`], for a run for one user. Its row of the audit log is written in the same transaction.
    pub async fn begin_single_user_cycle(
        &self,
        source: &str,
        trigger: Trigger,
        at: Timestamp,
        audit: Option<CycleAudit<'_>>,
    ) -> Result<CycleId, StoreError> {
        self.insert_cycle(source, trigger, at, true, audit).await
    }

    async fn insert_cycle(
        &self,
        source: &str,
        trigger: Trigger,
        at: Timestamp,
        single_user: bool,
        audit: Option<CycleAudit<'_>>,
    ) -> Result<CycleId, StoreError> {
        self.write(async |connection| {
            let close = Statement::new(
                "UPDATE sync_cycles SET outcome = $2,
                     finished_at = CASE WHEN started_at > $1 THEN started_at ELSE $1 END
                 WHERE source = $3 AND finished_at IS NULL",
            );
            connection.execute(close.bind(at).bind(Outcome::Interrupted.as_str()).bind(source)).await?;
            let begin = Statement::new(
                r#"INSERT INTO sync_cycles (source, "trigger", started_at, single_user, writer_id)
                   VALUES ($1, $2, $3, $4, $5) RETURNING id"#,
            );
            let begin = begin.bind(source).bind(trigger.as_str()).bind(at).bind(single_user).bind(&*self.writer_id);
            let row = connection.row(begin).await?;
            let cycle = CycleId(row.get(0)?);
            if let Some(CycleAudit { actor, action, detail }) = audit {
                let mut detail = detail.clone();
                detail["cycle"] = cycle.0.into();
                write_audit(connection, actor, action, Some(&detail.to_string()), at).await?;
            }
            Ok(cycle)
        })
        .await
    }

    /// Sets the source of a cycle, once the id of the application is resolved, and its start by the clock of Graph. Closes
    /// rows of that source that a kill left open, as interrupted at the start of this cycle.
    pub async fn set_cycle_source(
        &self,
        cycle: CycleId,
        source: &str,
        started_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(async |connection| {
            let close = Statement::new(
                "UPDATE sync_cycles SET outcome = $1,
                     finished_at = CASE WHEN started_at > $4 THEN started_at ELSE $4 END
                 WHERE source = $3 AND id <> $2 AND finished_at IS NULL",
            );
            let close = close.bind(Outcome::Interrupted.as_str()).bind(cycle.0).bind(source).bind(started_at);
            connection.execute(close).await?;
            let name =
                Statement::new("UPDATE sync_cycles SET source = $1, started_at = $2 WHERE id = $3 AND writer_id = $4");
            let name = name.bind(source).bind(started_at).bind(cycle.0).bind(&*self.writer_id);
            connection.execute(name).await?;
            Ok(())
        })
        .await
    }

    /// Ends a cycle. Returns whether it still had its row, as [`Store::has_cycle`] says.
    pub async fn finish_cycle(&self, cycle: CycleId, end: &CycleEnd) -> Result<bool, StoreError> {
        let CycleEnd { began, at, clock, outcome, counts, requests, error, full_comparison } = end;
        let Counts { in_scope, created, updated, deactivated, reactivated, unchanged, skipped, failed, held } = *counts;
        let mut statement = Statement::new(
            "UPDATE sync_cycles SET in_scope = $1, created = $2, updated = $3, deactivated = $4, reactivated = $5,
                 unchanged = $6, skipped = $7, failed = $8, held = $9, requests = $10, finished_at = $11,
                 outcome = $12, error = $13, started_at = $14, full_comparison = $15
             WHERE id = $16 AND writer_id = $17",
        );
        for number in
            [in_scope, created, updated, deactivated, reactivated, unchanged, skipped, failed, held, *requests]
        {
            statement = statement.bind(i64::try_from(number).unwrap_or(i64::MAX));
        }
        let statement = statement.bind(*at).bind(outcome.as_str()).bind(error.as_deref()).bind(*began);
        let statement = statement.bind(SqlValue::Boolean(*full_comparison)).bind(cycle.0);
        let statement = statement.bind(&*self.writer_id);
        self.write(async |connection| {
            if let Some(finding) = clock {
                let statement = Statement::new("UPDATE sync_state SET clock = $1").bind(finding.to_text());
                connection.execute(statement).await?;
            }
            Ok(connection.execute(statement).await? > 0)
        })
        .await
    }

    /// Whether `cycle` still has its row. After a failover, the new primary may lack the last transactions, and have given the
    /// same id to a cycle of another process.
    pub async fn has_cycle(&self, cycle: CycleId) -> Result<bool, StoreError> {
        let statement = Statement::new("SELECT 1 FROM sync_cycles WHERE id = $1 AND writer_id = $2");
        let statement = statement.bind(cycle.0).bind(&*self.writer_id);
        Ok(self.connection().await.optional_row(statement).await?.is_some())
    }

    /// The changes of learners that `cycle` has committed, oldest first.
    pub async fn committed_changes(&self, cycle: CycleId) -> Result<Vec<CommittedChange>, StoreError> {
        let statement = Statement::new(
            "SELECT entra_id, action, reason FROM provisioning_log WHERE cycle_id = $1 AND status = $2 ORDER BY id",
        );
        self.query(statement.bind(cycle.0).bind(Status::Success.as_str()), |row| {
            Ok(CommittedChange {
                user: row.parsed(0, "provisioning_log.entra_id")?,
                action: row.parsed(1, "provisioning_log.action")?,
                reason: row.parsed(2, "provisioning_log.reason")?,
            })
        })
        .await
    }

    /// One cycle.
    pub async fn cycle(&self, id: CycleId) -> Result<Option<CycleRow>, StoreError> {
        let statement = Statement::new("SELECT * FROM sync_cycles WHERE id = $1").bind(id.0);
        self.cycle_of(statement).await
    }

    /// The cycle of `source`, or of any, that started last and can be read.
    pub async fn last_cycle(&self, source: Option<&str>) -> Result<Option<CycleRow>, StoreError> {
        let statement =
            Statement::new("SELECT * FROM sync_cycles WHERE ($1 IS NULL OR source = $1) ORDER BY id DESC LIMIT 100");
        self.cycle_of(statement.bind(source)).await
    }

    /// The last successful cycle of all users of `source`.
    pub async fn last_success(&self, source: &str) -> Result<Option<CycleRow>, StoreError> {
        let statement = Statement::new(format!(
            "SELECT * FROM sync_cycles WHERE source = $1 AND outcome = $2 AND {OF_ALL_USERS} ORDER BY id DESC LIMIT 100"
        ));
        self.cycle_of(statement.bind(source).bind(Outcome::Success.as_str())).await
    }

    /// When the last complete cycle of `source` started. A failed one may have recorded a wrong clock.
    pub async fn last_complete_cycle(&self, source: &str) -> Result<Option<Timestamp>, StoreError> {
        let statement = Statement::new(
            "SELECT started_at FROM sync_cycles WHERE source = $1 AND outcome IN ($2, $3, $4) ORDER BY id DESC LIMIT 100",
        );
        let complete = [Outcome::Success, Outcome::Partial, Outcome::Held];
        let statement = complete.into_iter().fold(statement.bind(source), |all, one| all.bind(one.as_str()));
        let rows = self.connection().await.rows(statement).await?;
        // A time that cannot be read is reported by another read.
        Ok(rows.iter().find_map(|row| row.time(0, "sync_cycles.started_at").ok()))
    }

    async fn cycle_of(&self, statement: Statement<'_>) -> Result<Option<CycleRow>, StoreError> {
        let read = |row: &SqlRow| cycle_row(row);
        let unreadable = |row: &SqlRow, column| UnreadableRow {
            subject: RowSubject::History,
            column,
            place: format!("id = {}", row.get::<i64, _>("id").unwrap_or_default()),
            repair: format!("DELETE FROM sync_cycles WHERE id = {}", row.get::<i64, _>("id").unwrap_or_default()),
        };
        let rows: Vec<CycleRow> = self.query_readable(statement, read, unreadable).await?;
        Ok(rows.into_iter().next())
    }
}

/// The condition that a cycle was not a run for one user.
pub(super) const OF_ALL_USERS: &str = "single_user IS NOT TRUE";

pub(super) fn cycle_row(row: &SqlRow) -> Result<CycleRow, DbError> {
    let outcome = row.optional_text("outcome", "sync_cycles.outcome")?;
    Ok(CycleRow {
        id: CycleId(row.get("id")?),
        source: row.text("source", "sync_cycles.source")?.to_owned(),
        trigger: row.parsed("trigger", "sync_cycles.trigger")?,
        started_at: row.time("started_at", "sync_cycles.started_at")?,
        finished_at: row.optional_time("finished_at", "sync_cycles.finished_at")?,
        outcome: outcome.map(|text| parse_column(text, "sync_cycles.outcome")).transpose()?,
        counts: Counts {
            in_scope: row.count("in_scope", "sync_cycles.in_scope")?,
            created: row.count("created", "sync_cycles.created")?,
            updated: row.count("updated", "sync_cycles.updated")?,
            deactivated: row.count("deactivated", "sync_cycles.deactivated")?,
            reactivated: row.count("reactivated", "sync_cycles.reactivated")?,
            unchanged: row.count("unchanged", "sync_cycles.unchanged")?,
            skipped: row.count("skipped", "sync_cycles.skipped")?,
            failed: row.count("failed", "sync_cycles.failed")?,
            held: row.count("held", "sync_cycles.held")?,
        },
        requests: row.count("requests", "sync_cycles.requests")?,
        error: row.optional_text("error", "sync_cycles.error")?.map(str::to_owned),
        single_user: row.get::<Option<bool>, _>("single_user")?.unwrap_or_default(),
        full_comparison: row.get("full_comparison")?,
        writer_id: row.optional_text("writer_id", "sync_cycles.writer_id")?.map(str::to_owned),
    })
}
