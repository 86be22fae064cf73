//! What a cycle will do: every decision about every person, made from data alone.
//!
//! Reading order: [`candidates`] says whom to look at a second time, [`touched`] and [`sought`] what to read from
//! the learner database, [`plan`] decides. Whatever `store` does afterwards stands in the [`Plan`]; there is no
//! other place where it is decided who is created, changed, switched off or held back.

mod arrivals;
mod claims;
mod holds;
mod leavers;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::model::{
    Action, Attribute, EntraId, Fingerprint, KnownLearners, Learner, LearnerId, Reason, Status, UniqueKey, Values,
    Verdict, Via,
};

/// Everybody who is assigned to the application, and how each stands. Complete: somebody who is not in it was
/// not in the complete read either.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// By object id.
    pub people: BTreeMap<EntraId, Person>,
}

/// One assigned person.
#[derive(Clone, Debug)]
pub struct Person {
    /// What scope and mapping say.
    pub standing: Standing,
    /// The ways the person is assigned.
    pub via: Via,
}

/// How an assigned person stands after scope and mapping.
#[derive(Clone, Debug)]
pub enum Standing {
    /// Wanted, and the fingerprint is the known one of an active learner: nothing to do, nothing kept.
    Unchanged,
    /// Wanted; new, changed, or inactive so far.
    Wanted(Box<Learner>),
    /// Assigned, but not to be a learner, on positive evidence.
    Leaving(Reason),
    /// Neither wanted nor gone: the learner stays as it is.
    Rejected(Box<Rejection>),
    /// Assigned, but Graph answers 404 for the account.
    NotFound,
}

/// Why somebody was rejected before the plan was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// `missing-required`, `invalid-value` or `unreadable`.
    pub reason: Reason,
    /// Which attribute and which rule.
    pub detail: String,
    /// The user name, where it could be told.
    pub user_name: Option<String>,
}

/// A row of the learners table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub learner: LearnerId,
    /// The Entra id the row names, as it stands there.
    pub external_id: Option<String>,
    /// The source and person it is linked to.
    pub link: Option<(String, EntraId)>,
    /// Whether it is switched on.
    pub active: bool,
    /// Whether it has a `deactivated_at`: set by every deactivation, cleared by every reactivation of ours.
    pub deactivated: bool,
    /// `user_name`, `email` and the mapped attributes, without `Active`.
    pub values: Values,
}

impl Row {
    /// Whether somebody else switched it on or off: that is noted, and left so.
    fn switched_by_hand(&self) -> bool {
        self.active == self.deactivated
    }
}

/// A linked learner whose row was compared and needs no change: what the cache is to say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Whose.
    pub person: EntraId,
    /// Of the values it has, or of those that are wanted and are the same.
    pub fingerprint: Fingerprint,
    /// Whether it is switched on.
    pub active: bool,
}

/// A person in `sync_held`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldEntry {
    /// `Deactivate` or `Update`.
    pub action: Action,
    /// `threshold`, `empty-group` or `unreadable`.
    pub reason: Reason,
    /// Since when.
    pub since: Timestamp,
    /// When and by whom it was approved.
    pub approved: Option<(Timestamp, String)>,
}

/// A person in `sync_failures`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailingEntry {
    /// Why.
    pub reason: Reason,
    /// In words.
    pub detail: Option<String>,
    /// Since when.
    pub first_at: Timestamp,
}

/// What the learner database says, read for exactly this plan.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The rows of linked learners that may change, by person.
    pub rows: BTreeMap<EntraId, Row>,
    /// Every row that holds a value somebody newly wants, or names a newcomer in `external_id`.
    pub holders: Vec<Row>,
    /// Who is held.
    pub held: BTreeMap<EntraId, HeldEntry>,
    /// Who fails.
    pub failing: BTreeMap<EntraId, FailingEntry>,
    /// Whom this source switched off in the last 24 hours without an approval and who is still off.
    pub recently_deactivated: BTreeSet<EntraId>,
    /// How many active linked learners have a value, by attribute.
    pub present: BTreeMap<Attribute, u64>,
    /// How many members each assigned group had, by `sync_groups`.
    pub last_members: BTreeMap<EntraId, u64>,
}

