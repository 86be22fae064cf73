//! The specifics of SQLite: files, result codes, and the form of times.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteError};

use super::access::Access;
use super::connection::{Connection, SqliteFile};
use super::error::{DbError, EngineReport, RowRefusal, ViolatedKey};
use super::postgres;
use super::transaction::LOCK_TIMEOUT;
use crate::files;

/// How long a peek waits for a lock. Opening the file waits longer.
const PEEK_TIMEOUT: Duration = Duration::from_millis(200);

/// How long a brief read waits for a lock.
const BRIEF_TIMEOUT: Duration = Duration::from_secs(2);

/// Rows buffered between SQLite's thread and ours: with more of them a scan wakes the threads less often.
const ROW_BUFFER: usize = 1000;

/// The pages in the write-ahead log at which they are copied into the file: a log of 120 MiB avoids copying the pages of
/// each batch.
pub(crate) const CHECKPOINT_PAGES: u64 = 30_000;

fn options() -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .foreign_keys(true)
        .busy_timeout(LOCK_TIMEOUT)
        .row_buffer_size(ROW_BUFFER)
        // A statement with a thousand placeholders is useless in a log.
        .disable_statement_logging()
}

async fn connect(options: SqliteConnectOptions, path: Option<&Path>) -> Result<Connection, DbError> {
    let connection = options.connect().await.map_err(|error| classify(path, error))?;
    Ok(Connection::Sqlite(SqliteFile { connection, path: path.map(Path::to_owned) }))
}

/// Opens the file to write; with `create`, a missing file is created.
pub(crate) async fn connect_to_write(path: &Path, create: bool) -> Result<Connection, DbError> {
    connect(options().filename(path).create_if_missing(create), Some(path)).await
}

/// Opens the file to read only.
pub(crate) async fn connect_to_read(path: &Path, access: Access) -> Result<Connection, DbError> {
    let timeout = if access == Access::ReadBriefly { BRIEF_TIMEOUT } else { LOCK_TIMEOUT };
    connect(options().filename(path).read_only(true).busy_timeout(timeout), Some(path)).await
}

/// Creates an empty database in memory.
pub(crate) async fn connect_in_memory() -> Result<Connection, DbError> {
    connect(options().in_memory(true), None).await
}

/// Opens the file for a short look, without creating other files beside it. Also returns whether the file is immutable:
/// read as if nobody could write it.
///
/// Even a reader makes SQLite create a log and an index beside a file in WAL mode. A file that no process has open has
/// neither, and can be read as it is.
pub(crate) async fn peek(path: &Path) -> Result<(Connection, bool), DbError> {
    let immutable = !has_log(path) && is_in_wal_mode(path);
    let options = options().filename(path).read_only(true).busy_timeout(PEEK_TIMEOUT).immutable(immutable);
    Ok((connect(options, Some(path)).await?, immutable))
}

/// Whether the file has a write-ahead log, which means that a process has it open or was killed.
pub(crate) fn has_log(path: &Path) -> bool {
    files::beside(path, "-wal").exists()
}

/// Reads the two version numbers in the header of the file.
fn is_in_wal_mode(path: &Path) -> bool {
    let mut header = [0; 20];
    read_header(path, &mut header).is_ok() && header.starts_with(b"SQLite format 3\0") && header[18..] == [2, 2]
}

/// Reads the header of a file that a connection of this process may be writing. Closing a file drops all POSIX locks that
/// the process has on it (<https://www.sqlite.org/howtocorrupt.html>), so each file is opened once and stays open.
fn read_header(path: &Path, header: &mut [u8]) -> io::Result<()> {
    static OPEN_FILES: Mutex<BTreeMap<(u64, u64), File>> = Mutex::new(BTreeMap::new());
    let metadata = path.metadata()?;
    let mut open_files = OPEN_FILES.lock().unwrap_or_else(PoisonError::into_inner);
    let file = match open_files.entry((metadata.dev(), metadata.ino())) {
        Entry::Occupied(file) => file.into_mut(),
        Entry::Vacant(entry) => entry.insert(files::open_regular(path)?),
    };
    file.read_exact_at(header, 0)
}

/// Refuses a file of others in the place of a log of SQLite, which would overwrite it, or remove it.
pub(crate) fn check_side_files(path: &Path) -> Result<(), (PathBuf, io::Error)> {
    for (suffix, is_ours) in
        [("-wal", is_log as fn(&Path) -> io::Result<bool>), ("-journal", is_journal), ("-shm", is_index)]
    {
        let side = files::beside(path, suffix);
        let checked = files::check_own(&side).and_then(|()| match is_ours(&side) {
            Ok(true) => Ok(()),
            Ok(false) => Err(files::foreign_content()),
            // It is missing, or opening the database reports why it cannot be read.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(()),
            Err(error) => Err(error),
        });
        checked.map_err(|error| (side, error))?;
    }
    Ok(())
}

/// <https://www.sqlite.org/walformat.html>
fn is_log(path: &Path) -> io::Result<bool> {
    begins_with(path, &[0x37, 0x7f, 0x06])
}

/// <https://www.sqlite.org/fileformat.html#the_rollback_journal>
fn is_journal(path: &Path) -> io::Result<bool> {
    begins_with(path, &[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7])
}

/// Whether the file is empty or begins with `magic`, or with the zeros that a finished transaction or a power cut leaves.
fn begins_with(path: &Path, magic: &[u8]) -> io::Result<bool> {
    let mut head = Vec::new();
    files::open_own_to_read(path)?.take(magic.len() as u64).read_to_end(&mut head)?;
    Ok(magic.starts_with(&head) || head.iter().all(|byte| *byte == 0))
}

