//! What a cycle will do: every decision about every person, made from data alone.
//!
//! Reading order: [`candidates`] says whom to look at a second time, [`touched`] and [`sought`] what to read from
//! the learner database, [`plan`] decides. Whatever `store` does afterwards stands in the [`Plan`]; there is no
//! other place where it is decided who is created, changed, switched off or held back.

mod arrivals;
mod bounds;
mod claims;
mod decision;
mod evidence;
mod holds;
mod leavers;
mod only;
mod relink;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

pub use self::bounds::lost_group;
pub use self::decision::{AttributeChange, Change, Counts, Finding, Plan, Planned, REDACTED, Target};
pub use self::evidence::{
    Compared, Confirmed, Desired, Evidence, FailingEntry, HeldEntry, Input, Limits, MemberCounts, Person, Rejection,
    Row, Standing,
};
pub use self::relink::Relink;
use crate::model::{Attribute, EntraId, KnownLearners, Reason, Status, UniqueKey};

/// A deactivation that carries this at the start of its detail was approved and does not count again.
pub const APPROVED_PREFIX: &str = "approved by ";

/// How many learners change in one transaction; more only when they hand values to each other.
const BATCH: usize = 1000;

/// How long an approval is good for, and how far back deactivations are counted.
pub const DAY: SignedDuration = SignedDuration::from_hours(24);

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
    plan.changes.extend(claims::move_aside(input, &plan.changes, &holders));
    let leavers = leavers::decide(input, &mut plan);
    holds::decide(input, leavers, &mut plan);
    settle(input, &mut plan);
    redact(&input.limits.redacted, &mut plan);
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
    let mut conflicts = claims::conflicts(input, &drafts, holders, staying);
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
    // Who was found nowhere just now has not been nowhere before, whatever the wait so far was for.
    let begins_anew = plan.findings.iter().filter(|finding| leavers::begins_anew(input, finding));
    let begins_anew = begins_anew.map(|finding| finding.person);
    plan.failing_ended = evidence.failing.keys().filter(over).copied().chain(begins_anew).collect();

    for (id, person) in &desired.people {
        if known.get(id).is_some_and(|known| known.via != person.via) {
            plan.via.push((*id, person.via.clone()));
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
        .map(|finding| finding.person)
        .chain(evidence.held.keys().copied().filter(|id| !plan.held_ended.contains(id) && !changing.contains(id)))
        .collect();
    plan.counts.held = held.len() as u64;
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
    for (person, _) in
        known.iter().filter(|(person, known)| known.active && !bounds::surely_left_alone(desired, **person, known))
    {
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
