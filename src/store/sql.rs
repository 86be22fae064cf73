//! Building statements over many rows so that their text repeats: sqlx keeps a prepared statement only for a text it
//! has seen, and preparing one of a thousand placeholders costs more than running it.
//!
//! The text is the same for both databases: `$1`, `$2` and so on stand for the values in their order.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

use super::value::Value;

/// A statement in the making.
#[derive(Clone, Debug)]
pub(super) struct Statement<'v> {
    pub(super) text: String,
    pub(super) values: Vec<Value<'v>>,
}

impl<'v> Statement<'v> {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), values: Vec::new() }
    }

    /// Gives the next placeholder, which stands in the text already, its value.
    pub(super) fn bind(mut self, value: impl Into<Value<'v>>) -> Self {
        self.values.push(value.into());
        self
    }

    pub(super) fn push(&mut self, text: impl Display) -> &mut Self {
        // A string takes everything.
        let _ = write!(self.text, "{text}");
        self
    }

    /// Adds a placeholder, and its value.
    pub(super) fn push_bind(&mut self, value: impl Into<Value<'v>>) -> &mut Self {
        self.values.push(value.into());
        let number = self.values.len();
        self.push(format_args!("${number}"))
    }

    /// Adds `VALUES (...), (...)`, with a row for each of `items`.
    pub(super) fn push_values<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Tuple<'_, 'v>, T),
    ) -> &mut Self {
        let mut before = "VALUES (";
        for item in items {
            self.push(before);
            fill(&mut Tuple { statement: self, before: "" }, item);
            before = "), (";
        }
        self.push(")")
    }

    /// Adds `(value, value, ...)`. Takes 1 to [`LIST`] values.
    pub(super) fn push_list<T>(&mut self, values: &'v [T]) -> &mut Self
    where
        &'v T: Into<Value<'v>>,
    {
        debug_assert!(!values.is_empty() && values.len() <= LIST);
        let length = LISTS.into_iter().find(|length| values.len() <= *length).unwrap_or(values.len());
        self.push(" (");
        let mut list = Tuple { statement: self, before: "" };
        for value in values.iter().chain(values.last().into_iter().cycle()).take(length) {
            list.push_bind(value);
        }
        self.push(") ")
    }
}

/// `text` with `?` in place of `$1`, `$2` and so on, when each stands there once and in its order.
///
/// SQLite takes `$1` for a name and looks names up one by one, so that binding the thousands of values of one statement
/// would cost more than everything else.
pub(super) fn for_sqlite(text: &str) -> Cow<'_, str> {
    let mut pieces = text.split('$');
    let mut plain = String::with_capacity(text.len());
    plain.push_str(pieces.next().unwrap_or_default());
    for (number, piece) in (1..).zip(pieces) {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        let (found, rest) = piece.split_at(digits);
        if found.parse() != Ok(number) {
            return Cow::Borrowed(text);
        }
        plain.push('?');
        plain.push_str(rest);
    }
    Cow::Owned(plain)
}

/// Values between parentheses.
pub(super) struct Tuple<'s, 'v> {
    statement: &'s mut Statement<'v>,
    before: &'static str,
}

impl<'v> Tuple<'_, 'v> {
    pub(super) fn push(&mut self, text: impl Display) -> &mut Self {
        self.statement.push(self.before).push(text);
        self.before = ", ";
        self
    }

    pub(super) fn push_bind(&mut self, value: impl Into<Value<'v>>) -> &mut Self {
        self.statement.push(self.before).push_bind(value);
        self.before = ", ";
        self
    }
}

/// How many rows one statement takes. Few lengths, so few texts; 256 rows of all columns stay below the 32,766
/// placeholders of SQLite, and longer statements are not faster.
const LENGTHS: [usize; 5] = [256, 64, 16, 4, 1];

/// The lengths of `in (...)` lists, which can be filled up with a repetition.
const LISTS: [usize; 4] = [4, 32, 256, 1024];

/// How many values one list takes at most.
pub(super) const LIST: usize = LISTS[3];

/// Cuts `all` into pieces of the fixed lengths, in order.
pub(super) fn pieces<T>(all: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = all;
    std::iter::from_fn(move || {
        let length = LENGTHS.into_iter().find(|length| *length <= rest.len())?;
        let (piece, after) = rest.split_at(length);
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_in_their_order_need_no_names() {
        for (text, expected) in [
            ("SELECT 1", "SELECT 1"),
            ("a = $1 AND b IN ($2, $3) AND c = $4", "a = ? AND b IN (?, ?) AND c = ?"),
            ("a = $1 OR b = $1", "a = $1 OR b = $1"),
            ("a = $2 AND b = $1", "a = $2 AND b = $1"),
            ("a = '$' AND b = $1", "a = '$' AND b = $1"),
        ] {
            assert_eq!(for_sqlite(text), expected);
        }
        let mut statement = Statement::new("INSERT INTO t ");
        statement.push_values(0..300i64, |row, number| {
            row.push_bind(number).push_bind("text");
        });
        assert!(!for_sqlite(&statement.text).contains('$'));
    }
}
