//! What a cycle will do: every decision about every user, made from data alone.
//!
//! Reading order: [`candidates`] says whom to look at a second time, [`possibly_changed`] and [`lookups`] what to read from
//! the learner database, [`plan`] decides. Whatever `store` does afterwards stands in the [`Plan`]; there is no
//! other place where it is decided who is created, changed, switched off or held back.

mod decision;
mod holds;
mod input;
mod joiners;
mod leavers;
mod only;
mod relink;
mod restrictions;
#[cfg(test)]
mod tests;
mod uniqueness;

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

pub use self::decision::{AttributeChange, Change, Counts, Finding, Plan, Planned, REDACTED, Target};
pub use self::input::{
    Assessment, AssignedUser, Compared, Confirmed, DatabaseFacts, Desired, FailingEntry, HeldEntry, LearnerRow, Limits,
    MemberCounts, PlanInput, Rejection,
};
pub use self::relink::Relink;
pub use self::restrictions::lost_group;
use crate::model::{Attribute, EntraId, LinkedLearners, Reason, Status, UniqueKey};

/// A deactivation that carries this at the start of its detail was approved and does not count again.
pub const APPROVED_PREFIX: &str = "approved by ";

/// How many learners change in one transaction; more only when they hand values to each other.
const BATCH: usize = 1000;

/// How long an approval is good for, and how far back deactivations are counted.
pub const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Decides everything.
pub fn plan(input: PlanInput<'_>) -> Plan {
    let mut plan = Plan::default();
    let holders = uniqueness::Holders::of(&input.evidence.holders, input.limits.match_attribute);
    let mut drafts = joiners::draft(input, &holders, &mut plan);
    drafts = without_conflicts(input, drafts, &holders, &BTreeSet::new(), &mut plan);
    let held = holds::held_updates(input, &drafts);
    // Who is held back keeps its values: that can stand in the way of others.
    drafts = without_conflicts(input, drafts, &holders, &held.keys().copied().collect(), &mut plan);
    for draft in drafts {
        match held.get(&draft.user).cloned() {
            Some((reason, detail)) => plan.findings.push(holds::hold(input, reason, detail, draft)),
            None => plan.changes.push(holds::released(input, draft)),
        }
    }
    plan.changes.extend(uniqueness::move_aside(input, &plan.changes, &holders));
    let leavers = leavers::decide(input, &mut plan);
    holds::decide(input, leavers, &mut plan);
    settle(input, &mut plan);
    redact(&input.limits.redacted, &mut plan);
    (plan.changes, plan.cuts) = uniqueness::arrange(plan.changes, BATCH);
    plan
}

fn without_conflicts(
    input: PlanInput<'_>,
    drafts: Vec<Change>,
    holders: &uniqueness::Holders<'_>,
    staying: &BTreeSet<EntraId>,
    plan: &mut Plan,
) -> Vec<Change> {
    let mut conflicts = uniqueness::conflicts(input, &drafts, holders, staying);
    let mut clear = Vec::with_capacity(drafts.len());
    for draft in drafts {
        match conflicts.remove(&draft.user) {
            Some(detail) if !staying.contains(&draft.user) => {
                plan.findings.push(joiners::conflict(input, draft, detail));
            }
            _ => clear.push(draft),
        }
    }
    clear
}

/// Marks what no log may show.
fn redact(redacted: &BTreeSet<Attribute>, plan: &mut Plan) {
    if redacted.is_empty() {
        return;
    }
    let changes = plan.changes.iter_mut().map(|change| (&mut change.changes, &mut change.user_name));
    let findings = plan.findings.iter_mut().map(|finding| (&mut finding.changes, &mut finding.user_name));
    for (changes, user_name) in changes.chain(findings) {
        changes.iter_mut().for_each(|change| change.redacted = redacted.contains(&change.attribute));
        if redacted.contains(&Attribute::UserName) && user_name.is_some() {
            *user_name = Some(REDACTED.to_owned());
        }
    }
}

