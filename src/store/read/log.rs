//! Reading the provisioning log.

use std::borrow::Cow;
use std::cell::RefCell;

use jiff::Timestamp;

use crate::model::{Action, Attribute, EntraId, LearnerId, Reason, RowSubject, Status, UnreadableRow};
use crate::store::cycles::CycleId;
use crate::store::db::{DbError, SqlRow, Statement, parse_json_column};
use crate::store::error::StoreError;
use crate::store::handle::{EARLIEST, LATEST, Store};

/// How many rows without a real time are listed; one statement may have changed all of them.
const MAX_LISTED: usize = 100;

/// Which rows of the log to read; `None` matches every row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// A user name (now or when the row was written, ignoring ASCII letter case), an Entra id or a learner id.
    pub user: Option<String>,
    /// The action.
    pub action: Option<Action>,
    /// The status.
    pub status: Option<Status>,
    /// The earliest time.
    pub since: Option<Timestamp>,
    /// The maximum number of rows; the last ones are kept.
    pub limit: Option<u32>,
    /// Only rows after the one with this id, of which the first ones are kept.
    pub after: Option<i64>,
    /// The number of last rows to leave out.
    pub skip: u32,
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
}

/// Rows of the log, oldest first.
#[derive(Debug)]
pub struct LogPage {
    /// The readable rows.
    pub rows: Vec<LogRow>,
    /// The keys of all rows, also of those that cannot be read.
    pub ids: Vec<i64>,
}

impl Store {
    /// The rows that match `filter`. A row that cannot be read is left out and reported.
    pub async fn log(&self, filter: &LogFilter) -> Result<LogPage, StoreError> {
        let LogFilter { user, action, status, since, limit, after, skip } = filter;
        let connection = self.connection().await;
        let mut statement = Statement::new(
            "SELECT id, cycle_id, at, action, status, entra_id, learner_id, user_name, reason, detail, changes
             FROM provisioning_log WHERE id > 0",
        );
        if let Some(user) = user {
            // Entra ids are compared as text: a user name may consist of digits.
            let folded = user.to_ascii_lowercase();
            statement.push(" AND (").push(connection.folded("user_name")).push(" = ").push_bind(folded.clone());
            statement.push(" OR entra_id = ").push_bind(folded.clone());
            let (table, id, within) = (&self.layout.table, self.layout.id(), self.layout.within("r"));
            statement.push(format_args!(" OR learner_id IN (SELECT {id} FROM {table} r WHERE {within} AND "));
            statement.push(connection.folded(self.layout.attribute(Attribute::UserName)));
            statement.push(" = ").push_bind(folded).push(")");
            if let Some(learner) = self.layout.parse_learner(user) {
                statement.push(" OR learner_id = ").push_bind(self.layout.learner_value(Some(&learner)));
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
        if let Some(after) = after {
            statement.push(" AND id > ").push_bind(*after);
        }
        statement.push(if after.is_some() { " ORDER BY id" } else { " ORDER BY id DESC" });
        if let Some(limit) = limit {
            statement.push(" LIMIT ").push_bind(i64::from(*limit));
            statement.push(" OFFSET ").push_bind(i64::from(*skip));
        }
        // `query_readable` takes the connection.
        drop(connection);
        let ids = RefCell::new(Vec::new());
        let read = |row: &SqlRow| {
            let id = row.get(0)?;
            ids.borrow_mut().push(id);
            Ok(LogRow {
                id,
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
            })
        };
        let unreadable = |row: &SqlRow, column| numbered(row, column, "provisioning_log");
        let mut rows: Vec<LogRow> = self.query_readable(statement, read, unreadable).await?;
        rows.sort_unstable_by_key(|row| row.id);
        let mut ids = ids.into_inner();
        ids.sort_unstable();
        Ok(LogPage { rows, ids })
    }
}

impl Store {
    /// Reports the first rows that have no real time: each counts as recent for ever, and never expires.
    pub(super) async fn inspect_log_times(&self) -> Result<(), StoreError> {
        let statement = Statement::new(format!(
            "SELECT id FROM provisioning_log WHERE at < '{EARLIEST}' OR at >= '{LATEST}' ORDER BY id LIMIT {MAX_LISTED}"
        ));
        let read = |_: &SqlRow| Err(DbError::Unreadable { column: "provisioning_log.at" });
        let unreadable = |row: &SqlRow, column| numbered(row, column, "provisioning_log");
        self.query_readable::<(), Vec<()>>(statement, read, unreadable).await?;
        Ok(())
    }
}

/// An unreadable row whose key, a number, is the first column. Nothing depends on the row.
fn numbered(row: &SqlRow, column: &'static str, table: &str) -> UnreadableRow {
    let place = format!("id = {}", row.get::<i64, _>(0).unwrap_or_default());
    let repair = format!("DELETE FROM {table} WHERE {place}");
    UnreadableRow { subject: RowSubject::History, column, place, repair }
}
