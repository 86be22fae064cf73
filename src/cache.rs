//! What the last cycle knew, so that the next one need not ask the learner database: ids and hashes, never
//! people. The only code that knows sled.
//!
//! The cache is an optimisation and disposable: whatever does not match in every point is not used, and what is
//! known is then read from the learner database, with the same outcome. sled 0.34 can panic while it opens a
//! damaged directory and can open a truncated one with entries missing; therefore it is opened only for the
//! moment it is needed, on a thread whose panic is caught, and a manifest tells whether all is there. Entries
//! stand in a thousand buckets by id, because sled likes few large values better than many small ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::failpoint::{Step, reached};
use crate::model::{EntraId, Fingerprint, Generation, Known, KnownLearners, LearnerId, Route, Via};

/// Changes with the layout of what is stored.
const VERSION: u32 = 1;
const BUCKETS: u64 = 1024;
const MANIFEST: &str = "manifest";
const LOCK_WAIT: Duration = Duration::from_millis(10);
const LOCK_WAITS: u32 = 200;
/// How many unusable caches are kept for a look at them.
const KEPT_ASIDE: usize = 3;

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
    pub known: KnownLearners,
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
    /// It is damaged, or was written by another version.
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

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    generation: u128,
    source: String,
    mapping: [u8; 32],
    count: u64,
    /// Over the hashes of all buckets.
    digest: [u8; 32],
    /// Seconds since 1970.
    compared_at: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Bucket {
    /// The few combinations of routes of its people; `None` is `direct`.
    via: Vec<Vec<Option<[u8; 16]>>>,
    entries: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    person: [u8; 16],
    learner: i64,
    active: bool,
    fingerprint: [u8; 16],
    via: u32,
}

/// Reads the cache in `directory`, when it was made from exactly `origin`.
///
/// # Errors
/// Why not; what is damaged is set aside under a name with the time.
pub async fn recall(directory: &Path, origin: &Origin, now: Timestamp) -> Result<Remembered, Forgotten> {
    if !directory.exists() {
        return Err(Forgotten::Missing);
    }
    let (path, origin) = (directory.to_owned(), origin.clone());
    let read = tokio::task::spawn_blocking(move || read(&path, &origin)).await;
    let read = read.unwrap_or_else(|panic| Err(Forgotten::Unusable(format!("it cannot be opened ({panic})"))));
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
    known: &KnownLearners,
    compared_at: Timestamp,
    now: Timestamp,
) -> Result<(), CacheError> {
    let (buckets, manifest) = encode(origin, known, compared_at).map_err(|error| failed(directory, &error))?;
    let (path, content) = (directory.to_owned(), (buckets.clone(), manifest.clone()));
    match tokio::task::spawn_blocking(move || write(&path, &content.0, &content.1)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error @ (sled::Error::Io(_) | sled::Error::Unsupported(_)))) => Err(failed(directory, &error)),
        // Damaged: a new one in its place holds as much.
        Ok(Err(_)) | Err(_) => {
            set_aside(directory, now);
            let path = directory.to_owned();
            match tokio::task::spawn_blocking(move || write(&path, &buckets, &manifest)).await {
                Ok(written) => written.map_err(|error| failed(directory, &error)),
                Err(panic) => Err(failed(directory, &panic)),
            }
        }
    }
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
    let db = open(directory).map_err(|error| if is_locked(&error) { Forgotten::Locked } else { unusable(&error) })?;
    let manifest = db
        .get(MANIFEST)
        .map_err(|error| unusable(&error))?
        .ok_or_else(|| Forgotten::Unusable("it has no manifest".to_owned()))?;
    // The version stands first, so that it can be read from a manifest of any layout.
    let (version, _) = postcard::take_from_bytes::<u32>(&manifest).map_err(|error| unusable(&error))?;
    if version != VERSION {
        return Err(Forgotten::Unusable(format!("it has layout {version}, not {VERSION}")));
    }
    let Manifest { version: _, generation, source, mapping, count, digest, compared_at } =
        postcard::from_bytes(&manifest).map_err(|error| unusable(&error))?;
    if source != origin.source {
        return Err(Forgotten::Other("application"));
    }
    if mapping != origin.mapping {
        return Err(Forgotten::Other("mapping or scope"));
    }
    if generation != origin.generation.0 {
        return Err(Forgotten::Other("state of the learner database"));
    }
    let mut hasher = blake3::Hasher::new();
    let mut known = KnownLearners::new();
    let mut shared = std::collections::BTreeSet::new();
    for bucket in
        db.range(0u16.to_be_bytes()..).filter(|item| !matches!(item, Ok((key, _)) if key == MANIFEST.as_bytes()))
    {
        let (key, bytes) = bucket.map_err(|error| unusable(&error))?;
        digest_bucket(&mut hasher, &key, &bytes);
        decode(&bytes, &mut known, &mut shared).map_err(|error| unusable(&error))?;
    }
    if known.len() as u64 != count || hasher.finalize() != digest {
        return Err(Forgotten::Unusable("entries are missing or changed".to_owned()));
    }
    let compared_at = Timestamp::from_second(compared_at).map_err(|error| unusable(&error))?;
    Ok(Remembered { known, compared_at })
}

fn digest_bucket(hasher: &mut blake3::Hasher, key: &[u8], bytes: &[u8]) {
    hasher.update(key);
    hasher.update(blake3::hash(bytes).as_bytes());
}

