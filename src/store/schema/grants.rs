//! The rights of a role that keeps the learners without owning a table: what a cycle does, and nothing else.

use crate::model::Table;
use crate::store::connection::Connection;
use crate::store::layout::{Layout, literal, quoted};
use crate::store::postgres::{RIGHTS, UNUSABLE_SCHEMAS, is_denied, missing_rights};
use crate::store::{StoreError, table};

/// The statements that grant `writer` everything that a daemon needs. A table of somebody else is granted column by
/// column.
pub(super) fn grants(layout: &Layout, external: Option<&Table>, writer: &str) -> Vec<String> {
    let (name, role) = (literal(writer), quoted(writer));
    let tables = match external {
        Some(_) => format!("'sync_state'::regclass, {}::regclass", literal(&layout.table)),
        None => "'sync_state'::regclass".to_owned(),
    };
    let schemas = UNUSABLE_SCHEMAS.replace("{role}", &name).replace("{tables}", &tables);
    // Only when it is run is it known in which schema they are.
    let usage = format!(
        "-- The schemas of the tables, where it may not use them yet.\nDO $$\nDECLARE\n    missing text;\nBEGIN\n    FOR missing IN\n        {schemas}\n    LOOP\n        EXECUTE missing;\n    \
         END LOOP;\nEND $$;\n"
    );
    let learners = match external {
        Some(table) => {
            let listed = layout.rights(&table.mapped).map(|(right, columns)| {
                let columns: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
                format!("{right} ({})", columns.join(", "))
            });
            Some(format!("GRANT {} ON {} TO {role};\n", listed.join(", "), table::sql(table)))
        }
        None => None,
    };
    let ours = RIGHTS.iter().filter(|(table, _)| external.is_none() || *table != "learners");
    let ours = ours.map(|(table, rights)| format!("GRANT {} ON {table} TO {role};\n", rights.join(", ")));
    [usage].into_iter().chain(learners).chain(ours).collect()
}

/// Grants `writer` what it lacks.
///
/// # Errors
/// When it lacks something still: a table of somebody else is not ours to grant.
pub(super) async fn grant(
    connection: &mut Connection,
    layout: &Layout,
    external: Option<&Table>,
    writer: &str,
) -> Result<(), StoreError> {
    let (role, missing) = missing_rights(connection, Some(writer), external, layout).await?;
    for (granted, statement) in missing.iter().enumerate() {
        if let Err(error) = connection.script(statement).await {
            let missing = missing[granted..].to_vec();
            return Err(if is_denied(&error) { StoreError::NotGranted { role, missing } } else { error.into() });
        }
    }
    // Of a part of what it may not grant, a server only warns.
    let (role, missing) = missing_rights(connection, Some(writer), external, layout).await?;
    if missing.is_empty() { Ok(()) } else { Err(StoreError::NotGranted { role, missing }) }
}
