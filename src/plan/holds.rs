//! Holds, which last until an administrator approves them: too many deactivations, the members of a group that became
//! empty, a value that disappears from too many learners. Creates and reactivations always continue.

use std::collections::{BTreeMap, BTreeSet};

use super::guests::{GUEST_RENAMED, renames_guest};
use super::leavers::{Leaver, deactivate};
use super::{Assessment, Decision, Draft, Effect, HeldEntry, LearnerRow, Leave, LeftAs, PlanInput, TargetRow};
use crate::model::{Action, Attribute, ClockFinding, EntraId, LearnerId, Reason, Route, Routes};

/// Up to this many users a percentage means nothing.
const SMALL: u64 = 10;
/// Clearing a value for more than this percentage of the learners that have it looks like a lost permission.
const MAX_CLEARING_PERCENT: u64 = 20;
/// A smaller group may become empty without a hold.
pub(super) const GUARDED_GROUP: u64 = 3;

/// Why a decision is held.
pub(super) type Hold = (Reason, Option<String>);

/// The updates that wait for an approval, by user.
pub(super) fn updates_to_hold(input: PlanInput<'_>, decisions: &[Box<Decision>]) -> BTreeMap<EntraId, Hold> {
    let too_many = too_many_updates(input, decisions);
    let lost_hold = input.lost_hold(Action::Update);
    let hold = |decision: &Decision| match (held_entry(input, decision.user, Action::Update), &too_many) {
        (Some(entry), _) if valid_approval(input, entry).is_some() => None,
        (Some(entry), _) => Some((entry.reason, None)),
        (None, _) if decision.changes.iter().any(renames_guest) => {
            Some((Reason::Threshold, Some(GUEST_RENAMED.to_owned())))
        }
        (None, Some(too_many)) => Some((Reason::Threshold, Some(too_many.clone()))),
        (None, None) => lost_hold.clone().map(|detail| (Reason::Threshold, Some(detail))),
    };
    let updates = decisions.iter().filter(|decision| {
        // An administrator asks for a relink by name, so it needs no approval.
        is_applied(decision) && decision.action == Action::Update && decision.reason != Reason::Relinked
    });
    updates.filter_map(|decision| Some((decision.user, hold(decision)?))).collect()
}

/// Whether an update changes how names are written, but not whose they are: after an upgrade, one for each such user.
fn changes_letter_case_only(decision: &Decision) -> bool {
    matches!(decision.row, TargetRow::Linked(_)) && decision.changes.iter().all(|change| change.is_same())
}

/// Marks an update that an approval released.
pub(super) fn with_approval(input: PlanInput<'_>, decision: Box<Decision>) -> Box<Decision> {
    let entry = held_entry(input, decision.user, decision.action).filter(|entry| entry.action == Action::Update);
    match entry.and_then(|entry| valid_approval(input, entry)) {
        Some(released) => Box::new(mark_approved(*decision, released)),
        None => decision,
    }
}

/// Deactivates leavers, or holds them.
pub(super) fn decide_leavers(input: PlanInput<'_>, leavers: Vec<Leaver<'_>>, draft: &mut Draft) {
    let emptied = emptied_groups(input);
    let too_many = too_many_leavers(input, &leavers).or_else(|| input.lost_hold(Action::Deactivate));
    for leaver in leavers {
        let entry = held_entry(input, leaver.user, Action::Deactivate);
        let released = entry.and_then(|entry| valid_approval(input, entry));
        // Other holds last, so that becoming readable does not end them.
        let lasting = entry.map(|entry| entry.reason).filter(|reason| *reason != Reason::Unreadable);
        let decision = match (&leaver.evidence, released, lasting) {
            // An approval releases a user; it does not prove that the user has left.
            (Err(detail), _, lasting) => {
                let reason = lasting.unwrap_or(Reason::Unreadable);
                hold_decision(input, deactivate(input, &leaver, reason), (reason, Some(detail.clone())))
            }
            (Ok(reason), Some(released), _) => mark_approved(deactivate(input, &leaver, *reason), released),
            (Ok(reason), None, Some(lasting)) => {
                let hold_reason = (lasting, Some(format!("would deactivate ({reason})")));
                hold_decision(input, deactivate(input, &leaver, *reason), hold_reason)
            }
            (Ok(reason), None, None) => {
                let decision = deactivate(input, &leaver, *reason);
                let new_hold = if input.nobody_assigned {
                    Some((Reason::EmptyGroup, "the application has no assignments".to_owned()))
                } else {
                    empty_group(input, &leaver, *reason, &emptied)
                        .map(|detail| (Reason::EmptyGroup, detail))
                        .or_else(|| Some((Reason::Threshold, too_many.clone()?)))
                };
                match new_hold {
                    Some((held_for, detail)) => hold_decision(
                        input,
                        decision,
                        (held_for, Some(format!("would deactivate ({reason}): {detail}"))),
                    ),
                    None => decision,
                }
            }
        };
        draft.push(decision);
    }
}

