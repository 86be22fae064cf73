//! Giving a learner to another account, because an administrator says that both are one user: somebody who was hired
//! again, say, under an address that the learner of the old account still has.

use super::{Assessment, LearnerRow, PlanInput};
use crate::model::{EntraId, LearnerId};

/// What an administrator asks for, with what the learner database says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relink {
    /// Tenant and enterprise application.
    pub source: String,
    /// Who gets the learner.
    pub user: EntraId,
    /// The learner that the user has.
    pub own: Option<LearnerId>,
    /// The learner that the user is to have.
    pub learner: LearnerId,
    /// Its row, when there is one.
    pub row: Option<LearnerRow>,
}

impl Relink {
    /// Why it cannot be; nothing is written then.
    pub fn refusal(&self) -> Option<String> {
        let Self { source, user, own, learner, row } = self;
        let Some(row) = row else { return Some(format!("there is no learner {learner}")) };
        match (&row.link, own) {
            (Some((_, linked)), _) if linked == user => None,
            _ if row.other_state => Some(format!("learner {learner} is in a state of the platform's own")),
            (_, Some(own)) => {
                Some(format!("{user} has learner {own} already; learner {learner} would leave it without an account"))
            }
            (Some((other, _)), None) if other != source => {
                Some(format!("learner {learner} is kept by another application, {other}"))
            }
            (Some((_, linked)), None) if row.active => Some(format!(
                "learner {learner} is active and linked to Entra id {linked}; only one that is inactive, or not linked, \
                 can be given to somebody else"
            )),
            (Some(_) | None, None) => None,
        }
    }

    /// Whose learner it is until then.
    pub(super) fn former(&self) -> Option<EntraId> {
        self.row.as_ref()?.link.as_ref().map(|(_, user)| *user)
    }

    /// Why it cannot be now that everybody is read.
    pub(super) fn obstacle(&self, input: PlanInput<'_>) -> Option<String> {
        let back = |former: &EntraId| {
            let assessment = input.desired.users.get(former).map(|user| &user.assessment);
            matches!(assessment, Some(Assessment::Unchanged | Assessment::Wanted(_) | Assessment::Rejected(_)))
        };
        self.refusal().or_else(|| {
            let former = self.former().filter(back)?;
            Some(format!("learner {} is wanted by its own account, Entra id {former}, which is assigned", self.learner))
        })
    }
}
