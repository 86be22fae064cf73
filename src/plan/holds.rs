//! What is held back until an administrator approves: too many deactivations, the members of a group that ran
//! empty, a value that disappears from too many learners at once. Creates and reactivations always go on.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use super::joiners::{drift, switch, text};
use super::leavers::{self, Leaver, protected, waited};
use super::{
    APPROVED_PREFIX, Assessment, Change, Compared, DAY, Finding, HeldEntry, LearnerRow, Plan, PlanInput, Target,
};
use crate::model::{Action, Attribute, EntraId, LearnerId, Reason, Repair, Route, Status};

/// Up to this many users, a share in percent says nothing.
const SMALL: u64 = 10;
/// A value that vanishes from more than this share of the learners that have it looks like a lost permission.
const MAX_CLEARING_PERCENT: u64 = 20;
/// A group with fewer members may run empty by itself.
pub(super) const GUARDED_GROUP: u64 = 3;

/// Which of the updates wait for an approval, and why.
pub(super) fn held_updates(input: PlanInput<'_>, drafts: &[Change]) -> BTreeMap<EntraId, (Reason, Option<String>)> {
    let too_many = updates_held(input, drafts);
    let why = |draft: &Change| {
        let entry = held(input, draft.user, Action::Update);
        match (entry, &too_many) {
            (Some(entry), _) if approval(input, entry).is_some() => None,
            (Some(entry), _) => Some((entry.reason, None)),
            (None, Some(too_many)) => Some((Reason::Threshold, Some(too_many.clone()))),
            (None, None) => None,
        }
    };
    // What an administrator asks for by name needs no approval.
    let asked = |draft: &&Change| draft.reason == Reason::Relinked;
    let updates = drafts.iter().filter(|draft| draft.action == Action::Update && !asked(draft));
    updates.filter_map(|draft| Some((draft.user, why(draft)?))).collect()
}

/// Puts an update that is not held into its final form: with the approval that released it, if one did.
pub(super) fn released(input: PlanInput<'_>, change: Change) -> Change {
    let entry = held(input, change.user, Action::Update).filter(|_| change.action == Action::Update);
    match entry.and_then(|entry| approval(input, entry)) {
        Some(approval) => Change { detail: Some(joined(approval, change.detail)), ..change },
        None => change,
    }
}

/// Puts deactivations into `plan`, or the hold that keeps them back.
pub(super) fn decide(input: PlanInput<'_>, leavers: Vec<Leaver<'_>>, plan: &mut Plan) {
    let leavers = not_by_hand(input, leavers, plan);
    let leavers = due(input, leavers, plan);
    let emptied = emptied_groups(input);
    let too_many = too_many_leavers(input, &leavers);
    for leaver in leavers {
        let entry = held(input, leaver.user, Action::Deactivate);
        let approved = entry.and_then(|entry| approval(input, entry));
        let sticky = entry.map(|entry| entry.reason).filter(|reason| *reason != Reason::Unreadable);
        let change = |reason| deactivation(input, &leaver, reason);
        match leaver.evidence.clone() {
            // An approval releases a user, but it is no evidence that the user has left. Whoever is held for
            // another reason stays held for that, so that becoming readable again does not end it.
            Err(detail) => {
                let reason = sticky.unwrap_or(Reason::Unreadable);
                plan.findings.push(hold(input, reason, Some(detail), change(reason)));
            }
            Ok(reason) => match (approved, sticky) {
                (Some(approval), _) => {
                    let change = change(reason);
                    plan.changes.push(Change { detail: Some(joined(approval, change.detail)), ..change });
                }
                (None, Some(sticky)) => {
                    plan.findings.push(hold(input, sticky, Some(format!("would be {reason}")), change(reason)));
                }
                (None, None) if input.nobody_assigned => {
                    let detail = format!("would be {reason}: the application has no assignment at all");
                    plan.findings.push(hold(input, Reason::EmptyGroup, Some(detail), change(reason)));
                }
                (None, None) => {
                    let group = groups_of(&leaver).find(|group| emptied.contains(group));
                    if let (Reason::Unassigned, Some(group)) = (reason, group) {
                        let why =
                            if input.hidden.contains(&group) { "hides its members" } else { "has no members any more" };
                        let detail = format!("would be {reason}: group {group} {why}");
                        plan.findings.push(hold(input, Reason::EmptyGroup, Some(detail), change(reason)));
                    } else if let (Reason::Unassigned, Some(group)) = (reason, input.hidden.first()) {
                        // Who moved there is assigned still, and nobody can see it.
                        let detail = format!("would be {reason}: group {group} hides whether they are in it");
                        plan.findings.push(hold(input, Reason::EmptyGroup, Some(detail), change(reason)));
                    } else if let Some(why) = &too_many {
                        let detail = format!("would be {reason}: {why}");
                        plan.findings.push(hold(input, Reason::Threshold, Some(detail), change(reason)));
                    } else {
                        plan.changes.push(change(reason));
                    }
                }
            },
        }
    }
    plan.held_ended = ended(input, plan);
}

