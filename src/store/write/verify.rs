//! Verifies that the learners table kept what was written: a trigger of the platform may have changed or undone it.

use std::collections::{BTreeMap, BTreeSet};

use super::learner_rows::OUTSIDE;
use super::{ApplyError, WriteSession};
use crate::model::{Action, Attribute, EntraId, LearnerId, Values};
use crate::plan::Decision;
use crate::store::db::{SqlValue, Statement};
use crate::store::table::{push_columns, read_columns, without_active};

/// Reads the rows of `users` after the write. Returns a sentence for each row that differs from what was written.
///
/// # Errors
/// Refuses a deactivation or reactivation that did not take effect, and any other change whose row is gone.
pub(super) async fn verify_written(
    session: &mut WriteSession<'_>,
    users: &[(&Decision, LearnerId)],
) -> Result<BTreeMap<EntraId, String>, ApplyError> {
    let WriteSession { connection, layout, .. } = session;
    let written = users.iter().flat_map(|(decision, _)| decision.changes.iter()).map(|changed| changed.attribute);
    let attributes = without_active(&written.collect::<Vec<_>>());
    let ids: Vec<SqlValue<'_>> = users.iter().map(|(_, learner)| layout.learner_value(Some(learner))).collect();
    let mut rows = BTreeMap::new();
    for ids in connection.list_chunks(&ids) {
        let (id, active) = (layout.id(), layout.active("r"));
        let outside = layout.outside("r");
        let mut statement = Statement::new(format!("SELECT r.{id}, {active}, {outside}"));
        push_columns(&mut statement, layout, &attributes);
        statement.push(format_args!(" FROM {} r WHERE r.{id} IN", layout.table));
        statement.push_list(ids);
        for row in connection.rows(statement).await? {
            let mut values = Values::default();
            read_columns(&row, 3, &attributes, &mut values)?;
            if row.get_unchecked(2)? {
                return Err(refused(OUTSIDE));
            }
            rows.insert(layout.learner_at(&row, 0)?, (row.get_unchecked::<bool, _>(1)?, values));
        }
    }
    let mut discrepancies = BTreeMap::new();
    for (decision, learner) in users {
        let (active, values) = match (rows.get(learner), decision.action) {
            (Some((true, _)), Action::Deactivate) => return Err(refused("the learner is still active")),
            (Some((false, _)), Action::Reactivate) => return Err(refused("the learner is not active")),
            (Some(row), _) => row,
            // The platform may delete inactive learners.
            (None, Action::Deactivate) => {
                discrepancies.insert(
                    decision.user,
                    "the row was deleted after the change; the table may have a trigger".to_owned(),
                );
                continue;
            }
            (None, _) => return Err(refused("the row does not exist")),
        };
        let mut others = differing(decision, values);
        if decision.row_after().is_some_and(|after| after.active != *active) {
            others.insert(Attribute::Active);
        }
        if !others.is_empty() {
            let others: Vec<&str> = others.into_iter().map(Attribute::path).collect();
            let others = others.join(", ");
            discrepancies
                .insert(decision.user, format!("the table has another value in {others}; it may have a trigger"));
        }
    }
    Ok(discrepancies)
}

fn refused(why: &str) -> ApplyError {
    ApplyError::Refused(format!("{why} after the change; a trigger of the table may have undone it").into())
}

/// The attributes whose stored value differs from the written one.
fn differing(decision: &Decision, values: &Values) -> BTreeSet<Attribute> {
    let differs = |attribute: Attribute, new: Option<&str>| {
        values.get(attribute).is_some_and(|stored| !attribute.same(stored, new))
    };
    let changes = decision.changes.iter().filter(|changed| differs(changed.attribute, changed.new));
    changes.map(|changed| changed.attribute).collect()
}
