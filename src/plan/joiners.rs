//! Users who are to have an active learner: matched to a row and compared with it.

use std::sync::Arc;

use super::restrictions::excluded_by;
use super::uniqueness::{Conflict, Holders, Match, SharedValues};
use super::{
    Adoption, Assessment, AssignedUser, AttributeChange, Changes, Compared, Decision, Draft, Effect, LearnerRow, Leave,
    LeftAs, NewLearner, PlanInput, Rejection, Relink, RowAfter, TargetRow,
};
use crate::model::{
    Action, Attribute, EntraId, Fingerprint, Learner, LinkedLearner, Reason, Repair, RequestId, Routes, UniqueKey,
    Values,
};

/// The values of a new row.
pub(super) fn creation_values(learner: &Learner) -> Values {
    let mut values = learner.values.clone();
    values.extend(learner.on_create.iter().flat_map(|on_create| &**on_create));
    values
}

/// The value of a new row.
pub(super) fn creation_value(learner: &Learner, attribute: Attribute) -> Option<&str> {
    learner.on_create(attribute).unwrap_or_else(|| learner.values.text(attribute))
}

/// The unique `values` that `row` does not have yet.
pub(super) fn newly_wanted<'a>(
    values: impl Fn(Attribute) -> Option<&'a str>,
    row: Option<&LearnerRow>,
) -> impl Iterator<Item = UniqueKey<'a>> {
    Attribute::UNIQUE.into_iter().filter_map(move |attribute| {
        let wanted = values(attribute)?;
        let held = row.and_then(|row| row.value(attribute));
        (!attribute.same(held, Some(wanted))).then(|| UniqueKey::new(attribute, wanted))
    })
}

/// Decides about every assigned user as if no other user wanted anything. Leavers come later.
pub(super) fn decide(input: PlanInput<'_>, holders: &Holders<'_>, draft: &mut Draft) {
    let shared = SharedValues::new(input, holders);
    for (id, user) in &input.desired.users {
        if let Some(setting) = excluded_by(input, *id, input.row(*id)) {
            draft.push(excluded(*id, input.linked.get(id), setting));
            continue;
        }
        draft.counts.in_scope += u64::from(user.assessment.is_in_scope());
        if input.unreadable(*id).is_some() {
            continue;
        }
        let linked = || input.linked.get(id);
        match &user.assessment {
            Assessment::Unchanged => draft.counts.unchanged += 1,
            Assessment::Wanted(learner) => match (linked(), input.relinks.get(id)) {
                (Some(linked), _) => compare_linked(input, *id, user, learner, linked, draft),
                (None, Some(relink)) => draft.push(relinked(input, *id, user, learner, relink)),
                (None, None) => newcomer(input, *id, user, learner, &shared, draft),
            },
            Assessment::Leaving(reason) if linked().is_none() => {
                draft.push(never_a_learner(*id, *reason, Leave::unrecorded(LeftAs::Skipped)));
            }
            Assessment::NotFound if linked().is_none() => {
                let leave = Leave::tracked(LeftAs::Skipped, false);
                draft.push(never_a_learner(*id, Reason::NotReadableYet, leave));
            }
            Assessment::Leaving(_) | Assessment::NotFound => {}
            Assessment::Rejected(rejection) => draft.push(rejected(input, *id, linked(), rejection)),
        }
    }
}

/// Rejects every user whose bookkeeping cannot be read: what the learner should be depends on it.
pub(super) fn reject_unreadable(input: PlanInput<'_>, draft: &mut Draft) {
    let is_excluded = |user: EntraId| excluded_by(input, user, input.row(user)).is_some();
    for (user, problem) in input.facts.unreadable.by_user.iter().filter(|(user, _)| !is_excluded(**user)) {
        let rejection = Rejection { reason: Reason::DatabaseError, detail: problem.clone(), user_name: None };
        let rejected = rejected(input, *user, input.linked.get(user), &rejection);
        // Whatever the row was about, the user is known.
        draft.push(Decision { action: Action::Update, ..rejected });
    }
    draft.counts.failed += input.facts.unreadable.others.len() as u64;
}

