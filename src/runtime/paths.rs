//! The paths of the files that a configuration uses.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::{Config, DatabaseConfig};
use crate::files::{beside, directory_of, is_silent};
use crate::model::{EntraId, LockHolder};
use crate::runtime::lock::{Lock, LockError};
use crate::store::DatabaseState;

/// The files of one configuration. None of them has to exist.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The SQLite file; `None` when a server holds the learners.
    pub database: Option<PathBuf>,
    /// Keeps two cycles on this machine apart. The lock file of an SQLite database is beside it, so that another state
    /// directory makes no difference. A server has its own lock as well, which covers all machines.
    pub cycle_lock: PathBuf,
    /// Lock and pid file of the daemon.
    pub daemon_lock: PathBuf,
    /// The directory of the cache.
    pub cache: PathBuf,
    /// Holds everything but the database and its locks.
    pub state_directory: PathBuf,
}

impl Paths {
    /// The paths as the file system resolves them now.
    pub fn new(config: &Config) -> Self {
        let database = match &config.learners.database {
            DatabaseConfig::Sqlite { path } => Some(path.clone()),
            DatabaseConfig::Postgres { .. } => None,
        };
        let state_directory = config.state.directory.clone();
        Self {
            cycle_lock: match &database {
                Some(path) => beside(&canonical(path), ".lock"),
                None => state_directory.join("cycle.lock"),
            },
            daemon_lock: Self::daemon_lock_in(&state_directory),
            cache: state_directory.join("cache"),
            database,
            state_directory,
        }
    }

    /// The lock and pid file of the daemon in a state directory.
    pub(super) fn daemon_lock_in(state_directory: &Path) -> PathBuf {
        state_directory.join("learner-sync.pid")
    }

    /// The locks that keep two daemons for one application on one database apart, whatever their state directories.
    /// There is one for each id under which the application has been configured. A server has none: cycles of two
    /// daemons take turns there.
    pub fn source_locks(&self, config: &Config, state: &DatabaseState) -> BTreeSet<PathBuf> {
        self.locks_of(&state.spellings(&config.entra.tenant_id, config.app.enterprise_app))
    }

    /// The daemon of another application of this tenant on this database; a server does not know it.
    ///
    /// # Errors
    /// When the disk does not answer in time.
    pub async fn daemon_of(
        &self,
        tenant: &str,
        application: EntraId,
        state: &DatabaseState,
    ) -> Result<Option<LockHolder>, LockError> {
        for path in self.locks_of(&state.spellings(tenant, application)) {
            if let Some(holder) = Lock::holder(&path).await? {
                return Ok(Some(holder));
            }
        }
        Ok(None)
    }

    fn locks_of(&self, sources: &BTreeSet<String>) -> BTreeSet<PathBuf> {
        let Some(path) = &self.database else { return BTreeSet::new() };
        let database = canonical(path);
        let lock = |source: &String| {
            // A tenant may be a domain that is too long for a file name.
            let hash = blake3::hash(source.as_bytes()).to_hex();
            beside(&database, &format!(".daemon-{}.lock", &hash[..16]))
        };
        sources.iter().map(lock).collect()
    }
}

/// The path without symbolic links: two configurations may reach one file in different ways.
fn canonical(path: &Path) -> PathBuf {
    // The next work with the path reports the disk.
    if is_silent(path) {
        return path.to_owned();
    }
    let in_directory = || {
        let directory = directory_of(path).unwrap_or(Path::new("."));
        Some(directory.canonicalize().ok()?.join(path.file_name()?))
    };
    // A path that cannot be resolved cannot be opened either; opening it reports why.
    path.canonicalize().ok().or_else(in_directory).unwrap_or_else(|| path.to_owned())
}
