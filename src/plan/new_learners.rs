//! Users who get a new learner and concern nobody else, in few bytes: a first load may have a million of them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::joiners::{active_after, creation_values};
use super::{BATCH_SIZE, Changes, Decision, Effect, TargetRow};
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
        let created = match learner.on_create {
            None => Arc::clone(learner),
            Some(_) => Arc::new(Learner { values: creation_values(learner), ..Learner::default() }),
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

/// All of them in their order, in parts of a batch each: what is taken gives its space back.
#[derive(Clone, Debug, Default)]
pub(super) struct NewLearners(VecDeque<Vec<NewLearner>>);

impl NewLearners {
    pub(super) fn push(&mut self, new: NewLearner) {
        match self.0.back_mut().filter(|part| part.len() < BATCH_SIZE) {
            Some(part) => part.push(new),
            None => self.0.push_back(vec![new]),
        }
    }

    /// Takes the first ones, at most `most`.
    pub(super) fn take(&mut self, most: usize) -> Vec<NewLearner> {
        let mut taken = Vec::new();
        while let Some(part) = self.0.front_mut().filter(|_| taken.len() < most) {
            taken.extend(part.drain(..part.len().min(most - taken.len())));
            if part.is_empty() {
                self.0.pop_front();
            }
        }
        taken
    }

    pub(super) fn keep_user(&mut self, user: EntraId) {
        self.0.iter_mut().for_each(|part| part.retain(|new| new.user == user));
        self.0.retain(|part| !part.is_empty());
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &[NewLearner]> {
        self.0.iter().map(Vec::as_slice)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &NewLearner> {
        self.0.iter().flatten()
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_taken_in_their_order_across_parts() {
        let user = |number: usize| EntraId::from_bytes((number as u128).to_be_bytes());
        let count = BATCH_SIZE * 2 + 1;
        let mut all = NewLearners::default();
        for number in 0..count {
            let (learner, routes) = (Arc::new(Learner::default()), Routes::from_iter([]));
            all.push(NewLearner { user: user(number), learner, routes, request_id: RequestId::default() });
        }
        assert_eq!((all.len(), all.parts().count()), (count, 3));
        let mut taken = Vec::new();
        for most in [1, BATCH_SIZE, BATCH_SIZE + 1, BATCH_SIZE] {
            let part = all.take(most);
            assert_eq!(part.len(), most.min(count - taken.len()));
            taken.extend(part.into_iter().map(|new| new.user));
            assert_eq!(all.len(), count - taken.len());
        }
        assert!(all.is_empty());
        assert_eq!(taken, (0..count).map(user).collect::<Vec<_>>());
    }
}
