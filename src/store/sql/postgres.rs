//! A statement as PostgreSQL takes it: an array for each column, so that any number of rows has the same text.
//!
//! The text names the type of each array. sqlx finds a prepared statement by its text alone, and PostgreSQL would read
//! the bytes of another type as what was there when it was prepared: a letter as a boolean.

use std::fmt::Write as _;
use std::mem;

use sqlx::postgres::{PgArguments, PgBindIterExt as _};
use sqlx::{Arguments as _, Error};

use super::{Part, Statement};
use crate::store::value::{Document, Moment, Value};

/// How many rows or values one statement takes: enough that the way to the server does not count, and not so many that
/// those of a first run fill the memory.
pub(in crate::store) const MANY: usize = 10_000;

/// How many of so many rows that are left the next statement takes.
pub(in crate::store) fn rows(left: usize) -> usize {
    left.min(MANY)
}

/// The text, and the values of its placeholders.
pub(in crate::store) fn write(statement: Statement<'_>) -> Result<(String, PgArguments), Error> {
    let (mut text, mut arguments) = (String::new(), PgArguments::default());
    for part in statement.parts {
        match part {
            Part::StateLabels(words) => text.push_str(&words),
            Part::Bound(value) => value.add_to_postgres(&mut arguments)?,
            Part::Value(value) => {
                value.add_to_postgres(&mut arguments)?;
                // A string takes everything.
                let _ = write!(text, "${}", arguments.len());
            }
            Part::Rows(rows) => {
                let columns = rows.first().map_or(0, Vec::len);
                let (mut arrays, mut names) = (Vec::with_capacity(columns), Vec::with_capacity(columns));
                for column in 0..columns {
                    let values: Vec<&Value<'_>> = rows.iter().filter_map(|row| row.get(column)).collect();
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

/// Adds `values` as one array; answers with its placeholder and type.
///
/// Values of several kinds go as text, which a column of any other type refuses, so that the row that is wrong is found
/// when it is alone.
fn array(arguments: &mut PgArguments, values: &[&Value<'_>]) -> Result<String, Error> {
    /// All values of one kind, each as PostgreSQL takes it.
    macro_rules! all {
        ($kind:ident, $inner:ident => $taken:expr) => {
            arguments.add(
                values.iter().map(|value| if let Value::$kind($inner) = value { $taken } else { None }).bind_iter(),
            )
        };
    }
    let of_one_kind = values.windows(2).all(|pair| mem::discriminant(pair[0]) == mem::discriminant(pair[1]));
    let (kind, added) = match values.first().filter(|_| of_one_kind) {
        Some(Value::Number(_)) => ("bigint[]", all!(Number, number => *number)),
        Some(Value::Boolean(_)) => ("boolean[]", all!(Boolean, value => *value)),
        Some(Value::Time(_)) => ("timestamptz[]", all!(Time, at => at.map(Moment))),
        Some(Value::Uuid(_)) => ("uuid[]", all!(Uuid, uuid => *uuid)),
        Some(Value::Json(_)) => ("jsonb[]", all!(Json, text => Some(Document(text)))),
        Some(Value::Text(_)) | None => ("text[]", arguments.add(values.iter().map(|value| value.text()).bind_iter())),
    };
    added.map_err(Error::Encode)?;
    Ok(format!("${}::{kind}", arguments.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_the_kind_of_a_column() {
        let at = jiff::Timestamp::UNIX_EPOCH;
        for (column, expected) in [
            (vec!["a".into(), Value::Text(None)], "text[]"),
            (vec![1.into(), Value::Number(None)], "bigint[]"),
            (vec![Value::Boolean(None), true.into()], "boolean[]"),
            (vec![Value::Time(None), at.into()], "timestamptz[]"),
            (vec![Value::Json("[]".to_owned())], "jsonb[]"),
            (vec![true.into(), "perhaps".into(), false.into()], "text[]"),
        ] {
            let mut statement = Statement::new("");
            statement.push_values(column, |row, value| {
                row.push_bind(value);
            });
            let expected = format!("SELECT * FROM unnest($1::{expected}) AS u (column1)");
            assert_eq!(write(statement).unwrap().0, expected);
        }
    }
}