/// Why an unassigned leaver may still be a member of a group that seems empty.
fn empty_group(
    input: PlanInput<'_>,
    leaver: &Leaver<'_>,
    reason: Reason,
    emptied: &BTreeSet<EntraId>,
) -> Option<String> {
    if reason != Reason::Unassigned {
        return None;
    }
    if leaver.linked.routes.as_slice().is_empty()
        && let Some(group) = emptied.first()
    {
        return Some(format!("the link does not say how the user was assigned, and group {group} has no members"));
    }
    match groups_of(leaver).find(|group| emptied.contains(group)) {
        Some(group) if input.hidden.contains(&group) => Some(format!("group {group} hides its members")),
        Some(group) if input.gone.contains(&group) => Some(format!("group {group} no longer exists")),
        Some(group) => Some(match unreadable_members(input, group) {
            Some(problem) => format!("group {group} has no members, and its last number is unknown: {problem}"),
            None => format!("group {group} no longer has members"),
        }),
        // A user who moved to a group that hides its members is still assigned.
        None => {
            input.hidden.first().map(|group| format!("group {group} hides its members, which may include the user"))
        }
    }
}

pub(super) fn held_entry<'a>(input: PlanInput<'a>, user: EntraId, action: Action) -> Option<&'a HeldEntry> {
    input.facts.held.get(&user).filter(|entry| entry.action == action)
}

/// A valid approval.
pub(super) struct Approval {
    by: String,
    detail: String,
}

/// The approval of a hold, while it is valid.
pub(super) fn valid_approval(input: PlanInput<'_>, entry: &HeldEntry) -> Option<Approval> {
    let (at, by) = entry.approved.as_ref()?;
    input
        .time
        .is_valid_approval(*at)
        .then(|| Approval { by: by.clone(), detail: format!("approved by {by} at {at:.0}") })
}

pub(super) fn mark_approved(mut decision: Decision, approval: Approval) -> Decision {
    let Approval { by, detail } = approval;
    decision.detail = Some(match decision.detail {
        None => detail,
        Some(more) => format!("{detail}; {more}"),
    });
    if let Effect::Apply(after) = &mut decision.effect {
        after.approved_by = Some(by);
    }
    decision
}

/// Holds a decision until it is approved.
pub(super) fn hold_decision(input: PlanInput<'_>, decision: Decision, (reason, detail): Hold) -> Decision {
    let entry = input.facts.held.get(&decision.user);
    let begins = entry.is_none_or(|entry| entry.reason != reason || entry.action != decision.action);
    // An update has one reason only.
    let change_reason =
        Some(decision.reason).filter(|reason| decision.action == Action::Deactivate && !reason.is_hold());
    decision.leave_as(reason, detail, Leave { change_reason, ..Leave::tracked(LeftAs::Held, begins) })
}

fn groups_of<'a>(leaver: &'a Leaver<'_>) -> impl Iterator<Item = EntraId> + 'a {
    leaver.linked.routes.as_slice().iter().filter_map(|route| match route {
        Route::Direct => None,
        Route::Group(group) => Some(*group),
    })
}

