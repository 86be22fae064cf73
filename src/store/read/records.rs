//! Records about users besides their learner rows: holds, failures and recent deactivations; and about groups and
//! sources.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::status::HeldUser;
use crate::model::{Action, Attribute, EntraId, Status};
use crate::plan::{FailingEntry, HeldEntry};
use crate::store::db::{Statement, parse_column};
use crate::store::error::StoreError;
use crate::store::handle::Store;

impl Store {
    /// The held users.
    pub async fn held(&self, source: &str) -> Result<BTreeMap<EntraId, HeldEntry>, StoreError> {
        let held = self.held_users(source).await?;
        Ok(held
            .into_iter()
            .map(|user| {
                let HeldUser { entra_id, action, reason, since, approved, learner: _, user_name: _ } = user;
                (entra_id, HeldEntry { action, reason, since, approved })
            })
            .collect())
    }

    /// The failing, skipped and waiting users.
    pub async fn failing(&self, source: &str) -> Result<BTreeMap<EntraId, FailingEntry>, StoreError> {
        let statement = Statement::new(
            "SELECT entra_id, reason, cause, drift_fingerprint, first_at FROM sync_failures WHERE source = $1",
        );
        self.query(statement.bind(source), |row| {
            let (cause, fingerprint): (Option<&str>, Option<&str>) = (row.get(2)?, row.get(3)?);
            let entry = FailingEntry {
                reason: parse_column(row.get(1)?, "sync_failures.reason")?,
                // An unknown value only starts a wait again, so it must not stop the cycle.
                cause: cause.and_then(|cause| cause.parse().ok()),
                drift_fingerprint: fingerprint.and_then(|fingerprint| fingerprint.parse().ok()),
                first_at: row.time(4, "sync_failures.first_at")?,
            };
            Ok((parse_column(row.get(0)?, "sync_failures.entra_id")?, entry))
        })
        .await
    }

    /// The users that this source deactivated at `since` or later without an approval, and that are still inactive.
    pub async fn recently_deactivated(&self, source: &str, since: Timestamp) -> Result<BTreeSet<EntraId>, StoreError> {
        let statement = Statement::new(format!(
            "SELECT DISTINCT l.entra_id{}
             JOIN provisioning_log p ON l.source = $1 AND l.entra_id = p.entra_id
             WHERE p.at >= $2 AND p.action = $3 AND p.status = $4 AND NOT {} AND p.approved_by IS NULL",
            self.layout.links_with_rows(),
            self.layout.active("r"),
        ))
        .bind(source)
        .bind(since)
        .bind(Action::Deactivate.as_str())
        .bind(Status::Success.as_str());
        self.query(statement, |row| Ok(parse_column(row.get(0)?, "sync_links.entra_id")?)).await
    }

    /// The last recorded number of members of each assigned group.
    pub async fn last_members(&self, source: &str) -> Result<BTreeMap<EntraId, u64>, StoreError> {
        let statement = Statement::new("SELECT group_id, last_members FROM sync_groups WHERE source = $1");
        self.query(statement.bind(source), |row| {
            Ok((parse_column(row.get(0)?, "sync_groups.group_id")?, row.get::<i64, _>(1)?.unsigned_abs()))
        })
        .await
    }

    /// The user whose learner has this user name.
    pub async fn linked_user(&self, source: &str, user_name: &str) -> Result<Option<EntraId>, StoreError> {
        let mut statement = Statement::new("SELECT l.entra_id");
        statement.push(self.layout.links_with_rows()).push(" WHERE l.source = ");
        let mut connection = self.connection().await;
        let column = format!("r.{}", self.layout.attribute(Attribute::UserName));
        statement.push_bind(source).push(" AND ").push(connection.folded(&column));
        statement.push(" = ").push_bind(user_name.to_ascii_lowercase());
        let row = connection.optional_row(statement).await?;
        row.map(|row| Ok(parse_column(row.get(0)?, "sync_links.entra_id")?)).transpose()
    }

    /// The other sources that have links, when `source` has none and was not admitted: the reason to refuse a cycle.
    pub async fn other_sources(&self, source: &str) -> Result<Vec<String>, StoreError> {
        if self.state().await?.admitted_sources.contains(source) {
            return Ok(Vec::new());
        }
        let sources = Statement::new("SELECT DISTINCT source FROM sync_links ORDER BY source");
        let sources: Vec<String> = self.query(sources, |row| Ok(row.get(0)?)).await?;
        Ok(if sources.iter().any(|known| known == source) { Vec::new() } else { sources })
    }
}
