//! Writing what a plan decided: learners, links, bookkeeping and the provisioning log.

mod apply;
mod bookkeeping;
mod decisions;
mod fence;
mod learner_rows;
mod links;
mod log;
mod verify;

use jiff::Timestamp;

use self::apply::ApplyError;
pub use self::apply::{Applied, Refused};
pub use self::bookkeeping::Bookkeeping;
pub use self::fence::Fence;
use super::cycles::CycleId;
use super::db::{Connection, DbError, Dialect, Statement};
use super::error::StoreError;
use super::table::Layout;
use crate::model::{EntraId, Generation};

/// The cycle, source and time of a write.
#[derive(Clone, Copy, Debug)]
pub struct WriteContext<'s> {
    /// The cycle.
    pub cycle: CycleId,
    /// Tenant and enterprise application.
    pub source: &'s str,
    /// The time to record.
    pub at: Timestamp,
}

/// An open transaction, with the layout of the table and the context of the write.
struct WriteSession<'w> {
    connection: &'w mut Connection,
    layout: &'w Layout,
    context: &'w WriteContext<'w>,
    /// `None` for a rehearsal, which writes nothing.
    fence: Option<Fence>,
}

impl WriteSession<'_> {
    async fn require_fence(&mut self) -> Result<(), StoreError> {
        match self.fence {
            Some(fence) => fence.require(self.connection).await,
            None => Ok(()),
        }
    }
}

/// Renews the generation in any state of the database: a cache with another one compares all learners again, and a
/// running cycle starts over.
pub(super) async fn renew_generation(connection: &mut Connection) -> Result<Generation, DbError> {
    let generation = Generation(rand::random());
    let statement = Statement::new("UPDATE sync_state SET generation = $1");
    connection.execute(statement.bind(generation.to_string())).await?;
    Ok(generation)
}

/// How a statement begins that inserts many rows, and whose failure rolls back more than itself.
///
/// SQLite keeps a copy of each page that such a statement changes, to undo it alone; not with OR FAIL. But a trigger would
/// get that clause in place of its own, and so would the columns of a table, which therefore must be `plain`.
fn insert_verb(connection: &Connection, plain: bool) -> &'static str {
    if plain && connection.dialect() == Dialect::Sqlite { "INSERT OR FAIL" } else { "INSERT" }
}

/// Deletes the rows of these users from `table`.
async fn delete_records(session: &mut WriteSession<'_>, table: &str, users: &[EntraId]) -> Result<(), DbError> {
    let WriteSession { connection, context: WriteContext { source, .. }, .. } = session;
    // Most cycles have none, and a first load has many users.
    let any = Statement::new(format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE source = $1)")).bind(*source);
    if users.is_empty() || !connection.row(any).await?.get::<bool, _>(0)? {
        return Ok(());
    }
    for users in connection.list_chunks(users) {
        let mut statement = Statement::new(format!("DELETE FROM {table} WHERE source = "));
        statement.push_bind(*source).push(" AND entra_id IN").push_list(users);
        connection.execute(statement).await?;
    }
    Ok(())
}
