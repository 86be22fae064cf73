//! Reading the provisioning log.

mod page;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;

use jiff::Timestamp;

use self::page::push_conditions;
pub use self::page::{ListPage, PagePosition};
use crate::model::{
    Action, Attribute, EntraId, LearnerId, Phase, Reason, RowSubject, Status, UnreadableRow, home_name,
    stored_name_prefix,
};
use crate::store::cycles::{CycleId, CycleRow, cycle_row};
use crate::store::db::{DbError, SqlRow, Statement, parse_json_column};
use crate::store::error::StoreError;
use crate::store::handle::{EARLIEST, LATEST, Store};

/// How many rows without a real time are listed; one statement may have changed all of them.
const MAX_LISTED: usize = 100;

/// The columns that [`LogRow`] is read from.
const LOG_ROWS: &str =
    "SELECT id, cycle_id, at, action, status, entra_id, learner_id, user_name, reason, detail, changes,
        approved_by, request_id, phase
    FROM provisioning_log";

/// Which rows of the log to read; `None` matches every row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// A user name (now or when the row was written, ignoring ASCII letter case), an Entra id or a learner id.
    pub user: Option<String>,
    /// The action.
    pub action: Option<Action>,
    /// The status.
    pub status: Option<Status>,
    /// The reason.
    pub reason: Option<Reason>,
    /// The cycle that wrote the row.
    pub cycle: Option<CycleId>,
    /// The key.
    pub id: Option<i64>,
    /// The part of the log.
    pub range: RowRange,
}

/// Which rows of a table in the order of its numbers and times; the default is all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowRange {
    /// The earliest time.
    pub since: Option<Timestamp>,
    /// The first time that is too late.
    pub until: Option<Timestamp>,
    /// The maximum number of rows; the last ones are kept.
    pub limit: Option<u32>,
    /// Only rows after the one with this id, of which the first ones are kept.
    pub after: Option<i64>,
    /// Only rows before the one with this id.
    pub before: Option<i64>,
    /// The number of last rows to leave out.
    pub skip: u32,
}

impl RowRange {
    /// Ends a statement whose condition is open.
    fn push(self, statement: &mut Statement<'_>, time: &str) {
        let Self { since, until, limit, after, before, skip } = self;
        if let Some(since) = since {
            statement.push(format_args!(" AND {time} >= ")).push_bind(since);
        }
        if let Some(until) = until {
            statement.push(format_args!(" AND {time} < ")).push_bind(until);
        }
        if let Some(after) = after {
            statement.push(" AND id > ").push_bind(after);
        }
        if let Some(before) = before {
            statement.push(" AND id < ").push_bind(before);
        }
        statement.push(if after.is_some() { " ORDER BY id" } else { " ORDER BY id DESC" });
        if let Some(limit) = limit {
            statement.push(" LIMIT ").push_bind(i64::from(limit));
            statement.push(" OFFSET ").push_bind(i64::from(skip));
        }
    }
}

/// A row of `provisioning_log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// The key.
    pub id: i64,
    /// The cycle that wrote the row.
    pub cycle: CycleId,
    /// When it was written.
    pub at: Timestamp,
    /// The action, carried out or not.
    pub action: Action,
    /// How it ended.
    pub status: Status,
    /// The user.
    pub entra_id: EntraId,
    /// The learner, if there is one.
    pub learner: Option<LearnerId>,
    /// The user name, if known.
    pub user_name: Option<String>,
    /// Why it happened.
    pub reason: Reason,
    /// The reason as a sentence.
    pub detail: Option<String>,
    /// `[{"attribute", "old", "new"}]`
    pub changes: serde_json::Value,
    /// The administrator whose approval released the change.
    pub approved_by: Option<String>,
    /// Graph's id of the answer that decided, for a support case.
    pub request_id: Option<String>,
    /// For a hold: whether it begins or ends.
    pub phase: Option<Phase>,
}

/// A row of `audit_log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// The key.
    pub id: i64,
    /// When it happened.
    pub at: Timestamp,
    /// The system user, or the signal.
    pub actor: String,
    /// The command or signal.
    pub action: String,
    /// The object of the action.
    pub detail: Option<String>,
}

