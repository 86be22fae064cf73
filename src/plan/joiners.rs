//! People who are to be learners: matched to a row and compared with it.

use super::restrictions;
use super::uniqueness::{Holders, Match};
use super::{
    Assessment, AssignedUser, AttributeChange, Change, Compared, Finding, LearnerRow, Plan, PlanInput, Rejection,
    Relink, Target,
};
use crate::model::{
    Action, Attribute, EntraId, Fingerprint, Learner, LinkedLearner, Reason, Repair, Status, UniqueKey, Values,
};

/// The values a new row gets.
pub(super) fn creation_values(learner: &Learner) -> Values {
    let mut values = learner.values.clone();
    values.extend(learner.on_create.clone());
    values
}

/// The unique values in `values` that `row` does not have already.
pub(super) fn newly_wanted<'a>(
    values: &'a Values,
    row: Option<&'a LearnerRow>,
) -> impl Iterator<Item = UniqueKey> + 'a {
    Attribute::UNIQUE.into_iter().filter_map(move |attribute| {
        let wanted = values.get(&attribute)?.as_deref()?;
        let held = row.and_then(|row| row.values.get(&attribute)).and_then(Option::as_deref);
        (!attribute.same(held, Some(wanted))).then(|| UniqueKey::new(attribute, wanted))
    })
}

/// The changes that would make every wanted user's learner as it should be, as if nobody else wanted anything.
/// Findings and counts about assigned users go into `plan`; leavers are not looked at here.
pub(super) fn draft(input: PlanInput<'_>, holders: &Holders<'_>, plan: &mut Plan) -> Vec<Change> {
    let mut drafts = Vec::new();
    for (id, user) in &input.desired.users {
        let known = input.known.get(id);
        if let Some(setting) = restrictions::left_alone(input, *id, input.evidence.rows.get(id)) {
            plan.findings.push(out_of_bounds(*id, known, setting));
            continue;
        }
        plan.counts.in_scope += u64::from(user.assessment.is_in_scope());
        match &user.assessment {
            Assessment::Unchanged => plan.counts.unchanged += 1,
            Assessment::Wanted(learner) => {
                let relink = input.relink.filter(|relink| relink.user == *id);
                let drafted = match (known, relink) {
                    (Some(known), _) => linked(input, *id, user, learner, known),
                    (None, Some(relink)) => relinked(input, *id, user, learner, relink),
                    (None, None) => newcomer(input, *id, user, learner, holders),
                };
                match drafted {
                    Drafted::Nothing(fingerprint) => {
                        plan.counts.unchanged += 1;
                        plan.compared.push(Compared { user: *id, fingerprint, active: true });
                    }
                    Drafted::Drift(finding, compared) => {
                        plan.findings.push(*finding);
                        plan.compared.push(compared);
                    }
                    Drafted::Change(change) => drafts.push(*change),
                    Drafted::Finding(finding) => plan.findings.push(*finding),
                }
            }
            Assessment::Leaving(reason) => {
                if known.is_none() {
                    plan.findings.push(passed_over(*id, *reason));
                }
            }
            Assessment::Rejected(rejection) => plan.findings.push(rejected(input, *id, known, rejection)),
            Assessment::NotFound => {
                if known.is_none() {
                    plan.findings.push(Finding { tracked: true, ..passed_over(*id, Reason::NotReadableYet) });
                }
            }
        }
    }
    drafts
}

enum Drafted {
    Nothing(Fingerprint),
    /// Wanted, but changed by somebody else, and left so.
    Drift(Box<Finding>, Compared),
    Change(Box<Change>),
    Finding(Box<Finding>),
}

