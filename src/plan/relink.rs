//! Giving a learner to another account, because an administrator says that both belong to one person: for example
//! after a rehire, when the learner of the old account still has the address.

use super::{Assessment, LearnerRow, PlanInput};
use crate::model::{EntraId, LearnerId};

/// The request of an administrator, with what the learner database says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relink {
    /// Tenant and enterprise application.
    pub source: String,
    /// The user that gets the learner.
    pub user: EntraId,
    /// The learner that the user has already.
    pub own: Option<LearnerId>,
    /// The learner that the user is to get.
    pub learner: LearnerId,
    /// The row of `learner`, when it exists.
    pub row: Option<LearnerRow>,
    /// Whether the former account is confirmed deleted. Then the learner may be active.
    pub recreated: bool,
}

impl Relink {
    /// Why the request is refused; nothing is written then.
    pub fn refusal(&self) -> Option<String> {
        let Self { source, user, own, learner, row, recreated } = self;
        let Some(row) = row else { return Some(format!("learner {learner} does not exist")) };
        match (&row.link, own) {
            (Some((_, linked)), _) if linked == user => None,
            _ if row.unreadable_link => Some(format!("the link of learner {learner} cannot be read")),
            _ if row.other_state => Some(format!("learner {learner} is in a state that only the platform may change")),
            (_, Some(own)) => Some(format!("{user} already has learner {own}, which would be left without an account")),
            (Some((other, _)), None) if other != source => {
                Some(format!("learner {learner} belongs to another application, {other}"))
            }
            (Some((_, linked)), None) if row.active && !recreated => Some(format!(
                "learner {learner} is active and linked to Entra id {linked}; only an inactive or unlinked learner can \
                 be relinked"
            )),
            (Some(_) | None, None) => None,
        }
    }

    /// The user that the learner is linked to so far.
    pub(super) fn former(&self) -> Option<EntraId> {
        self.row.as_ref()?.link.as_ref().map(|(_, user)| *user)
    }

    /// Why the request is refused, now that every user has been read.
    pub(super) fn obstacle(&self, input: PlanInput<'_>) -> Option<String> {
        let is_wanted = |former: &EntraId| input.desired.assessment(*former).is_some_and(Assessment::keeps_learner);
        self.refusal().or_else(|| {
            let former = self.former().filter(is_wanted)?;
            Some(format!("learner {} is still wanted by its own account, Entra id {former}", self.learner))
        })
    }
}