/// Rows, oldest first.
#[derive(Debug)]
pub struct RowPage<R> {
    /// The readable rows.
    pub rows: Vec<R>,
    /// The keys of all rows, also of those that cannot be read.
    pub ids: Vec<i64>,
}

impl<R> RowPage<R> {
    fn sorted<K: Ord>(mut self, key: impl Fn(&R) -> K) -> Self {
        self.rows.sort_unstable_by_key(key);
        self.ids.sort_unstable();
        self
    }
}

/// A user name, folded, in the forms that the log may have. The learner of a guest has the name in the home tenant, unless
/// the mapping says otherwise.
struct UserNames {
    exact: Vec<String>,
    /// The first stored name of a guest who has this name in the home tenant, and the text after the last one.
    stored: Option<[String; 2]>,
}

impl UserNames {
    fn of(folded: &str) -> Self {
        let stored = stored_name_prefix(folded).map(|prefix| {
            let first = prefix.to_ascii_lowercase();
            let after = format!("{}a", first.trim_end_matches('@'));
            [first, after]
        });
        Self { exact: [folded.to_owned()].into_iter().chain(home_name(folded)).collect(), stored }
    }

    /// A condition on `column` for each form, so that each is found by an index.
    fn push_conditions(&self, statement: &mut Statement<'_>, column: &str, separator: &str) {
        for (number, name) in self.exact.iter().enumerate() {
            let before = if number == 0 { "" } else { separator };
            statement.push(format_args!("{before}{column} = ")).push_bind(name.clone());
        }
        if let Some([first, after]) = &self.stored {
            statement.push(format_args!("{separator}{column} >= ")).push_bind(first.clone());
            statement.push(format_args!(" AND {column} < ")).push_bind(after.clone());
        }
    }
}

impl Store {
    /// The rows that match `filter`. A row that cannot be read is left out and reported.
    pub async fn log(&self, filter: &LogFilter) -> Result<RowPage<LogRow>, StoreError> {
        let mut statement = Statement::new(format!("{LOG_ROWS} WHERE id > 0"));
        if let Some(user) = &filter.user {
            self.push_user(&mut statement, user).await?;
        }
        push_conditions(&mut statement, filter);
        filter.range.push(&mut statement, "at");
        let page = self.log_rows(statement).await?;
        Ok(page.sorted(|row| row.id))
    }

    /// The rows that a statement with the columns of [`LOG_ROWS`] returns, in its order.
    async fn log_rows(&self, statement: Statement<'_>) -> Result<RowPage<LogRow>, StoreError> {
        let read = |row: &SqlRow| {
            Ok(LogRow {
                id: row.get(0)?,
                cycle: CycleId(row.get(1).map_err(|_| DbError::Unreadable { column: "provisioning_log.cycle_id" })?),
                at: row.time(2, "provisioning_log.at")?,
                action: row.parsed(3, "provisioning_log.action")?,
                status: row.parsed(4, "provisioning_log.status")?,
                entra_id: row.parsed(5, "provisioning_log.entra_id")?,
                learner: self.layout.optional_learner_at(row, 6)?,
                user_name: row.foreign_text(7)?.map(Cow::into_owned),
                reason: row.parsed(8, "provisioning_log.reason")?,
                detail: row.foreign_text(9)?.map(Cow::into_owned),
                changes: parse_json_column(row.json(10, "provisioning_log.changes")?, "provisioning_log.changes")?,
                approved_by: row.foreign_text(11)?.map(Cow::into_owned),
                request_id: row.foreign_text(12)?.map(Cow::into_owned),
                phase: phase_at(row, 13)?,
            })
        };
        self.ordered_page(statement, read, "provisioning_log").await
    }

    /// The linked users whose learner has this name now, or who have this object id.
    async fn linked_users(&self, user: &str) -> Result<Vec<String>, StoreError> {
        let mut connection = self.connection().await;
        let folded = user.to_ascii_lowercase();
        let (table, id, within) = (&self.layout.table, self.layout.id(), self.layout.within("r"));
        let name = connection.folded(&format!("r.{}", self.layout.attribute(Attribute::UserName)));
        // The rows of a learner that has this name now may have another one.
        let mut linked = Statement::new(format!(
            "SELECT l.entra_id FROM {table} r JOIN sync_links l ON l.learner_id = r.{id} WHERE {within} AND ("
        ));
        UserNames::of(&folded).push_conditions(&mut linked, &name, " OR ");
        linked.push(") UNION SELECT entra_id FROM sync_links WHERE entra_id = ");
        linked.push_bind(folded);
        Ok(texts(&connection.rows(linked).await?))
    }

