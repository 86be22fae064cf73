//! What is decided: changes, findings, numbers, and the [`Plan`] that holds them.

use std::collections::BTreeSet;

use super::{Compared, MemberCounts};
use crate::model::{Action, Attribute, EntraId, Fingerprint, LearnerId, Reason, Routes, Status};

/// One attribute before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeChange {
    /// Which.
    pub attribute: Attribute,
    /// Before; `None` is null.
    pub old: Option<String>,
    /// After; `None` is null.
    pub new: Option<String>,
    /// Whether no log may show the values.
    pub redacted: bool,
}

/// What stands in a log for a value that it may not show.
pub const REDACTED: &str = "[Redact]";

impl AttributeChange {
    /// A change that anybody may see who sees the log.
    pub fn new(attribute: Attribute, old: Option<String>, new: Option<String>) -> Self {
        Self { attribute, old, new, redacted: false }
    }

    /// The values before and after, as a log shows them.
    pub fn shown(&self) -> (Option<&str>, Option<&str>) {
        let Self { attribute: _, old, new, redacted } = self;
        let shown = |value: &'_ Option<String>| value.as_ref().map(|_| REDACTED);
        if *redacted { (shown(old), shown(new)) } else { (old.as_deref(), new.as_deref()) }
    }
}

/// Which learner row a change is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A row that is made.
    New,
    /// A row that becomes this user's.
    Adopt {
        /// The row.
        learner: LearnerId,
        /// Whose it was, when it was linked: an administrator said so.
        from: Option<EntraId>,
    },
    /// The user's own row.
    Linked(LearnerId),
}

impl Target {
    /// The learner, when there is one already.
    pub fn learner(self) -> Option<LearnerId> {
        match self {
            Self::New => None,
            Self::Adopt { learner, .. } | Self::Linked(learner) => Some(learner),
        }
    }
}

/// A change that will be applied: one learner row, one log row, one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub user: EntraId,
    /// What.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// To which row.
    pub target: Target,
    /// The user name for the log.
    pub user_name: Option<String>,
    /// Exactly the columns that are written, `Active` included where it changes.
    pub changes: Vec<AttributeChange>,
    /// Whether the learner is switched on afterwards.
    pub active: bool,
    /// The ways the user is assigned.
    pub routes: Routes,
    /// The fingerprint of the row afterwards.
    pub fingerprint: Fingerprint,
    /// Something more for the log: an approval, what was matched.
    pub detail: Option<String>,
}

/// A user for whom something was not done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Who.
    pub user: EntraId,
    /// The action that would have been.
    pub action: Action,
    /// `Failure`, `Skipped` or `Held`.
    pub status: Status,
    /// Why.
    pub reason: Reason,
    /// In words, for the log.
    pub detail: Option<String>,
    /// The learner, when there is one.
    pub learner: Option<LearnerId>,
    /// The user name, where it could be told.
    pub user_name: Option<String>,
    /// What would have been written.
    pub changes: Vec<AttributeChange>,
    /// Whether it is kept in `sync_failures` (for `Failure` and `Skipped`) or `sync_held` (for `Held`).
    pub tracked: bool,
    /// Whether it begins or has another reason than last time: then the log gets a row.
    pub log: bool,
}

/// The numbers of a cycle, as `sync_cycles` and `sync --json` have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Distinct users that are assigned, enabled and pass the filters, rejected ones included.
    pub in_scope: u64,
    /// Learners made.
    pub created: u64,
    /// Learners changed.
    pub updated: u64,
    /// Learners switched off.
    pub deactivated: u64,
    /// Learners switched on again.
    pub reactivated: u64,
    /// Learners in scope without a change.
    pub unchanged: u64,
    /// Assigned users left alone.
    pub skipped: u64,
    /// Users for whom it could not be done.
    pub failed: u64,
    /// People held.
    pub held: u64,
}

/// One line of `plan`: what would happen to one user.
#[derive(Debug)]
pub enum Planned<'a> {
    /// A change.
    Change(&'a Change),
    /// Somebody for whom nothing is done.
    Finding(&'a Finding),
}

/// Everything one cycle will do. Made by [`plan`](super::plan) only.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub(super) changes: Vec<Change>,
    /// Where in `changes` a transaction may end.
    pub(super) cuts: Vec<usize>,
    pub(super) findings: Vec<Finding>,
    pub(super) failing_ended: BTreeSet<EntraId>,
    pub(super) held_ended: BTreeSet<EntraId>,
    pub(super) routes: Vec<(EntraId, Routes)>,
    pub(super) group_members: MemberCounts,
    pub(super) compared: Vec<Compared>,
    pub(super) counts: Counts,
}

impl Plan {
    /// The changes in the order in which they are applied.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Every change and finding, in the order of the users's ids.
    pub fn lines(&self) -> Vec<Planned<'_>> {
        let mut lines: Vec<Planned<'_>> =
            self.changes().iter().map(Planned::Change).chain(self.findings().iter().map(Planned::Finding)).collect();
        lines.sort_by_key(|line| match line {
            Planned::Change(change) => (change.user, Status::Success),
            Planned::Finding(finding) => (finding.user, finding.status),
        });
        lines
    }

    /// The changes, transaction by transaction.
    pub fn batches(&self) -> impl Iterator<Item = &[Change]> {
        let starts = std::iter::once(0).chain(self.cuts.iter().copied());
        let ends = self.cuts.iter().copied().chain([self.changes.len()]);
        starts.zip(ends).map(|(start, end)| &self.changes[start..end]).filter(|batch| !batch.is_empty())
    }

    /// Who is left alone, and why.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whose row in `sync_failures` ends, though no learner is written; who is among the findings as well begins a
    /// new one.
    pub fn failing_ended(&self) -> &BTreeSet<EntraId> {
        &self.failing_ended
    }

    /// Whose row in `sync_held` ends, though nothing is written for them.
    pub fn held_ended(&self) -> &BTreeSet<EntraId> {
        &self.held_ended
    }

    /// Linked users who are assigned in another way than the link says.
    pub fn routes(&self) -> &[(EntraId, Routes)] {
        &self.routes
    }

    /// The member counts that differ from `sync_groups`.
    pub fn group_members(&self) -> &MemberCounts {
        &self.group_members
    }

    /// Linked users whose row was compared and already is as it should be, or is left as it is.
    pub fn compared(&self) -> &[Compared] {
        &self.compared
    }

    /// The numbers when everything in it succeeds.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

impl Counts {
    /// Counts one change that was made.
    pub fn add(&mut self, action: Action) {
        match action {
            Action::Create => self.created += 1,
            Action::Update => self.updated += 1,
            Action::Deactivate => self.deactivated += 1,
            Action::Reactivate => self.reactivated += 1,
        }
    }
}
