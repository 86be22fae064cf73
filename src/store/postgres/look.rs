//! What `check` tells of a server: which one it is, and what our role may not do there.

use super::{Server, connect_to_read};
use crate::store::connection::Connection;
use crate::store::sql::Statement;
use crate::store::{Place, Store, StoreError, table};

/// What a cycle does with each table.
const RIGHTS: [(&str, &[&str]); 9] = [
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

impl Store {
    /// Which database is at `place`, in words. A server is asked for its version.
    pub async fn describe(place: &Place) -> Result<String, StoreError> {
        match place {
            Place::File(path) => Ok(path.display().to_string()),
            Place::Server(server) => describe(server).await,
        }
    }

    /// What has to be granted before a cycle can write here, in SQL. The rights on a file are the system's.
    pub async fn missing_rights(&self) -> Result<Vec<String>, StoreError> {
        let mut connection = self.connection().await;
        if matches!(*connection, Connection::Sqlite(_)) {
            return Ok(Vec::new());
        }
        // A table of somebody else is looked at column by column.
        let tables = RIGHTS.iter().filter(|(table, _)| self.table.is_none() || *table != "learners");
        let wanted = tables.flat_map(|(table, rights)| rights.iter().map(move |right| (*table, *right)));
        let mut statement = Statement::new("SELECT 'GRANT ' || v.column2 || ' ON ' || v.column1 || ' TO ' ||");
        statement.push(" quote_ident(current_user) FROM (");
        statement.push_values(wanted, |row, (table, right)| {
            row.push_bind(table).push_bind(right);
        });
        statement.push(") AS v WHERE NOT has_table_privilege(v.column1, v.column2)");
        let rows = connection.rows(statement).await?;
        let mut missing: Vec<String> = rows.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?;
        if let Some(table) = &self.table {
            missing.extend(table::missing_rights(&mut connection, table, &self.layout).await?);
        }
        Ok(missing)
    }
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
