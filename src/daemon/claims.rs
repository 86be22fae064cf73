//! One daemon for each application and learner database, whatever state directory it has. Two would run every cycle
//! twice, and each would find its cache out of date after each of the other's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::COMMAND;
use crate::lock::{Lock, LockError};

/// The locks beside the database that say whose daemon this is.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<PathBuf, Lock>);

impl Claims {
    /// Holds the locks at `paths` from now on, and no others; when somebody else has one of them, all stays as it was.
    pub(super) fn hold(&mut self, paths: BTreeSet<PathBuf>) -> Result<(), LockError> {
        let mut taken = BTreeMap::new();
        for path in paths.iter().filter(|path| !self.0.contains_key(*path)) {
            taken.insert(path.clone(), Lock::take(path, COMMAND)?);
        }
        self.0.retain(|path, _| paths.contains(path));
        self.0.append(&mut taken);
        Ok(())
    }
}
