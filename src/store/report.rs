//! What `status` and `approve` show.

use jiff::Timestamp;

use super::db::{Statement, parse_column as word};
use super::error::StoreError;
use super::handle::Store;
use super::table::Layout;
use crate::model::{Action, Attribute, EntraId, LearnerId, Reason};

/// Somebody who is held, as users want to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldUser {
    /// Who.
    pub entra_id: EntraId,
    /// What waits.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// Since when.
    pub since: Timestamp,
    /// When and by whom it was approved.
    pub approved: Option<(Timestamp, String)>,
    /// The learner.
    pub learner: Option<LearnerId>,
    /// The learner's user name.
    pub user_name: Option<String>,
}

/// Somebody for whom it could not be done, as users want to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailingUser {
    /// Who.
    pub entra_id: EntraId,
    /// Why.
    pub reason: Reason,
    /// In words.
    pub detail: Option<String>,
    /// Since when.
    pub first_at: Timestamp,
    /// Tried last.
    pub last_at: Timestamp,
    /// How often it was tried.
    pub attempts: u64,
    /// The learner's user name, or the one in the log when there is no learner.
    pub user_name: Option<String>,
}

/// How many learners there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LearnerCounts {
    /// Switched on, linked or not.
    pub active: u64,
    /// Switched off, linked or not.
    pub inactive: u64,
    /// Linked by the source.
    pub linked: u64,
}

impl Store {
    /// Who is held, by object id.
    pub async fn held_users(&self, source: &str) -> Result<Vec<HeldUser>, StoreError> {
        let Layout { table, .. } = &self.layout;
        let (id, user_name) = (self.layout.id(), self.layout.attribute(Attribute::UserName));
        let statement = Statement::new(format!(
            "SELECT h.entra_id, h.action, h.reason, h.since, h.approved_at, h.approved_by, r.{id}, r.{user_name}
             FROM sync_held h
             LEFT JOIN sync_links l ON l.source = h.source AND l.entra_id = h.entra_id
             LEFT JOIN {table} r ON r.{id} = l.learner_id
             WHERE h.source = $1 ORDER BY h.entra_id",
        ));
        let rows = self.connection().await.rows(statement.bind(source)).await?;
        rows.iter()
            .map(|row| {
                let approved_by: Option<String> = row.get(5)?;
                let approved_at = row.optional_time(4, "sync_held.approved_at")?;
                Ok(HeldUser {
                    entra_id: word(row.get(0)?, "sync_held.entra_id")?,
                    action: word(row.get(1)?, "sync_held.action")?,
                    reason: word(row.get(2)?, "sync_held.reason")?,
                    since: row.time(3, "sync_held.since")?,
                    approved: approved_at.map(|at| (at, approved_by.unwrap_or_default())),
                    learner: self.layout.optional_learner_at(row, 6)?,
                    user_name: row.get_unchecked(7)?,
                })
            })
            .collect()
    }

    /// Who fails, by object id.
    pub async fn failing_users(&self, source: &str) -> Result<Vec<FailingUser>, StoreError> {
        let Layout { table, .. } = &self.layout;
        let (id, user_name) = (self.layout.id(), self.layout.attribute(Attribute::UserName));
        let statement = Statement::new(format!(
            "SELECT f.entra_id, f.reason, f.detail, f.first_at, f.last_at, f.attempts,
                    coalesce(r.{user_name}, (SELECT p.user_name FROM provisioning_log p
                                           WHERE p.entra_id = f.entra_id AND p.user_name IS NOT NULL
                                           ORDER BY p.id DESC LIMIT 1))
             FROM sync_failures f
             LEFT JOIN sync_links l ON l.source = f.source AND l.entra_id = f.entra_id
             LEFT JOIN {table} r ON r.{id} = l.learner_id
             WHERE f.source = $1 ORDER BY f.entra_id",
        ));
        let rows = self.connection().await.rows(statement.bind(source)).await?;
        rows.iter()
            .map(|row| {
                Ok(FailingUser {
                    entra_id: word(row.get(0)?, "sync_failures.entra_id")?,
                    reason: word(row.get(1)?, "sync_failures.reason")?,
                    detail: row.get(2)?,
                    first_at: row.time(3, "sync_failures.first_at")?,
                    last_at: row.time(4, "sync_failures.last_at")?,
                    attempts: row.get::<i64, _>(5)?.unsigned_abs(),
                    user_name: row.get_unchecked(6)?,
                })
            })
            .collect()
    }

    /// How many learners there are.
    pub async fn learner_counts(&self, source: &str) -> Result<LearnerCounts, StoreError> {
        let (table, active) = (&self.layout.table, self.layout.active("r"));
        let statement = Statement::new(format!(
            "SELECT (SELECT count(*) FROM {table} r WHERE {active}), (SELECT count(*) FROM {table} r WHERE NOT {active}),
                    (SELECT count(*) FROM sync_links WHERE source = $1)",
        ));
        let row = self.connection().await.row(statement.bind(source)).await?;
        let count = |index: usize| row.get::<i64, _>(index).map(i64::unsigned_abs);
        Ok(LearnerCounts { active: count(0)?, inactive: count(1)?, linked: count(2)? })
    }
}