/// The assigned groups as this cycle saw them: user members by group.
pub type MemberCounts = BTreeMap<EntraId, u64>;

/// What the second look found, for everybody in [`Candidates`].
pub type Confirmed = BTreeMap<EntraId, Verdict>;

/// A deactivation that carries this at the start of its detail was approved and does not count again.
pub const APPROVED_PREFIX: &str = "approved by ";

/// How many learners change in one transaction; more only when they hand values to each other.
const BATCH: usize = 1000;

/// How long an approval is good for, and how far back deactivations are counted.
pub const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The limits an administrator set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// More deactivations than this are held.
    pub max_deactivations: u64,
    /// More than this share of the learners is held, in percent.
    pub max_deactivation_percent: u64,
    /// More updates than this share of the learners are held, in percent.
    pub max_update_percent: u64,
    /// The attribute by which an unlinked learner is recognised.
    pub match_attribute: Attribute,
    /// How long somebody who is still assigned must answer 404 before that counts.
    pub min_interval: SignedDuration,
    /// How long somebody must have been gone.
    pub deactivate_after: SignedDuration,
    /// Who is never switched off.
    pub protected: Protected,
}

/// People who are never switched off, as an administrator names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protected {
    /// By object id.
    pub people: BTreeSet<EntraId>,
    /// By user name, in ASCII lower case.
    pub user_names: BTreeSet<String>,
}

/// One attribute before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeChange {
    /// Which.
    pub attribute: Attribute,
    /// Before; `None` is null.
    pub old: Option<String>,
    /// After; `None` is null.
    pub new: Option<String>,
}

/// Which learner row a change is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A row that is made.
    New,
    /// An unlinked row that becomes this person's.
    Adopt(LearnerId),
    /// The person's own row.
    Linked(LearnerId),
}

impl Target {
    /// The learner, when there is one already.
    pub fn learner(self) -> Option<LearnerId> {
        match self {
            Self::New => None,
            Self::Adopt(learner) | Self::Linked(learner) => Some(learner),
        }
    }
}

/// A change that will be applied: one learner row, one log row, one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub person: EntraId,
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
    /// The ways the person is assigned.
    pub via: Via,
    /// The fingerprint of the row afterwards.
    pub fingerprint: Fingerprint,
    /// Something more for the log: an approval, what was matched.
    pub detail: Option<String>,
}

/// A person for whom something was not done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Who.
    pub person: EntraId,
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

/// One line of `plan`: what would happen to one person.
#[derive(Debug)]
pub enum Planned<'a> {
    /// A change.
    Change(&'a Change),
    /// Somebody for whom nothing is done.
    Finding(&'a Finding),
}

/// Everything one cycle will do. Made by [`plan`] only.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    changes: Vec<Change>,
    /// Where in `changes` a transaction may end.
    cuts: Vec<usize>,
    findings: Vec<Finding>,
    failing_ended: BTreeSet<EntraId>,
    held_ended: BTreeSet<EntraId>,
    via: Vec<(EntraId, Via)>,
    group_members: MemberCounts,
    compared: Vec<Compared>,
    counts: Counts,
}

