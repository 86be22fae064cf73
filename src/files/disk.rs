//! Work on the disk of a directory, beside the event loop: a disk may never answer, such as a lost network file system.

use std::any::Any;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::directory_of;
use crate::failpoint::{Limit, limit};

/// How long the disk may take. The cache of a million users takes seconds, and a comparison without the cache about a
/// minute.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long the work of a caller that gives up may have taken without its disk being at fault.
const PATIENCE: Duration = Duration::from_secs(5);

/// The directories whose disk still owes answers to earlier work, and how many. Another thread would wait as well.
static SILENT: Mutex<BTreeMap<PathBuf, usize>> = Mutex::new(BTreeMap::new());

/// The work was not done, or nobody knows whether it was.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DiskFault {
    #[error("the disk does not answer")]
    Silent,
    #[error("{0}")]
    Panicked(String),
}

impl From<DiskFault> for io::Error {
    fn from(fault: DiskFault) -> Self {
        match fault {
            DiskFault::Silent => Self::new(io::ErrorKind::TimedOut, "the disk does not answer"),
            DiskFault::Panicked(text) => Self::other(text),
        }
    }
}

/// Does `work` on another thread, and waits at most [`TIMEOUT`]. The thread stays until the disk answers; until then the
/// directory is left alone, also for other kinds of work.
pub(crate) async fn on_disk<T: Send + 'static>(
    directory: &Path,
    work: impl FnOnce(&Path) -> T + Send + 'static,
) -> Result<T, DiskFault> {
    if silent().contains_key(directory) {
        return Err(DiskFault::Silent);
    }
    let path = directory.to_owned();
    begin(directory, limit(Limit::DiskAnswer, PATIENCE), move || work(&path)).await
}

/// Like [`on_disk`], for work with one file. Its directory is left alone while the disk is silent.
pub(crate) async fn on_disk_of<T: Send + 'static>(
    file: &Path,
    work: impl FnOnce(&Path) -> T + Send + 'static,
) -> Result<T, DiskFault> {
    let path = file.to_owned();
    on_disk(place_of(file), move |_| work(&path)).await
}

/// Begins `work` in `directory` on another thread. The future waits for it at most [`TIMEOUT`]. When it is dropped after
/// `patience`, the disk owes the answer.
fn begin<T: Send + 'static>(
    directory: &Path,
    patience: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, DiskFault>> {
    let (path, answer) = (directory.to_owned(), Arc::new(Mutex::new(Answer::Awaited)));
    let answered = Arc::clone(&answer);
    let owed = Owed { directory, answer, since: Instant::now(), patience };
    let work = tokio::task::spawn_blocking(move || {
        let done = caught(work);
        let mut silent = silent();
        if let Answer::Owed = std::mem::replace(&mut *lock(&answered), Answer::Given)
            && let Entry::Occupied(mut owed) = silent.entry(path)
        {
            *owed.get_mut() -= 1;
            if *owed.get() == 0 {
                owed.remove();
            }
        }
        done
    });
    async move {
        let _owed = owed;
        match tokio::time::timeout(limit(Limit::DiskAnswer, TIMEOUT), work).await {
            Ok(Ok(done)) => done.map_err(DiskFault::Panicked),
            Ok(Err(panic)) => Err(DiskFault::Panicked(panic.to_string())),
            Err(_) => Err(DiskFault::Silent),
        }
    }
}

enum Answer {
    Awaited,
    /// Nobody waits for it any more, and it counts in [`SILENT`].
    Owed,
    Given,
}

/// Work that somebody waits for. When they give up late, the disk is silent.
struct Owed<'d> {
    directory: &'d Path,
    answer: Arc<Mutex<Answer>>,
    since: Instant,
    patience: Duration,
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        let (mut silent, mut answer) = (silent(), lock(&self.answer));
        if matches!(*answer, Answer::Awaited) && self.since.elapsed() >= self.patience {
            *answer = Answer::Owed;
            *silent.entry(self.directory.to_owned()).or_default() += 1;
        }
    }
}

/// Like [`on_disk_of`], for the last work with a file, such as closing it. It begins even while the disk is silent, and
/// is not awaited then: left undone, it would be done on the thread of the caller.
pub(crate) async fn last_on_disk_of(file: &Path, work: impl FnOnce() + Send + 'static) -> Result<(), DiskFault> {
    let directory = place_of(file);
    let was_silent = silent().contains_key(directory);
    let patience = if was_silent { Duration::ZERO } else { limit(Limit::DiskAnswer, PATIENCE) };
    let work = begin(directory, patience, work);
    if was_silent { Err(DiskFault::Silent) } else { work.await }
}