/// The leavers without those whose switch somebody else has moved: who is off already is done with, and who was
/// switched on again stays so.
fn not_by_hand<'a>(input: PlanInput<'_>, leavers: Vec<Leaver<'a>>, plan: &mut Plan) -> Vec<Leaver<'a>> {
    let mut rest = Vec::with_capacity(leavers.len());
    for leaver in leavers {
        match input.evidence.rows.get(&leaver.user) {
            Some(row) if !row.active => {
                let Leaver { user, known, evidence: _ } = leaver;
                plan.compared.push(Compared { user, fingerprint: known.fingerprint, active: false });
            }
            Some(row) if row.switched_by_hand() && input.limits.repair != Repair::All => {
                let change = deactivation(input, &leaver, Reason::Drift);
                plan.findings.push(drift(input, change, "switched on by somebody else, and left so".to_owned()));
            }
            Some(_) | None => rest.push(leaver),
        }
    }
    rest
}

/// The leavers without those whom nothing switches off, and those who have not been gone for long enough. Whoever is
/// held already has waited.
fn due<'a>(input: PlanInput<'_>, leavers: Vec<Leaver<'a>>, plan: &mut Plan) -> Vec<Leaver<'a>> {
    let after = input.limits.deactivate_after;
    let mut due = Vec::with_capacity(leavers.len());
    for leaver in leavers {
        let Leaver { user, known, evidence } = &leaver;
        let reason = evidence.as_ref().map_or_else(|_| Reason::Unreadable, |reason| *reason);
        let left_alone = |why, detail| leavers::left_alone(input, *user, known, why, detail);
        if protected(input, *user) {
            let detail = format!("would be {reason}, but is named in safety.protected");
            plan.findings.push(left_alone(Reason::Protected, detail));
        } else if !after.is_zero()
            && evidence.is_ok()
            && held(input, *user, Action::Deactivate).is_none_or(|entry| entry.reason == Reason::Unreadable)
            && !waited(input, *user, after)
        {
            // Who is nowhere goes on saying so: the next cycle asks whether the last one found the same.
            let detail = if leavers::is_nowhere(input, *user) {
                leavers::NOWHERE.to_owned()
            } else {
                format!("is {reason}, but not yet for as long as safety.deactivate_after")
            };
            plan.findings.push(left_alone(Reason::Waiting, detail));
        } else {
            due.push(leaver);
        }
    }
    due
}

fn held<'a>(input: PlanInput<'a>, user: EntraId, action: Action) -> Option<&'a HeldEntry> {
    input.evidence.held.get(&user).filter(|entry| entry.action == action)
}

/// The approval in the words of the log, while it is good.
fn approval(input: PlanInput<'_>, entry: &HeldEntry) -> Option<String> {
    let (at, by) = entry.approved.as_ref()?;
    (SignedDuration::ZERO..=DAY)
        .contains(&input.now.duration_since(*at))
        .then(|| format!("{APPROVED_PREFIX}{by} at {at:.0}"))
}

fn joined(first: String, second: Option<String>) -> String {
    match second {
        None => first,
        Some(second) => format!("{first}; {second}"),
    }
}

