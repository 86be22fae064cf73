//! Moving what belongs to one source to another: for an enterprise application that was created again.

use jiff::Timestamp;
use serde_json::json;

use super::audit::write_audit;
use super::db::{Connection, DbError, Statement, parse_column};
use super::error::StoreError;
use super::handle::Store;
use super::state::{self, ADMITTED_SOURCES, APPLICATIONS, Applications, Sources, TAKEN_OVER_SOURCES};
use super::write::renew_generation;
use crate::model::{EntraId, Outcome};

/// How many rows belong to a source, its cycles aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceRecords {
    /// Learners linked.
    pub links: u64,
    /// Users held.
    pub held: u64,
    /// Users failing, skipped or waiting.
    pub failures: u64,
    /// Groups whose number of members is known.
    pub groups: u64,
}

impl Store {
    /// Every source that has rows of any kind here.
    pub async fn sources(&self) -> Result<Vec<String>, StoreError> {
        let sources = Statement::new(
            "SELECT source FROM sync_links UNION SELECT source FROM sync_cycles UNION SELECT source FROM sync_held
             UNION SELECT source FROM sync_failures UNION SELECT source FROM sync_groups ORDER BY source",
        );
        self.query(sources, |row| Ok(row.foreign_text(0)?.unwrap_or_default().into_owned())).await
    }

    /// The records of `source`.
    pub async fn source_records(&self, source: &str) -> Result<SourceRecords, StoreError> {
        let statement = Statement::new(
            "SELECT (SELECT count(*) FROM sync_links WHERE source = $1),
                    (SELECT count(*) FROM sync_held WHERE source = $1),
                    (SELECT count(*) FROM sync_failures WHERE source = $1),
                    (SELECT count(*) FROM sync_groups WHERE source = $1)",
        );
        let row = self.connection().await.row(statement.bind(source)).await?;
        let count = |index: usize| row.get::<i64, _>(index).map(i64::unsigned_abs);
        Ok(SourceRecords { links: count(0)?, held: count(1)?, failures: count(2)?, groups: count(3)? })
    }

    /// The users that both sources link.
    pub async fn linked_by_both(&self, one: &str, other: &str) -> Result<Vec<EntraId>, StoreError> {
        let statement = Statement::new(
            "SELECT entra_id FROM sync_links WHERE source = $1
             INTERSECT SELECT entra_id FROM sync_links WHERE source = $2 ORDER BY entra_id",
        );
        let statement = statement.bind(one).bind(other);
        self.query(statement, |row| Ok(parse_column(row.get(0)?, "sync_links.entra_id")?)).await
    }

    /// Moves everything of `old` but its history to `new`, in one transaction with a new generation. The deactivations of
    /// the next complete cycle of `new` are held.
    ///
    /// # Errors
    /// When both link one user: the rows of `sync_links` are unique.
    pub async fn take_over(
        &self,
        old: &str,
        new: &str,
        records: SourceRecords,
        actor: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let SourceRecords { links, held, failures, groups } = records;
        self.write(async |connection| {
            for statement in MOVES {
                connection.execute(Statement::new(*statement).bind(old).bind(new)).await?;
            }
            // No cycle of `old` starts again that would close the row of a killed one.
            let close = Statement::new(
                "UPDATE sync_cycles SET finished_at = $1, outcome = $2 WHERE source = $3 AND finished_at IS NULL",
            );
            connection.execute(close.bind(at).bind(Outcome::Interrupted.as_str()).bind(old)).await?;
            forget_source(connection, old, new).await?;
            renew_generation(connection).await?;
            let detail = json!({
                "source": new, "from": old, "links": links, "held": held, "failures": failures, "groups": groups,
            });
            write_audit(connection, actor, "take-over", Some(&detail.to_string()), at).await
        })
        .await
    }
}

/// `$1` is the old source and `$2` the new one. What the old one knows about its learners replaces what the new one found
/// out without them.
const MOVES: &[&str] = &[
    "DELETE FROM sync_failures WHERE entra_id IN
         (SELECT entra_id FROM sync_links WHERE source = $1 UNION SELECT f.entra_id FROM sync_failures f WHERE f.source = $1)
     AND source = $2",
    "DELETE FROM sync_held WHERE entra_id IN
         (SELECT entra_id FROM sync_links WHERE source = $1 UNION SELECT h.entra_id FROM sync_held h WHERE h.source = $1)
     AND source = $2",
    // The larger number guards the group when it becomes empty.
    "UPDATE sync_groups SET last_members = o.last_members FROM sync_groups AS o
     WHERE o.source = $1 AND sync_groups.source = $2 AND o.group_id = sync_groups.group_id
       AND o.last_members > sync_groups.last_members",
    "DELETE FROM sync_groups WHERE source = $1 AND group_id IN (SELECT group_id FROM sync_groups WHERE source = $2)",
    "UPDATE sync_links SET source = $2 WHERE source = $1",
    "UPDATE sync_failures SET source = $2 WHERE source = $1",
    // An approval was given for the leavers of the old application.
    "UPDATE sync_held SET source = $2, approved_at = NULL, approved_by = NULL WHERE source = $1",
    "UPDATE sync_groups SET source = $2 WHERE source = $1",
];

/// Removes `old` from the state, and marks `new` for its first complete cycle.
async fn forget_source(connection: &mut Connection, old: &str, new: &str) -> Result<(), DbError> {
    let forget = |admitted: &mut Sources| {
        admitted.remove(old);
    };
    state::edit(connection, ADMITTED_SOURCES, forget).await?;
    let replace = |taken_over: &mut Sources| {
        taken_over.remove(old);
        taken_over.insert(new.to_owned());
    };
    state::edit(connection, TAKEN_OVER_SOURCES, replace).await?;
    let application = old.rsplit('/').next().unwrap_or(old);
    let forget = |applications: &mut Applications| {
        applications.retain(|configured, object_id| configured != application && object_id != application);
    };
    state::edit(connection, APPLICATIONS, forget).await
}