fn decode(
    bytes: &[u8],
    known: &mut KnownLearners,
    shared: &mut std::collections::BTreeSet<Via>,
) -> Result<(), postcard::Error> {
    let Bucket { via, entries } = postcard::from_bytes(bytes)?;
    let mut ways = Vec::with_capacity(via.len());
    for routes in via {
        let via: Via = routes
            .into_iter()
            .map(|route| route.map_or(Route::Direct, |id| Route::Group(EntraId::from_bytes(id))))
            .collect();
        let via = match shared.get(&via) {
            Some(same) => same.clone(),
            None => {
                shared.insert(via.clone());
                via
            }
        };
        ways.push(via);
    }
    for Entry { person, learner, active, fingerprint, via } in entries {
        let via = ways.get(via as usize).cloned().ok_or(postcard::Error::SerdeDeCustom)?;
        let entry = Known { learner: LearnerId(learner), active, fingerprint: Fingerprint(fingerprint), via };
        known.insert(EntraId::from_bytes(person), entry);
    }
    Ok(())
}

type Encoded = (BTreeMap<u16, Vec<u8>>, Vec<u8>);

fn encode(origin: &Origin, known: &KnownLearners, compared_at: Timestamp) -> Result<Encoded, postcard::Error> {
    let mut buckets: BTreeMap<u16, (Bucket, BTreeMap<Via, u32>)> = BTreeMap::new();
    for (person, Known { learner, active, fingerprint, via }) in known {
        let (bucket, ways) = buckets.entry(bucket_of(*person)).or_default();
        let via = *ways.entry(via.clone()).or_insert_with(|| {
            let routes = via.routes().iter().map(|route| match route {
                Route::Direct => None,
                Route::Group(id) => Some(*id.as_bytes()),
            });
            bucket.via.push(routes.collect());
            (bucket.via.len() - 1) as u32
        });
        bucket.entries.push(Entry {
            person: *person.as_bytes(),
            learner: learner.0,
            active: *active,
            fingerprint: fingerprint.0,
            via,
        });
    }
    let mut hasher = blake3::Hasher::new();
    let mut encoded = BTreeMap::new();
    for (number, (bucket, _)) in buckets {
        let bytes = postcard::to_stdvec(&bucket)?;
        digest_bucket(&mut hasher, &number.to_be_bytes(), &bytes);
        encoded.insert(number, bytes);
    }
    let Origin { generation, source, mapping } = origin;
    let manifest = Manifest {
        version: VERSION,
        generation: generation.0,
        source: source.clone(),
        mapping: *mapping,
        count: known.len() as u64,
        digest: *hasher.finalize().as_bytes(),
        compared_at: compared_at.as_second(),
    };
    Ok((encoded, postcard::to_stdvec(&manifest)?))
}

fn write(directory: &Path, buckets: &BTreeMap<u16, Vec<u8>>, manifest: &[u8]) -> sled::Result<()> {
    let db = open(directory)?;
    reached(Step::CacheOpened);
    let mut batch = sled::Batch::default();
    for number in 0..BUCKETS as u16 {
        let key = number.to_be_bytes();
        let stored = db.get(key)?;
        match buckets.get(&number) {
            Some(bytes) if stored.as_deref() != Some(bytes) => batch.insert(&key, bytes.as_slice()),
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

/// Spreads ids that may be counted up as well as random ones.
fn bucket_of(person: EntraId) -> u16 {
    let bytes = u128::from_be_bytes(*person.as_bytes());
    let folded = (bytes ^ (bytes >> 64)) as u64;
    // Below BUCKETS, so it fits.
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16 % BUCKETS as u16
}

/// Renames an unusable cache to a name with the time, and removes the oldest of those kept before.
fn set_aside(directory: &Path, now: Timestamp) {
    let Some(name) = directory.file_name().and_then(|name| name.to_str()) else { return };
    let prefix = format!("{name}.unusable-");
    let aside = directory.with_file_name(format!("{prefix}{}", now.strftime("%Y-%m-%dT%H-%M-%SZ")));
    match std::fs::rename(directory, &aside) {
        Ok(()) => tracing::warn!(cache.aside = %aside.display(), "the unusable cache is set aside"),
        Err(error) => {
            tracing::warn!(cache.path = %directory.display(), "the unusable cache cannot be set aside: {error}");
            return;
        }
    }
    let mut kept: Vec<PathBuf> = aside
        .parent()
        .and_then(|parent| std::fs::read_dir(parent).ok())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&prefix)))
        .collect();
    // The names sort by time.
    kept.sort();
    for path in kept.iter().rev().skip(KEPT_ASIDE) {
        if let Err(error) = std::fs::remove_dir_all(path) {
            tracing::warn!(cache.aside = %path.display(), "an old unusable cache cannot be removed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(number: u128) -> EntraId {
        EntraId::from_bytes(number.to_be_bytes())
    }

    fn known(count: u128) -> KnownLearners {
        (1..=count)
            .map(|number| {
                let routes = [Some(Route::Direct), number.is_multiple_of(2).then(|| Route::Group(person(7)))];
                let entry = Known {
                    learner: LearnerId(number as i64),
                    active: !number.is_multiple_of(3),
                    fingerprint: Fingerprint(number.to_le_bytes()),
                    via: routes.into_iter().flatten().collect(),
                };
                (person(number << 64), entry)
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

        // Fewer people, other buckets: nothing of the old ones stays.
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
}
