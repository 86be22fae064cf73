//! Records about users besides their learner rows: holds, failures and recent deactivations; and about groups and
//! sources.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;

use super::status::HeldUser;
use crate::model::{Action, Attribute, Cause, EntraId, Reason, RowSubject, Status, UnreadableRow, fold};
use crate::plan::{FailingEntry, HeldEntry};
use crate::store::db::{DbError, Dialect, SqlRow, SqlValue, Statement};
use crate::store::error::StoreError;
use crate::store::handle::{EARLIEST, Store};

/// How many learner rows are read at a time.
const ROWS_AT_A_TIME: usize = 1000;

impl Store {
    /// The held users.
    pub async fn held(&self, source: &str) -> Result<BTreeMap<EntraId, HeldEntry>, StoreError> {
        let held = self.held_users(source).await?;
        Ok(held
            .into_iter()
            .map(|user| {
                let HeldUser { entra_id, action, reason, since, approved, user_name, .. } = user;
                (entra_id, HeldEntry { action, reason, since, approved, user_name })
            })
            .collect())
    }

    /// The failing, skipped and waiting users.
    pub async fn failing(&self, source: &str) -> Result<BTreeMap<EntraId, FailingEntry>, StoreError> {
        let place = self.connection().await.place_of_entry("sync_failures", "entra_id");
        let statement = Statement::new(format!(
            "SELECT entra_id, reason, cause, drift_fingerprint, first_at, {place} FROM sync_failures WHERE source = $1",
        ));
        let read = |row: &SqlRow| {
            let (cause, fingerprint) = (
                row.optional_text(2, "sync_failures.cause")?,
                row.optional_text(3, "sync_failures.drift_fingerprint")?,
            );
            let entry = FailingEntry {
                reason: row.parsed(1, "sync_failures.reason")?,
                // An unknown value only starts a wait again.
                cause: cause.and_then(|cause| cause.parse().ok()),
                drift_fingerprint: fingerprint.and_then(|fingerprint| fingerprint.parse().ok()),
                first_at: row.time(4, "sync_failures.first_at")?,
            };
            Ok((row.canonical(0, "sync_failures.entra_id")?, entry))
        };
        let unreadable = |row: &SqlRow, column| deletable(row, column, "sync_failures", 5, |_| RowSubject::Failure);
        self.query_readable(statement.bind(source), read, unreadable).await
    }

    /// How many users this source deactivated at `since` or later without an approval, and are still inactive.
    pub async fn recently_deactivated(&self, source: &str, since: Timestamp) -> Result<u64, StoreError> {
        let layout = &self.layout;
        // The user or the learner of a change, because a hand may have damaged either id. CROSS JOIN makes SQLite begin
        // with the few changes.
        let statement = Statement::new(format!(
            "WITH recent AS MATERIALIZED (SELECT entra_id, learner_id FROM provisioning_log WHERE {})
             SELECT count(*) FROM (
                 SELECT l.learner_id FROM recent p CROSS JOIN sync_links l
                 WHERE l.source = $2 AND l.entra_id = p.entra_id
                 UNION
                 SELECT l.learner_id FROM recent p CROSS JOIN sync_links l
                 WHERE l.source = $2 AND l.learner_id = p.learner_id
             ) AS changed JOIN {} r ON r.{} = changed.learner_id WHERE NOT {} AND {}",
            recent_changes(&[Action::Deactivate]),
            layout.table,
            layout.id(),
            layout.active("r"),
            layout.within("r"),
        ));
        let row = self.connection().await.row(statement.bind(since).bind(source)).await?;
        Ok(row.get::<i64, _>(0)?.unsigned_abs())
    }

