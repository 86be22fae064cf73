//! One cycle at a time, on however many machines: a lock of the session that also writes.
//!
//! Whoever loses the connection loses the lock with it, and with the same connection can write no more. The server lets
//! go of it when the process is gone, so there are no stale locks.

use crate::model::LockHolder;
use crate::store::connection::Connection;
use crate::store::sql::Statement;
use crate::store::{Store, StoreError};

/// The lock is on the table of this very schema; the number keeps it apart from the locks of others.
const TAKE: &str = "SELECT pg_try_advisory_lock((1280530766::bigint << 32) | 'sync_state'::regclass::oid::bigint)";

const HOLDER: &str = "SELECT a.application_name::text FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.classid = 1280530766 AND l.objid = 'sync_state'::regclass";

impl Store {
    /// Takes the lock of cycles for as long as this store is open, at once or not at all; answers who has it instead.
    /// A file needs none: it has a lock beside it.
    pub async fn take_cycle_lock(&self, command: &str) -> Result<Option<LockHolder>, StoreError> {
        let mut connection = self.connection().await;
        match &*connection {
            Connection::Sqlite(_) => Ok(None),
            Connection::Postgres(_) => take_cycle_lock(&mut connection, command).await,
        }
    }

    /// Who has the lock of cycles, on whatever machine.
    pub async fn cycle_holder(&self) -> Result<Option<LockHolder>, StoreError> {
        let mut connection = self.connection().await;
        match &*connection {
            Connection::Sqlite(_) => Ok(None),
            Connection::Postgres(_) => holder(&mut connection).await,
        }
    }
}

/// The same for as long as the connection to a server lasts, whose tables are there.
pub(in crate::store) async fn take_cycle_lock(
    connection: &mut Connection,
    command: &str,
) -> Result<Option<LockHolder>, StoreError> {
    // Before it is taken, so that whoever finds it taken reads the right name.
    let name = format!("{command} (pid {}) on {}", std::process::id(), host());
    let statement = Statement::new("SELECT set_config('application_name', $1, false)").bind(name);
    connection.row(statement).await?;
    if connection.row(Statement::new(TAKE)).await?.get(0)? {
        return Ok(None);
    }
    let holder = holder(connection).await?;
    Ok(Some(holder.unwrap_or_else(LockHolder::unknown)))
}

async fn holder(connection: &mut Connection) -> Result<Option<LockHolder>, StoreError> {
    let Some(row) = connection.optional_row(Statement::new(HOLDER)).await? else { return Ok(None) };
    let command: Option<String> = row.get(0)?;
    let command = command.filter(|name| !name.is_empty()).unwrap_or_else(|| "another process".to_owned());
    Ok(Some(LockHolder { pid: None, command }))
}

/// The name of this machine.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
