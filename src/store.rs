//! The learner database: the only code that knows SQL.
//!
//! What is written was decided elsewhere: [`Store::apply`] carries out the changes of a plan, [`Store::note`]
//! writes down who was left alone and why. Each is one transaction, so a kill at any instant leaves either all of
//! it or nothing. The rest reads: what the planner needs, and what `status` and `log` show.
//!
//! SQLite so far. What only SQLite knows is in `sqlite` and in the table definitions of `schema`; the other
//! files keep to SQL that PostgreSQL reads as well, with placeholders written by sqlx's query builder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sqlx::SqliteConnection;
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use crate::model::{EntraId, Generation};

mod administration;
mod apply;
mod columns;
mod coupling;
mod cycles;
mod error;
mod known;
mod learners;
mod log;
mod note;
mod people;
mod report;
mod rows;
mod schema;
mod sql;
mod sqlite;
#[cfg(test)]
mod tests;

pub use apply::{Applied, Stamp};
pub use cycles::{CycleEnd, CycleId, CycleRow};
pub use error::StoreError;
pub use log::{LogFilter, LogRow};
pub use note::Notes;
pub use report::{FailingPerson, HeldPerson, LearnerCounts};

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
    // One connection: SQLite lets one write at a time anyway, and a database in memory lives in its connection.
    connection: Mutex<Line>,
    /// The file; none in memory.
    path: Option<PathBuf>,
}

#[derive(Debug)]
struct Line {
    connection: SqliteConnection,
    /// Whether a transaction was begun whose end nobody has seen.
    in_transaction: bool,
}

/// What the database says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
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

impl State {
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
    /// Refuses what [`Store::open`] would refuse at `path`, as far as that shows without writing anything; what is
    /// missing is no reason.
    pub async fn inspect(path: &Path, access: Access) -> Result<(), StoreError> {
        match access {
            Access::ReadWrite => sqlite::inspect_to_write(path).await,
            Access::ReadOnly => sqlite::inspect_to_read(path).await.map(drop),
        }
    }

    /// Opens the SQLite file at `path`.
    pub async fn open(path: &Path, access: Access) -> Result<Self, StoreError> {
        let connection = match access {
            Access::ReadWrite => sqlite::open_to_write(path).await?,
            Access::ReadOnly => sqlite::open_to_read(path).await?,
        };
        Ok(Self::holding(connection, Some(path)))
    }

    fn holding(connection: SqliteConnection, path: Option<&Path>) -> Self {
        Self { connection: Mutex::new(Line { connection, in_transaction: false }), path: path.map(Path::to_owned) }
    }

    /// A new, empty learner database that is gone when it is dropped.
    pub async fn in_memory() -> Result<Self, StoreError> {
        Ok(Self::holding(sqlite::open_in_memory().await?, None))
    }

    /// The file at `path` as the first cycle would find it: a copy in memory, with our tables, of the learners that
    /// the training platform keeps there. The file is only read.
    pub async fn copy_in_memory(path: &Path) -> Result<Self, StoreError> {
        let mut connection = sqlite::open_in_memory().await?;
        schema::copy_learners(&mut connection, path).await?;
        Ok(Self::holding(connection, None))
    }

    /// Closes the file, with everything in it: the last to close an SQLite file moves what its log has into it.
    pub async fn close(self) -> Result<(), StoreError> {
        Ok(sqlx::Connection::close(self.connection.into_inner().connection).await?)
    }

    /// What the database says about itself.
    pub async fn state(&self) -> Result<State, StoreError> {
        let (generation, paused, next_cycle_at, admitted_sources, applications, looked_at, ends_at) =
            sqlx::query_as::<_, (String, bool, Option<String>, String, String, Option<String>, Option<String>)>(
                "SELECT generation, paused, next_cycle_at, admitted_sources, applications, credential_looked_at,
                        credential_ends_at
                 FROM sync_state",
            )
            .fetch_one(&mut *self.connection().await)
            .await?;
        Ok(State {
            generation: generation.parse().map_err(|_| StoreError::Unreadable { column: "sync_state.generation" })?,
            paused,
            next_cycle_at: next_cycle_at.map(|text| sqlite::time(&text, "sync_state.next_cycle_at")).transpose()?,
            admitted_sources: from_json(&admitted_sources, "sync_state.admitted_sources")?,
            applications: from_json(&applications, "sync_state.applications")?,
            credential: match looked_at {
                None => None,
                Some(text) => Some(CredentialNote {
                    looked_at: sqlite::time(&text, "sync_state.credential_looked_at")?,
                    ends_at: ends_at.map(|text| sqlite::time(&text, "sync_state.credential_ends_at")).transpose()?,
                }),
            },
        })
    }

    async fn connection(&self) -> MappedMutexGuard<'_, SqliteConnection> {
        MutexGuard::map(self.line().await, |line| &mut line.connection)
    }

    async fn line(&self) -> MutexGuard<'_, Line> {
        let mut line = self.connection.lock().await;
        // Whoever was in a transaction was dropped on the way.
        if line.in_transaction {
            sqlite::roll_back(&mut line.connection).await;
            line.in_transaction = false;
        }
        line
    }

    /// Carries out `work` in one transaction: all of it, or nothing.
    async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.transact(sqlite::End::Commit, work).await
    }

    async fn transact<T>(
        &self,
        end: sqlite::End,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut line = self.line().await;
        line.in_transaction = true;
        let done = sqlite::in_a_transaction(&mut line.connection, end, work).await;
        line.in_transaction = false;
        done.map_err(|error| match &self.path {
            Some(path) => sqlite::about_the_disk(path, error),
            None => error,
        })
    }
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str, column: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Unreadable { column })
}
