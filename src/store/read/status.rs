//! Held and failing users as `status` and `approve` show them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::linked::parse_routes;
use super::records::deletable;
use crate::model::{Action, Attribute, EntraId, LearnerId, Reason, Routes, RowSubject, UnreadableRow};
use crate::store::db::{Dialect, SqlRow, Statement};
use crate::store::error::StoreError;
use crate::store::handle::Store;

/// A held user, with its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldUser {
    /// The user.
    pub entra_id: EntraId,
    /// The held action.
    pub action: Action,
    /// Why it is held.
    pub reason: Reason,
    /// Why the user of a held deactivation has left, where that is known.
    pub change_reason: Option<Reason>,
    /// When the hold began.
    pub since: Timestamp,
    /// The time and the administrator of its approval.
    pub approved: Option<(Timestamp, String)>,
    /// The learner.
    pub learner: Option<LearnerId>,
    /// The learner's user name.
    pub user_name: Option<String>,
    /// How the user was last assigned, if that can be read.
    pub routes: Option<Routes>,
}

/// A failing, skipped or waiting user, with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailingUser {
    /// The user.
    pub entra_id: EntraId,
    /// Why it fails.
    pub reason: Reason,
    /// The reason as a sentence.
    pub detail: Option<String>,
    /// The first attempt.
    pub first_at: Timestamp,
    /// The last attempt.
    pub last_at: Timestamp,
    /// The number of attempts.
    pub attempts: u64,
    /// The learner's user name, or the one in the log when there is no learner.
    pub user_name: Option<String>,
    /// How the user was last assigned, if there is a link that can be read.
    pub routes: Option<Routes>,
}

/// The numbers of learners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LearnerCounts {
    /// Active, linked or not.
    pub active: u64,
    /// Inactive, linked or not.
    pub inactive: u64,
    /// Linked by the source.
    pub linked: u64,
    /// Active, and not linked by the source.
    pub active_unlinked: u64,
}

/// Up to as many users are sorted; more are found soon in the order of their ids.
const MAX_SORTED: u64 = 10_000;

/// Users with a record in `sync_failures`.
pub(super) enum Selected {
    /// These reasons, and the number of their users.
    Only(Vec<Reason>, u64),
    /// Any other reason.
    Other(Vec<Reason>),
}

impl Store {
    /// The held users, in order of object id.
    pub async fn held_users(&self, source: &str) -> Result<Vec<HeldUser>, StoreError> {
        self.first_held_users(source, None).await
    }

    /// The first `limit` held users, or all of them.
    pub(super) async fn first_held_users(&self, source: &str, limit: Option<u32>) -> Result<Vec<HeldUser>, StoreError> {
        self.held_users_in(&first_of("sync_held", limit), source, None).await
    }

    /// `rows` is the table, or a selection of its rows; with `user`, only the row of this user is read.
    pub(super) async fn held_users_in(
        &self,
        rows: &str,
        source: &str,
        user: Option<EntraId>,
    ) -> Result<Vec<HeldUser>, StoreError> {
        let layout = &self.layout;
        let (table, id, user_name) = (&layout.table, layout.id(), layout.attribute(Attribute::UserName));
        let place = self.connection().await.place_of_entry("h", "entra_id");
        let within = layout.within("r");
        let statement = Statement::new(format!(
            "SELECT h.entra_id, h.action, h.reason, h.since, h.approved_at, h.approved_by, r.{id}, r.{user_name},
                    {place},
                    EXISTS (SELECT 1 FROM sync_held o WHERE o.source = h.source AND o.entra_id = lower(h.entra_id)
                                                          AND o.entra_id <> h.entra_id),
                    l.via, h.change_reason
             FROM {rows} h
             LEFT JOIN sync_links l ON l.source = h.source AND l.entra_id = h.entra_id
             LEFT JOIN {table} r ON r.{id} = l.learner_id AND {within}
             WHERE h.source = $1{} ORDER BY h.entra_id",
            user.map_or("", |_| " AND h.entra_id = $2"),
        ));
        let statement = bind_user(statement.bind(source), user);
        let read = |row: &SqlRow| {
            let approved_by = row.optional_text(5, "sync_held.approved_by")?;
            let approved_at = row.optional_time(4, "sync_held.approved_at")?;
            Ok(HeldUser {
                entra_id: row.canonical(0, "sync_held.entra_id")?,
                action: row.parsed(1, "sync_held.action")?,
                reason: row.parsed(2, "sync_held.reason")?,
                // Nothing depends on it.
                change_reason: row.parsed(11, "sync_held.change_reason").ok(),
                since: row.time(3, "sync_held.since")?,
                approved: approved_at.map(|at| (at, approved_by.unwrap_or_default().to_owned())),
                learner: self.layout.optional_learner_at(row, 6)?,
                user_name: row.foreign_text(7)?.map(Cow::into_owned),
                routes: routes_at(row, 10),
            })
        };
        self.query_readable(statement, read, unreadable_hold).await
    }

