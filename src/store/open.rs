//! Opening a learner database: inspecting it before anything is written, opening it, and copying it into memory.

mod copy;
mod file;
mod hosts;
mod reconnect;
mod server;
mod tables;

pub use self::hosts::HostReport;
pub use self::tables::MigrationResult;
use super::db::Access;
use super::error::StoreError;
use super::handle::Store;
use super::location::{DatabaseLocation, LearnerDatabase};
use super::table::Layout;

/// A learner database that was inspected and may be opened. Only [`Store::inspect`] makes one.
#[derive(Clone, Debug)]
pub struct Inspected {
    database: LearnerDatabase,
    access: Access,
    exists: bool,
}

impl Inspected {
    /// Whether the file exists; a server is not contacted, and counts as existing.
    pub fn exists(&self) -> bool {
        self.exists
    }
}

impl Store {
    /// Inspects a learner database without changing anything: refuses what opening it would refuse, as far as that can be
    /// seen. A missing file is not an error. A server is not contacted.
    pub async fn inspect(database: impl Into<LearnerDatabase>, access: Access) -> Result<Inspected, StoreError> {
        let database = database.into();
        let table = database.table.as_ref();
        if let (DatabaseLocation::File(path), Some(used)) = (&database.place, &database.used) {
            used.check(path)?;
        }
        let exists = match (&database.place, access) {
            (DatabaseLocation::File(path), Access::ReadWrite) => file::inspect_to_write(path, table).await?,
            (DatabaseLocation::File(path), Access::ReadOnly | Access::ReadAnyHost | Access::ReadBriefly) => {
                file::inspect_to_read(path, table).await?
            }
            (DatabaseLocation::Server(_), _) => true,
        };
        Ok(Inspected { database, access, exists })
    }

    /// Opens a learner database that was inspected.
    pub async fn open_inspected(inspected: &Inspected) -> Result<Self, StoreError> {
        let Inspected { database: LearnerDatabase { place, table, used: _ }, access, exists } = inspected;
        let external = table.as_ref();
        let (connection, layout) = match (place, access) {
            (DatabaseLocation::File(path), Access::ReadWrite) => file::open_to_write(path, external, !exists).await?,
            (DatabaseLocation::File(path), Access::ReadOnly | Access::ReadAnyHost | Access::ReadBriefly) if !exists => {
                return Err(StoreError::Missing { path: path.clone() });
            }
            (DatabaseLocation::File(path), Access::ReadOnly | Access::ReadAnyHost | Access::ReadBriefly) => {
                file::open_to_read(path, *access, external).await?
            }
            (DatabaseLocation::Server(server), access) => server::open(server, *access, external).await?,
        };
        Ok(Self::new(connection, layout).with_origin(&inspected.database))
    }

    /// Opens a learner database that was inspected, but does not migrate an older schema: a cycle of the older version may
    /// be running.
    ///
    /// # Errors
    /// [`StoreError::Older`] when the next cycle has to migrate it.
    pub async fn open_unmigrated(inspected: &Inspected) -> Result<Self, StoreError> {
        match Self::open(&inspected.database, Access::ReadOnly).await {
            Ok(store) => store.close().await?,
            Err(error @ StoreError::Older { found: 1.., .. }) => return Err(error),
            // Opening it to write creates it, or reports the same error.
            Err(_) => {}
        }
        Self::open_inspected(inspected).await
    }

    /// Inspects and opens a learner database.
    pub async fn open(database: impl Into<LearnerDatabase>, access: Access) -> Result<Self, StoreError> {
        Self::open_inspected(&Self::inspect(database, access).await?).await
    }

    /// Creates an empty learner database in memory, which ends when it is dropped.
    pub async fn in_memory() -> Result<Self, StoreError> {
        let layout = Layout::standard();
        Ok(Self::new(file::create_in_memory(&layout).await?, layout))
    }

    /// Copies the learners into a database in memory with our tables, as the first cycle would find them. The database is
    /// only read.
    pub async fn copy_in_memory(database: impl Into<LearnerDatabase>) -> Result<Self, StoreError> {
        let LearnerDatabase { place, table, used: _ } = database.into();
        let mut source = connect_to_read(&place).await?;
        let copy = copy::copy_learners(&mut source, table.as_ref()).await;
        source.close().await?;
        let (connection, layout) = copy?;
        Ok(Self::new(connection, layout))
    }
}

/// Connects to a database with any content, to read it.
async fn connect_to_read(place: &DatabaseLocation) -> Result<super::db::Connection, StoreError> {
    match place {
        DatabaseLocation::File(path) => Ok(super::db::sqlite::connect_to_read(path, Access::ReadOnly).await?),
        DatabaseLocation::Server(server) => server::connect(server, Access::ReadOnly).await,
    }
}
