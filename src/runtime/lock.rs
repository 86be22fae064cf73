//! A lock file that names its holder.
//!
//! The operating system releases the lock when the holder dies, so there are no stale locks. The name in the file counts
//! only while the lock is held.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};

use crate::failpoint::{Step, reached};
use crate::files;
use crate::model::{LockHolder, chain};

/// A new holder writes its name within microseconds.
const NAME_ATTEMPTS: u32 = 50;
const BETWEEN_NAME_ATTEMPTS: Duration = Duration::from_millis(1);
/// How often an attempt may meet a shared lock.
const MAX_SHARED_ROUNDS: u32 = 1000;
/// Limit of the names in a lock file.
const MAX_CONTENT: u64 = 256;

/// The lock. [`Lock::release`] releases it; a drop does the same, but waits for the disk as long as it takes.
#[derive(Debug)]
pub struct Lock {
    // Closing the file releases the lock.
    file: File,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        reached(Step::LockReleasing);
        // Otherwise the next holder would go by this name until it has written its own.
        let _ = self.file.set_len(0);
    }
}

/// The lock was not acquired.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{0} is running")]
    Held(LockHolder),
    /// The file cannot be used.
    #[error("cannot use the lock file {path}")]
    Unusable {
        /// The lock file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Lock {
    /// Acquires the lock at `path` without waiting for its holder, and writes the name of the new one into it.
    ///
    /// # Errors
    /// When another process holds it, the file cannot be used, or the disk does not answer in time.
    pub async fn acquire(path: &Path, command: &str) -> Result<Self, LockError> {
        let command = command.to_owned();
        // A lock that is acquired later than that is released at once.
        let acquired = files::on_disk_of(path, move |path| Self::acquire_blocking(path, &command)).await;
        acquired.unwrap_or_else(|fault| Err(LockError::Unusable { path: path.to_owned(), source: fault.into() }))
    }

    fn acquire_blocking(path: &Path, command: &str) -> Result<Self, LockError> {
        reached(Step::LockAcquiring);
        let unusable = |source| LockError::Unusable { path: path.to_owned(), source };
        let mut file = files::open_own(path).map_err(unusable)?;
        let (mut attempts, mut shared_rounds) = (0, 0);
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(unusable(source)),
                Err(TryLockError::WouldBlock) => {}
            }
            // `holder` shares the lock for an instant; a real holder shares it with nobody.
            match file.try_lock_shared() {
                // Another program that shares the lock may keep it for long.
                Ok(()) if shared_rounds == MAX_SHARED_ROUNDS => return Err(LockError::Held(LockHolder::unknown())),
                Ok(()) => {
                    file.unlock().map_err(unusable)?;
                    shared_rounds += 1;
                    std::thread::sleep(BETWEEN_NAME_ATTEMPTS);
                }
                Err(TryLockError::Error(source)) => return Err(unusable(source)),
                Err(TryLockError::WouldBlock) => {
                    if let Some(holder) = read_name(&mut file, &mut attempts) {
                        return Err(LockError::Held(holder));
                    }
                }
            }
            std::thread::yield_now();
        }
        check_content(&mut file).map_err(unusable)?;
        match write_name(&mut file, &format!("{} {command}\n", std::process::id())) {
            // The lock is held all the same; the next real write reports the full disk.
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                tracing::warn!("cannot write the holder into the lock file {}: {error}", path.display());
            }
            written => written.map_err(unusable)?,
        }
        Ok(Self { file, path: path.to_owned() })
    }

    /// Releases the lock. When the disk does not answer, the lock lasts until it does, or until the process ends.
    pub async fn release(self) {
        let path = self.path.clone();
        if let Err(fault) = files::last_on_disk_of(&path, || drop(self)).await {
            let (file, hint) = (path.display(), files::silent_disk_hint(&path));
            tracing::warn!("cannot release the lock file {file}: {}; {hint}", chain(&fault));
        }
    }

    /// The holder of the lock at `path`; `None` when it is free or does not exist.
    ///
    /// # Errors
    /// When the disk does not answer in time.
    pub async fn holder(path: &Path) -> Result<Option<LockHolder>, LockError> {
        let holder = files::on_disk_of(path, Self::holder_blocking).await;
        holder.map_err(|fault| LockError::Unusable { path: path.to_owned(), source: fault.into() })
    }

    /// Like [`Lock::holder`], for a thread that may wait for the disk.
    pub(crate) fn holder_blocking(path: &Path) -> Option<LockHolder> {
        reached(Step::LockReading);
        let mut file = files::open_own_to_read(path).ok()?;
        let mut attempts = 0;
        while let Err(TryLockError::WouldBlock) = file.try_lock_shared() {
            if let Some(holder) = read_name(&mut file, &mut attempts) {
                return Some(holder);
            }
        }
        None
    }
}

