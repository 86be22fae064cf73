//! An external learners table, created by the training platform: what the database reports of it, and its problems.

use std::collections::BTreeMap;
use std::path::Path;

use super::compare::compare;
use super::layout::Layout;
use super::{postgres, sqlite};
use crate::model::{ColumnConstant, Table};
use crate::store::db::{Connection, Dialect, quote_identifier, quote_literal};
use crate::store::error::{StoreError, TableFault};

/// What the database reports of an external table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExternalTable {
    pub(super) dialect: Dialect,
    /// The kind of a relation that is not a table, such as `view`.
    pub(super) other_kind: Option<String>,
    pub(super) partitioned: bool,
    pub(super) columns: BTreeMap<String, ExternalColumn>,
    /// The unique indexes of one column, each as [`normalize_expression`] returns it: a column, or a column in lower case.
    pub(super) unique: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExternalColumn {
    /// As the database writes it.
    pub(super) type_name: String,
    pub(super) type_class: TypeClass,
    /// The maximum length in characters, if there is one.
    pub(super) length: Option<u32>,
    pub(super) required: bool,
    pub(super) has_default: bool,
    /// Whether the database computes the value.
    pub(super) generated: bool,
}

/// Which values a column accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TypeClass {
    Text,
    Boolean,
    Number,
    Uuid,
    Time,
    /// An enum type of PostgreSQL, with its labels.
    Enum(Vec<String>),
    /// A column of SQLite without a type.
    Any,
    Other,
}

/// Reads the layout of `table` from the database.
///
/// # Errors
/// With every difference from the configuration.
pub(crate) async fn read_external_layout(connection: &mut Connection, table: &Table) -> Result<Layout, StoreError> {
    let dialect = connection.dialect();
    let found = match dialect {
        Dialect::Sqlite => sqlite::read_table(connection, table).await?,
        Dialect::Postgres => postgres::read_table(connection, table).await?,
    };
    let (layout, mut faults) = match found {
        Some(found) => compare(table, &found),
        None => {
            let message = format!("the table {} does not exist", display_name(table));
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

/// The links refer to rows of `other`, not of the configured table or of `learners`.
pub(crate) fn links_another_table(table: Option<&Table>, id: &str, other: &str) -> TableFault {
    let name = table.map_or("learners".to_owned(), display_name);
    let name = format!("{name} ({id})");
    let message = format!(
        "the links of this database refer to rows of {other}, not of {name}: configure that table, or use another database \
         for the learners of {name}"
    );
    let place = table.and_then(|table| table.position_of("learners.table")).map(str::to_owned);
    TableFault { place, key: "learners.table".to_owned(), message, statement: None }
}

/// The foreign key from the links to the rows of the table is missing.
pub(crate) fn links_without_foreign_key(table: &Table, statement: String) -> TableFault {
    let message = format!(
        "the table {} was dropped or created again, so sync_links has no foreign key to it any more. If its rows still have \
         the same ids, add the foreign key again, as an owner of sync_links with the right REFERENCES on the table; otherwise \
         delete the rows of sync_links first, and users are linked again by the match attribute",
        display_name(table)
    );
    fault(table, "learners.table".to_owned(), message, Some(statement))
}

/// The file that would contain the table is missing.
pub(crate) fn missing_file(table: &Table, path: &Path) -> TableFault {
    let message = format!("the database {} does not exist, so it has no table {}", path.display(), display_name(table));
    fault(table, "learners.table".to_owned(), message, None)
}

/// The table as the configuration writes it.
pub(crate) fn display_name(table: &Table) -> String {
    match &table.schema {
        Some(schema) => format!("{schema}.{}", table.name),
        None => table.name.clone(),
    }
}

/// The table as an SQL identifier.
pub(crate) fn sql_name(table: &Table) -> String {
    match &table.schema {
        Some(schema) => format!("{}.{}", quote_identifier(schema), quote_identifier(&table.name)),
        None => quote_identifier(&table.name),
    }
}

pub(super) fn fault(table: &Table, key: String, message: String, statement: Option<String>) -> TableFault {
    TableFault { place: table.position_of(&key).map(str::to_owned), key, message, statement }
}

/// A constant as an untyped literal, for a column of any type.
pub(super) fn constant_expression(constant: &ColumnConstant) -> String {
    match constant {
        ColumnConstant::Text(text) => quote_literal(text),
        ColumnConstant::Number(number) => number.to_string(),
        ColumnConstant::Boolean(value) => value.to_string(),
    }
}

/// An indexed column or expression without quotes, spaces, parentheses, casts, collations and order; in lower case for
/// SQLite, which ignores letter case.
pub(super) fn normalize_expression(expression: &str, dialect: Dialect) -> String {
    let text = match dialect {
        Dialect::Sqlite => expression.to_lowercase().replace("collate nocase", ""),
        Dialect::Postgres => expression.replace("COLLATE \"C\"", "").replace("::text", ""),
    };
    let text = text.trim_end();
    let order = [" asc", " desc", " DESC"].iter().find_map(|order| text.strip_suffix(order));
    let text = order.unwrap_or(text);
    text.chars().filter(|letter| !matches!(letter, ' ' | '(' | ')' | '"')).collect()
}
