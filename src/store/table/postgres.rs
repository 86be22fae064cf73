//! What PostgreSQL says of a table.

use std::collections::BTreeMap;

use super::{Found, FoundColumn, TableFault, TypeClass, expression, fault, plain, sql};
use crate::model::Table;
use crate::store::StoreError;
use crate::store::connection::{Connection, Dialect};
use crate::store::layout::{Layout, quoted};
use crate::store::sql::Statement;

const RELATION: &str = "SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
           WHEN 'f' THEN 'foreign table' END, relkind = 'p'
    FROM pg_class WHERE oid = to_regclass($1) AND relkind IN ('r', 'p', 'v', 'm', 'f')";

// A domain is as its base type, with what it asks besides.
const COLUMNS: &str = "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), b.typname::text, b.typtype::text,
           greatest(a.atttypmod, t.typtypmod)::bigint, a.attnotnull OR t.typnotnull,
           a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL, a.attgenerated <> '',
           coalesce((SELECT json_agg(e.enumlabel::text) FROM pg_enum e WHERE e.enumtypid = b.oid), '[]')::text
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
    WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped";

// An index that leaves rows out counts when they are those without a value.
const UNIQUE: &str = "SELECT pg_get_indexdef(indexrelid, 1, true), pg_get_expr(indpred, indrelid)
    FROM pg_index WHERE indrelid = to_regclass($1) AND indisunique AND indisvalid AND indnkeyatts = 1";

pub(super) async fn look(connection: &mut Connection, table: &Table) -> Result<Option<Found>, StoreError> {
    let name = sql(table);
    let asked = |text: &str| Statement::new(text).bind(name.clone());
    let Some(relation) = connection.optional_row(asked(RELATION)).await? else { return Ok(None) };
    let other = match relation.get::<Option<&str>, _>(0)? {
        None => None,
        Some("view") => Some("view"),
        Some("materialized view") => Some("materialized view"),
        Some(_) => Some("foreign table"),
    };
    let partitioned = relation.get(1)?;
    let mut columns = BTreeMap::new();
    for row in connection.rows(asked(COLUMNS)).await? {
        let (name, type_name, base): (String, String, &str) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let modifier: i64 = row.get(4)?;
        let labels: &str = row.get(8)?;
        let column = FoundColumn {
            family: match (base, row.get::<&str, _>(3)?) {
                (_, "e") => TypeClass::Enum(crate::store::from_json(labels, "pg_enum.enumlabel")?),
                ("text" | "varchar" | "citext", _) => TypeClass::Text,
                ("bool", _) => TypeClass::Boolean,
                ("int2" | "int4" | "int8", _) => TypeClass::Number,
                ("uuid", _) => TypeClass::Uuid,
                ("timestamptz" | "timestamp", _) => TypeClass::Time,
                _ => TypeClass::Other,
            },
            // The modifier has four more than the length.
            length: u32::try_from(modifier - 4).ok().filter(|_| base == "varchar"),
            type_name,
            required: row.get(5)?,
            default: row.get(6)?,
            generated: row.get(7)?,
        };
        columns.insert(name, column);
    }
    let mut unique = Vec::new();
    for row in connection.rows(asked(UNIQUE)).await? {
        let (indexed, predicate): (&str, Option<&str>) = (row.get(0)?, row.get(1)?);
        let plain = |expression: &str| plain(expression, Dialect::Postgres);
        let indexed = plain(indexed);
        let column = indexed.strip_prefix("lower").unwrap_or(&indexed);
        let counts = |predicate: &str| [&indexed, column].iter().any(|it| plain(predicate) == format!("{it}ISNOTNULL"));
        if predicate.is_none_or(counts) {
            unique.push(indexed);
        }
    }
    Ok(Some(Found { dialect: Dialect::Postgres, other, partitioned, columns, unique }))
}

/// The constants that do not go into their columns; of columns that are not there, `compare` tells.
pub(super) async fn unfit_constants(connection: &mut Connection, table: &Table) -> Result<Vec<TableFault>, StoreError> {
    let mut faults = Vec::new();
    for (name, constant) in &table.constants {
        let asked = Statement::new(
            "SELECT format_type(atttypid, NULL), format_type(atttypid, atttypmod) FROM pg_attribute
             WHERE attrelid = to_regclass($1) AND attname = $2",
        );
        let row = connection.optional_row(asked.bind(sql(table)).bind(name.as_str())).await?;
        let Some(row) = row else { continue };
        let (type_name, whole): (String, String) = (row.get(0)?, row.get(1)?);
        let text = expression(constant);
        // A cast cuts what an assignment refuses.
        let tried = format!("SELECT {text}::{type_name} IS NOT DISTINCT FROM {text}::{whole}::{type_name}");
        let fits = match connection.optional_row(Statement::new(tried)).await {
            Ok(row) => row.is_some_and(|row| row.get(0).unwrap_or(false)),
            Err(error) => match StoreError::from(error) {
                lost @ StoreError::Lost(_) => return Err(lost),
                _ => false,
            },
        };
        if !fits {
            let message = format!("does not go into the column {name:?} of type {whole}");
            faults.push(fault(table, format!("learners.constants.{name}"), message, None));
        }
    }
    Ok(faults)
}

/// The rights on its columns that `role` lacks, as one statement.
pub(in crate::store) async fn missing_rights(
    connection: &mut Connection,
    role: &str,
    table: &Table,
    layout: &Layout,
) -> Result<Option<String>, StoreError> {
    let rights = layout.rights(&table.mapped);
    let wanted = rights.iter().flat_map(|(right, columns)| columns.iter().map(move |column| (*right, column.as_str())));
    let mut statement = Statement::new("SELECT v.column1, v.column2 FROM (");
    statement.push_values(wanted, |row, (right, column)| {
        row.push_bind(right).push_bind(column);
    });
    statement.push(") AS v WHERE NOT has_column_privilege(").push_bind(role).push("::name, to_regclass(");
    statement.push_bind(sql(table)).push(")::oid, v.column2, v.column1)");
    let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in connection.rows(statement).await? {
        missing.entry(row.get(0)?).or_default().push(quoted(row.get(1)?));
    }
    let listed: Vec<String> =
        missing.iter().map(|(right, columns)| format!("{right} ({})", columns.join(", "))).collect();
    if listed.is_empty() {
        return Ok(None);
    }
    let row = connection.row(Statement::new("SELECT quote_ident($1)").bind(role)).await?;
    Ok(Some(format!("GRANT {} ON {} TO {}", listed.join(", "), sql(table), row.get::<&str, _>(0)?)))
}
