//! The rights that a cycle needs on a PostgreSQL server.

use crate::store::db::{Connection, Statement};
use crate::store::error::StoreError;
use crate::store::table::{Layout, missing_column_rights};

/// The rights that a cycle needs on each table.
pub(super) const RIGHTS: [(&str, &[&str]); 12] = [
    ("learners", &["SELECT", "INSERT", "UPDATE"]),
    ("sync_links", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("sync_held", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("sync_failures", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("sync_groups", &["SELECT", "INSERT", "UPDATE"]),
    ("sync_cycles", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("sync_state", &["SELECT", "UPDATE"]),
    ("sync_daemons", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("sync_schedule", &["SELECT", "INSERT", "UPDATE"]),
    ("sync_notifications", &["SELECT", "INSERT", "UPDATE"]),
    ("provisioning_log", &["SELECT", "INSERT", "DELETE"]),
    ("audit_log", &["INSERT"]),
];

/// Statements that grant the role `{role}` the schemas of the tables in `{tables}`, and the sequences of their serial
/// columns, where it lacks them. The sequences of identity columns need no right.
pub(super) const MISSING_USAGE: &str = include_str!("postgres/missing_usage.sql");

/// The statements that grant `role`, or the role of this session, the rights that it lacks; and the name of that role.
pub(crate) async fn missing_rights(
    connection: &mut Connection,
    role: Option<&str>,
    layout: &Layout,
) -> Result<(String, Vec<String>), StoreError> {
    let role: String = match role {
        Some(role) => role.to_owned(),
        None => connection.row(Statement::new("SELECT current_user::text")).await?.get(0)?,
    };
    let schemas = MISSING_USAGE.replace("{role}", "$1::name");
    let schemas = schemas.replace("{tables}", "to_regclass('sync_state'), to_regclass($2)");
    let schemas = Statement::new(schemas).bind(role.as_str()).bind(layout.table.as_str());
    let schemas = connection.rows(schemas).await?;

    // Rights on an external table are checked for each column.
    let tables = RIGHTS.iter().filter(|(table, _)| layout.external.is_none() || *table != "learners");
    let wanted = tables.flat_map(|(table, rights)| rights.iter().map(move |right| (*table, *right)));
    let mut statement = Statement::new("SELECT 'GRANT ' || v.column2 || ' ON ' || v.column1 || ' TO ' ||");
    statement.push(" quote_ident(").push_bind(role.as_str()).push(") FROM (");
    statement.push_values(wanted, |row, (table, right)| {
        row.push_bind(table).push_bind(right);
    });
    statement.push(") AS v WHERE NOT has_table_privilege(").push_bind(role.as_str());
    statement.push("::name, to_regclass(v.column1)::oid, v.column2)");
    // Rights on our own tables come first.
    let mut rows = connection.rows(statement).await?;
    rows.extend(schemas);
    let mut missing: Vec<String> = rows.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?;
    missing.extend(missing_column_rights(connection, &role, layout).await?);
    Ok((role, missing))
}