    /// The active users of `source` by attribute, for each of `attributes` that was cleared at `since` or later without an
    /// approval and is still empty.
    pub async fn recently_cleared(
        &self,
        source: &str,
        since: Timestamp,
        attributes: &[Attribute],
    ) -> Result<BTreeMap<Attribute, BTreeSet<EntraId>>, StoreError> {
        if attributes.is_empty() {
            return Ok(BTreeMap::new());
        }
        let cleared = self.cleared_since(source, since, attributes).await?;
        let users: Vec<EntraId> = cleared.keys().copied().collect();
        let mut recent: BTreeMap<Attribute, BTreeSet<EntraId>> = BTreeMap::new();
        // The whole log counts while Graph's clock is unknown, so only some rows are in memory at a time.
        for users in users.chunks(ROWS_AT_A_TIME) {
            for (user, row) in self.rows(source, users, attributes).await?.into_iter().filter(|(_, row)| row.active) {
                let still_empty = cleared.get(&user).into_iter().flatten();
                for attribute in still_empty.filter(|attribute| row.values.get(**attribute) == Some(None)) {
                    recent.entry(*attribute).or_default().insert(user);
                }
            }
        }
        Ok(recent)
    }

    /// The attributes that were cleared at `since` or later without an approval, by the provisioning log.
    async fn cleared_since(
        &self,
        source: &str,
        since: Timestamp,
        attributes: &[Attribute],
    ) -> Result<BTreeMap<EntraId, BTreeSet<Attribute>>, StoreError> {
        #[derive(Deserialize)]
        struct LoggedChange {
            attribute: String,
            old: serde_json::Value,
            new: serde_json::Value,
        }
        let mut connection = self.connection().await;
        // Most rows clear nothing: a million of them are created on the first day.
        let clears = match connection.dialect() {
            Dialect::Sqlite => r#"changes LIKE '%"new":null%'"#,
            Dialect::Postgres => r#"changes @> '[{"new": null}]'"#,
        };
        let statement = Statement::new(format!(
            "SELECT p.entra_id, l.entra_id, changes FROM provisioning_log p
             LEFT JOIN sync_links l ON l.source = $2 AND l.learner_id = p.learner_id WHERE {} AND {clears}",
            recent_changes(&[Action::Update, Action::Reactivate]),
        ));
        let mut cleared: BTreeMap<EntraId, BTreeSet<Attribute>> = BTreeMap::new();
        let each = |row: SqlRow| {
            // Somebody may have edited the log; a row that says nothing must not stop the cycle.
            let user = row.parsed(0, "provisioning_log.entra_id").or_else(|_| row.canonical(1, "sync_links.entra_id"));
            let Ok(user) = user else { return Ok(()) };
            let Ok(text) = row.json(2, "provisioning_log.changes") else { return Ok(()) };
            let Ok(changes) = serde_json::from_str::<Vec<LoggedChange>>(text) else { return Ok(()) };
            for LoggedChange { attribute: path, .. } in
                changes.iter().filter(|change| change.new.is_null() && !change.old.is_null())
            {
                if let Some(attribute) = attributes.iter().find(|attribute| attribute.path() == path) {
                    cleared.entry(user).or_default().insert(*attribute);
                }
            }
            Ok::<_, DbError>(())
        };
        connection.run(statement.bind(since).bind(source), each).await?;
        Ok(cleared)
    }

    /// How many users are in conflict with the learner of an account that may have been theirs.
    pub async fn recreated_users(&self, source: &str) -> Result<u64, StoreError> {
        let statement =
            Statement::new("SELECT count(*) FROM sync_failures WHERE source = $1 AND reason = $2 AND cause = $3");
        let statement = statement.bind(source).bind(Reason::Conflict.as_str()).bind(Cause::Recreated.as_str());
        Ok(self.connection().await.row(statement).await?.get::<i64, _>(0)?.unsigned_abs())
    }

