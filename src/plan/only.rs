//! A plan cut down to one person, and to those without whom that person's change cannot be.

use std::collections::BTreeSet;

use super::claims;
use super::{Counts, Desired, Plan};
use crate::model::{EntraId, Status};

impl Plan {
    /// What concerns `person`: nobody else is changed, except those who hand a value to `person`, or get one by it.
    /// Everybody else is left to the next cycle, so that what is only noted of them is left to it as well.
    pub fn only(mut self, person: EntraId, desired: &Desired) -> Self {
        let together = claims::coupled_with(&self.changes, person);
        self.changes.retain(|change| together.contains(&change.person));
        // They hand values to each other: one transaction.
        self.cuts.clear();
        self.findings.retain(|finding| finding.person == person);
        self.failing_ended.retain(|other| *other == person);
        self.held_ended.retain(|other| *other == person);
        self.via.retain(|(other, _)| *other == person);
        self.compared.retain(|compared| compared.person == person);
        self.group_members.clear();

        let in_scope = desired.people.get(&person).is_some_and(|person| person.standing.is_in_scope());
        let of = |status| self.findings.iter().filter(|finding| finding.status == status).count() as u64;
        let about: BTreeSet<EntraId> = self.changes.iter().map(|change| change.person).collect();
        let mut counts = Counts {
            in_scope: u64::from(in_scope),
            unchanged: u64::from(in_scope && self.findings.is_empty() && !about.contains(&person)),
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
