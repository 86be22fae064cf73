//! Whether `scope.only` and `scope.ignore` still say which users they name.

use super::{CycleError, Rules};
use crate::directory::Snapshot;
use crate::model::LinkedLearners;
use crate::plan::{self, DatabaseFacts, Desired, MemberCounts};

/// Ends the cycle when a named group was lost, and warns about ids that name nothing.
///
/// # Errors
/// [`CycleError::RestrictionLost`].
pub(super) fn check(
    rules: &Rules,
    snapshot: &Snapshot,
    named_groups: &MemberCounts,
    linked: &LinkedLearners,
    desired: &Desired,
    facts: &DatabaseFacts,
) -> Result<(), CycleError> {
    if let Some(group) = plan::lost_group(&rules.restrictions, named_groups, &facts.last_members, linked, desired) {
        return Err(CycleError::RestrictionLost(group));
    }
    for id in rules.restrictions.ids() {
        let is_known = snapshot.routes(id).is_some() || linked.contains_key(&id) || named_groups.contains_key(&id);
        if !is_known {
            tracing::warn!(%id, "scope.only or scope.ignore names an id that is not a group, an assigned user or a learner");
        }
    }
    Ok(())
}
