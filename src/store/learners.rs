//! The statements of a decision: learner rows and links, many rows a statement.
//!
//! Within one call the order of the statements does not matter to the unique columns: who gives up a value that
//! somebody else in the same call wants is parked first.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::apply::{ApplyError, WriteContext};
use super::db::{Connection, DbError, SqlValue as Value, Statement, TupleBuilder as Tuple, quote_identifier as quoted};
use super::error::StoreError;
use super::known::{routes_text, texts};
use super::table::Layout;
use super::{log, stored};
use crate::failpoint::{Step, reached};
use crate::model::{Action, Attribute, Column, EntraId, LearnerId, Reason, Routes, UniqueKey};
use crate::plan::{Decision, TargetRow, unique_values};

/// Writes `decisions` completely: learner rows, links, log rows, and the end of their failures and holds. Returns the
/// learners in the same order.
///
/// After an error the caller rolls back.
pub(super) async fn write(
    connection: &mut Connection,
    layout: &Layout,
    decisions: &[Decision],
    context: &WriteContext<'_>,
) -> Result<Vec<LearnerId>, ApplyError> {
    park(connection, layout, decisions).await?;
    reached(Step::ValuesParked);
    let created = create(connection, layout, decisions, context.at).await?;
    reached(Step::LearnersCreated);
    let mut users = Vec::with_capacity(decisions.len());
    for decision in decisions {
        let learner = match decision.row {
            TargetRow::New => created.get(&decision.user).copied().ok_or_else(kept_out)?,
            TargetRow::Adopt { learner, .. } | TargetRow::Linked(learner) => learner,
        };
        users.push((decision, learner));
    }
    link(connection, layout, &users, context.source, context.at).await?;
    reached(Step::LearnersLinked);
    update(connection, layout, &users, context).await?;
    mark_deactivated(connection, layout, decisions, context).await?;
    let discrepancies = stored::verify_written(connection, layout, &users).await?;
    reached(Step::LearnersUpdated);

    // A leaver keeps the routes it was last seen with.
    let is_seen =
        |decision: &&Decision| matches!(decision.row, TargetRow::Linked(_)) && decision.action != Action::Deactivate;
    let routes: Vec<(EntraId, &Routes)> = decisions
        .iter()
        .filter(is_seen)
        .filter_map(|decision| Some((decision.user, &decision.row_after()?.routes)))
        .filter(|(_, routes)| !routes.as_slice().is_empty())
        .collect();
    write_routes(connection, &routes, context.source).await?;

    let entries: Vec<log::LogEntry<'_>> = users
        .iter()
        .map(|(decision, learner)| log::LogEntry {
            decision,
            learner: Some(*learner),
            discrepancy: discrepancies.get(&decision.user).map(String::as_str),
        })
        .collect();
    log::write(connection, layout, &entries, context).await?;
    reached(Step::ChangesLogged);

    let former: Vec<EntraId> = decisions.iter().filter_map(former).collect();
    let ids = texts(decisions.iter().map(|decision| &decision.user).chain(&former));
    forget(connection, "sync_failures", context.source, &ids).await?;
    forget(connection, "sync_held", context.source, &ids).await?;
    Ok(users.into_iter().map(|(_, learner)| learner).collect())
}

fn kept_out() -> ApplyError {
    ApplyError::Refused("the database did not take the row; a trigger of the table may have kept it out".to_owned())
}

/// Moves aside every value that one of these changes gives up and another one wants, until its row gets its new one:
/// uniqueness is checked row by row, not at the end.
async fn park(connection: &mut Connection, layout: &Layout, decisions: &[Decision]) -> Result<(), DbError> {
    let wanted: BTreeSet<UniqueKey> =
        decisions.iter().flat_map(|decision| unique_values(decision, |changed| changed.new.as_deref())).collect();
    for attribute in Attribute::UNIQUE {
        let parked: Vec<Value<'_>> = decisions
            .iter()
            .filter(|decision| {
                unique_values(decision, |changed| changed.old.as_deref())
                    .any(|key| key.attribute == attribute && wanted.contains(&key))
            })
            .filter_map(|decision| decision.row.learner())
            .map(|learner| layout.learner(Some(learner)))
            .collect();
        for learners in connection.lists(&parked) {
            let (table, id, column) = (&layout.table, layout.id(), layout.attribute(attribute));
            // An address, because the table may check that it is one.
            let aside = format!("'moving.' || {id} || '@learner-sync.invalid'");
            let mut statement = Statement::new(format!("UPDATE {table} SET {column} = {aside} WHERE {id} IN"));
            statement.push_list(learners);
            connection.execute(statement).await?;
        }
    }
    Ok(())
}

