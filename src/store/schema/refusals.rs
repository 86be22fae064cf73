//! Messages for a row that the database refuses, which name our own constraints by their meaning.

use crate::model::foreign_text;
use crate::store::db::{RowRefusal, ViolatedKey};

/// The message of a trigger or of the database, for the learner database alone.
pub(crate) fn message_of(refusal: &RowRefusal) -> Option<String> {
    match refusal {
        RowRefusal::Other { message, .. } => Some(foreign_text(message)),
        _ => None,
    }
}

/// The reason as users read it. Names columns, never values.
pub(crate) fn describe_refusal(refusal: &RowRefusal) -> String {
    match refusal {
        RowRefusal::Duplicate { table, key } => match key {
            ViolatedKey::Columns(columns) if table == "sync_links" => {
                link_refusal(columns.iter().any(|column| column == "entra_id"))
            }
            ViolatedKey::Constraint(name) if name == "sync_links_person" => link_refusal(true),
            ViolatedKey::Constraint(name) if name == "sync_links_learner" => link_refusal(false),
            ViolatedKey::Columns(columns) => format!("another learner has the same {}", columns.join(", ")),
            ViolatedKey::Constraint(name) => format!("another learner has the same {}", column_of(table, name)),
        },
        RowRefusal::Null { column } => format!("{column} must have a value"),
        RowRefusal::Check { constraint } => format!("a check of the table fails: {constraint}"),
        RowRefusal::MissingReference { table: Some(table), .. } if table == "sync_links" => {
            "the learner row no longer exists".to_owned()
        }
        // SQLite does not name the key.
        RowRefusal::MissingReference { table: None, .. } => {
            "the learner row no longer exists, or a row that it refers to".to_owned()
        }
        RowRefusal::MissingReference { constraint, .. } => format!("a foreign key of the table fails: {constraint}"),
        RowRefusal::TooLong => "a value is longer than its column allows".to_owned(),
        RowRefusal::UnknownCharacter => {
            "a value contains a character that the encoding of the database lacks".to_owned()
        }
        RowRefusal::WrongType => "a value does not have the type of its column".to_owned(),
        RowRefusal::Policy => "a row-level security policy of the table refuses the row".to_owned(),
        RowRefusal::Other { sqlstate: Some(code), message: _ } => {
            format!("the database refuses the row (SQLSTATE {code})")
        }
        RowRefusal::Other { sqlstate: None, message: _ } => {
            "the database refuses the row; a trigger of the table may have raised an error".to_owned()
        }
    }
}

fn link_refusal(is_user: bool) -> String {
    match is_user {
        true => "the user is already linked to another learner".to_owned(),
        false => "the learner is already linked to another user".to_owned(),
    }
}

/// The column of a unique index, from its name: ours, or one that PostgreSQL itself chose.
fn column_of<'i>(table: &str, index: &'i str) -> &'i str {
    let column = index.strip_prefix(table).and_then(|rest| rest.strip_prefix('_')).unwrap_or(index);
    column.strip_suffix("_folded").or_else(|| column.strip_suffix("_key")).unwrap_or(column)
}
