//! Guests keep their stored name until an administrator approves the name in the home tenant: an upgrade renames nobody
//! unasked.

use super::holds::{held_entry, hold_decision, mark_approved, valid_approval};
use super::{Assessment, AttributeChange, Decision, Draft, Effect, PlanInput};
use crate::model::{Action, Fingerprint, Reason, home_name};

/// Why the new name of a guest is held.
pub(super) const GUEST_RENAMED: &str = "would replace the stored name of a guest by the name in the home tenant; \
                                        approve it if this is the name that the guest signs in with, else map \
                                        [originalUserPrincipalName]";

/// Whether a change replaces the stored name of a guest by the name in the home tenant, as after an upgrade.
pub(super) fn renames_guest(change: AttributeChange<'_>) -> bool {
    match (change.old.and_then(home_name), change.new) {
        (Some(home), Some(new)) => home.eq_ignore_ascii_case(new),
        _ => false,
    }
}

/// Reactivates guests at once, but under the stored name: only the new name waits for the approval.
pub(super) fn hold_names_of_returned(input: PlanInput<'_>, draft: &mut Draft) {
    let decisions = std::mem::take(&mut draft.decisions);
    for decision in decisions {
        // An administrator asks for a relink by name.
        let is_return = decision.action == Action::Reactivate && decision.reason != Reason::Relinked;
        let is_applied = matches!(decision.effect, Effect::Apply(_));
        if !is_return || !is_applied || !decision.changes.iter().any(renames_guest) {
            draft.decisions.push(decision);
            continue;
        }
        match held_entry(input, decision.user, Action::Update).and_then(|entry| valid_approval(input, entry)) {
            Some(approval) => draft.push(mark_approved(*decision, approval)),
            None => split(input, *decision).into_iter().for_each(|decision| draft.push(decision)),
        }
    }
}

/// The reactivation under the stored name, and the hold of the new one.
fn split(input: PlanInput<'_>, mut decision: Decision) -> [Decision; 2] {
    let renames = decision.changes.iter().filter(|change| renames_guest(*change)).collect();
    let others = decision.changes.iter().filter(|change| !renames_guest(*change)).collect();
    let mut update = Decision { action: Action::Update, changes: renames, ..decision.clone() };
    if let Some(adoption) = update.row.adoption_mut() {
        adoption.old_external_id = None;
    }
    let held = hold_decision(input, update, (Reason::Threshold, Some(GUEST_RENAMED.to_owned())));
    if let (Effect::Apply(after), Some(Assessment::Wanted(learner))) =
        (&mut decision.effect, input.desired.assessment(decision.user))
    {
        let mut values = learner.values.clone();
        values.extend(held.changes.iter().map(|change| (change.attribute, change.old)));
        (after.fingerprint, after.row) = (Fingerprint::compute(&values), None);
        after.spelling = Some(Fingerprint::spelling(&values));
        after.keeps_hold = true;
    }
    let kept = "keeps the stored name of the guest until the new one is approved";
    let detail = match decision.detail {
        None => kept.to_owned(),
        Some(detail) => format!("{detail}; {kept}"),
    };
    [Decision { changes: others, detail: Some(detail), ..decision }, held]
}
