//! The work of a cycle: every decision about every user, made from data alone.
//!
//! Reading order: [`candidates`] names the learners that need a confirmation, [`possibly_changed`] and [`lookups`] say
//! what to read from the learner database, [`plan`] decides. The store carries out the [`Plan`] and decides nothing.

mod changes;
mod decision;
mod display;
mod ended_holds;
mod guests;
mod holds;
mod input;
mod joiners;
mod leavers;
mod new_learners;
mod recreated;
mod relink;
mod restrictions;
mod single_user;
#[cfg(test)]
mod tests;
mod unclear;
mod uniqueness;
mod units;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use self::changes::{AttributeChange, Changes};
pub use self::decision::{
    Adoption, Counts, Decision, EXTERNAL_ID, Effect, EndedHold, EndedHolds, Leave, LeftAs, REDACTED, RowAfter,
    TargetRow,
};
pub use self::input::{
    Assessment, AssignedUser, Compared, Confirmed, DatabaseFacts, Desired, FailingEntry, HeldEntry, LearnerRow, Limits,
    MemberCounts, PlanInput, Rejection,
};
use self::new_learners::{NewLearner, NewLearners};
pub use self::recreated::{Doubt, IdentityProof, Recreated, RecreatedUser, former_accounts, recreated};
pub use self::relink::Relink;
pub use self::restrictions::lost_group;
pub use self::units::{Batch, unique_values};
use crate::model::{Attribute, EntraId, LinkedLearners, Reason, Routes, UniqueKey};

/// How many learners a batch changes; more only when they hand values to each other.
pub const BATCH_SIZE: usize = 1000;

/// How many users one [`Lookups`] is about.
const LOOKUP_SIZE: usize = 50_000;

/// Everything one cycle will do. Only [`plan`] makes one.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Applied before the batches.
    new_learners: NewLearners,
    /// The attributes that the decisions about `new_learners` hide.
    redacted: BTreeSet<Attribute>,
    batches: VecDeque<Batch>,
    left: Vec<Decision>,
    failing_ended: BTreeSet<EntraId>,
    held_ended: EndedHolds,
    routes: Vec<(EntraId, Routes)>,
    group_members: MemberCounts,
    take_over_ended: bool,
    compared: Vec<Compared>,
    counts: Counts,
    unreadable: Vec<String>,
}

impl Plan {
    /// The smallest transactions, in the order in which they are applied.
    pub fn batches(&self) -> impl Iterator<Item = Cow<'_, Batch>> {
        let created = self.new_learners.parts().map(|part| Cow::Owned(self.batch_of(part)));
        created.chain(self.batches.iter().map(Cow::Borrowed))
    }

    fn batch_of(&self, new_learners: &[NewLearner]) -> Batch {
        Batch::with_single_units(new_learners.iter().map(|new| new.redacted(&self.redacted)))
    }

    /// Takes the next transaction: the next batch, and as many more as change at most `most` learners together.
    pub fn take_batch(&mut self, most: usize) -> Option<Batch> {
        let mut taken = if self.new_learners.is_empty() {
            self.batches.pop_front()?
        } else {
            let taken = self.new_learners.take(most.max(1));
            self.batch_of(&taken)
        };
        while let Some(next) =
            self.batches.pop_front_if(|next| taken.decisions().len() + next.decisions().len() <= most)
        {
            taken.append(next);
        }
        Some(taken)
    }

    /// The decisions that are applied, in order. Those about new learners are spelled out one by one.
    pub fn applied(&self) -> impl Iterator<Item = Cow<'_, Decision>> {
        let created = self.new_learners.iter().map(|new| Cow::Owned(new.redacted(&self.redacted)));
        created.chain(self.arranged().map(Cow::Borrowed))
    }

    /// The applied decisions without those about new learners.
    fn arranged(&self) -> impl Iterator<Item = &Decision> {
        self.batches.iter().flat_map(Batch::decisions).map(|decision| &**decision)
    }

    /// The decisions that leave a learner as it is.
    pub fn not_applied(&self) -> &[Decision] {
        &self.left
    }

    /// Every decision.
    pub fn decisions(&self) -> impl Iterator<Item = Cow<'_, Decision>> {
        self.applied().chain(self.left.iter().map(Cow::Borrowed))
    }

    /// The user of every decision.
    pub fn users(&self) -> impl Iterator<Item = EntraId> {
        let decided = self.arranged().chain(&self.left).map(|decision| decision.user);
        self.new_learners.iter().map(|new| new.user).chain(decided)
    }

    /// The decisions about one user.
    pub fn decisions_on(&self, user: EntraId) -> impl Iterator<Item = Cow<'_, Decision>> {
        self.decisions().filter(move |decision| decision.user == user)
    }

    /// Users whose row in `sync_failures` is deleted, before the rows of [`Plan::not_applied`] are written.
    pub fn failing_ended(&self) -> &BTreeSet<EntraId> {
        &self.failing_ended
    }

    /// The holds whose row in `sync_held` is deleted although no learner is written.
    pub fn held_ended(&self) -> &EndedHolds {
        &self.held_ended
    }

    /// Linked users whose routes differ from those of the link.
    pub fn routes(&self) -> &[(EntraId, Routes)] {
        &self.routes
    }

    /// The member counts that differ from `sync_groups`.
    pub fn group_members(&self) -> &MemberCounts {
        &self.group_members
    }

    /// Whether the holds of the first cycle after a take-over are in this plan.
    pub fn take_over_ended(&self) -> bool {
        self.take_over_ended
    }

    /// Linked users whose row was compared and is not written.
    pub fn compared(&self) -> &[Compared] {
        &self.compared
    }

    /// The rows of the bookkeeping that cannot be read and name no user. Each counts as failed.
    pub fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    /// The numbers of the cycle when every decision succeeds.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// Boxed, because they move through several vectors, and a first load has one for each user.
