//! Whether our role may make the tables of a server, or complete them: often another one owns them.

use super::VERSION;
use crate::model::Table;
use crate::store::StoreError;
use crate::store::connection::Connection;
use crate::store::layout::{Layout, literal};
use crate::store::sql::Statement;

/// What our role may not use of the schemas in which a name without one is looked for. To the server they are as good as
/// none, so that tables in them would be made a second time elsewhere.
const HIDDEN: &str = "SELECT DISTINCT current_user::text,
        format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, current_user)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname IN ('sync_state', $1) AND NOT has_schema_privilege(n.oid, 'USAGE')
      AND n.nspname = ANY (string_to_array(replace(replace(replace(current_setting('search_path'),
          '$user', current_user), '\"', ''), ' ', ''), ','))";

/// Why the tables cannot be made.
const OBSTACLE: &str = "SELECT current_user::text, CASE
        WHEN current_schema() IS NULL THEN 'may use no schema of its search_path'
        WHEN NOT has_schema_privilege(current_schema(), 'CREATE')
            THEN 'may not make any in the schema ' || current_schema()
        WHEN {external} AND NOT has_column_privilege(l.oid, {id}, 'REFERENCES')
            THEN format('may not refer to the table %s by a foreign key (its owner can let it: GRANT REFERENCES ON %1$s TO %I)',
                l.oid::regclass, current_user)
        WHEN NOT {external} AND NOT pg_has_role(l.relowner, 'USAGE') THEN 'does not own the table learners'
    END
    FROM (SELECT to_regclass({table}) AS oid) t LEFT JOIN pg_class l ON l.oid = t.oid";

/// Why they cannot be changed.
const NOT_OWNED: &str = "SELECT current_user::text, CASE WHEN EXISTS (
        SELECT 1 FROM pg_class WHERE oid IN (to_regclass('sync_state'), to_regclass('sync_links'))
            AND NOT pg_has_role(relowner, 'USAGE')) THEN 'does not own them' END";

/// Refuses to begin with what our role may not do to tables of version `found`. A file is anybody's who may write to it.
///
/// # Errors
/// When somebody else has to do it.
pub(super) async fn check(
    connection: &mut Connection,
    layout: &Layout,
    external: Option<&Table>,
    found: i64,
) -> Result<(), StoreError> {
    if matches!(connection, Connection::Sqlite(_)) {
        return Ok(());
    }
    let statement = match found {
        0 => {
            check_schemas(connection, external).await?;
            let text = OBSTACLE.replace("{external}", if external.is_some() { "true" } else { "false" });
            let text = text.replace("{id}", &literal(layout.plain_id()));
            Statement::new(text.replace("{table}", &literal(&layout.table)))
        }
        _ => Statement::new(NOT_OWNED),
    };
    let row = connection.row(statement).await?;
    match row.get(1)? {
        Some(obstacle) => Err(StoreError::NotTheOwner { found, supported: VERSION, role: row.get(0)?, obstacle }),
        None => Ok(()),
    }
}

/// Refuses a server on which the tables, or that of the platform, seem not to be there because we may not see them.
///
/// # Errors
/// When a right on a schema is missing.
pub(super) async fn check_schemas(connection: &mut Connection, external: Option<&Table>) -> Result<(), StoreError> {
    let name = external.filter(|table| table.schema.is_none()).map_or("sync_state", |table| table.name.as_str());
    let rows = connection.rows(Statement::new(HIDDEN).bind(name)).await?;
    let Some(first) = rows.first() else { return Ok(()) };
    let missing = rows.iter().map(|row| row.get(1)).collect::<Result<_, _>>()?;
    Err(StoreError::NotGranted { role: first.get(0)?, missing })
}

/// The schema that the configuration names is one that our role may not use.
pub(super) async fn schema_hidden(connection: &mut Connection, schema: &str) -> Result<StoreError, StoreError> {
    let asked = "SELECT current_user::text, format('GRANT USAGE ON SCHEMA %I TO %I', $1, current_user)";
    let row = connection.row(Statement::new(asked).bind(schema)).await?;
    Ok(StoreError::NotGranted { role: row.get(0)?, missing: vec![row.get(1)?] })
}
