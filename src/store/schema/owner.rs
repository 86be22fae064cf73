//! Whether our role may make the tables of a server, or complete them: often another one owns them.

use super::VERSION;
use crate::store::StoreError;
use crate::store::connection::Connection;
use crate::store::layout::{Layout, literal};
use crate::store::sql::Statement;

/// Why the tables cannot be made. A schema that our role may not use is as good as none to the server, so that tables in
/// it would be made a second time elsewhere.
const OBSTACLE: &str = "SELECT current_user::text, CASE
        WHEN h.name IS NOT NULL THEN 'may not use the schema ' || h.name || ', where there are some'
        WHEN current_schema() IS NULL THEN 'may use no schema of its search_path'
        WHEN NOT has_schema_privilege(current_schema(), 'CREATE') THEN 'may not make any in the schema ' || current_schema()
        WHEN {theirs} AND NOT has_column_privilege(l.oid, {id}, 'REFERENCES')
            THEN 'may not refer to the table ' || l.oid::regclass || ' by a foreign key'
        WHEN NOT {theirs} AND NOT pg_has_role(l.relowner, 'USAGE') THEN 'does not own the table learners'
    END
    FROM (SELECT min(n.nspname::text) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relname = 'sync_state' AND NOT has_schema_privilege(n.oid, 'USAGE')
            AND n.nspname = ANY (string_to_array(replace(replace(replace(current_setting('search_path'),
                '$user', current_user), '\"', ''), ' ', ''), ','))) h
        LEFT JOIN pg_class l ON l.oid = to_regclass({table})";

/// Why they cannot be changed.
const NOT_OWNED: &str = "SELECT current_user::text, CASE WHEN EXISTS (
        SELECT 1 FROM pg_class WHERE oid IN (to_regclass('sync_state'), to_regclass('sync_links'))
            AND NOT pg_has_role(relowner, 'USAGE')) THEN 'does not own them' END";

/// Refuses to begin with what our role may not do to tables of version `found`. A file is anybody's who may write to it.
///
/// # Errors
/// When the owner of the tables has to do it.
pub(super) async fn check(
    connection: &mut Connection,
    layout: &Layout,
    ours: bool,
    found: i64,
) -> Result<(), StoreError> {
    if matches!(connection, Connection::Sqlite(_)) {
        return Ok(());
    }
    let statement = match found {
        0 => {
            let text = OBSTACLE.replace("{theirs}", if ours { "false" } else { "true" });
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
