//! A learners table that somebody else made: whether it is what the configuration says, and what must be done when not.
//!
//! [`compare()`] is pure: `postgres` and `sqlite` look at the table and tell what they have [`Found`].

mod compare;
mod postgres;
mod sqlite;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use self::compare::compare;
pub(super) use self::postgres::missing_rights;
use super::StoreError;
use super::connection::{Connection, Dialect};
use super::layout::{Layout, literal, quoted};
use crate::model::{ColumnConstant, Table};

/// Something about the table that has to be mended before a learner is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFault {
    /// Where the configuration speaks of it, such as `learner-sync.toml:12:9`.
    pub place: Option<String>,
    /// The key there.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// The statement that mends it, for the owner of the table.
    pub statement: Option<String>,
}

impl TableFault {
    /// What is wrong, and where the configuration speaks of it.
    pub fn problem(&self) -> String {
        let Self { place, key, message, statement: _ } = self;
        match place {
            Some(place) => format!("{place}: {key}: {message}"),
            None => format!("{key}: {message}"),
        }
    }
}

impl fmt::Display for TableFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.problem())?;
        match &self.statement {
            Some(statement) => write!(f, "; to mend it: {statement};"),
            None => Ok(()),
        }
    }
}

/// What a database says of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    dialect: Dialect,
    /// In a word such as `view`, when it is no table.
    other: Option<&'static str>,
    /// Whether its rows are kept in other tables.
    partitioned: bool,
    columns: BTreeMap<String, FoundColumn>,
    /// What no two rows may share, each as [`plain`] writes it: a column, or a column in lower case.
    unique: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FoundColumn {
    /// As the database writes it.
    type_name: String,
    family: TypeClass,
    /// How many letters it takes, when that is limited.
    length: Option<u32>,
    required: bool,
    /// Whether a new row gets a value by itself.
    default: bool,
    /// Whether the database computes it.
    generated: bool,
}

/// What goes into a column.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TypeClass {
    Text,
    Boolean,
    Number,
    Uuid,
    Time,
    /// A type of PostgreSQL with the labels it takes.
    Enum(Vec<String>),
    /// Whatever is put there.
    Any,
    Other,
}

/// Looks at `table`.
///
/// # Errors
/// Everything about it that does not fit.
pub(super) async fn look(connection: &mut Connection, table: &Table) -> Result<Layout, StoreError> {
    let dialect = connection.dialect();
    let found = match dialect {
        Dialect::Sqlite => sqlite::look(connection, table).await?,
        Dialect::Postgres => postgres::look(connection, table).await?,
    };
    let (layout, mut faults) = match found {
        Some(found) => compare(table, &found),
        None => {
            let message = format!("there is no table {}", shown(table));
            (None, vec![fault(table, "learners.table".to_owned(), message, None)])
        }
    };
    match (dialect, &layout) {
        (Dialect::Postgres, _) => faults.extend(postgres::unfit_constants(connection, table).await?),
        (Dialect::Sqlite, Some(layout)) if faults.is_empty() => {
            faults = sqlite::unfit_ids(connection, table, layout).await?;
        }
        (Dialect::Sqlite, _) => {}
    }
    match layout {
        Some(layout) if faults.is_empty() => Ok(layout),
        _ => Err(StoreError::Table { faults }),
    }
}

/// The links of a database name rows of `other`, and not of the table that is configured, or of `learners`.
pub(super) fn linked_to_another(table: Option<&Table>, id: &str, other: &str) -> TableFault {
    let name = table.map_or("learners".to_owned(), shown);
    let name = format!("{name} ({id})");
    let message = format!(
        "the people of this database are linked to rows of {other}, not of {name}: name that table, or keep the learners \
         of {name} in another database"
    );
    let place = table.and_then(|table| table.position_of("learners.table")).map(str::to_owned);
    TableFault { place, key: "learners.table".to_owned(), message, statement: None }
}

/// The links are not tied to the rows of the table any more.
pub(super) fn cut_off(table: &Table, statement: String) -> TableFault {
    let message = format!(
        "the table {} is not the one any more whose rows the people of this database are linked to: it was dropped or made \
         anew. Were its rows kept, each with its id, tie the links to them again, as an owner of sync_links who may refer to \
         the table (REFERENCES); else delete what is in sync_links before you do, and people are found again by the match \
         attribute",
        shown(table)
    );
    fault(table, "learners.table".to_owned(), message, Some(statement))
}

/// There is no file that could have the table.
pub(super) fn in_no_file(table: &Table, path: &Path) -> TableFault {
    let message = format!("there is no database {}, so no table {} in it", path.display(), shown(table));
    fault(table, "learners.table".to_owned(), message, None)
}

/// The table as users write it.
pub(super) fn shown(table: &Table) -> String {
    match &table.schema {
        Some(schema) => format!("{schema}.{}", table.name),
        None => table.name.clone(),
    }
}

/// The table as statements have it.
pub(super) fn sql(table: &Table) -> String {
    match &table.schema {
        Some(schema) => format!("{}.{}", quoted(schema), quoted(&table.name)),
        None => quoted(&table.name),
    }
}

fn fault(table: &Table, key: String, message: String, statement: Option<String>) -> TableFault {
    TableFault { place: table.position_of(&key).map(str::to_owned), key, message, statement }
}

/// A constant as an expression of any column's type: an untyped literal.
fn expression(constant: &ColumnConstant) -> String {
    match constant {
        ColumnConstant::Text(text) => literal(text),
        ColumnConstant::Number(number) => number.to_string(),
        ColumnConstant::Boolean(value) => value.to_string(),
    }
}

/// An indexed column or expression without what makes no difference: quotes, spaces, parentheses, casts, collations, order;
/// and letter case, where the database does not mind it.
fn plain(expression: &str, dialect: Dialect) -> String {
    let text = match dialect {
        Dialect::Sqlite => expression.to_lowercase().replace("collate nocase", ""),
        Dialect::Postgres => expression.replace("COLLATE \"C\"", "").replace("::text", ""),
    };
    let text = text.trim_end();
    let order = [" asc", " desc", " DESC"].iter().find_map(|order| text.strip_suffix(order));
    let text = order.unwrap_or(text);
    text.chars().filter(|letter| !matches!(letter, ' ' | '(' | ')' | '"')).collect()
}
