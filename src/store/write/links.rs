//! The links between users and learners.

use std::collections::{BTreeMap, BTreeSet};

use super::{ApplyError, WriteContext, WriteSession};
use crate::model::{Action, Attribute, Column, EntraId, LearnerId, Reason, Routes};
use crate::plan::{Decision, TargetRow};
use crate::store::db::{Connection, DbError, SqlValue, Statement};

/// Links new and adopted learners to their users.
pub(super) async fn link_learners(
    session: &mut WriteSession<'_>,
    users: &[(&Decision, LearnerId)],
) -> Result<(), ApplyError> {
    let WriteSession { connection, layout, context: WriteContext { cycle: _, source, at }, .. } = session;
    let new: Vec<&(&Decision, LearnerId)> =
        users.iter().filter(|(decision, _)| !matches!(decision.row, TargetRow::Linked(_))).collect();
    for (user, learner) in users.iter().filter_map(|(decision, learner)| Some((decision.former_user()?, learner))) {
        let statement =
            Statement::new("DELETE FROM sync_links WHERE source = $1 AND entra_id = $2 AND learner_id = $3");
        let statement = statement.bind(*source).bind(user).bind(layout.learner_value(Some(learner)));
        if connection.execute(statement).await? != 1 {
            return Err(ApplyError::Refused(format!("the learner is not linked to {user} any more").into()));
        }
    }
    let texts = RouteTexts::new(new.iter().filter_map(|(decision, _)| Some(&decision.row_after()?.routes)));
    let may_conflict = may_conflict(connection, source, new.iter().map(|(decision, _)| decision.user)).await?;
    let statements = connection.row_chunks(&new).map(|chunk| {
        let mut statement =
            Statement::new("INSERT INTO sync_links (source, linked_at, entra_id, learner_id, via, spelling) SELECT ");
        statement.push_bind(*source).push(", ").push_bind(*at);
        statement.push(", v.column1, v.column2, v.column3, v.column4 FROM (");
        statement.push_values(chunk, |row, (decision, learner)| {
            row.push_bind(decision.user).push_bind(layout.learner_value(Some(learner)));
            let routes = decision.row_after().map_or("[]", |after| texts.get(&after.routes));
            row.push_bind(SqlValue::Json(routes.into())).push_bind(spelling_value(decision));
        });
        statement.push(") AS v");
        if !may_conflict {
            return statement;
        }
        // Replaces a link whose learner row is missing: the sqlite3 shell does not enforce foreign keys. Without WHERE, SQLite
        // would take ON for the condition of a join.
        statement.push(format_args!(
            " WHERE true ON CONFLICT (source, entra_id) DO UPDATE
                 SET learner_id = excluded.learner_id, via = excluded.via, linked_at = excluded.linked_at,
                     switched_off_at = NULL, spelling = excluded.spelling
                 WHERE NOT EXISTS (SELECT 1 FROM {} r WHERE r.{} = sync_links.learner_id)",
            layout.table,
            layout.id(),
        ));
        statement
    });
    match connection.execute_each(statements).await? == new.len() as u64 {
        true => Ok(()),
        false => Err(ApplyError::Refused("the user is already linked to another learner".into())),
    }
}

/// Whether one of `users` may have a link. PostgreSQL takes a fifth longer for rows with ON CONFLICT, and the users of a
/// first load are written in order: where there is no link between the first and the last, nothing is in their way.
async fn may_conflict(
    connection: &mut Connection,
    source: &str,
    users: impl Iterator<Item = EntraId> + Clone,
) -> Result<bool, DbError> {
    let (Some(first), Some(last)) = (users.clone().min(), users.max()) else { return Ok(false) };
    let between = "SELECT EXISTS (SELECT 1 FROM sync_links WHERE source = $1 AND entra_id BETWEEN $2 AND $3)";
    connection.row(Statement::new(between).bind(source).bind(first).bind(last)).await?.get(0)
}

/// Whether the decision makes an inactive learner active again.
pub(super) fn reactivates(decision: &Decision) -> bool {
    decision.action == Action::Reactivate || decision.reason == Reason::Reassigned
}

