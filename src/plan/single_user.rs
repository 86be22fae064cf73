//! A plan for one user: the other users wait for the next cycle.

use std::collections::VecDeque;

use super::units::{Batch, coupled_with};
use super::{Counts, Decision, Desired, EndedHolds, Plan};
use crate::model::EntraId;

impl Plan {
    /// Keeps these of the arranged decisions, in one transaction.
    pub(super) fn keep_arranged(&mut self, applied: Vec<Decision>) {
        let mut ended: EndedHolds =
            self.batches.iter().flat_map(Batch::ended_holds).map(|(user, ended)| (*user, ended.clone())).collect();
        let mut batch = Batch::from(applied);
        batch.take_ended_holds(&mut ended);
        self.batches = if batch.decisions().is_empty() { VecDeque::new() } else { [batch].into() };
    }

    /// Keeps what concerns `user`, and the users that hand it a value or get one from it.
    pub fn for_user(mut self, user: EntraId, desired: &Desired) -> Self {
        // A new learner is coupled with nobody.
        self.new_learners.keep_user(user);
        let together = coupled_with(&self.arranged().collect::<Vec<_>>(), user);
        let applied: Vec<Decision> =
            self.arranged().filter(|decision| together.contains(&decision.user)).cloned().collect();
        self.keep_arranged(applied);
        self.left.retain(|decision| decision.user == user);
        self.failing_ended.retain(|other| *other == user);
        self.held_ended.retain(|other, _| *other == user);
        self.routes.retain(|(other, _)| *other == user);
        self.compared.retain(|compared| compared.user == user);
        self.group_members.clear();
        self.take_over_ended = false;
        self.unreadable.clear();

        let in_scope = desired.assessment(user).is_some_and(|assessment| assessment.is_in_scope());
        let mut counts = Counts {
            in_scope: u64::from(in_scope),
            unchanged: u64::from(in_scope && self.decisions_on(user).next().is_none()),
            ..Counts::default()
        };
        for decision in self.decisions() {
            match decision.leave() {
                None => counts.add(decision.action),
                Some(leave) => counts.add_left(leave.left_as),
            }
            counts.held += u64::from(decision.leave().is_some_and(|leave| leave.left_as == super::LeftAs::Held));
        }
        self.counts = counts;
        self
    }
}
