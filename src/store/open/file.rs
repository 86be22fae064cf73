//! Opening a learner database in an SQLite file.

use std::io;
use std::path::Path;

use crate::files;
use crate::model::Table;
use crate::store::db::{Access, Connection, DbError, sqlite};
use crate::store::error::StoreError;
use crate::store::schema;
use crate::store::table::{Layout, missing_file};

/// Opens an inspected file to write. Creates the tables when they are missing, and with `create` the file and its directory:
/// a file that has vanished since the inspection is not created.
pub(super) async fn open_to_write(
    path: &Path,
    external: Option<&Table>,
    create: bool,
) -> Result<(Connection, Layout), StoreError> {
    if let Some(directory) = files::directory_of(path).filter(|_| create) {
        std::fs::create_dir_all(directory).map_err(|error| cannot_open(path, error))?;
    }
    let opened = async {
        let mut connection = sqlite::connect_to_write(path, create).await?;
        let layout = migrate(&mut connection, external).await;
        close_refused(connection, layout).await
    };
    opened.await.map_err(|error| open_error(path, error))
}

/// Opens an inspected file to read only.
pub(super) async fn open_to_read(
    path: &Path,
    access: Access,
    external: Option<&Table>,
) -> Result<(Connection, Layout), StoreError> {
    let open = async || {
        let mut connection = sqlite::connect_to_read(path, access).await?;
        let layout = schema::check(&mut connection, external).await;
        close_refused(connection, layout).await
    };
    let opened = match open().await {
        Err(StoreError::Database(error)) if sqlite::needs_recovery(&error) => match sqlite::recover(path).await {
            Ok(()) => open().await,
            Err(_) => Err(error.into()),
        },
        opened => opened,
    };
    opened.map_err(|error| open_error(path, error))
}

/// Creates an empty database in memory, with the tables.
pub(super) async fn create_in_memory(layout: &Layout) -> Result<Connection, StoreError> {
    let mut connection = sqlite::connect_in_memory().await?;
    schema::migrate_in_transaction(&mut connection, layout).await?;
    Ok(connection)
}

/// Closes a refused file at once: the process may end soon, and would leave SQLite's log behind.
async fn close_refused(
    connection: Connection,
    layout: Result<Layout, StoreError>,
) -> Result<(Connection, Layout), StoreError> {
    match layout {
        Ok(layout) => Ok((connection, layout)),
        Err(error) => {
            // The first error counts.
            let _ = connection.close().await;
            Err(error)
        }
    }
}

/// Refuses a path that cannot be written, and a foreign database. Returns whether the file exists; changes nothing.
pub(super) async fn inspect_to_write(path: &Path, external: Option<&Table>) -> Result<bool, StoreError> {
    if !inspect_to_read(path, external).await? {
        let creatable = files::directory_of(path).map_or(Ok(()), files::check_creatable);
        return creatable.map(|()| false).map_err(|error| cannot_open(path, error));
    }
    for file in [path.to_owned(), files::beside(path, "-wal"), files::beside(path, "-shm")] {
        files::check_writable(&file).map_err(|error| cannot_open(&file, error))?;
    }
    // SQLite creates its log in the directory of the file.
    let directory = files::directory_of(path).unwrap_or(Path::new("."));
    files::check_writable(directory).map(|()| true).map_err(|error| cannot_open(path, error))
}

/// Refuses a foreign database. Returns whether the file exists; changes nothing.
///
/// An external table needs a file that exists.
pub(super) async fn inspect_to_read(path: &Path, external: Option<&Table>) -> Result<bool, StoreError> {
    // SQLite names these files after the target of a link.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    sqlite::check_side_files(&target).map_err(|(side, error)| cannot_open(&side, error))?;
    // SQLite reports "unable to open" for any cause, and would wait for a FIFO.
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => match external {
            Some(table) => return Err(StoreError::Table { faults: vec![missing_file(table, path)] }),
            None => return Ok(false),
        },
        Err(error) => return Err(cannot_open(path, error)),
    };
    files::check_regular(&metadata).map_err(|error| cannot_open(path, error))?;
    refuse_foreign(path, external.is_some()).await?;
    Ok(true)
}

/// Peeks at the tables, and refuses those of another program. Any other problem is reported when the file is opened.
async fn refuse_foreign(path: &Path, external: bool) -> Result<(), StoreError> {
    let mut immutable = false;
    let peeked = async {
        let (mut connection, is_immutable) = sqlite::peek(path).await?;
        immutable = is_immutable;
        let found = schema::peek_schema(&mut connection, external).await;
        connection.close().await?;
        found
    };
    match peeked.await.map_err(|error| open_error(path, error)) {
        // A log that has just appeared means that a process wrote to the file during an immutable read.
        Err(
            refusal @ (StoreError::NotADatabase { .. }
            | StoreError::Foreign { .. }
            | StoreError::NotOurs { .. }
            | StoreError::StateDamaged { .. }
            | StoreError::Newer { .. }),
        ) if !immutable || !sqlite::has_log(path) => Err(refusal),
        _ => Ok(()),
    }
}

fn cannot_open(path: &Path, source: io::Error) -> StoreError {
    StoreError::CannotOpen { path: path.into(), source: source.into() }
}

/// Names the path if it is the problem, and not the database.
fn open_error(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Database(error) if sqlite::is_inaccessible(&error) => {
            StoreError::CannotOpen { path: path.into(), source: Box::new(error) }
        }
        StoreError::Database(error) if sqlite::is_not_a_database(&error) => {
            StoreError::NotADatabase { path: path.into() }
        }
        error => error,
    }
}

/// Checks or creates the tables, and only then changes settings of the file: a refused file stays as it was.
async fn migrate(connection: &mut Connection, external: Option<&Table>) -> Result<Layout, StoreError> {
    let layout = schema::migrate(connection, external).await?;
    // In WAL mode readers (`status`, the training platform) and batches never wait for each other. The platform decides
    // about the mode of a file with its own table.
    if external.is_none() {
        // Busy when another process opens the new file at the same time. Either mode works, and the next process to open it
        // tries again.
        match connection.script("PRAGMA journal_mode = WAL").await {
            Ok(()) | Err(DbError::Busy(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // NORMAL survives a kill, but not a power cut: it would undo what `approve` has confirmed or the platform has read. FULL
    // costs one fsync for each batch.
    connection.script("PRAGMA synchronous = FULL").await?;
    // The first read creates the index of the log. If the disk is full, it fails here, and the error names the file.
    connection.script("SELECT 1 FROM sqlite_master").await?;
    // Reads pass over each page once. Statement journals stay in memory: in a file they would be two thirds of all writes.
    connection
        .script(&format!(
            "PRAGMA cache_size = -4096; PRAGMA wal_autocheckpoint = {};
             PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY",
            sqlite::CHECKPOINT_PAGES
        ))
        .await?;
    Ok(layout)
}
