//! The statements of a change: learner rows and links, many rows a statement.
//!
//! Within one call the order of the statements does not matter to the unique columns: who gives up a value that
//! somebody else in the same call wants is parked first.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::apply::{Stamp, Trouble};
use super::columns::stored;
use super::connection::Connection;
use super::coupling::unique_values;
use super::known::{texts, via_text};
use super::sql::{Statement, Tuple};
use super::value::Value;
use super::{log, word};
use crate::failpoint::{Step, reached};
use crate::model::{Action, Attribute, EntraId, LearnerId, Status, UniqueKey, Via};
use crate::plan::{Change, Target};

/// Carries out `changes` completely: learner rows, links, log rows, and the end of what was remembered of these
/// people. Answers with their learners, in the same order.
///
/// After an error the caller rolls back.
pub(super) async fn write(
    connection: &mut Connection,
    changes: &[&Change],
    stamp: &Stamp<'_>,
) -> Result<Vec<LearnerId>, Trouble> {
    park(connection, changes).await?;
    reached(Step::ValuesParked);
    let created = create(connection, changes, stamp.at).await?;
    reached(Step::LearnersCreated);
    let mut people = Vec::with_capacity(changes.len());
    for change in changes {
        let learner = match change.target {
            Target::New => created.get(&change.person).copied().ok_or_else(kept_out)?,
            Target::Adopt { learner, .. } | Target::Linked(learner) => learner,
        };
        people.push((*change, learner));
    }
    link(connection, &people, stamp.source, stamp.at).await?;
    reached(Step::LearnersLinked);
    update(connection, &people, stamp.source, stamp.at).await?;
    reached(Step::LearnersUpdated);

    // Somebody who leaves keeps the ways of the last sight.
    let seen = |change: &&Change| {
        matches!(change.target, Target::Linked(_))
            && change.action != Action::Deactivate
            && !change.via.routes().is_empty()
    };
    let vias: Vec<(EntraId, &Via)> =
        changes.iter().copied().filter(seen).map(|change| (change.person, &change.via)).collect();
    write_via(connection, &vias, stamp.source).await?;

    let entries: Vec<log::Entry<'_>> = people
        .iter()
        .map(|(change, learner)| log::Entry {
            action: change.action,
            status: Status::Success,
            person: change.person,
            learner: Some(*learner),
            user_name: change.user_name.as_deref(),
            reason: change.reason,
            detail: change.detail.as_deref(),
            changes: &change.changes,
        })
        .collect();
    log::write(connection, &entries, stamp).await?;
    reached(Step::ChangesLogged);

    let former: Vec<EntraId> = changes.iter().copied().filter_map(former).collect();
    let ids = texts(changes.iter().map(|change| &change.person).chain(&former));
    forget(connection, "sync_failures", stamp.source, &ids).await?;
    forget(connection, "sync_held", stamp.source, &ids).await?;
    Ok(people.into_iter().map(|(_, learner)| learner).collect())
}

fn kept_out() -> Trouble {
    Trouble::Refused("the database did not take the row; a trigger of the table may have kept it out".to_owned())
}

/// Moves aside every value that one of these changes gives up and another one wants, until its row gets its new one:
/// uniqueness is checked row by row, not at the end.
async fn park(connection: &mut Connection, changes: &[&Change]) -> Result<(), sqlx::Error> {
    let wanted: BTreeSet<UniqueKey> =
        changes.iter().flat_map(|change| unique_values(change, |changed| changed.new.as_deref())).collect();
    for attribute in Attribute::UNIQUE {
        let parked: Vec<i64> = changes
            .iter()
            .filter(|change| {
                unique_values(change, |changed| changed.old.as_deref())
                    .any(|key| key.attribute == attribute && wanted.contains(&key))
            })
            .filter_map(|change| change.target.learner())
            .map(|learner| learner.0)
            .collect();
        for learners in connection.lists(&parked) {
            let column = attribute.column();
            let mut statement = Statement::new(format!("UPDATE learners SET {column} = 'moving ' || id WHERE id IN"));
            statement.push_list(learners);
            connection.execute(statement).await?;
        }
    }
    Ok(())
}

