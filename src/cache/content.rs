//! What stands in the cache, as bytes: everybody known, in buckets, and a manifest that tells whether all is there.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Origin;
use crate::model::{EntraId, Fingerprint, LearnerId, LinkedLearner, LinkedLearners, Route, Routes};

/// How many buckets there are; their keys are the numbers below it.
pub(super) const BUCKETS: u16 = 1024;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) generation: u128,
    pub(super) source: String,
    pub(super) mapping: [u8; 32],
    count: u64,
    /// Seconds since 1970.
    compared_at: i64,
    /// Over all of the above and the hashes of all buckets.
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
    /// The few combinations of routes of its users; `None` is `direct`.
    routes: Vec<Vec<Option<[u8; 16]>>>,
    entries: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    user: [u8; 16],
    learner: Learner,
    active: bool,
    fingerprint: [u8; 16],
    routes: u32,
}

#[derive(Debug, Serialize, Deserialize)]
enum Learner {
    Number(i64),
    Uuid([u8; 16]),
}

impl From<LearnerId> for Learner {
    fn from(learner: LearnerId) -> Self {
        match learner {
            LearnerId::Number(number) => Self::Number(number),
            LearnerId::Uuid(uuid) => Self::Uuid(uuid.into_bytes()),
        }
    }
}

impl From<Learner> for LearnerId {
    fn from(learner: Learner) -> Self {
        match learner {
            Learner::Number(number) => Self::Number(number),
            Learner::Uuid(bytes) => Self::Uuid(uuid::Uuid::from_bytes(bytes)),
        }
    }
}

/// The buckets on their way in, one after the other.
pub(super) struct Decoder {
    known: LinkedLearners,
    hasher: blake3::Hasher,
    manifest: Manifest,
    /// Most users share their combination of routes with others.
    shared: BTreeSet<Routes>,
}

impl Decoder {
    pub(super) fn new(manifest: Manifest) -> Self {
        let hasher = manifest.hasher();
        Self { known: LinkedLearners::new(), hasher, manifest, shared: BTreeSet::new() }
    }

    /// In the order of their keys.
    pub(super) fn bucket(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), postcard::Error> {
        digest_bucket(&mut self.hasher, key, bytes);
        let Bucket { routes, entries } = postcard::from_bytes(bytes)?;
        let mut ways = Vec::with_capacity(routes.len());
        for routes in routes {
            let routes: Routes = routes
                .into_iter()
                .map(|route| route.map_or(Route::Direct, |id| Route::Group(EntraId::from_bytes(id))))
                .collect();
            let routes = match self.shared.get(&routes) {
                Some(same) => same.clone(),
                None => {
                    self.shared.insert(routes.clone());
                    routes
                }
            };
            ways.push(routes);
        }
        for Entry { user, learner, active, fingerprint, routes } in entries {
            let routes = ways.get(routes as usize).cloned().ok_or(postcard::Error::SerdeDeCustom)?;
            let entry =
                LinkedLearner { learner: learner.into(), active, fingerprint: Fingerprint(fingerprint), routes };
            self.known.insert(EntraId::from_bytes(user), entry);
        }
        Ok(())
    }

    /// Everybody, and when they were compared; none when something is missing or changed.
    pub(super) fn finish(self) -> Option<(LinkedLearners, Timestamp)> {
        let Self { known, hasher, manifest, shared: _ } = self;
        let whole = known.len() as u64 == manifest.count && hasher.finalize() == manifest.digest;
        Some((known, Timestamp::from_second(manifest.compared_at).ok().filter(|_| whole)?))
    }
}

fn digest_bucket(hasher: &mut blake3::Hasher, key: &[u8], bytes: &[u8]) {
    hasher.update(key);
    hasher.update(blake3::hash(bytes).as_bytes());
}

/// The buckets that are not empty, by number, and the manifest.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    pub(super) buckets: BTreeMap<u16, Vec<u8>>,
    pub(super) manifest: Vec<u8>,
}

pub(super) fn encode(
    origin: &Origin,
    known: &LinkedLearners,
    compared_at: Timestamp,
) -> Result<Encoded, postcard::Error> {
    let mut buckets: BTreeMap<u16, (Bucket, BTreeMap<Routes, u32>)> = BTreeMap::new();
    for (user, LinkedLearner { learner, active, fingerprint, routes }) in known {
        let (bucket, ways) = buckets.entry(bucket_of(*user)).or_default();
        let routes = *ways.entry(routes.clone()).or_insert_with(|| {
            let routes = routes.as_slice().iter().map(|route| match route {
                Route::Direct => None,
                Route::Group(id) => Some(*id.as_bytes()),
            });
            bucket.routes.push(routes.collect());
            (bucket.routes.len() - 1) as u32
        });
        bucket.entries.push(Entry {
            user: *user.as_bytes(),
            learner: (*learner).into(),
            active: *active,
            fingerprint: fingerprint.0,
            routes,
        });
    }
    let Origin { generation, source, mapping } = origin;
    let mut manifest = Manifest {
        generation: generation.0,
        source: source.clone(),
        mapping: *mapping,
        count: known.len() as u64,
        compared_at: compared_at.as_second(),
        digest: [0; 32],
    };
    let mut hasher = manifest.hasher();
    let mut encoded = BTreeMap::new();
    for (number, (bucket, _)) in buckets {
        let bytes = postcard::to_stdvec(&bucket)?;
        digest_bucket(&mut hasher, &number.to_be_bytes(), &bytes);
        encoded.insert(number, bytes);
    }
    manifest.digest = *hasher.finalize().as_bytes();
    Ok(Encoded { buckets: encoded, manifest: postcard::to_stdvec(&manifest)? })
}

/// Spreads ids that may be counted up as well as random ones.
fn bucket_of(user: EntraId) -> u16 {
    let bytes = u128::from_be_bytes(*user.as_bytes());
    let folded = (bytes ^ (bytes >> 64)) as u64;
    // 16 bits are left, so they fit.
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16 % BUCKETS
}
