//! What only SQLite knows: files, locks, result codes, and how values are spelled.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteError};
use sqlx::{ConnectOptions as _, Connection as _};

use super::connection::Connection;
use super::error::Cause;
use super::layout::Layout;
use super::transaction::PATIENCE;
use super::{StoreError, schema, table};
use crate::files;
use crate::model::Table;

/// How long a look at a file waits before it is opened in earnest, which waits longer.
const GLANCE: Duration = Duration::from_millis(200);

/// Rows on their way from SQLite's thread: the more there are, the more rarely the two threads of a scan wake each other.
const ROWS_AHEAD: usize = 1000;

fn options() -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .foreign_keys(true)
        .busy_timeout(PATIENCE)
        .row_buffer_size(ROWS_AHEAD)
        // Statements of a thousand placeholders are no help in a log.
        .disable_statement_logging()
}

async fn connect(options: SqliteConnectOptions) -> Result<Connection, sqlx::Error> {
    Ok(Connection::Sqlite(options.connect().await?))
}

/// Opens `path` to write; makes the file, its directory and the tables when they are missing.
pub(super) async fn open_to_write(path: &Path, external: Option<&Table>) -> Result<(Connection, Layout), StoreError> {
    inspect_to_write(path, external).await?;
    if let Some(directory) = files::directory_of(path) {
        std::fs::create_dir_all(directory).map_err(|error| cannot_open(path, error))?;
    }
    let opened = async {
        let mut connection = connect(options().filename(path).create_if_missing(true)).await?;
        match prepare(&mut connection, external).await {
            Ok(layout) => Ok((connection, layout)),
            Err(error) => Err(close_after(connection, error).await),
        }
    };
    opened.await.map_err(|error| about_the_file(path, error))
}

/// Opens `path` to read only.
pub(super) async fn open_to_read(path: &Path, external: Option<&Table>) -> Result<(Connection, Layout), StoreError> {
    if !inspect_to_read(path, external).await? {
        return Err(StoreError::Missing { path: path.into() });
    }
    let open = async || {
        let mut connection = connect(options().filename(path).read_only(true)).await?;
        match schema::check(&mut connection, external).await {
            Ok(layout) => Ok((connection, layout)),
            Err(error) => Err(close_after(connection, error).await),
        }
    };
    let opened = match open().await {
        Err(StoreError::Database(error)) if is_half_written(&error) => match undo_half_written(path).await {
            Ok(()) => open().await,
            Err(_) => Err(StoreError::Database(error)),
        },
        opened => opened,
    };
    opened.map_err(|error| about_the_file(path, error))
}

/// Whether a kill, or a power cut, has left a transaction in the file itself, as it can happen before the file has a
/// write-ahead log: while its tables are made. Who only reads may not undo it.
fn is_half_written(error: &sqlx::Error) -> bool {
    // SQLITE_READONLY_ROLLBACK
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "776")
}

/// Has SQLite undo what was left half done, and writes nothing else.
async fn undo_half_written(path: &Path) -> Result<(), sqlx::Error> {
    let mut connection = options().filename(path).connect().await?;
    sqlx::query("SELECT 1 FROM sqlite_master").execute(&mut connection).await?;
    connection.close().await
}

/// Closes a file that is refused at once: the process may end soon, and SQLite's log would be left behind.
async fn close_after(connection: Connection, error: StoreError) -> StoreError {
    // It is refused either way.
    let _ = connection.close().await;
    error
}

/// Refuses a path that cannot be written and a database that is not ours. Nothing is changed, and nothing made that
/// is missing.
pub(super) async fn inspect_to_write(path: &Path, external: Option<&Table>) -> Result<(), StoreError> {
    if !inspect_to_read(path, external).await? {
        return files::directory_of(path)
            .map_or(Ok(()), files::check_creatable)
            .map_err(|error| cannot_open(path, error));
    }
    for file in [path.to_owned(), files::beside(path, "-wal"), files::beside(path, "-shm")] {
        files::check_writable(&file).map_err(|error| cannot_open(&file, error))?;
    }
    // SQLite keeps its log beside the file.
    files::check_writable(files::directory_of(path).unwrap_or(Path::new("."))).map_err(|error| cannot_open(path, error))
}

