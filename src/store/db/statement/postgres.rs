//! Statements for PostgreSQL: an array for each column, so that the text is the same for any number of rows.
//!
//! The text names the type of each array. sqlx finds a prepared statement by its text alone, and PostgreSQL would decode
//! the bytes of another type as the type it was prepared with: a letter as a boolean.

use std::fmt::Write as _;
use std::mem;

use sqlx::postgres::{PgArguments, PgBindIterExt as _};
use sqlx::{Arguments as _, Error};

use super::{Part, Statement};
use crate::store::db::value::{Jsonb, SqlValue, Timestamptz};

/// The most values in one list.
pub(in crate::store::db) const MAX_LIST: usize = 10_000;

/// The most rows in one statement: enough to make the round trip negligible, few enough that the server is never long
/// without work while the next ones are made.
const MAX_ROWS: usize = 1000;

/// How many of `left` rows the next statement takes.
pub(in crate::store::db) fn next_chunk(left: usize) -> usize {
    left.min(MAX_ROWS)
}

/// The text, and the values of its placeholders.
pub(in crate::store::db) fn render(statement: Statement<'_>) -> Result<(String, PgArguments), Error> {
    let (mut text, mut arguments) = (String::new(), PgArguments::default());
    for part in statement.parts {
        match part {
            Part::Sql(sql) => text.push_str(&sql),
            Part::Bound(value) => value.add_to_postgres(&mut arguments)?,
            Part::Value(value) => {
                value.add_to_postgres(&mut arguments)?;
                // Writing to a string never fails.
                let _ = write!(text, "${}", arguments.len());
            }
            Part::Rows { width, values } => {
                let (mut arrays, mut names) = (Vec::with_capacity(width), Vec::with_capacity(width));
                for column in 0..width {
                    let values: Vec<&SqlValue<'_>> = values.iter().skip(column).step_by(width).collect();
                    arrays.push(array(&mut arguments, &values)?);
                    names.push(format!("column{}", column + 1));
                }
                let (arrays, names) = (arrays.join(", "), names.join(", "));
                let _ = write!(text, "SELECT * FROM unnest({arrays}) AS u ({names})");
            }
            Part::List(values) => {
                // Not `= ANY`: without an index, PostgreSQL 13 would compare each row with each value.
                let array = array(&mut arguments, &values.iter().collect::<Vec<_>>())?;
                let _ = write!(text, " (SELECT unnest({array})) ");
            }
        }
    }
    Ok((text, arguments))
}

/// Adds `values` as one array; returns its placeholder and type.
///
/// Values of several kinds become text, which a column of another type refuses. Bisecting the batch then finds the wrong
/// row.
fn array(arguments: &mut PgArguments, values: &[&SqlValue<'_>]) -> Result<String, Error> {
    /// All values of one kind.
    macro_rules! all {
        ($kind:ident, $inner:ident => $taken:expr) => {
            arguments.add(
                values.iter().map(|value| if let SqlValue::$kind($inner) = value { $taken } else { None }).bind_iter(),
            )
        };
    }
    let of_one_kind = values.windows(2).all(|pair| mem::discriminant(pair[0]) == mem::discriminant(pair[1]));
    let (kind, added) = match values.first().filter(|_| of_one_kind) {
        Some(SqlValue::Number(_)) => ("bigint[]", all!(Number, number => *number)),
        Some(SqlValue::Boolean(_)) => ("boolean[]", all!(Boolean, value => *value)),
        Some(SqlValue::Time(_)) => ("timestamptz[]", all!(Time, at => at.map(Timestamptz))),
        Some(SqlValue::Uuid(_)) => ("uuid[]", all!(Uuid, uuid => *uuid)),
        Some(SqlValue::Json(_)) => ("jsonb[]", all!(Json, text => Some(Jsonb(text)))),
        Some(SqlValue::Text(_) | SqlValue::TextOf(..) | SqlValue::Loggable(_) | SqlValue::UuidText(_)) | None => {
            ("text[]", arguments.add(values.iter().map(|value| value.text()).bind_iter()))
        }
    };
    added.map_err(Error::Encode)?;
    Ok(match values.first().filter(|_| of_one_kind) {
        Some(SqlValue::TextOf(column, _)) => format!("${}::{kind}::{column}[]", arguments.len()),
        _ => format!("${}::{kind}", arguments.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_the_type_of_each_array() {
        let at = jiff::Timestamp::UNIX_EPOCH;
        for (column, expected) in [
            (vec!["a".into(), SqlValue::Text(None)], "text[]"),
            (vec![1.into(), SqlValue::Number(None)], "bigint[]"),
            (vec![SqlValue::Boolean(None), true.into()], "boolean[]"),
            (vec![SqlValue::Time(None), at.into()], "timestamptz[]"),
            (vec![SqlValue::Json("[]".into())], "jsonb[]"),
            (vec![true.into(), "perhaps".into(), false.into()], "text[]"),
        ] {
            let mut statement = Statement::new("");
            statement.push_values(column, |row, value| {
                row.push_bind(value);
            });
            let expected = format!("SELECT * FROM unnest($1::{expected}) AS u (column1)");
            assert_eq!(render(statement).unwrap().0, expected);
        }
    }
}
