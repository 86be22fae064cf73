//! Rows of the directory that name no user clearly. Each may hide users who are assigned: until it is resolved, nobody
//! leaves as unassigned.

use super::joiners::never_a_learner;
use super::{Decision, Draft, FailingEntry, Leave, LeftAs, PlanInput};
use crate::model::{Cause, EntraId, LinkedLearner, Reason, Route, UnclearPrincipal};

const NOT_FOUND: &str = "the id of an assignment is neither a user nor a group nor a service principal";

/// Reports the rows. Decides about each principal that is not decided about as an assigned user.
pub(super) fn decide(input: PlanInput<'_>, draft: &mut Draft) {
    draft.counts.failed += input.unclear.unnamed;
    for (id, why) in &input.unclear.principals {
        // A learner is decided about as an assigned user, or was confirmed.
        if input.desired.users.contains_key(id) || input.linked.contains_key(id) {
            continue;
        }
        let begins = input.begins(*id, Reason::Unreadable);
        let (reason, detail, leave) = match why {
            UnclearPrincipal::Unreadable(detail) => {
                (Reason::Unreadable, detail.clone(), Leave::tracked(LeftAs::Failed, begins))
            }
            UnclearPrincipal::NotFound => {
                let (reason, leave) = match not_found_for_long(input, *id) {
                    true => (Reason::NotReadableYet, Leave::tracked(LeftAs::Skipped, false)),
                    false => (Reason::Unreadable, Leave::tracked(LeftAs::Failed, begins)),
                };
                // The next cycle asks whether this one found nothing as well.
                (reason, NOT_FOUND.to_owned(), Leave { cause: Some(Cause::PrincipalMissing), ..leave })
            }
        };
        let decision = never_a_learner(*id, reason, leave);
        draft.push(Decision { detail: Some(detail), ..decision });
    }
}

/// Why a user who is in no list may still be assigned.
pub(super) fn may_hide_users(input: PlanInput<'_>) -> Option<String> {
    let is_open = |(id, why): (&EntraId, &UnclearPrincipal)| match why {
        UnclearPrincipal::Unreadable(_) => true,
        // A learner's id is the id of a user, behind which nobody else can be.
        UnclearPrincipal::NotFound => !input.linked.contains_key(id) && !not_found_for_long(input, *id),
    };
    let principal = input.unclear.principals.iter().find(|entry| is_open(*entry)).map(|(id, _)| *id);
    match principal {
        Some(id) => {
            Some(format!("the assignment of {id} cannot be read, so the user may still be assigned through it"))
        }
        None if input.unclear.unnamed > 0 => {
            Some("a row of the assignments or members cannot be read, and the user may be in it".to_owned())
        }
        None => None,
    }
}

/// Why a user who was assigned through a group may still be: the assignment of the group now has another type.
pub(super) fn relabelled_group(input: PlanInput<'_>, linked: &LinkedLearner) -> Option<String> {
    linked.routes.as_slice().iter().find_map(|route| {
        let Route::Group(group) = route else { return None };
        let kind = if input.unclear.service_principals.contains(group) {
            "a service principal"
        } else if input.desired.users.contains_key(group) {
            "a user"
        } else {
            return None;
        };
        let is_read = input.groups.contains_key(group);
        (!is_read).then(|| format!("group {group}, through which the user was assigned, is listed as {kind}"))
    })
}

/// Whether two cycles, far enough apart, found no object with this id.
fn not_found_for_long(input: PlanInput<'_>, id: EntraId) -> bool {
    let entry = input.facts.failing.get(&id).filter(|entry| entry.cause == Some(Cause::PrincipalMissing));
    entry.is_some_and(|FailingEntry { reason, first_at, .. }| {
        *reason == Reason::NotReadableYet || input.time.has_elapsed(*first_at, input.limits.min_interval)
    })
}
