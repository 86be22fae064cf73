//! Reads a table from the schema of SQLite.

use std::collections::BTreeMap;

use super::external::{ExternalColumn, ExternalTable, TypeClass, UniqueIndex, fault, normalize_expression};
use super::layout::{Key, Layout};
use crate::model::{Column, Table};
use crate::store::db::{Connection, DbError, Dialect, SqlRow, Statement, quote_identifier};
use crate::store::error::TableFault;

const COLUMNS: &str = "SELECT name, type, \"notnull\" <> 0, dflt_value, pk, hidden FROM pragma_table_xinfo($1)";

fn normalize(expression: &str) -> String {
    normalize_expression(expression, Dialect::Sqlite)
}

/// The expressions of an index are only in its SQL text.
const UNIQUE: &str = "SELECT l.name, x.name, m.sql, l.partial <> 0
    FROM pragma_index_list($1) l JOIN pragma_index_xinfo(l.name) x ON x.key = 1
    LEFT JOIN sqlite_master m ON m.type = 'index' AND m.name = l.name
    WHERE l.\"unique\" = 1 ORDER BY l.seq, x.seqno";

pub(super) async fn read_table(connection: &mut Connection, table: &Table) -> Result<Option<ExternalTable>, DbError> {
    // The only schema of a file. SQLite ignores letter case.
    if table.schema.as_ref().is_some_and(|schema| !schema.eq_ignore_ascii_case("main")) {
        return Ok(None);
    }
    let kinds = "SELECT type, upper(sql) LIKE '%WITHOUT%ROWID%' FROM sqlite_master
                 WHERE type IN ('table', 'view') AND lower(name) = lower($1)";
    let asked = |text: &str| Statement::new(text).bind(table.name.as_str());
    let Some(relation) = connection.optional_row(asked(kinds)).await? else { return Ok(None) };
    let other_kind = (relation.get::<&str, _>(0)? == "view").then(|| "view".to_owned());
    let without_rowid: bool = relation.get(1)?;

    let rows = connection.rows(asked(COLUMNS)).await?;
    let keys = rows.iter().map(|row| row.get::<i64, _>(4)).collect::<Result<Vec<_>, _>>()?;
    let single_key = keys.iter().filter(|key| **key > 0).count() == 1;
    let (mut columns, mut unique) = (BTreeMap::new(), Vec::new());
    for (row, key) in rows.iter().zip(keys) {
        let (name, type_name): (String, String) = (row.get(0)?, row.get(1)?);
        let default: Option<&str> = row.get(3)?;
        let is_key = single_key && key > 0;
        // An alias of the rowid, which every row has.
        let is_rowid = is_key && type_name.eq_ignore_ascii_case("integer") && !without_rowid;
        if is_key {
            unique.push(normalize(&quote_identifier(&name)));
        }
        // In the letter case of the configuration, so that lookups by name work.
        let name = configured_name(table, &name);
        let column = ExternalColumn {
            type_class: type_class(&type_name),
            length: declared_length(&type_name),
            type_name: if type_name.is_empty() { "no type".to_owned() } else { type_name },
            required: row.get(2)?,
            has_default: is_rowid || default.is_some(),
            // 2 and 3 are computed columns; 1 is a hidden column of a virtual table.
            generated: row.get::<i64, _>(5)? >= 2,
        };
        columns.insert(name, column);
    }
    let mut found = ExternalTable {
        dialect: Dialect::Sqlite,
        other_kind,
        partitioned: false,
        columns,
        unique,
        unique_within_limits: Vec::new(),
        limits_are_unique: false,
    };
    for index in unique_indexes(&connection.rows(asked(UNIQUE)).await?)? {
        found.add_unique_index(connection, table, index).await?;
    }
    Ok(Some(found))
}

