//! Writes decisions: learner rows, links, routes and log rows.

use std::collections::BTreeMap;

use super::learner_rows::{create_rows, missing_row, park_unique_values, update_rows};
use super::links::{link_learners, mark_deactivated, write_routes, write_spellings};
use super::log::{LogEntry, write_log};
use super::verify::verify_written;
use super::{ApplyError, WriteSession, delete_records};
use crate::failpoint::{Step, reached};
use crate::model::{Action, EntraId, LearnerId, Routes};
use crate::plan::{Decision, EndedHolds, TargetRow};

/// Writes `decisions` completely: learner rows, links, log rows, and the end of their failures and holds. Returns the
/// learners in the same order. The rows are read back unless the table is `faithful`.
///
/// After an error the caller rolls back.
pub(super) async fn write_decisions(
    session: &mut WriteSession<'_>,
    decisions: &[&Decision],
    ended_holds: &EndedHolds,
    faithful: bool,
) -> Result<Vec<LearnerId>, ApplyError> {
    park_unique_values(session, decisions).await?;
    reached(Step::ValuesParked);
    let created = create_rows(session, decisions, faithful).await?;
    reached(Step::LearnersCreated);
    let mut users = Vec::with_capacity(decisions.len());
    for &decision in decisions {
        let learner = match &decision.row {
            TargetRow::New => created.get(&decision.user).ok_or_else(missing_row)?,
            TargetRow::Adopt(adoption) => &adoption.learner,
            TargetRow::Linked(learner) => learner,
        };
        users.push((decision, learner.clone()));
    }
    link_learners(session, &users).await?;
    reached(Step::LearnersLinked);
    update_rows(session, &users).await?;
    mark_deactivated(session, decisions).await?;
    let discrepancies = match faithful {
        true => BTreeMap::new(),
        false => verify_written(session, &users).await?,
    };
    reached(Step::LearnersUpdated);

    // A leaver keeps the routes it was last seen with.
    let is_seen =
        |decision: &&&Decision| matches!(decision.row, TargetRow::Linked(_)) && decision.action != Action::Deactivate;
    let routes: Vec<(EntraId, &Routes)> = decisions
        .iter()
        .filter(is_seen)
        .filter_map(|decision| Some((decision.user, &decision.row_after()?.routes)))
        .filter(|(_, routes)| !routes.as_slice().is_empty())
        .collect();
    write_routes(session, &routes).await?;
    write_spellings(session, &users).await?;

    // Before the change that ends it.
    let users_of = |decision: &&Decision| [Some(decision.user), decision.former_user()];
    let ended = decisions.iter().flat_map(users_of).flatten().filter_map(|user| ended_holds.get(&user));
    let ended = ended.map(LogEntry::ended);
    let applied = users.iter().map(|(decision, learner)| {
        let discrepancy = discrepancies.get(&decision.user).map(String::as_str);
        LogEntry::applied(decision, learner, discrepancy)
    });
    let entries: Vec<LogEntry<'_>> = ended.chain(applied).collect();
    write_log(session, &entries).await?;
    reached(Step::ChangesLogged);

    let former: Vec<EntraId> = decisions.iter().filter_map(|decision| decision.former_user()).collect();
    let with_former = |decided: Vec<EntraId>| [decided, former.clone()].concat();
    let decided = decisions.iter().map(|decision| decision.user).collect();
    delete_records(session, "sync_failures", &with_former(decided)).await?;
    let is_ended = |decision: &&&Decision| !decision.row_after().is_some_and(|after| after.keeps_hold);
    let ended = decisions.iter().filter(is_ended).map(|decision| decision.user).collect();
    delete_records(session, "sync_held", &with_former(ended)).await?;
    Ok(users.into_iter().map(|(_, learner)| learner).collect())
}
