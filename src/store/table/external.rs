//! An external learners table, created by the training platform: what the database reports of it, and its problems.

use std::collections::BTreeMap;
use std::path::Path;

use super::compare::compare;
use super::layout::Layout;
use super::{postgres, sqlite};
use crate::model::{ColumnConstant, Table};
use crate::store::db::{Connection, DbError, Dialect, Statement, quote_identifier, quote_literal};
use crate::store::error::{StoreError, TableFault};

/// The report of the database on an external table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExternalTable {
    pub(super) dialect: Dialect,
    /// The kind of a relation that is not a table, such as `view`.
    pub(super) other_kind: Option<String>,
    pub(super) partitioned: bool,
    pub(super) columns: BTreeMap<String, ExternalColumn>,
    /// The unique indexes of one column, each as [`normalize_expression`] returns it: a column, or a column in lower case.
    pub(super) unique: Vec<String>,
    /// The same of one column and limiting constants.
    pub(super) unique_within_limits: Vec<String>,
    /// Whether a unique index covers limiting constants alone.
    pub(super) limits_are_unique: bool,
}

/// A unique index as the database reports it.
pub(super) struct UniqueIndex {
    /// The columns and expressions.
    pub(super) parts: Vec<String>,
    /// The condition of a partial index.
    pub(super) predicate: Option<String>,
}

impl ExternalTable {
    /// Records what `index` keeps unique among the learners of `table`.
    pub(super) async fn add_unique_index(
        &mut self,
        connection: &mut Connection,
        table: &Table,
        index: UniqueIndex,
    ) -> Result<(), DbError> {
        let normalize = |expression: &str| normalize_expression(expression, self.dialect);
        let limits: Vec<String> = table.limits.iter().map(|name| normalize(&quote_identifier(name))).collect();
        let is_limit = |part: &String| {
            limits.contains(part)
                || part.strip_prefix("lower").is_some_and(|part| limits.iter().any(|limit| limit == part))
        };
        let parts: Vec<String> = index.parts.iter().map(|part| normalize(part)).collect();
        let (limiting, others): (Vec<String>, Vec<String>) = parts.into_iter().partition(is_limit);
        let indexed = match &others[..] {
            [] => {
                self.limits_are_unique |= !limiting.is_empty() && index.predicate.is_none();
                return Ok(());
            }
            [indexed] => indexed.clone(),
            _ => return Ok(()),
        };
        let column = indexed.strip_prefix("lower").unwrap_or(&indexed);
        let holds = match &index.predicate {
            None => true,
            Some(predicate) => {
                // A partial index counts if it only excludes rows without a value, or rows of others.
                let predicate = normalize(predicate).to_lowercase();
                [&*indexed, column].iter().any(|it| predicate == format!("{}isnotnull", it.to_lowercase()))
                    || self.holds_within_limits(connection, table, column, index.predicate.as_deref()).await?
            }
        };
        if holds && limiting.is_empty() {
            self.unique.push(indexed.clone());
        }
        if holds {
            self.unique_within_limits.push(indexed);
        }
        Ok(())
    }

    /// Whether the condition of a partial index is true for every learner with a value in `column`: the database
    /// evaluates it for rows that carry the limiting constants.
    async fn holds_within_limits(
        &self,
        connection: &mut Connection,
        table: &Table,
        column: &str,
        predicate: Option<&str>,
    ) -> Result<bool, DbError> {
        let normalize = |name: &str| normalize_expression(&quote_identifier(name), self.dialect);
        let named = self.columns.keys().find(|name| normalize(name) == *column);
        let (Some(predicate), Some(named), false) = (predicate, named, table.limits.is_empty()) else {
            return Ok(false);
        };
        let mentions = |name: &str| words_of(predicate).any(|word| word.eq_ignore_ascii_case(name));
        let is_other = |name: &&String| *name != named && !table.limits.contains(*name);
        if self
            .columns
            .keys()
            .filter(is_other)
            .any(|name| mentions(name) || predicate.contains(&quote_identifier(name)))
        {
            return Ok(false);
        }
        for sample in ["x", "Y@z.example"] {
            let sample = ColumnConstant::Text(sample.to_owned());
            let values = table.limits.iter().filter_map(|name| Some((name, table.constants.get(name)?)));
            let values = values.chain([(named, &sample)]).filter_map(|(name, constant)| {
                let constant = typed_constant(constant, self.columns.get(name)?, self.dialect);
                Some(format!("{constant} AS {}", quote_identifier(name)))
            });
            let values: Vec<String> = values.collect();
            let asked = format!("SELECT coalesce(({predicate}), false) FROM (SELECT {}) AS r", values.join(", "));
            let holds = match connection.optional_row(Statement::new(asked)).await {
                Ok(row) => row.is_some_and(|row| row.get_unchecked(0).unwrap_or(false)),
                Err(lost @ DbError::Lost(_)) => return Err(lost),
                Err(_) => false,
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The words of an SQL expression.
fn words_of(expression: &str) -> impl Iterator<Item = &str> {
    expression.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
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

/// A constant as an expression of the type of its column.
pub(super) fn typed_constant(constant: &ColumnConstant, column: &ExternalColumn, dialect: Dialect) -> String {
    let expression = constant_expression(constant);
    match dialect {
        // SQLite converts it for the comparison with the column.
        Dialect::Sqlite => expression,
        Dialect::Postgres => format!("{expression}::{}", column.type_name),
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
