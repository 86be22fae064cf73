//! Whether the role may create or migrate the tables on a server. Often another role owns them.

use super::VERSION;
use crate::model::Table;
use crate::store::db::{Connection, Statement, quote_literal};
use crate::store::error::StoreError;
use crate::store::table::Layout;

/// The schemas of the search path that contain our tables and that the role may not use. The server ignores such schemas,
/// so the tables would be created a second time in another one.
const HIDDEN_SCHEMAS: &str = include_str!("postgres/hidden_schemas.sql");

/// Why the role cannot create the tables.
const CREATE_OBSTACLE: &str = include_str!("postgres/create_obstacle.sql");

/// Why the role cannot migrate the tables.
const MIGRATE_OBSTACLE: &str = "SELECT current_user::text, CASE WHEN EXISTS (
        SELECT 1 FROM pg_class WHERE oid IN (to_regclass('sync_state'), to_regclass('sync_links'),
                to_regclass('sync_failures'), to_regclass('provisioning_log'))
            AND NOT pg_has_role(relowner, 'USAGE')) THEN 'does not own them' END";

/// Checks that the role may migrate tables of version `found`. A file has no owner in SQL.
///
/// # Errors
/// When another role must migrate them.
pub(crate) async fn check_ownership(
    connection: &mut Connection,
    layout: &Layout,
    found: i64,
) -> Result<(), StoreError> {
    if matches!(connection, Connection::Sqlite(_)) {
        return Ok(());
    }
    let statement = match found {
        0 => {
            check_schemas(connection, layout.external.as_ref()).await?;
            let text = CREATE_OBSTACLE.replace("{external}", &layout.external.is_some().to_string());
            let text = text.replace("{id}", &quote_literal(layout.plain_id()));
            Statement::new(text.replace("{table}", &quote_literal(&layout.table)))
        }
        _ => Statement::new(MIGRATE_OBSTACLE),
    };
    let row = connection.row(statement).await?;
    match row.get(1)? {
        Some(obstacle) => Err(StoreError::NotTheOwner { found, supported: VERSION, role: row.get(0)?, obstacle }),
        None => Ok(()),
    }
}

/// Refuses a server whose tables seem to be missing because the role may not use their schema.
///
/// # Errors
/// When a right on a schema is missing.
pub(super) async fn check_schemas(connection: &mut Connection, external: Option<&Table>) -> Result<(), StoreError> {
    let name = external.filter(|table| table.schema.is_none()).map_or("sync_state", |table| table.name.as_str());
    let rows = connection.rows(Statement::new(HIDDEN_SCHEMAS).bind(name)).await?;
    let Some(first) = rows.first() else { return Ok(()) };
    let missing = rows.iter().map(|row| row.get(1)).collect::<Result<_, _>>()?;
    Err(StoreError::NotGranted { role: first.get(0)?, missing })
}

/// The error for a configured schema that the role may not use.
pub(super) async fn denied_schema(connection: &mut Connection, schema: &str) -> Result<StoreError, StoreError> {
    let grant = "SELECT current_user::text, format('GRANT USAGE ON SCHEMA %I TO %I', $1, current_user)";
    let row = connection.row(Statement::new(grant).bind(schema)).await?;
    Ok(StoreError::NotGranted { role: row.get(0)?, missing: vec![row.get(1)?] })
}