type Decisions = Vec<Box<Decision>>;

/// A plan in the making: decisions in the order in which they are made.
#[derive(Default)]
struct Draft {
    new_learners: NewLearners,
    decisions: Decisions,
    compared: Vec<Compared>,
    counts: Counts,
}

/// Decides everything.
pub fn plan(input: PlanInput<'_>) -> Plan {
    let holders = uniqueness::Holders::new(&input.facts.holders, input.limits.match_attribute);
    let mut draft = Draft::default();
    joiners::reject_unreadable(input, &mut draft);
    joiners::decide(input, &holders, &mut draft);
    guests::hold_names_of_returned(input, &mut draft);
    reject_conflicts(input, &holders, &BTreeSet::new(), &mut draft);
    hold_updates(input, &holders, &mut draft);
    let freed = uniqueness::free_reissued(input, draft.applied(), &holders);
    freed.into_iter().for_each(|decision| draft.push(decision));
    unclear::decide(input, &mut draft);
    let leavers = leavers::due(input, &mut draft);
    holds::decide_leavers(input, leavers, &mut draft);
    complete(input, draft)
}

impl Draft {
    fn push(&mut self, decision: Decision) {
        self.decisions.push(Box::new(decision));
    }

    fn applied(&self) -> impl Iterator<Item = &Decision> + Clone {
        self.decisions.iter().map(|decision| &**decision).filter(|decision| matches!(decision.effect, Effect::Apply(_)))
    }
}

/// Rejects decisions that want a value of another learner. `staying` users keep their values.
fn reject_conflicts(
    input: PlanInput<'_>,
    holders: &uniqueness::Holders<'_>,
    staying: &BTreeSet<EntraId>,
    draft: &mut Draft,
) {
    let mut conflicts = uniqueness::conflicts(input, draft.applied(), holders, staying);
    conflicts.retain(|user, _| !staying.contains(user));
    let decisions = std::mem::take(&mut draft.decisions);
    draft.decisions = decisions
        .into_iter()
        .map(|decision| match (&decision.effect, conflicts.get(&decision.user)) {
            (Effect::Apply(_), Some(conflict)) => Box::new(joiners::conflict(input, *decision, conflict.clone())),
            _ => decision,
        })
        .collect();
}

/// Holds updates that need an approval. A held user keeps its values, which may stand in the way of others.
fn hold_updates(input: PlanInput<'_>, holders: &uniqueness::Holders<'_>, draft: &mut Draft) {
    let mut held = holds::updates_to_hold(input, &draft.decisions);
    // Otherwise nothing has changed since the conflicts were rejected.
    if !held.is_empty() {
        reject_conflicts(input, holders, &held.keys().copied().collect(), draft);
    }
    let decisions = std::mem::take(&mut draft.decisions);
    draft.decisions = decisions
        .into_iter()
        .map(|decision| match decision.effect {
            Effect::Leave(_) => decision,
            Effect::Apply(_) => match held.remove(&decision.user) {
                Some(hold) => Box::new(holds::hold_decision(input, *decision, hold)),
                None => holds::with_approval(input, decision),
            },
        })
        .collect();
}

