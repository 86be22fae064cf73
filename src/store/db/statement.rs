//! A statement for either engine: SQL text with values, rows and lists of values in between.
//!
//! It is rendered for its engine only when it runs. The same text should occur again: sqlx caches prepared statements by
//! their text, and preparing one with a thousand placeholders costs more than running it.

pub(super) mod postgres;
pub(super) mod sqlite;

use std::fmt::{Display, Write as _};

use super::postgres::Encoding;
use super::value::SqlValue;

/// A statement under construction.
#[derive(Clone, Debug)]
pub(crate) struct Statement<'v> {
    parts: Vec<Part<'v>>,
}

#[derive(Clone, Debug)]
enum Part<'v> {
    Sql(String),
    /// A value whose placeholder is part of the text.
    Bound(SqlValue<'v>),
    /// A value that gets a placeholder here.
    Value(SqlValue<'v>),
    /// A table, row by row. The values of a column have one kind, unless one is wrong.
    Rows {
        width: usize,
        values: Vec<SqlValue<'v>>,
    },
    /// The list after `IN`.
    List(Vec<SqlValue<'v>>),
}

impl<'v> Statement<'v> {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { parts: vec![Part::Sql(text.into())] }
    }

    /// Binds a value to the next placeholder of the text. A statement with `$1`, `$2` and so on in its text has no other
    /// placeholders.
    pub(crate) fn bind(mut self, value: impl Into<SqlValue<'v>>) -> Self {
        self.parts.push(Part::Bound(value.into()));
        self
    }

    pub(crate) fn push(&mut self, text: impl Display) -> &mut Self {
        if let Some(Part::Sql(sql)) = self.parts.last_mut() {
            // Writing to a string never fails.
            let _ = write!(sql, "{text}");
        } else {
            self.parts.push(Part::Sql(text.to_string()));
        }
        self
    }

    /// Adds a placeholder with its value.
    pub(crate) fn push_bind(&mut self, value: impl Into<SqlValue<'v>>) -> &mut Self {
        self.parts.push(Part::Value(value.into()));
        self
    }

    /// Adds `VALUES (...), (...)` with a row for each of `items`, at least one. The columns of this table are `column1`,
    /// `column2` and so on.
    pub(crate) fn push_values<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut TupleBuilder<'v>, T),
    ) -> &mut Self {
        let (mut rows, mut width) = (TupleBuilder(Vec::new()), 0);
        for (before, item) in items.into_iter().enumerate() {
            fill(&mut rows, item);
            if before == 0 {
                width = rows.0.len();
            }
            debug_assert_eq!(rows.0.len(), (before + 1) * width);
        }
        debug_assert_ne!(width, 0);
        self.parts.push(Part::Rows { width, values: rows.0 });
        self
    }

    /// Adds `(value, value, ...)`, to follow `IN`. `values` must not be empty.
    pub(crate) fn push_list<T>(&mut self, values: &'v [T]) -> &mut Self
    where
        &'v T: Into<SqlValue<'v>>,
    {
        debug_assert!(!values.is_empty());
        self.parts.push(Part::List(values.iter().map(Into::into).collect()));
        self
    }
}

impl Statement<'_> {
    /// Passes each text to `each`.
    pub(super) fn each_text(&self, mut each: impl FnMut(&str)) {
        for part in &self.parts {
            match part {
                Part::Sql(_) => {}
                Part::Bound(value) | Part::Value(value) => value.with_text(&mut each),
                Part::Rows { width: _, values } | Part::List(values) => {
                    values.iter().for_each(|value| value.with_text(&mut each));
                }
            }
        }
    }

    /// Makes the values fit the encoding of the database. A value of a learner stays as it is, and the database refuses
    /// it: a row must not contain anything else than what Entra says.
    pub(super) fn fit(&mut self, encoding: &Encoding) {
        for part in &mut self.parts {
            match part {
                Part::Sql(_) => {}
                Part::Bound(value) | Part::Value(value) => value.escape(encoding),
                Part::Rows { width: _, values } => {
                    let loggable = values.iter_mut().filter(|value| value.is_loggable());
                    loggable.for_each(|value| value.escape(encoding));
                }
                // No row has such a value. Nulls, which equal nothing, keep the list from being empty.
                Part::List(values) => values.iter_mut().for_each(|value| value.drop_unfit(encoding)),
            }
        }
    }
}

/// A row under construction, after the rows before it.
pub(crate) struct TupleBuilder<'v>(Vec<SqlValue<'v>>);

impl<'v> TupleBuilder<'v> {
    pub(crate) fn push_bind(&mut self, value: impl Into<SqlValue<'v>>) -> &mut Self {
        self.0.push(value.into());
        self
    }
}

/// Cuts `all` into slices, in order. `length` gives the length of the next slice from the number of items left.
pub(super) fn chunks<T>(all: &[T], length: impl Fn(usize) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = all;
    std::iter::from_fn(move || {
        let (chunk, after) = rest.split_at_checked(length(rest.len()))?;
        rest = after;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// `name` as an SQL identifier.
pub(crate) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as an SQL literal.
pub(crate) fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_engine_gets_its_own_text() {
        let mut rows = Statement::new("UPDATE t SET a = ");
        rows.push_bind("a").push(" FROM (").push_values([(1, true), (2, false)], |row, (number, value)| {
            row.push_bind(number).push_bind(value);
        });
        rows.push(") AS v WHERE b = ").push_bind(3);
        let mut list = Statement::new("DELETE FROM t WHERE a = ");
        let numbers = [1, 2, 3].map(SqlValue::from);
        list.push_bind("a").push(" AND b IN").push_list(&numbers).push("AND c = ").push_bind(true);
        for (statement, for_sqlite, for_postgres) in [
            (Statement::new("SELECT $1, $2, $1").bind(1).bind("a"), "SELECT $1, $2, $1", "SELECT $1, $2, $1"),
            (
                rows,
                "UPDATE t SET a = ? FROM (VALUES (?, ?), (?, ?)) AS v WHERE b = ?",
                "UPDATE t SET a = $1 FROM (SELECT * FROM unnest($2::bigint[], $3::boolean[]) AS u (column1, column2)) \
                 AS v WHERE b = $4",
            ),
            (
                list,
                "DELETE FROM t WHERE a = ? AND b IN (?, ?, ?, ?) AND c = ?",
                "DELETE FROM t WHERE a = $1 AND b IN (SELECT unnest($2::bigint[])) AND c = $3",
            ),
        ] {
            assert_eq!(sqlite::render(statement.clone()).unwrap().0, for_sqlite);
            assert_eq!(postgres::render(statement).unwrap().0, for_postgres);
        }
    }

    #[test]
    fn sqlite_uses_few_chunk_lengths_and_postgres_any() {
        let lengths = |rows: usize, length: fn(usize) -> usize| {
            let rows = vec![(); rows];
            chunks(&rows, length).map(<[()]>::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(1100, sqlite::next_chunk), [512, 512, 64, 8, 1, 1, 1, 1]);
        assert_eq!(lengths(600, postgres::next_chunk), [600]);
        assert_eq!(lengths(2500, postgres::next_chunk), [1000, 1000, 500]);
        assert_eq!(lengths(0, sqlite::next_chunk), [0; 0]);
        assert_eq!(lengths(0, postgres::next_chunk), [0; 0]);
    }
}
