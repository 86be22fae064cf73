//! One decision about one user, and what it records.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Changes;
use crate::model::{
    Action, Attribute, Cause, EntraId, Fingerprint, LearnerId, Reason, RequestId, Routes, RowHash, Status,
};

/// The SCIM path of the object id, as logs name it beside the attributes.
pub const EXTERNAL_ID: &str = "externalId";

/// The mark that logs show instead of a redacted value.
pub const REDACTED: &str = "[Redact]";

/// The learner row that a decision is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetRow {
    /// No row yet.
    New,
    /// An existing row that becomes this user's. Boxed, because a first load has many other decisions.
    Adopt(Box<Adoption>),
    /// The row linked to the user.
    Linked(LearnerId),
}

/// A row that gets another user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adoption {
    /// The row.
    pub learner: LearnerId,
    /// The user it was linked to, when an administrator relinks it.
    pub from: Option<EntraId>,
    /// The text in `external_id` that the object id replaces.
    pub old_external_id: Option<String>,
}

impl Adoption {
    /// The adoption of a row whose `external_id` has no other text.
    pub fn of(learner: LearnerId, from: Option<EntraId>) -> TargetRow {
        TargetRow::Adopt(Box::new(Self { learner, from, old_external_id: None }))
    }
}

impl TargetRow {
    /// The learner id, when the row exists.
    pub fn learner(&self) -> Option<&LearnerId> {
        match self {
            Self::New => None,
            Self::Adopt(adoption) => Some(&adoption.learner),
            Self::Linked(learner) => Some(learner),
        }
    }

    pub(super) fn adoption_mut(&mut self) -> Option<&mut Adoption> {
        match self {
            Self::Adopt(adoption) => Some(adoption),
            Self::New | Self::Linked(_) => None,
        }
    }
}

/// The change of one user's learner in this cycle, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The user.
    pub user: EntraId,
    /// The action, carried out or not.
    pub action: Action,
    /// Why the action is carried out, or why it is not.
    pub reason: Reason,
    /// An explanation for administrators; no code parses it.
    pub detail: Option<String>,
    /// The learner row concerned.
    pub row: TargetRow,
    /// The user name of an existing row for the log, where it is known. See [`Decision::user_name`].
    pub known_name: Option<Box<str>>,
    /// The columns that are written, or would be.
    pub changes: Changes,
    /// Graph's id of the answer that decides; set when the plan is complete.
    pub request_id: RequestId,
    /// Whether the action is carried out.
    pub effect: Effect,
}

/// The end of a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedHold {
    /// The held decision. Its detail says why the hold ends.
    pub held: Decision,
    /// The administrator whose approval ends it.
    pub approved_by: Option<String>,
}

/// The holds that end, by user.
pub type EndedHolds = BTreeMap<EntraId, EndedHold>;

/// Whether a decision is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The learner row, its link and a log row are written in one transaction.
    Apply(RowAfter),
    /// The learner stays as it is.
    Leave(Leave),
}

/// A learner row after its decision is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowAfter {
    /// Whether the learner is active.
    pub active: bool,
    /// How the user is assigned.
    pub routes: Routes,
    /// The fingerprint of the row's values.
    pub fingerprint: Fingerprint,
    /// The row of Graph that is mapped to these values, where it is known.
    pub row: Option<RowHash>,
    /// The fingerprint of user name and e-mail as they are written; `None` when they are not.
    pub spelling: Option<Fingerprint>,
    /// The administrator who approved the action. Approved actions do not count against the limits again.
    pub approved_by: Option<String>,
    /// Whether another change of the same user stays held.
    pub keeps_hold: bool,
}

/// How a learner is left unchanged, and what is recorded about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leave {
    /// How the cycle counts it.
    pub left_as: LeftAs,
    /// Whether a row is kept while it lasts: in `sync_held` for held users, else in `sync_failures`.
    pub tracked: bool,
    /// Whether it is new, or has a new reason. Then `provisioning_log` gets a row.
    pub begins: bool,
    /// The facts about a `waiting` user that the next cycle needs.
    pub cause: Option<Cause>,
    /// For `drift` in attributes: the fingerprint of the values that Entra wants.
    pub drift_fingerprint: Option<Fingerprint>,
    /// For a held deactivation: why the user has left, where that is known.
    pub change_reason: Option<Reason>,
}

/// How a cycle counts a user whose learner is left unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftAs {
    /// Intentionally not changed.
    Skipped,
    /// Held until an administrator approves.
    Held,
    /// Could not be provisioned.
    Failed,
}

impl Leave {
    /// Neither tracked nor logged.
    pub(super) fn unrecorded(left_as: LeftAs) -> Self {
        Self { left_as, tracked: false, begins: false, cause: None, drift_fingerprint: None, change_reason: None }
    }

