//! The learner database: the only code that knows SQL.
//!
//! What is written was decided elsewhere: [`Store::apply`] carries out the changes of a plan, [`Store::note`]
//! writes down who was left alone and why. Each is one transaction, so a kill at any instant leaves either all of
//! it or nothing. The rest reads: what the planner needs, and what `status` and `log` show.
//!
//! It is an SQLite file or a database on a PostgreSQL server. Both read the same SQL, and `connection` is the seam
//! between them: it runs a statement and hands over rows. What only one of them knows is in `sqlite` and `postgres`
//! (how it is reached, what its errors mean), in `schema` (the tables), `value` and `transaction`. What the learners table and its columns are called is in `layout`; `table`
//! compares one that somebody else made with the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use crate::model::{EntraId, Generation, Table};

mod administration;
mod apply;
mod bookkeeping;
mod columns;
mod connection;
mod copy;
mod cycles;
mod error;
mod known;
mod layout;
mod learners;
mod log;
mod postgres;
mod report;
mod rows;
mod schema;
mod sql;
mod sqlite;
mod stored;
mod table;
#[cfg(test)]
mod tests;
mod transaction;
mod users;
mod value;

pub use apply::{Applied, WriteContext};
pub use bookkeeping::Bookkeeping;
pub use cycles::{CycleEnd, CycleId, CycleRow};
pub use error::StoreError;
pub use log::{LogFilter, LogRow};
pub use postgres::Server;
pub use report::{FailingUser, HeldUser, LearnerCounts};
pub use schema::Made;
pub use table::TableFault;

use self::connection::Connection;
use self::layout::Layout;
use self::sql::Statement;
use self::transaction::{End, in_a_transaction, roll_back};

/// Where a learner database is.
#[derive(Clone, Debug)]
pub enum DatabaseLocation {
    /// An SQLite file.
    File(PathBuf),
    /// A PostgreSQL server.
    Server(Server),
}

/// The learners: in which database, and in which table there.
#[derive(Clone, Debug)]
pub struct LearnerDatabase {
    /// The database.
    pub place: DatabaseLocation,
    /// A table that somebody else made. Without one `learners` is ours, and made when missing.
    pub table: Option<Table>,
}

impl<P: AsRef<Path> + ?Sized> From<&P> for LearnerDatabase {
    fn from(path: &P) -> Self {
        Self { place: DatabaseLocation::File(path.as_ref().to_owned()), table: None }
    }
}

impl From<DatabaseLocation> for LearnerDatabase {
    fn from(place: DatabaseLocation) -> Self {
        Self { place, table: None }
    }
}

impl From<&DatabaseLocation> for LearnerDatabase {
    fn from(place: &DatabaseLocation) -> Self {
        place.clone().into()
    }
}

impl From<&Self> for LearnerDatabase {
    fn from(learners: &Self) -> Self {
        learners.clone()
    }
}

/// How a learner database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To write: the file, its directory and the tables are made when they are missing.
    ReadWrite,
    /// To look: nothing is created or migrated, and SQLite itself refuses to write.
    ReadOnly,
}

/// An open learner database.
///
/// Open it for a cycle or a command, not for the life of the daemon: when an administrator puts a backup in the
/// file's place, an open connection goes on writing to the file that is gone.
#[derive(Debug)]
pub struct Store {
    // One connection: SQLite lets one write at a time anyway, and a database in memory lives in its connection. On a
    // server it is the one that holds the lock of the cycle, so that nothing is ever written without it.
    connection: Mutex<Line>,
    layout: Layout,
    /// The table, when it is somebody else's.
    table: Option<Table>,
    /// The file; none in memory.
    path: Option<PathBuf>,
}

#[derive(Debug)]
struct Line {
    connection: Connection,
    /// Whether a transaction was begun whose end nobody has seen.
    in_transaction: bool,
}

/// What the database says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseState {
    /// Renewed by every transaction that writes learners.
    pub generation: Generation,
    /// Whether an administrator switched provisioning off.
    pub paused: bool,
    /// When the daemon means to run again.
    pub next_cycle_at: Option<Timestamp>,
    /// The sources that may keep this database beside another one.
    pub admitted_sources: BTreeSet<String>,
    /// The object id of the enterprise application, by the id that was configured.
    pub applications: BTreeMap<String, String>,
    /// When the credential ends, as far as a cycle has looked.
    pub credential: Option<CredentialNote>,
}

/// What a cycle has found out about the credential that it signs in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialNote {
    /// When it looked.
    pub looked_at: Timestamp,
    /// When the credential ends; none when that cannot be told.
    pub ends_at: Option<Timestamp>,
}

impl DatabaseState {
    /// The source of the application that is configured as `application`, as far as it is known without asking
    /// Graph: its object id when a cycle has looked it up, else the id as it is.
    pub fn source(&self, tenant: &str, application: EntraId) -> String {
        let configured = application.to_string();
        let object_id = self.applications.get(&configured).unwrap_or(&configured);
        format!("{tenant}/{object_id}")
    }

