//! Rows of the bookkeeping that cannot be read, because another program or a hand changed them.

use std::collections::BTreeMap;
use std::fmt;

use super::{Action, EntraId};

/// A row that cannot be read, with the statement that repairs it. Names columns and ids, never other values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnreadableRow {
    /// The subject of the row.
    pub subject: RowSubject,
    /// Table and column.
    pub column: &'static str,
    /// The condition that finds the row.
    pub place: String,
    /// The statement that repairs the row.
    pub repair: String,
}

/// The subject of an unreadable row, as far as that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowSubject {
    /// A user: a link, a hold, or the state of a learner.
    User(Option<EntraId>),
    /// A hold of this action that names no user. Without an action, of any.
    LostHold(Option<Action>),
    /// A failure of a user. The next cycle deletes the row, and writes it again if the user still fails.
    Failure,
    /// The last members of a group.
    Group(Option<EntraId>),
    /// The past, which no decision depends on.
    History,
}

impl fmt::Display for UnreadableRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject: _, column, place, repair } = self;
        write!(f, "cannot read {column} where {place}; to repair the row, run: {repair};")
    }
}

/// The unreadable rows of one source that decisions depend on.
#[derive(Clone, Debug, Default)]
pub struct UnreadableRows {
    /// The problem of each user that a row names. Such a user is left as it is.
    pub by_user: BTreeMap<EntraId, String>,
    /// The problem of each group that a row names, or of any group.
    pub by_group: BTreeMap<Option<EntraId>, String>,
    /// The problem of a hold that names no user, by its action. Such a hold may be anybody's.
    pub lost_holds: BTreeMap<Option<Action>, String>,
    /// The problems of rows that name no user. Each counts as failed.
    pub others: Vec<String>,
    /// The problems of rows that the cycle deletes.
    pub disposable: Vec<String>,
}

impl FromIterator<UnreadableRow> for UnreadableRows {
    fn from_iter<I: IntoIterator<Item = UnreadableRow>>(rows: I) -> Self {
        let mut all = Self::default();
        for row in rows {
            let problem = row.to_string();
            match row.subject {
                // The first row is enough: the next cycle names the second.
                RowSubject::User(Some(user)) => drop(all.by_user.entry(user).or_insert(problem)),
                RowSubject::User(None) => all.others.push(problem),
                RowSubject::LostHold(action) => {
                    all.others.push(problem.clone());
                    all.lost_holds.entry(action).or_insert(problem);
                }
                RowSubject::Failure => {
                    let UnreadableRow { column, place, .. } = row;
                    all.disposable.push(format!("cannot read {column} where {place}; a cycle deletes the row"));
                }
                RowSubject::Group(group) => {
                    all.others.push(problem.clone());
                    all.by_group.entry(group).or_insert(problem);
                }
                RowSubject::History => {}
            }
        }
        all
    }
}
