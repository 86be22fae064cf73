//! Rows of the bookkeeping that cannot be read, because another program or a hand changed them.

use std::collections::BTreeMap;
use std::fmt;

use super::EntraId;

/// A row that cannot be read, with the statement that repairs it. Names columns and ids, never values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnreadableRow {
    /// The user of the row, where that can be read.
    pub user: Option<EntraId>,
    /// Table and column.
    pub column: &'static str,
    /// The condition that finds the row.
    pub place: String,
    /// The statement that repairs the row.
    pub repair: String,
}

impl fmt::Display for UnreadableRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user: _, column, place, repair } = self;
        write!(f, "cannot read {column} where {place}; to repair the row, run: {repair};")
    }
}

/// The unreadable rows of one source.
#[derive(Clone, Debug, Default)]
pub struct UnreadableRows {
    /// The problem of each user that a row names. Such a user is left as it is.
    pub by_user: BTreeMap<EntraId, String>,
    /// The problems of rows that name no user.
    pub others: Vec<String>,
}

impl FromIterator<UnreadableRow> for UnreadableRows {
    fn from_iter<I: IntoIterator<Item = UnreadableRow>>(rows: I) -> Self {
        let mut all = Self::default();
        for row in rows {
            let problem = row.to_string();
            match row.user {
                None => all.others.push(problem),
                // The first row is enough: the next cycle names the second.
                Some(user) => drop(all.by_user.entry(user).or_insert(problem)),
            }
        }
        all
    }
}
