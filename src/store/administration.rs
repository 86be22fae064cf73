//! Actions of an administrator. Each writes a row of `audit_log` in the same transaction.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::audit::write_audit;
use super::db::{Dialect, Statement};
use super::error::StoreError;
use super::handle::Store;
use super::read::HeldUser;
use super::state::{self, ADMITTED_SOURCES, Sources};
use crate::model::{Action, Reason};

impl Store {
    /// Approves the users of `shown` that are still held for the same action and reason. Returns their number.
    pub async fn approve(
        &self,
        source: &str,
        shown: &[HeldUser],
        actor: &str,
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut kinds: BTreeMap<(Action, Reason), Vec<String>> = BTreeMap::new();
        for HeldUser { entra_id, action, reason, .. } in shown {
            kinds.entry((*action, *reason)).or_default().push(entra_id.to_string());
        }
        self.write(async |connection| {
            let mut released = 0;
            for ((action, reason), users) in &kinds {
                for users in connection.list_chunks(users) {
                    let mut statement = Statement::new("UPDATE sync_held SET approved_at = ");
                    statement.push_bind(at).push(", approved_by = ").push_bind(actor);
                    statement.push(" WHERE source = ").push_bind(source);
                    // As one condition: PostgreSQL would expect two to leave a single row, and compare each of thousands
                    // with the whole list.
                    statement.push(" AND coalesce(action = ").push_bind(action.as_str());
                    statement.push(" AND reason = ").push_bind(reason.as_str()).push(", false) AND entra_id IN");
                    statement.push_list(users);
                    released += connection.execute(statement).await?;
                }
            }
            let users: Vec<&String> = kinds.values().flatten().collect();
            let detail = json!({ "source": source, "released": released, "users": users }).to_string();
            write_audit(connection, actor, "approve", Some(&detail), at).await?;
            Ok(released)
        })
        .await
    }

    /// Admits `source` to this database beside the sources that have links in it.
    pub async fn admit_source(&self, source: &str, actor: &str, at: Timestamp) -> Result<(), StoreError> {
        self.write(async |connection| {
            let admit = |admitted: &mut Sources| {
                admitted.insert(source.to_owned());
            };
            state::edit(connection, ADMITTED_SOURCES, admit).await?;
            let detail = json!({ "source": source }).to_string();
            write_audit(connection, actor, "approve", Some(&detail), at).await
        })
        .await
    }

    /// Pauses or resumes provisioning.
    pub async fn set_paused(&self, paused: bool, actor: &str, at: Timestamp) -> Result<(), StoreError> {
        self.write(async |connection| {
            connection.execute(Statement::new("UPDATE sync_state SET paused = $1").bind(paused)).await?;
            let action = if paused { "pause" } else { "resume" };
            write_audit(connection, actor, action, None, at).await
        })
        .await
    }

    /// Records an action of an administrator that no other row shows: a reload or a manual run.
    pub async fn audit(
        &self,
        actor: &str,
        action: &str,
        detail: Option<&str>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(async |connection| write_audit(connection, actor, action, detail, at).await).await
    }

    /// The encoding of the database, when it lacks characters that a name may have.
    pub async fn limited_encoding(&self) -> Option<String> {
        self.connection().await.limited_encoding().map(str::to_owned)
    }

    /// Checks the whole file; returns the first problem. A server is not checked.
    pub async fn first_damage(&self) -> Result<Option<String>, StoreError> {
        let mut connection = self.connection().await;
        if connection.dialect() == Dialect::Postgres {
            return Ok(None);
        }
        let found: String = connection.row(Statement::new("PRAGMA quick_check(1)")).await?.get(0)?;
        Ok((found != "ok").then_some(found))
    }
}