/// The difference between a user's own row and what it should be.
fn linked(input: PlanInput<'_>, id: EntraId, user: &AssignedUser, learner: &Learner, known: &LinkedLearner) -> Drafted {
    let target = Target::Linked(known.learner);
    let Some(row) = input.evidence.rows.get(&id) else {
        let change =
            Change { changes: Vec::new(), ..update(id, user, target, None, Reason::AttributesChanged, learner, true) };
        return Drafted::Finding(Box::new(super::refused(
            &change,
            format!("the link names learner {}, which is not in the learners table", known.learner),
            &input.evidence.failing,
        )));
    };
    let wanted = Fingerprint::of(&learner.values);
    // Somebody else switched it on while the user was away. It is ours again from now on, so that the next to switch it
    // off is not taken for us.
    let returned = row.active && row.switched_by_hand();
    let drifted = !returned && has_drifted(input, id, wanted);
    let switched_off = !row.active && row.switched_by_hand();
    let reason = match row.active {
        true if returned => Reason::Reassigned,
        true if drifted => Reason::Drift,
        true => Reason::AttributesChanged,
        false if switched_off => Reason::Drift,
        // Whatever became of the row while the user was away.
        false => Reason::Reassigned,
    };
    let change = update(id, user, target, Some(row), reason, learner, row.active);
    let left = match (row.active, input.limits.repair) {
        (false, _) if row.other_state => Some("in a state of the platform's own, and left so".to_owned()),
        (false, Repair::All) | (true, Repair::All | Repair::Attributes) => None,
        (false, _) => switched_off.then(|| "switched off by somebody else, and left so".to_owned()),
        (true, Repair::Log) => (drifted && !change.changes.is_empty()).then(|| left_as_changed(wanted)),
    };
    if let Some(detail) = left {
        // The cache is to go on saying what stands in the row, so that every cycle looks at it.
        let compared = Compared { user: id, fingerprint: known.fingerprint, active: row.active };
        return Drafted::Drift(Box::new(drift(input, change, detail)), compared);
    }
    let by_hand = match (switched_off, returned) {
        (true, _) => Some("switched off by somebody else"),
        (false, true) => Some("switched on by somebody else meanwhile"),
        (false, false) => None,
    };
    let detail = by_hand.map(str::to_owned);
    if change.changes.is_empty() && !returned {
        Drafted::Nothing(change.fingerprint)
    } else {
        Drafted::Change(Box::new(Change { detail, ..change }))
    }
}

/// Whether somebody else has changed the row: the last cycle left exactly what is wanted now, and it is not there any
/// more; or that was noted before, for the same wanted values.
fn has_drifted(input: PlanInput<'_>, id: EntraId, wanted: Fingerprint) -> bool {
    let left_as_wanted = input.left.and_then(|left| left.get(&id)).is_some_and(|left| left.fingerprint == wanted);
    let noted = || {
        let detail = input.evidence.failing.get(&id).filter(|entry| entry.reason == Reason::Drift)?.detail.as_ref();
        Some(*detail? == left_as_changed(wanted))
    };
    left_as_wanted || noted().unwrap_or(false)
}

/// The detail of drift that is left so. It names what was wanted then: without the cache nothing else tells whether
/// the user has changed in Entra since.
fn left_as_changed(wanted: Fingerprint) -> String {
    format!("changed by somebody else, and left so; in Entra it is state {wanted:?}")
}

/// The finding for a learner whom somebody else has changed, and who is left so.
pub(super) fn drift(input: PlanInput<'_>, change: Change, detail: String) -> Finding {
    Finding {
        status: Status::Skipped,
        reason: Reason::Drift,
        log: begins(input, change.user, Reason::Drift),
        ..conflict(input, change, detail)
    }
}

/// A user without a link: adopts an unlinked learner, or gets a new one.
fn newcomer(
    input: PlanInput<'_>,
    id: EntraId,
    user: &AssignedUser,
    learner: &Learner,
    holders: &Holders<'_>,
) -> Drafted {
    let values = creation_values(learner);
    let fingerprint = Fingerprint::of(&learner.values);
    let create = Change {
        user: id,
        action: Action::Create,
        reason: Reason::Assigned,
        target: Target::New,
        user_name: text(&values, Attribute::UserName),
        changes: values
            .iter()
            .filter(|(_, value)| value.is_some())
            .map(|(attribute, value)| AttributeChange::new(*attribute, None, value.clone()))
            .chain([switch(None, true)])
            .collect(),
        active: true,
        routes: user.routes.clone(),
        fingerprint,
        detail: None,
    };
    match holders.unlinked_match(id, &values) {
        Match::None => Drafted::Change(Box::new(create)),
        Match::Conflict(detail) => Drafted::Finding(Box::new(conflict(input, create, detail))),
        Match::LearnerRow(row, how) => {
            let change = update(
                id,
                user,
                Target::Adopt { learner: row.learner, from: None },
                Some(row),
                Reason::Adopted,
                learner,
                row.active,
            );
            Drafted::Change(Box::new(Change { detail: Some(how), ..change }))
        }
    }
}

