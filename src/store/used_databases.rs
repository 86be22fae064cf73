//! The SQLite files in which a cycle has completed: such a file is never created again without being asked.
//!
//! Without this record, a disk that is not mounted or a deleted file would look like a new installation, and every learner
//! would get a new id. The fact is kept in `state.directory`, in a file of its own:
//!
//! - not in the database or beside it: it would vanish with it;
//! - not in the cache: deleting the cache must change no outcome;
//! - not in the record below `/run` alone: it ends with the next boot, and `sync` without a daemon writes none. Where that
//!   record has the fact, it counts as well: the disk of both directories may be the missing one.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use crate::files::{self, MAX_DOCUMENT};

/// The name of the file in the state directory.
const FILE: &str = "used-databases.json";

/// The SQLite files in which a cycle has completed.
#[derive(Clone)]
pub struct UsedDatabases {
    file: PathBuf,
    /// Whether this process knows without the file that the configured database is in use.
    is_known: Arc<AtomicBool>,
    /// Whether another source says so. It is asked only when a file is lost: it may be on a disk that does not answer.
    other: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for UsedDatabases {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("UsedDatabases").field(&self.file).finish()
    }
}

/// The content of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct UseRecord {
    /// Since when each file is in use.
    databases: BTreeMap<PathBuf, Timestamp>,
}

impl UsedDatabases {
    /// The record in a state directory, of which nothing has to exist. `other` knows from another source whether the
    /// configured database is in use.
    pub fn in_directory(state_directory: &Path, other: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { file: state_directory.join(FILE), is_known: Arc::default(), other: Arc::new(other) }
    }

    /// Notes that the configured database is in use, from another source than the file.
    pub fn note(&self) {
        self.is_known.store(true, Ordering::Relaxed);
    }

    fn is_known(&self) -> bool {
        if !self.is_known.load(Ordering::Relaxed) && (self.other)() {
            self.note();
        }
        self.is_known.load(Ordering::Relaxed)
    }

    /// Records that a cycle has completed in the file `database`. The state directory exists.
    ///
    /// # Errors
    /// When the file cannot be read or written. The next cycle tries again.
    pub fn record(&self, database: &Path, now: Timestamp) -> io::Result<()> {
        self.note();
        let mut record = self.read()?;
        if record.databases.contains_key(database) {
            return Ok(());
        }
        record.databases.insert(database.to_owned(), now);
        files::replace_own(&self.file, &serde_json::to_vec_pretty(&record)?)
    }

    /// Whether `path` is missing or empty although a cycle has completed in it.
    pub fn has_lost(&self, path: &Path) -> bool {
        matches!(self.check(path), Err(StoreError::Vanished { .. }))
    }

    /// Refuses a file that is missing or empty although a cycle has completed in it.
    pub(super) fn check(&self, path: &Path) -> Result<(), StoreError> {
        let is_lost = match path.metadata() {
            Ok(metadata) => metadata.is_file() && metadata.len() == 0,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if !is_lost {
            return Ok(());
        }
        let record =
            self.read().map_err(|source| StoreError::CannotOpen { path: self.file.clone(), source: source.into() })?;
        match self.is_known() || record.databases.contains_key(path) {
            true => Err(StoreError::Vanished { path: path.to_owned() }),
            false => Ok(()),
        }
    }

    fn read(&self) -> io::Result<UseRecord> {
        match files::read_text(&self.file, MAX_DOCUMENT) {
            Ok(text) => Ok(serde_json::from_str(&text)?),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(UseRecord::default())
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_used_file_is_lost_and_only_while_it_is_missing_or_empty() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let used = UsedDatabases::in_directory(directory.path(), || false);
        let since: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        assert!(used.check(&path("learners.db")).is_ok());
        used.record(&path("learners.db"), since).unwrap();

        // Another process has only the file.
        let later = UsedDatabases::in_directory(directory.path(), || false);
        assert!(!later.has_lost(&path("other.db")));
        assert!(later.has_lost(&path("learners.db")));
        std::fs::write(path("learners.db"), "").unwrap();
        assert!(later.has_lost(&path("learners.db")));
        std::fs::write(path("learners.db"), "SQLite").unwrap();
        assert!(!later.has_lost(&path("learners.db")));
        std::fs::remove_file(path("learners.db")).unwrap();

        // Without an answer, a missing file is not created.
        std::fs::write(path(FILE), "{").unwrap();
        assert!(matches!(later.check(&path("learners.db")), Err(StoreError::CannotOpen { .. })));
        std::fs::remove_file(path(FILE)).unwrap();
        assert!(!later.has_lost(&path("learners.db")));
        assert!(used.has_lost(&path("learners.db")), "this process knows it");
        assert!(UsedDatabases::in_directory(directory.path(), || true).has_lost(&path("learners.db")));
    }
}