    /// The failing and skipped users, in order of object id.
    pub async fn failing_users(&self, source: &str) -> Result<Vec<FailingUser>, StoreError> {
        self.failing_users_in("sync_failures", source, None).await
    }

    /// The first `limit` users of each selection. Thousands of skipped users must not hide the few that fail.
    pub(super) async fn first_failing_users(
        &self,
        source: &str,
        limit: u32,
        selections: &[Selected],
    ) -> Result<Vec<FailingUser>, StoreError> {
        let dialect = self.connection().await.dialect();
        let mut users = Vec::new();
        for selected in selections {
            let (condition, order) = match selected {
                // In the order of ids, SQLite would pass over all other users to find these few. The plus sign keeps it from that,
                // so that it sorts what the index of the reasons yields.
                Selected::Only(reasons, count) if dialect == Dialect::Sqlite && *count <= MAX_SORTED => {
                    (format!("IN ({})", reasons_in_sql(reasons)), "+entra_id")
                }
                Selected::Only(reasons, _) => (format!("IN ({})", reasons_in_sql(reasons)), "entra_id"),
                Selected::Other(reasons) => (format!("NOT IN ({})", reasons_in_sql(reasons)), "entra_id"),
            };
            let rows = format!(
                "(SELECT * FROM sync_failures WHERE source = $1 AND reason {condition} ORDER BY {order} LIMIT {limit})"
            );
            users.extend(self.failing_users_in(&rows, source, None).await?);
        }
        Ok(users)
    }

    /// `rows` is the table, or a selection of its rows; with `user`, only the row of this user is read.
    pub(super) async fn failing_users_in(
        &self,
        rows: &str,
        source: &str,
        user: Option<EntraId>,
    ) -> Result<Vec<FailingUser>, StoreError> {
        let layout = &self.layout;
        let (table, id, user_name) = (&layout.table, layout.id(), layout.attribute(Attribute::UserName));
        let place = self.connection().await.place_of_entry("f", "entra_id");
        let within = layout.within("r");
        let statement = Statement::new(format!(
            "SELECT f.entra_id, f.reason, f.detail, f.first_at, f.last_at, f.attempts,
                    coalesce(r.{user_name}, (SELECT p.user_name FROM provisioning_log p
                                           WHERE p.entra_id = f.entra_id AND p.user_name IS NOT NULL
                                           ORDER BY p.id DESC LIMIT 1)), {place}, l.via
             FROM {rows} f
             LEFT JOIN sync_links l ON l.source = f.source AND l.entra_id = f.entra_id
             LEFT JOIN {table} r ON r.{id} = l.learner_id AND {within}
             WHERE f.source = $1{} ORDER BY f.entra_id",
            user.map_or("", |_| " AND f.entra_id = $2"),
        ));
        let statement = bind_user(statement.bind(source), user);
        let read = |row: &SqlRow| {
            Ok(FailingUser {
                entra_id: row.canonical(0, "sync_failures.entra_id")?,
                reason: row.parsed(1, "sync_failures.reason")?,
                detail: row.optional_text(2, "sync_failures.detail")?.map(str::to_owned),
                first_at: row.time(3, "sync_failures.first_at")?,
                last_at: row.time(4, "sync_failures.last_at")?,
                attempts: row.count(5, "sync_failures.attempts")?,
                user_name: row.foreign_text(6)?.map(Cow::into_owned),
                routes: routes_at(row, 8),
            })
        };
        let unreadable = |row: &SqlRow, column| deletable(row, column, "sync_failures", 7, |_| RowSubject::Failure);
        self.query_readable(statement, read, unreadable).await
    }