async fn create(
    connection: &mut Connection,
    layout: &Layout,
    decisions: &[Decision],
    at: Timestamp,
) -> Result<BTreeMap<EntraId, LearnerId>, ApplyError> {
    let mut groups: BTreeMap<Vec<Attribute>, Vec<&Decision>> = BTreeMap::new();
    for decision in decisions.iter().filter(|decision| decision.row == TargetRow::New) {
        groups.entry(columns_of(decision)).or_default().push(decision);
    }
    let mut created = BTreeMap::new();
    for (columns, group) in groups {
        // Each new row tells by this which it is. Without a place for Entra's id, its name tells, which is unique.
        let told = match layout.external_id("") {
            Some(column) => column,
            None => layout.attribute(Attribute::UserName).to_owned(),
        };
        let named = layout.external_id("").is_none();
        let mut users: BTreeMap<String, EntraId> = BTreeMap::new();
        for decision in &group {
            let key = if named { new_name(decision) } else { decision.user.to_string() };
            users.insert(key, decision.user);
        }
        for piece in connection.pieces(&group) {
            let (names, values): (Vec<String>, Vec<String>) = new_row(layout, &columns).into_iter().unzip();
            let (names, values) = (names.join(", "), values.join(", "));
            let mut statement =
                Statement::new(format!("INSERT INTO {} ({names}) SELECT {values} FROM (", layout.table));
            statement.push_values(piece, |row, decision| {
                row.push_bind(decision.user.to_string()).push_bind(at);
                push_new_values(row, layout, decision);
            });
            statement.push(format_args!(") AS v RETURNING {}, {told}", layout.id()));
            for row in connection.rows(statement).await? {
                let told: String = row.get_unchecked(1)?;
                if let Some(user) = users.get(&told.to_ascii_lowercase()) {
                    created.insert(*user, layout.learner_at(&row, 0)?);
                }
            }
        }
    }
    Ok(created)
}

/// The user name that a new row gets, as names are compared.
fn new_name(decision: &Decision) -> String {
    let changed = decision.changes.iter().find(|changed| changed.attribute == Attribute::UserName);
    changed.and_then(|changed| changed.new.as_deref()).unwrap_or_default().to_ascii_lowercase()
}

/// The columns of a new row, and where the value of each comes from: a user, a time, and the values of the attributes.
fn new_row(layout: &Layout, attributes: &[Attribute]) -> Vec<(String, String)> {
    let ours = [(Column::ExternalId, 1), (Column::CreatedAt, 2), (Column::UpdatedAt, 2)];
    let mapped = attributes.iter().map(|attribute| Column::Attribute(*attribute)).zip(3..);
    let given = ours.into_iter().chain(mapped).filter_map(|(column, number)| {
        let value = layout.cast_of(column, &format!("v.column{number}"));
        Some((layout.name(column)?.to_owned(), value))
    });
    let constants = layout.constants.iter().map(|(name, constant)| (quoted(name), constant.clone()));
    given.chain(constants).collect()
}

/// Whose learner it was until now.
fn former(decision: &Decision) -> Option<EntraId> {
    match decision.row {
        TargetRow::Adopt { from, .. } => from,
        TargetRow::New | TargetRow::Linked(_) => None,
    }
}

async fn link(
    connection: &mut Connection,
    layout: &Layout,
    users: &[(&Decision, LearnerId)],
    source: &str,
    at: Timestamp,
) -> Result<(), ApplyError> {
    let new: Vec<&(&Decision, LearnerId)> =
        users.iter().filter(|(decision, _)| !matches!(decision.row, TargetRow::Linked(_))).collect();
    for (user, learner) in users.iter().filter_map(|(decision, learner)| Some((former(decision)?, learner))) {
        let statement =
            Statement::new("DELETE FROM sync_links WHERE source = $1 AND entra_id = $2 AND learner_id = $3");
        let statement = statement.bind(source).bind(user.to_string()).bind(layout.learner(Some(*learner)));
        if connection.execute(statement).await? != 1 {
            return Err(ApplyError::Refused(format!("the learner is not linked to {user} any more")));
        }
    }
    for piece in connection.pieces(&new) {
        let mut statement = Statement::new("INSERT INTO sync_links (source, entra_id, learner_id, via, linked_at) ");
        statement.push_values(piece, |row, (decision, learner)| {
            row.push_bind(source).push_bind(decision.user.to_string()).push_bind(layout.learner(Some(*learner)));
            let routes = decision.row_after().map(|after| routes_text(&after.routes));
            row.push_bind(Value::Json(routes.unwrap_or_else(|| "[]".to_owned()))).push_bind(at);
        });
        // A link whose learner was deleted past the foreign key (sqlite3 does not enforce them) is as good as none.
        statement.push(format_args!(
            " ON CONFLICT (source, entra_id) DO UPDATE
                 SET learner_id = excluded.learner_id, via = excluded.via, linked_at = excluded.linked_at,
                     switched_off_at = NULL
                 WHERE NOT EXISTS (SELECT 1 FROM {} r WHERE r.{} = sync_links.learner_id)",
            layout.table,
            layout.id(),
        ));
        if connection.execute(statement).await? != piece.len() as u64 {
            return Err(ApplyError::Refused("the user is already linked to another learner".to_owned()));
        }
    }
    Ok(())
}

