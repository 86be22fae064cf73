//! What can go wrong with the learner database, one variant for each thing a caller does differently.

use std::path::PathBuf;

/// The learner database cannot be used, or something went wrong with it as a whole.
///
/// A row that it refuses is no error but a result: see [`super::Applied`].
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A matter of paths and permissions: the configuration is wrong, not the database.
    #[error("cannot open the learner database {}", path.display())]
    CannotOpen {
        /// The file, or the directory that could not be made.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Opened to read, and there is no file yet.
    #[error("there is no learner database at {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{} is not an SQLite database", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// A database with tables of these names that are not ours. Nothing was written to it.
    #[error("the learner database has tables of another make: {}", missing.join(", "))]
    NotOurs {
        /// What is missing, each in words such as `learners lacks the column email`.
        missing: Vec<String>,
    },
    /// Written by a newer learner-sync.
    #[error("the learner database has schema version {found}; this learner-sync knows up to {supported}")]
    Newer {
        /// What the database says.
        found: i64,
        /// What this program knows.
        supported: i64,
    },
    /// Opened to read, and not migrated yet (0: there are no tables at all).
    #[error(
        "the learner database has schema version {found}, this learner-sync needs {supported}: a cycle migrates it"
    )]
    Older {
        /// What the database says.
        found: i64,
        /// What this program needs.
        supported: i64,
    },
    /// Somebody else writes to it and did not finish in time.
    #[error("the learner database is locked by another process")]
    Busy(#[source] sqlx::Error),
    /// A value in it is none that learner-sync writes.
    #[error("the learner database has a value in {column} that cannot be read")]
    Unreadable {
        /// Table and column.
        column: &'static str,
    },
    /// Anything else: the disk is full, the file is damaged, the query failed.
    #[error("the learner database failed")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if super::sqlite::is_busy(&error) { Self::Busy(error) } else { Self::Database(error) }
    }
}