/// A user without a link gets the learner that an administrator names.
fn relinked(input: PlanInput<'_>, id: EntraId, user: &AssignedUser, learner: &Learner, relink: &Relink) -> Drafted {
    let row = relink.row.as_ref();
    let target = Target::Adopt { learner: relink.learner, from: relink.former() };
    let active = row.is_some_and(|row| row.active);
    let change = update(id, user, target, row, Reason::Relinked, learner, active);
    match relink.obstacle(input) {
        Some(obstacle) => Drafted::Finding(Box::new(conflict(input, change, obstacle))),
        None => {
            let detail = relink.former().map(|former| format!("was the learner of Entra id {former}"));
            Drafted::Change(Box::new(Change { detail, ..change }))
        }
    }
}

/// An update, or a reactivation when the row is not active, with exactly the values that differ.
fn update(
    id: EntraId,
    user: &AssignedUser,
    target: Target,
    row: Option<&LearnerRow>,
    reason: Reason,
    learner: &Learner,
    active: bool,
) -> Change {
    let mut changes: Vec<AttributeChange> = Vec::new();
    for (attribute, new) in &learner.values {
        let old = row.and_then(|row| row.values.get(attribute)).cloned().flatten();
        if !attribute.same(old.as_deref(), new.as_deref()) {
            changes.push(AttributeChange::new(*attribute, old, new.clone()));
        }
    }
    if !active {
        changes.push(switch(Some(false), true));
    }
    Change {
        user: id,
        action: if active { Action::Update } else { Action::Reactivate },
        reason,
        target,
        user_name: text(&learner.values, Attribute::UserName)
            .or_else(|| row.and_then(|row| text(&row.values, Attribute::UserName))),
        changes,
        active: true,
        routes: user.routes.clone(),
        fingerprint: Fingerprint::of(&learner.values),
        detail: None,
    }
}

/// The change of `active` itself.
pub(super) fn switch(old: Option<bool>, new: bool) -> AttributeChange {
    AttributeChange::new(Attribute::Active, old.map(|old| old.to_string()), Some(new.to_string()))
}

pub(super) fn text(values: &Values, attribute: Attribute) -> Option<String> {
    values.get(&attribute).cloned().flatten()
}

/// Somebody assigned who never was a learner and is not to become one now.
fn passed_over(user: EntraId, reason: Reason) -> Finding {
    Finding {
        user,
        action: Action::Create,
        status: Status::Skipped,
        reason,
        detail: None,
        learner: None,
        user_name: None,
        changes: Vec::new(),
        tracked: false,
        log: false,
    }
}

/// Somebody whom `setting` leaves as they are.
pub(super) fn out_of_bounds(user: EntraId, known: Option<&LinkedLearner>, setting: &str) -> Finding {
    Finding {
        action: known.map_or(Action::Create, |_| Action::Update),
        detail: Some(format!("left as it is by {setting}")),
        learner: known.map(|known| known.learner),
        ..passed_over(user, Reason::OutOfScope)
    }
}

fn rejected(input: PlanInput<'_>, id: EntraId, known: Option<&LinkedLearner>, rejection: &Rejection) -> Finding {
    Finding {
        action: match known {
            None => Action::Create,
            Some(known) if known.active => Action::Update,
            Some(_) => Action::Reactivate,
        },
        status: if rejection.reason == Reason::MissingRequired { Status::Skipped } else { Status::Failure },
        detail: Some(rejection.detail.clone()),
        learner: known.map(|known| known.learner),
        user_name: rejection
            .user_name
            .clone()
            .or_else(|| input.evidence.rows.get(&id).and_then(|row| text(&row.values, Attribute::UserName))),
        tracked: true,
        log: begins(input, id, rejection.reason),
        ..passed_over(id, rejection.reason)
    }
}

/// Whether a failure of this reason is new for this user.
pub(super) fn begins(input: PlanInput<'_>, user: EntraId, reason: Reason) -> bool {
    input.evidence.failing.get(&user).is_none_or(|entry| entry.reason != reason)
}

/// The finding for a change that cannot be, because of what others hold or want.
pub(super) fn conflict(input: PlanInput<'_>, change: Change, detail: String) -> Finding {
    Finding {
        user: change.user,
        action: change.action,
        status: Status::Failure,
        reason: Reason::Conflict,
        detail: Some(detail),
        learner: change.target.learner(),
        user_name: change.user_name,
        changes: change.changes,
        tracked: true,
        log: begins(input, change.user, Reason::Conflict),
    }
}
