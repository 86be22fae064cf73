//! Opening a learner database on a PostgreSQL server.

use super::Access;
use crate::model::Table;
use crate::store::cycle_lock::take_cycle_lock;
use crate::store::db::postgres::{self, ConnectError};
use crate::store::db::{Connection, Dialect, PostgresServer, Statement};
use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::location::DatabaseLocation;
use crate::store::schema;
use crate::store::table::Layout;

impl Store {
    /// A description of the database at `place`: its file, or its server with the version.
    pub async fn describe(place: &DatabaseLocation) -> Result<String, StoreError> {
        let server = match place {
            DatabaseLocation::File(path) => return Ok(path.display().to_string()),
            DatabaseLocation::Server(server) => server,
        };
        let mut connection = connect(server, Access::ReadOnly).await?;
        let statement = Statement::new(
            "SELECT current_setting('server_version'),
                    coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false),
                    inet_client_addr() IS NULL",
        );
        let row = connection.row(statement).await?;
        let (version, encrypted, local): (String, bool, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let encryption = match (encrypted, local) {
            (true, _) => ", encrypted",
            (false, true) => "",
            (false, false) => ", not encrypted",
        };
        let description = format!("{}: PostgreSQL {version}{encryption}", connection.server_name());
        connection.close().await?;
        Ok(description)
    }

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
    Ok((connection, layout))
}

/// Connects to a server with any tables.
pub(super) async fn connect(server: &PostgresServer, access: Access) -> Result<Connection, StoreError> {
    let connected = match access {
        Access::ReadWrite => postgres::connect(server).await,
        Access::ReadOnly => postgres::connect_to_read(server).await,
    };
    let place = || server.url_place.clone();
    connected.map_err(|error| match error {
        ConnectError::Unreachable { database, cause } => {
            StoreError::NoConnection { database, place: place(), source: cause }
        }
        ConnectError::TooOld { database, found } => StoreError::TooOld { database, place: place(), found },
        ConnectError::Failed(error) => error.into(),
    })
}
