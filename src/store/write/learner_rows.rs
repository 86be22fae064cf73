//! The rows of learners: many rows in each statement.
//!
//! The order of the decisions does not matter for unique columns, because conflicting values are parked first.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::links::reactivates;
use super::{ApplyError, WriteSession, insert_verb};
use crate::model::{Action, Attribute, Column, EntraId, LearnerId, UniqueKey, fold};
use crate::plan::{Decision, TargetRow, unique_values};
use crate::store::db::{Connection, DbError, SqlRow, Statement, TupleBuilder, quote_identifier};
use crate::store::error::StoreError;
use crate::store::table::{Layout, next_number};

/// Replaces every unique value that one decision gives up and another one needs by a temporary value, until its row gets
/// the new one: the database checks uniqueness row by row.
pub(super) async fn park_unique_values(session: &mut WriteSession<'_>, decisions: &[&Decision]) -> Result<(), DbError> {
    let WriteSession { connection, layout, .. } = session;
    let given_up = |decision: &&&Decision| unique_values(decision, |changed| changed.old).next().is_some();
    let givers: Vec<&Decision> = decisions.iter().filter(given_up).copied().collect();
    if givers.is_empty() {
        return Ok(());
    }
    let wanted: BTreeSet<UniqueKey<'_>> =
        decisions.iter().flat_map(|decision| unique_values(decision, |changed| changed.new)).collect();
    for attribute in Attribute::UNIQUE {
        let parked: Vec<&LearnerId> = givers
            .iter()
            .filter(|decision| {
                unique_values(decision, |changed| changed.old)
                    .any(|key| key.attribute == attribute && wanted.contains(&key))
            })
            .filter_map(|decision| decision.row.learner())
            .collect();
        let mut number: u32 = rand::random();
        for learners in connection.row_chunks(&parked) {
            let (table, id, column) = (&layout.table, layout.id(), layout.attribute(attribute));
            let value = layout.cast_of(Column::Attribute(attribute), "v.column2");
            let mut statement = Statement::new(format!("UPDATE {table} AS r SET {column} = {value} FROM ("));
            statement.push_values(learners, |row, learner| {
                number = number.wrapping_add(1);
                // The form of an address, because the table may have a check. Never the id, which may be as long as the
                // column.
                let temporary = format!("moving.{number:x}@learner-sync.invalid");
                row.push_bind(layout.learner_value(Some(learner))).push_bind(temporary);
            });
            statement.push(format_args!(") AS v WHERE r.{id} = v.column1"));
            connection.execute(statement).await?;
        }
    }
    Ok(())
}

/// Creates the new rows; returns their ids by user.
pub(super) async fn create_rows(
    session: &mut WriteSession<'_>,
    decisions: &[&Decision],
    faithful: bool,
) -> Result<BTreeMap<EntraId, LearnerId>, ApplyError> {
    let (layout, context) = (session.layout, session.context);
    let mut groups: BTreeMap<Vec<Attribute>, Vec<&Decision>> = BTreeMap::new();
    for decision in decisions.iter().copied().filter(|decision| decision.row == TargetRow::New) {
        groups.entry(columns_of(decision)).or_default().push(decision);
    }
    let insert = insert_verb(session.connection, faithful);
    let mut created = BTreeMap::new();
    if groups.is_empty() {
        return Ok(created);
    }
    let mut next = if faithful { next_number(session.connection, layout).await? } else { None };
    for (columns, group) in groups {
        // Where neither we nor this transaction know the id, the database does.
        let ids: Option<Vec<LearnerId>> = match (layout.generator(), next) {
            (Some(generator), _) => {
                Some(group.iter().map(|_| layout.generate_learner(generator, context.at)).collect())
            }
            (None, Some(first)) => {
                next = first.checked_add_unsigned(group.len() as u64);
                next.map(|after| (first..after).map(LearnerId::Number).collect())
            }
            (None, None) => None,
        };
        let rows: Vec<(&Decision, Option<&LearnerId>)> = match &ids {
            Some(ids) => group.iter().copied().zip(ids.iter().map(Some)).collect(),
            None => group.iter().map(|decision| (*decision, None)).collect(),
        };
        let statements =
            session.connection.row_chunks(&rows).map(|chunk| insert_rows(insert, layout, context.at, &columns, chunk));
        match &ids {
            Some(ids) if faithful => {
                if session.connection.execute_each(statements).await? != group.len() as u64 {
                    return Err(missing_row());
                }
                created.extend(group.iter().map(|decision| decision.user).zip(ids.iter().cloned()));
            }
            _ => created.extend(insert_and_read_ids(session.connection, layout, statements, &group).await?),
        }
    }
    Ok(created)
}

/// Why a row was not created.
pub(super) fn missing_row() -> ApplyError {
    ApplyError::Refused("the database did not create the row; a trigger of the table may have prevented it".into())
}

