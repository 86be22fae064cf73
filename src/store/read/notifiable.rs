//! The records that cause messages to administrators: numbers, and the first few users.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::{AffectedUsers, Attribute, NotifiableRecords, NotifiedUser, Reason, foreign_text};
use crate::store::db::{SqlRow, Statement};
use crate::store::error::StoreError;
use crate::store::handle::Store;

/// How many users a message lists.
const LISTED: u32 = 5;

impl Store {
    /// The records of `source`; a user counts as failing if it has failed since `failing_before` or longer. A row that
    /// cannot be read is left out: `status` reports it.
    pub async fn notifiable_records(
        &self,
        source: &str,
        failing_before: Timestamp,
    ) -> Result<NotifiableRecords, StoreError> {
        let mut held = BTreeMap::new();
        let statement = Statement::new(
            "SELECT action, reason, count(*), min(since), max(since) FROM sync_held
             WHERE source = $1 AND approved_at IS NULL GROUP BY action, reason",
        );
        let groups = self.connection().await.rows(statement.bind(source)).await?;
        for row in &groups {
            let kind =
                row.parsed(0, "sync_held.action").and_then(|action| Ok((action, row.parsed(1, "sync_held.reason")?)));
            if let (Ok((action, reason)), Some(users)) = (kind, affected(row, 2)) {
                let first = self.first_held(source, row).await?;
                held.insert((action, reason), AffectedUsers { first, ..users });
            }
        }
        Ok(NotifiableRecords {
            held,
            failing: self.long_failing(source, failing_before).await?,
            credential_ends_at: self.state().await?.credential.and_then(|check| check.ends_at),
        })
    }

    /// The first held users with the action and reason of `group`.
    async fn first_held(&self, source: &str, group: &SqlRow) -> Result<Vec<NotifiedUser>, StoreError> {
        let layout = &self.layout;
        let statement = Statement::new(format!(
            "SELECT h.entra_id, r.{} FROM (SELECT source, entra_id FROM sync_held
                 WHERE source = $1 AND action = $2 AND reason = $3 AND approved_at IS NULL
                 ORDER BY entra_id LIMIT {LISTED}) h
             LEFT JOIN sync_links l ON l.source = h.source AND l.entra_id = h.entra_id
             LEFT JOIN {} r ON r.{} = l.learner_id AND {} ORDER BY h.entra_id",
            layout.attribute(Attribute::UserName),
            layout.table,
            layout.id(),
            layout.within("r"),
        ));
        let statement = statement.bind(source).bind(group.text(0, "sync_held.action")?.to_owned());
        self.users(statement.bind(group.text(1, "sync_held.reason")?.to_owned())).await
    }

    async fn long_failing(&self, source: &str, before: Timestamp) -> Result<Option<AffectedUsers>, StoreError> {
        let failures = Reason::FAILURES.map(Reason::as_str).join("', '");
        let those = format!("source = $1 AND reason IN ('{failures}') AND first_at <= $2");
        let statement =
            Statement::new(format!("SELECT count(*), min(first_at), max(first_at) FROM sync_failures WHERE {those}"));
        let row = self.connection().await.row(statement.bind(source).bind(before)).await?;
        let Some(users) = affected(&row, 0).filter(|users| users.count > 0) else { return Ok(None) };
        let layout = &self.layout;
        let statement = Statement::new(format!(
            "SELECT f.entra_id, coalesce(r.{}, (SELECT p.user_name FROM provisioning_log p
                                                WHERE p.entra_id = f.entra_id AND p.user_name IS NOT NULL
                                                ORDER BY p.id DESC LIMIT 1))
             FROM (SELECT source, entra_id FROM sync_failures WHERE {those} ORDER BY entra_id LIMIT {LISTED}) f
             LEFT JOIN sync_links l ON l.source = f.source AND l.entra_id = f.entra_id
             LEFT JOIN {} r ON r.{} = l.learner_id AND {} ORDER BY f.entra_id",
            layout.attribute(Attribute::UserName),
            layout.table,
            layout.id(),
            layout.within("r"),
        ));
        let first = self.users(statement.bind(source).bind(before)).await?;
        Ok(Some(AffectedUsers { first, ..users }))
    }

    /// The users that `statement` returns with their names. A chat refuses a message with a very long one.
    async fn users(&self, statement: Statement<'_>) -> Result<Vec<NotifiedUser>, StoreError> {
        let rows = self.connection().await.rows(statement).await?;
        let user = |row: &SqlRow| {
            let id = row.parsed(0, "entra_id").ok()?;
            Some(NotifiedUser { id, name: row.foreign_text(1).ok()?.map(|name| foreign_text(&name)) })
        };
        Ok(rows.iter().filter_map(user).collect())
    }
}

/// A number of users and their times, from the column `index` on.
fn affected(row: &SqlRow, index: usize) -> Option<AffectedUsers> {
    let time = |index| row.time(index, "since").ok();
    Some(AffectedUsers {
        count: row.count(index, "count").ok()?,
        since: time(index + 1)?,
        latest: time(index + 2)?,
        first: Vec::new(),
    })
}
