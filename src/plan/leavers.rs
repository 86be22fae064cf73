//! Learners who are not wanted any more. Nobody leaves on the absence of evidence: either a complete row says
//! why, or the second look does.

use super::arrivals::text;
use super::{Finding, Input, Plan, Standing};
use crate::model::{Action, Attribute, EntraId, Known, Reason, Status, Verdict};

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
        let evidence = match input.desired.people.get(person).map(|person| &person.standing) {
            Some(Standing::Unchanged | Standing::Wanted(_) | Standing::Rejected(_)) => continue,
            Some(Standing::Leaving(reason)) => Ok(*reason),
            Some(Standing::NotFound) => match input.confirmed.get(person) {
                Some(Verdict::Disabled) => Ok(Reason::AccountDisabled),
                Some(Verdict::Deleted) => Ok(Reason::AccountDeleted),
                Some(Verdict::NotFound) if waited_long_enough(input, *person) => Ok(Reason::AccountDeleted),
                Some(Verdict::NotFound) => {
                    plan.findings.push(waiting(input, *person, known));
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

fn waited_long_enough(input: Input<'_>, person: EntraId) -> bool {
    input.evidence.failing.get(&person).is_some_and(|entry| {
        entry.reason == Reason::Waiting && input.now.duration_since(entry.first_at) >= input.limits.min_interval
    })
}

fn waiting(input: Input<'_>, person: EntraId, known: &Known) -> Finding {
    Finding {
        person,
        action: Action::Deactivate,
        status: Status::Skipped,
        reason: Reason::Waiting,
        detail: Some("still assigned, but neither among the users nor in the deleted items".to_owned()),
        learner: Some(known.learner),
        user_name: input.evidence.rows.get(&person).and_then(|row| text(&row.values, Attribute::UserName)),
        changes: Vec::new(),
        tracked: true,
        log: false,
    }
}
