//! An open learner database: one connection, with one transaction at a time.

use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use super::db::{Connection, SqlRow, Statement, TransactionEnd, in_transaction, roll_back};
use super::error::StoreError;
use super::schema::WRITE_LOCK;
use super::table::Layout;

/// An open learner database.
///
/// Open it for a cycle or a command, not for the life of the daemon: when an administrator restores a backup, an open
/// connection continues to write to the replaced file.
#[derive(Debug)]
pub struct Store {
    // One connection: SQLite has one writer at a time, and a database in memory exists only in its connection. On a server
    // this connection holds the cycle lock, so nothing is written without the lock.
    connection: Mutex<SharedConnection>,
    pub(super) layout: Layout,
}

#[derive(Debug)]
struct SharedConnection {
    connection: Connection,
    /// Whether a transaction is open. It stays true when the future that runs the transaction is dropped.
    in_transaction: bool,
}

impl Store {
    pub(super) fn new(connection: Connection, layout: Layout) -> Self {
        let connection = Mutex::new(SharedConnection { connection, in_transaction: false });
        Self { connection, layout }
    }

    /// Closes the connection. The last process to close an SQLite file moves its write-ahead log into it.
    pub async fn close(self) -> Result<(), StoreError> {
        Ok(self.connection.into_inner().connection.close().await?)
    }

    pub(super) async fn connection(&self) -> MappedMutexGuard<'_, Connection> {
        MutexGuard::map(self.lock_connection().await, |shared| &mut shared.connection)
    }

    async fn lock_connection(&self) -> MutexGuard<'_, SharedConnection> {
        let mut shared = self.connection.lock().await;
        if shared.in_transaction {
            roll_back(&mut shared.connection).await;
            shared.in_transaction = false;
        }
        shared
    }

    /// The rows that `statement` returns, each as `read` converts it.
    pub(super) async fn query<T, C: FromIterator<T>>(
        &self,
        statement: Statement<'_>,
        read: impl Fn(&SqlRow) -> Result<T, StoreError>,
    ) -> Result<C, StoreError> {
        let rows = self.connection().await.rows(statement).await?;
        rows.iter().map(read).collect()
    }

    /// Runs `work` in one transaction: all of it, or nothing.
    pub(super) async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.transact(TransactionEnd::Commit, work).await
    }

    pub(super) async fn transact<T>(
        &self,
        end: TransactionEnd,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut shared = self.lock_connection().await;
        shared.in_transaction = true;
        let result = in_transaction(&mut shared.connection, Some(WRITE_LOCK), end, work).await;
        shared.in_transaction = false;
        result
    }
}
