//! What is on disk already. It is looked at before anything is written, so that what is refused is left exactly as it
//! was, with no lock, log or directory of ours beside it.

use std::io;
use std::path::{Path, PathBuf};

use crate::app::{cache_path, cycle_lock_path, daemon_lock_path, database_path, source_lock_paths};
use crate::cache::{self, CacheRefused};
use crate::config::Config;
use crate::files;
use crate::store::{Access, DatabaseState, Store, StoreError};

/// Something there cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PremisesError {
    /// A directory or a lock file.
    #[error("{what} {} cannot be used", path.display())]
    Path {
        /// What it would be, such as the key that names it.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The learner database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is in the place of the cache.
    #[error(transparent)]
    Cache(#[from] CacheRefused),
}

impl PremisesError {
    /// What the administrator can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Cache(refused) => Some(refused.hint()),
            Self::Path { path, source, .. } => Some(match source.kind() {
                io::ErrorKind::StorageFull => format!("make room on the disk of {}", path.display()),
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                    "name another directory, or move away what is there".to_owned()
                }
                _ => format!("the service user must be able to write to {}", path.display()),
            }),
        }
    }

    /// Whether something has to be mended before anything can run here: exit code 78. What is left may pass.
    pub fn is_misconfiguration(&self) -> bool {
        match self {
            Self::Store(error) => is_misconfiguration(error),
            // A full disk is nothing that is wrong with the configuration.
            Self::Path { source, .. } => source.kind() != io::ErrorKind::StorageFull,
            Self::Cache(_) => true,
        }
    }
}

/// The same of a learner database.
pub fn is_misconfiguration(error: &StoreError) -> bool {
    match error {
        StoreError::CannotOpen { .. }
        | StoreError::NotADatabase { .. }
        | StoreError::Foreign { .. }
        | StoreError::NotOurs { .. }
        | StoreError::Table { .. }
        | StoreError::TooOld { .. }
        | StoreError::Newer { .. } => true,
        StoreError::Missing { .. }
        | StoreError::Older { .. }
        | StoreError::NotTheOwner { .. }
        | StoreError::NotGranted { .. }
        | StoreError::Hidden { .. }
        // Whatever a server says may be put right there, without us.
        | StoreError::NoConnection { .. }
        | StoreError::Lost(_)
        | StoreError::Refused { .. }
        | StoreError::Full { .. }
        | StoreError::Damaged(_)
        | StoreError::Busy(_)
        | StoreError::Unreadable { .. }
        | StoreError::Database(_) => false,
    }
}

/// Looks at everything that a cycle writes.
///
/// # Errors
/// What cannot be used, and why.
pub async fn inspect(config: &Config) -> Result<(), PremisesError> {
    inspect_database(config).await?;
    inspect_state(config)
}

/// Looks at the learner database, as far as it is on disk, and what is kept beside it.
///
/// # Errors
/// What cannot be used, and why.
pub async fn inspect_database(config: &Config) -> Result<(), PremisesError> {
    if let Some(path) = database_path(config) {
        Store::inspect(path, config.learners.table.as_ref(), Access::ReadWrite).await?;
    }
    inspect_lock(&cycle_lock_path(config))
}

/// Looks at the locks of a daemon beside the learner database, which says under which ids its application is known.
///
/// # Errors
/// What cannot be used, and why.
pub fn inspect_claims(config: &Config, state: &DatabaseState) -> Result<(), PremisesError> {
    source_lock_paths(config, state).iter().try_for_each(|path| inspect_lock(path))
}

/// Looks at the state directory, and the cache in it.
///
/// # Errors
/// What cannot be used, and why.
pub fn inspect_state(config: &Config) -> Result<(), PremisesError> {
    let directory = config.state.directory.as_path();
    files::can_be_made(directory).map_err(|source| state_error(directory, source))?;
    inspect_lock(&daemon_lock_path(config))?;
    Ok(cache::inspect(&cache_path(config))?)
}

fn inspect_lock(path: &Path) -> Result<(), PremisesError> {
    let error = |source| PremisesError::Path { what: "the lock file", path: path.to_owned(), source };
    files::writable(path).map_err(error)
}

fn state_error(path: &Path, source: io::Error) -> PremisesError {
    PremisesError::Path { what: "state.directory", path: path.to_owned(), source }
}

/// Looks at everything, and then makes the directories that are missing.
///
/// # Errors
/// What cannot be used or made, and why.
pub async fn prepare(config: &Config) -> Result<(), PremisesError> {
    inspect(config).await?;
    if let Some(directory) = database_path(config).and_then(files::directory_of) {
        std::fs::create_dir_all(directory).map_err(|source| PremisesError::Path {
            what: "the directory of the learner database",
            path: directory.to_owned(),
            source,
        })?;
    }
    let directory = config.state.directory.as_path();
    std::fs::create_dir_all(directory).map_err(|source| state_error(directory, source))
}