    /// Every source that this may turn out to be, by the ids under which its application was configured.
    pub fn spellings(&self, tenant: &str, application: EntraId) -> BTreeSet<String> {
        let configured = application.to_string();
        let object_id = self.applications.get(&configured).unwrap_or(&configured);
        let others = self.applications.iter().filter(|(_, known)| *known == object_id).map(|(other, _)| other);
        others.chain([object_id, &configured]).map(|application| format!("{tenant}/{application}")).collect()
    }
}

impl Store {
    /// Refuses what [`Store::open`] would refuse of a file, as far as that shows without writing anything; what is
    /// missing is no reason.
    pub async fn inspect(path: &Path, table: Option<&Table>, access: Access) -> Result<(), StoreError> {
        match access {
            Access::ReadWrite => sqlite::inspect_to_write(path, table).await,
            Access::ReadOnly => sqlite::inspect_to_read(path, table).await.map(drop),
        }
    }

    /// Opens the database of `learners`.
    pub async fn open(learners: impl Into<LearnerDatabase>, access: Access) -> Result<Self, StoreError> {
        let LearnerDatabase { place, table } = learners.into();
        let external = table.as_ref();
        let (connection, layout) = match (&place, access) {
            (DatabaseLocation::File(path), Access::ReadWrite) => sqlite::open_to_write(path, external).await?,
            (DatabaseLocation::File(path), Access::ReadOnly) => sqlite::open_to_read(path, external).await?,
            (DatabaseLocation::Server(server), Access::ReadWrite) => postgres::open_to_write(server, external).await?,
            (DatabaseLocation::Server(server), Access::ReadOnly) => postgres::open_to_read(server, external).await?,
        };
        let path = match place {
            DatabaseLocation::File(path) => Some(path),
            DatabaseLocation::Server(_) => None,
        };
        let connection = Mutex::new(Line { connection, in_transaction: false });
        Ok(Self { connection, layout, table, path })
    }

    fn in_memory_with(connection: Connection, layout: Layout) -> Self {
        let connection = Mutex::new(Line { connection, in_transaction: false });
        Self { connection, layout, table: None, path: None }
    }

    /// A new, empty learner database that is gone when it is dropped.
    pub async fn in_memory() -> Result<Self, StoreError> {
        let layout = Layout::of_design();
        Ok(Self::in_memory_with(sqlite::open_in_memory(&layout).await?, layout))
    }

    /// The database of `learners` as the first cycle would find it: a copy in memory, with our tables, of those that the
    /// training platform keeps there. The place is only read.
    pub async fn copy_in_memory(learners: impl Into<LearnerDatabase>) -> Result<Self, StoreError> {
        let LearnerDatabase { place, table } = learners.into();
        let (connection, layout) = match place {
            DatabaseLocation::File(path) => copy::of_file(&path, table.as_ref()).await?,
            DatabaseLocation::Server(server) => copy::of_server(&server, table.as_ref()).await?,
        };
        Ok(Self::in_memory_with(connection, layout))
    }

    /// Closes the file, with everything in it: the last to close an SQLite file moves what its log has into it.
    pub async fn close(self) -> Result<(), StoreError> {
        Ok(self.connection.into_inner().connection.close().await?)
    }

    /// What the database says about itself.
    pub async fn state(&self) -> Result<DatabaseState, StoreError> {
        let statement = Statement::new(
            "SELECT generation, paused, next_cycle_at, admitted_sources, applications, credential_looked_at,
                    credential_ends_at
             FROM sync_state",
        );
        let row = self.connection().await.row(statement).await?;
        let looked_at = row.optional_time(5, "sync_state.credential_looked_at")?;
        let ends_at = row.optional_time(6, "sync_state.credential_ends_at")?;
        Ok(DatabaseState {
            generation: word(row.get(0)?, "sync_state.generation")?,
            paused: row.get(1)?,
            next_cycle_at: row.optional_time(2, "sync_state.next_cycle_at")?,
            admitted_sources: from_json(row.get(3)?, "sync_state.admitted_sources")?,
            applications: from_json(row.get(4)?, "sync_state.applications")?,
            credential: looked_at.map(|looked_at| CredentialNote { looked_at, ends_at }),
        })
    }

    async fn connection(&self) -> MappedMutexGuard<'_, Connection> {
        MutexGuard::map(self.line().await, |line| &mut line.connection)
    }

    async fn line(&self) -> MutexGuard<'_, Line> {
        let mut line = self.connection.lock().await;
        // Whoever was in a transaction was dropped on the way.
        if line.in_transaction {
            roll_back(&mut line.connection).await;
            line.in_transaction = false;
        }
        line
    }

    /// Carries out `work` in one transaction: all of it, or nothing.
    async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.transact(End::Commit, work).await
    }

    async fn transact<T>(
        &self,
        end: End,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut line = self.line().await;
        line.in_transaction = true;
        let done = in_a_transaction(&mut line.connection, end, work).await;
        line.in_transaction = false;
        done.map_err(|error| match (&self.path, &line.connection) {
            (Some(path), _) => sqlite::about_the_disk(path, error),
            (None, Connection::Postgres(session)) => postgres::about_the_disk(&session.name, error),
            (None, Connection::Sqlite(_)) => error,
        })
    }
}

/// The word, or the id, that `text` says.
fn word<T: std::str::FromStr>(text: &str, column: &'static str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Unreadable { column })
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str, column: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Unreadable { column })
}