    /// Whether a learner, a user with a record or a row of the log has this name or id.
    pub async fn is_known_user(&self, user: &str) -> Result<bool, StoreError> {
        if !self.linked_users(user).await?.is_empty() {
            return Ok(true);
        }
        let mut logged = Statement::new("SELECT EXISTS (SELECT 1 FROM provisioning_log WHERE id > 0");
        self.push_user(&mut logged, user).await?;
        let (table, id, within) = (&self.layout.table, self.layout.id(), self.layout.within("r"));
        let mut connection = self.connection().await;
        let name = connection.folded(&format!("r.{}", self.layout.attribute(Attribute::UserName)));
        let folded = user.to_ascii_lowercase();
        logged.push(format_args!(") OR EXISTS (SELECT 1 FROM {table} r WHERE {within} AND ("));
        UserNames::of(&folded).push_conditions(&mut logged, &name, " OR ");
        if let Some(learner) = self.layout.parse_learner(user) {
            logged.push(format_args!(" OR r.{id} = "));
            logged.push_bind(self.layout.learner_value(Some(&learner)));
        }
        logged.push(")) OR EXISTS (SELECT 1 FROM sync_failures WHERE entra_id = ").push_bind(folded.clone());
        logged.push(") OR EXISTS (SELECT 1 FROM sync_held WHERE entra_id = ").push_bind(folded).push(")");
        Ok(connection.row(logged).await?.get(0)?)
    }

    /// The user names of the learners and of the log.
    pub async fn known_names(&self) -> Result<Vec<String>, StoreError> {
        let (table, within) = (&self.layout.table, self.layout.within("r"));
        let name = self.layout.attribute(Attribute::UserName);
        let names = Statement::new(format!(
            "SELECT r.{name} FROM {table} r WHERE {within} UNION SELECT user_name FROM provisioning_log"
        ));
        Ok(texts(&self.connection().await.rows(names).await?))
    }

    /// Adds the condition for the rows of `user`. Each part finds its rows by an index, except the one for a learner id.
    async fn push_user(&self, statement: &mut Statement<'_>, user: &str) -> Result<(), StoreError> {
        let linked = self.linked_users(user).await?;
        let mut connection = self.connection().await;
        let folded = user.to_ascii_lowercase();
        let names = UserNames::of(&folded);
        let is_known = !linked.is_empty();
        let linked = match is_known {
            true => linked,
            false => {
                // A former name, or the name of a user without a link.
                let mut named = Statement::new("SELECT DISTINCT entra_id FROM provisioning_log WHERE ");
                names.push_conditions(&mut named, &connection.folded("user_name"), " OR ");
                texts(&connection.rows(named).await?)
            }
        };
        // Entra ids are compared as text: a user name may consist of digits.
        let users: BTreeSet<String> = linked.into_iter().chain([folded.clone()]).collect();
        let each = " UNION SELECT id FROM provisioning_log WHERE ";
        statement.push(" AND id IN (SELECT id FROM provisioning_log WHERE ");
        names.push_conditions(statement, &connection.folded("user_name"), each);
        for user in users {
            statement.push(each).push("entra_id = ").push_bind(user);
        }
        // Nearly every text can be a learner id, unless ids are numbers.
        let learner = self.layout.parse_learner(user);
        if let Some(learner) = learner.filter(|id| matches!(id, LearnerId::Number(_)) || !is_known) {
            statement.push(each).push("learner_id = ");
            statement.push_bind(self.layout.learner_value(Some(&learner)));
        }
        statement.push(")");
        Ok(())
    }

