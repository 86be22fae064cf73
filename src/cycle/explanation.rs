//! What a cycle found out about one user, and what it did: the answer of `provision`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Prepared, Rules};
use crate::directory::{AccountRead, Directory, DirectoryError, Snapshot};
use crate::mapping::MappedValue;
use crate::model::{EntraId, LearnerId, LinkedLearner, LinkedLearners, Verdict};
use crate::plan::{AssignedUser, Change, Confirmed, DatabaseFacts, Desired, Finding, LearnerRow};

/// What no cycle needs to know of a user, only whoever asks for her.
#[derive(Clone, Debug)]
pub(super) struct Around {
    account: AccountRead,
    groups: BTreeMap<EntraId, String>,
    nested_in: BTreeSet<EntraId>,
    other_role: bool,
    other_assignments: usize,
}

/// Looks around `user`; `seen` is how the account was read already, when it was.
///
/// # Errors
/// What Graph does not tell.
pub(super) async fn around(
    directory: &Directory,
    rules: &Rules,
    snapshot: &Snapshot,
    user: EntraId,
    seen: Option<AccountRead>,
) -> Result<Around, DirectoryError> {
    let account = match seen {
        Some(read) => read,
        None => directory.account(user, &rules.selection).await?,
    };
    let nested_in = match snapshot.routes(user) {
        Some(_) => BTreeSet::new(),
        None => directory.nested_in(snapshot, user).await?,
    };
    let other_role = snapshot.other_roles().contains(&user);
    let other_assignments = snapshot.other_roles().len();
    Ok(Around { account, groups: snapshot.names().clone(), nested_in, other_role, other_assignments })
}

/// What was found out about one user before anything was done.
#[derive(Clone, Debug)]
pub(super) struct About {
    user: EntraId,
    before: Option<LinkedLearner>,
    assigned: Option<AssignedUser>,
    verdict: Option<Verdict>,
    around: Around,
}

impl About {
    pub(super) fn of(
        user: EntraId,
        known: &LinkedLearners,
        desired: &Desired,
        confirmed: &Confirmed,
        around: Around,
    ) -> Self {
        Self {
            user,
            before: known.get(&user).cloned(),
            assigned: desired.users.get(&user).cloned(),
            verdict: confirmed.get(&user).cloned(),
            around,
        }
    }
}

/// One user, from what Graph says to what was written.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Who.
    pub user: EntraId,
    /// What Graph tells of the account, in the order of the selection.
    pub account: AccountRead,
    /// How the user is assigned and stands; none when not assigned.
    pub assigned: Option<AssignedUser>,
    /// Display names of the assigned groups.
    pub groups: BTreeMap<EntraId, String>,
    /// Assigned groups that hold the user only through a nested group; looked for when not assigned.
    pub nested_in: BTreeSet<EntraId>,
    /// Whether the user is assigned, but with none of the app roles that count.
    pub other_role: bool,
    /// How many groups are assigned so; who is in them is not read.
    pub other_assignments: usize,
    /// What each scoping filter says, in words.
    pub filters: Vec<String>,
    /// What each line of the mapping gives, in the order of the mapping's description; nothing without an account.
    pub mapped: Vec<MappedValue>,
    /// What the second look found, when it took one.
    pub verdict: Option<Verdict>,
    /// The linked learner before.
    pub before: Option<LinkedLearner>,
    /// The row of the learner before, linked or to be adopted.
    pub row: Option<LearnerRow>,
    /// The linked learner afterwards; before a rehearsal is carried out, as before.
    pub learner: Option<LearnerId>,
    /// What was or would be done for the user.
    pub change: Option<Change>,
    /// Why nothing was.
    pub finding: Option<Finding>,
    /// What was or would be done for those who hand a value to the user, or get one.
    pub coupled: Vec<Change>,
}

impl Prepared {
    /// What there is to tell about the user that was asked for; `refused` are the changes that came to nothing.
    pub(super) fn explanation(&self, rules: &Rules, refused: &[Finding]) -> Option<Explanation> {
        let Self { plan, known, evidence, about, compared_at: now, .. } = self;
        let About { user, before, assigned, verdict, around } = about.clone()?;
        let Around { account, groups, nested_in, other_role, other_assignments } = around;
        let was_refused = |user: EntraId| refused.iter().find(|finding| finding.user == user);
        let (own, coupled): (Vec<&Change>, Vec<&Change>) = plan
            .changes()
            .iter()
            .filter(|change| was_refused(change.user).is_none())
            .partition(|change| change.user == user);
        let change = own.into_iter().next().cloned();
        let row = row(evidence, user, change.as_ref()).cloned();
        let (filters, mapped) = match &account {
            AccountRead::User(user) => (rules.scope.explain(user), rules.mapping.explain(user, *now).collect()),
            AccountRead::Unreadable { .. } | AccountRead::NotFound(_) => (Vec::new(), Vec::new()),
        };
        Some(Explanation {
            user,
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
            row,
            learner: known.get(&user).map(|known| known.learner),
            change,
            finding: was_refused(user).or_else(|| plan.findings().first()).cloned(),
            coupled: coupled.into_iter().cloned().collect(),
        })
    }
}

/// The user's own row, else the one that the user is about to get.
fn row<'a>(evidence: &'a DatabaseFacts, user: EntraId, change: Option<&Change>) -> Option<&'a LearnerRow> {
    let adopted = || {
        let learner = change?.target.learner()?;
        evidence.holders.iter().find(|row| row.learner == learner)
    };
    evidence.rows.get(&user).or_else(adopted)
}
