//! Writing what a plan decided: learners, links, bookkeeping and the provisioning log.

mod apply;
mod bookkeeping;
mod decisions;
mod learner_rows;
mod links;
mod log;
mod verify;

use jiff::Timestamp;

use self::apply::ApplyError;
pub use self::apply::{Applied, Refused};
pub use self::bookkeeping::Bookkeeping;
use super::cycles::CycleId;
use super::db::{Connection, DbError, Statement};
use super::table::Layout;
use crate::model::Generation;

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
}

/// Renews the generation: a cache with another one compares all learners again.
pub(super) async fn renew_generation(connection: &mut Connection) -> Result<Generation, DbError> {
    let generation = Generation(rand::random());
    let statement = Statement::new("UPDATE sync_state SET generation = $1");
    connection.execute(statement.bind(generation.to_string())).await?;
    Ok(generation)
}

/// Deletes the rows of these users from `table`.
async fn delete_records(session: &mut WriteSession<'_>, table: &str, users: &[String]) -> Result<(), DbError> {
    for users in session.connection.list_chunks(users) {
        let mut statement = Statement::new(format!("DELETE FROM {table} WHERE source = "));
        statement.push_bind(session.context.source).push(" AND entra_id IN").push_list(users);
        session.connection.execute(statement).await?;
    }
    Ok(())
}
