//! What a cycle found out about one person, and what it did: the answer of `provision`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Prepared, Rules};
use crate::directory::{Directory, DirectoryError, Read, Snapshot};
use crate::mapping::Gives;
use crate::model::{EntraId, Known, KnownLearners, LearnerId, Verdict};
use crate::plan::{Change, Confirmed, Desired, Evidence, Finding, Person, Row};

/// What no cycle needs to know of a person, only whoever asks for her.
#[derive(Clone, Debug)]
pub(super) struct Around {
    account: Read,
    groups: BTreeMap<EntraId, String>,
    nested_in: BTreeSet<EntraId>,
    other_role: bool,
    other_assignments: usize,
}

/// Looks around `person`; `seen` is how the account was read already, when it was.
///
/// # Errors
/// What Graph does not tell.
pub(super) async fn around(
    directory: &Directory,
    rules: &Rules,
    snapshot: &Snapshot,
    person: EntraId,
    seen: Option<Read>,
) -> Result<Around, DirectoryError> {
    let account = match seen {
        Some(read) => read,
        None => directory.account(person, &rules.selection).await?,
    };
    let nested_in = match snapshot.via(person) {
        Some(_) => BTreeSet::new(),
        None => directory.nested_in(snapshot, person).await?,
    };
    let other_role = snapshot.other_roles().contains(&person);
    let other_assignments = snapshot.other_roles().len();
    Ok(Around { account, groups: snapshot.names().clone(), nested_in, other_role, other_assignments })
}

/// What was found out about one person before anything was done.
#[derive(Clone, Debug)]
pub(super) struct About {
    person: EntraId,
    before: Option<Known>,
    assigned: Option<Person>,
    verdict: Option<Verdict>,
    around: Around,
}

impl About {
    pub(super) fn of(
        person: EntraId,
        known: &KnownLearners,
        desired: &Desired,
        confirmed: &Confirmed,
        around: Around,
    ) -> Self {
        Self {
            person,
            before: known.get(&person).cloned(),
            assigned: desired.people.get(&person).cloned(),
            verdict: confirmed.get(&person).cloned(),
            around,
        }
    }
}

/// One person, from what Graph says to what was written.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Who.
    pub person: EntraId,
    /// What Graph tells of the account, in the order of the selection.
    pub account: Read,
    /// How the person is assigned and stands; none when not assigned.
    pub assigned: Option<Person>,
    /// Display names of the assigned groups.
    pub groups: BTreeMap<EntraId, String>,
    /// Assigned groups that hold the person only through a nested group; looked for when not assigned.
    pub nested_in: BTreeSet<EntraId>,
    /// Whether the person is assigned, but with none of the app roles that count.
    pub other_role: bool,
    /// How many groups are assigned so; who is in them is not read.
    pub other_assignments: usize,
    /// What each scoping filter says, in words.
    pub filters: Vec<String>,
    /// What each line of the mapping gives, in the order of the mapping's description; nothing without an account.
    pub mapped: Vec<Gives>,
    /// What the second look found, when it took one.
    pub verdict: Option<Verdict>,
    /// The linked learner before.
    pub before: Option<Known>,
    /// The row of the learner before, linked or to be adopted.
    pub row: Option<Row>,
    /// The linked learner afterwards; before a rehearsal is carried out, as before.
    pub learner: Option<LearnerId>,
    /// What was or would be done for the person.
    pub change: Option<Change>,
    /// Why nothing was.
    pub finding: Option<Finding>,
    /// What was or would be done for those who hand a value to the person, or get one.
    pub coupled: Vec<Change>,
}

impl Prepared {
    /// What there is to tell about the person that was asked for; `refused` are the changes that came to nothing.
    pub(super) fn explanation(&self, rules: &Rules, refused: &[Finding]) -> Option<Explanation> {
        let Self { plan, known, evidence, about, compared_at: now, .. } = self;
        let About { person, before, assigned, verdict, around } = about.clone()?;
        let Around { account, groups, nested_in, other_role, other_assignments } = around;
        let was_refused = |person: EntraId| refused.iter().find(|finding| finding.person == person);
        let (own, coupled): (Vec<&Change>, Vec<&Change>) = plan
            .changes()
            .iter()
            .filter(|change| was_refused(change.person).is_none())
            .partition(|change| change.person == person);
        let change = own.into_iter().next().cloned();
        let row = row(evidence, person, change.as_ref()).cloned();
        let (filters, mapped) = match &account {
            Read::User(user) => (rules.scope.explain(user), rules.mapping.explain(user, *now).collect()),
            Read::Unreadable { .. } | Read::NotFound(_) => (Vec::new(), Vec::new()),
        };
        Some(Explanation {
            person,
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
            learner: known.get(&person).map(|known| known.learner),
            change,
            finding: was_refused(person).or_else(|| plan.findings().first()).cloned(),
            coupled: coupled.into_iter().cloned().collect(),
        })
    }
}

/// The person's own row, else the one that the person is about to get.
fn row<'a>(evidence: &'a Evidence, person: EntraId, change: Option<&Change>) -> Option<&'a Row> {
    let adopted = || {
        let learner = change?.target.learner()?;
        evidence.holders.iter().find(|row| row.learner == learner)
    };
    evidence.rows.get(&person).or_else(adopted)
}