/// Judged by its length, because closing this file would drop the locks that a connection of this process has on it.
fn is_index(path: &Path) -> io::Result<bool> {
    let length = path.metadata()?.len();
    // SQLite cuts it to three bytes before it writes anything. A full disk, or a kill, leaves it so.
    Ok(length == 3 || length.is_multiple_of(4096))
}

/// Lets SQLite roll back a transaction that a kill left in the file, and writes nothing else.
pub(crate) async fn recover(path: &Path) -> Result<(), DbError> {
    let mut connection = connect(options().filename(path), Some(path)).await?;
    connection.script("SELECT 1 FROM sqlite_master").await?;
    connection.close().await
}

/// Whether a kill or a power cut left a transaction in the file itself. This can happen before the file has a write-ahead
/// log. A reader must not roll it back.
pub(crate) fn needs_recovery(error: &DbError) -> bool {
    // SQLITE_READONLY_ROLLBACK
    error.cause().and_then(EngineReport::sqlite_code) == Some(776)
}

/// Whether the path of a file or its permissions are wrong.
pub(crate) fn is_inaccessible(error: &DbError) -> bool {
    match error {
        // A path that contains a NUL or is not UTF-8.
        DbError::Lost(_) => true,
        // SQLITE_PERM, SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_AUTH
        DbError::Other(cause) => matches!(cause.sqlite_code().map(primary), Some(3 | 8 | 14 | 23)),
        _ => false,
    }
}

/// Whether a file is not an SQLite database.
pub(crate) fn is_not_a_database(error: &DbError) -> bool {
    // SQLITE_NOTADB
    matches!(error, DbError::Other(cause) if cause.sqlite_code().map(primary) == Some(26))
}

/// Classifies an error of a connection to the file at `path`.
pub(super) fn classify(path: Option<&Path>, error: sqlx::Error) -> DbError {
    if let Some(refusal) = refusal(&error) {
        return DbError::RowRefused { refusal, cause: EngineReport::new(error) };
    }
    let code = result_code(&error);
    // SQLITE_IOERR_SHMSIZE: no room for the index of the log, which is removed again before the error is reported.
    let no_room_for_index = code == Some(4874);
    let is_full = match code.map(primary) {
        // SQLITE_FULL
        Some(13) => true,
        // SQLITE_IOERR, SQLITE_CANTOPEN: the code for a full disk when SQLite creates or maps another file.
        Some(10 | 14) => no_room_for_index || path.is_some_and(files::disk_is_full),
        _ => false,
    };
    let is_lost = code.is_none() && postgres::is_loss(&error);
    let cause = EngineReport::new(error);
    match code.map(primary) {
        // SQLITE_BUSY, SQLITE_LOCKED
        Some(5 | 6) => DbError::Busy(cause),
        // SQLITE_CORRUPT
        Some(11) => DbError::Damaged(cause),
        _ if is_full => {
            let database = path.map_or_else(|| "in memory".to_owned(), |path| path.display().to_string());
            DbError::Full { database, cause }
        }
        _ if is_lost => DbError::Lost(cause),
        _ => DbError::Other(cause),
    }
}

/// Whether an expression failed while a statement ran, such as `json(title)` for a text that is not JSON.
pub(super) fn is_failed_expression(error: &sqlx::Error) -> bool {
    // SQLite has one code for this and for statements that do not fit the schema; only its own words differ.
    let message = error.as_database_error().map_or("", |error| error.message());
    result_code(error).is_some_and(is_unspecific)
        && !message.starts_with("no such ")
        && !message.contains("syntax error")
}

/// Whether a result code says nothing: every other one is about a row or about the whole database.
pub(super) fn is_unspecific(code: i32) -> bool {
    // SQLITE_ERROR
    primary(code) == 1
}

/// The extended result code.
pub(super) fn result_code(error: &sqlx::Error) -> Option<i32> {
    let error = error.as_database_error()?.try_downcast_ref::<SqliteError>()?;
    sqlx::error::DatabaseError::code(error)?.parse().ok()
}

/// The result code without its extension.
fn primary(code: i32) -> i32 {
    code & 0xff
}

fn refusal(error: &sqlx::Error) -> Option<RowRefusal> {
    // SQLITE_TOOBIG, SQLITE_CONSTRAINT, SQLITE_MISMATCH
    if !matches!(result_code(error).map(primary), Some(18..=20)) {
        return None;
    }
    let message = error.as_database_error()?.message();
    let after = |prefix| message.strip_prefix(prefix).map(str::trim);
    Some(if let Some(columns) = after("UNIQUE constraint failed:") {
        let (table, _) = columns.split_once('.').unwrap_or_default();
        let columns = columns.split(", ").map(|column| column_name(column).to_owned()).collect();
        RowRefusal::Duplicate { table: table.to_owned(), key: ViolatedKey::Columns(columns) }
    } else if let Some(column) = after("NOT NULL constraint failed:") {
        RowRefusal::Null { column: column_name(column).to_owned() }
    } else if let Some(constraint) = after("CHECK constraint failed:") {
        RowRefusal::Check { constraint: constraint.to_owned() }
    } else if message.starts_with("FOREIGN KEY") {
        RowRefusal::MissingReference { table: None, constraint: String::new() }
    } else {
        RowRefusal::Other { sqlstate: None, message: message.to_owned() }
    })
}

/// `email` of `table.email`.
fn column_name(column: &str) -> &str {
    column.split_once('.').map_or(column, |(_, column)| column)
}

/// A time as the database stores it: UTC, to the second.
pub(super) fn time_text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