    /// The rows of the audit log. A row that cannot be read is left out and reported.
    pub async fn audit_rows(&self, range: RowRange) -> Result<RowPage<AuditRow>, StoreError> {
        let mut statement = Statement::new("SELECT id, at, actor, action, detail FROM audit_log WHERE id > 0");
        range.push(&mut statement, "at");
        let text = |row: &SqlRow, index| Ok::<_, DbError>(row.foreign_text(index)?.unwrap_or_default().into_owned());
        let read = |row: &SqlRow| {
            Ok(AuditRow {
                id: row.get(0)?,
                at: row.time(1, "audit_log.at")?,
                actor: text(row, 2)?,
                action: text(row, 3)?,
                detail: row.foreign_text(4)?.map(Cow::into_owned),
            })
        };
        let page = self.ordered_page(statement, read, "audit_log").await?;
        Ok(page.sorted(|row| row.id))
    }

    /// The cycles of every source. A row that cannot be read is left out and reported.
    pub async fn cycles(&self, range: RowRange) -> Result<RowPage<CycleRow>, StoreError> {
        let page = self.ordered_cycles(range).await?;
        Ok(page.sorted(|row| row.id))
    }

    /// The same rows in the order of the statement: backwards, unless they are those after another one.
    async fn ordered_cycles(&self, range: RowRange) -> Result<RowPage<CycleRow>, StoreError> {
        let mut statement = Statement::new("SELECT * FROM sync_cycles WHERE id > 0");
        range.push(&mut statement, "started_at");
        self.ordered_page(statement, cycle_row, "sync_cycles").await
    }

    /// The last cycles of `source` that have ended, newest first.
    pub async fn ended_cycles(&self, source: &str, limit: u32) -> Result<Vec<CycleRow>, StoreError> {
        let statement = Statement::new(
            "SELECT * FROM sync_cycles WHERE source = $1 AND outcome IS NOT NULL ORDER BY id DESC LIMIT $2",
        );
        let unreadable = |row: &SqlRow, column| numbered(row, column, "sync_cycles");
        self.query_readable(statement.bind(source).bind(i64::from(limit)), cycle_row, unreadable).await
    }

    /// Rows whose key, a number, is the column `id`, in the order of the statement.
    async fn ordered_page<R>(
        &self,
        statement: Statement<'_>,
        read: impl Fn(&SqlRow) -> Result<R, DbError>,
        table: &'static str,
    ) -> Result<RowPage<R>, StoreError> {
        let ids = RefCell::new(Vec::new());
        let read = |row: &SqlRow| {
            ids.borrow_mut().push(row.get("id")?);
            read(row)
        };
        let unreadable = |row: &SqlRow, column| numbered(row, column, table);
        let rows: Vec<R> = self.query_readable(statement, read, unreadable).await?;
        Ok(RowPage { rows, ids: ids.into_inner() })
    }
}

impl Store {
    /// Reports the first rows that have no real time: each counts as recent for ever, and never expires.
    pub(super) async fn inspect_log_times(&self) -> Result<(), StoreError> {
        let statement = Statement::new(format!(
            "SELECT id FROM provisioning_log WHERE at < '{EARLIEST}' OR at >= '{LATEST}' ORDER BY id + 0 LIMIT {MAX_LISTED}"
        ));
        let read = |_: &SqlRow| Err(DbError::Unreadable { column: "provisioning_log.at" });
        let unreadable = |row: &SqlRow, column| numbered(row, column, "provisioning_log");
        self.query_readable::<(), Vec<()>>(statement, read, unreadable).await?;
        Ok(())
    }
}

/// The texts in the first column.
fn texts(rows: &[SqlRow]) -> Vec<String> {
    rows.iter().filter_map(|row| row.foreign_text(0).ok().flatten().map(Cow::into_owned)).collect()
}

fn phase_at(row: &SqlRow, index: usize) -> Result<Option<Phase>, DbError> {
    let text = row.optional_text(index, "provisioning_log.phase")?;
    text.map(|text| text.parse().map_err(|_| DbError::Unreadable { column: "provisioning_log.phase" })).transpose()
}

/// An unreadable row whose key, a number, is the first column. Nothing depends on the row.
fn numbered(row: &SqlRow, column: &'static str, table: &str) -> UnreadableRow {
    let place = format!("id = {}", row.get::<i64, _>(0).unwrap_or_default());
    let repair = format!("DELETE FROM {table} WHERE {place}");
    UnreadableRow { subject: RowSubject::History, column, place, repair }
}