/// Adds the bookkeeping, counts, and arranges the decisions into transactions.
fn complete(input: PlanInput<'_>, draft: Draft) -> Plan {
    let PlanInput { linked, desired, groups, named_groups, facts, .. } = input;
    let mut held_ended = ended_holds::ended_without_change(input, &draft);
    let failing_ended = failing_ended(input, &draft);
    let Draft { new_learners, decisions, compared, mut counts } = draft;
    let (mut applied, left): (Decisions, Decisions) =
        decisions.into_iter().partition(|decision| matches!(decision.effect, Effect::Apply(_)));
    let mut left: Vec<Decision> = left.into_iter().map(|decision| *decision).collect();
    applied.iter_mut().for_each(|decision| decision.request_id = input.request_id(decision.user));
    left.iter_mut().for_each(|decision| decision.request_id = input.request_id(decision.user));

    let routes = desired.users.iter().filter_map(|(id, user)| {
        linked.get(id).filter(|linked| linked.routes != user.routes).map(|_| (*id, user.routes.clone()))
    });
    let guarded = holds::emptied_groups_with_learners(input);
    // For an assigned group, the count of the confirmation is newer.
    let named = named_groups.iter().filter(|(group, _)| !groups.contains_key(group));
    let is_new = |group: &EntraId, members: &u64| holds::is_new_count(input, *group, *members);
    let members = groups.iter().chain(named);
    let members = members.filter(|(group, members)| is_new(group, members) && !guarded.contains(group));

    applied.iter().for_each(|decision| counts.add(decision.action));
    counts.created += new_learners.len() as u64;
    let left_counts = left.iter().filter_map(|decision| Some((decision.user, decision.leave()?.left_as)));
    left_counts.clone().for_each(|(_, left_as)| counts.add_left(left_as));
    let written = applied.iter().map(|decision| decision.user).filter(|user| facts.held.contains_key(user));
    let written: BTreeSet<EntraId> = written.collect();
    let still_held =
        facts.held.keys().copied().filter(|user| !held_ended.contains_key(user) && !written.contains(user));
    let held = left_counts.filter(|(_, left_as)| *left_as == LeftAs::Held).map(|(user, _)| user);
    counts.held = held.chain(still_held).collect::<BTreeSet<_>>().len() as u64;

    let mut ended = ended_holds::ended_by_changes(input, &applied);
    let mut batches = units::arrange(applied, BATCH_SIZE);
    batches.iter_mut().for_each(|batch| batch.take_ended_holds(&mut ended));
    let redacted = &input.limits.redacted;
    if !redacted.is_empty() {
        batches.iter_mut().for_each(|batch| batch.redact(redacted));
        left.iter_mut().for_each(|decision| decision.redact(redacted));
        held_ended.values_mut().for_each(|ended| ended.held.redact(redacted));
    }
    Plan {
        new_learners,
        redacted: redacted.clone(),
        batches,
        left,
        failing_ended,
        held_ended,
        routes: routes.collect(),
        group_members: members.map(|(group, members)| (*group, *members)).collect(),
        take_over_ended: facts.taken_over,
        compared,
        counts,
        unreadable: facts.unreadable.others.clone(),
    }
}

/// Users whose row in `sync_failures` is deleted: the failure ended, or the wait starts again.
fn failing_ended(input: PlanInput<'_>, draft: &Draft) -> BTreeSet<EntraId> {
    if input.facts.failing.is_empty() {
        return BTreeSet::new();
    }
    // An applied decision ends the failure itself, in its transaction.
    let lasting = draft.decisions.iter().filter(|decision| match &decision.effect {
        Effect::Apply(_) => true,
        Effect::Leave(leave) => leave.tracked && leave.left_as != LeftAs::Held,
    });
    let lasting: BTreeSet<EntraId> = lasting.map(|decision| decision.user).collect();
    // A held user whose account is missing keeps its wait.
    let has_ended = |user: &&EntraId| !lasting.contains(user) && !leavers::account_is_missing(input, **user);
    let restarted = draft.decisions.iter().filter(|decision| leavers::restarts_wait(input, decision));
    input.facts.failing.keys().filter(has_ended).copied().chain(restarted.map(|decision| decision.user)).collect()
}