/// Runs `inserts`; returns the ids of the new rows by user. A trigger may have replaced or removed rows.
async fn insert_and_read_ids<'v>(
    connection: &mut Connection,
    layout: &Layout,
    inserts: impl Iterator<Item = Statement<'v>>,
    group: &[&Decision],
) -> Result<Vec<(EntraId, LearnerId)>, ApplyError> {
    // Identifies each new row: the Entra id, or else the unique user name.
    let external_id = layout.external_id("");
    let users: BTreeMap<Cow<'_, str>, EntraId> = group
        .iter()
        .map(|decision| match external_id {
            Some(_) => (decision.user.to_string().into(), decision.user),
            None => (new_name(decision), decision.user),
        })
        .collect();
    let identifier = external_id.as_deref().unwrap_or(layout.attribute(Attribute::UserName));
    let inserts = inserts.map(|mut insert| {
        insert.push(format_args!(" RETURNING {}, {identifier}", layout.id()));
        insert
    });
    let mut created = Vec::with_capacity(group.len());
    let read = |row: SqlRow| {
        let identifier: String = row.get_unchecked(1)?;
        if let Some(user) = users.get(&*fold(&identifier)) {
            created.push((*user, layout.learner_at(&row, 0)?));
        }
        Ok::<_, ApplyError>(())
    };
    connection.run_each(inserts, read).await?;
    Ok(created)
}

/// The user name of a new row, folded for comparison.
fn new_name(decision: &Decision) -> Cow<'_, str> {
    let changed = decision.changes.iter().find(|changed| changed.attribute == Attribute::UserName);
    changed.and_then(|changed| changed.new).map(fold).unwrap_or_default()
}

/// Inserts the rows of `chunk`: the time, the constants, the user, the attributes, and the id where it is known.
fn insert_rows<'v>(
    insert: &str,
    layout: &'v Layout,
    at: Timestamp,
    attributes: &[Attribute],
    chunk: &[(&'v Decision, Option<&'v LearnerId>)],
) -> Statement<'v> {
    let times = [Column::CreatedAt, Column::UpdatedAt];
    let times: Vec<(String, String)> = times
        .into_iter()
        .filter_map(|column| Some((layout.name(column)?.to_owned(), layout.cast_of(column, ""))))
        .collect();
    let constants = layout.constants.iter().map(|(name, constant)| (quote_identifier(name), constant.clone()));
    let mapped = attributes.iter().map(|attribute| Column::Attribute(*attribute)).zip(2..);
    let given = [(Column::ExternalId, 1)].into_iter().chain(mapped).filter_map(|(column, number)| {
        let value = layout.cast_of(column, &format!("v.column{number}"));
        Some((layout.name(column)?.to_owned(), value))
    });
    let has_ids = chunk.iter().all(|(_, id)| id.is_some());
    let id = has_ids.then(|| (layout.id().to_owned(), format!("v.column{}", attributes.len() + 2)));
    let (names, values): (Vec<String>, Vec<String>) = constants.chain(given).chain(id).unzip();
    let all_names: Vec<&str> = times.iter().map(|(name, _)| name).chain(&names).map(String::as_str).collect();
    let all_names = all_names.join(", ");
    let mut statement = Statement::new(format!("{insert} INTO {} ({all_names}) SELECT ", layout.table));
    for (_, cast) in times {
        statement.push_bind(at).push(cast).push(", ");
    }
    statement.push(values.join(", ")).push(" FROM (");
    statement.push_values(chunk, |row, (decision, id)| {
        row.push_bind(decision.user);
        push_new_values(row, layout, decision);
        if id.is_some() {
            row.push_bind(layout.learner_value(*id));
        }
    });
    statement.push(") AS v");
    statement
}

/// The decisions with the same shape share one UPDATE statement.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct UpdateShape {
    columns: Vec<Attribute>,
    adopt: bool,
    action: Action,
    reactivates: bool,
}

/// Updates the rows of linked and adopted learners.
pub(super) async fn update_rows(
    session: &mut WriteSession<'_>,
    users: &[(&Decision, LearnerId)],
) -> Result<(), ApplyError> {
    let (layout, context) = (session.layout, session.context);
    let mut groups: BTreeMap<UpdateShape, Vec<&(&Decision, LearnerId)>> = BTreeMap::new();
    for pair in users.iter().filter(|(decision, _)| decision.row != TargetRow::New) {
        let (decision, _) = pair;
        let adopt = matches!(decision.row, TargetRow::Adopt(_));
        let (columns, action, reactivates) = (columns_of(decision), decision.action, reactivates(decision));
        groups.entry(UpdateShape { columns, adopt, action, reactivates }).or_default().push(pair);
    }
    for (shape, group) in groups {
        let statements = session.connection.row_chunks(&group).map(|chunk| {
            let mut statement = start_update(layout, &shape, context.at);
            statement.push_values(chunk, |row, (decision, learner)| {
                row.push_bind(layout.learner_value(Some(learner))).push_bind(decision.user);
                push_new_values(row, layout, decision);
            });
            // Only the learner that this source linked to the user, whatever the plan assumed.
            statement.push(format_args!(
                ") AS v, sync_links AS l
                 WHERE r.{} = v.column1 AND l.learner_id = v.column1 AND l.entra_id = v.column2 AND l.source = ",
                layout.id(),
            ));
            statement.push_bind(context.source).push(" AND ").push(layout.within("r"));
            // Only if no other program has changed the state since it was read.
            match shape.action {
                Action::Deactivate => statement.push(" AND ").push(layout.active("r")),
                Action::Reactivate => {
                    statement.push(" AND NOT ").push(layout.active("r")).push(" AND NOT ").push(layout.other_state("r"))
                }
                Action::Create | Action::Update => &mut statement,
            };
            statement
        });
        if session.connection.execute_each(statements).await? != group.len() as u64 {
            return Err(ApplyError::Refused(explain_missing_update(session, &group).await?.into()));
        }
    }
    Ok(())
}