/// The finding for a change that waits for an approval.
pub(super) fn hold(input: PlanInput<'_>, reason: Reason, detail: Option<String>, change: Change) -> Finding {
    let entry = input.evidence.held.get(&change.user);
    Finding {
        user: change.user,
        action: change.action,
        status: Status::Held,
        reason,
        detail,
        learner: change.target.learner(),
        user_name: change.user_name,
        changes: change.changes,
        tracked: true,
        log: entry.is_none_or(|entry| entry.reason != reason || entry.action != change.action),
    }
}

fn deactivation(input: PlanInput<'_>, leaver: &Leaver<'_>, reason: Reason) -> Change {
    let row = input.evidence.rows.get(&leaver.user);
    let (reason, detail) = match row.is_some_and(LearnerRow::switched_by_hand) {
        true => (Reason::Drift, Some(format!("switched on by somebody else; is {reason}"))),
        false => (reason, None),
    };
    Change {
        user: leaver.user,
        action: Action::Deactivate,
        reason,
        target: Target::Linked(leaver.known.learner),
        user_name: row.and_then(|row| text(&row.values, Attribute::UserName)),
        changes: vec![switch(Some(true), false)],
        active: false,
        // Of the last sight, which for somebody who is assigned still is this one.
        routes: input.desired.users.get(&leaver.user).map_or(&leaver.known.routes, |user| &user.routes).clone(),
        fingerprint: leaver.known.fingerprint,
        detail,
    }
}

fn groups_of<'a>(leaver: &'a Leaver<'_>) -> impl Iterator<Item = EntraId> + 'a {
    leaver.known.routes.as_slice().iter().filter_map(|route| match route {
        Route::Direct => None,
        Route::Group(group) => Some(*group),
    })
}

/// Assigned groups that had members worth guarding and have none now, and those that hide them, however few they were.
fn emptied_groups(input: PlanInput<'_>) -> BTreeSet<EntraId> {
    let last = |group: &EntraId| input.evidence.last_members.get(group).copied().unwrap_or_default();
    let had = |group: &EntraId| last(group) >= GUARDED_GROUP || input.hidden.contains(group);
    input.groups.iter().filter(|(group, members)| **members == 0 && had(group)).map(|(group, _)| *group).collect()
}

/// The emptied groups through which somebody was last seen who is active and not assigned now: as long as there
/// is one, the group keeps its last count, so that nobody slips past the guard in a later cycle.
pub(super) fn emptied_groups_with_people(input: PlanInput<'_>) -> BTreeSet<EntraId> {
    let emptied = emptied_groups(input);
    if emptied.is_empty() {
        return emptied;
    }
    let missing = input.known.iter().filter(|(user, known)| {
        known.active && input.desired.users.get(user).is_none_or(|user| matches!(user.assessment, Assessment::NotFound))
    });
    let through: BTreeSet<Route> = missing.flat_map(|(_, known)| known.routes.as_slice().iter().copied()).collect();
    emptied.into_iter().filter(|group| through.contains(&Route::Group(*group))).collect()
}

/// Says why all deactivations of this cycle are too many, when they are. Approved users count on neither side.
fn too_many_leavers(input: PlanInput<'_>, leavers: &[Leaver<'_>]) -> Option<String> {
    let limits = input.limits;
    let approved = |leaver: &&Leaver<'_>| {
        held(input, leaver.user, Action::Deactivate).and_then(|entry| approval(input, entry)).is_some()
    };
    let candidates = leavers.iter().filter(|leaver| !approved(leaver)).count() as u64;
    let recent = input.evidence.recently_deactivated.len() as u64;
    let (count, learners) =
        (candidates + recent, input.known.values().filter(|known| known.active).count() as u64 + recent);
    let what = format!("{candidates} deactivations now and {recent} in the last 24 hours");
    if count > limits.max_deactivations {
        Some(format!("{what} are more than safety.max_deactivations = {}", limits.max_deactivations))
    } else if count > SMALL && exceeds(count, limits.max_deactivation_percent, learners) {
        let percent = limits.max_deactivation_percent;
        Some(format!("{what} are more than safety.max_deactivation_percent = {percent} of {learners} learners"))
    } else {
        None
    }
}

fn exceeds(count: u64, percent: u64, of: u64) -> bool {
    count.saturating_mul(100) > percent.saturating_mul(of)
}