async fn create(
    connection: &mut Connection,
    changes: &[&Change],
    at: Timestamp,
) -> Result<BTreeMap<EntraId, LearnerId>, Trouble> {
    let mut groups: BTreeMap<Vec<Attribute>, Vec<&Change>> = BTreeMap::new();
    for change in changes.iter().filter(|change| change.target == Target::New) {
        groups.entry(columns_of(change)).or_default().push(change);
    }
    let mut created = BTreeMap::new();
    for (columns, group) in groups {
        for piece in connection.pieces(&group) {
            let mut statement = Statement::new("INSERT INTO learners (external_id, created_at, updated_at");
            for attribute in &columns {
                statement.push(", ").push(attribute.column());
            }
            statement.push(") ");
            statement.push_values(piece, |row, change| {
                row.push_bind(change.person.to_string()).push_bind(at).push_bind(at);
                push_new_values(row, change);
            });
            statement.push(" RETURNING id, external_id");
            for row in connection.rows(statement).await? {
                let person = word(row.get_unchecked(1)?, "learners.external_id")?;
                created.insert(person, LearnerId(row.get_unchecked(0)?));
            }
        }
    }
    Ok(created)
}

/// Whose learner it was until now.
fn former(change: &Change) -> Option<EntraId> {
    match change.target {
        Target::Adopt { from, .. } => from,
        Target::New | Target::Linked(_) => None,
    }
}