/// Checks that a lock could be acquired at `path`, as far as that can be seen without changing anything.
pub(super) fn inspect(path: &Path) -> io::Result<()> {
    files::check_own(path)?;
    files::check_writable(path)?;
    match files::open_own_to_read(path) {
        Ok(mut file) => check_content(&mut file),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // The file can be written, and that is what a lock needs.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

/// Refuses a file with something else than the name of a holder: it belongs to others, who may need its content.
fn check_content(file: &mut File) -> io::Result<()> {
    let mut content = Vec::new();
    file.rewind()?;
    file.take(MAX_CONTENT + 1).read_to_end(&mut content)?;
    // After a power cut a file can have its length, but not its content.
    let is_empty = content.iter().all(|byte| *byte == 0);
    let digits = content.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_ours = is_empty || digits > 0 && content[digits..].starts_with(b" learner-sync ");
    if is_ours && content.len() as u64 <= MAX_CONTENT { Ok(()) } else { Err(files::foreign_content()) }
}

/// Overwrites the old name in place, because that needs no disk space.
fn write_name(file: &mut File, name: &str) -> io::Result<()> {
    file.rewind()?;
    let written = file.write_all(name.as_bytes());
    file.set_len(if written.is_ok() { name.len() as u64 } else { 0 })?;
    written
}

/// The holder that the file names. An incomplete name, or the name of a process that has ended, is not that of the
/// holder: the first attempts return `None`, the last returns the best answer there is.
fn read_name(file: &mut File, attempts: &mut u32) -> Option<LockHolder> {
    let mut text = String::new();
    // A file that cannot be read counts as one without a name.
    let _ = file.rewind().and_then(|()| file.take(1024).read_to_string(&mut text));
    // The rest of a longer name may follow the first line.
    let named = text.split_once('\n').and_then(|(line, _)| line.split_once(' '));
    let holder = named.map(|(pid, command)| LockHolder { pid: pid.parse().ok(), command: command.to_owned() });
    match holder {
        Some(holder) if is_running(&holder) || *attempts == NAME_ATTEMPTS => Some(holder),
        None if *attempts == NAME_ATTEMPTS => Some(LockHolder::unknown()),
        Some(_) | None => {
            *attempts += 1;
            std::thread::sleep(BETWEEN_NAME_ATTEMPTS);
            None
        }
    }
}

/// Whether the process of `holder` exists.
pub(super) fn is_running(holder: &LockHolder) -> bool {
    let pid = holder.pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    // A process of another user may not be signalled, but it exists.
    pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_names_its_holder_and_is_free_when_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cycle.lock");
        assert_eq!(Lock::holder_blocking(&path), None);
        let lock = Lock::acquire_blocking(&path, "learner-sync run").unwrap();
        let holder = LockHolder { pid: Some(std::process::id()), command: "learner-sync run".to_owned() };
        assert_eq!(Lock::holder_blocking(&path), Some(holder.clone()));
        assert!(
            matches!(Lock::acquire_blocking(&path, "learner-sync sync"), Err(LockError::Held(found)) if found == holder)
        );
        drop(lock);
        assert_eq!(Lock::holder_blocking(&path), None);
        let lock = Lock::acquire_blocking(&path, "learner-sync a-longer-name").unwrap();
        drop(lock);
        let _lock = Lock::acquire_blocking(&path, "learner-sync sync").unwrap();
        assert_eq!(Lock::holder_blocking(&path).unwrap().command, "learner-sync sync");
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn a_lock_that_others_share_is_held() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cycle.lock");
        let other = std::fs::File::create(&path).unwrap();
        other.lock_shared().unwrap();
        assert!(matches!(Lock::acquire_blocking(&path, "learner-sync run"), Err(LockError::Held(_))));
        drop(other);
        drop(Lock::acquire_blocking(&path, "learner-sync run").unwrap());
    }

    #[test]
    fn only_an_empty_file_or_one_with_a_name_becomes_a_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cycle.lock");
        for ours in ["", "77 learner-sync run\n", "77 learner-sync sync\nnner\n", "\0\0\0\0"] {
            std::fs::write(&path, ours).unwrap();
            inspect(&path).unwrap();
            drop(Lock::acquire_blocking(&path, "learner-sync run").unwrap());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "", "{ours:?}");
        }
        let long = format!("77 learner-sync run\n{}", "x".repeat(1000));
        for foreign in ["1234\n", "1234", "# keep\n", " learner-sync run\n", "77 nginx\n", &"\0".repeat(1000), &long] {
            std::fs::write(&path, foreign).unwrap();
            // A second name of the file changes nothing.
            let _ = std::fs::hard_link(&path, directory.path().join("second"));
            inspect(&path).unwrap_err();
            let error = Lock::acquire_blocking(&path, "learner-sync run").unwrap_err();
            assert!(matches!(error, LockError::Unusable { .. }), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), foreign);
        }
        std::fs::rename(&path, directory.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        std::fs::write(directory.path().join("elsewhere"), "").unwrap();
        inspect(&path).unwrap_err();
        Lock::acquire_blocking(&path, "learner-sync run").unwrap_err();
        assert_eq!(Lock::holder_blocking(&path), None);
        assert_eq!(std::fs::read(directory.path().join("elsewhere")).unwrap(), b"");
    }

    #[test]
    fn asking_for_the_holder_does_not_hold_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cycle.lock");
        drop(Lock::acquire_blocking(&path, "learner-sync run").unwrap());
        let acquired = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !acquired.load(std::sync::atomic::Ordering::Relaxed) {
                        Lock::holder_blocking(&path);
                    }
                });
            }
            let held = (0..2000).filter(|_| Lock::acquire_blocking(&path, "learner-sync sync").is_err()).count();
            acquired.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(held, 0);
        });
    }

    #[test]
    fn a_refused_caller_reads_the_name_of_the_present_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cycle.lock");
        // Left behind by a kill; no process has such a high id.
        std::fs::write(&path, "2147483647 learner-sync run\n").unwrap();
        let holder = LockHolder { pid: Some(std::process::id()), command: "learner-sync sync".to_owned() };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..5000 {
                        if let Err(LockError::Held(found)) = Lock::acquire_blocking(&path, "learner-sync sync") {
                            assert_eq!(found, holder);
                        }
                    }
                });
            }
            for found in (0..5000).filter_map(|_| Lock::holder_blocking(&path)) {
                assert_eq!(found, holder);
            }
        });
    }
}
