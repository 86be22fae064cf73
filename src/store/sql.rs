//! Building statements over many rows so that their text repeats: sqlx keeps a prepared statement only for a text it
//! has seen, and preparing one of a thousand placeholders costs more than running it.

use sqlx::sqlite::Sqlite;
use sqlx::{Encode, QueryBuilder, Type};

/// A statement in the making; it writes the placeholders of its database.
pub(super) type Statement = QueryBuilder<Sqlite>;

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

/// Adds `(value, value, ...)`. Takes 1 to [`LIST`] values.
pub(super) fn push_list<'v, T>(statement: &mut Statement, values: &'v [T])
where
    T: ToOwned + 'v,
    &'v T: Encode<'v, Sqlite> + Type<Sqlite>,
{
    debug_assert!(!values.is_empty() && values.len() <= LIST);
    let length = LISTS.into_iter().find(|length| values.len() <= *length).unwrap_or(values.len());
    statement.push(" (");
    let mut list = statement.separated(", ");
    for value in values.iter().chain(values.last().into_iter().cycle()).take(length) {
        list.push_bind(value);
    }
    statement.push(") ");
}