/// What decides the text of an update.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    columns: Vec<Attribute>,
    adopt: bool,
    action: Action,
    /// Of somebody who comes back.
    returned: bool,
}

async fn update(
    connection: &mut Connection,
    layout: &Layout,
    users: &[(&Decision, LearnerId)],
    context: &WriteContext<'_>,
) -> Result<(), ApplyError> {
    let source = context.source;
    let mut groups: BTreeMap<Shape, Vec<&(&Decision, LearnerId)>> = BTreeMap::new();
    for pair in users.iter().filter(|(decision, _)| decision.row != TargetRow::New) {
        let (decision, _) = pair;
        let adopt = matches!(decision.row, TargetRow::Adopt { .. });
        let (columns, action, returned) = (columns_of(decision), decision.action, comes_back(decision));
        groups.entry(Shape { columns, adopt, action, returned }).or_default().push(pair);
    }
    for (shape, group) in groups {
        for piece in connection.pieces(&group) {
            let mut statement = start_of_update(layout, &shape, context.at);
            statement.push_values(piece, |row, (decision, learner)| {
                row.push_bind(layout.learner(Some(*learner))).push_bind(decision.user.to_string());
                push_new_values(row, layout, decision);
            });
            // Nobody's learner but the user's own, linked by this source, whatever the plan was made from.
            statement.push(format_args!(
                ") AS v, sync_links AS l
                 WHERE r.{} = v.column1 AND l.learner_id = v.column1 AND l.entra_id = v.column2 AND l.source = ",
                layout.id(),
            ));
            statement.push_bind(source);
            // Nor over what somebody else has made of it since it was read.
            match shape.action {
                Action::Deactivate => statement.push(" AND ").push(layout.active("r")),
                Action::Reactivate => {
                    statement.push(" AND NOT ").push(layout.active("r")).push(" AND NOT ").push(layout.other_state("r"))
                }
                Action::Create | Action::Update => &mut statement,
            };
            if connection.execute(statement).await? != piece.len() as u64 {
                return Err(ApplyError::Refused(why_nothing_changed(connection, layout, piece, source).await?));
            }
        }
    }
    Ok(())
}

/// Whether it is one of somebody who was switched off, as far as we know.
fn comes_back(decision: &Decision) -> bool {
    decision.action == Action::Reactivate || decision.reason == Reason::Reassigned
}

/// Why an update reached fewer rows than it names. Of several rows nobody asks: they are taken apart first.
async fn why_nothing_changed(
    connection: &mut Connection,
    layout: &Layout,
    piece: &[&(&Decision, LearnerId)],
    source: &str,
) -> Result<String, StoreError> {
    let [(decision, learner)] = piece else { return Ok("some of the rows were not changed".to_owned()) };
    let (table, id, active, other_state) = (&layout.table, layout.id(), layout.active("r"), layout.other_state("r"));
    let statement = Statement::new(format!(
        "SELECT EXISTS (SELECT 1 FROM {table} WHERE {id} = $1),
                (SELECT learner_id FROM sync_links WHERE source = $2 AND entra_id = $3),
                coalesce((SELECT {active} FROM {table} r WHERE r.{id} = $1), false),
                coalesce((SELECT {other_state} FROM {table} r WHERE r.{id} = $1), false)",
    ))
    .bind(layout.learner(Some(*learner)))
    .bind(source)
    .bind(decision.user.to_string());
    let row = connection.row(statement).await?;
    let (exists, linked): (bool, _) = (row.get(0)?, layout.optional_learner_at(&row, 1)?);
    let (active, other_state): (bool, bool) = (row.get_unchecked(2)?, row.get_unchecked(3)?);
    let switched = match decision.action {
        Action::Deactivate => !active,
        Action::Reactivate => active || other_state,
        Action::Create | Action::Update => false,
    };
    Ok(match (exists, linked) {
        (false, _) => "the learner row is gone".to_owned(),
        (true, None) => "the person is not linked to a learner any more".to_owned(),
        (true, Some(other)) if other != *learner => format!("the person is linked to learner {other} now"),
        (true, Some(_)) if switched => {
            "somebody else has switched the learner meanwhile; the next cycle looks".to_owned()
        }
        (true, Some(_)) => "the database did not change the row; a trigger of the table may have kept it".to_owned(),
    })
}

