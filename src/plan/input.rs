//! The facts that a plan is made from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::Relink;
use crate::model::{
    Action, Attribute, ByUser, Cause, CycleTime, EntraId, Fingerprint, Learner, LearnerId, LinkedLearners, Reason,
    Reissued, Repair, RequestId, Restrictions, Routes, UnclearRows, UnreadableRows, UserList, Values, Verdict,
};

/// Every user assigned to the application, assessed. Complete: a user missing here was missing from the complete
/// snapshot as well.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// The assigned users by object id.
    pub users: ByUser<AssignedUser>,
    /// `scope.only` and `scope.ignore`. Ids of groups stand beside the ids of their members.
    pub restrictions: Restrictions,
    /// Users whose stored name `safety.protected` lists.
    pub protected: BTreeSet<EntraId>,
}

impl Desired {
    /// How scope and mapping assess this user; `None` when the user is not assigned.
    pub(super) fn assessment(&self, user: EntraId) -> Option<&Assessment> {
        self.users.get(&user).map(|user| &user.assessment)
    }
}

/// One assigned user.
#[derive(Clone, Debug)]
pub struct AssignedUser {
    /// The result of scope and mapping.
    pub assessment: Assessment,
    /// How the user is assigned.
    pub routes: Routes,
    /// Graph's id of the answer that describes the account.
    pub request_id: RequestId,
}

impl AssignedUser {
    /// A user whose assessment comes from no single answer.
    pub fn new(assessment: Assessment, routes: Routes) -> Self {
        Self { assessment, routes, request_id: RequestId::default() }
    }
}

/// An assigned user after scope and mapping.
#[derive(Clone, Debug)]
pub enum Assessment {
    /// Wanted; the fingerprint is the known one of an active learner, so nothing is kept.
    Unchanged,
    /// Wanted; new, changed or inactive so far.
    Wanted(Arc<Learner>),
    /// Assigned, but a complete row says that the user must not be an active learner.
    Leaving(Reason),
    /// Neither wanted nor gone: the learner stays as it is.
    Rejected(Box<Rejection>),
    /// Assigned, but Graph answers 404 for the account.
    NotFound,
}

impl Assessment {
    /// Whether the user counts as in scope: assigned, enabled and passed by the filters.
    pub fn is_in_scope(&self) -> bool {
        match self {
            Self::Unchanged | Self::Wanted(_) => true,
            Self::Leaving(reason) => *reason == Reason::MappedInactive,
            Self::Rejected(rejection) => rejection.reason != Reason::Unreadable,
            Self::NotFound => false,
        }
    }

    /// Whether the learner keeps its row and its values: the user is wanted, or cannot be judged.
    pub(super) fn keeps_learner(&self) -> bool {
        match self {
            Self::Unchanged | Self::Wanted(_) | Self::Rejected(_) => true,
            Self::Leaving(_) | Self::NotFound => false,
        }
    }
}

/// Why a user was rejected before planning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// `missing-required`, `invalid-value` or `unreadable`.
    pub reason: Reason,
    /// The attribute and the rule.
    pub detail: String,
    /// The user name, where the mapping produced one.
    pub user_name: Option<String>,
}

/// A row of the learners table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnerRow {
    /// The primary key.
    pub learner: LearnerId,
    /// The text of `external_id`, as stored.
    pub external_id: Option<String>,
    /// The source and the user it is linked to.
    pub link: Option<(String, EntraId)>,
    /// Whether the row lacks a limiting constant of `[learners.constants]`. Then nothing else in it is read.
    pub outside: bool,
    /// Whether the link exists but cannot be read. Such a row is neither adopted nor relinked.
    pub unreadable_link: bool,
    /// Whether the learner is active.
    pub active: bool,
    /// Whether the row has a `deactivated_at`: set by each of our deactivations, cleared by each reactivation.
    pub deactivated: bool,
    /// The fingerprint of user name and e-mail as this program last wrote them, if it did.
    pub spelling: Option<Fingerprint>,
    /// Whether the platform keeps the learner in a state of its own, such as suspended: neither active nor inactive.
    pub other_state: bool,
    /// `user_name`, `email` and the mapped attributes, without `Active`.
    pub values: Values,
}