impl Plan {
    /// The changes in the order in which they are applied.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Every change and finding, in the order of the people's ids.
    pub fn lines(&self) -> Vec<Planned<'_>> {
        let mut lines: Vec<Planned<'_>> =
            self.changes().iter().map(Planned::Change).chain(self.findings().iter().map(Planned::Finding)).collect();
        lines.sort_by_key(|line| match line {
            Planned::Change(change) => (change.person, Status::Success),
            Planned::Finding(finding) => (finding.person, finding.status),
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

    /// Whose row in `sync_failures` ends, though nothing is written for them.
    pub fn failing_ended(&self) -> &BTreeSet<EntraId> {
        &self.failing_ended
    }

    /// Whose row in `sync_held` ends, though nothing is written for them.
    pub fn held_ended(&self) -> &BTreeSet<EntraId> {
        &self.held_ended
    }

    /// Linked people who are assigned in another way than the link says.
    pub fn via(&self) -> &[(EntraId, Via)] {
        &self.via
    }

    /// The member counts that differ from `sync_groups`.
    pub fn group_members(&self) -> &MemberCounts {
        &self.group_members
    }

    /// Linked people whose row was compared and already is as it should be, or is left as it is.
    pub fn compared(&self) -> &[Compared] {
        &self.compared
    }

    /// The numbers when everything in it succeeds.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// Learners that are active and linked, but not wanted any more and without positive evidence why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Not among the assigned people.
    pub absent: Vec<EntraId>,
    /// Assigned, but Graph answers 404 for the account.
    pub unread: Vec<EntraId>,
}

impl Candidates {
    /// Whether nobody needs a second look.
    pub fn is_empty(&self) -> bool {
        let Self { absent, unread } = self;
        absent.is_empty() && unread.is_empty()
    }
}

/// Whom the directory has to look at a second time before anybody may be taken for gone.
pub fn candidates(known: &KnownLearners, desired: &Desired) -> Candidates {
    let mut found = Candidates::default();
    for (person, _) in known.iter().filter(|(_, known)| known.active) {
        match desired.people.get(person).map(|person| &person.standing) {
            None => found.absent.push(*person),
            Some(Standing::NotFound) => found.unread.push(*person),
            Some(_) => {}
        }
    }
    found
}

/// The linked people whose rows are needed: everybody for whom something may be written or logged.
pub fn touched(known: &KnownLearners, desired: &Desired) -> Vec<EntraId> {
    known
        .iter()
        .filter(|(person, known)| match desired.people.get(person).map(|person| &person.standing) {
            Some(Standing::Unchanged) => false,
            Some(Standing::Wanted(_)) => true,
            None | Some(Standing::Leaving(_) | Standing::Rejected(_) | Standing::NotFound) => known.active,
        })
        .map(|(person, _)| *person)
        .collect()
}

/// What has to be looked up among all learners, linked or not, before values are handed out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sought {
    /// Unique values that somebody newly wants.
    pub keys: BTreeSet<UniqueKey>,
    /// Values of the match attribute of people without a link.
    pub match_values: Vec<String>,
    /// People without a link.
    pub newcomers: Vec<EntraId>,
}

/// Which values somebody newly wants; `rows` are those of the [`touched`].
pub fn sought(
    known: &KnownLearners,
    desired: &Desired,
    rows: &BTreeMap<EntraId, Row>,
    match_attribute: Attribute,
) -> Sought {
    let mut sought = Sought::default();
    for (id, person) in &desired.people {
        let Standing::Wanted(learner) = &person.standing else { continue };
        let row = rows.get(id);
        if known.contains_key(id) {
            sought.keys.extend(arrivals::newly_wanted(&learner.values, row));
        } else {
            let values = arrivals::creation_values(learner);
            sought.keys.extend(arrivals::newly_wanted(&values, None));
            sought.match_values.extend(values.get(&match_attribute).cloned().flatten());
            sought.newcomers.push(*id);
        }
    }
    sought
}

/// Everything a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The linked learners.
    pub known: &'a KnownLearners,
    /// What the last cycle left in the learner database, when `known` is what stands there now. Where the two
    /// differ, somebody else has been at work.
    pub left: Option<&'a KnownLearners>,
    /// The assigned people.
    pub desired: &'a Desired,
    /// The assigned groups.
    pub groups: &'a MemberCounts,
    /// Whether the application has no assignment at all.
    pub nobody_assigned: bool,
    /// The second look.
    pub confirmed: &'a Confirmed,
    /// The learner database.
    pub evidence: &'a Evidence,
    /// The limits.
    pub limits: &'a Limits,
    /// The time of the cycle.
    pub now: Timestamp,
}

