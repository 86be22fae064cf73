//! A lock file that says who holds it. The operating system lets go of it when the holder dies, so there are no
//! stale locks; what the file says is believed only while somebody holds the lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};

/// Whoever has just got a lock writes its name within microseconds.
const LOOKS: u32 = 50;
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    // Closing the file lets go of the lock.
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Or the next holder would go by this name until it has written its own.
        let _ = self.file.set_len(0);
    }
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id, when the file tells.
    pub pid: Option<u32>,
    /// The command, such as `learner-sync sync`.
    pub command: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "{} (pid {pid})", self.command),
            None => write!(f, "{}", self.command),
        }
    }
}

/// The lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("{0} is at work")]
    Held(Holder),
    /// The file cannot be used.
    #[error("the lock file {path} cannot be used")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Lock {
    /// Takes the lock at `path`, at once or not at all, and writes into it who has it.
    ///
    /// # Errors
    /// When somebody holds it, or the file cannot be used.
    pub fn take(path: &Path, command: &str) -> Result<Self, LockError> {
        let unusable = |source| LockError::Unusable { path: path.to_owned(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(unusable)?;
        let mut looks = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(unusable(source)),
                Err(TryLockError::WouldBlock) => {}
            }
            // Who only looks, as `holder` does, shares the lock for an instant; who holds it shares it with nobody.
            match file.try_lock_shared() {
                Ok(()) => file.unlock().map_err(unusable)?,
                Err(TryLockError::Error(source)) => return Err(unusable(source)),
                Err(TryLockError::WouldBlock) => {
                    if let Some(holder) = read_holder(&mut file, &mut looks) {
                        return Err(LockError::Held(holder));
                    }
                }
            }
            std::thread::yield_now();
        }
        match write_holder(&mut file, &format!("{} {command}\n", std::process::id())) {
            // It is held all the same; what has to be written will tell that there is no room.
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                tracing::warn!("the lock file {} does not say who holds it: {error}", path.display());
            }
            written => written.map_err(unusable)?,
        }
        Ok(Self { file })
    }

    /// Takes the lock, and waits for it when somebody else has it.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub async fn wait(path: &Path, command: &str) -> Result<Self, LockError> {
        let mut told = false;
        loop {
            match Self::take(path, command) {
                Err(LockError::Held(holder)) => {
                    if !told {
                        tracing::info!("waiting for {holder}");
                        told = true;
                    }
                    // A file lock cannot be awaited; a holder works for seconds to minutes, so this costs nothing.
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                taken => return taken,
            }
        }
    }

    /// Who holds the lock at `path`; `None` when nobody does or there is no such file.
    pub fn holder(path: &Path) -> Option<Holder> {
        let mut file = File::open(path).ok()?;
        let mut looks = 0;
        loop {
            match file.try_lock_shared() {
                Err(TryLockError::WouldBlock) => {
                    if let Some(holder) = read_holder(&mut file, &mut looks) {
                        return Some(holder);
                    }
                }
                Ok(()) | Err(TryLockError::Error(_)) => return None,
            }
        }
    }
}

/// Over what stands there, because that takes no room.
fn write_holder(file: &mut File, name: &str) -> std::io::Result<()> {
    file.rewind()?;
    let written = file.write_all(name.as_bytes());
    file.set_len(if written.is_ok() { name.len() as u64 } else { 0 })?;
    written
}

/// Who holds the lock, by what the file says. A name that is not complete, or that of a process which is gone, is not
/// the holder's: nothing at first, and after a while the best there is.
fn read_holder(file: &mut File, looks: &mut u32) -> Option<Holder> {
    let mut text = String::new();
    // A holder that has not written its name yet is a holder all the same.
    let _ = file.rewind().and_then(|()| file.take(1024).read_to_string(&mut text));
    // Behind it may stand what is left of a longer name.
    let named = text.split_once('\n').and_then(|(line, _)| line.split_once(' '));
    let holder = named.map(|(pid, command)| Holder { pid: pid.parse().ok(), command: command.to_owned() });
    match holder {
        Some(holder) if is_running(&holder) || *looks == LOOKS => Some(holder),
        None if *looks == LOOKS => Some(Holder { pid: None, command: "another process".to_owned() }),
        Some(_) | None => {
            *looks += 1;
            std::thread::sleep(BETWEEN_LOOKS);
            None
        }
    }
}

fn is_running(holder: &Holder) -> bool {
    let pid = holder.pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    // Somebody else's process may not be signalled, but is one.
    pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_names_its_holder_and_is_free_when_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cycle.lock");
        assert_eq!(Lock::holder(&path), None);
        let lock = Lock::take(&path, "learner-sync run").unwrap();
        let holder = Holder { pid: Some(std::process::id()), command: "learner-sync run".to_owned() };
        assert_eq!(Lock::holder(&path), Some(holder.clone()));
        assert!(matches!(Lock::take(&path, "learner-sync sync"), Err(LockError::Held(found)) if found == holder));
        drop(lock);
        assert_eq!(Lock::holder(&path), None);
        let lock = Lock::take(&path, "learner-sync a-longer-name").unwrap();
        drop(lock);
        let _lock = Lock::take(&path, "learner-sync sync").unwrap();
        assert_eq!(Lock::holder(&path).unwrap().command, "learner-sync sync");
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn whoever_only_looks_holds_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cycle.lock");
        drop(Lock::take(&path, "learner-sync run").unwrap());
        let taken = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !taken.load(std::sync::atomic::Ordering::Relaxed) {
                        Lock::holder(&path);
                    }
                });
            }
            let held = (0..2000).filter(|_| Lock::take(&path, "learner-sync sync").is_err()).count();
            taken.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(held, 0);
        });
    }

    #[test]
    fn whoever_finds_it_held_reads_the_name_of_the_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cycle.lock");
        // Left behind by a kill; nobody has as high a number.
        std::fs::write(&path, "2147483647 learner-sync run\n").unwrap();
        let holder = Holder { pid: Some(std::process::id()), command: "learner-sync sync".to_owned() };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..5000 {
                        if let Err(LockError::Held(found)) = Lock::take(&path, "learner-sync sync") {
                            assert_eq!(found, holder);
                        }
                    }
                });
            }
            for found in (0..5000).filter_map(|_| Lock::holder(&path)) {
                assert_eq!(found, holder);
            }
        });
    }
}