/// Assigned groups that seem empty now: those that had enough members to be guarded, those that hide theirs, and those that
/// do not exist any more.
fn emptied_groups(input: PlanInput<'_>) -> BTreeSet<EntraId> {
    let last = |group: &EntraId| input.facts.last_members.get(group).copied().unwrap_or_default();
    let empty = || input.groups.iter().filter(|(_, members)| **members == 0).map(|(group, _)| *group);
    let learners = learners_by_group(input, &empty().filter(|group| last(group) == 0).collect());
    let is_guarded = |group: &EntraId| {
        last(group).max(learners.get(group).copied().unwrap_or_default()) >= GUARDED_GROUP
            || input.hidden.contains(group)
            || input.gone.contains(group)
            || unreadable_members(input, *group).is_some()
    };
    empty().filter(is_guarded).collect()
}

/// The active learners last seen in each of these groups, in one pass: at least as many members it had. Stands in for a
/// lost or unset count.
fn learners_by_group(input: PlanInput<'_>, groups: &BTreeSet<EntraId>) -> BTreeMap<EntraId, u64> {
    let mut learners = BTreeMap::new();
    if groups.is_empty() {
        return learners;
    }
    for linked in input.linked.values().filter(|linked| linked.active) {
        for route in linked.routes.as_slice() {
            if let Route::Group(group) = route
                && groups.contains(group)
            {
                *learners.entry(*group).or_default() += 1;
            }
        }
    }
    learners
}

/// Why the last number of members of a group is unknown. A row without a readable id may be that of any group.
fn unreadable_members(input: PlanInput<'_>, group: EntraId) -> Option<&String> {
    let problems = &input.facts.unreadable.by_group;
    problems
        .get(&Some(group))
        .or_else(|| problems.get(&None).filter(|_| !input.facts.last_members.contains_key(&group)))
}

/// Whether the member count of a group is recorded. A row that names nobody may be a member of any group: then the counts
/// of this cycle may be too low, and a lower one would lift the guard of a group that is emptied later.
pub(super) fn is_new_count(input: PlanInput<'_>, group: EntraId, members: u64) -> bool {
    let last = input.facts.last_members.get(&group).copied();
    if input.unclear.unnamed > 0 {
        members > last.unwrap_or_default() && unreadable_members(input, group).is_none()
    } else {
        last != Some(members)
    }
}

/// The emptied groups through which an active learner may have been last seen whose user is not assigned now. Such a group
/// keeps its last member count, so that no later cycle misses the guard.
pub(super) fn emptied_groups_with_learners(input: PlanInput<'_>) -> BTreeSet<EntraId> {
    let emptied = emptied_groups(input);
    if emptied.is_empty() {
        return emptied;
    }
    let is_missing = |user: &EntraId| matches!(input.desired.assessment(*user), None | Some(Assessment::NotFound));
    let missing = input.linked.iter().filter(|(user, linked)| linked.active && is_missing(user));
    let routes: Vec<&Routes> = missing.map(|(_, linked)| &linked.routes).collect();
    // A learner whose routes are unknown may have been seen through any group.
    let unreadable = input.facts.unreadable.by_user.keys().filter(|user| !input.linked.contains_key(user));
    if routes.iter().any(|routes| routes.as_slice().is_empty()) || unreadable.copied().any(|user| is_missing(&user)) {
        return emptied;
    }
    let routes: BTreeSet<Route> = routes.into_iter().flat_map(|routes| routes.as_slice()).copied().collect();
    emptied.into_iter().filter(|group| routes.contains(&Route::Group(*group))).collect()
}

/// Why all deactivations of this cycle are too many. Approved users count on neither side.
fn too_many_leavers(input: PlanInput<'_>, leavers: &[Leaver<'_>]) -> Option<String> {
    let limits = input.limits;
    let is_approved = |leaver: &&Leaver<'_>| {
        held_entry(input, leaver.user, Action::Deactivate).is_some_and(|entry| valid_approval(input, entry).is_some())
    };
    let candidates = leavers.iter().filter(|leaver| !is_approved(leaver)).count() as u64;
    let recent = input.facts.recently_deactivated;
    let (count, learners) = (candidates + recent, input.active_learners() + recent);
    if input.facts.taken_over {
        return Some("the learners were taken over from another application".to_owned());
    }
    let deactivations = if candidates == 1 { "deactivation" } else { "deactivations" };
    let what = format!("{candidates} {deactivations} now and {recent} {}", recently(input));
    let exceed = if count == 1 { "exceeds" } else { "exceed" };
    if count > limits.max_deactivations {
        Some(format!("{what} {exceed} {} (safety.max_deactivations)", limits.max_deactivations))
    } else if count > SMALL && exceeds_percent(count, limits.max_deactivation_percent, learners) {
        let percent = limits.max_deactivation_percent;
        Some(format!("{what} exceed {percent} % of {learners} active learners (safety.max_deactivation_percent)"))
    } else {
        None
    }
}