/// `UPDATE learners AS r SET user_name = r.user_name, updated_at = ..., title = v.column3 FROM (`
fn start_of_update(layout: &Layout, shape: &Shape, at: Timestamp) -> Statement<'static> {
    let user_name = layout.attribute(Attribute::UserName);
    // There must be something to set, and a table may have no place for anything of what follows.
    let itself = if shape.columns.contains(&Attribute::UserName) { None } else { Some(user_name) };
    let mut statement = Statement::new(format!("UPDATE {} AS r SET ", layout.table));
    let mut before = "";
    let mut next = |statement: &mut Statement<'_>, column: &str| {
        statement.push(before).push(column).push(" = ");
        before = ", ";
    };
    if let Some(column) = itself {
        next(&mut statement, column);
        statement.push("r.").push(column);
    }
    if let Some(column) = layout.name(Column::UpdatedAt) {
        next(&mut statement, column);
        statement.push_bind(at);
    }
    // An active row that has a time of deactivation says that somebody else switched it on; one that is adopted begins
    // anew with us.
    let switched_on =
        shape.action == Action::Reactivate || shape.returned || (shape.adopt && shape.action == Action::Update);
    if let Some(column) = layout.name(Column::DeactivatedAt) {
        if shape.action == Action::Deactivate {
            next(&mut statement, column);
            statement.push_bind(at);
        } else if switched_on {
            next(&mut statement, column);
            statement.push("NULL");
        }
    }
    if let (true, Some(column)) = (shape.adopt, layout.name(Column::ExternalId)) {
        next(&mut statement, column);
        statement.push(layout.cast_of(Column::ExternalId, "v.column2"));
    }
    for (attribute, number) in shape.columns.iter().zip(3..) {
        next(&mut statement, layout.attribute(*attribute));
        statement.push(layout.cast_of(Column::Attribute(*attribute), &format!("v.column{number}")));
    }
    statement.push(" FROM (");
    statement
}

/// Keeps in the links who was switched off by us, when the table has no column for that.
async fn mark_deactivated(
    connection: &mut Connection,
    layout: &Layout,
    decisions: &[Decision],
    context: &WriteContext<'_>,
) -> Result<(), DbError> {
    if layout.name(Column::DeactivatedAt).is_some() {
        return Ok(());
    }
    let off: fn(&Decision) -> bool = |decision| decision.action == Action::Deactivate;
    for (concerns, at) in [(off, Some(context.at)), (comes_back, None)] {
        let users = texts(decisions.iter().filter(|decision| concerns(decision)).map(|decision| &decision.user));
        for users in connection.lists(&users) {
            let mut statement = Statement::new("UPDATE sync_links SET switched_off_at = ");
            statement.push_bind(at).push(" WHERE source = ").push_bind(context.source).push(" AND entra_id IN");
            statement.push_list(users);
            connection.execute(statement).await?;
        }
    }
    Ok(())
}

/// Writes the ways users are assigned where the links say otherwise. Answers how many did.
pub(super) async fn write_routes(
    connection: &mut Connection,
    routes_by_text: &[(EntraId, &Routes)],
    source: &str,
) -> Result<u64, DbError> {
    let mut written = 0;
    for piece in connection.pieces(routes_by_text) {
        let mut statement = Statement::new("UPDATE sync_links SET via = v.column2 FROM (");
        statement.push_values(piece, |row, (user, routes)| {
            row.push_bind(user.to_string()).push_bind(Value::Json(routes_text(routes)));
        });
        statement.push(") AS v WHERE sync_links.entra_id = v.column1 AND sync_links.via <> v.column2");
        statement.push(" AND sync_links.source = ").push_bind(source);
        written += connection.execute(statement).await?;
    }
    Ok(written)
}

/// Ends what `table` remembers of these users. Answers how many rows that were.
pub(super) async fn forget(
    connection: &mut Connection,
    table: &'static str,
    source: &str,
    users: &[String],
) -> Result<u64, DbError> {
    let mut ended = 0;
    for users in connection.lists(users) {
        let mut statement = Statement::new(format!("DELETE FROM {table} WHERE source = "));
        statement.push_bind(source).push(" AND entra_id IN");
        statement.push_list(users);
        ended += connection.execute(statement).await?;
    }
    Ok(ended)
}

fn columns_of(decision: &Decision) -> Vec<Attribute> {
    decision.changes.iter().map(|changed| changed.attribute).collect()
}

fn push_new_values<'v>(row: &mut Tuple<'v>, layout: &'v Layout, decision: &'v Decision) {
    for changed in &decision.changes {
        row.push_bind(layout.stored(changed.attribute, changed.new.as_deref()));
    }
}