/// What the rows have that are adopted or switched on again: they do not count as active and linked yet.
fn present_in_joining(input: PlanInput<'_>, changes: &[Change]) -> BTreeMap<Attribute, u64> {
    let adopted: BTreeMap<LearnerId, &LearnerRow> =
        input.evidence.holders.iter().map(|row| (row.learner, row)).collect();
    let mut present = BTreeMap::new();
    for change in changes {
        let row = match change.target {
            Target::New => None,
            Target::Adopt { learner, .. } => adopted.get(&learner).copied(),
            Target::Linked(_) => input.evidence.rows.get(&change.user).filter(|row| !row.active),
        };
        let values = row.into_iter().flat_map(|row| &row.values).filter(|(_, value)| value.is_some());
        values.for_each(|(attribute, _)| *present.entry(*attribute).or_default() += 1);
    }
    present
}

/// Says why all updates of this cycle are held, when they are.
fn updates_held(input: PlanInput<'_>, changes: &[Change]) -> Option<String> {
    let counted =
        |change: &&Change| held(input, change.user, Action::Update).and_then(|entry| approval(input, entry)).is_none();
    let mut clearing: BTreeMap<Attribute, u64> = BTreeMap::new();
    let mut updates = 0;
    for change in changes.iter().filter(counted) {
        updates += u64::from(change.action == Action::Update);
        for cleared in change.changes.iter().filter(|change| change.old.is_some() && change.new.is_none()) {
            *clearing.entry(cleared.attribute).or_default() += 1;
        }
    }
    let joining = present_in_joining(input, changes);
    for (attribute, count) in clearing {
        let present = [&input.evidence.present, &joining];
        let present = present.iter().filter_map(|counts| counts.get(&attribute)).sum::<u64>();
        if count > SMALL && exceeds(count, MAX_CLEARING_PERCENT, present) {
            return Some(format!(
                "{} would become empty for {count} of the {present} learners that have it",
                attribute.path()
            ));
        }
    }
    let learners = input.known.values().filter(|known| known.active).count() as u64;
    let percent = input.limits.max_update_percent;
    (percent < 100 && exceeds(updates, percent, learners)).then(|| {
        format!("{updates} updates are more than safety.max_update_percent = {percent} of {learners} learners")
    })
}

/// Whose hold is over: desired again or switched off already, or without anything left to change.
fn ended(input: PlanInput<'_>, plan: &Plan) -> BTreeSet<EntraId> {
    let kept: BTreeSet<EntraId> = plan
        .findings
        .iter()
        .filter(|finding| finding.status == Status::Held)
        .map(|finding| finding.user)
        // The transaction of the change ends the hold, and with it the approval.
        .chain(plan.changes.iter().map(|change| change.user))
        .collect();
    let compared: BTreeSet<EntraId> = plan.compared.iter().map(|compared| compared.user).collect();
    let left_alone = |reason: Reason| -> BTreeSet<EntraId> {
        let findings = plan.findings.iter().filter(|finding| finding.reason == reason);
        findings.map(|finding| finding.user).collect()
    };
    let (protected, waiting) = (left_alone(Reason::Protected), left_alone(Reason::Waiting));
    let over = |user: &EntraId, entry: &HeldEntry| {
        let assessment = input.desired.users.get(user).map(|user| &user.assessment);
        let active = input.known.get(user).is_some_and(|known| known.active);
        match (entry.action, assessment) {
            (_, Some(Assessment::Unchanged)) => true,
            (Action::Deactivate, _) if protected.contains(user) || compared.contains(user) => true,
            // Who waits was read: what could not be told before can be told now.
            (Action::Deactivate, _) if entry.reason == Reason::Unreadable && waiting.contains(user) => true,
            // A finding without a hold, a conflict for one, leaves an update where it is.
            (Action::Update, Some(Assessment::Wanted(_))) => compared.contains(user),
            (Action::Update, Some(_)) => false,
            (Action::Update, None) => !active,
            (_, Some(Assessment::Wanted(_))) => true,
            _ => !active,
        }
    };
    input
        .evidence
        .held
        .iter()
        .filter(|(user, entry)| !kept.contains(user) && over(user, entry))
        .map(|(user, _)| *user)
        .collect()
}
