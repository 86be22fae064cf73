//! A statement as SQLite takes it: a placeholder for each value, in few lengths, so that there are few texts.

use sqlx::sqlite::SqliteArguments;

use super::{Part, Statement};
use crate::store::value::Value;

/// How many rows one statement takes. 256 rows of all columns stay below the 32,766 placeholders of SQLite, and longer
/// statements are not faster.
const ROWS: [usize; 5] = [256, 64, 16, 4, 1];

/// How long a list is.
const LISTS: [usize; 4] = [4, 32, 256, LIST];

/// How many values one list takes at most.
pub(in crate::store) const LIST: usize = 1024;

/// How many of so many rows that are left the next statement takes.
pub(in crate::store) fn rows(left: usize) -> usize {
    ROWS.into_iter().find(|length| *length <= left).unwrap_or(left)
}

/// The text, and the values of its placeholders. They have no names: SQLite looks names up one by one, so that binding
/// the thousands of values of one statement would cost more than everything else.
pub(in crate::store) fn write(statement: Statement<'_>) -> Result<(String, SqliteArguments), sqlx::Error> {
    let (mut text, mut arguments) = (String::new(), SqliteArguments::default());
    for part in statement.parts {
        match part {
            Part::StateLabels(words) => text.push_str(&words),
            Part::Bound(value) => value.add_to_sqlite(&mut arguments)?,
            Part::Value(value) => {
                text.push('?');
                value.add_to_sqlite(&mut arguments)?;
            }
            Part::Rows(rows) => {
                text.push_str("VALUES ");
                let mut before = "";
                for row in rows {
                    text.push_str(before);
                    push_placeholders(&mut text, row.len());
                    for value in row {
                        value.add_to_sqlite(&mut arguments)?;
                    }
                    before = ", ";
                }
            }
            Part::List(values) => {
                let length = LISTS.into_iter().find(|length| values.len() <= *length).unwrap_or(values.len());
                // Filled up with null, which equals nothing.
                let rest = std::iter::repeat_n(Value::Text(None), length - values.len());
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
