//! Linked learners of the last cycle as ids and hashes, without personal data. The only code that knows sled.
//!
//! The cache is a disposable optimisation. If it does not match its [`Origin`], the cycle reads the learner database
//! instead, with the same outcome.
//!
//! sled 0.34 can panic while it opens a damaged directory, and can open a truncated one with entries missing. It is
//! therefore opened only while needed, on a thread whose panic is caught, and a manifest proves that the content is
//! complete. Entries are grouped into 1024 buckets, because sled handles few large values better than many small ones.
//!
//! A disk that does not answer costs a limited time: the cycle that waits for it keeps every other one out.
//!
//! A damaged cache is set aside and rebuilt. Two kinds of directories are refused before a cycle starts and stay
//! unchanged: the cache of a newer learner-sync, and a directory with other files.

mod aside;
mod content;
mod copy;
mod layout;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use self::aside::set_aside;
use self::content::{BUCKETS, Encoded, Manifest, decode, encode};
use self::copy::Copy;
pub use self::layout::CacheRefused;
use self::layout::{CacheState, classify_directory};
use crate::failpoint::{Step, reached};
use crate::files::{self, DiskFault, caught, on_disk};
use crate::model::{Generation, LinkedLearners};

const MANIFEST: &str = "manifest";
const LOCK_WAIT: Duration = Duration::from_millis(10);
const LOCK_WAITS: u32 = 200;

/// The data that a cache was built from. A cache with another origin is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The state of the learner database.
    pub generation: Generation,
    /// The tenant and enterprise application, as in the `source` columns.
    pub source: String,
    /// The hash of the compiled mapping and scope.
    pub mapping: [u8; 32],
    /// Whether learner ids are texts, which the cache does not contain.
    pub text_ids: bool,
}

/// The content of a matching cache.
#[derive(Debug)]
pub struct CachedLearners {
    /// All linked learners. Text ids are empty: they may be names, which the cache must not contain.
    pub linked: LinkedLearners,
    /// The time of the last full comparison with the learner database.
    pub compared_at: Timestamp,
}

