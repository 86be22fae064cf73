//! How one user was provisioned, from what Graph says to what was written: the answer of `provision`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Prepared, Rules, SingleUser};
use crate::directory::{AccountRead, Directory, DirectoryError, Snapshot};
use crate::expression::Steps;
use crate::mapping::MappedValue;
use crate::model::{EntraId, LearnerId, LinkedLearner, LinkedLearners, Verdict};
use crate::plan::{AssignedUser, Confirmed, DatabaseFacts, Decision, Desired, LearnerRow};

/// The facts about a user that an explanation needs, and a cycle does not.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    account: AccountRead,
    groups: BTreeMap<EntraId, String>,
    nested_in: BTreeSet<EntraId>,
    other_role: bool,
    other_assignments: usize,
}

/// Reads the surroundings of `user`; `account` is the account as the cycle read it.
///
/// # Errors
/// When Graph does not answer.
pub(super) async fn surroundings(
    directory: &Directory,
    rules: &Rules,
    snapshot: &Snapshot,
    user: EntraId,
    account: Option<AccountRead>,
) -> Result<Surroundings, DirectoryError> {
    let account = match account {
        Some(account) => account,
        None => directory.account(user, &rules.selection).await?,
    };
    let nested_in = match snapshot.routes(user) {
        Some(_) => BTreeSet::new(),
        None => directory.nested_in(snapshot, user).await?,
    };
    let other_role = snapshot.other_roles().contains(&user);
    let other_assignments = snapshot.other_roles().len();
    Ok(Surroundings { account, groups: snapshot.names().clone(), nested_in, other_role, other_assignments })
}

/// The user to explain, before anything is written.
#[derive(Clone, Debug)]
pub(super) struct ExplainedUser {
    user: EntraId,
    requested: Option<LearnerId>,
    before: Option<LinkedLearner>,
    assigned: Option<AssignedUser>,
    verdict: Option<Verdict>,
    surroundings: Surroundings,
    /// The decisions that the cycle applies.
    applied: Vec<Decision>,
}

impl ExplainedUser {
    pub(super) fn new(
        SingleUser { user, relink, audit: _ }: &SingleUser,
        linked: &LinkedLearners,
        desired: &Desired,
        confirmed: &Confirmed,
        surroundings: Surroundings,
        applied: Vec<Decision>,
    ) -> Self {
        Self {
            user: *user,
            requested: relink.as_ref().map(|relink| relink.learner.clone()),
            before: linked.get(user).cloned(),
            assigned: desired.users.get(user).cloned(),
            verdict: confirmed.get(user).cloned(),
            surroundings,
            applied,
        }
    }
}

/// One user, from what Graph says to what was written.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The user.
    pub user: EntraId,
    /// The learner that the administrator wants to give to the user.
    pub requested: Option<LearnerId>,
    /// The account as Graph returns it, in the order of the selection.
    pub account: AccountRead,
    /// How the user is assigned and assessed; `None` when not assigned.
    pub assigned: Option<AssignedUser>,
    /// Display names of the assigned groups.
    pub groups: BTreeMap<EntraId, String>,
    /// For an unassigned user: assigned groups that contain the user through a nested group.
    pub nested_in: BTreeSet<EntraId>,
    /// Whether the user is assigned only with app roles that do not count.
    pub other_role: bool,
    /// How many users and groups are assigned with app roles that do not count. Members of these groups are not read.
    pub other_assignments: usize,
    /// The result of each scoping filter, in words.
    pub filters: Vec<String>,
    /// The value of each mapping entry, in their order; empty without an account.
    pub mapped: Vec<MappedValue>,
    /// The verdict of the confirmation, when the user needed one.
    pub verdict: Option<Verdict>,
    /// The linked learner before.
    pub before: Option<LinkedLearner>,
    /// The learner row before: linked, or about to be adopted.
    pub row: Option<LearnerRow>,
    /// The linked learner after; in a rehearsal, the one before.
    pub learner: Option<LearnerId>,
    /// The decision about the user, or why there is none.
    pub decision: Option<Decision>,
    /// The decisions about users that hand a value to this user, or get one.
    pub coupled: Vec<Decision>,
}

impl Explanation {
    /// The decision, when it was or would be applied.
    pub fn applied(&self) -> Option<&Decision> {
        self.decision.as_ref().filter(|decision| decision.row_after().is_some())
    }
}

impl Prepared {
    /// Explains the single user of this cycle; `refused` are the decisions that the database refused.
    pub(super) fn explain(&self, rules: &Rules, refused: &[Decision]) -> Option<Explanation> {
        let Self { plan, linked, facts, explained, time, .. } = self;
        let ExplainedUser { user, requested, before, assigned, verdict, surroundings, applied } = explained.clone()?;
        let Surroundings { account, groups, nested_in, other_role, other_assignments } = surroundings;
        let is_refused = |user: EntraId| refused.iter().any(|decision| decision.user == user);
        let applied = || applied.iter().filter(|decision| !is_refused(decision.user));
        let own = refused.iter().chain(applied()).chain(plan.not_applied()).find(|decision| decision.user == user);
        let coupled = applied().filter(|decision| decision.user != user).cloned().collect();
        let (filters, mapped) = match &account {
            AccountRead::User(user) => {
                // The mapping has the steps that the filters leave.
                let steps = Steps::for_one_user();
                rules.scope.decide(user, &steps);
                (rules.scope.explain(user), rules.mapping.explain(user, time.recorded(), &steps))
            }
            AccountRead::Unreadable { .. } | AccountRead::NotFound(_) => (Vec::new(), Vec::new()),
        };
        Some(Explanation {
            user,
            requested,
            account,
            assigned,
            groups,
            nested_in,
            other_role,
            other_assignments,
            filters,
            mapped,
            verdict,
            before,
            row: row_before(facts, user, own).cloned(),
            learner: linked.get(&user).map(|linked| linked.learner.clone()),
            decision: own.cloned(),
            coupled,
        })
    }
}

/// The linked row, else the row that the decision adopts.
fn row_before<'a>(facts: &'a DatabaseFacts, user: EntraId, decision: Option<&Decision>) -> Option<&'a LearnerRow> {
    let adopted = || {
        let learner = decision.filter(|decision| decision.row_after().is_some())?.row.learner()?;
        facts.holders.iter().find(|row| row.learner == *learner)
    };
    facts.rows.get(&user).or_else(adopted)
}
