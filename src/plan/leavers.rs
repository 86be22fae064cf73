//! Learners who are not wanted any more. Nobody leaves on the absence of evidence: either a complete row says
//! why, or the second look does.

use jiff::SignedDuration;

use super::joiners::{self, begins, text};
use super::restrictions;
use super::{Assessment, FailingEntry, Finding, Plan, PlanInput};
use crate::model::{Action, Attribute, EntraId, LinkedLearner, Reason, Status, Verdict};

/// Who waits with this detail is assigned, and nobody in Entra ID.
pub(super) const NOWHERE: &str = "still assigned, but neither among the users nor in the deleted items";

/// A learner that is to be switched off.
pub(super) struct Leaver<'a> {
    pub(super) user: EntraId,
    pub(super) known: &'a LinkedLearner,
    /// Why, or what the second look could not read.
    pub(super) evidence: Result<Reason, String>,
}

/// Everybody active who is to be switched off, before anything is held back. Those who must wait are noted in
/// `plan`.
pub(super) fn decide<'a>(input: PlanInput<'a>, plan: &mut Plan) -> Vec<Leaver<'a>> {
    let mut leavers = Vec::new();
    for (user, known) in input.known.iter().filter(|(_, known)| known.active) {
        if let Some(setting) = restrictions::left_alone(input, *user, input.evidence.rows.get(user)) {
            // Who is assigned was counted among the assigned.
            if !input.desired.users.contains_key(user) {
                plan.findings.push(joiners::out_of_bounds(*user, Some(known), setting));
            }
            continue;
        }
        let evidence = match input.desired.users.get(user).map(|user| &user.assessment) {
            Some(Assessment::Unchanged | Assessment::Wanted(_) | Assessment::Rejected(_)) => continue,
            Some(Assessment::Leaving(reason)) => Ok(*reason),
            Some(Assessment::NotFound) => match input.confirmed.get(user) {
                Some(Verdict::Disabled) => Ok(Reason::AccountDisabled),
                Some(Verdict::Deleted) => Ok(Reason::AccountDeleted),
                // Who is never switched off need not wait for it: the two would be told in turns.
                Some(Verdict::NotFound) if protected(input, *user) || nowhere_for_long_enough(input, *user) => {
                    Ok(Reason::AccountDeleted)
                }
                Some(Verdict::NotFound) => {
                    plan.findings.push(left_alone(input, *user, known, Reason::Waiting, NOWHERE.to_owned()));
                    continue;
                }
                // Still in the assignment list, and the account answers again: the next cycle reads it.
                Some(Verdict::Present | Verdict::Unassigned) => continue,
                Some(Verdict::Unreadable(detail)) => Err(detail.clone()),
                None => Err("the second look did not answer for this account".to_owned()),
            },
            None => match input.confirmed.get(user) {
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
        leavers.push(Leaver { user: *user, known, evidence });
    }
    leavers
}

/// Whether this learner is assigned still, but neither among the users nor in the deleted items.
pub(super) fn is_nowhere(input: PlanInput<'_>, user: EntraId) -> bool {
    let assessment = input.desired.users.get(&user).map(|user| &user.assessment);
    matches!((assessment, input.confirmed.get(&user)), (Some(Assessment::NotFound), Some(Verdict::NotFound)))
}

/// Whether an earlier cycle found the same, long enough ago. Who waited for another reason has not waited for this.
fn nowhere_for_long_enough(input: PlanInput<'_>, user: EntraId) -> bool {
    was_nowhere(input, user) && waited(input, user, input.limits.min_interval)
}

fn was_nowhere(input: PlanInput<'_>, user: EntraId) -> bool {
    let same = |entry: &FailingEntry| entry.detail.as_deref() == Some(NOWHERE);
    input.evidence.failing.get(&user).is_some_and(same)
}

/// Whether this user waits for being nowhere now, and waited for something else before.
pub(super) fn begins_anew(input: PlanInput<'_>, finding: &Finding) -> bool {
    let Finding { user, detail, .. } = finding;
    detail.as_deref() == Some(NOWHERE) && input.evidence.failing.contains_key(user) && !was_nowhere(input, *user)
}

/// Whether this user has been `waiting` for so long.
pub(super) fn waited(input: PlanInput<'_>, user: EntraId, for_so_long: SignedDuration) -> bool {
    input
        .evidence
        .failing
        .get(&user)
        .is_some_and(|entry| entry.reason == Reason::Waiting && input.now.duration_since(entry.first_at) >= for_so_long)
}

/// Whether an administrator has said that this user is never switched off.
pub(super) fn protected(input: PlanInput<'_>, user: EntraId) -> bool {
    let protected = &input.limits.protected;
    let user_name = || input.evidence.rows.get(&user).and_then(|row| text(&row.values, Attribute::UserName));
    let named = || user_name().is_some_and(|user_name| protected.has_user_name(&user_name));
    protected.ids.contains(&user) || (!protected.user_names.is_empty() && named())
}

/// The finding for a learner who is not switched off, at least not yet.
pub(super) fn left_alone(
    input: PlanInput<'_>,
    user: EntraId,
    known: &LinkedLearner,
    reason: Reason,
    detail: String,
) -> Finding {
    Finding {
        user,
        action: Action::Deactivate,
        status: Status::Skipped,
        reason,
        detail: Some(detail),
        learner: Some(known.learner),
        user_name: input.evidence.rows.get(&user).and_then(|row| text(&row.values, Attribute::UserName)),
        changes: Vec::new(),
        tracked: true,
        // Of these two only the protection is worth a line in the log: waiting ends by itself.
        log: reason == Reason::Protected && begins(input, user, reason),
    }
}
