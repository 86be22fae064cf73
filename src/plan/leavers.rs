//! Active learners whose user has left. Missing evidence never deactivates: either a complete row says why, or
//! the confirmation does.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::joiners::{drift, excluded};
use super::restrictions::excluded_by;
use super::unclear;
use super::{
    Assessment, AttributeChange, Changes, Compared, DatabaseFacts, Decision, Draft, Effect, LearnerRow, Leave, LeftAs,
    PlanInput, Relink, RowAfter, TargetRow,
};
use crate::model::{Action, Cause, EntraId, LinkedLearner, Reason, Repair, RequestId, Verdict};

/// A learner that is to be deactivated.
pub(super) struct Leaver<'a> {
    pub(super) user: EntraId,
    pub(super) linked: &'a LinkedLearner,
    /// Why the user left, or what the confirmation could not read.
    pub(super) evidence: Result<Reason, String>,
}

/// Every learner that is due to be deactivated, before any hold. Protected and waiting learners go into `draft`.
pub(super) fn due<'a>(input: PlanInput<'a>, draft: &mut Draft) -> Vec<Leaver<'a>> {
    let leavers = find_leavers(input, draft);
    let leavers = drop_changed_outside(input, leavers, draft);
    drop_waiting(input, leavers, draft)
}

fn find_leavers<'a>(input: PlanInput<'a>, draft: &mut Draft) -> Vec<Leaver<'a>> {
    let mut leavers = Vec::new();
    let relinked: BTreeSet<EntraId> = input.relinks.values().filter_map(Relink::former).collect();
    for (user, linked) in input.linked.iter().filter(|(user, linked)| linked.active && !relinked.contains(user)) {
        let assessment = input.desired.assessment(*user);
        if assessment.is_some_and(Assessment::keeps_learner) {
            continue;
        }
        if let Some(setting) = excluded_by(input, *user, input.row(*user)) {
            // Assigned users are among the joiners.
            if assessment.is_none() {
                draft.push(excluded(*user, Some(linked), setting));
            }
            continue;
        }
        if input.unreadable(*user).is_some() {
            continue;
        }
        let evidence = match (assessment, input.confirmed.get(user)) {
            (Some(Assessment::Unchanged | Assessment::Wanted(_) | Assessment::Rejected(_)), _) => continue,
            (Some(Assessment::Leaving(reason)), _) => Ok(*reason),
            (Some(Assessment::NotFound) | None, None) => {
                Err("the confirmation has no answer for this account".to_owned())
            }
            (Some(Assessment::NotFound) | None, Some(Verdict::Unreadable(detail))) => Err(detail.clone()),
            (Some(Assessment::NotFound) | None, Some(Verdict::Disabled)) => Ok(Reason::AccountDisabled),
            (Some(Assessment::NotFound) | None, Some(Verdict::Deleted)) => Ok(Reason::AccountDeleted),
            (None, Some(Verdict::NotFound)) => Ok(Reason::AccountDeleted),
            // A protected user need not wait; otherwise the log would alternate between `waiting` and `protected`.
            (Some(Assessment::NotFound), Some(Verdict::NotFound))
                if is_protected(input, *user) || account_missing_for_long(input, *user) =>
            {
                Ok(Reason::AccountDeleted)
            }
            (Some(Assessment::NotFound), Some(Verdict::NotFound)) => {
                draft.push(waiting(input, *user, linked, Cause::AccountMissing, ACCOUNT_MISSING.to_owned()));
                continue;
            }
            // Still assigned, and the account answers again: the next cycle reads it.
            (Some(Assessment::NotFound), Some(Verdict::Present | Verdict::Unassigned)) => continue,
            (None, Some(Verdict::Unassigned)) => {
                let hidden = unclear::relabelled_group(input, linked).or_else(|| unclear::may_hide_users(input));
                hidden.map_or(Ok(Reason::Unassigned), Err)
            }
            (None, Some(Verdict::Present)) => {
                draft.counts.unchanged += 1;
                continue;
            }
        };
        leavers.push(Leaver { user: *user, linked, evidence });
    }
    leavers
}