/// Records deactivations in the links when the table has no column for them.
pub(super) async fn mark_deactivated(session: &mut WriteSession<'_>, decisions: &[&Decision]) -> Result<(), DbError> {
    let WriteSession { connection, layout, context, .. } = session;
    if layout.name(Column::DeactivatedAt).is_some() {
        return Ok(());
    }
    let deactivates: fn(&Decision) -> bool = |decision| decision.action == Action::Deactivate;
    for (is_affected, at) in [(deactivates, Some(context.at)), (reactivates, None)] {
        let users: Vec<EntraId> =
            decisions.iter().filter(|decision| is_affected(decision)).map(|decision| decision.user).collect();
        for users in connection.list_chunks(&users) {
            let mut statement = Statement::new("UPDATE sync_links SET switched_off_at = ");
            statement.push_bind(at).push(" WHERE source = ").push_bind(context.source);
            statement.push(" AND entra_id IN").push_list(users);
            connection.execute(statement).await?;
        }
    }
    Ok(())
}

/// Updates the routes of links that differ; returns their number.
pub(super) async fn write_routes(
    session: &mut WriteSession<'_>,
    routes: &[(EntraId, &Routes)],
) -> Result<u64, DbError> {
    let WriteSession { connection, context, .. } = session;
    let texts = RouteTexts::new(routes.iter().map(|(_, routes)| *routes));
    let statements = connection.row_chunks(routes).map(|chunk| {
        let mut statement = Statement::new("UPDATE sync_links SET via = v.column2 FROM (");
        statement.push_values(chunk, |row, (user, routes)| {
            row.push_bind(*user).push_bind(SqlValue::Json(texts.get(routes).into()));
        });
        statement.push(") AS v WHERE sync_links.entra_id = v.column1 AND sync_links.via <> v.column2");
        statement.push(" AND sync_links.source = ").push_bind(context.source);
        statement
    });
    connection.execute_each(statements).await
}

/// Records the spelling of names that were written to linked rows.
pub(super) async fn write_spellings(
    session: &mut WriteSession<'_>,
    users: &[(&Decision, LearnerId)],
) -> Result<(), DbError> {
    let WriteSession { connection, layout, .. } = session;
    let is_written = |(decision, _): &&(&Decision, LearnerId)| {
        matches!(decision.row, TargetRow::Linked(_))
            && decision.changes.iter().any(|change| Attribute::UNIQUE.contains(&change.attribute))
    };
    let written: Vec<&(&Decision, LearnerId)> = users.iter().filter(is_written).collect();
    let statements = connection.row_chunks(&written).map(|chunk| {
        let mut statement = Statement::new("UPDATE sync_links SET spelling = v.column2 FROM (");
        statement.push_values(chunk, |row, (decision, learner)| {
            row.push_bind(layout.learner_value(Some(learner))).push_bind(spelling_value(decision));
        });
        statement.push(") AS v WHERE sync_links.learner_id = v.column1");
        statement
    });
    connection.execute_each(statements).await.map(drop)
}

fn spelling_value(decision: &Decision) -> SqlValue<'static> {
    let spelling = decision.row_after().and_then(|after| after.spelling);
    SqlValue::Text(spelling.map(|spelling| spelling.to_string().into()))
}

/// The values of the column `via`, each a JSON array that is sorted as text. Thousands of users share a few of them.
struct RouteTexts<'r>(BTreeMap<&'r Routes, String>);

impl<'r> RouteTexts<'r> {
    fn new(all: impl Iterator<Item = &'r Routes>) -> Self {
        let mut texts = BTreeMap::new();
        for routes in all {
            texts.entry(routes).or_insert_with(|| {
                let routes: BTreeSet<String> = routes.as_slice().iter().map(ToString::to_string).collect();
                serde_json::json!(routes).to_string()
            });
        }
        Self(texts)
    }

    fn get(&self, routes: &Routes) -> &str {
        self.0.get(routes).map_or("[]", String::as_str)
    }
}