/// Turns a decision that the database refused into a failure.
pub fn refuse(decision: &Decision, detail: String, failing: &BTreeMap<EntraId, FailingEntry>) -> Decision {
    let begins = failing.get(&decision.user).is_none_or(|entry| entry.reason != Reason::DatabaseError);
    decision.clone().leave_as(Reason::DatabaseError, Some(detail), Leave::tracked(LeftAs::Failed, begins))
}

/// Active linked learners whose user is no longer desired, without evidence of the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Users that are not assigned.
    pub absent: Vec<EntraId>,
    /// Assigned users whose account Graph answers with 404.
    pub unread: Vec<EntraId>,
}

/// The users that the directory must confirm before any of them counts as gone.
pub fn candidates(linked: &LinkedLearners, desired: &Desired) -> Candidates {
    let mut candidates = Candidates::default();
    for (user, linked) in linked.iter().filter(|(_, linked)| linked.active) {
        let candidates = match desired.assessment(*user) {
            None => &mut candidates.absent,
            Some(Assessment::NotFound) => &mut candidates.unread,
            Some(_) => continue,
        };
        if !restrictions::excluded_without_row(desired, *user, linked) {
            candidates.push(*user);
        }
    }
    candidates
}

/// The linked users whose learner may be written or logged: the plan needs their rows.
pub fn possibly_changed(linked: &LinkedLearners, desired: &Desired) -> Vec<EntraId> {
    linked
        .iter()
        .filter(|(user, linked)| match desired.assessment(**user) {
            Some(Assessment::Unchanged) => false,
            Some(Assessment::Wanted(_)) => true,
            None | Some(Assessment::Leaving(_) | Assessment::Rejected(_) | Assessment::NotFound) => linked.active,
        })
        .map(|(user, _)| *user)
        .collect()
}

/// Whether one of the [`possibly_changed`] users may be deactivated.
pub fn may_deactivate(users: &[EntraId], desired: &Desired) -> bool {
    users.iter().any(|user| !desired.assessment(*user).is_some_and(Assessment::keeps_learner))
}

/// The attributes that may lose their value in a learner. `rows` are those of the [`possibly_changed`] users; the others
/// may get a row only if `adopts`.
pub fn possibly_cleared(desired: &Desired, rows: &BTreeMap<EntraId, LearnerRow>, adopts: bool) -> Vec<Attribute> {
    let mut cleared = BTreeSet::new();
    for (id, user) in &desired.users {
        let Assessment::Wanted(learner) = &user.assessment else { continue };
        let has_value = |attribute: Attribute| rows.get(id).map_or(adopts, |row| row.value(attribute).is_some());
        let empty = learner.values.iter().filter(|(_, value)| value.is_none()).map(|(attribute, _)| attribute);
        cleared.extend(empty.filter(|attribute| has_value(*attribute)));
    }
    cleared.into_iter().collect()
}

/// Lookups among all learners, linked or not, before planning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookups<'a> {
    /// Unique values that a user newly wants.
    pub keys: Vec<UniqueKey<'a>>,
    /// Values of the match attribute of users without a link.
    pub match_values: Vec<&'a str>,
    /// Users without a link.
    pub newcomers: Vec<EntraId>,
}

/// The values that users newly want, in parts that take little memory; `rows` are those of the [`possibly_changed`] users.
pub fn lookups<'a>(
    linked: &'a LinkedLearners,
    desired: &'a Desired,
    rows: &'a BTreeMap<EntraId, LearnerRow>,
    match_attribute: Attribute,
) -> impl Iterator<Item = Lookups<'a>> {
    let wanted = desired.users.iter().filter_map(|(id, user)| match &user.assessment {
        Assessment::Wanted(learner) => Some((id, learner)),
        _ => None,
    });
    let mut wanted = wanted.peekable();
    std::iter::from_fn(move || {
        wanted.peek()?;
        let mut lookups = Lookups::default();
        for (id, learner) in wanted.by_ref().take(LOOKUP_SIZE) {
            if linked.contains_key(id) {
                lookups.keys.extend(joiners::newly_wanted(|attribute| learner.values.text(attribute), rows.get(id)));
            } else {
                let value = |attribute| joiners::creation_value(learner, attribute);
                lookups.keys.extend(joiners::newly_wanted(value, None));
                lookups.match_values.extend(value(match_attribute));
                lookups.newcomers.push(*id);
            }
        }
        Some(lookups)
    })
}
