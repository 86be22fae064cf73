//! Users who get a new learner and concern nobody else, in few bytes: a first load may have a million of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::joiners::{active_after, creation_values};
use super::{Changes, Decision, Effect, TargetRow};
use crate::model::{Action, Attribute, EntraId, Learner, Reason, RequestId, Routes};

/// A decision to create a learner, before it is spelled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewLearner {
    pub(super) user: EntraId,
    pub(super) learner: Arc<Learner>,
    pub(super) routes: Routes,
    pub(super) request_id: RequestId,
}

impl NewLearner {
    pub(super) fn decision(&self) -> Decision {
        let Self { user, learner, routes, request_id } = self;
        let created = match learner.on_create.is_empty() {
            true => Arc::clone(learner),
            false => Arc::new(Learner { values: creation_values(learner), ..Learner::default() }),
        };
        Decision {
            user: *user,
            action: Action::Create,
            reason: Reason::Assigned,
            detail: None,
            row: TargetRow::New,
            known_name: None,
            changes: Changes::creation(created),
            request_id: request_id.clone(),
            effect: Effect::Apply(active_after(routes, learner)),
        }
    }

    /// The decision as logs may show it.
    pub(super) fn redacted(&self, redacted: &BTreeSet<Attribute>) -> Decision {
        let mut decision = self.decision();
        if !redacted.is_empty() {
            decision.redact(redacted);
        }
        decision
    }
}