const ACCOUNT_MISSING: &str = "still assigned, but the account is neither among the users nor in the deleted items";

/// Leaves out learners that were activated or deactivated outside learner-sync: inactive learners need no change, active
/// ones stay active.
fn drop_changed_outside<'a>(input: PlanInput<'_>, leavers: Vec<Leaver<'a>>, draft: &mut Draft) -> Vec<Leaver<'a>> {
    let mut remaining = Vec::with_capacity(leavers.len());
    for leaver in leavers {
        match input.row(leaver.user) {
            // Also one outside the limits: whether it is active is not ours to say.
            Some(row) if !row.active || row.outside => {
                let Leaver { user, linked, evidence: _ } = leaver;
                draft.compared.push(Compared { user, fingerprint: linked.fingerprint, active: false });
            }
            Some(row) if row.active_changed_outside() && input.limits.repair != Repair::All => {
                let decision = deactivate(input, &leaver, Reason::Drift);
                draft.push(drift(input, decision, "reactivated outside learner-sync; left active", None));
            }
            Some(_) | None => remaining.push(leaver),
        }
    }
    remaining
}

/// Leaves out protected learners, and those whose user has not been gone for `safety.deactivate_after`. A held learner
/// has waited already.
fn drop_waiting<'a>(input: PlanInput<'_>, leavers: Vec<Leaver<'a>>, draft: &mut Draft) -> Vec<Leaver<'a>> {
    let mut due = Vec::with_capacity(leavers.len());
    for leaver in leavers {
        let Leaver { user, linked, evidence } = &leaver;
        let reason = evidence.as_ref().map_or_else(|_| Reason::Unreadable, |reason| *reason);
        if is_protected(input, *user) {
            let begins = input.begins(*user, Reason::Protected);
            let detail = format!("would deactivate ({reason}), but safety.protected names the user");
            let leave = Leave::tracked(LeftAs::Skipped, begins);
            draft.push(keep_active(input, *user, linked, Reason::Protected, detail, leave));
        } else if evidence.is_ok() && must_wait(input, *user) {
            // The next cycle asks whether this one found the account missing as well.
            let (cause, detail) = if account_is_missing(input, *user) {
                (Cause::AccountMissing, ACCOUNT_MISSING.to_owned())
            } else {
                (Cause::DeactivateAfter, format!("{reason}, but safety.deactivate_after has not passed yet"))
            };
            draft.push(waiting(input, *user, linked, cause, detail));
        } else {
            due.push(leaver);
        }
    }
    due
}

fn must_wait(input: PlanInput<'_>, user: EntraId) -> bool {
    let after = input.limits.deactivate_after;
    let hold = input.facts.held.get(&user).filter(|entry| entry.action == Action::Deactivate);
    // When all leavers are held, those who wait would leave unseen in a later cycle.
    !input.facts.taken_over
        && input.lost_hold(Action::Deactivate).is_none()
        && !after.is_zero()
        && hold.is_none_or(|entry| entry.reason == Reason::Unreadable)
        && !has_waited(input, user, after)
}

/// Whether the user is still assigned, but the account is neither among the users nor in the deleted items.
pub(super) fn account_is_missing(input: PlanInput<'_>, user: EntraId) -> bool {
    matches!(
        (input.desired.assessment(user), input.confirmed.get(&user)),
        (Some(Assessment::NotFound), Some(Verdict::NotFound))
    )
}

/// Whether the account is deleted beyond doubt.
pub(super) fn account_is_deleted(input: PlanInput<'_>, user: EntraId) -> bool {
    match (input.desired.assessment(user), input.confirmed.get(&user)) {
        (None, Some(Verdict::Deleted | Verdict::NotFound)) | (Some(Assessment::NotFound), Some(Verdict::Deleted)) => {
            true
        }
        _ => account_is_missing(input, user) && account_missing_for_long(input, user),
    }
}