/// The time in which earlier changes count.
fn recently(input: PlanInput<'_>) -> &'static str {
    match input.time.finding() {
        Some(ClockFinding::Agree) => "in the last 24 hours",
        Some(ClockFinding::Differ(_)) => "in the last 24 hours by either clock",
        Some(ClockFinding::Unknown(_)) | None => "at any time (Graph's clock is unknown, so the whole log counts)",
    }
}

fn exceeds_percent(count: u64, percent: u64, of: u64) -> bool {
    count.saturating_mul(100) > percent.saturating_mul(of)
}

/// Why all updates of this cycle are too many. Approved users do not count.
fn too_many_updates(input: PlanInput<'_>, decisions: &[Box<Decision>]) -> Option<String> {
    let is_counted = |decision: &&Decision| {
        let hold = held_entry(input, decision.user, Action::Update);
        is_applied(decision)
            && hold.map_or(!decision.changes.iter().any(renames_guest), |entry| valid_approval(input, entry).is_none())
    };
    let mut clearing: BTreeMap<Attribute, BTreeSet<EntraId>> = BTreeMap::new();
    let mut updates = 0;
    for decision in decisions.iter().map(|decision| &**decision).filter(is_counted) {
        updates += u64::from(decision.action == Action::Update && !changes_letter_case_only(decision));
        for cleared in decision.changes.iter().filter(|change| change.old.is_some() && change.new.is_none()) {
            clearing.entry(cleared.attribute).or_default().insert(decision.user);
        }
    }
    let joining = present_in_joining_rows(input, decisions);
    for (attribute, users) in clearing {
        let now = users.len() as u64;
        // A lost permission or a damaged feed may take the values a few at a time.
        let recent =
            input.facts.recently_cleared.get(&attribute).map_or(0, |recent| recent.difference(&users).count() as u64);
        let present = [&input.facts.present, &joining];
        let present = present.iter().filter_map(|counts| counts.get(&attribute)).sum::<u64>() + recent;
        if now + recent > SMALL && exceeds_percent(now + recent, MAX_CLEARING_PERCENT, present) {
            let path = attribute.path();
            let before =
                if recent > 0 { format!(", {recent} of them emptied {}", recently(input)) } else { String::new() };
            let count = now + recent;
            return Some(format!(
                "{path} would be empty for {count} of {present} learners that have or had it{before}"
            ));
        }
    }
    let (learners, percent) = (input.active_learners(), input.limits.max_update_percent);
    let exceed = if updates == 1 { "update exceeds" } else { "updates exceed" };
    (percent < 100 && exceeds_percent(updates, percent, learners))
        .then(|| format!("{updates} {exceed} {percent} % of {learners} active learners (safety.max_update_percent)"))
}

/// The values of rows that are adopted or reactivated: the database does not count these as active and linked yet.
fn present_in_joining_rows(input: PlanInput<'_>, decisions: &[Box<Decision>]) -> BTreeMap<Attribute, u64> {
    let adoptable: BTreeMap<&LearnerId, &LearnerRow> =
        input.facts.holders.iter().map(|row| (&row.learner, row)).collect();
    let mut present = BTreeMap::new();
    for decision in decisions.iter().filter(|decision| is_applied(decision)) {
        let row = match &decision.row {
            TargetRow::New => None,
            TargetRow::Adopt(adoption) => adoptable.get(&adoption.learner).copied(),
            TargetRow::Linked(_) => input.row(decision.user).filter(|row| !row.active),
        };
        let values = row.into_iter().flat_map(|row| &row.values).filter(|(_, value)| value.is_some());
        values.for_each(|(attribute, _)| *present.entry(attribute).or_default() += 1);
    }
    present
}

fn is_applied(decision: &Decision) -> bool {
    matches!(decision.effect, Effect::Apply(_))
}
