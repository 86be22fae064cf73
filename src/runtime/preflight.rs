//! Inspects what is on disk before anything is written. After a refusal no lock file, log or directory of ours is left
//! behind.

use std::io;
use std::path::{Path, PathBuf};

use super::lock;
use super::paths::Paths;
use crate::cache::{self, CacheRefused};
use crate::config::{Config, DatabaseConfig};
use crate::failpoint::{Step, reached};
use crate::files;
use crate::store::{Access, DatabaseState, Inspected, LearnerDatabase, Store, StoreError};

/// The learner database, a directory or a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// A directory or a lock file.
    #[error("cannot use {what} {}", path.display())]
    Path {
        /// The purpose of the path, such as the key that names it.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The learner database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The path of the cache holds something else.
    #[error(transparent)]
    Cache(#[from] CacheRefused),
}

impl PreflightError {
    /// Advice for the administrator.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Cache(refused) => Some(refused.hint()),
            Self::Path { path, source, .. } => files::read_only_hint(path, source).or_else(|| {
                Some(match source.kind() {
                    io::ErrorKind::TimedOut => files::silent_disk_hint(path),
                    io::ErrorKind::StorageFull => format!("free space on the disk of {}", path.display()),
                    io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                        "name another directory, or move the existing file away".to_owned()
                    }
                    _ if files::is_shortage(source) => {
                        "the next attempt may succeed; see the limits of the service".to_owned()
                    }
                    io::ErrorKind::InvalidData => format!("move {} away", path.display()),
                    _ => format!("the service user must be able to write to {}", path.display()),
                })
            }),
        }
    }

    /// Whether the administrator has to change something before any cycle can run: exit code 78. All other errors may
    /// pass by themselves: exit code 1.
    pub fn is_misconfiguration(&self) -> bool {
        match self {
            Self::Store(error) => is_misconfigured_database(error),
            Self::Path { source, .. } => !files::is_shortage(source),
            Self::Cache(_) => true,
        }
    }
}

fn is_misconfigured_database(error: &StoreError) -> bool {
    match error {
        StoreError::CannotOpen { source, .. } => {
            !source.downcast_ref().is_some_and(files::is_shortage) && !files::are_descriptors_exhausted()
        }
        StoreError::NotADatabase { .. }
        | StoreError::Foreign { .. }
        | StoreError::NotOurs { .. }
        | StoreError::StateDamaged { .. }
        | StoreError::Table { .. }
        | StoreError::TooOld { .. }
        | StoreError::Newer { .. } => true,
        StoreError::RelinkRefused { .. }
        | StoreError::WrittenByOther
        | StoreError::ChangesLost
        | StoreError::Paused
        | StoreError::IdsExhausted { .. }
        | StoreError::Missing { .. }
        // A disk may be mounted again without any change of ours.
        | StoreError::Vanished { .. }
        | StoreError::Older { .. }
        | StoreError::NotTheOwner { .. }
        | StoreError::NotGranted { .. }
        | StoreError::ReadOnly { .. }
        | StoreError::Hidden { .. }
        // The administrator of the server can correct these without changing our configuration.
        | StoreError::NoConnection { .. }
        | StoreError::Database(_) => false,
        StoreError::NoHost { .. } => error.is_too_old(),
    }
}

/// Everything that a cycle writes to has been inspected.
#[derive(Debug)]
pub struct Preflight {
    /// The inspected paths.
    pub paths: Paths,
    /// The inspected learner database.
    pub database: Inspected,
}

impl Preflight {
    /// Inspects the learner database, its lock, the state directory and the cache.
    ///
    /// # Errors
    /// The first path that cannot be used.
    pub async fn inspect(config: &Config, learners: &LearnerDatabase) -> Result<Self, PreflightError> {
        let database = inspect_database(config, learners).await?;
        inspect_state(config).await?;
        Ok(Self { paths: Paths::new(config), database })
    }

    /// Creates the missing directories.
    ///
    /// # Errors
    /// The directory that cannot be created.
    pub async fn create_directories(&self) -> Result<(), PreflightError> {
        if let Some(directory) = self.paths.database.as_deref().and_then(files::directory_of) {
            create_directory("the directory of the learner database", directory).await?;
        }
        create_directory(STATE_DIRECTORY, &self.paths.state_directory).await
    }
}

async fn create_directory(what: &'static str, directory: &Path) -> Result<(), PreflightError> {
    let create = |path: &Path| std::fs::create_dir_all(path);
    let created = files::on_disk(directory, create).await.map_err(io::Error::from).flatten();
    created.map_err(|source| path_error(what, directory, source))
}

/// Inspects the learner database, when it is a file, and its lock.
///
/// # Errors
/// The first path that cannot be used.
pub async fn inspect_database(config: &Config, learners: &LearnerDatabase) -> Result<Inspected, PreflightError> {
    // SQLite and its inspection wait for the disk as long as it takes.
    on_database_disk(config, Path::exists).await?;
    let database = Store::inspect(learners, Access::ReadWrite).await?;
    inspect_lock(&Paths::new(config).cycle_lock).await?;
    Ok(database)
}