    /// The numbers of learners.
    pub async fn learner_counts(&self, source: &str) -> Result<LearnerCounts, StoreError> {
        let layout = &self.layout;
        let (table, active, within) = (&layout.table, layout.active("r"), layout.within("r"));
        // A link of our own table always has its learner; joining the rows of a hundred thousand learners takes a while.
        let linked = match layout.external {
            None => " FROM sync_links l WHERE l.source = $1".to_owned(),
            Some(_) => format!("{} WHERE l.source = $1 AND {within}", layout.links_with_rows()),
        };
        // The few inactive learners are looked up, not the many active ones.
        let statement = Statement::new(format!(
            "SELECT count(*), count(*) FILTER (WHERE {active}),
                    count(*) FILTER (WHERE CASE WHEN {active} THEN false ELSE
                        EXISTS (SELECT 1 FROM sync_links l WHERE l.learner_id = r.{} AND l.source = $1) END),
                    (SELECT count(*){linked})
             FROM {table} r WHERE {within}",
            layout.id(),
        ));
        let row = self.connection().await.row(statement.bind(source)).await?;
        let count = |index: usize| row.get::<i64, _>(index).map(i64::unsigned_abs);
        let (all, active, inactive_linked, linked) = (count(0)?, count(1)?, count(2)?, count(3)?);
        let active_linked = linked.saturating_sub(inactive_linked);
        Ok(LearnerCounts {
            active,
            inactive: all.saturating_sub(active),
            linked,
            active_unlinked: active.saturating_sub(active_linked),
        })
    }
}

fn bind_user(statement: Statement<'_>, user: Option<EntraId>) -> Statement<'_> {
    match user {
        Some(user) => statement.bind(user),
        None => statement,
    }
}

/// `'conflict', 'unreadable'`
fn reasons_in_sql(reasons: &[Reason]) -> String {
    let quoted: Vec<String> = reasons.iter().map(|reason| format!("'{reason}'")).collect();
    quoted.join(", ")
}

/// The routes of a link; none when there is no link, or it cannot be read, which another read reports.
fn routes_at(row: &SqlRow, index: usize) -> Option<Routes> {
    let text = row.json(index, "sync_links.via").ok()?;
    parse_routes(&mut BTreeMap::new(), text).ok()
}

/// The table, or its first rows of the source `$1`. The names are looked up for these alone.
fn first_of(table: &str, limit: Option<u32>) -> String {
    match limit {
        None => table.to_owned(),
        Some(limit) => format!("(SELECT * FROM {table} WHERE source = $1 ORDER BY entra_id LIMIT {limit})"),
    }
}

/// A hold that cannot be read, as [`Store::held_users`] selects it. The statement keeps the hold of a user that the row
/// names: as a deactivation, unless the action can be read, and without an approval that cannot be read.
fn unreadable_hold(row: &SqlRow, column: &'static str) -> UnreadableRow {
    let action = row.parsed(1, "sync_held.action").ok();
    let deletable = deletable(row, column, "sync_held", 8, RowSubject::User);
    let RowSubject::User(Some(user)) = deletable.subject else {
        return UnreadableRow { subject: RowSubject::LostHold(action), ..deletable };
    };
    let has_other: bool = row.get(9).unwrap_or_default();
    if has_other {
        return deletable;
    }
    let (approved_at, approved_by) =
        (row.optional_time(4, "sync_held.approved_at"), row.optional_text(5, "sync_held.approved_by"));
    let is_damaged = [
        (row.canonical::<EntraId, _>(0, "sync_held.entra_id").is_err(), format!("entra_id = '{user}'")),
        (action.is_none(), format!("action = '{}'", Action::Deactivate)),
        (row.parsed::<Reason, _>(2, "sync_held.reason").is_err(), format!("reason = '{}'", Reason::Threshold)),
        (row.time(3, "sync_held.since").is_err(), format!("since = '{}'", Timestamp::UNIX_EPOCH)),
        (
            action.is_none() || approved_at.is_err() || approved_by.is_err(),
            "approved_at = NULL, approved_by = NULL".to_owned(),
        ),
    ];
    let changes: Vec<String> = is_damaged.into_iter().filter_map(|(is, change)| is.then_some(change)).collect();
    if changes.is_empty() {
        return deletable;
    }
    let repair = format!("UPDATE sync_held SET {} WHERE {}", changes.join(", "), deletable.place);
    UnreadableRow { repair, ..deletable }
}