/// The reason for not using the cache.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheMiss {
    /// There is no cache yet.
    #[error("there is no cache yet")]
    Missing,
    /// The cache has another origin; names the difference.
    #[error("the cache was built from another {0}")]
    OriginChanged(&'static str),
    /// Another process has opened the cache.
    #[error("the cache is open in another process")]
    Locked,
    /// Another process changes the cache, so a copy of it is not complete.
    #[error("another process is writing the cache")]
    Changing,
    /// The disk hangs.
    #[error("the disk of the cache does not answer")]
    Silent,
    /// The system cannot open the cache at present, which is intact.
    #[error("cannot open the cache: {0}")]
    Unavailable(String),
    /// The directory must not be changed.
    #[error(transparent)]
    Refused(#[from] CacheRefused),
    /// The cache is damaged, or has an older layout.
    #[error("the cache is unusable: {0}")]
    Unusable(String),
}

/// The cache cannot be written. The next cycle compares in full.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the cache in {path}: {detail}")]
pub struct CacheError {
    /// The cache directory.
    pub path: PathBuf,
    /// The cause.
    pub detail: String,
}

/// Checks that the cache directory may be used, before a cycle starts.
///
/// # Errors
/// A newer learner-sync wrote the cache, or the directory contains other files.
pub fn inspect(directory: &Path) -> Result<(), CacheRefused> {
    match classify_directory(directory) {
        CacheState::Refused(refused) => Err(refused),
        CacheState::Absent | CacheState::Usable | CacheState::Unavailable(_) | CacheState::Unusable(_) => Ok(()),
    }
}

/// Reads the cache in `directory`, if it was built from exactly `origin`. An unusable cache is set aside.
///
/// # Errors
/// The reason for not using the cache.
pub async fn recall(directory: &Path, origin: &Origin, now: Timestamp) -> Result<CachedLearners, CacheMiss> {
    let origin = origin.clone();
    let recalled = on_disk(directory, move |directory| {
        reached(Step::CacheReading);
        let read = read_with(directory, &origin, read);
        if let Err(CacheMiss::Unusable(_)) = &read {
            set_aside(directory, now);
        }
        read
    });
    recalled.await?
}

/// Like [`recall`], without changing anything: reads a copy of the cache.
///
/// # Errors
/// The reason for not using the cache.
pub async fn peek(directory: &Path, origin: &Origin) -> Result<CachedLearners, CacheMiss> {
    let read_copy = |directory: &Path, origin: &Origin| {
        let copy = Copy::new(directory).map_err(|error| CacheMiss::Unavailable(error.to_string()))?;
        read(copy.path(), origin)
    };
    let origin = origin.clone();
    on_disk(directory, move |directory| peek_twice(directory, || read_with(directory, &origin, read_copy))).await?
}

/// Repeats an attempt that another process may have disturbed, and says so if the second one fails as well.
fn peek_twice<T>(directory: &Path, mut attempt: impl FnMut() -> Result<T, CacheMiss>) -> Result<T, CacheMiss> {
    let before = layout::file_states(directory);
    let first = attempt();
    if !matches!(first, Err(CacheMiss::Unavailable(_) | CacheMiss::Unusable(_))) {
        return first;
    }
    match attempt() {
        Err(CacheMiss::Unavailable(_) | CacheMiss::Unusable(_)) if layout::file_states(directory) != before => {
            Err(CacheMiss::Changing)
        }
        second => second,
    }
}

fn read_with(
    directory: &Path,
    origin: &Origin,
    read: impl FnOnce(&Path, &Origin) -> Result<CachedLearners, CacheMiss>,
) -> Result<CachedLearners, CacheMiss> {
    match classify_directory(directory) {
        CacheState::Absent => Err(CacheMiss::Missing),
        CacheState::Refused(refused) => Err(refused.into()),
        CacheState::Unavailable(why) => Err(CacheMiss::Unavailable(why)),
        CacheState::Unusable(why) => Err(CacheMiss::Unusable(why)),
        CacheState::Usable => {
            let read = caught(|| read(directory, origin));
            read.unwrap_or_else(|panic| Err(CacheMiss::Unusable(format!("cannot open it ({panic})"))))
        }
    }
}

/// What became of an attempt to write into the present directory.
enum Written {
    /// The cache is up to date.
    Complete,
    /// The directory has to stay as it is.
    Failed(String),
    /// The present cache is damaged; a new one replaces it.
    Damaged,
}

/// Writes the changed buckets and the manifest in one batch.
///
/// # Errors
/// The cache cannot be written.
pub async fn record(
    directory: &Path,
    origin: &Origin,
    linked: &LinkedLearners,
    compared_at: Timestamp,
    now: Timestamp,
) -> Result<(), CacheError> {
    let encoded = || encode(origin, linked, compared_at).map_err(|error| cache_error(directory, &error));
    let content = encoded()?;
    let written = on_disk(directory, move |directory| write_into(directory, content)).await;
    match written.map_err(|fault| cache_error(directory, &fault))? {
        Written::Complete => return Ok(()),
        Written::Failed(why) => return Err(cache_error(directory, &why)),
        Written::Damaged => {}
    }
    let content = encoded()?;
    let replaced = on_disk(directory, move |directory| match set_aside(directory, now) {
        true => create(directory, content),
        false => Err("the existing cache is unusable and cannot be set aside".to_owned()),
    });
    let replaced = replaced.await.map_err(|fault| cache_error(directory, &fault))?;
    replaced.map_err(|error| cache_error(directory, &error))
}

fn write_into(directory: &Path, encoded: Encoded) -> Written {
    match classify_directory(directory) {
        CacheState::Absent => match create(directory, encoded) {
            Ok(()) => Written::Complete,
            Err(why) => Written::Failed(why),
        },
        CacheState::Refused(refused) => Written::Failed(refused.to_string()),
        CacheState::Unavailable(why) => Written::Failed(why),
        CacheState::Unusable(_) => Written::Damaged,
        CacheState::Usable => match caught(|| write(directory, encoded)) {
            Ok(Ok(())) => Written::Complete,
            Ok(Err(error @ (sled::Error::Io(_) | sled::Error::Unsupported(_)))) => Written::Failed(error.to_string()),
            Ok(Err(_)) | Err(_) => Written::Damaged,
        },
    }
}

/// Writes a new cache, and removes it again if that fails: an unfinished cache would look damaged.
fn create(directory: &Path, encoded: Encoded) -> Result<(), String> {
    let created = caught(|| {
        layout::create(directory)?;
        write(directory, encoded)
    });
    let created = created.and_then(|written| written.map_err(|error| error.to_string()));
    if created.is_err() {
        // If the removal fails, the next cycle sets the cache aside.
        let _ = std::fs::remove_dir_all(directory);
    }
    created
}

fn cache_error(path: &Path, error: &dyn std::fmt::Display) -> CacheError {
    CacheError { path: path.to_owned(), detail: error.to_string() }
}

impl From<DiskFault> for CacheMiss {
    fn from(fault: DiskFault) -> Self {
        match fault {
            DiskFault::Silent => Self::Silent,
            DiskFault::Panicked(panic) => Self::Unusable(panic),
        }
    }
}

/// Opens the directory, and waits for its lock.
fn open(directory: &Path) -> sled::Result<sled::Db> {
    let open = || {
        // Each bucket is read once.
        let config = sled::Config::new().path(directory).cache_capacity(1 << 20);
        // `write` flushes.
        config.flush_every_ms(None).open()
    };
    wait_for_sled(open, is_locked)
}

/// Repeats `attempt` while another thread of sled is in its way: the last one ends shortly after the cache was dropped.
fn wait_for_sled<T, E>(mut attempt: impl FnMut() -> Result<T, E>, is_in_the_way: impl Fn(&E) -> bool) -> Result<T, E> {
    let mut waits = 0;
    loop {
        match attempt() {
            Err(error) if is_in_the_way(&error) && waits < LOCK_WAITS => {
                waits += 1;
                std::thread::sleep(LOCK_WAIT);
            }
            done => return done,
        }
    }
}

/// sled reports a lock only in the text of the error.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

fn unusable(error: &dyn std::fmt::Display) -> CacheMiss {
    CacheMiss::Unusable(error.to_string())
}

fn read(directory: &Path, origin: &Origin) -> Result<CachedLearners, CacheMiss> {
    let db = open(directory).map_err(|error| match &error {
        error if is_locked(error) => CacheMiss::Locked,
        sled::Error::Io(why) if files::is_shortage(why) => CacheMiss::Unavailable(why.to_string()),
        error => unusable(error),
    })?;
    let manifest = db.get(MANIFEST).map_err(|error| unusable(&error))?;
    let manifest = manifest.ok_or_else(|| unusable(&"the manifest is missing"))?;
    let manifest: Manifest = postcard::from_bytes(&manifest).map_err(|error| unusable(&error))?;
    if manifest.source != origin.source {
        return Err(CacheMiss::OriginChanged("application"));
    }
    if manifest.mapping != origin.mapping {
        return Err(CacheMiss::OriginChanged("mapping or scope"));
    }
    if manifest.generation != origin.generation.0 {
        return Err(CacheMiss::OriginChanged("state of the learner database"));
    }
    let buckets =
        db.range(0u16.to_be_bytes()..).filter(|item| !matches!(item, Ok((key, _)) if key == MANIFEST.as_bytes()));
    decode(&manifest, origin.text_ids, buckets)
}

fn write(directory: &Path, encoded: Encoded) -> sled::Result<()> {
    let Encoded { mut buckets, manifest } = encoded;
    let db = open(directory)?;
    reached(Step::CacheOpened);
    let mut batch = sled::Batch::default();
    for number in 0..BUCKETS {
        let key = number.to_be_bytes();
        let stored = db.get(key)?;
        match buckets.remove(&number) {
            Some(bytes) if stored.as_deref() != Some(bytes.as_slice()) => batch.insert(&key, bytes),
            None if stored.is_some() => batch.remove(&key),
            _ => {}
        }
    }
    batch.insert(MANIFEST, manifest);
    db.apply_batch(batch)?;
    reached(Step::CacheWritten);
    db.flush()?;
    reached(Step::CacheFlushed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EntraId, Fingerprint, LearnerId, LinkedLearner, Route, RowHash};

    fn user(number: u128) -> EntraId {
        EntraId::from_bytes(number.to_be_bytes())
    }

    fn linked(count: u128) -> LinkedLearners {
        (1..=count)
            .map(|number| {
                let routes = [Some(Route::Direct), number.is_multiple_of(2).then(|| Route::Group(user(7)))];
                let entry = LinkedLearner {
                    learner: LearnerId::Number(number as i64),
                    active: !number.is_multiple_of(3),
                    outside: number.is_multiple_of(5),
                    fingerprint: Fingerprint(number.to_le_bytes()),
                    row: RowHash::from_bytes((number as u64 % 3).to_le_bytes()),
                    routes: routes.into_iter().flatten().collect(),
                };
                (user(number << 64), entry)
            })
            .collect()
    }

    fn origin() -> Origin {
        Origin { generation: Generation(5), source: "tenant/application".to_owned(), mapping: [3; 32], text_ids: false }
    }

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    #[tokio::test]
    async fn a_recorded_cache_is_recalled_for_the_same_origin_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        assert_eq!(recall(&path, &origin(), now()).await.unwrap_err(), CacheMiss::Missing);
        record(&path, &origin(), &linked(5000), now(), now()).await.unwrap();
        let recalled = recall(&path, &origin(), now()).await.unwrap();
        assert_eq!(recalled.linked, linked(5000));
        assert_eq!(recalled.compared_at, now());

        let other = Origin { generation: Generation(6), ..origin() };
        assert!(matches!(recall(&path, &other, now()).await, Err(CacheMiss::OriginChanged(_))));
        let other = Origin { mapping: [4; 32], ..origin() };
        assert!(matches!(recall(&path, &other, now()).await, Err(CacheMiss::OriginChanged(_))));

        // Another program has changed the type of the column.
        let other = Origin { text_ids: true, ..origin() };
        assert!(matches!(recall(&path, &other, now()).await, Err(CacheMiss::OriginChanged(_))));
        let mut named = linked(10);
        named.retain(|_, linked| {
            linked.learner = LearnerId::Text("grace".into());
            true
        });
        record(&path, &origin(), &named, now(), now()).await.unwrap();
        assert!(matches!(recall(&path, &origin(), now()).await, Err(CacheMiss::OriginChanged(_))));
        assert_eq!(recall(&path, &other, now()).await.unwrap().linked.len(), 10);

        // With fewer users, no bucket of the old content remains.
        record(&path, &origin(), &linked(10), now(), now()).await.unwrap();
        assert_eq!(recall(&path, &origin(), now()).await.unwrap().linked, linked(10));
    }

    #[tokio::test]
    async fn a_damaged_cache_is_set_aside_and_rebuilt() {
        for (what, damage) in [
            (
                "flipped",
                (|bytes: &mut Vec<u8>| bytes.iter_mut().skip(100).step_by(97).for_each(|byte| *byte ^= 0xff))
                    as fn(&mut Vec<u8>),
            ),
            ("truncated", |bytes| bytes.truncate(bytes.len() / 3)),
            ("emptied", Vec::clear),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("cache");
            record(&path, &origin(), &linked(3000), now(), now()).await.unwrap();
            let mut bytes = std::fs::read(path.join("db")).unwrap();
            damage(&mut bytes);
            std::fs::write(path.join("db"), bytes).unwrap();

            let forgotten = recall(&path, &origin(), now()).await.unwrap_err();
            assert!(matches!(forgotten, CacheMiss::Unusable(_)), "{what}: {forgotten}");
            let aside = directory.path().join("cache.unusable-2026-01-02T03-04-05Z");
            assert!(aside.is_dir(), "{what}");
            record(&path, &origin(), &linked(3000), now(), now()).await.unwrap();
            assert_eq!(recall(&path, &origin(), now()).await.unwrap().linked, linked(3000), "{what}");
        }
    }

    #[tokio::test]
    async fn a_cache_that_changes_under_a_plan_is_read_again_and_not_called_unusable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        record(&path, &origin(), &linked(30), now(), now()).await.unwrap();
        assert_eq!(peek(&path, &origin()).await.unwrap().linked, linked(30));
        let torn = || Err::<u8, _>(CacheMiss::Unusable("it is torn".to_owned()));
        let gone = || Err(CacheMiss::Unavailable("a file is missing".to_owned()));
        // The results of two attempts, whether a file changes, and the outcome.
        for (found, changes, expected) in [
            ([torn(), Ok(2)], true, Ok(2)),
            ([gone(), Ok(2)], false, Ok(2)),
            ([Ok(1), torn()], true, Ok(1)),
            ([gone(), torn()], true, Err(CacheMiss::Changing)),
            ([torn(), gone()], false, gone()),
            ([torn(), Err(CacheMiss::Missing)], true, Err(CacheMiss::Missing)),
            ([Err(CacheMiss::OriginChanged("application")), Ok(2)], true, Err(CacheMiss::OriginChanged("application"))),
        ] {
            let mut attempts = found.clone().into_iter();
            let peeked = peek_twice(&path, || {
                if changes {
                    let file = path.join(format!("snap.{}", attempts.len()));
                    std::fs::write(file, format!("{found:?}")).unwrap();
                }
                attempts.next().unwrap()
            });
            assert_eq!(peeked, expected);
            (0..3).for_each(|number| drop(std::fs::remove_file(path.join(format!("snap.{number}")))));
        }
    }

    #[test]
    fn an_attempt_that_a_thread_of_sled_disturbs_is_repeated() {
        let attempts = |found: [Result<u8, bool>; 2]| {
            let mut attempts = found.into_iter();
            wait_for_sled(|| attempts.next().unwrap(), |is_in_the_way| *is_in_the_way)
        };
        assert_eq!(attempts([Err(true), Ok(2)]), Ok(2));
        assert_eq!(attempts([Err(true), Err(false)]), Err(false));
        assert_eq!(attempts([Err(false), Ok(2)]), Err(false));
    }

    #[tokio::test]
    async fn the_last_three_damaged_caches_of_one_second_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        let aside = |name: &str| directory.path().join(format!("cache.unusable-2026-01-02T03-04-05Z{name}"));
        for number in 1..=12 {
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("db"), format!("damage {number}")).unwrap();
            assert!(matches!(recall(&path, &origin(), now()).await, Err(CacheMiss::Unusable(_))));
            assert!(!path.exists(), "{number}");
        }
        for (name, number) in [("-10", 10), ("-11", 11), ("-12", 12)] {
            assert_eq!(std::fs::read_to_string(aside(name).join("db")).unwrap(), format!("damage {number}"));
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[tokio::test]
    async fn a_foreign_file_in_place_of_a_cache_is_never_changed_or_removed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let path = at("cache");
        std::fs::write(at("theirs"), "a database of others").unwrap();
        std::fs::create_dir(at("cache.unusable-notes")).unwrap();
        let kinds: [(&str, &dyn Fn()); 5] = [
            ("a file", &|| std::fs::write(&path, "a list").unwrap()),
            ("a link as db", &|| std::os::unix::fs::symlink(at("theirs"), path.join("db")).unwrap()),
            ("a FIFO as conf", &|| {
                rustix::fs::mkfifoat(rustix::fs::CWD, path.join("conf"), rustix::fs::Mode::RWXU).unwrap();
            }),
            ("a FIFO as layout", &|| {
                std::fs::rename(path.join("layout"), path.join("db")).unwrap();
                rustix::fs::mkfifoat(rustix::fs::CWD, path.join("layout"), rustix::fs::Mode::RWXU).unwrap();
            }),
            ("a directory as snapshot", &|| std::fs::create_dir(path.join("snap.0")).unwrap()),
        ];
        for (what, put) in kinds {
            if what != "a file" {
                layout::create(&path).unwrap();
            }
            put();
            assert!(matches!(recall(&path, &origin(), now()).await, Err(CacheMiss::Unusable(_))), "{what}");
        }
        let names = || std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!((names(), std::fs::read_to_string(at("theirs")).unwrap().as_str()), (7, "a database of others"));
        // None of the three oldest is only a cache.
        record(&path, &origin(), &linked(3), now(), now()).await.unwrap();
        assert_eq!(recall(&path, &origin(), now()).await.unwrap().linked, linked(3));
        assert_eq!(names(), 8);
    }
}