    /// Tracked while it lasts; logged when it `begins`.
    pub(super) fn tracked(left_as: LeftAs, begins: bool) -> Self {
        Self { tracked: true, begins, ..Self::unrecorded(left_as) }
    }
}

impl Decision {
    /// The user name for the log, where it is known.
    pub fn user_name(&self) -> Option<&str> {
        self.known_name.as_deref().or_else(|| self.changes.new_user_name())
    }

    /// The user that the learner was linked to before an administrator relinks it.
    pub fn former_user(&self) -> Option<EntraId> {
        self.adoption()?.from
    }

    /// The text in `external_id` that an adoption replaces by the object id.
    pub fn old_external_id(&self) -> Option<&str> {
        self.adoption()?.old_external_id.as_deref()
    }

    fn adoption(&self) -> Option<&Adoption> {
        match &self.row {
            TargetRow::Adopt(adoption) => Some(adoption),
            TargetRow::New | TargetRow::Linked(_) => None,
        }
    }

    /// The status that the provisioning log gives it.
    pub fn status(&self) -> Status {
        match &self.effect {
            Effect::Apply(_) => Status::Success,
            Effect::Leave(Leave { left_as, .. }) => match left_as {
                LeftAs::Skipped => Status::Skipped,
                LeftAs::Held => Status::Held,
                LeftAs::Failed => Status::Failure,
            },
        }
    }

    /// The recorded reason for leaving the learner alone; `None` when the decision is applied.
    pub fn leave(&self) -> Option<&Leave> {
        match &self.effect {
            Effect::Apply(_) => None,
            Effect::Leave(leave) => Some(leave),
        }
    }

    /// The row after the decision is applied; `None` when it is not.
    pub fn row_after(&self) -> Option<&RowAfter> {
        match &self.effect {
            Effect::Apply(after) => Some(after),
            Effect::Leave(_) => None,
        }
    }

    /// The same action, not carried out.
    pub(super) fn leave_as(self, reason: Reason, detail: Option<String>, leave: Leave) -> Self {
        Self { reason, detail, effect: Effect::Leave(leave), ..self }
    }

    pub(super) fn redact(&mut self, redacted: &BTreeSet<Attribute>) {
        self.changes.redact(redacted.iter().copied());
        if redacted.contains(&Attribute::UserName) && self.known_name.is_some() {
            self.known_name = Some(REDACTED.into());
        }
        // It may be the user name, the e-mail address, or a part of them.
        if Attribute::UNIQUE.iter().any(|attribute| redacted.contains(attribute))
            && let Some(old) = self.row.adoption_mut().and_then(|adoption| adoption.old_external_id.as_mut())
        {
            REDACTED.clone_into(old);
        }
    }
}

/// The numbers of a cycle, as `sync_cycles` and `sync --json` have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Distinct users that are assigned, enabled and pass the filters, rejected ones included.
    pub in_scope: u64,
    /// Learners created.
    pub created: u64,
    /// Learners updated.
    pub updated: u64,
    /// Learners deactivated.
    pub deactivated: u64,
    /// Learners reactivated.
    pub reactivated: u64,
    /// Learners in scope without a change.
    pub unchanged: u64,
    /// Assigned users left alone.
    pub skipped: u64,
    /// Users that could not be provisioned.
    pub failed: u64,
    /// Users held.
    pub held: u64,
}

impl Counts {
    /// Counts one action that was carried out.
    pub fn add(&mut self, action: Action) {
        match action {
            Action::Create => self.created += 1,
            Action::Update => self.updated += 1,
            Action::Deactivate => self.deactivated += 1,
            Action::Reactivate => self.reactivated += 1,
        }
    }

    /// All numbers.
    pub fn in_words(&self) -> String {
        let Self { in_scope, created, updated, deactivated, reactivated, unchanged, skipped, failed, held } = self;
        format!(
            "{in_scope} in scope, {created} created, {updated} updated, {deactivated} deactivated, {reactivated} \
             reactivated, {unchanged} unchanged, {skipped} skipped, {failed} failed, {held} held"
        )
    }

    /// The number of actions that were carried out.
    pub fn applied(&self) -> u64 {
        self.created + self.updated + self.deactivated + self.reactivated
    }

    /// Counts one learner that was left unchanged. Held users are counted once over all cycles, see
    /// [`Plan::counts`](super::Plan::counts).
    pub(super) fn add_left(&mut self, left_as: LeftAs) {
        match left_as {
            LeftAs::Skipped => self.skipped += 1,
            LeftAs::Failed => self.failed += 1,
            LeftAs::Held => {}
        }
    }
}
