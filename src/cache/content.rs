//! The stored form of the cache: linked learners in buckets, and a manifest that proves that the buckets are complete.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CacheMiss, CachedLearners, Origin, unusable};
use crate::model::{EntraId, Fingerprint, LearnerId, LinkedLearner, LinkedLearners, Route, Routes, RowHash};

/// The number of buckets; their keys are the numbers below it.
pub(super) const BUCKETS: u16 = 1024;
/// Room for more entries is not made in advance: a damaged count must not exhaust the memory.
const MAX_EXPECTED: u64 = 2_000_000;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) generation: u128,
    pub(super) source: String,
    pub(super) mapping: [u8; 32],
    count: u64,
    /// Seconds since 1970.
    compared_at: i64,
    /// A hash over the other fields and the hashes of all buckets.
    digest: [u8; 32],
}

impl Manifest {
    fn hasher(&self) -> blake3::Hasher {
        let Self { generation, source, mapping, count, compared_at, digest: _ } = self;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&generation.to_le_bytes()).update(mapping).update(&count.to_le_bytes());
        hasher.update(&compared_at.to_le_bytes()).update(source.as_bytes());
        hasher
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Bucket {
    /// The distinct combinations of routes; `None` is `direct`.
    routes: Vec<Vec<Option<[u8; 16]>>>,
    entries: Vec<CacheEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CacheEntry {
    user: [u8; 16],
    learner: CachedLearnerId,
    active: bool,
    outside: bool,
    fingerprint: [u8; 16],
    /// Zeros for an unknown row.
    row: [u8; 8],
    routes: u32,
}

#[derive(Debug, Serialize, Deserialize)]
enum CachedLearnerId {
    Number(i64),
    Uuid([u8; 16]),
    /// A text may be a name, so it is not stored.
    Text,
}

/// Decodes the buckets, which come in the order of their keys, and checks them against the manifest.
pub(super) fn decode(
    manifest: &Manifest,
    text_ids: bool,
    buckets: impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>,
) -> Result<CachedLearners, CacheMiss> {
    let mut hasher = manifest.hasher();
    // A damaged count must not exhaust the memory.
    let mut linked = Vec::with_capacity(manifest.count.min(MAX_EXPECTED) as usize);
    // The distinct combinations of routes, which users share.
    let mut shared = BTreeSet::new();
    for bucket in buckets {
        let (key, bytes) = bucket.map_err(|error| unusable(&error))?;
        digest_bucket(&mut hasher, &key, &bytes);
        let Bucket { routes, entries } = postcard::from_bytes(&bytes).map_err(|error| unusable(&error))?;
        let mut combinations = Vec::with_capacity(routes.len());
        for routes in routes {
            let route = |id: Option<_>| id.map_or(Route::Direct, |id| Route::Group(EntraId::from_bytes(id)));
            let routes: Routes = routes.into_iter().map(route).collect();
            let routes = shared.get(&routes).cloned().unwrap_or(routes);
            shared.insert(routes.clone());
            combinations.push(routes);
        }
        for CacheEntry { user, learner, active, outside, fingerprint, row, routes } in entries {
            let routes = combinations.get(routes as usize).cloned();
            let routes = routes.ok_or_else(|| unusable(&postcard::Error::SerdeDeCustom))?;
            if text_ids != matches!(learner, CachedLearnerId::Text) {
                return Err(CacheMiss::OriginChanged("type of learner ids"));
            }
            let learner = match learner {
                CachedLearnerId::Number(number) => LearnerId::Number(number),
                CachedLearnerId::Uuid(bytes) => LearnerId::Uuid(uuid::Uuid::from_bytes(bytes)),
                CachedLearnerId::Text => LearnerId::Text("".into()),
            };
            let (fingerprint, row) = (Fingerprint(fingerprint), RowHash::from_bytes(row));
            let entry = LinkedLearner { learner, active, outside, fingerprint, row, routes };
            linked.push((EntraId::from_bytes(user), entry));
        }
    }
    // A repeated user changes the count.
    let linked = LinkedLearners::from_unique(linked);
    let is_complete = linked.len() as u64 == manifest.count && hasher.finalize() == manifest.digest;
    let compared_at = Timestamp::from_second(manifest.compared_at).ok().filter(|_| is_complete);
    let compared_at = compared_at.ok_or_else(|| unusable(&"entries are missing or changed"))?;
    Ok(CachedLearners { linked, compared_at })
}

fn digest_bucket(hasher: &mut blake3::Hasher, key: &[u8], bytes: &[u8]) {
    hasher.update(key);
    hasher.update(blake3::hash(bytes).as_bytes());
}

/// The non-empty buckets by number, and the manifest.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) buckets: BTreeMap<u16, Vec<u8>>,
    pub(super) manifest: Vec<u8>,
}

pub(super) fn encode(
    origin: &Origin,
    linked: &LinkedLearners,
    compared_at: Timestamp,
) -> Result<Encoded, postcard::Error> {
    let Origin { generation, source, mapping, text_ids: _ } = origin;
    let mut manifest = Manifest {
        generation: generation.0,
        source: source.clone(),
        mapping: *mapping,
        count: linked.len() as u64,
        compared_at: compared_at.as_second(),
        digest: [0; 32],
    };
    let mut hasher = manifest.hasher();
    let mut buckets = BTreeMap::new();
    let mut by_bucket: Vec<_> = linked.iter().map(|(user, linked)| (bucket_of(*user), *user, linked)).collect();
    by_bucket.sort_by_key(|(bucket, ..)| *bucket);
    for entries in by_bucket.chunk_by(|(left, ..), (right, ..)| left == right) {
        let Some((number, ..)) = entries.first() else { continue };
        let bucket: Bucket = entries.iter().map(|(_, user, linked)| (*user, *linked)).collect();
        let bytes = postcard::to_stdvec(&bucket)?;
        digest_bucket(&mut hasher, &number.to_be_bytes(), &bytes);
        buckets.insert(*number, bytes);
    }
    manifest.digest = *hasher.finalize().as_bytes();
    Ok(Encoded { buckets, manifest: postcard::to_stdvec(&manifest)? })
}

impl<'l> FromIterator<(EntraId, &'l LinkedLearner)> for Bucket {
    fn from_iter<I: IntoIterator<Item = (EntraId, &'l LinkedLearner)>>(linked: I) -> Self {
        let mut bucket = Self::default();
        let mut combinations: BTreeMap<&Routes, u32> = BTreeMap::new();
        for (user, LinkedLearner { learner, active, outside, fingerprint, row, routes }) in linked {
            let routes = *combinations.entry(routes).or_insert_with(|| {
                let routes = routes.as_slice().iter().map(|route| match route {
                    Route::Direct => None,
                    Route::Group(id) => Some(*id.as_bytes()),
                });
                bucket.routes.push(routes.collect());
                (bucket.routes.len() - 1) as u32
            });
            bucket.entries.push(CacheEntry {
                user: *user.as_bytes(),
                learner: match learner {
                    LearnerId::Number(number) => CachedLearnerId::Number(*number),
                    LearnerId::Uuid(uuid) => CachedLearnerId::Uuid(*uuid.as_bytes()),
                    LearnerId::Text(_) => CachedLearnerId::Text,
                },
                active: *active,
                outside: *outside,
                fingerprint: fingerprint.0,
                row: row.map(RowHash::to_bytes).unwrap_or_default(),
                routes,
            });
        }
        bucket
    }
}

/// Spreads consecutive ids as evenly as random ones.
fn bucket_of(user: EntraId) -> u16 {
    let bytes = u128::from_be_bytes(*user.as_bytes());
    let folded = (bytes ^ (bytes >> 64)) as u64;
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16 % BUCKETS
}
