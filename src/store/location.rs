//! Where a learner database is.

use std::fmt;
use std::path::PathBuf;

use super::db::PostgresServer;
use super::used_databases::UsedDatabases;
use crate::model::Table;

/// The SQLite file or the PostgreSQL server of a learner database.
#[derive(Clone, Debug)]
pub enum DatabaseLocation {
    /// An SQLite file.
    File(PathBuf),
    /// A PostgreSQL server.
    Server(PostgresServer),
}

impl fmt::Display for DatabaseLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Server(server) => write!(f, "{}", server.url),
        }
    }
}

/// A learner database: its location, and the table of the learners.
#[derive(Clone, Debug)]
pub struct LearnerDatabase {
    /// The location.
    pub place: DatabaseLocation,
    /// An external table. Without one the table is `learners`, which is created when missing.
    pub table: Option<Table>,
    /// Protects a file that has been in use; without it a missing file is created.
    pub used: Option<UsedDatabases>,
}

impl From<&Self> for LearnerDatabase {
    fn from(database: &Self) -> Self {
        database.clone()
    }
}