/// Why a row is not a learner any more.
pub(super) const OUTSIDE: &str = "the row does not carry the limiting values of [learners.constants]";

/// Why an update changed fewer rows than expected. Several rows are bisected first, so their reason is never shown.
async fn explain_missing_update(
    session: &mut WriteSession<'_>,
    group: &[&(&Decision, LearnerId)],
) -> Result<String, StoreError> {
    let WriteSession { connection, layout, context, .. } = session;
    let [(decision, learner)] = group else { return Ok("some of the rows were not changed".to_owned()) };
    let (table, id, active, other_state) = (&layout.table, layout.id(), layout.active("r"), layout.other_state("r"));
    let outside = layout.outside("r");
    let statement = Statement::new(format!(
        "SELECT EXISTS (SELECT 1 FROM {table} WHERE {id} = $1),
                (SELECT learner_id FROM sync_links WHERE source = $2 AND entra_id = $3),
                coalesce((SELECT {active} FROM {table} r WHERE r.{id} = $1), false),
                coalesce((SELECT {other_state} FROM {table} r WHERE r.{id} = $1), false),
                coalesce((SELECT {outside} FROM {table} r WHERE r.{id} = $1), false)",
    ))
    .bind(layout.learner_value(Some(learner)))
    .bind(context.source)
    .bind(decision.user);
    let row = connection.row(statement).await?;
    let (exists, linked): (bool, _) = (row.get(0)?, layout.optional_learner_at(&row, 1)?);
    let (active, other_state): (bool, bool) = (row.get_unchecked(2)?, row.get_unchecked(3)?);
    let outside: bool = row.get_unchecked(4)?;
    let changed_meanwhile = match decision.action {
        Action::Deactivate => !active,
        Action::Reactivate => active || other_state,
        Action::Create | Action::Update => false,
    };
    Ok(match (exists, linked) {
        (false, _) => "the learner row no longer exists".to_owned(),
        (true, None) => "the user is not linked to a learner any more".to_owned(),
        (true, Some(other)) if other != *learner => "the user is linked to another learner now".to_owned(),
        (true, Some(_)) if outside => OUTSIDE.to_owned(),
        (true, Some(_)) if changed_meanwhile => {
            "another program changed the state of the learner meanwhile; the next cycle checks it again".to_owned()
        }
        (true, Some(_)) => {
            "the database did not change the row; a trigger of the table may have prevented it".to_owned()
        }
    })
}

/// `UPDATE learners AS r SET user_name = r.user_name, updated_at = ..., title = v.column3 FROM (`
fn start_update(layout: &Layout, shape: &UpdateShape, at: Timestamp) -> Statement<'static> {
    let mut statement = Statement::new(format!("UPDATE {} AS r SET ", layout.table));
    let mut before = "";
    let mut next = |statement: &mut Statement<'_>, column: &str| {
        statement.push(before).push(column).push(" = ");
        before = ", ";
    };
    // UPDATE needs at least one column, and the table may lack all of the following.
    if !shape.columns.contains(&Attribute::UserName) {
        let column = layout.attribute(Attribute::UserName);
        next(&mut statement, column);
        statement.push("r.").push(column);
    }
    if let Some(column) = layout.name(Column::UpdatedAt) {
        next(&mut statement, column);
        statement.push_bind(at);
    }
    // An active row with a time of deactivation means that another program reactivated it. An adopted row starts without.
    let clear_deactivated = shape.reactivates || (shape.adopt && shape.action == Action::Update);
    if let Some(column) = layout.name(Column::DeactivatedAt) {
        if shape.action == Action::Deactivate {
            next(&mut statement, column);
            statement.push_bind(at);
        } else if clear_deactivated {
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

fn columns_of(decision: &Decision) -> Vec<Attribute> {
    decision.changes.iter().map(|changed| changed.attribute).collect()
}

fn push_new_values<'v>(row: &mut TupleBuilder<'v>, layout: &'v Layout, decision: &'v Decision) {
    for changed in decision.changes.iter() {
        row.push_bind(layout.encode(changed.attribute, changed.new));
    }
}
