//! Keeps the linked learners in sync with what was written, and records them in the cache after the commit.

use std::collections::{BTreeMap, BTreeSet};

use super::desired::NewRows;
use super::{CycleContext, CycleOptions, Prepared};
use crate::cache::{self, Origin};
use crate::model::{EntraId, LearnerId, LinkedLearner, LinkedLearners};
use crate::plan::{Batch, Compared, Plan, RowAfter};

/// Follows the read of the directory.
pub(super) fn rows(linked: &mut LinkedLearners, new_rows: &NewRows) {
    for (user, row) in new_rows {
        if let Some(linked) = linked.get_mut(user) {
            linked.row = Some(*row);
        }
    }
}

/// Follows the bookkeeping.
pub(super) fn recorded(linked: &mut LinkedLearners, plan: &Plan) {
    for (user, routes) in plan.routes() {
        if let Some(linked) = linked.get_mut(user) {
            linked.routes = routes.clone();
        }
    }
    for Compared { user, fingerprint, active } in plan.compared() {
        if let Some(linked) = linked.get_mut(user) {
            // The known row is mapped to the former values.
            linked.row = linked.row.filter(|_| linked.fingerprint == *fingerprint);
            linked.fingerprint = *fingerprint;
            linked.active = *active;
        }
    }
}

/// Follows a committed batch; `learners` are those that were not refused. New links go to `joined`: to sort them into
/// `linked` after each batch would take long in a large tenant.
pub(super) fn applied(
    linked: &mut LinkedLearners,
    joined: &mut Vec<(EntraId, LinkedLearner)>,
    batch: &Batch,
    learners: &[(EntraId, LearnerId)],
) {
    let learners: BTreeMap<_, _> = learners.iter().map(|(user, learner)| (*user, learner)).collect();
    let mut former = BTreeSet::new();
    for decision in batch.decisions() {
        let (Some(learner), Some(after)) = (learners.get(&decision.user), decision.row_after()) else { continue };
        former.extend(decision.former_user());
        let RowAfter { active, routes, fingerprint, row, spelling: _, approved_by: _, keeps_hold: _ } = after;
        let (learner, active, fingerprint, row) = ((*learner).clone(), *active, *fingerprint, *row);
        let (outside, routes) = (false, routes.clone());
        let after = LinkedLearner { learner, active, outside, fingerprint, row, routes };
        match linked.get_mut(&decision.user) {
            Some(linked) => *linked = after,
            None => joined.push((decision.user, after)),
        }
    }
    if !former.is_empty() {
        linked.retain(|user, _| !former.contains(user));
    }
}

impl Prepared {
    /// Writes the cache, unless it is up to date. Failing to write it costs only time.
    pub(super) async fn update_cache(&mut self, context: CycleContext<'_>, options: CycleOptions<'_>) {
        let Self { plan, source, linked, has_new_rows, joined, facts: _, explained: _, compared_at, generation, time } =
            self;
        linked.extend(std::mem::take(joined));
        let Some(path) = context.cache else { return };
        let is_up_to_date = plan.counts().applied() == 0
            && plan.routes().is_empty()
            && plan.compared().is_empty()
            && (!*has_new_rows || options.only.is_some());
        // A comparison for one user repaired no other users. Cached, it would pass for what the last cycle wrote.
        let from_cache = compared_at.is_some();
        if (from_cache && is_up_to_date) || (!from_cache && options.only.is_some()) {
            return;
        }
        let now = time.recorded();
        let (mapping, text_ids) = (context.rules.hash, context.store.has_text_ids());
        let origin = Origin { generation: *generation, source: source.clone(), mapping, text_ids };
        if let Err(error) = cache::record(path, &origin, linked, compared_at.unwrap_or(now), now).await {
            tracing::warn!("{error}; the next cycle compares with the learner database");
        }
    }
}
