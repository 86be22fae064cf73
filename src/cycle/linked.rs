//! The linked learners before a cycle: from the cache when it is valid, else from the learner database.

use futures_util::future::join;
use jiff::Timestamp;

use super::{CycleContext, CycleError, CycleOptions, SingleUser};
use crate::cache::{self, CacheMiss, CachedLearners, Origin};
use crate::model::{CycleTime, EntraId, Generation, LinkedLearners};
use crate::store::{CycleId, StoreError};

/// The linked learners, and where they come from.
pub(super) struct LinkedBefore {
    pub(super) linked: LinkedLearners,
    /// The values that the last cycle wrote, when the cache is valid but the database was compared anyway.
    pub(super) last_written: Option<LinkedLearners>,
    /// When `linked` was last compared with the whole learner database; none when it was read from there.
    pub(super) compared_at: Option<Timestamp>,
    pub(super) generation: Generation,
}

pub(super) async fn read_linked(
    context: CycleContext<'_>,
    options: CycleOptions<'_>,
    source: &str,
    cycle: Option<CycleId>,
    time: CycleTime,
) -> Result<LinkedBefore, CycleError> {
    let CycleContext { directory: _, store, cache, rules } = context;
    let generation = store.state().await?.generation;
    let mut last_written = None;
    if cycle.is_some() {
        store.inspect_links().await?;
    }
    if let Some(path) = cache {
        let text_ids = store.has_text_ids();
        let origin = Origin { generation, source: source.to_owned(), mapping: rules.hash, text_ids };
        let recall = async {
            match cycle {
                Some(_) => cache::recall(path, &origin, time.recorded()).await,
                None => cache::peek(path, &origin).await,
            }
        };
        // The platform may delete learners, which deletes their links as well. Counted while the cache is read.
        let inspect = async { Ok((store.links_are_readable(source).await?, store.count_linked(source).await?)) };
        let (recalled, inspected): (_, Result<(bool, u64), StoreError>) = join(recall, inspect).await;
        let (are_readable, count) = inspected?;
        match recalled {
            Ok(_) if !are_readable => {
                tracing::warn!("some links cannot be read; comparing with the whole learner database");
            }
            Ok(CachedLearners { mut linked, compared_at }) => {
                let inside = linked.values().filter(|linked| !linked.outside).count() as u64;
                let mut has_same_links = true;
                if text_ids {
                    let mut learners = store.learner_ids(source).await?;
                    has_same_links = learners.keys().eq(linked.keys());
                    linked.retain(|user, linked| match learners.remove(user) {
                        Some(learner) => {
                            linked.learner = learner;
                            true
                        }
                        None => false,
                    });
                }
                // The next cycle for all users compares.
                if let Some(&SingleUser { user, .. }) = options.only {
                    let before =
                        LinkedBefore { linked, last_written: None, compared_at: Some(compared_at), generation };
                    return compare_user(context, source, user, before).await;
                }
                let is_due = time.is_due_again(compared_at, rules.full_every);
                let is_complete = count == inside && has_same_links;
                if !is_due && !options.request.full && is_complete {
                    return Ok(LinkedBefore { linked, last_written: None, compared_at: Some(compared_at), generation });
                }
                if !is_complete {
                    tracing::warn!(
                        cached = inside,
                        linked = count,
                        "learners or links were changed outside learner-sync"
                    );
                }
                tracing::info!(requested = options.request.full, "comparing with the whole learner database");
                last_written = Some(linked);
            }
            Err(CacheMiss::Missing) => tracing::info!("no cache yet; comparing with the learner database"),
            Err(why) => tracing::warn!("{why}; comparing with the learner database"),
        }
    }
    let linked = store.linked_learners(source, None, &rules.mapped()).await?;
    Ok(LinkedBefore { linked, last_written, compared_at: None, generation })
}

/// Compares one user with the learner database; the others stay as cached.
async fn compare_user(
    context: CycleContext<'_>,
    source: &str,
    user: EntraId,
    before: LinkedBefore,
) -> Result<LinkedBefore, CycleError> {
    let LinkedBefore { mut linked, last_written: _, compared_at, generation } = before;
    let last_written = linked.remove(&user).map(|linked| (user, linked)).into_iter().collect();
    linked.extend(context.store.linked_learners(source, Some(user), &context.rules.mapped()).await?);
    Ok(LinkedBefore { linked, last_written: Some(last_written), compared_at, generation })
}
