//! Opening a learner database on a PostgreSQL server.

use crate::model::Table;
use crate::store::cycle_lock::take_cycle_lock;
use crate::store::db::postgres;
use crate::store::db::{Access, Connection, Dialect, HostFault, PassedHost, PostgresServer, Statement};
use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::schema;
use crate::store::table::Layout;

impl Store {
    /// The SQL statements that grant the rights that a cycle needs and the role lacks. None for a file.
    pub async fn missing_rights(&self) -> Result<Vec<String>, StoreError> {
        let mut connection = self.connection().await;
        match connection.dialect() {
            Dialect::Sqlite => Ok(Vec::new()),
            Dialect::Postgres => Ok(schema::missing_rights(&mut connection, None, &self.layout).await?.1),
        }
    }
}

/// Connects; to write, also creates or migrates the tables.
pub(super) async fn open(
    server: &PostgresServer,
    access: Access,
    external: Option<&Table>,
) -> Result<(Connection, Layout), StoreError> {
    let mut connection = connect(server, access).await?;
    let layout = match (schema::check(&mut connection, external).await, access) {
        (Err(error @ StoreError::Older { found, .. }), Access::ReadWrite) => {
            // The tables must not change during a cycle of an older version.
            if found > 0 && take_cycle_lock(&mut connection, "learner-sync").await?.is_some() {
                return Err(error);
            }
            schema::migrate(&mut connection, external).await?
        }
        (checked, _) => checked?,
    };
    if connection.shares_sessions() {
        // Once a type of the table is known, no statement of a transaction has to ask for it.
        connection.rows(Statement::new(format!("SELECT * FROM {} LIMIT 0", layout.table))).await?;
    }
    Ok((connection, layout))
}

/// Connects to a server with any tables: to write, to one that accepts writes.
pub(super) async fn connect(server: &PostgresServer, access: Access) -> Result<Connection, StoreError> {
    postgres::connect(server, access).await.map_err(|hosts| no_host(server, hosts))
}

/// The error of a server none of whose `hosts` can be used.
pub(super) fn no_host(server: &PostgresServer, hosts: Vec<PassedHost>) -> StoreError {
    let place = server.url_place.clone();
    match <[PassedHost; 1]>::try_from(hosts) {
        Ok([PassedHost { name: database, fault }]) => match fault {
            HostFault::ReadOnly(why) => StoreError::ReadOnly { database, why },
            HostFault::Unreachable(source) => StoreError::NoConnection { database, place, source },
            HostFault::TooOld(found) => StoreError::TooOld { database, place, found },
            HostFault::Failed(error) => error.into(),
        },
        Err(hosts) => StoreError::NoHost { place, hosts },
    }
}