/// Refuses a database that is not ours, with nothing changed; answers whether there is one at all.
///
/// A file that is missing has no table of somebody else, so then it is a mistake.
pub(super) async fn inspect_to_read(path: &Path, external: Option<&Table>) -> Result<bool, StoreError> {
    // SQLite says no more than "unable to open" whatever the cause, and would wait for a pipe.
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => match external {
            Some(table) => return Err(StoreError::Table { faults: vec![table::in_no_file(table, path)] }),
            None => return Ok(false),
        },
        Err(error) => return Err(cannot_open(path, error)),
    };
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "it is a directory" } else { "it is not a file" };
        return Err(cannot_open(path, io::Error::other(what)));
    }
    glance(path, external.is_some()).await?;
    Ok(true)
}

/// Looks whose the tables are. Whatever else is wrong shows when the file is opened.
async fn glance(path: &Path, external: bool) -> Result<(), StoreError> {
    let log = files::beside(path, "-wal");
    // Even to read, SQLite makes its log and an index beside a file in WAL mode; one that nobody has open has neither,
    // and can be read as it lies there.
    let as_it_lies = !log.exists() && in_wal_mode(path);
    let options = options().filename(path).read_only(true).busy_timeout(GLANCE).immutable(as_it_lies);
    let found = async {
        let mut connection = connect(options).await?;
        let found = schema::version(&mut connection, external).await;
        connection.close().await?;
        found
    };
    match found.await.map_err(|error| about_the_file(path, error)) {
        Err(
            refusal @ (StoreError::NotADatabase { .. }
            | StoreError::Foreign { .. }
            | StoreError::NotOurs { .. }
            | StoreError::Newer { .. }),
        ) if !as_it_lies || !log.exists() => Err(refusal),
        _ => Ok(()),
    }
}

/// By the two version numbers in the head of the file.
fn in_wal_mode(path: &Path) -> bool {
    let mut head = [0; 20];
    read_head(path, &mut head).is_ok() && head.starts_with(b"SQLite format 3\0") && head[18..] == [2, 2]
}

/// Reads the beginning of a database file, which a connection of this process may be writing at the moment: to close a file
/// lets go of all locks that the process has on it, <https://www.sqlite.org/howtocorrupt.html>. So it stays open, once for
/// each file that there ever was.
fn read_head(path: &Path, head: &mut [u8]) -> io::Result<()> {
    static OPEN: Mutex<BTreeMap<(u64, u64), File>> = Mutex::new(BTreeMap::new());
    let metadata = path.metadata()?;
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let file = match open.entry((metadata.dev(), metadata.ino())) {
        Entry::Occupied(file) => file.into_mut(),
        Entry::Vacant(place) => place.insert(File::open(path)?),
    };
    file.read_exact_at(head, 0)
}

fn cannot_open(path: &Path, source: io::Error) -> StoreError {
    StoreError::CannotOpen { path: path.into(), source: source.into() }
}

/// A new database in memory, with its tables.
pub(super) async fn open_in_memory(layout: &Layout) -> Result<Connection, StoreError> {
    let mut connection = connect(options().in_memory(true)).await?;
    schema::make(&mut connection, layout).await?;
    Ok(connection)
}

/// Opens `path` to read it, whatever is in it.
pub(super) async fn connect_to_read(path: &Path) -> Result<Connection, StoreError> {
    Ok(connect(options().filename(path).read_only(true)).await?)
}

/// Checks or makes the tables, and only then sets what is kept in the file: one that is refused stays as it was.
async fn prepare(connection: &mut Connection, external: Option<&Table>) -> Result<Layout, StoreError> {
    let layout = schema::migrate(connection, external).await?;
    // Readers (`status`, the training platform) never wait for a batch and a batch never for them. How somebody else keeps
    // a file of theirs is for them to say.
    if external.is_none() {
        let switched = connection.script("PRAGMA journal_mode = WAL").await;
        // Busy when somebody opened the new file at the same time: it works either way, and the next to open it tries
        // again.
        if let Err(error) = switched
            && !is_busy(&error)
        {
            return Err(error.into());
        }
    }
    // NORMAL would survive a kill, but not a power cut: what `approve` has confirmed, or the platform has already
    // read, would be undone. It costs one fsync a batch.
    connection.script("PRAGMA synchronous = FULL").await?;
    // The first read makes the index of the log, for which there may be no room: that is told here, with the file's name.
    connection.script("SELECT 1 FROM sqlite_master").await?;
    // Names come in another order than ids, so a first run touches most pages of an index in every batch: enough
    // memory to keep them (64 MiB, taken as needed), and a log long enough (40 MiB) not to copy them back each time.
    // What a statement of many rows would undo is kept in memory: in a file it is two thirds of all that is written.
    connection
        .script(
            "PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 10000; PRAGMA journal_size_limit = 67108864;
             PRAGMA temp_store = MEMORY",
        )
        .await?;
    Ok(layout)
}

