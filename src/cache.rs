//! What the last cycle knew, so that the next one need not ask the learner database: ids and hashes, never
//! users. The only code that knows sled.
//!
//! The cache is an optimisation and disposable: whatever does not match in every point is not used, and what is
//! known is then read from the learner database, with the same outcome. sled 0.34 can panic while it opens a
//! damaged directory and can open a truncated one with entries missing; therefore it is opened only for the
//! moment it is needed, on a thread whose panic is caught, and a manifest tells whether all is there. Entries
//! stand in a thousand buckets by id, because sled likes few large values better than many small ones.
//!
//! Damage is set aside and made good. Two things are left alone and refused before a cycle begins: a cache that a
//! newer learner-sync wrote, and a directory with somebody's files.

mod aside;
mod content;
mod layout;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use self::aside::set_aside;
use self::content::{BUCKETS, Decoder, Encoded, Manifest, encode};
pub use self::layout::CacheRefused;
use self::layout::{Found, look};
use crate::failpoint::{Step, reached};
use crate::model::{Generation, LinkedLearners};

const MANIFEST: &str = "manifest";
const LOCK_WAIT: Duration = Duration::from_millis(10);
const LOCK_WAITS: u32 = 200;

/// What a cache must have been made from to be of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The state of the learner database.
    pub generation: Generation,
    /// Whose learners.
    pub source: String,
    /// The hash of compiled mapping and scope.
    pub mapping: [u8; 32],
}

/// A cache that matches.
#[derive(Debug)]
pub struct Remembered {
    /// Everybody linked.
    pub known: LinkedLearners,
    /// When they were last compared with the learner database in full.
    pub compared_at: Timestamp,
}