/// Compares a linked row with what the user's learner should be.
fn compare_linked(
    input: PlanInput<'_>,
    id: EntraId,
    user: &AssignedUser,
    learner: &Learner,
    linked: &LinkedLearner,
    draft: &mut Draft,
) {
    let target = TargetRow::Linked(linked.learner.clone());
    let Some(row) = input.row(id) else {
        let update = update(id, user, target, None, Reason::AttributesChanged, learner);
        let detail = format!("the link refers to learner {}, which does not exist", linked.learner);
        let update = Decision { changes: Changes::default(), action: Action::Update, ..update };
        draft.push(super::refuse(&update, detail, &input.facts.failing));
        return;
    };
    if row.outside {
        let known_name = text(&learner.values, Attribute::UserName);
        draft.push(Decision { known_name, ..outside_limits(input, id, linked) });
        return;
    }
    let wanted = Fingerprint::compute(&learner.values);
    // Reactivated outside while the user was away. The learner is ours again from now on, so that the next
    // deactivation outside is not mistaken for our own.
    let returned = row.active && row.active_changed_outside();
    let deactivated_outside = !row.active && row.active_changed_outside();
    let update = update(id, user, target, Some(row), Reason::AttributesChanged, learner);
    // Platforms and administrators write names in their own letter case.
    let drifted =
        !returned && !update.changes.iter().all(|change| change.is_same()) && attributes_drifted(input, id, wanted);
    let reason = match row.active {
        true if returned => Reason::Reassigned,
        true if drifted => Reason::Drift,
        true => Reason::AttributesChanged,
        false if deactivated_outside => Reason::Drift,
        false => Reason::Reassigned,
    };
    let update = Decision { reason, ..update };
    let left = match (row.active, input.limits.repair) {
        (false, _) if row.other_state => Some(("left in a state that only the platform may change", None)),
        (false, Repair::All) | (true, Repair::All | Repair::Attributes) => None,
        (false, _) => deactivated_outside.then_some(("deactivated outside learner-sync; left inactive", None)),
        (true, Repair::Log) => (drifted && !update.changes.is_empty())
            .then_some(("changed outside learner-sync; left unchanged", Some(wanted))),
    };
    if let Some((detail, drift_fingerprint)) = left {
        // The cache keeps what the row has, so that every cycle looks at it again.
        draft.compared.push(Compared { user: id, fingerprint: linked.fingerprint, active: row.active });
        draft.push(drift(input, update, detail, drift_fingerprint));
    } else if update.changes.is_empty() && !returned {
        draft.counts.unchanged += 1;
        draft.compared.push(Compared { user: id, fingerprint: wanted, active: true });
    } else {
        let outside = match (deactivated_outside, returned) {
            (true, _) => Some("deactivated outside learner-sync"),
            (false, true) => Some("reactivated outside learner-sync"),
            (false, false) => None,
        };
        draft.push(Decision { detail: outside.map(str::to_owned), ..update });
    }
}

/// A linked row that belongs to another part of the table now. It is left as it is, and no second row is created.
fn outside_limits(input: PlanInput<'_>, id: EntraId, linked: &LinkedLearner) -> Decision {
    let learner = &linked.learner;
    let detail = format!("learner {learner} does not carry the limiting values of [learners.constants] any more");
    Decision {
        action: Action::Update,
        detail: Some(detail),
        row: TargetRow::Linked(learner.clone()),
        ..never_a_learner(id, Reason::Conflict, Leave::tracked(LeftAs::Failed, input.begins(id, Reason::Conflict)))
    }
}

/// Whether the row was changed outside learner-sync: the last cycle wrote exactly what is wanted now, or the same drift is on
/// record.
fn attributes_drifted(input: PlanInput<'_>, id: EntraId, wanted: Fingerprint) -> bool {
    let last_written = input.last_written.and_then(|last_written| last_written.get(&id));
    let recorded = input.facts.failing.get(&id).filter(|entry| entry.reason == Reason::Drift);
    last_written.is_some_and(|last_written| last_written.fingerprint == wanted)
        || recorded.is_some_and(|entry| entry.drift_fingerprint == Some(wanted))
}

/// Leaves a learner as it was changed outside learner-sync.
pub(super) fn drift(
    input: PlanInput<'_>,
    decision: Decision,
    detail: &str,
    drift_fingerprint: Option<Fingerprint>,
) -> Decision {
    let begins = input.begins(decision.user, Reason::Drift);
    let leave = Leave { drift_fingerprint, ..Leave::tracked(LeftAs::Skipped, begins) };
    decision.leave_as(Reason::Drift, Some(detail.to_owned()), leave)
}

/// A user without a link adopts an unlinked learner, or gets a new one.
fn newcomer(
    input: PlanInput<'_>,
    id: EntraId,
    user: &AssignedUser,
    learner: &Arc<Learner>,
    shared: &SharedValues<'_>,
    draft: &mut Draft,
) {
    let new = NewLearner {
        user: id,
        learner: Arc::clone(learner),
        routes: user.routes.clone(),
        request_id: input.request_id(id),
    };
    let value = |attribute| creation_value(learner, attribute);
    match shared.holders.unlinked_match(id, value) {
        Match::None => {
            let is_recorded = input.facts.held.contains_key(&id) || input.facts.failing.contains_key(&id);
            if is_recorded || newly_wanted(value, None).any(|key| shared.contains(&key)) {
                draft.push(new.decision());
            } else {
                draft.new_learners.push(new);
            }
        }
        Match::Conflict(detail) => draft.push(conflict(input, new.decision(), detail.into())),
        Match::Row(row, how) => {
            let target = Adoption::of(row.learner.clone(), None);
            let adopt = update(id, user, target, Some(row), Reason::Adopted, learner);
            draft.push(Decision { detail: Some(how), ..adopt });
        }
    }
}