/// Tells apart what is wrong with the disk from what is wrong with the database.
pub(super) fn about_the_disk(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Database(error) => match primary_code(&error) {
            // SQLITE_IOERR_SHMSIZE: there is no room for the index of the log, which is gone again when this is told.
            _ if extended_code(&error) == Some(4874) => full(path, error),
            // SQLITE_FULL
            Some(13) => full(path, error),
            // SQLITE_IOERR, SQLITE_CANTOPEN: so it calls a full disk where it makes or maps a file beside this one.
            Some(10 | 14) if files::disk_is_full(path) => full(path, error),
            _ => StoreError::Database(error),
        },
        other => other,
    }
}

fn full(path: &Path, source: Cause) -> StoreError {
    StoreError::Full { database: path.display().to_string(), source }
}

/// Tells apart what is wrong with the path, or with its disk, from what is wrong with the database.
fn about_the_file(path: &Path, error: StoreError) -> StoreError {
    match about_the_disk(path, error) {
        StoreError::Database(error) => match primary_code(&error) {
            // SQLITE_PERM, SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_AUTH
            Some(3 | 8 | 14 | 23) => StoreError::CannotOpen { path: path.into(), source: Box::new(error) },
            // SQLITE_NOTADB
            Some(26) => StoreError::NotADatabase { path: path.into() },
            _ => StoreError::Database(error),
        },
        // A path with a NUL or not in UTF-8.
        StoreError::Lost(error) => StoreError::CannotOpen { path: path.into(), source: Box::new(error) },
        other => other,
    }
}

/// SQLite's result code without its extension.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    extended_code(error).map(|code| code & 0xff)
}

fn extended_code(error: &sqlx::Error) -> Option<i32> {
    let error = error.as_database_error()?.try_downcast_ref::<SqliteError>()?;
    sqlx::error::DatabaseError::code(error)?.parse().ok()
}

/// Whether somebody else holds the lock.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    // SQLITE_BUSY, SQLITE_LOCKED
    matches!(primary_code(error), Some(5 | 6))
}

/// Whether what stands in the file is no database any more.
pub(super) fn is_damage(error: &sqlx::Error) -> bool {
    // SQLITE_CORRUPT
    primary_code(error) == Some(11)
}

/// Why the database refuses this very row, when that is what the error says. Names columns, never values.
pub(super) fn refusal(error: &sqlx::Error) -> Option<String> {
    // SQLITE_TOOBIG, SQLITE_CONSTRAINT, SQLITE_MISMATCH
    if !matches!(primary_code(error), Some(18..=20)) {
        return None;
    }
    let message = error.as_database_error()?.message();
    let after = |prefix| message.strip_prefix(prefix).map(str::trim);
    Some(if let Some(columns) = after("UNIQUE constraint failed:") {
        if columns.contains("sync_links.entra_id") {
            "the person is linked to another learner already".to_owned()
        } else if columns.contains("sync_links.learner_id") {
            "the learner is linked to another person already".to_owned()
        } else {
            format!("another learner has the same {}", columns.replace("learners.", ""))
        }
    } else if let Some(column) = after("NOT NULL constraint failed:") {
        format!("{} must have a value", column.replace("learners.", ""))
    } else if let Some(check) = after("CHECK constraint failed:") {
        format!("a check of the table fails: {check}")
    } else if message.starts_with("FOREIGN KEY") {
        "the learner row is gone".to_owned()
    } else {
        // A trigger may say anything, users's values included.
        "the database refuses the row; a trigger of the table may have raised an error".to_owned()
    })
}

/// A time as it stands in the database: UTC, to the second.
pub(super) fn time_text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The time that `text` says.
pub(super) fn time(text: &str, column: &'static str) -> Result<Timestamp, StoreError> {
    text.parse().map_err(|_| StoreError::Unreadable { column })
}
