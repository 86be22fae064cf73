//! Learners who are not wanted any more. Nobody leaves on the absence of evidence: either a complete row says
//! why, or the second look does.

use jiff::SignedDuration;

use super::arrivals::{self, begins, text};
use super::bounds;
use super::{FailingEntry, Finding, Input, Plan, Standing};
use crate::model::{Action, Attribute, EntraId, Known, Reason, Status, Verdict};

/// Who waits with this detail is assigned, and nobody in Entra ID.
pub(super) const NOWHERE: &str = "still assigned, but neither among the users nor in the deleted items";

/// A learner that is to be switched off.
pub(super) struct Leaver<'a> {
    pub(super) person: EntraId,
    pub(super) known: &'a Known,
    /// Why, or what the second look could not read.
    pub(super) evidence: Result<Reason, String>,
}

/// Everybody active who is to be switched off, before anything is held back. Those who must wait are noted in
/// `plan`.
pub(super) fn decide<'a>(input: Input<'a>, plan: &mut Plan) -> Vec<Leaver<'a>> {
    let mut leavers = Vec::new();
    for (person, known) in input.known.iter().filter(|(_, known)| known.active) {
        if let Some(setting) = bounds::left_alone(input, *person, input.evidence.rows.get(person)) {
            // Who is assigned was counted among the assigned.
            if !input.desired.people.contains_key(person) {
                plan.findings.push(arrivals::out_of_bounds(*person, Some(known), setting));
            }
            continue;
        }
        let evidence = match input.desired.people.get(person).map(|person| &person.standing) {
            Some(Standing::Unchanged | Standing::Wanted(_) | Standing::Rejected(_)) => continue,
            Some(Standing::Leaving(reason)) => Ok(*reason),
            Some(Standing::NotFound) => match input.confirmed.get(person) {
                Some(Verdict::Disabled) => Ok(Reason::AccountDisabled),
                Some(Verdict::Deleted) => Ok(Reason::AccountDeleted),
                // Who is never switched off need not wait for it: the two would be told in turns.
                Some(Verdict::NotFound) if protected(input, *person) || nowhere_for_long_enough(input, *person) => {
                    Ok(Reason::AccountDeleted)
                }
                Some(Verdict::NotFound) => {
                    plan.findings.push(left_alone(input, *person, known, Reason::Waiting, NOWHERE.to_owned()));
                    continue;
                }
                // Still in the assignment list, and the account answers again: the next cycle reads it.
                Some(Verdict::Present | Verdict::Unassigned) => continue,
                Some(Verdict::Unreadable(detail)) => Err(detail.clone()),
                None => Err("the second look did not answer for this account".to_owned()),
            },
            None => match input.confirmed.get(person) {
                Some(Verdict::Disabled) => Ok(Reason::AccountDisabled),
                Some(Verdict::Unassigned) => Ok(Reason::Unassigned),
                Some(Verdict::Deleted | Verdict::NotFound) => Ok(Reason::AccountDeleted),
                Some(Verdict::Present) => {
                    plan.counts.unchanged += 1;
                    continue;
                }
                Some(Verdict::Unreadable(detail)) => Err(detail.clone()),
                None => Err("the second look did not answer for this account".to_owned()),
            },
        };
        leavers.push(Leaver { person: *person, known, evidence });
    }
    leavers
}

/// Whether this learner is assigned still, but neither among the users nor in the deleted items.
pub(super) fn is_nowhere(input: Input<'_>, person: EntraId) -> bool {
    let standing = input.desired.people.get(&person).map(|person| &person.standing);
    matches!((standing, input.confirmed.get(&person)), (Some(Standing::NotFound), Some(Verdict::NotFound)))
}

/// Whether an earlier cycle found the same, long enough ago. Who waited for another reason has not waited for this.
fn nowhere_for_long_enough(input: Input<'_>, person: EntraId) -> bool {
    was_nowhere(input, person) && waited(input, person, input.limits.min_interval)
}

fn was_nowhere(input: Input<'_>, person: EntraId) -> bool {
    let same = |entry: &FailingEntry| entry.detail.as_deref() == Some(NOWHERE);
    input.evidence.failing.get(&person).is_some_and(same)
}

/// Whether this person waits for being nowhere now, and waited for something else before.
pub(super) fn begins_anew(input: Input<'_>, finding: &Finding) -> bool {
    let Finding { person, detail, .. } = finding;
    detail.as_deref() == Some(NOWHERE) && input.evidence.failing.contains_key(person) && !was_nowhere(input, *person)
}

/// Whether this person has been `waiting` for so long.
pub(super) fn waited(input: Input<'_>, person: EntraId, for_so_long: SignedDuration) -> bool {
    input
        .evidence
        .failing
        .get(&person)
        .is_some_and(|entry| entry.reason == Reason::Waiting && input.now.duration_since(entry.first_at) >= for_so_long)
}

/// Whether an administrator has said that this person is never switched off.
pub(super) fn protected(input: Input<'_>, person: EntraId) -> bool {
    let protected = &input.limits.protected;
    let user_name = || input.evidence.rows.get(&person).and_then(|row| text(&row.values, Attribute::UserName));
    let named = || user_name().is_some_and(|user_name| protected.has_user_name(&user_name));
    protected.ids.contains(&person) || (!protected.user_names.is_empty() && named())
}

/// The finding for a learner who is not switched off, at least not yet.
pub(super) fn left_alone(input: Input<'_>, person: EntraId, known: &Known, reason: Reason, detail: String) -> Finding {
    Finding {
        person,
        action: Action::Deactivate,
        status: Status::Skipped,
        reason,
        detail: Some(detail),
        learner: Some(known.learner),
        user_name: input.evidence.rows.get(&person).and_then(|row| text(&row.values, Attribute::UserName)),
        changes: Vec::new(),
        tracked: true,
        // Of these two only the protection is worth a line in the log: waiting ends by itself.
        log: reason == Reason::Protected && begins(input, person, reason),
    }
}
