//! One daemon for each application and learner database, whatever its state directory. Two daemons would run every
//! cycle twice, and each would invalidate the cache of the other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{COMMAND, DaemonError};
use crate::config::Config;
use crate::runtime::Paths;
use crate::runtime::lock::{Lock, LockError};
use crate::store::DatabaseState;

/// The locks beside the learner database, one for each id of the application.
#[derive(Debug, Default)]
pub(super) struct SourceLocks(BTreeMap<PathBuf, Lock>);

impl SourceLocks {
    /// Locks the application of `config` under each id that it has in the learner database, and unlocks every other one.
    /// When one of them is locked elsewhere, nothing changes.
    pub(super) async fn lock_sources(&mut self, config: &Config, state: &DatabaseState) -> Result<(), DaemonError> {
        let paths = Paths::new(config).source_locks(config, state);
        let mut acquired = BTreeMap::new();
        for path in paths.iter().filter(|path| !self.0.contains_key(*path)) {
            match Lock::acquire(path, COMMAND).await {
                Ok(lock) => drop(acquired.insert(path.clone(), lock)),
                Err(error) => {
                    Self(acquired).release().await;
                    return Err(match error {
                        LockError::Held(holder) => DaemonError::SourceLocked(holder),
                        error => error.into(),
                    });
                }
            }
        }
        let released = Self(self.0.extract_if(.., |path, _| !paths.contains(path)).collect());
        self.0.append(&mut acquired);
        // Awaited: another daemon, or a later reload, may take them at once.
        released.release().await;
        Ok(())
    }

    /// Releases all of them. They are on one disk.
    pub(super) async fn release(self) {
        for lock in self.0.into_values() {
            lock.release().await;
        }
    }
}
