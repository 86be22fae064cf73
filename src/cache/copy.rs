//! A copy of the cache for a plan, which must not write: sled writes even when it only opens a directory.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::layout::is_only_a_cache;
use super::wait_for_sled;
use crate::files;

const PREFIX: &str = "learner-sync-cache-";

/// A copy beside the cache, or in the directory for temporary files; removed when dropped.
pub(super) struct Copy {
    path: PathBuf,
    /// Locked while the copy is in use: one without a lock was left behind by a process that was killed.
    _lock: File,
}

impl Copy {
    /// Copies the files of the cache. Another process may write them meanwhile, which makes the copy look damaged.
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        let beside = files::directory_of(directory).filter(|parent| files::check_writable(parent).is_ok());
        let parent = beside.map_or_else(std::env::temp_dir, Path::to_owned);
        remove_abandoned(&parent);
        let copy = Self::create(&parent)?;
        copy_files(directory, copy.path())?;
        Ok(copy)
    }

    fn create(parent: &Path) -> io::Result<Self> {
        loop {
            let path = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?.keep();
            // Another process may remove the directory before it is locked.
            match lock(&path) {
                Ok(Some(lock)) => return Ok(Self { path, _lock: lock }),
                Ok(None) => {}
                Err(error) => {
                    // Nobody else removes it where files cannot be locked.
                    let _ = std::fs::remove_dir(&path);
                    return Err(error);
                }
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!("cannot remove the copy of the cache in {}: {error}", self.path.display());
        }
    }
}

/// Locks the directory. `None` when another process has locked or removed it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let directory = match files::open_directory(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| with_path(path, &error))?,
    };
    match directory.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(with_path(path, &error)),
        Ok(()) => {}
    }
    let locked = directory.metadata()?;
    let is_there =
        path.symlink_metadata().is_ok_and(|found| (found.dev(), found.ino()) == (locked.dev(), locked.ino()));
    Ok(is_there.then_some(directory))
}

/// Removes the copies that killed processes of this user left behind. Failing to do so costs only space.
fn remove_abandoned(parent: &Path) {
    let user = rustix::process::geteuid().as_raw();
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_copy = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let path = entry.path();
        if !is_copy || !entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == user) {
            continue;
        }
        if let Ok(Some(_lock)) = lock(&path)
            && is_only_a_cache(&path)
        {
            // Two processes may remove it at the same time.
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

/// Removes the directory, in which the last thread of sled may still create files.
fn remove(path: &Path) -> io::Result<()> {
    let is_refilled = |error: &io::Error| error.kind() == io::ErrorKind::DirectoryNotEmpty;
    wait_for_sled(|| std::fs::remove_dir_all(path), is_refilled)
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from).map_err(|error| with_path(from, &error))? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&target).map_err(|error| with_path(&target, &error))?;
            copy_files(&source, &target)?;
        } else {
            let mut source = files::open_regular(&source).map_err(|error| with_path(&source, &error))?;
            let mut copy = files::create_own(&target).map_err(|error| with_path(&target, &error))?;
            io::copy(&mut source, &mut copy).map_err(|error| with_path(&target, &error))?;
        }
    }
    Ok(())
}

fn with_path(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::layout;

    fn copies(state: &Path) -> Vec<PathBuf> {
        let paths = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| !path.ends_with("cache")).collect()
    }

    #[test]
    fn copies_that_killed_processes_left_are_removed_and_others_are_not() {
        let state = tempfile::tempdir().unwrap();
        let cache = state.path().join("cache");
        layout::create(&cache).unwrap();
        let abandoned = Copy::new(&cache).unwrap();
        let in_use = Copy::new(&cache).unwrap();
        let foreign = state.path().join(format!("{PREFIX}notes"));
        std::fs::create_dir(&foreign).unwrap();
        std::fs::write(foreign.join("notes"), "of others").unwrap();
        let Copy { path, _lock } = &abandoned;
        assert_eq!(path.parent(), Some(state.path()));
        // Killed while it copied the files.
        std::fs::remove_file(path.join("layout")).unwrap();
        _lock.unlock().unwrap();
        let path = path.clone();
        std::mem::forget(abandoned);
        assert_eq!(copies(state.path()).len(), 3);

        let next = Copy::new(&cache).unwrap();
        assert!(!path.exists());
        assert!(in_use.path().join("layout").exists() && foreign.exists());
        drop((in_use, next));
        assert_eq!(copies(state.path()), [foreign]);
    }

    #[test]
    fn an_error_names_the_file() {
        let state = tempfile::tempdir().unwrap();
        let cache = state.path().join("cache");
        layout::create(&cache).unwrap();
        std::os::unix::fs::symlink("nowhere", cache.join("db")).unwrap();
        let error = Copy::new(&cache).err().unwrap().to_string();
        assert!(error.contains(cache.join("db").to_str().unwrap()), "{error}");
        assert!(copies(state.path()).is_empty());
    }
}
