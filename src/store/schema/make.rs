//! The tables, made or completed now by their owner.

use std::path::Path;

use super::grants::grant;
use super::{VERSION, layout, owner, run, same_table, version};
use crate::model::{LockHolder, Table};
use crate::store::connection::Connection;
use crate::store::postgres::{self, Server, about_the_disk, take_cycle_lock};
use crate::store::transaction::in_a_migration;
use crate::store::{Access, DatabaseLocation, LearnerDatabase, Store, StoreError};

/// What became of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// They are of this program's version.
    Tables {
        /// The version they had before; 0 when there were none.
        found: i64,
    },
    /// A cycle runs; nothing was touched.
    Locked(LockHolder),
}

impl Store {
    /// The version of the tables that this program knows.
    pub const SCHEMA_VERSION: i64 = VERSION;

    /// Makes or completes the tables, all of them or none, and grants the role `writer` of a server what a daemon needs.
    /// Others see `command` as the holder of the lock on a server; that of a file is the caller's to take.
    pub async fn make_tables(
        learners: impl Into<LearnerDatabase>,
        command: &str,
        writer: Option<&str>,
    ) -> Result<Made, StoreError> {
        let LearnerDatabase { place, table } = learners.into();
        match place {
            DatabaseLocation::File(path) => in_file(&path, table).await,
            DatabaseLocation::Server(server) => on_server(&server, table.as_ref(), command, writer).await,
        }
    }
}

async fn in_file(path: &Path, external: Option<Table>) -> Result<Made, StoreError> {
    let learners = || LearnerDatabase { place: DatabaseLocation::File(path.to_owned()), table: external.clone() };
    let found = match Store::open(learners(), Access::ReadOnly).await {
        Ok(store) => {
            store.close().await?;
            VERSION
        }
        Err(StoreError::Older { found, supported: _ }) => found,
        Err(StoreError::Missing { path: _ }) => 0,
        Err(error) => return Err(error),
    };
    Store::open(learners(), Access::ReadWrite).await?.close().await?;
    Ok(Made::Tables { found })
}

async fn on_server(
    server: &Server,
    external: Option<&Table>,
    command: &str,
    writer: Option<&str>,
) -> Result<Made, StoreError> {
    let mut connection = postgres::connect(server).await?;
    let made = make(&mut connection, external, command, writer).await;
    let made = made.map_err(|error| match &connection {
        Connection::Postgres(session) => about_the_disk(&session.name, error),
        Connection::Sqlite(_) => error,
    })?;
    connection.close().await?;
    Ok(made)
}

async fn make(
    connection: &mut Connection,
    external: Option<&Table>,
    command: &str,
    writer: Option<&str>,
) -> Result<Made, StoreError> {
    let layout = layout(connection, external).await?;
    let ours = external.is_none();
    let found = version(connection, !ours).await?;
    if found < VERSION {
        owner::check(connection, &layout, external, found).await?;
    }
    // Without tables there is no cycle; one that begins now makes them before or after us.
    if found > 0
        && let Some(holder) = take_cycle_lock(connection, command).await?
    {
        return Ok(Made::Locked(holder));
    }
    let found = in_a_migration(connection, async |it| {
        let found = run(it, &layout, ours).await?;
        same_table(it, &layout, external).await?;
        if let Some(writer) = writer {
            grant(it, &layout, external, writer).await?;
        }
        Ok(found)
    })
    .await?;
    Ok(Made::Tables { found })
}
