//! The ends of holds, and why each of them ends. The provisioning log records them.

use std::collections::BTreeSet;

use super::decision::{EndedHold, EndedHolds};
use super::{Assessment, Changes, Decision, Decisions, Draft, Effect, HeldEntry, Leave, LeftAs, PlanInput, TargetRow};
use crate::model::{Action, EntraId, Reason};

const DESIRED_AGAIN: &str = "the user is desired again";
const NOTHING_TO_UPDATE: &str = "nothing is left to update";

/// The holds that end although nothing is written for the user, and those that a hold of another action replaces.
pub(super) fn ended_without_change(input: PlanInput<'_>, draft: &Draft) -> EndedHolds {
    if input.facts.held.is_empty() {
        return EndedHolds::new();
    }
    // The transaction of an applied decision ends the hold, and with it the approval.
    let lasting = draft.decisions.iter().filter(|decision| match &decision.effect {
        Effect::Apply(_) => true,
        Effect::Leave(leave) => leave.left_as == LeftAs::Held,
    });
    let lasting: BTreeSet<EntraId> = lasting.map(|decision| decision.user).collect();
    let compared: BTreeSet<EntraId> = draft.compared.iter().map(|compared| compared.user).collect();
    let left_as = |reason: Reason| -> BTreeSet<EntraId> {
        draft.decisions.iter().filter(|decision| decision.reason == reason).map(|decision| decision.user).collect()
    };
    let (protected, waiting) = (left_as(Reason::Protected), left_as(Reason::Waiting));
    let why = |user: &EntraId, entry: &HeldEntry| {
        let inactive = match input.linked.get(user) {
            None => Some("the learner is not linked any more"),
            Some(linked) => (!linked.active).then_some("the learner is inactive already"),
        };
        match (entry.action, input.desired.assessment(*user)) {
            (Action::Update, Some(Assessment::Unchanged)) => Some(NOTHING_TO_UPDATE),
            (_, Some(Assessment::Unchanged)) => Some(DESIRED_AGAIN),
            (Action::Deactivate, _) if protected.contains(user) => Some("safety.protected names the user"),
            (Action::Deactivate, Some(Assessment::Wanted(_))) if compared.contains(user) => Some(DESIRED_AGAIN),
            (Action::Deactivate, _) if compared.contains(user) => Some("the learner is inactive already"),
            // A waiting user was read: its evidence is readable again.
            (Action::Deactivate, _) if entry.reason == Reason::Unreadable && waiting.contains(user) => {
                Some("the account is readable again")
            }
            // A conflict, for example, leaves an update held.
            (Action::Update, Some(Assessment::Wanted(_))) => compared.contains(user).then_some(NOTHING_TO_UPDATE),
            (Action::Update, Some(Assessment::Rejected(_))) => None,
            (Action::Update, Some(Assessment::Leaving(_) | Assessment::NotFound) | None) => {
                inactive.or_else(|| compared.contains(user).then_some("the learner is inactive already"))
            }
            (_, Some(Assessment::Wanted(_))) => Some(DESIRED_AGAIN),
            _ => inactive,
        }
    };
    let held = input.facts.held.iter();
    // Nothing is decided about a user whose row cannot be read, so the hold lasts.
    let held = held.filter(|(user, _)| !lasting.contains(user) && input.unreadable(**user).is_none());
    let gone = held.filter_map(|(user, entry)| Some((*user, ended(input, *user, entry, why(user, entry)?))));
    gone.chain(replaced(input, &draft.decisions)).collect()
}

/// The holds whose user is held for another action now.
fn replaced(input: PlanInput<'_>, decisions: &Decisions) -> impl Iterator<Item = (EntraId, EndedHold)> {
    decisions.iter().filter_map(move |decision| {
        let entry = input.facts.held.get(&decision.user)?;
        let is_held = decision.leave().is_some_and(|leave| leave.left_as == LeftAs::Held);
        let why = match entry.action {
            Action::Deactivate => DESIRED_AGAIN,
            _ => "the user has left",
        };
        (is_held && entry.action != decision.action).then(|| (decision.user, ended(input, decision.user, entry, why)))
    })
}

/// The holds that end in the transaction of an applied decision.
pub(super) fn ended_by_changes(input: PlanInput<'_>, applied: &Decisions) -> EndedHolds {
    let held = &input.facts.held;
    let mut all = EndedHolds::new();
    if held.is_empty() {
        return all;
    }
    for decision in applied {
        let keeps_hold = decision.row_after().is_some_and(|after| after.keeps_hold);
        if let Some(entry) = held.get(&decision.user).filter(|_| !keeps_hold) {
            all.insert(decision.user, ended_by(input, decision, entry));
        }
        if let Some((former, entry)) = decision.former_user().and_then(|former| held.get_key_value(&former)) {
            let why = format!("the learner was relinked to {}", decision.user);
            all.insert(*former, ended(input, *former, entry, &why));
        }
    }
    all
}

fn ended_by(input: PlanInput<'_>, decision: &Decision, entry: &HeldEntry) -> EndedHold {
    let approved_by = decision.row_after().and_then(|after| after.approved_by.clone());
    if let (Some(by), Some((at, _))) = (&approved_by, &entry.approved) {
        let why = format!("approved by {by} at {at:.0}");
        return EndedHold { approved_by, ..ended(input, decision.user, entry, &why) };
    }
    let why = match (entry.action, decision.action) {
        (_, Action::Deactivate) => "the learner is deactivated",
        (Action::Deactivate, _) => DESIRED_AGAIN,
        (_, Action::Create | Action::Update | Action::Reactivate) => "the learner is updated",
    };
    ended(input, decision.user, entry, why)
}

fn ended(input: PlanInput<'_>, user: EntraId, entry: &HeldEntry, why: &str) -> EndedHold {
    let linked = input.linked.get(&user);
    let held = Decision {
        user,
        action: entry.action,
        reason: entry.reason,
        detail: Some(why.to_owned()),
        row: linked.map_or(TargetRow::New, |linked| TargetRow::Linked(linked.learner.clone())),
        known_name: entry.user_name.as_deref().map(Box::from),
        changes: Changes::default(),
        request_id: input.request_id(user),
        effect: Effect::Leave(Leave::unrecorded(LeftAs::Held)),
    };
    EndedHold { held, approved_by: None }
}
