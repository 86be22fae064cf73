//! An open learner database: one connection, with one transaction at a time.

use std::collections::BTreeMap;
use std::sync::{OnceLock, PoisonError};

use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use super::db::{Connection, DbError, Dialect, SqlRow, Statement, TransactionEnd, in_transaction, roll_back, sqlite};
use super::error::StoreError;
use super::location::LearnerDatabase;
use super::schema::WRITE_LOCK;
use super::table::{Key, Layout};
use crate::model::{RowSubject, UnreadableRow};

/// No time of the log is earlier. What a hand has written in place of a time often sorts before it, and may be recent.
pub(super) const EARLIEST: &str = "2020-01-01T00:00:00Z";
/// Nor is one as late as this, and the other junk sorts after it.
pub(super) const LATEST: &str = "2100-01-01T00:00:00Z";

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
    /// The rows that a read had to leave out, by repair: several reads may find the same row.
    unreadable: std::sync::Mutex<BTreeMap<String, UnreadableRow>>,
    /// Where to connect again; `None` in memory.
    origin: Option<LearnerDatabase>,
    /// Marks the cycles that begin with this handle, in `sync_cycles.writer_id`: 32 random hexadecimal digits.
    pub(super) writer_id: String,
    /// The command that has the cycle lock of the server.
    pub(super) lock_command: OnceLock<String>,
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
        let writer_id = format!("{:032x}", rand::random::<u128>());
        let unreadable = Default::default();
        Self { connection, layout, unreadable, origin: None, writer_id, lock_command: OnceLock::new() }
    }

    pub(super) fn with_origin(self, database: &LearnerDatabase) -> Self {
        Self { origin: Some(database.clone()), ..self }
    }

    pub(super) fn origin(&self) -> Option<&LearnerDatabase> {
        self.origin.as_ref()
    }

    /// Closes the connection without a word, and uses another one from now on.
    pub(super) async fn replace_connection(&self, connection: Connection) {
        *self.connection.lock().await = SharedConnection { connection, in_transaction: false };
    }

    /// Whether learner ids are texts, which may be names.
    pub fn has_text_ids(&self) -> bool {
        matches!(self.layout.key, Key::Text(_))
    }

    /// Whether the database is behind a pooler in transaction mode, where a session cannot hold the cycle lock.
    pub async fn shares_sessions(&self) -> bool {
        self.connection().await.shares_sessions()
    }

    /// Closes the connection. The last process to close an SQLite file moves its write-ahead log into it.
    pub async fn close(self) -> Result<(), StoreError> {
        Ok(self.connection.into_inner().connection.close().await?)
    }

    /// Prepares an SQLite file for batches that change so many learners. The order of names differs from the order of ids,
    /// so each batch of a first run touches most pages of an index, and a page that does not stay in the cache is written
    /// several times. The cache is allocated as needed; the plan of as many learners takes several times its space.
    ///
    /// Each checkpoint writes such pages to the file as well, so that fewer checkpoints are better. Both settings belong to
    /// this connection alone.
    pub async fn prepare_batches(&self, learners: u64) -> Result<(), StoreError> {
        let mut connection = self.connection().await;
        if connection.dialect() == Dialect::Sqlite {
            let kibibytes = (learners / 9).clamp(16 * 1024, 112 * 1024);
            let pages = (learners / 8).clamp(sqlite::CHECKPOINT_PAGES, 4 * sqlite::CHECKPOINT_PAGES);
            connection
                .script(&format!("PRAGMA cache_size = -{kibibytes}; PRAGMA wal_autocheckpoint = {pages}"))
                .await?;
        }
        Ok(())
    }

    pub(super) async fn connection(&self) -> MappedMutexGuard<'_, Connection> {
        MutexGuard::map(self.lock_connection().await, |shared| &mut shared.connection)
    }

    /// The connection, unless a statement or a transaction uses it or has left it unfinished.
    pub(super) fn idle_connection(&self) -> Option<MappedMutexGuard<'_, Connection>> {
        let shared = self.connection.try_lock().ok().filter(|shared| !shared.in_transaction)?;
        Some(MutexGuard::map(shared, |shared| &mut shared.connection))
    }

    async fn lock_connection(&self) -> MutexGuard<'_, SharedConnection> {
        let mut shared = self.connection.lock().await;
        if shared.in_transaction {
            roll_back(&mut shared.connection).await;
            shared.in_transaction = false;
        }
        shared.connection.end_dropped().await;
        shared
    }

    /// The rows that reads had to leave out since the database was opened.
    pub fn unreadable_rows(&self) -> Vec<UnreadableRow> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn add_unreadable(&self, row: UnreadableRow) {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).entry(row.repair.clone()).or_insert(row);
    }

    /// Takes the unreadable rows that the next cycle can do without.
    pub(super) fn take_disposable(&self) -> Vec<UnreadableRow> {
        let mut rows = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        rows.extract_if(.., |_, row| row.subject == RowSubject::Failure).map(|(_, row)| row).collect()
    }

    /// The rows that `statement` returns, each as `read` converts it. A row that cannot be read is left out and
    /// reported as `unreadable` makes it of its unreadable column.
    pub(super) async fn query_readable<T, C: FromIterator<T>>(
        &self,
        statement: Statement<'_>,
        read: impl Fn(&SqlRow) -> Result<T, DbError>,
        unreadable: impl Fn(&SqlRow, &'static str) -> UnreadableRow,
    ) -> Result<C, StoreError> {
        let rows = self.connection().await.rows(statement).await?;
        rows.iter()
            .filter_map(|row| match read(row) {
                Ok(read) => Some(Ok(read)),
                Err(DbError::Unreadable { column }) => {
                    self.add_unreadable(unreadable(row, column));
                    None
                }
                Err(error) => Some(Err(error.into())),
            })
            .collect()
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

    /// Like [`Self::write`], but on PostgreSQL the transaction begins with the statement `lock`, so that it does not wait
    /// for a batch of another process.
    pub(super) async fn write_under<T>(
        &self,
        lock: &str,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.transact_under(lock, TransactionEnd::Commit, work).await
    }

    pub(super) async fn transact<T>(
        &self,
        end: TransactionEnd,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.transact_under(WRITE_LOCK, end, work).await
    }

    async fn transact_under<T>(
        &self,
        lock: &str,
        end: TransactionEnd,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut shared = self.lock_connection().await;
        shared.in_transaction = true;
        let result = in_transaction(&mut shared.connection, Some(lock), end, work).await;
        shared.in_transaction = false;
        if let Err(StoreError::Database(DbError::Full { .. })) = &result
            && let Some(table) = exhausted_table(&mut shared.connection).await
        {
            return Err(StoreError::IdsExhausted { table });
        }
        result
    }
}

/// The first table whose last id is the highest possible one. SQLite reports a full disk for it.
async fn exhausted_table(connection: &mut Connection) -> Option<String> {
    if connection.dialect() != Dialect::Sqlite {
        return None;
    }
    let statement = Statement::new(
        "SELECT name FROM (
             SELECT name, seq AS last FROM sqlite_sequence
             UNION ALL SELECT 'sync_cycles', max(id) FROM sync_cycles
             UNION ALL SELECT 'provisioning_log', max(id) FROM provisioning_log
             UNION ALL SELECT 'audit_log', max(id) FROM audit_log
         ) WHERE last = $1",
    )
    .bind(i64::MAX);
    connection.optional_row(statement).await.ok()??.get(0).ok()
}
