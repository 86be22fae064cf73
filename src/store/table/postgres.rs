//! Reads a table from the catalog of PostgreSQL.

use std::collections::BTreeMap;

use super::external::{ExternalColumn, ExternalTable, TypeClass, UniqueIndex, constant_expression, fault, sql_name};
use super::layout::Layout;
use crate::model::Table;
use crate::store::db::{Connection, DbError, Dialect, Statement, parse_json_column, quote_identifier};
use crate::store::error::TableFault;

const RELATION: &str = "SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
           WHEN 'f' THEN 'foreign table' END, relkind = 'p'
    FROM pg_class WHERE oid = to_regclass($1) AND relkind IN ('r', 'p', 'v', 'm', 'f')";

// A domain counts as its base type, with the constraints of both.
const COLUMNS: &str = include_str!("postgres/columns.sql");

const UNIQUE: &str = "SELECT (SELECT json_agg(pg_get_indexdef(indexrelid, part, true) ORDER BY part)
                     FROM generate_series(1, indnkeyatts) part)::text, pg_get_expr(indpred, indrelid)
    FROM pg_index WHERE indrelid = to_regclass($1) AND indisunique AND indisvalid";

/// The type of a column without its domains and its length, the type as declared, and whether it holds texts.
const CONSTANT_TYPE: &str = "WITH RECURSIVE base AS (
        SELECT t.oid, t.typtype, t.typbasetype, t.typcategory, a.atttypid, a.atttypmod
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = to_regclass($1) AND a.attname = $2
        UNION ALL
        SELECT t.oid, t.typtype, t.typbasetype, t.typcategory, b.atttypid, b.atttypmod
        FROM base b JOIN pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd'
    )
    SELECT format_type(oid, -1), format_type(atttypid, atttypmod), typcategory IN ('S', 'Z') FROM base WHERE typtype <> 'd'";

pub(super) async fn read_table(connection: &mut Connection, table: &Table) -> Result<Option<ExternalTable>, DbError> {
    let name = sql_name(table);
    let asked = |text: &str| Statement::new(text).bind(name.clone());
    let Some(relation) = connection.optional_row(asked(RELATION)).await? else { return Ok(None) };
    let (other_kind, partitioned) = (relation.get(0)?, relation.get(1)?);
    let mut columns = BTreeMap::new();
    for row in connection.rows(asked(COLUMNS)).await? {
        let (name, type_name, base): (String, String, &str) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let modifier: i64 = row.get(4)?;
        let labels: &str = row.get(8)?;
        let column = ExternalColumn {
            type_class: match (base, row.get::<&str, _>(3)?) {
                (_, "e") => TypeClass::Enum(parse_json_column(labels, "pg_enum.enumlabel")?),
                ("text" | "varchar" | "citext", _) => TypeClass::Text,
                ("bool", _) => TypeClass::Boolean,
                ("int2" | "int4" | "int8", _) => TypeClass::Number,
                ("uuid", _) => TypeClass::Uuid,
                ("timestamptz" | "timestamp", _) => TypeClass::Time,
                _ => TypeClass::Other,
            },
            // The modifier is the length plus four.
            length: u32::try_from(modifier - 4).ok().filter(|_| base == "varchar"),
            type_name,
            required: row.get(5)?,
            has_default: row.get(6)?,
            generated: row.get(7)?,
        };
        columns.insert(name, column);
    }
    let mut found = ExternalTable {
        dialect: Dialect::Postgres,
        other_kind,
        partitioned,
        columns,
        unique: Vec::new(),
        unique_within_limits: Vec::new(),
        limits_are_unique: false,
    };
    for row in connection.rows(asked(UNIQUE)).await? {
        let parts = parse_json_column(row.get(0)?, "pg_index.indexprs")?;
        let predicate: Option<String> = row.get(1)?;
        found.add_unique_index(connection, table, UniqueIndex { parts, predicate }).await?;
    }
    Ok(Some(found))
}

/// The constants that do not fit their columns. `compare` reports missing columns.
pub(super) async fn unfit_constants(connection: &mut Connection, table: &Table) -> Result<Vec<TableFault>, DbError> {
    let mut faults = Vec::new();
    for (name, constant) in &table.constants {
        let asked = Statement::new(CONSTANT_TYPE).bind(sql_name(table)).bind(name.as_str());
        let Some(row) = connection.optional_row(asked).await? else { continue };
        let (base, whole, is_text): (String, String, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let value = constant_expression(constant);
        // A cast truncates where an assignment fails, one to a type without a length does not. Some types of texts have a
        // length of their own. Blanks at the end are lost without an error, but mean nothing to such a column.
        let mut fits_type = format!("SELECT {value}::{base} IS NOT DISTINCT FROM {value}::{whole}::{base}");
        if is_text {
            fits_type.push_str(&format!(" AND rtrim({value}::{whole}::text) = rtrim({value}::text)"));
        }
        let fits_type = match connection.optional_row(Statement::new(fits_type)).await {
            Ok(row) => row.is_some_and(|row| row.get(0).unwrap_or(false)),
            Err(lost @ DbError::Lost(_)) => return Err(lost),
            Err(_) => false,
        };
        let is_comparable = match table.limits.contains(name) && fits_type {
            true => {
                let (column, table) = (quote_identifier(name), sql_name(table));
                let asked = format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE {column} = {value}::{whole})");
                match connection.optional_row(Statement::new(asked)).await {
                    // The role may lack the right to read the column, which is reported with the statement that grants it.
                    Ok(_) | Err(DbError::Denied(_)) => true,
                    Err(lost @ DbError::Lost(_)) => return Err(lost),
                    Err(_) => false,
                }
            }
            false => true,
        };
        if !fits_type || !is_comparable {
            let message = format!("does not fit the column {name:?} of type {whole}");
            faults.push(fault(table, format!("learners.constants.{name}"), message, None));
        }
    }
    Ok(faults)
}

/// The rights on columns of an external table that `role` lacks, as one statement that grants them.
pub(crate) async fn missing_column_rights(
    connection: &mut Connection,
    role: &str,
    layout: &Layout,
) -> Result<Option<String>, DbError> {
    let Some(table) = &layout.external else { return Ok(None) };
    let rights = layout.rights(&table.mapped);
    let wanted = rights.iter().flat_map(|(right, columns)| columns.iter().map(move |column| (*right, column.as_str())));
    let mut statement = Statement::new("SELECT v.column1, v.column2 FROM (");
    statement.push_values(wanted, |row, (right, column)| {
        row.push_bind(right).push_bind(column);
    });
    statement.push(") AS v WHERE NOT has_column_privilege(").push_bind(role).push("::name, to_regclass(");
    statement.push_bind(layout.table.as_str()).push(")::oid, v.column2, v.column1)");
    let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in connection.rows(statement).await? {
        missing.entry(row.get(0)?).or_default().push(quote_identifier(row.get(1)?));
    }
    let listed: Vec<String> =
        missing.iter().map(|(right, columns)| format!("{right} ({})", columns.join(", "))).collect();
    if listed.is_empty() {
        return Ok(None);
    }
    let row = connection.row(Statement::new("SELECT quote_ident($1)").bind(role)).await?;
    Ok(Some(format!("GRANT {} ON {} TO {}", listed.join(", "), layout.table, row.get::<&str, _>(0)?)))
}