/// Why there is nothing to remember.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forgotten {
    /// There is no cache yet.
    #[error("there is no cache yet")]
    Missing,
    /// It was made from something else.
    #[error("the cache was made from another {0}")]
    Other(&'static str),
    /// Another process has it open.
    #[error("the cache is open in another process")]
    Locked,
    /// There is no room to open it, which does not make it any worse.
    #[error("the cache cannot be opened: {0}")]
    NoRoom(String),
    /// It is not touched.
    #[error(transparent)]
    Refused(#[from] CacheRefused),
    /// It is damaged, or was written by an older version.
    #[error("the cache cannot be used: {0}")]
    Unusable(String),
}

/// The cache could not be written; the next cycle then compares in full.
#[derive(Debug, thiserror::Error)]
#[error("the cache in {path} cannot be written: {detail}")]
pub struct CacheError {
    /// Where.
    pub path: PathBuf,
    /// Why.
    pub detail: String,
}

/// Refuses, before anything else is done, what is in the place of the cache and must not be touched.
///
/// # Errors
/// Whose it is.
pub fn inspect(directory: &Path) -> Result<(), CacheRefused> {
    match look(directory) {
        Found::Refused(refused) => Err(refused),
        Found::Nothing | Found::Ours | Found::Unusable(_) => Ok(()),
    }
}

/// Reads the cache in `directory`, when it was made from exactly `origin`.
///
/// # Errors
/// Why not; what is damaged, or of an older layout, is set aside under a name with the time.
pub async fn recall(directory: &Path, origin: &Origin, now: Timestamp) -> Result<Remembered, Forgotten> {
    let read = match look(directory) {
        Found::Nothing => Err(Forgotten::Missing),
        Found::Refused(refused) => Err(refused.into()),
        Found::Unusable(why) => Err(Forgotten::Unusable(why)),
        Found::Ours => {
            let (path, origin) = (directory.to_owned(), origin.clone());
            let read = tokio::task::spawn_blocking(move || read(&path, &origin)).await;
            read.unwrap_or_else(|panic| Err(Forgotten::Unusable(format!("it cannot be opened ({panic})"))))
        }
    };
    if let Err(Forgotten::Unusable(_)) = &read {
        set_aside(directory, now);
    }
    read
}

/// Writes the cache: the buckets that differ, and the manifest, in one batch.
///
/// # Errors
/// When it cannot be written.
pub async fn record(
    directory: &Path,
    origin: &Origin,
    known: &LinkedLearners,
    compared_at: Timestamp,
    now: Timestamp,
) -> Result<(), CacheError> {
    let encoded = encode(origin, known, compared_at).map_err(|error| failed(directory, &error))?;
    match look(directory) {
        Found::Nothing => return make(directory, encoded).await,
        Found::Refused(refused) => return Err(failed(directory, &refused)),
        Found::Unusable(_) => {}
        Found::Ours => {
            let (path, content) = (directory.to_owned(), encoded.clone());
            match tokio::task::spawn_blocking(move || write(&path, &content)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error @ (sled::Error::Io(_) | sled::Error::Unsupported(_)))) => {
                    return Err(failed(directory, &error));
                }
                // Damaged: a new one in its place holds as much.
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }
    if !set_aside(directory, now) {
        return Err(failed(directory, &"what is there is unusable, and cannot be set aside"));
    }
    make(directory, encoded).await
}

/// Writes a new cache. One that cannot be finished would only be taken for a damaged one.
async fn make(directory: &Path, encoded: Encoded) -> Result<(), CacheError> {
    let path = directory.to_owned();
    let made = tokio::task::spawn_blocking(move || {
        layout::make(&path)?;
        write(&path, &encoded)
    });
    let made = match made.await {
        Ok(made) => made.map_err(|error| failed(directory, &error)),
        Err(panic) => Err(failed(directory, &panic)),
    };
    if made.is_err() {
        // What cannot be removed is set aside by the next cycle.
        let _ = std::fs::remove_dir_all(directory);
    }
    made
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> CacheError {
    CacheError { path: path.to_owned(), detail: error.to_string() }
}

/// Opens the directory. A sled that was dropped just now keeps its lock until its last thread has ended, so a lock
/// that is taken is waited for.
fn open(directory: &Path) -> sled::Result<sled::Db> {
    let mut waits = 0;
    loop {
        let opened = sled::Config::new()
            .path(directory)
            .cache_capacity(16 << 20)
            // Nothing is written but by `write`, which flushes.
            .flush_every_ms(None)
            .open();
        match opened {
            Err(error) if is_locked(&error) && waits < LOCK_WAITS => {
                waits += 1;
                std::thread::sleep(LOCK_WAIT);
            }
            opened => return opened,
        }
    }
}

/// sled tells this by its text alone.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

fn read(directory: &Path, origin: &Origin) -> Result<Remembered, Forgotten> {
    let unusable = |error: &dyn std::fmt::Display| Forgotten::Unusable(error.to_string());
    let db = open(directory).map_err(|error| match &error {
        error if is_locked(error) => Forgotten::Locked,
        sled::Error::Io(why) if matches!(why.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            Forgotten::NoRoom(why.to_string())
        }
        error => unusable(error),
    })?;
    let manifest = db
        .get(MANIFEST)
        .map_err(|error| unusable(&error))?
        .ok_or_else(|| Forgotten::Unusable("it has no manifest".to_owned()))?;
    let manifest: Manifest = postcard::from_bytes(&manifest).map_err(|error| unusable(&error))?;
    if manifest.source != origin.source {
        return Err(Forgotten::Other("application"));
    }
    if manifest.mapping != origin.mapping {
        return Err(Forgotten::Other("mapping or scope"));
    }
    if manifest.generation != origin.generation.0 {
        return Err(Forgotten::Other("state of the learner database"));
    }
    let mut decoder = Decoder::new(manifest);
    for bucket in
        db.range(0u16.to_be_bytes()..).filter(|item| !matches!(item, Ok((key, _)) if key == MANIFEST.as_bytes()))
    {
        let (key, bytes) = bucket.map_err(|error| unusable(&error))?;
        decoder.bucket(&key, &bytes).map_err(|error| unusable(&error))?;
    }
    let whole = decoder.finish().ok_or_else(|| Forgotten::Unusable("entries are missing or changed".to_owned()));
    whole.map(|(known, compared_at)| Remembered { known, compared_at })
}

fn write(directory: &Path, encoded: &Encoded) -> sled::Result<()> {
    let Encoded { buckets, manifest } = encoded;
    let db = open(directory)?;
    reached(Step::CacheOpened);
    let mut batch = sled::Batch::default();
    for number in 0..BUCKETS {
        let key = number.to_be_bytes();
        let stored = db.get(key)?;
        match buckets.get(&number) {
            Some(bytes) if stored.as_deref() != Some(bytes) => batch.insert(&key, bytes.as_slice()),
            None if stored.is_some() => batch.remove(&key),
            _ => {}
        }
    }
    batch.insert(MANIFEST, manifest.as_slice());
    db.apply_batch(batch)?;
    reached(Step::CacheWritten);
    db.flush()?;
    reached(Step::CacheFlushed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EntraId, Fingerprint, LearnerId, LinkedLearner, Route};

    fn user(number: u128) -> EntraId {
        EntraId::from_bytes(number.to_be_bytes())
    }

    fn known(count: u128) -> LinkedLearners {
        (1..=count)
            .map(|number| {
                let routes = [Some(Route::Direct), number.is_multiple_of(2).then(|| Route::Group(user(7)))];
                let entry = LinkedLearner {
                    learner: LearnerId::Number(number as i64),
                    active: !number.is_multiple_of(3),
                    fingerprint: Fingerprint(number.to_le_bytes()),
                    routes: routes.into_iter().flatten().collect(),
                };
                (user(number << 64), entry)
            })
            .collect()
    }

    fn origin() -> Origin {
        Origin { generation: Generation(5), source: "tenant/application".to_owned(), mapping: [3; 32] }
    }

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    #[tokio::test]
    async fn what_is_recorded_is_recalled_and_bound_to_its_origin() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        assert_eq!(recall(&path, &origin(), now()).await.unwrap_err(), Forgotten::Missing);
        record(&path, &origin(), &known(5000), now(), now()).await.unwrap();
        let remembered = recall(&path, &origin(), now()).await.unwrap();
        assert_eq!(remembered.known, known(5000));
        assert_eq!(remembered.compared_at, now());

        let other = Origin { generation: Generation(6), ..origin() };
        assert!(matches!(recall(&path, &other, now()).await, Err(Forgotten::Other(_))));
        let other = Origin { mapping: [4; 32], ..origin() };
        assert!(matches!(recall(&path, &other, now()).await, Err(Forgotten::Other(_))));

        // Fewer users, other buckets: nothing of the old ones stays.
        record(&path, &origin(), &known(10), now(), now()).await.unwrap();
        assert_eq!(recall(&path, &origin(), now()).await.unwrap().known, known(10));
    }

    #[tokio::test]
    async fn damage_is_noticed_set_aside_and_made_good() {
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
            record(&path, &origin(), &known(3000), now(), now()).await.unwrap();
            let mut bytes = std::fs::read(path.join("db")).unwrap();
            damage(&mut bytes);
            std::fs::write(path.join("db"), bytes).unwrap();

            let forgotten = recall(&path, &origin(), now()).await.unwrap_err();
            assert!(matches!(forgotten, Forgotten::Unusable(_)), "{what}: {forgotten}");
            let aside = directory.path().join("cache.unusable-2026-01-02T03-04-05Z");
            assert!(aside.is_dir(), "{what}");
            record(&path, &origin(), &known(3000), now(), now()).await.unwrap();
            assert_eq!(recall(&path, &origin(), now()).await.unwrap().known, known(3000), "{what}");
        }
    }

    #[tokio::test]
    async fn damages_within_one_second_are_all_set_aside_and_the_last_three_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        let aside = |name: &str| directory.path().join(format!("cache.unusable-2026-01-02T03-04-05Z{name}"));
        for number in 1..=12 {
            std::fs::write(&path, format!("damage {number}")).unwrap();
            assert!(matches!(recall(&path, &origin(), now()).await, Err(Forgotten::Unusable(_))));
            assert!(!path.exists(), "{number}");
        }
        for (name, number) in [("-10", 10), ("-11", 11), ("-12", 12)] {
            assert_eq!(std::fs::read_to_string(aside(name)).unwrap(), format!("damage {number}"));
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
    }
}