impl LearnerRow {
    /// Whether the learner was activated or deactivated outside learner-sync.
    pub(super) fn active_changed_outside(&self) -> bool {
        self.active == self.deactivated
    }

    pub(super) fn value(&self, attribute: Attribute) -> Option<&str> {
        self.values.text(attribute)
    }
}

/// A linked learner whose row was compared and is not written: what the cache remembers about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The linked user.
    pub user: EntraId,
    /// The fingerprint of the values that the row has.
    pub fingerprint: Fingerprint,
    /// Whether the learner is active.
    pub active: bool,
}

/// A row of `sync_held`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldEntry {
    /// `Deactivate` or `Update`.
    pub action: Action,
    /// `threshold`, `empty-group` or `unreadable`.
    pub reason: Reason,
    /// When the hold began.
    pub since: Timestamp,
    /// The time of the approval, and the approver.
    pub approved: Option<(Timestamp, String)>,
    /// The user name of the learner, if there is one.
    pub user_name: Option<String>,
}

/// A row of `sync_failures`, without the text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailingEntry {
    /// The reason.
    pub reason: Reason,
    /// Why a `waiting` user waits, or what an unreadable principal lacks.
    pub cause: Option<Cause>,
    /// For `drift`: the fingerprint of the values that Entra wanted when the drift was found.
    pub drift_fingerprint: Option<Fingerprint>,
    /// When it began.
    pub first_at: Timestamp,
}

/// The part of one plan that comes from the learner database.
#[derive(Clone, Debug, Default)]
pub struct DatabaseFacts {
    /// The rows of linked learners that may change, by user.
    pub rows: BTreeMap<EntraId, LearnerRow>,
    /// Every row that holds a value that a user newly wants, or that names a newcomer in `external_id`.
    pub holders: Vec<LearnerRow>,
    /// The held users.
    pub held: BTreeMap<EntraId, HeldEntry>,
    /// The failing, skipped and waiting users.
    pub failing: BTreeMap<EntraId, FailingEntry>,
    /// How many users this source deactivated in the last 24 hours without an approval that are still inactive. Of any age
    /// while Graph's clock is unknown.
    pub recently_deactivated: u64,
    /// Active users whose attribute was cleared in the last 24 hours without an approval and is still empty. Of any age
    /// while Graph's clock is unknown.
    pub recently_cleared: BTreeMap<Attribute, BTreeSet<EntraId>>,
    /// How many active linked learners have a value, by attribute.
    pub present: BTreeMap<Attribute, u64>,
    /// How many members each assigned group had, by `sync_groups`.
    pub last_members: BTreeMap<EntraId, u64>,
    /// Whether this is the first complete cycle since the learners were taken over from another application.
    pub taken_over: bool,
    /// The rows of the bookkeeping that cannot be read.
    pub unreadable: UnreadableRows,
}

/// The number of user members by group.
pub type MemberCounts = BTreeMap<EntraId, u64>;

/// The verdict of the confirmation on every user in [`Candidates`](super::Candidates).
pub type Confirmed = BTreeMap<EntraId, Verdict>;

/// The configured limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// More deactivations than this are held.
    pub max_deactivations: u64,
    /// Deactivations of more than this percentage of the learners are held.
    pub max_deactivation_percent: u64,
    /// Updates of more than this percentage of the learners are held.
    pub max_update_percent: u64,
    /// The attribute that identifies an unlinked learner.
    pub match_attribute: Attribute,
    /// How long a user that is still assigned must answer 404 before it counts as deleted.
    pub min_interval: SignedDuration,
    /// How long a user must have left before it is deactivated.
    pub deactivate_after: SignedDuration,
    /// Users that are never deactivated.
    pub protected: UserList,
    /// Attributes whose values logs hide.
    pub redacted: BTreeSet<Attribute>,
    /// The repair of a learner that was changed outside learner-sync.
    pub repair: Repair,
    /// The treatment of a user who wants a value that a former learner still has.
    pub reissued: Reissued,
}

