//! Whether it is clear whom `scope.only` and `scope.ignore` leave alone.

use super::{CycleError, Rules};
use crate::directory::Snapshot;
use crate::model::LinkedLearners;
use crate::plan::{self, DatabaseFacts, MemberCounts};

/// Ends a cycle in which a group does not say any more who is left alone, and warns of ids that name nobody.
///
/// # Errors
/// [`CycleError::BoundLost`].
pub(super) fn hold(
    rules: &Rules,
    snapshot: &Snapshot,
    named_groups: &MemberCounts,
    known: &LinkedLearners,
    evidence: &DatabaseFacts,
) -> Result<(), CycleError> {
    if let Some(group) = plan::lost_group(&rules.restrictions, named_groups, &evidence.last_members, known) {
        return Err(CycleError::BoundLost(group));
    }
    for id in rules.restrictions.ids() {
        let is_known = snapshot.routes(id).is_some() || known.contains_key(&id) || named_groups.contains_key(&id);
        if !is_known {
            tracing::warn!(%id, "scope.only or scope.ignore names an id that is no group, nobody assigned and no learner");
        }
    }
    Ok(())
}
