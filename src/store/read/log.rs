//! Reading the provisioning log.

use jiff::Timestamp;

use crate::model::{Action, Attribute, EntraId, LearnerId, Reason, Status};
use crate::store::cycles::CycleId;
use crate::store::db::{Statement, parse_column, parse_json_column};
use crate::store::error::StoreError;
use crate::store::handle::Store;

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
    /// What happened, or would have.
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

impl Store {
    /// The rows that match `filter`, oldest first; after a given row, newest first.
    pub async fn log(&self, filter: &LogFilter) -> Result<Vec<LogRow>, StoreError> {
        let LogFilter { user, action, status, since, limit, after, skip } = filter;
        let mut connection = self.connection().await;
        let mut statement = Statement::new(
            "SELECT id, cycle_id, at, action, status, entra_id, learner_id, user_name, reason, detail, changes
             FROM provisioning_log WHERE id > 0",
        );
        if let Some(user) = user {
            // Entra ids are compared as text: a user name may consist of digits.
            let folded = user.to_ascii_lowercase();
            statement.push(" AND (").push(connection.folded("user_name")).push(" = ").push_bind(folded.clone());
            statement.push(" OR entra_id = ").push_bind(folded.clone());
            let (table, id) = (&self.layout.table, self.layout.id());
            statement.push(format_args!(" OR learner_id IN (SELECT {id} FROM {table} WHERE "));
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
        let rows = connection.rows(statement).await?;
        rows.iter()
            .rev()
            .map(|row| {
                Ok(LogRow {
                    id: row.get(0)?,
                    cycle: CycleId(row.get(1)?),
                    at: row.time(2, "provisioning_log.at")?,
                    action: parse_column(row.get(3)?, "provisioning_log.action")?,
                    status: parse_column(row.get(4)?, "provisioning_log.status")?,
                    entra_id: parse_column(row.get(5)?, "provisioning_log.entra_id")?,
                    learner: self.layout.optional_learner_at(row, 6)?,
                    user_name: row.get(7)?,
                    reason: parse_column(row.get(8)?, "provisioning_log.reason")?,
                    detail: row.get(9)?,
                    changes: parse_json_column(row.json(10)?, "provisioning_log.changes")?,
                })
            })
            .collect()
    }
}
