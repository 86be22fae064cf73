//! Fencing: a cycle writes only to the state of the database that it was planned for, whatever locks there are.
//!
//! Each transaction of a cycle holds the row of `sync_state` from its first statement to its end: PostgreSQL locks the
//! row, and SQLite has one writer. A transaction therefore finds the same generation and the same pause whenever it looks.

use crate::model::Generation;
use crate::store::db::{Connection, DbError, SqlRow, Statement};
use crate::store::error::StoreError;

/// The state of the database that a transaction of a cycle requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The generation that the cycle has read, or that its last transaction has made.
    pub generation: Generation,
    /// Whether the cycle also writes learners while provisioning is paused.
    pub force: bool,
}

impl Fence {
    /// Requires the generation. The transaction may then write bookkeeping, also while provisioning is paused: what is
    /// recorded about committed changes must not be lost.
    pub(super) async fn require_generation(self, connection: &mut Connection) -> Result<(), StoreError> {
        if self.is_paused(connection).await?.is_some() { Ok(()) } else { Err(StoreError::WrittenByOther) }
    }

    /// Requires the generation and no pause. Rows that another process wrote would make refusals that mean nothing, so
    /// this comes before the first learner is written.
    pub(super) async fn require(self, connection: &mut Connection) -> Result<(), StoreError> {
        match self.is_paused(connection).await? {
            Some(false) => Ok(()),
            Some(true) if self.force => Ok(()),
            Some(true) => Err(StoreError::Paused),
            None => Err(StoreError::WrittenByOther),
        }
    }

    /// Renews the generation if all that is required still holds.
    pub(super) async fn renew(self, connection: &mut Connection) -> Result<Generation, StoreError> {
        let renewed = Generation(rand::random());
        let statement = match self.force {
            false => "UPDATE sync_state SET generation = $1 WHERE generation = $2 AND NOT paused",
            true => "UPDATE sync_state SET generation = $1 WHERE generation = $2",
        };
        let statement = Statement::new(statement).bind(renewed.to_string()).bind(self.generation.to_string());
        if connection.execute(statement).await? == 1 {
            return Ok(renewed);
        }
        // Says which of the two it is; without an answer another program prevents the update.
        self.require(connection).await?;
        Err(StoreError::WrittenByOther)
    }

    /// Whether provisioning is paused; `None` in another generation.
    async fn is_paused(self, connection: &mut Connection) -> Result<Option<bool>, DbError> {
        let statement = Statement::new("SELECT paused FROM sync_state WHERE generation = $1");
        let row = connection.optional_row(statement.bind(self.generation.to_string())).await?;
        let paused = |row: SqlRow| row.get(0);
        row.map(paused).transpose().map_err(|_| DbError::Unreadable { column: "sync_state.paused" })
    }
}