/// A user without a link gets the learner that an administrator names.
fn relinked(input: PlanInput<'_>, id: EntraId, user: &AssignedUser, learner: &Learner, relink: &Relink) -> Decision {
    let target = Adoption::of(relink.learner.clone(), relink.former());
    let update = update(id, user, target, relink.row.as_ref(), Reason::Relinked, learner);
    match relink.obstacle(input) {
        Some(obstacle) => conflict(input, update, obstacle.into()),
        None => {
            let detail = relink.former().map(|former| format!("was the learner of Entra id {former}"));
            Decision { detail, ..update }
        }
    }
}

/// An update with exactly the values that differ; a reactivation when the row is not active.
fn update(
    id: EntraId,
    user: &AssignedUser,
    mut target: TargetRow,
    row: Option<&LearnerRow>,
    reason: Reason,
    learner: &Learner,
) -> Decision {
    let active = row.is_some_and(|row| row.active);
    // The database kept its own letter case when the same names were written.
    let is_written = row.is_some_and(|row| row.spelling == Some(Fingerprint::spelling(&learner.values)));
    // The detail of a relink names the former user.
    if let Some(adoption) = target.adoption_mut().filter(|adoption| adoption.from.is_none()) {
        adoption.old_external_id = row.and_then(|row| replaced_external_id(row, id));
    }
    let differing = learner.values.iter().filter_map(|(attribute, new)| {
        let old = row.and_then(|row| row.value(attribute));
        let keeps_default = new.is_none() && old == learner.on_create(attribute).flatten();
        let is_equal = old == new || (is_written && attribute.same(old, new));
        (!is_equal && !keeps_default).then(|| AttributeChange::new(attribute, old, new))
    });
    let activation = (!active).then(|| AttributeChange::active(Some(false), true));
    Decision {
        user: id,
        action: if active { Action::Update } else { Action::Reactivate },
        reason,
        detail: None,
        row: target,
        known_name: text(&learner.values, Attribute::UserName)
            .or_else(|| row.and_then(|row| text(&row.values, Attribute::UserName))),
        changes: differing.chain(activation).collect(),
        request_id: RequestId::default(),
        effect: Effect::Apply(active_after(&user.routes, learner)),
    }
}

/// The text in `external_id`, unless it is the object id as it is written.
fn replaced_external_id(row: &LearnerRow, id: EntraId) -> Option<String> {
    row.external_id.clone().filter(|text| *text != id.to_string())
}

pub(super) fn active_after(routes: &Routes, learner: &Learner) -> RowAfter {
    RowAfter {
        active: true,
        routes: routes.clone(),
        fingerprint: Fingerprint::compute(&learner.values),
        row: learner.row,
        spelling: Some(Fingerprint::spelling(&learner.values)),
        approved_by: None,
        keeps_hold: false,
    }
}

fn text(values: &Values, attribute: Attribute) -> Option<Box<str>> {
    values.text(attribute).map(Box::from)
}

/// A user that never was a learner and does not become one now.
pub(super) fn never_a_learner(user: EntraId, reason: Reason, leave: Leave) -> Decision {
    Decision {
        user,
        action: Action::Create,
        reason,
        detail: None,
        row: TargetRow::New,
        known_name: None,
        changes: Changes::default(),
        request_id: RequestId::default(),
        effect: Effect::Leave(leave),
    }
}

/// A user that `setting` excludes.
pub(super) fn excluded(user: EntraId, linked: Option<&LinkedLearner>, setting: &str) -> Decision {
    Decision {
        action: linked.map_or(Action::Create, |_| Action::Update),
        detail: Some(format!("excluded by {setting}")),
        row: linked.map_or(TargetRow::New, |linked| TargetRow::Linked(linked.learner.clone())),
        ..never_a_learner(user, Reason::OutOfScope, Leave::unrecorded(LeftAs::Skipped))
    }
}

fn rejected(input: PlanInput<'_>, id: EntraId, linked: Option<&LinkedLearner>, rejection: &Rejection) -> Decision {
    let Rejection { reason, detail, user_name } = rejection;
    let left_as = if *reason == Reason::MissingRequired { LeftAs::Skipped } else { LeftAs::Failed };
    Decision {
        action: match linked {
            None => Action::Create,
            Some(linked) if linked.active => Action::Update,
            Some(_) => Action::Reactivate,
        },
        detail: Some(detail.clone()),
        row: linked.map_or(TargetRow::New, |linked| TargetRow::Linked(linked.learner.clone())),
        known_name: user_name.as_deref().map(Box::from).or_else(|| input.linked_user_name(id)),
        ..never_a_learner(id, *reason, Leave::tracked(left_as, input.begins(id, *reason)))
    }
}

/// Rejects a decision because of what other users hold or want.
pub(super) fn conflict(input: PlanInput<'_>, decision: Decision, conflict: Conflict) -> Decision {
    let begins = input.begins(decision.user, Reason::Conflict);
    let Conflict { detail, cause } = conflict;
    decision.leave_as(Reason::Conflict, Some(detail), Leave { cause, ..Leave::tracked(LeftAs::Failed, begins) })
}
