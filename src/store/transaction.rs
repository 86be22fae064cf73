//! Transactions: all of some work, or nothing.
//!
//! Not by sqlx's transactions: after a full disk or an I/O error SQLite may have rolled back by itself, within a
//! statement or a commit. sqlx does not notice, goes on counting one transaction, and begins no other.

use std::time::Duration;

use super::StoreError;
use super::connection::Connection;
use super::sql::Statement;

/// How long a write waits for another process: longer than any batch of ours, shorter than a patient user.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a rehearsal waits: it is a convenience that must not queue up behind the daemon.
pub(super) const PATIENCE_OF_A_REHEARSAL: Duration = Duration::from_secs(2);

/// How a transaction ends in which all went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Commit,
    Undo,
}

/// Carries out `work` in one transaction, alone among all that write our tables.
pub(super) async fn in_a_transaction<T>(
    connection: &mut Connection,
    end: End,
    work: impl AsyncFnOnce(&mut Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    begin(connection).await?;
    end_of(connection, end, work).await
}

/// The same for work that makes the tables, which [`begin`] needs.
pub(super) async fn in_a_migration<T>(
    connection: &mut Connection,
    work: impl AsyncFnOnce(&mut Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    match connection {
        Connection::Sqlite(_) => connection.script("BEGIN IMMEDIATE").await?,
        Connection::Postgres(_) => connection.script("BEGIN").await?,
    }
    end_of(connection, End::Commit, work).await
}

async fn begin(connection: &mut Connection) -> Result<(), StoreError> {
    match connection {
        // It holds the write lock from its first statement on: one that starts by reading can find, when it comes to
        // write, that its snapshot is stale, and no waiting helps then.
        Connection::Sqlite(_) => connection.script("BEGIN IMMEDIATE").await?,
        // The row of the state stands for that lock: readers do not wait for it, and the platform has no use for it. What
        // the platform's table would check at the end is checked with each statement, so that it shows whose row it is.
        Connection::Postgres(_) => {
            let begin = "BEGIN; SET CONSTRAINTS ALL IMMEDIATE; SELECT 1 FROM sync_state FOR UPDATE";
            if let Err(error) = connection.script(begin).await {
                roll_back(connection).await;
                return Err(error.into());
            }
        }
    }
    Ok(())
}

/// Undoes what was done in this transaction, and begins another one in its place.
pub(super) async fn begin_anew(connection: &mut Connection) -> Result<(), StoreError> {
    roll_back(connection).await;
    begin(connection).await
}

async fn end_of<T>(
    connection: &mut Connection,
    end: End,
    work: impl AsyncFnOnce(&mut Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut done = work(connection).await;
    if done.is_ok()
        && end == End::Commit
        && let Err(error) = connection.script("COMMIT").await
    {
        done = Err(error.into());
    }
    if done.is_err() || end == End::Undo {
        roll_back(connection).await;
    }
    done
}

/// Ends a transaction with nothing changed, if there is one.
pub(super) async fn roll_back(connection: &mut Connection) {
    // It fails when SQLite has rolled back by itself, or the server is gone, which is as well.
    let _already_over = connection.script("ROLLBACK").await;
}

/// How long this connection waits for a lock from now on.
pub(super) async fn wait_for_locks(connection: &mut Connection, patience: Duration) -> Result<(), StoreError> {
    let milliseconds = patience.as_millis();
    let setting = match connection {
        Connection::Sqlite(_) => format!("PRAGMA busy_timeout = {milliseconds}"),
        Connection::Postgres(_) => format!("SET lock_timeout = {milliseconds}"),
    };
    connection.execute(Statement::new(setting)).await?;
    Ok(())
}
