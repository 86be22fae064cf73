//! Statements for SQLite: a placeholder for each value, in few lengths, so that there are few texts.

use sqlx::Arguments as _;
use sqlx::sqlite::SqliteArguments;

use super::{Part, Statement};
use crate::store::db::value::SqlValue;

/// The numbers of rows in one statement. SQLite's thread and ours wake each other for each statement, so short ones cost
/// time; and a prepared one needs memory for each of its placeholders.
const CHUNK_LENGTHS: [usize; 4] = [512, 64, 8, 1];

/// The lengths of an `IN` list.
const LIST_LENGTHS: [usize; 4] = [4, 32, 256, MAX_LIST];

/// The most values in one `IN` list.
pub(in crate::store::db) const MAX_LIST: usize = 1024;

/// How many of `left` rows the next statement takes.
pub(in crate::store::db) fn next_chunk(left: usize) -> usize {
    CHUNK_LENGTHS.into_iter().find(|length| *length <= left).unwrap_or(left)
}

/// The text, and the values of its placeholders. The placeholders have no names: SQLite looks names up one by one, and
/// binding thousands of values by name would cost more than everything else.
pub(in crate::store::db) fn render(statement: Statement<'_>) -> Result<(String, SqliteArguments), sqlx::Error> {
    let (mut text, mut arguments) = (String::new(), SqliteArguments::default());
    for part in statement.parts {
        match part {
            Part::Sql(sql) => text.push_str(&sql),
            Part::Bound(value) => value.add_to_sqlite(&mut arguments)?,
            Part::Value(value) => {
                text.push('?');
                value.add_to_sqlite(&mut arguments)?;
            }
            Part::Rows { width, values } => {
                arguments.reserve(values.len(), 0);
                let mut row = String::new();
                push_placeholders(&mut row, width);
                for (before, value) in values.into_iter().enumerate() {
                    if before % width == 0 {
                        text.push_str(if before == 0 { "VALUES " } else { ", " });
                        text.push_str(&row);
                    }
                    value.add_to_sqlite(&mut arguments)?;
                }
            }
            Part::List(values) => {
                let length = LIST_LENGTHS.into_iter().find(|length| values.len() <= *length).unwrap_or(values.len());
                // Padded with null, which equals nothing.
                let rest = std::iter::repeat_n(SqlValue::Text(None), length - values.len());
                text.push(' ');
                push_placeholders(&mut text, length);
                text.push(' ');
                for value in values.into_iter().chain(rest) {
                    value.add_to_sqlite(&mut arguments)?;
                }
            }
        }
    }
    Ok((text, arguments))
}

/// `(?, ?, ?)`
fn push_placeholders(text: &mut String, count: usize) {
    let mut before = "(";
    for _ in 0..count {
        text.push_str(before);
        text.push('?');
        before = ", ";
    }
    text.push(')');
}