/// Inspects the state directory, the daemon's lock and the cache.
///
/// # Errors
/// The first path that cannot be used.
pub async fn inspect_state(config: &Config) -> Result<(), PreflightError> {
    let Paths { daemon_lock, cache, .. } = Paths::new(config);
    on_state_disk(config, inspect_directory).await??;
    inspect_lock(&daemon_lock).await?;
    // A cycle without the cache takes longer, and has the same outcome.
    Ok(files::on_disk(&cache, cache::inspect).await.unwrap_or(Ok(()))?)
}

/// Does `work` with the state directory, whose disk may not answer.
pub(crate) async fn on_state_disk<T: Send + 'static>(
    config: &Config,
    work: impl FnOnce(&Path) -> T + Send + 'static,
) -> Result<T, PreflightError> {
    let directory = &config.state.directory;
    let done = files::on_disk(directory, |directory| {
        reached(Step::StateReading);
        work(directory)
    });
    let done = done.await;
    done.map_err(|fault| path_error(STATE_DIRECTORY, directory, fault.into()))
}

/// Does `work` with the file of the learner database, whose disk may not answer; `None` when a server holds the learners.
pub(crate) async fn on_database_disk<T: Send + 'static>(
    config: &Config,
    work: impl FnOnce(&Path) -> T + Send + 'static,
) -> Result<Option<T>, PreflightError> {
    let DatabaseConfig::Sqlite { path } = &config.learners.database else { return Ok(None) };
    let done = files::on_disk_of(path, |path| {
        reached(Step::DatabaseReading);
        work(path)
    });
    let done = done.await.map(Some);
    done.map_err(|fault| path_error(LEARNER_DATABASE, path, fault.into()))
}

/// Inspects whether the learner database, when it is a file, and the state directory can be written now. Nothing is opened.
/// `exists` says that the file has been used before.
///
/// # Errors
/// The first path that cannot be used.
pub fn inspect_disk(config: &Config, exists: bool) -> Result<(), PreflightError> {
    match &config.learners.database {
        DatabaseConfig::Sqlite { path } if !inspect_file(path, exists)? => Ok(()),
        DatabaseConfig::Sqlite { .. } | DatabaseConfig::Postgres { .. } => inspect_directory(&config.state.directory),
    }
}

/// Like [`inspect_disk`], beside the event loop and each disk by itself.
///
/// # Errors
/// The first path that cannot be used, or whose disk does not answer in time.
pub(crate) async fn inspect_disks(config: &Config, exists: bool) -> Result<(), PreflightError> {
    let file = on_database_disk(config, move |path| inspect_file(path, exists)).await?.transpose()?;
    let state = on_state_disk(config, inspect_directory).await?;
    if file == Some(false) { Ok(()) } else { state }
}

/// Whether the file of the learner database exists, and can be written then.
fn inspect_file(path: &Path, exists: bool) -> Result<bool, PreflightError> {
    let cannot_open =
        |file: &Path, source: io::Error| StoreError::CannotOpen { path: file.to_owned(), source: source.into() };
    match path.metadata() {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return if exists { Err(StoreError::Vanished { path: path.to_owned() }.into()) } else { Ok(false) };
        }
        Err(error) => return Err(cannot_open(path, error).into()),
    }
    let directory = files::directory_of(path).unwrap_or(Path::new("."));
    for file in [path.to_owned(), files::beside(path, "-wal"), files::beside(path, "-shm"), directory.to_owned()] {
        files::check_writable(&file).map_err(|error| cannot_open(&file, error))?;
    }
    if files::disk_is_full(path) {
        let full = io::Error::new(io::ErrorKind::StorageFull, "the disk is full");
        return Err(path_error(LEARNER_DATABASE, path, full));
    }
    Ok(true)
}

fn inspect_directory(directory: &Path) -> Result<(), PreflightError> {
    files::check_creatable(directory).map_err(|source| path_error(STATE_DIRECTORY, directory, source))
}

/// Inspects the daemon's locks beside the learner database, whose `state` lists the ids of the application.
///
/// # Errors
/// The first path that cannot be used.
pub async fn inspect_source_locks(config: &Config, state: &DatabaseState) -> Result<(), PreflightError> {
    for path in Paths::new(config).source_locks(config, state) {
        inspect_lock(&path).await?;
    }
    Ok(())
}

const STATE_DIRECTORY: &str = "state.directory";
const LEARNER_DATABASE: &str = "the learner database";

async fn inspect_lock(path: &Path) -> Result<(), PreflightError> {
    let inspected = files::on_disk_of(path, lock::inspect).await.map_err(io::Error::from).flatten();
    inspected.map_err(|source| path_error(LOCK_FILE, path, source))
}

pub(super) const LOCK_FILE: &str = "the lock file";

fn path_error(what: &'static str, path: &Path, source: io::Error) -> PreflightError {
    PreflightError::Path { what, path: path.to_owned(), source }
}