/// A default that makes bytes where ids are texts: `randomblob(16)` without `hex`.
pub(super) async fn unfit_ids(
    connection: &mut Connection,
    table: &Table,
    layout: &Layout,
) -> Result<Vec<TableFault>, DbError> {
    if layout.key == Key::Number {
        return Ok(Vec::new());
    }
    let name = table.column(Column::Id);
    let default = Statement::new("SELECT dflt_value FROM pragma_table_xinfo($1) WHERE lower(name) = lower($2)");
    let default = connection.row(default.bind(table.name.as_str()).bind(name)).await?;
    let Some(default) = default.get::<Option<String>, _>(0)? else { return Ok(Vec::new()) };
    let made = Statement::new(format!("SELECT typeof(made) IN ('blob', 'null') FROM (SELECT {default} AS made)"));
    if connection.row(made).await?.get(0)? {
        let message = format!("the default of the column {name:?} generates bytes, not a text: use lower(hex(...))");
        return Ok(vec![fault(table, table.key(Column::Id), message, None)]);
    }
    Ok(Vec::new())
}

/// `name` in the letter case of the configuration, if it names the column.
fn configured_name(table: &Table, name: &str) -> String {
    let named = table.columns.values().chain(table.constants.keys());
    let design = Column::all().map(Column::name);
    let mut all = named.cloned().chain(design.map(str::to_owned));
    all.find(|other| other.eq_ignore_ascii_case(name)).unwrap_or_else(|| name.to_owned())
}

/// The indexes of [`UNIQUE`], which has a row for each part.
fn unique_indexes(rows: &[SqlRow]) -> Result<Vec<UniqueIndex>, DbError> {
    let mut indexes: Vec<(&str, UniqueIndex)> = Vec::new();
    for row in rows {
        let (index, column, text): (&str, Option<&str>, Option<&str>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if indexes.last().is_none_or(|(last, _)| *last != index) {
            let predicate = if row.get(3)? { Some(text.and_then(index_predicate).unwrap_or("false")) } else { None };
            indexes.push((index, UniqueIndex { parts: Vec::new(), predicate: predicate.map(str::to_owned) }));
        }
        let Some((_, UniqueIndex { parts, .. })) = indexes.last_mut() else { continue };
        let expression = || text.and_then(split_index).and_then(|(inside, _)| split_parts(inside).nth(parts.len()));
        // An unknown part is not one of our columns.
        let part = column.map(quote_identifier).or_else(|| expression().map(str::to_owned)).unwrap_or_default();
        parts.push(part);
    }
    Ok(indexes.into_iter().map(|(_, index)| index).collect())
}

/// The parts between the commas outside parentheses and quotation marks.
fn split_parts(inside: &str) -> impl Iterator<Item = &str> {
    let (mut depth, mut quote) = (0, None);
    inside.split(move |letter| {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"' | '`') => quote = Some(letter),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, ',') => return depth == 0,
            (None, _) => {}
        }
        false
    })
}

/// The text between the outer parentheses of `CREATE UNIQUE INDEX i ON t (...) WHERE ...`, and the text after them.
fn split_index(text: &str) -> Option<(&str, &str)> {
    let (_, rest) = text.split_once('(')?;
    let mut depth = 1;
    let end = rest.char_indices().find(|(_, letter)| {
        depth += match letter {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        depth == 0
    });
    let (end, _) = end?;
    Some((&rest[..end], &rest[end + 1..]))
}

fn index_predicate(text: &str) -> Option<&str> {
    let (_, after) = split_index(text)?;
    let after = after.trim_start();
    after.get(..5).filter(|word| word.eq_ignore_ascii_case("where")).map(|_| &after[5..])
}

/// The affinity of a declared type: <https://www.sqlite.org/datatype3.html>.
fn type_class(type_name: &str) -> TypeClass {
    let name = type_name.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&["INT"]) {
        TypeClass::Number
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        TypeClass::Text
    } else if name.is_empty() || has(&["BLOB", "ANY"]) {
        TypeClass::Any
    } else if has(&["BOOL"]) {
        TypeClass::Number
    } else if has(&["DATE", "TIME"]) {
        TypeClass::Time
    } else {
        TypeClass::Other
    }
}

/// The length of `VARCHAR(n)`. SQLite ignores it, but the platform may not.
fn declared_length(type_name: &str) -> Option<u32> {
    let name = type_name.to_ascii_uppercase();
    let (_, rest) = name.split_once('(').filter(|(before, _)| before.contains("CHAR"))?;
    rest.split_once(')')?.0.trim().parse().ok()
}