/// Everything that a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    /// The linked learners.
    pub linked: &'a LinkedLearners,
    /// The values that the last cycle wrote, when `linked` was read from the database. A difference was made outside
    /// learner-sync.
    pub last_written: Option<&'a LinkedLearners>,
    /// The assigned users.
    pub desired: &'a Desired,
    /// The members of the assigned groups.
    pub groups: &'a MemberCounts,
    /// The members of the groups that the restrictions name, assigned or not.
    pub named_groups: &'a MemberCounts,
    /// Assigned groups that seem empty because they hide their members.
    pub hidden: &'a BTreeSet<EntraId>,
    /// Assigned groups that do not exist any more.
    pub gone: &'a BTreeSet<EntraId>,
    /// The rows that may hide assigned users.
    pub unclear: &'a UnclearRows,
    /// Whether the application has no assignment at all.
    pub nobody_assigned: bool,
    /// The confirmation of leavers.
    pub confirmed: &'a Confirmed,
    /// Graph's ids of the answers behind these verdicts.
    pub confirming: &'a BTreeMap<EntraId, RequestId>,
    /// The facts from the learner database.
    pub facts: &'a DatabaseFacts,
    /// The configured limits.
    pub limits: &'a Limits,
    /// The learners that an administrator gives to other users, by the user that gets one.
    pub relinks: &'a BTreeMap<EntraId, Relink>,
    /// The time of the cycle.
    pub time: CycleTime,
}

impl<'a> PlanInput<'a> {
    /// The row linked to this user, where it was read.
    pub(super) fn row(self, user: EntraId) -> Option<&'a LearnerRow> {
        self.facts.rows.get(&user)
    }

    /// The unreadable parts of the learner database about this user. Nothing is decided about such a user.
    pub(super) fn unreadable(self, user: EntraId) -> Option<&'a str> {
        self.facts.unreadable.by_user.get(&user).map(String::as_str)
    }

    /// Why a user without a hold of this action may have had one.
    pub(super) fn lost_hold(self, action: Action) -> Option<String> {
        let lost = &self.facts.unreadable.lost_holds;
        let problem = lost.get(&Some(action)).or_else(|| lost.get(&None))?;
        Some(format!("a hold that names no user may be the hold of this one: {problem}"))
    }

    /// The user name that the linked row has.
    pub(super) fn linked_user_name(self, user: EntraId) -> Option<Box<str>> {
        self.row(user)?.value(Attribute::UserName).map(Box::from)
    }

    /// Graph's id of the answer that decides about this user: the confirmation, else the answer that describes the account.
    pub(super) fn request_id(self, user: EntraId) -> RequestId {
        let assigned = || self.desired.users.get(&user).map(|user| &user.request_id);
        self.confirming.get(&user).or_else(assigned).cloned().unwrap_or_default()
    }

    /// How the user is assigned now, else as last seen.
    pub(super) fn routes(self, user: EntraId) -> Option<&'a Routes> {
        let assigned = self.desired.users.get(&user).map(|user| &user.routes);
        assigned.or_else(|| self.linked.get(&user).map(|linked| &linked.routes))
    }

    /// Whether `sync_failures` has no row of this user with this reason yet.
    pub(super) fn begins(self, user: EntraId, reason: Reason) -> bool {
        self.facts.failing.get(&user).is_none_or(|entry| entry.reason != reason)
    }

    /// How many learners are linked and active.
    pub(super) fn active_learners(self) -> u64 {
        self.linked.values().filter(|linked| linked.active).count() as u64
    }
}
