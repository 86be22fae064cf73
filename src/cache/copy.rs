//! A copy of the cache for a plan, which must not write: sled writes even when it only opens a directory.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::files;

static COPIES: AtomicU64 = AtomicU64::new(0);

/// A copy in the directory for temporary files; removed when dropped.
pub(super) struct Copy(PathBuf);

impl Copy {
    /// Copies the files of the cache. Another process may write them meanwhile, which makes the copy look damaged.
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        let number = COPIES.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("learner-sync-cache-{}-{number}", std::process::id()));
        create_own(&path)?;
        let copy = Self(path);
        copy_files(directory, copy.path())?;
        Ok(copy)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("cannot remove the copy of the cache in {}: {error}", self.0.display());
        }
    }
}

/// Fails when there is anything of this name.
fn create_own(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            create_own(&target)?;
            copy_files(&entry.path(), &target)?;
        } else {
            io::copy(&mut files::open_regular(&entry.path())?, &mut files::create_own(&target)?)?;
        }
    }
    Ok(())
}
