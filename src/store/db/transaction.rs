//! Transactions: all of the work, or nothing.
//!
//! Not sqlx's transactions: after a full disk or an I/O error SQLite may roll back by itself, within a statement or a
//! commit. sqlx does not notice, counts one transaction more than there is, and begins no other.

use std::time::Duration;

use super::connection::Connection;
use super::error::DbError;
use super::statement::Statement;

/// How long a write waits for another process: longer than any batch takes, shorter than a user is patient.
pub(crate) const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// How a transaction ends whose work succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransactionEnd {
    Commit,
    RollBack,
}

/// Runs `work` in one transaction. On PostgreSQL the transaction begins with the statement `lock`, which excludes other
/// writers; SQLite has one writer at a time.
pub(crate) async fn in_transaction<T, E: From<DbError>>(
    connection: &mut Connection,
    lock: Option<&str>,
    end: TransactionEnd,
    work: impl AsyncFnOnce(&mut Connection) -> Result<T, E>,
) -> Result<T, E> {
    begin(connection, lock).await?;
    let mut result = work(connection).await;
    if result.is_ok()
        && end == TransactionEnd::Commit
        && let Err(error) = commit(connection).await
    {
        result = Err(error.into());
    }
    if result.is_err() || end == TransactionEnd::RollBack {
        roll_back(connection).await;
    }
    result
}

/// Begins a transaction, like [`in_transaction`].
pub(crate) async fn begin(connection: &mut Connection, lock: Option<&str>) -> Result<(), DbError> {
    match connection {
        // IMMEDIATE takes the write lock with the first statement. A transaction that begins with a read may find its
        // snapshot stale when it writes, and waiting does not help then.
        Connection::Sqlite(_) => connection.script("BEGIN IMMEDIATE").await,
        // Immediate constraints name the row that violates them; deferred ones fail at COMMIT.
        Connection::Postgres(_) => {
            let mut begin = connection.begin_explicitly();
            if let Some(lock) = lock {
                begin = format!("{begin}; SET CONSTRAINTS ALL IMMEDIATE; {lock}");
            }
            let begun = connection.script(&begin).await;
            if begun.is_err() {
                roll_back(connection).await;
            }
            begun
        }
    }
}

async fn commit(connection: &mut Connection) -> Result<(), DbError> {
    connection.script("COMMIT").await?;
    connection.transaction_ended();
    Ok(())
}

/// Rolls back the transaction, if there is one.
pub(crate) async fn roll_back(connection: &mut Connection) {
    // Fails when SQLite has rolled back by itself or the server is gone; then there is nothing to roll back.
    let _already_over = connection.script("ROLLBACK").await;
    connection.transaction_ended();
}

/// Sets how long this connection waits for a lock.
pub(crate) async fn set_lock_timeout(connection: &mut Connection, timeout: Duration) -> Result<(), DbError> {
    if connection.keep_lock_timeout(timeout) {
        return Ok(());
    }
    let milliseconds = timeout.as_millis();
    let setting = match connection {
        Connection::Sqlite(_) => format!("PRAGMA busy_timeout = {milliseconds}"),
        Connection::Postgres(_) => format!("SET lock_timeout = {milliseconds}"),
    };
    connection.execute(Statement::new(setting)).await?;
    Ok(())
}
