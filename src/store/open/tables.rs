//! The commands `schema print` and `schema apply`: the tables as a script, or created now by their owner.

use super::{connect_to_read, file, server};
use crate::model::{LockHolder, Table};
use crate::store::cycle_lock::take_cycle_lock;
use crate::store::db::{Access, Connection, Dialect, TransactionEnd, in_transaction};
use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::location::{DatabaseLocation, LearnerDatabase};
use crate::store::schema;
use crate::store::table::Layout;

/// The result of creating or migrating the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MigrationResult {
    /// The tables have this program's version.
    Migrated {
        /// Their previous version; 0 when there were none.
        found: i64,
    },
    /// A cycle is running; nothing was changed.
    Locked(LockHolder),
}

impl Store {
    /// The schema version of this program.
    pub const SCHEMA_VERSION: i64 = schema::VERSION;

    /// Creates or migrates all tables in one transaction, and grants the role `writer` of a server the rights of a daemon.
    /// Other processes see `command` as the holder of the lock on a server. The caller takes the lock of a file.
    pub async fn migrate(
        database: impl Into<LearnerDatabase>,
        command: &str,
        writer: Option<&str>,
    ) -> Result<MigrationResult, StoreError> {
        // An administrator asks for the tables, also in the place of a file that has been lost.
        let database = LearnerDatabase { used: None, ..database.into() };
        match &database.place {
            DatabaseLocation::File(_) => migrate_file(&database).await,
            DatabaseLocation::Server(server) => {
                let mut connection = server::connect(server, Access::ReadWrite).await?;
                let result = migrate_server(&mut connection, database.table.as_ref(), command, writer).await?;
                connection.close().await?;
                Ok(result)
            }
        }
    }

    /// The SQL that migrates the tables from version `from`, and grants `writer` the rights of a daemon. The database is
    /// read only for an external table: the links have the type of its ids.
    pub async fn script(
        database: impl Into<LearnerDatabase>,
        from: usize,
        writer: Option<&str>,
    ) -> Result<String, StoreError> {
        let LearnerDatabase { place, table, used: _ } = database.into();
        let external = table.as_ref();
        let layout = match external {
            None => Layout::standard(),
            Some(_) => {
                if let DatabaseLocation::File(path) = &place {
                    file::inspect_to_read(path, external).await?;
                }
                let mut connection = connect_to_read(&place).await?;
                let layout = schema::read_layout(&mut connection, external).await;
                connection.close().await?;
                layout?
            }
        };
        let dialect = match place {
            DatabaseLocation::File(_) => Dialect::Sqlite,
            DatabaseLocation::Server(_) => Dialect::Postgres,
        };
        Ok(schema::script(dialect, &layout, from, writer))
    }
}

async fn migrate_file(database: &LearnerDatabase) -> Result<MigrationResult, StoreError> {
    let found = match Store::open(database, Access::ReadOnly).await {
        Ok(store) => {
            store.close().await?;
            schema::VERSION
        }
        Err(StoreError::Older { found, supported: _ }) => found,
        Err(StoreError::Missing { path: _ }) => 0,
        Err(error) => return Err(error),
    };
    Store::open(database, Access::ReadWrite).await?.close().await?;
    Ok(MigrationResult::Migrated { found })
}

async fn migrate_server(
    connection: &mut Connection,
    external: Option<&Table>,
    command: &str,
    writer: Option<&str>,
) -> Result<MigrationResult, StoreError> {
    let layout = schema::read_layout(connection, external).await?;
    let found = schema::peek_schema(connection, external.is_some()).await?;
    if found < schema::VERSION {
        schema::check_ownership(connection, &layout, found).await?;
    }
    // Without tables no cycle runs; one that starts now creates them before or after this transaction.
    if found > 0
        && let Some(holder) = take_cycle_lock(connection, command).await?
    {
        return Ok(MigrationResult::Locked(holder));
    }
    let found = in_transaction(connection, None, TransactionEnd::Commit, async |connection| {
        let found = schema::run_migrations(connection, &layout).await?;
        schema::check_links(connection, &layout).await?;
        if let Some(writer) = writer {
            schema::grant(connection, &layout, writer).await?;
        }
        Ok::<_, StoreError>(found)
    })
    .await?;
    Ok(MigrationResult::Migrated { found })
}