/// Whether an earlier cycle found the account missing, long enough ago.
fn account_missing_for_long(input: PlanInput<'_>, user: EntraId) -> bool {
    waits_for(input.facts, user) == Some(Cause::AccountMissing) && has_waited(input, user, input.limits.min_interval)
}

fn waits_for(facts: &DatabaseFacts, user: EntraId) -> Option<Cause> {
    facts.failing.get(&user).filter(|entry| entry.reason == Reason::Waiting)?.cause
}

/// Whether this decision begins to wait for a missing account or principal, while something else was on record before.
/// That time does not count.
pub(super) fn restarts_wait(input: PlanInput<'_>, decision: &Decision) -> bool {
    let before = input.facts.failing.get(&decision.user);
    match decision.leave().and_then(|leave| leave.cause) {
        Some(Cause::AccountMissing) => {
            before.is_some() && waits_for(input.facts, decision.user) != Some(Cause::AccountMissing)
        }
        Some(Cause::PrincipalMissing) => before.is_some_and(|entry| entry.cause != Some(Cause::PrincipalMissing)),
        Some(Cause::DeactivateAfter | Cause::Recreated) | None => false,
    }
}

fn has_waited(input: PlanInput<'_>, user: EntraId, span: SignedDuration) -> bool {
    let entry = input.facts.failing.get(&user).filter(|entry| entry.reason == Reason::Waiting);
    entry.is_some_and(|entry| input.time.has_elapsed(entry.first_at, span))
}

fn is_protected(input: PlanInput<'_>, user: EntraId) -> bool {
    let protected = &input.limits.protected;
    protected.ids.contains(&user)
        || input.desired.protected.contains(&user)
        || (!protected.user_names.is_empty()
            && input.linked_user_name(user).is_some_and(|user_name| protected.has_user_name(&user_name)))
}

/// A wait ends by itself, so its beginning is not logged.
fn waiting(input: PlanInput<'_>, user: EntraId, linked: &LinkedLearner, cause: Cause, detail: String) -> Decision {
    let leave = Leave { cause: Some(cause), ..Leave::tracked(LeftAs::Skipped, false) };
    keep_active(input, user, linked, Reason::Waiting, detail, leave)
}

fn keep_active(
    input: PlanInput<'_>,
    user: EntraId,
    linked: &LinkedLearner,
    reason: Reason,
    detail: String,
    leave: Leave,
) -> Decision {
    Decision {
        user,
        action: Action::Deactivate,
        reason,
        detail: Some(detail),
        row: TargetRow::Linked(linked.learner.clone()),
        known_name: input.linked_user_name(user),
        changes: Changes::default(),
        request_id: RequestId::default(),
        effect: Effect::Leave(leave),
    }
}

pub(super) fn deactivate(input: PlanInput<'_>, leaver: &Leaver<'_>, reason: Reason) -> Decision {
    let Leaver { user, linked, evidence: _ } = leaver;
    let (reason, detail) = match input.row(*user).is_some_and(LearnerRow::active_changed_outside) {
        true => (Reason::Drift, Some(format!("reactivated outside learner-sync; now {reason}"))),
        false => (reason, None),
    };
    Decision {
        user: *user,
        action: Action::Deactivate,
        reason,
        detail,
        row: TargetRow::Linked(linked.learner.clone()),
        known_name: input.linked_user_name(*user),
        changes: [AttributeChange::active(Some(true), false)].into_iter().collect(),
        request_id: RequestId::default(),
        effect: Effect::Apply(RowAfter {
            active: false,
            routes: input.routes(*user).unwrap_or(&linked.routes).clone(),
            fingerprint: linked.fingerprint,
            row: None,
            spelling: None,
            approved_by: None,
            keeps_hold: false,
        }),
    }
}