/// Closes what is over in the bookkeeping tables, notes what differs there, and counts.
fn settle(input: PlanInput<'_>, plan: &mut Plan) {
    let PlanInput { known, desired, groups, evidence, .. } = input;
    let changing: BTreeSet<EntraId> = plan.changes.iter().map(|change| change.user).collect();
    let failing: BTreeSet<EntraId> = plan
        .findings
        .iter()
        .filter(|finding| finding.tracked && finding.status != Status::Held)
        .map(|finding| finding.user)
        .collect();
    // A user with a change stays until the change is in the database: that transaction ends the failure. And who
    // has waited long enough but is held has not to wait anew.
    let over =
        |user: &&EntraId| !failing.contains(user) && !changing.contains(user) && !leavers::is_nowhere(input, **user);
    // Who was found nowhere just now has not been nowhere before, whatever the wait so far was for.
    let begins_anew = plan.findings.iter().filter(|finding| leavers::begins_anew(input, finding));
    let begins_anew = begins_anew.map(|finding| finding.user);
    plan.failing_ended = evidence.failing.keys().filter(over).copied().chain(begins_anew).collect();

    for (id, user) in &desired.users {
        if known.get(id).is_some_and(|known| known.routes != user.routes) {
            plan.routes.push((*id, user.routes.clone()));
        }
    }
    let guarded = holds::emptied_groups_with_people(input);
    // Of an assigned group the second look is the newer one.
    let named = input.named_groups.iter().filter(|(group, _)| !groups.contains_key(group));
    plan.group_members = groups
        .iter()
        .chain(named)
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
        .map(|finding| finding.user)
        .chain(evidence.held.keys().copied().filter(|id| !plan.held_ended.contains(id) && !changing.contains(id)))
        .collect();
    plan.counts.held = held.len() as u64;
}

/// The finding for a change that the database refused.
pub fn refused(change: &Change, why: String, failing: &BTreeMap<EntraId, FailingEntry>) -> Finding {
    Finding {
        user: change.user,
        action: change.action,
        status: Status::Failure,
        reason: Reason::DatabaseError,
        detail: Some(why),
        learner: change.target.learner(),
        user_name: change.user_name.clone(),
        changes: change.changes.clone(),
        tracked: true,
        log: failing.get(&change.user).is_none_or(|entry| entry.reason != Reason::DatabaseError),
    }
}

/// Learners that are active and linked, but not wanted any more and without positive evidence why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Not among the assigned users.
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
pub fn candidates(known: &LinkedLearners, desired: &Desired) -> Candidates {
    let mut found = Candidates::default();
    for (user, _) in
        known.iter().filter(|(user, known)| known.active && !restrictions::surely_left_alone(desired, **user, known))
    {
        match desired.users.get(user).map(|user| &user.assessment) {
            None => found.absent.push(*user),
            Some(Assessment::NotFound) => found.unread.push(*user),
            Some(_) => {}
        }
    }
    found
}

/// The linked users whose rows are needed: everybody for whom something may be written or logged.
pub fn possibly_changed(known: &LinkedLearners, desired: &Desired) -> Vec<EntraId> {
    known
        .iter()
        .filter(|(user, known)| match desired.users.get(user).map(|user| &user.assessment) {
            Some(Assessment::Unchanged) => false,
            Some(Assessment::Wanted(_)) => true,
            None | Some(Assessment::Leaving(_) | Assessment::Rejected(_) | Assessment::NotFound) => known.active,
        })
        .map(|(user, _)| *user)
        .collect()
}

/// What has to be looked up among all learners, linked or not, before values are handed out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Unique values that somebody newly wants.
    pub keys: BTreeSet<UniqueKey>,
    /// Values of the match attribute of users without a link.
    pub match_values: Vec<String>,
    /// People without a link.
    pub newcomers: Vec<EntraId>,
}

/// Which values somebody newly wants; `rows` are those of the [`possibly_changed`].
pub fn lookups(
    known: &LinkedLearners,
    desired: &Desired,
    rows: &BTreeMap<EntraId, LearnerRow>,
    match_attribute: Attribute,
) -> Lookups {
    let mut lookups = Lookups::default();
    for (id, user) in &desired.users {
        let Assessment::Wanted(learner) = &user.assessment else { continue };
        let row = rows.get(id);
        if known.contains_key(id) {
            lookups.keys.extend(joiners::newly_wanted(&learner.values, row));
        } else {
            let values = joiners::creation_values(learner);
            lookups.keys.extend(joiners::newly_wanted(&values, None));
            lookups.match_values.extend(values.get(&match_attribute).cloned().flatten());
            lookups.newcomers.push(*id);
        }
    }
    lookups
}