/// Advice on a disk that does not answer. `path` is a file or a directory on it.
pub(crate) fn silent_disk_hint(path: &Path) -> String {
    format!("check the disk or the network file system of {}", path.display())
}

/// Whether the disk of `file` still owes an answer.
pub(crate) fn is_silent(file: &Path) -> bool {
    silent().contains_key(place_of(file))
}

fn place_of(file: &Path) -> &Path {
    directory_of(file).unwrap_or(Path::new("."))
}

/// The result of `work`, or what it said in its panic.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| format!("it panicked: {}", panic_text(&*panic)))
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

fn silent() -> MutexGuard<'static, BTreeMap<PathBuf, usize>> {
    lock(&SILENT)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_disk_that_does_not_answer_is_left_alone_until_it_does() {
        let directory = Path::new("/a/disk/that/hangs");
        let (answer, answers) = mpsc::channel::<()>();
        let waits = on_disk(directory, move |_| answers.recv());
        tokio::pin!(waits);
        // Starts the work before time stands still.
        tokio::select! {
            biased;
            answered = &mut waits => panic!("{answered:?}"),
            () = std::future::ready(()) => {}
        }
        tokio::time::pause();
        tokio::time::advance(TIMEOUT * 2).await;
        assert_eq!(waits.await, Err(DiskFault::Silent));
        assert_eq!(on_disk(directory, |_| 1).await, Err(DiskFault::Silent));
        assert_eq!(on_disk(Path::new("/another"), |_| 2).await, Ok(2));
        answer.send(()).unwrap();
        while silent().contains_key(directory) {
            std::thread::yield_now();
        }
        assert_eq!(on_disk(directory, |_| 3).await, Ok(3));
    }

    #[tokio::test]
    async fn a_disk_is_also_left_alone_after_somebody_has_given_up_late() {
        for (directory, waited, is_silent) in [("/given/up/soon", PATIENCE / 2, false), ("/given/up", PATIENCE, true)] {
            let directory = Path::new(directory);
            let (answer, answers) = mpsc::channel::<()>();
            let mut waits = Box::pin(on_disk(directory, move |_| answers.recv()));
            // Starts the work before time stands still.
            tokio::select! {
                biased;
                answered = &mut waits => panic!("{answered:?}"),
                () = std::future::ready(()) => {}
            }
            tokio::time::pause();
            tokio::time::advance(waited).await;
            drop(waits);
            assert_eq!(silent().contains_key(directory), is_silent, "{directory:?}");
            tokio::time::resume();
            answer.send(()).unwrap();
            while silent().contains_key(directory) {
                std::thread::yield_now();
            }
        }
    }

    #[tokio::test]
    async fn the_last_work_on_a_silent_disk_begins_and_is_not_awaited() {
        let file = Path::new("/a/disk/that/hangs/at/the/end");
        let directory = directory_of(file).unwrap();
        let (answer, answers) = mpsc::channel::<()>();
        let (begun, last) = mpsc::channel();
        silent().insert(directory.to_owned(), 1);
        let released = last_on_disk_of(file, move || {
            begun.send(()).unwrap();
            let _ = answers.recv();
        });
        assert_eq!(released.await, Err(DiskFault::Silent));
        last.recv().unwrap();
        assert_eq!(on_disk(directory, |_| 1).await, Err(DiskFault::Silent));
        assert_eq!(on_disk_of(&directory.join("another"), |_| 1).await, Err(DiskFault::Silent));
        assert_eq!(silent().get(directory), Some(&2));
        answer.send(()).unwrap();
        // The earlier work still waits.
        while silent().get(directory) == Some(&2) {
            std::thread::yield_now();
        }
        assert_eq!(on_disk(directory, |_| 1).await, Err(DiskFault::Silent));
        silent().remove(directory);
        assert_eq!(last_on_disk_of(file, || {}).await, Ok(()));
    }

    #[tokio::test]
    async fn a_panic_is_a_fault() {
        let panicked = on_disk(Path::new("/a/disk"), |_| panic!("damaged {}", 7)).await;
        let panicked: Result<(), DiskFault> = panicked;
        assert_eq!(panicked, Err(DiskFault::Panicked("it panicked: damaged 7".to_owned())));
    }
}
