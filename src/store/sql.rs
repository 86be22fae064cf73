//! Statements in the making, for whichever database: words, with values, rows and lists of values between them.
//!
//! Only when it is run is a statement written as its database takes it. The text must repeat: sqlx keeps a prepared
//! statement only for a text it has seen, and preparing one of a thousand placeholders costs more than running it.

pub(super) mod postgres;
pub(super) mod sqlite;

use std::fmt::{Display, Write as _};

use super::value::Value;

/// A statement in the making.
#[derive(Clone, Debug)]
pub(super) struct Statement<'v> {
    parts: Vec<Part<'v>>,
}

#[derive(Clone, Debug)]
enum Part<'v> {
    StateLabels(String),
    /// A value whose placeholder stands in the words.
    Bound(Value<'v>),
    /// A value that gets a placeholder here.
    Value(Value<'v>),
    /// A table; all rows have the same number of values, and those of a column are of one kind unless one is wrong.
    Rows(Vec<Vec<Value<'v>>>),
    /// What stands behind `IN`.
    List(Vec<Value<'v>>),
}

impl<'v> Statement<'v> {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { parts: vec![Part::StateLabels(text.into())] }
    }

    /// Gives the next placeholder, which stands in the text already, its value. A statement with `$1`, `$2` and so on in
    /// its text has no other placeholders.
    pub(super) fn bind(mut self, value: impl Into<Value<'v>>) -> Self {
        self.parts.push(Part::Bound(value.into()));
        self
    }

    pub(super) fn push(&mut self, text: impl Display) -> &mut Self {
        if let Some(Part::StateLabels(words)) = self.parts.last_mut() {
            // A string takes everything.
            let _ = write!(words, "{text}");
        } else {
            self.parts.push(Part::StateLabels(text.to_string()));
        }
        self
    }

    /// Adds a placeholder, and its value.
    pub(super) fn push_bind(&mut self, value: impl Into<Value<'v>>) -> &mut Self {
        self.parts.push(Part::Value(value.into()));
        self
    }

    /// Adds `VALUES (...), (...)`, with a row for each of `items`, of which there is at least one. As a table its columns
    /// are `column1`, `column2` and so on.
    pub(super) fn push_values<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Tuple<'v>, T),
    ) -> &mut Self {
        let row = |item| {
            let mut row = Tuple(Vec::new());
            fill(&mut row, item);
            row.0
        };
        let rows: Vec<Vec<Value<'v>>> = items.into_iter().map(row).collect();
        debug_assert!(!rows.is_empty() && rows.iter().all(|row| row.len() == rows[0].len()));
        self.parts.push(Part::Rows(rows));
        self
    }

    /// Adds `(value, value, ...)`, to stand behind `IN`. Takes at least one value.
    pub(super) fn push_list<T>(&mut self, values: &'v [T]) -> &mut Self
    where
        &'v T: Into<Value<'v>>,
    {
        debug_assert!(!values.is_empty());
        self.parts.push(Part::List(values.iter().map(Into::into).collect()));
        self
    }
}

/// A row in the making.
pub(super) struct Tuple<'v>(Vec<Value<'v>>);

impl<'v> Tuple<'v> {
    pub(super) fn push_bind(&mut self, value: impl Into<Value<'v>>) -> &mut Self {
        self.0.push(value.into());
        self
    }
}

/// Cuts `all` into pieces, in order, each as long as `length` says of what is left.
pub(super) fn pieces<T>(all: &[T], length: impl Fn(usize) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = all;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at_checked(length(rest.len()))?;
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_database_gets_its_own_text() {
        let mut rows = Statement::new("UPDATE t SET a = ");
        rows.push_bind("a").push(" FROM (").push_values([(1, true), (2, false)], |row, (number, value)| {
            row.push_bind(number).push_bind(value);
        });
        rows.push(") AS v WHERE b = ").push_bind(3);
        let mut list = Statement::new("DELETE FROM t WHERE a = ");
        list.push_bind("a").push(" AND b IN").push_list(&[1, 2, 3]).push("AND c = ").push_bind(true);
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
            assert_eq!(sqlite::write(statement.clone()).unwrap().0, for_sqlite);
            assert_eq!(postgres::write(statement).unwrap().0, for_postgres);
        }
    }

    #[test]
    fn sqlite_takes_a_few_lengths_and_postgres_any() {
        let lengths = |rows: usize, length: fn(usize) -> usize| {
            let rows = vec![(); rows];
            pieces(&rows, length).map(<[()]>::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(600, sqlite::rows), [256, 256, 64, 16, 4, 4]);
        assert_eq!(lengths(600, postgres::rows), [600]);
        assert_eq!(lengths(25_000, postgres::rows), [10_000, 10_000, 5_000]);
        assert_eq!(lengths(0, sqlite::rows), [0; 0]);
        assert_eq!(lengths(0, postgres::rows), [0; 0]);
    }
}
