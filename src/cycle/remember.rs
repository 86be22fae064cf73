//! Keeps what is known in step with what was written, and records it in the cache after the commit.

use crate::cache::{self, Origin};
use crate::model::{EntraId, LearnerId, LinkedLearner, LinkedLearners};
use crate::plan::{Change, Compared, Plan, Target};

use super::{CycleContext, CycleOptions, Prepared};

/// After the notes are written.
pub(super) fn noted(known: &mut LinkedLearners, plan: &Plan) {
    for (user, routes) in plan.routes() {
        if let Some(known) = known.get_mut(user) {
            known.routes = routes.clone();
        }
    }
    for Compared { user, fingerprint, active } in plan.compared() {
        if let Some(known) = known.get_mut(user) {
            known.fingerprint = *fingerprint;
            known.active = *active;
        }
    }
}

/// After a batch is committed; `learners` are those of its users that were not refused.
pub(super) fn applied(known: &mut LinkedLearners, batch: &[Change], learners: &[(EntraId, LearnerId)]) {
    let learners: std::collections::BTreeMap<_, _> = learners.iter().copied().collect();
    for change in batch {
        let Some(learner) = learners.get(&change.user) else { continue };
        if let Target::Adopt { from: Some(former), .. } = change.target {
            known.remove(&former);
        }
        let Change { active, fingerprint, routes, .. } = change;
        known.insert(
            change.user,
            LinkedLearner { learner: *learner, active: *active, fingerprint: *fingerprint, routes: routes.clone() },
        );
    }
}

impl Prepared {
    /// Records the cache, unless it is already as it should be. A cache that cannot be written costs time only.
    pub(super) async fn remember(&self, parts: CycleContext<'_>, request: CycleOptions<'_>) {
        let Self { plan, source, known, evidence: _, about: _, recalled, compared_at, generation } = self;
        let Some(path) = parts.cache else { return };
        let as_before = plan.changes().is_empty() && plan.routes().is_empty() && plan.compared().is_empty();
        // A comparison for one user has put nobody else right: remembered, it would pass for what the last cycle left.
        if (*recalled && as_before) || (!*recalled && request.only.is_some()) {
            return;
        }
        let origin = Origin { generation: *generation, source: source.clone(), mapping: parts.rules.hash };
        if let Err(error) = cache::record(path, &origin, known, *compared_at, request.now).await {
            tracing::warn!("{error}; the next cycle compares with the learner database");
        }
    }
}
