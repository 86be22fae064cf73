//! One cycle at a time on all machines: an advisory lock of the session that also writes.
//!
//! A session that loses its connection loses the lock with it, and can write no more. The server releases the lock of a
//! dead process, so there are no stale locks.
//!
//! The lock is only the polite way to take turns: [`super::Fence`] keeps a cycle from writing after another one, also
//! where there is no lock. Behind a pooler in transaction mode no session lasts, so a lock taken there would be held by
//! nobody, and for as long as the pooler keeps its connection; a cycle there only respects the lock of another one.

use std::time::Duration;

use super::db::{Connection, DbError, Dialect, Statement};
use super::error::StoreError;
use super::handle::Store;
use crate::model::LockHolder;

/// The lock is on the table of this schema. The number separates it from the locks of other programs.
const TRY_LOCK: &str = "SELECT pg_try_advisory_lock((1280530766::bigint << 32) | 'sync_state'::regclass::oid::bigint)";

const HOLDER: &str = "SELECT a.application_name::text FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.classid = 1280530766 AND l.objid = 'sync_state'::regclass";

/// How often the session of a cycle shows that its process is alive, while the cycle does not use it.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);

/// How long the server keeps the session, and the cycle lock, of a process that shows no sign of life. Long, because the
/// process may compute for some time between two of them. Before PostgreSQL 14, there is no such limit.
const KEEP_SILENT_SESSION: &str = "SELECT set_config(name, '300000', false) FROM pg_settings
    WHERE name = 'idle_session_timeout'";

/// Ends the sessions that hold the lock for a daemon which has not been seen for longer than it may be silent. A session
/// that is younger belongs to a daemon that has just connected again. PostgreSQL shortens a long name.
const END_ABANDONED: &str = "SELECT d.host::text, d.pid, pg_terminate_backend(l.pid)
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    JOIN (SELECT left('learner-sync run (pid ' || pid || ') on ' || host, 63) AS name, max(host) AS host,
                 max(pid) AS pid, max(seen_at) AS seen_at, max(overdue_after_ms) AS overdue_after_ms
          FROM sync_daemons GROUP BY 1) d ON a.application_name = d.name
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.classid = 1280530766 AND l.objid = 'sync_state'::regclass
      AND greatest(d.seen_at, a.backend_start) < clock_timestamp() - d.overdue_after_ms * interval '1 millisecond'";

impl Store {
    /// Awaits `work`, which may leave the connection unused for long while it holds the lock. Without signs of life, the
    /// server ends the session, so that others get the lock.
    pub async fn with_signs_of_life<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            never = self.show_signs_of_life() => never,
        }
    }

    async fn show_signs_of_life<T>(&self) -> T {
        loop {
            tokio::time::sleep(SIGN_OF_LIFE).await;
            self.show_sign_of_life().await;
        }
    }

    async fn show_sign_of_life(&self) {
        // The work uses a locked connection at this moment.
        let Some(mut connection) = self.idle_connection() else { return };
        if connection.dialect() == Dialect::Postgres && !connection.shares_sessions() {
            // The next statement of the work meets the same error.
            let _ = connection.rows(Statement::new(KEEP_SILENT_SESSION)).await;
        }
    }

    /// Takes the cycle lock for as long as this store is open, without waiting; returns the holder if another process has
    /// it. A file does nothing here, because it has a lock file.
    pub async fn take_cycle_lock(&self, command: &str) -> Result<Option<LockHolder>, StoreError> {
        let mut connection = self.connection().await;
        match connection.dialect() {
            Dialect::Sqlite => Ok(None),
            Dialect::Postgres => {
                let holder = take_cycle_lock(&mut connection, command).await?;
                if holder.is_none() && !connection.shares_sessions() {
                    self.lock_command.get_or_init(|| command.to_owned());
                }
                Ok(holder)
            }
        }
    }

    /// Takes the cycle lock with another connection, if this store had it.
    pub(super) async fn take_cycle_lock_again(&self) -> Result<Option<LockHolder>, StoreError> {
        match self.lock_command.get() {
            Some(command) => self.take_cycle_lock(command).await,
            None => Ok(None),
        }
    }

    /// Takes the cycle lock from a daemon that is overdue: the process of a frozen machine keeps its session. Returns the
    /// host and the pid of each such daemon. Its next statement fails, and its transaction is rolled back.
    pub async fn release_abandoned_lock(&self) -> Result<Vec<(String, i64)>, StoreError> {
        if self.connection().await.dialect() == Dialect::Sqlite {
            return Ok(Vec::new());
        }
        let ended: Vec<(String, i64, bool)> =
            self.query(Statement::new(END_ABANDONED), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).await?;
        Ok(ended.into_iter().filter(|(_, _, ended)| *ended).map(|(host, pid, _)| (host, pid)).collect())
    }

    /// The holder of the cycle lock, on any machine.
    pub async fn cycle_holder(&self) -> Result<Option<LockHolder>, StoreError> {
        let mut connection = self.connection().await;
        match connection.dialect() {
            Dialect::Sqlite => Ok(None),
            Dialect::Postgres => Ok(holder(&mut connection).await?),
        }
    }
}

/// Like [`Store::take_cycle_lock`], on a server whose tables exist.
pub(crate) async fn take_cycle_lock(connection: &mut Connection, command: &str) -> Result<Option<LockHolder>, DbError> {
    if connection.shares_sessions() {
        return holder(connection).await;
    }
    // Set before the lock is taken, so that others read the right name.
    let name = format!("{command} (pid {}) on {}", std::process::id(), host_name());
    let statement = Statement::new("SELECT set_config('application_name', $1, false)").bind(name);
    connection.row(statement).await?;
    if connection.row(Statement::new(TRY_LOCK)).await?.get(0)? {
        connection.rows(Statement::new(KEEP_SILENT_SESSION)).await?;
        return Ok(None);
    }
    let holder = holder(connection).await?;
    Ok(Some(holder.unwrap_or_else(LockHolder::unknown)))
}

/// The name of this machine.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A duration as a statement takes it.
pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

async fn holder(connection: &mut Connection) -> Result<Option<LockHolder>, DbError> {
    let Some(row) = connection.optional_row(Statement::new(HOLDER)).await? else { return Ok(None) };
    let command: Option<String> = row.get(0)?;
    let command = command.filter(|name| !name.is_empty()).unwrap_or_else(|| "another process".to_owned());
    Ok(Some(LockHolder { pid: None, command }))
}