    /// The last recorded number of members of each assigned group; as many as there can be where it cannot be read, so
    /// that the group is guarded.
    pub async fn last_members(&self, source: &str) -> Result<BTreeMap<EntraId, u64>, StoreError> {
        let place = self.connection().await.place_of_entry("sync_groups", "group_id");
        let statement =
            Statement::new(format!("SELECT group_id, last_members, {place} FROM sync_groups WHERE source = $1"));
        let read = |row: &SqlRow| {
            let group = row.canonical(0, "sync_groups.group_id")?;
            let members = row.count(1, "sync_groups.last_members");
            if let Err(DbError::Unreadable { column }) = members {
                self.add_unreadable(deletable(row, column, "sync_groups", 2, RowSubject::Group));
            }
            Ok((group, members.unwrap_or(u64::MAX)))
        };
        let unreadable = |row: &SqlRow, column| deletable(row, column, "sync_groups", 2, RowSubject::Group);
        self.query_readable(statement.bind(source), read, unreadable).await
    }

    /// The user whose learner has this user name.
    pub async fn linked_user(&self, source: &str, user_name: &str) -> Result<Option<EntraId>, StoreError> {
        let mut statement = Statement::new("SELECT l.entra_id");
        statement.push(self.layout.links_with_rows()).push(" WHERE ").push(self.layout.within("r"));
        statement.push(" AND l.source = ");
        let mut connection = self.connection().await;
        let column = format!("r.{}", self.layout.attribute(Attribute::UserName));
        statement.push_bind(source).push(" AND ").push(connection.folded(&column));
        statement.push(" = ").push_bind(SqlValue::Text(Some(fold(user_name))));
        let row = connection.optional_row(statement).await?;
        Ok(row.and_then(|row| row.canonical(0, "sync_links.entra_id").ok()))
    }

    /// The other sources that have links, when `source` has none and was not admitted: the reason to refuse a cycle.
    pub async fn other_sources(&self, source: &str) -> Result<Vec<String>, StoreError> {
        if self.state().await?.admitted_sources.contains(source) {
            return Ok(Vec::new());
        }
        let own = Statement::new("SELECT EXISTS (SELECT 1 FROM sync_links WHERE source = $1)").bind(source);
        if self.connection().await.row(own).await?.get(0)? {
            return Ok(Vec::new());
        }
        let sources = Statement::new("SELECT DISTINCT source FROM sync_links ORDER BY source");
        let sources: Vec<String> = self.query(sources, read_source).await?;
        Ok(if sources.iter().any(|known| known == source) { Vec::new() } else { sources })
    }
}

/// A condition on the log: one of `actions` was carried out at `$1` or later without an approval. What a hand made
/// unreadable may be such a change.
fn recent_changes(actions: &[Action]) -> String {
    let others = Action::ALL.iter().filter(|action| !actions.contains(action)).map(|action| action.as_str());
    let others: Vec<&str> = others.collect();
    let left = Status::ALL.iter().filter(|status| **status != Status::Success).map(|status| status.as_str());
    let left: Vec<&str> = left.collect();
    format!(
        "(at >= $1 OR at < '{EARLIEST}') AND action NOT IN ('{}') AND status NOT IN ('{}') AND approved_by IS NULL",
        others.join("', '"),
        left.join("', '"),
    )
}

/// A source that a hand may have changed.
fn read_source(row: &SqlRow) -> Result<String, StoreError> {
    Ok(row.foreign_text(0)?.map_or_else(String::new, Cow::into_owned))
}

/// An unreadable row that the next cycle makes again where it is needed. The Entra id is the first column, and `place`
/// the index of the condition that finds the row.
pub(super) fn deletable(
    row: &SqlRow,
    column: &'static str,
    table: &str,
    place: usize,
    subject: fn(Option<EntraId>) -> RowSubject,
) -> UnreadableRow {
    let id = row.foreign_text(0).ok().flatten().and_then(|text| text.parse().ok());
    let place = row.foreign_text(place).ok().flatten().unwrap_or_default().into_owned();
    let repair = format!("DELETE FROM {table} WHERE {place}");
    UnreadableRow { subject: subject(id), column, place, repair }
}
