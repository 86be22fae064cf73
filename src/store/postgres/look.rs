//! What `check` tells of a server: which one it is, and what our role may not do there.

use super::{Server, connect_to_read};
use crate::model::Table;
use crate::store::connection::Connection;
use crate::store::layout::Layout;
use crate::store::sql::Statement;
use crate::store::{DatabaseLocation, Store, StoreError, table};

/// What a cycle does with each table.
pub(in crate::store) const RIGHTS: [(&str, &[&str]); 9] = [
    ("learners", &["SELECT", "INSERT", "UPDATE"]),
    ("sync_links", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("sync_held", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("sync_failures", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("sync_groups", &["SELECT", "INSERT", "UPDATE"]),
    ("sync_cycles", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("sync_state", &["SELECT", "UPDATE"]),
    ("provisioning_log", &["SELECT", "INSERT", "DELETE"]),
    ("audit_log", &["INSERT"]),
];

/// The schemas of the tables, of those that `{tables}` lists, which the role `{role}` may not use; and the sequences of
/// serial columns in them. Those of identities ask for nothing.
pub(in crate::store) const UNUSABLE_SCHEMAS: &str =
    "SELECT format('GRANT USAGE ON SCHEMA %s TO %I', n.oid::regnamespace, {role})
        FROM pg_namespace n
        WHERE n.oid IN (SELECT relnamespace FROM pg_class WHERE oid IN ({tables}))
          AND NOT has_schema_privilege({role}, n.oid, 'USAGE')
        UNION ALL
        SELECT format('GRANT USAGE ON SEQUENCE %s TO %I', s.oid::regclass, {role})
        FROM pg_depend d JOIN pg_class s ON s.oid = d.objid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'a'
          AND d.refobjid IN ({tables})
          AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege({role}, s.oid, 'USAGE') END";

impl Store {
    /// Which database is at `place`, in words. A server is asked for its version.
    pub async fn describe(place: &DatabaseLocation) -> Result<String, StoreError> {
        match place {
            DatabaseLocation::File(path) => Ok(path.display().to_string()),
            DatabaseLocation::Server(server) => describe(server).await,
        }
    }

    /// What has to be granted before a cycle can write here, in SQL. The rights on a file are the system's.
    pub async fn missing_rights(&self) -> Result<Vec<String>, StoreError> {
        let mut connection = self.connection().await;
        match &*connection {
            Connection::Sqlite(_) => Ok(Vec::new()),
            Connection::Postgres(_) => {
                let missing = missing_rights(&mut connection, None, self.table.as_ref(), &self.layout).await?;
                Ok(missing.1)
            }
        }
    }
}

/// What `role` lacks, or our own role without one, in SQL that grants it, one statement after the other; and which role
/// that is.
pub(in crate::store) async fn missing_rights(
    connection: &mut Connection,
    role: Option<&str>,
    external: Option<&Table>,
    layout: &Layout,
) -> Result<(String, Vec<String>), StoreError> {
    let role: String = match role {
        Some(role) => role.to_owned(),
        None => connection.row(Statement::new("SELECT current_user::text")).await?.get(0)?,
    };
    let schemas = UNUSABLE_SCHEMAS.replace("{role}", "$1::name");
    let schemas = schemas.replace("{tables}", "to_regclass('sync_state'), to_regclass($2)");
    let schemas = Statement::new(schemas).bind(role.as_str()).bind(layout.table.as_str());
    let schemas = connection.rows(schemas).await?;

    // A table of somebody else is looked at column by column.
    let tables = RIGHTS.iter().filter(|(table, _)| external.is_none() || *table != "learners");
    let wanted = tables.flat_map(|(table, rights)| rights.iter().map(move |right| (*table, *right)));
    let mut statement = Statement::new("SELECT 'GRANT ' || v.column2 || ' ON ' || v.column1 || ' TO ' ||");
    statement.push(" quote_ident(").push_bind(role.as_str()).push(") FROM (");
    statement.push_values(wanted, |row, (table, right)| {
        row.push_bind(table).push_bind(right);
    });
    statement.push(") AS v WHERE NOT has_table_privilege(").push_bind(role.as_str());
    statement.push("::name, to_regclass(v.column1)::oid, v.column2)");
    // What is ours to grant comes first.
    let mut rows = connection.rows(statement).await?;
    rows.extend(schemas);
    let mut missing: Vec<String> = rows.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?;
    if let Some(table) = external {
        missing.extend(table::missing_rights(connection, &role, table, layout).await?);
    }
    Ok((role, missing))
}

async fn describe(server: &Server) -> Result<String, StoreError> {
    let mut connection = connect_to_read(server).await?;
    let statement = Statement::new(
        "SELECT current_setting('server_version'), coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()),
             false), inet_client_addr() IS NULL",
    );
    let row = connection.row(statement).await?;
    let (version, encrypted, local): (String, bool, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let way = match (encrypted, local) {
        (true, _) => ", encrypted",
        (false, true) => "",
        (false, false) => ", not encrypted",
    };
    let name = match &connection {
        Connection::Postgres(session) => session.name.clone(),
        Connection::Sqlite(_) => String::new(),
    };
    connection.close().await?;
    Ok(format!("{name}: PostgreSQL {version}{way}"))
}
