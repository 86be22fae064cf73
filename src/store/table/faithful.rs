//! Whether the learners table keeps exactly what is written. Then nothing has to be read back.

use super::layout::{BooleanEncoding, Key, Layout};
use crate::model::{AttributeKind, Column};
use crate::store::db::{Connection, DbError, Dialect, SqlValue, Statement};

/// Our own triggers, which do not change learners.
const OWN_TRIGGERS: &str = "'sync_links_row', 'learners_active_edited', 'sync_links_edited'";

/// Whether no trigger and no rule of the learners or of their links can change a written row, and no column converts a
/// value. A case that is not certain counts as unfaithful.
pub(crate) async fn is_faithful(connection: &mut Connection, layout: &Layout) -> Result<bool, DbError> {
    if layout.encodings.values().any(|encoding| matches!(encoding, BooleanEncoding::StateLabels(_))) {
        return Ok(false);
    }
    let columns = |kind: AttributeKind| -> Vec<SqlValue<'_>> {
        let bindings = layout.bindings.iter();
        let of_kind = bindings.filter(|(column, _)| matches!(column, Column::Attribute(it) if it.kind() == kind));
        of_kind.map(|(_, binding)| SqlValue::from(binding.plain.as_str())).collect()
    };
    let (texts, booleans) = (columns(AttributeKind::Text), columns(AttributeKind::Boolean));
    let mut statement = Statement::new("");
    match connection.dialect() {
        Dialect::Sqlite => {
            let table = layout.name_of_table();
            // A clause such as ON CONFLICT REPLACE touches other rows.
            statement.push("SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(");
            statement.push_bind(table).push(") AND upper(sql) NOT LIKE '%CONFLICT%')");
            statement.push(" AND NOT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'trigger'");
            statement.push(" AND (lower(tbl_name) = 'sync_links' OR instr(lower(sql), lower(").push_bind(table);
            statement.push(format_args!("))) AND name NOT IN ({OWN_TRIGGERS}))"));
            for (columns, is_kept) in [
                (&texts, "upper(type) LIKE '%TEXT%' OR upper(type) LIKE '%CHAR%'"),
                (&booleans, "upper(type) IN ('INTEGER', 'BOOLEAN')"),
            ] {
                statement.push(" AND NOT EXISTS (SELECT 1 FROM pragma_table_xinfo(").push_bind(table);
                statement.push(format_args!(") WHERE NOT ({is_kept}) AND name COLLATE NOCASE IN"));
                statement.push_list(columns).push(")");
            }
        }
        Dialect::Postgres => {
            let table = layout.table.as_str();
            // A partition or a child may have triggers of its own.
            statement.push("SELECT EXISTS (SELECT 1 FROM pg_class WHERE relkind = 'r' AND NOT relhassubclass");
            statement.push(" AND oid = to_regclass(").push_bind(table).push("))");
            statement.push(format_args!(
                " AND NOT EXISTS (SELECT 1 FROM pg_trigger WHERE NOT tgisinternal AND tgname NOT IN ({OWN_TRIGGERS})"
            ));
            statement.push(" AND tgrelid IN (to_regclass('sync_links'), to_regclass(").push_bind(table).push(")))");
            statement.push(" AND NOT EXISTS (SELECT 1 FROM pg_rewrite WHERE ev_class = to_regclass(");
            statement.push_bind(table).push("))");
            for (columns, kept) in
                [(&texts, "'text', 'character varying'"), (&booleans, "'boolean', 'smallint', 'integer', 'bigint'")]
            {
                statement.push(" AND NOT EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(");
                statement.push_bind(table).push(format_args!(") AND format_type(atttypid, atttypmod) NOT IN ({kept})"));
                statement.push(" AND attname IN").push_list(columns).push(")");
            }
        }
    }
    connection.row(statement).await?.get(0)
}

/// The number that the next row of a file gets; none for other keys, for a column with a default of its own, and on a
/// server, where other programs write at the same time. A transaction on a file excludes them.
pub(crate) async fn next_number(connection: &mut Connection, layout: &Layout) -> Result<Option<i64>, DbError> {
    if connection.dialect() != Dialect::Sqlite || layout.key != Key::Number || layout.generator().is_some() {
        return Ok(None);
    }
    // Only such a column numbers its rows itself.
    let mut numbers = Statement::new("SELECT EXISTS (SELECT 1 FROM pragma_table_xinfo(");
    numbers.push_bind(layout.name_of_table()).push(") WHERE upper(type) = 'INTEGER' AND pk = 1");
    numbers.push(" AND dflt_value IS NULL AND name = ").push_bind(layout.plain_id()).push(" COLLATE NOCASE)");
    numbers.push(" AND EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(");
    numbers.push_bind(layout.name_of_table());
    numbers.push(") AND upper(sql) NOT LIKE '%ROWID%' AND upper(sql) NOT LIKE '% DESC%')");
    if !connection.row(numbers).await?.get::<bool, _>(0)? {
        return Ok(None);
    }
    let statement = Statement::new(format!(
        "SELECT max(coalesce((SELECT max({}) FROM {}), 0),
                    coalesce((SELECT seq FROM sqlite_sequence WHERE lower(name) = lower($1)), 0))",
        layout.id(),
        layout.table,
    ));
    let last: i64 = connection.row(statement.bind(layout.name_of_table())).await?.get(0)?;
    Ok(last.checked_add(1))
}
