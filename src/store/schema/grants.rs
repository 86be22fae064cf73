//! Grants for a role that runs cycles without owning a table: the rights that a cycle needs, and no others.

use super::rights::{MISSING_USAGE, RIGHTS, missing_rights};
use crate::store::db::{Connection, DbError, quote_identifier, quote_literal};
use crate::store::error::StoreError;
use crate::store::table::{Layout, sql_name};

/// The statements that grant `writer` all rights of a daemon. Rights on an external table are granted for each column.
pub(super) fn grants(layout: &Layout, writer: &str) -> Vec<String> {
    let external = layout.external.as_ref();
    let (name, role) = (quote_literal(writer), quote_identifier(writer));
    let tables = match external {
        Some(_) => format!("'sync_state'::regclass, {}::regclass", quote_literal(&layout.table)),
        None => "'sync_state'::regclass".to_owned(),
    };
    let schemas = MISSING_USAGE.trim_end().replace("{role}", &name).replace("{tables}", &tables);
    // The schema of the tables is known only when the script runs.
    let usage = format!(
        "-- The schemas of the tables, where the role may not use them yet.\nDO $$\nDECLARE\n    missing text;\nBEGIN\n    FOR missing IN\n        {schemas}\n    LOOP\n        EXECUTE missing;\n    \
         END LOOP;\nEND $$;\n"
    );
    let learners = match external {
        Some(table) => {
            let listed = layout.rights(&table.mapped).map(|(right, columns)| {
                let columns: Vec<String> = columns.iter().map(|column| quote_identifier(column)).collect();
                format!("{right} ({})", columns.join(", "))
            });
            Some(format!("GRANT {} ON {} TO {role};\n", listed.join(", "), sql_name(table)))
        }
        None => None,
    };
    let ours = RIGHTS.iter().filter(|(table, _)| external.is_none() || *table != "learners");
    let ours = ours.map(|(table, rights)| format!("GRANT {} ON {table} TO {role};\n", rights.join(", ")));
    [usage].into_iter().chain(learners).chain(ours).collect()
}

/// Grants `writer` the rights that it lacks.
///
/// # Errors
/// When rights are still missing: only the owner of an external table can grant rights on it.
pub(crate) async fn grant(connection: &mut Connection, layout: &Layout, writer: &str) -> Result<(), StoreError> {
    let (role, missing) = missing_rights(connection, Some(writer), layout).await?;
    for (granted, statement) in missing.iter().enumerate() {
        if let Err(error) = connection.script(statement).await {
            let missing = missing[granted..].to_vec();
            return Err(match error {
                DbError::Denied(_) => StoreError::NotGranted { role, missing },
                error => error.into(),
            });
        }
    }
    // PostgreSQL only warns when it grants some of the rights.
    let (role, missing) = missing_rights(connection, Some(writer), layout).await?;
    if missing.is_empty() { Ok(()) } else { Err(StoreError::NotGranted { role, missing }) }
}
