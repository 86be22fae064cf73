//! What a cycle found out about one person, and what it did: the answer of `provision`.

use super::Prepared;
use crate::directory::Snapshot;
use crate::model::{EntraId, Known, KnownLearners, LearnerId, Verdict};
use crate::plan::{Change, Confirmed, Desired, Finding, Person};

/// What was found out about one person before anything was decided.
#[derive(Clone, Debug)]
pub(super) struct About {
    person: EntraId,
    before: Option<Known>,
    assigned: Option<Person>,
    other_role: bool,
    verdict: Option<Verdict>,
}

impl About {
    pub(super) fn of(
        person: EntraId,
        known: &KnownLearners,
        desired: &Desired,
        snapshot: &Snapshot,
        confirmed: &Confirmed,
    ) -> Self {
        Self {
            person,
            before: known.get(&person).cloned(),
            assigned: desired.people.get(&person).cloned(),
            other_role: snapshot.other_roles().contains(&person),
            verdict: confirmed.get(&person).cloned(),
        }
    }
}

/// One person, from what Graph says to what was written.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Who.
    pub person: EntraId,
    /// How the person is assigned and stands; none when not assigned.
    pub assigned: Option<Person>,
    /// Whether the person is assigned, but with none of the app roles that count.
    pub other_role: bool,
    /// What the second look found, when it took one.
    pub verdict: Option<Verdict>,
    /// The linked learner before.
    pub before: Option<Known>,
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
    pub(super) fn explanation(&self, refused: &[Finding]) -> Option<Explanation> {
        let Self { plan, known, about, .. } = self;
        let About { person, before, assigned, other_role, verdict } = about.clone()?;
        let was_refused = |person: EntraId| refused.iter().find(|finding| finding.person == person);
        let (own, coupled): (Vec<&Change>, Vec<&Change>) = plan
            .changes()
            .iter()
            .filter(|change| was_refused(change.person).is_none())
            .partition(|change| change.person == person);
        Some(Explanation {
            person,
            assigned,
            other_role,
            verdict,
            before,
            learner: known.get(&person).map(|known| known.learner),
            change: own.into_iter().next().cloned(),
            finding: was_refused(person).or_else(|| plan.findings().first()).cloned(),
            coupled: coupled.into_iter().cloned().collect(),
        })
    }
}
