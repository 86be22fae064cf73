//! A plan cut down to one user, and to those without whom that user's change cannot be.

use std::collections::BTreeSet;

use super::uniqueness;
use super::{Counts, Desired, Plan};
use crate::model::{EntraId, Status};

impl Plan {
    /// What concerns `user`: nobody else is changed, except those who hand a value to `user`, or get one by it.
    /// Everybody else is left to the next cycle, so that what is only noted of them is left to it as well.
    pub fn only(mut self, user: EntraId, desired: &Desired) -> Self {
        let together = uniqueness::coupled_with(&self.changes, user);
        self.changes.retain(|change| together.contains(&change.user));
        // They hand values to each other: one transaction.
        self.cuts.clear();
        self.findings.retain(|finding| finding.user == user);
        self.failing_ended.retain(|other| *other == user);
        self.held_ended.retain(|other| *other == user);
        self.routes.retain(|(other, _)| *other == user);
        self.compared.retain(|compared| compared.user == user);
        self.group_members.clear();

        let in_scope = desired.users.get(&user).is_some_and(|user| user.assessment.is_in_scope());
        let of = |status| self.findings.iter().filter(|finding| finding.status == status).count() as u64;
        let about: BTreeSet<EntraId> = self.changes.iter().map(|change| change.user).collect();
        let mut counts = Counts {
            in_scope: u64::from(in_scope),
            unchanged: u64::from(in_scope && self.findings.is_empty() && !about.contains(&user)),
            skipped: of(Status::Skipped),
            failed: of(Status::Failure),
            held: of(Status::Held),
            ..Counts::default()
        };
        self.changes.iter().for_each(|change| counts.add(change.action));
        self.counts = counts;
        self
    }
}