/// Decides everything.
pub fn plan(input: Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let holders = claims::Holders::of(&input.evidence.holders, input.limits.match_attribute);
    let mut drafts = arrivals::draft(input, &holders, &mut plan);
    drafts = without_conflicts(input, drafts, &holders, &BTreeSet::new(), &mut plan);
    let held = holds::held_updates(input, &drafts);
    // Who is held back keeps its values: that can stand in the way of others.
    drafts = without_conflicts(input, drafts, &holders, &held.keys().copied().collect(), &mut plan);
    for draft in drafts {
        match held.get(&draft.person).cloned() {
            Some((reason, detail)) => plan.findings.push(holds::hold(input, reason, detail, draft)),
            None => plan.changes.push(holds::released(input, draft)),
        }
    }
    let leavers = leavers::decide(input, &mut plan);
    holds::decide(input, leavers, &mut plan);
    settle(input, &mut plan);
    (plan.changes, plan.cuts) = claims::arrange(plan.changes, BATCH);
    plan
}

fn without_conflicts(
    input: Input<'_>,
    drafts: Vec<Change>,
    holders: &claims::Holders<'_>,
    staying: &BTreeSet<EntraId>,
    plan: &mut Plan,
) -> Vec<Change> {
    let mut conflicts = claims::conflicts(&drafts, holders, staying);
    let mut clear = Vec::with_capacity(drafts.len());
    for draft in drafts {
        match conflicts.remove(&draft.person) {
            Some(detail) if !staying.contains(&draft.person) => {
                plan.findings.push(arrivals::conflict(input, draft, detail));
            }
            _ => clear.push(draft),
        }
    }
    clear
}

/// Closes what is over in the bookkeeping tables, notes what differs there, and counts.
fn settle(input: Input<'_>, plan: &mut Plan) {
    let Input { known, desired, groups, evidence, .. } = input;
    let changing: BTreeSet<EntraId> = plan.changes.iter().map(|change| change.person).collect();
    let failing: BTreeSet<EntraId> = plan
        .findings
        .iter()
        .filter(|finding| finding.tracked && finding.status != Status::Held)
        .map(|finding| finding.person)
        .collect();
    // A person with a change stays until the change is in the database: that transaction ends the failure. And who
    // has waited long enough but is held has not to wait anew.
    let over = |person: &&EntraId| {
        !failing.contains(person) && !changing.contains(person) && !leavers::is_nowhere(input, **person)
    };
    plan.failing_ended = evidence.failing.keys().filter(over).copied().collect();

    for (id, person) in &desired.people {
        if known.get(id).is_some_and(|known| known.via != person.via) {
            plan.via.push((*id, person.via.clone()));
        }
    }
    let guarded = holds::emptied_groups_with_people(input);
    plan.group_members = groups
        .iter()
        .filter(|(group, members)| evidence.last_members.get(group) != Some(members) && !guarded.contains(group))
        .map(|(group, members)| (*group, *members))
        .collect();

    for finding in &plan.findings {
        match finding.status {
            Status::Skipped => plan.counts.skipped += 1,
            Status::Failure => plan.counts.failed += 1,
            Status::Held | Status::Success => {}
        }
    }
    for change in &plan.changes {
        plan.counts.add(change.action);
    }
    let held: BTreeSet<EntraId> = plan
        .findings
        .iter()
        .filter(|finding| finding.status == Status::Held)
        .map(|finding| finding.person)
        .chain(evidence.held.keys().copied().filter(|id| !plan.held_ended.contains(id) && !changing.contains(id)))
        .collect();
    plan.counts.held = held.len() as u64;
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

/// The finding for a change that the database refused.
pub fn refused(change: &Change, why: String, failing: &BTreeMap<EntraId, FailingEntry>) -> Finding {
    Finding {
        person: change.person,
        action: change.action,
        status: Status::Failure,
        reason: Reason::DatabaseError,
        detail: Some(why),
        learner: change.target.learner(),
        user_name: change.user_name.clone(),
        changes: change.changes.clone(),
        tracked: true,
        log: failing.get(&change.person).is_none_or(|entry| entry.reason != Reason::DatabaseError),
    }
}
