//! What a decision is made from.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::Relink;
use crate::model::{
    Action, Attribute, EntraId, Fingerprint, Learner, LearnerId, LinkedLearners, Reason, Reissued, Repair,
    Restrictions, Routes, UserList, Values, Verdict,
};

/// Everybody who is assigned to the application, and how each stands. Complete: somebody who is not in it was
/// not in the complete read either.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// By object id.
    pub users: BTreeMap<EntraId, AssignedUser>,
    /// Who is left alone. The ids of groups stand beside those of their members.
    pub restrictions: Restrictions,
}

/// One assigned user.
#[derive(Clone, Debug)]
pub struct AssignedUser {
    /// What scope and mapping say.
    pub assessment: Assessment,
    /// The ways the user is assigned.
    pub routes: Routes,
}

/// How an assigned user stands after scope and mapping.
#[derive(Clone, Debug)]
pub enum Assessment {
    /// Wanted, and the fingerprint is the known one of an active learner: nothing to do, nothing kept.
    Unchanged,
    /// Wanted; new, changed, or inactive so far.
    Wanted(Box<Learner>),
    /// Assigned, but not to be a learner, on positive evidence.
    Leaving(Reason),
    /// Neither wanted nor gone: the learner stays as it is.
    Rejected(Box<Rejection>),
    /// Assigned, but Graph answers 404 for the account.
    NotFound,
}

impl Assessment {
    /// Whether the user counts as in scope: assigned, enabled and let through by the filters.
    pub fn is_in_scope(&self) -> bool {
        match self {
            Self::Unchanged | Self::Wanted(_) => true,
            Self::Leaving(reason) => *reason == Reason::MappedInactive,
            Self::Rejected(rejection) => rejection.reason != Reason::Unreadable,
            Self::NotFound => false,
        }
    }
}

/// Why somebody was rejected before the plan was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// `missing-required`, `invalid-value` or `unreadable`.
    pub reason: Reason,
    /// Which attribute and which rule.
    pub detail: String,
    /// The user name, where it could be told.
    pub user_name: Option<String>,
}

/// A row of the learners table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnerRow {
    /// Its key.
    pub learner: LearnerId,
    /// The Entra id the row names, as it stands there.
    pub external_id: Option<String>,
    /// The source and user it is linked to.
    pub link: Option<(String, EntraId)>,
    /// Whether it is switched on.
    pub active: bool,
    /// Whether it has a `deactivated_at`: set by every deactivation, cleared by every reactivation of ours.
    pub deactivated: bool,
    /// Whether the platform has it in a state of its own, such as suspended, which is neither on nor off.
    pub other_state: bool,
    /// `user_name`, `email` and the mapped attributes, without `Active`.
    pub values: Values,
}

impl LearnerRow {
    /// Whether somebody else switched it on or off: that is noted, and left so.
    pub(super) fn switched_by_hand(&self) -> bool {
        self.active == self.deactivated
    }
}

/// A linked learner whose row was compared and needs no change: what the cache is to say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Whose.
    pub user: EntraId,
    /// Of the values it has, or of those that are wanted and are the same.
    pub fingerprint: Fingerprint,
    /// Whether it is switched on.
    pub active: bool,
}

/// A user in `sync_held`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldEntry {
    /// `Deactivate` or `Update`.
    pub action: Action,
    /// `threshold`, `empty-group` or `unreadable`.
    pub reason: Reason,
    /// Since when.
    pub since: Timestamp,
    /// When and by whom it was approved.
    pub approved: Option<(Timestamp, String)>,
}

/// A user in `sync_failures`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailingEntry {
    /// Why.
    pub reason: Reason,
    /// In words.
    pub detail: Option<String>,
    /// Since when.
    pub first_at: Timestamp,
}

/// What the learner database says, read for exactly this plan.
#[derive(Clone, Debug, Default)]
pub struct DatabaseFacts {
    /// The rows of linked learners that may change, by user.
    pub rows: BTreeMap<EntraId, LearnerRow>,
    /// Every row that holds a value somebody newly wants, or names a newcomer in `external_id`.
    pub holders: Vec<LearnerRow>,
    /// Who is held.
    pub held: BTreeMap<EntraId, HeldEntry>,
    /// Who fails.
    pub failing: BTreeMap<EntraId, FailingEntry>,
    /// Whom this source switched off in the last 24 hours without an approval and who is still off.
    pub recently_deactivated: BTreeSet<EntraId>,
    /// How many active linked learners have a value, by attribute.
    pub present: BTreeMap<Attribute, u64>,
    /// How many members each assigned group had, by `sync_groups`.
    pub last_members: BTreeMap<EntraId, u64>,
}

/// The assigned groups as this cycle saw them: user members by group.
pub type MemberCounts = BTreeMap<EntraId, u64>;

/// What the second look found, for everybody in [`Candidates`](super::Candidates).
pub type Confirmed = BTreeMap<EntraId, Verdict>;

/// The limits an administrator set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// More deactivations than this are held.
    pub max_deactivations: u64,
    /// More than this share of the learners is held, in percent.
    pub max_deactivation_percent: u64,
    /// More updates than this share of the learners are held, in percent.
    pub max_update_percent: u64,
    /// The attribute by which an unlinked learner is recognised.
    pub match_attribute: Attribute,
    /// How long somebody who is still assigned must answer 404 before that counts.
    pub min_interval: SignedDuration,
    /// How long somebody must have been gone.
    pub deactivate_after: SignedDuration,
    /// Who is never switched off.
    pub protected: UserList,
    /// Attributes whose values no log may show.
    pub redacted: BTreeSet<Attribute>,
    /// What is put right when somebody else has changed a learner.
    pub repair: Repair,
    /// What happens to the values of former learners that are wanted by others.
    pub reissued: Reissued,
}

/// Everything a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    /// The linked learners.
    pub known: &'a LinkedLearners,
    /// What the last cycle left in the learner database, when `known` is what stands there now. Where the two
    /// differ, somebody else has been at work.
    pub left: Option<&'a LinkedLearners>,
    /// The assigned users.
    pub desired: &'a Desired,
    /// The assigned groups.
    pub groups: &'a MemberCounts,
    /// The groups that the bounds name, assigned or not.
    pub named_groups: &'a MemberCounts,
    /// Assigned groups that look empty because they hide their members.
    pub hidden: &'a BTreeSet<EntraId>,
    /// Whether the application has no assignment at all.
    pub nobody_assigned: bool,
    /// The second look.
    pub confirmed: &'a Confirmed,
    /// The learner database.
    pub evidence: &'a DatabaseFacts,
    /// The limits.
    pub limits: &'a Limits,
    /// A learner that an administrator gives to another account.
    pub relink: Option<&'a Relink>,
    /// The time of the cycle.
    pub now: Timestamp,
}