async fn link(
    connection: &mut Connection,
    people: &[(&Change, LearnerId)],
    source: &str,
    at: Timestamp,
) -> Result<(), Trouble> {
    let new: Vec<&(&Change, LearnerId)> =
        people.iter().filter(|(change, _)| !matches!(change.target, Target::Linked(_))).collect();
    for (person, learner) in people.iter().filter_map(|(change, learner)| Some((former(change)?, learner))) {
        let statement =
            Statement::new("DELETE FROM sync_links WHERE source = $1 AND entra_id = $2 AND learner_id = $3");
        let statement = statement.bind(source).bind(person.to_string()).bind(learner.0);
        if connection.execute(statement).await? != 1 {
            return Err(Trouble::Refused(format!("the learner is not linked to {person} any more")));
        }
    }
    for piece in connection.pieces(&new) {
        let mut statement = Statement::new("INSERT INTO sync_links (source, entra_id, learner_id, via, linked_at) ");
        statement.push_values(piece, |row, (change, learner)| {
            row.push_bind(source).push_bind(change.person.to_string()).push_bind(learner.0);
            row.push_bind(Value::Json(via_text(&change.via))).push_bind(at);
        });
        // A link whose learner was deleted past the foreign key (sqlite3 does not enforce them) is as good as none.
        statement.push(
            " ON CONFLICT (source, entra_id) DO UPDATE
                 SET learner_id = excluded.learner_id, via = excluded.via, linked_at = excluded.linked_at
                 WHERE NOT EXISTS (SELECT 1 FROM learners WHERE learners.id = sync_links.learner_id)",
        );
        if connection.execute(statement).await? != piece.len() as u64 {
            return Err(Trouble::Refused("the person is linked to another learner already".to_owned()));
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
}

async fn update(
    connection: &mut Connection,
    people: &[(&Change, LearnerId)],
    source: &str,
    at: Timestamp,
) -> Result<(), Trouble> {
    let mut groups: BTreeMap<Shape, Vec<&(&Change, LearnerId)>> = BTreeMap::new();
    for pair in people.iter().filter(|(change, _)| change.target != Target::New) {
        let (change, _) = pair;
        let adopt = matches!(change.target, Target::Adopt { .. });
        groups.entry(Shape { columns: columns_of(change), adopt, action: change.action }).or_default().push(pair);
    }
    for (shape, group) in groups {
        for piece in connection.pieces(&group) {
            let mut statement = start_of_update(&shape, at);
            statement.push_values(piece, |row, (change, learner)| {
                row.push_bind(learner.0).push_bind(change.person.to_string());
                push_new_values(row, change);
            });
            // Nobody's learner but the person's own, linked by this source, whatever the plan was made from.
            statement.push(
                ") AS v, sync_links AS l
                 WHERE learners.id = v.column1 AND l.learner_id = v.column1 AND l.entra_id = v.column2 AND l.source = ",
            );
            statement.push_bind(source);
            if connection.execute(statement).await? != piece.len() as u64 {
                return Err(Trouble::Refused(why_nothing_changed(connection, piece, source).await?));
            }
        }
    }
    Ok(())
}

/// Why an update reached fewer rows than it names. Of several rows nobody asks: they are taken apart first.
async fn why_nothing_changed(
    connection: &mut Connection,
    piece: &[&(&Change, LearnerId)],
    source: &str,
) -> Result<String, sqlx::Error> {
    let [(change, learner)] = piece else { return Ok("some of the rows were not changed".to_owned()) };
    let statement = Statement::new(
        "SELECT EXISTS (SELECT 1 FROM learners WHERE id = $1),
                (SELECT learner_id FROM sync_links WHERE source = $2 AND entra_id = $3)",
    )
    .bind(learner.0)
    .bind(source)
    .bind(change.person.to_string());
    let row = connection.row(statement).await?;
    let (exists, linked): (bool, Option<i64>) = (row.get(0)?, row.get(1)?);
    Ok(match (exists, linked) {
        (false, _) => "the learner row is gone".to_owned(),
        (true, None) => "the person is not linked to a learner any more".to_owned(),
        (true, Some(other)) if other != learner.0 => format!("the person is linked to learner {other} now"),
        (true, Some(_)) => "the database did not change the row; a trigger of the table may have kept it".to_owned(),
    })
}

/// `UPDATE learners SET updated_at = ..., title = v.column3 FROM (`
fn start_of_update(shape: &Shape, at: Timestamp) -> Statement<'static> {
    let mut statement = Statement::new("UPDATE learners SET updated_at = ");
    statement.push_bind(at);
    match shape.action {
        Action::Deactivate => {
            statement.push(", deactivated_at = ").push_bind(at);
        }
        Action::Reactivate => {
            statement.push(", deactivated_at = NULL");
        }
        Action::Create | Action::Update => {}
    }
    if shape.adopt {
        statement.push(", external_id = v.column2");
        // An active row that has one says that somebody else switched it on; this one begins anew with us.
        if shape.action == Action::Update {
            statement.push(", deactivated_at = NULL");
        }
    }
    for (attribute, number) in shape.columns.iter().zip(3..) {
        statement.push(format_args!(", {} = v.column{number}", attribute.column()));
    }
    statement.push(" FROM (");
    statement
}

/// Writes the ways people are assigned where the links say otherwise. Answers how many did.
pub(super) async fn write_via(
    connection: &mut Connection,
    vias: &[(EntraId, &Via)],
    source: &str,
) -> Result<u64, sqlx::Error> {
    let mut written = 0;
    for piece in connection.pieces(vias) {
        let mut statement = Statement::new("UPDATE sync_links SET via = v.column2 FROM (");
        statement.push_values(piece, |row, (person, via)| {
            row.push_bind(person.to_string()).push_bind(Value::Json(via_text(via)));
        });
        statement.push(") AS v WHERE sync_links.entra_id = v.column1 AND sync_links.via <> v.column2");
        statement.push(" AND sync_links.source = ").push_bind(source);
        written += connection.execute(statement).await?;
    }
    Ok(written)
}

/// Ends what `table` remembers of these people. Answers how many rows that were.
pub(super) async fn forget(
    connection: &mut Connection,
    table: &'static str,
    source: &str,
    people: &[String],
) -> Result<u64, sqlx::Error> {
    let mut ended = 0;
    for people in connection.lists(people) {
        let mut statement = Statement::new(format!("DELETE FROM {table} WHERE source = "));
        statement.push_bind(source).push(" AND entra_id IN");
        statement.push_list(people);
        ended += connection.execute(statement).await?;
    }
    Ok(ended)
}

fn columns_of(change: &Change) -> Vec<Attribute> {
    change.changes.iter().map(|changed| changed.attribute).collect()
}

fn push_new_values<'v>(row: &mut Tuple<'v>, change: &'v Change) {
    for changed in &change.changes {
        row.push_bind(stored(changed.attribute, changed.new.as_deref()));
    }
}
