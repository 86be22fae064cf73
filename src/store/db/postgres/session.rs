//! The settings of a session, and whether it can write.

use std::fmt;
use std::time::Duration;

use super::encoding::Encoding;
use crate::store::db::connection::Connection;
use crate::store::db::error::DbError;
use crate::store::db::statement::Statement;
use crate::store::db::transaction::LOCK_TIMEOUT;

/// How long the server waits for the next statement of a transaction before it ends the session and releases its locks,
/// such as those of a stopped process. There is never a long pause within a transaction. Shorter than [`LOCK_TIMEOUT`], so
/// that others get the locks before they give up.
pub(super) const PAUSE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the server keeps the session, and the cycle lock, of an unreachable machine. Keepalive probes begin after half
/// of it.
const UNREACHABLE_TIMEOUT: Duration = Duration::from_secs(120);

/// Why every transaction of a session is read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOnlyCause {
    /// The server copies another one.
    Standby,
    /// A setting; what an administrator must change.
    Setting(String),
}

impl fmt::Display for ReadOnlyCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standby => "the server is a standby",
            Self::Setting(_) => "default_transaction_read_only is on",
        })
    }
}

/// A setting of `session` in a new session comes from an earlier client of a pooler.
const FACTS: &str = "SELECT getdatabaseencoding()::text,
        pg_is_in_recovery() OR (setting = 'off' AND current_setting('transaction_read_only') = 'on'),
        setting = 'on', source = 'session',
        CASE source
        WHEN 'user' THEN format('ALTER ROLE %I RESET default_transaction_read_only', session_user)
        WHEN 'database' THEN format('ALTER DATABASE %I RESET default_transaction_read_only', current_database())
        WHEN 'database user' THEN format('ALTER ROLE %I IN DATABASE %I RESET default_transaction_read_only',
            session_user, current_database())
        ELSE 'turn default_transaction_read_only off, which is set by: ' || source END
    FROM pg_settings WHERE name = 'default_transaction_read_only'";

/// Configures the session, and returns why it cannot write, if so.
pub(super) async fn configure_session(
    connection: &mut Connection,
    response_timeout: Duration,
) -> Result<Option<ReadOnlyCause>, DbError> {
    if !connection.shares_sessions() {
        set_limits(connection, response_timeout).await?;
    }
    let row = connection.row(Statement::new(FACTS)).await?;
    let encoding: &str = row.get(0)?;
    if let Connection::Postgres(session) = connection {
        session.encoding = Encoding::named(encoding);
    }
    if encoding == "SQL_ASCII" {
        // The server would refuse to send a value that is not UTF-8, and no cycle could read the table.
        connection.script("SET client_encoding = 'SQL_ASCII'").await?;
    }
    let (is_standby, is_on, is_left_over, change): (bool, bool, bool, String) =
        (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
    Ok(match (is_standby, is_on) {
        (true, _) => Some(ReadOnlyCause::Standby),
        (false, true) if is_left_over => {
            connection.script("RESET default_transaction_read_only").await?;
            None
        }
        (false, true) => Some(ReadOnlyCause::Setting(change)),
        (false, false) => None,
    })
}

/// Sets the limits of the session, whatever the defaults of the server or the role are. By statements, because a pooler
/// refuses such parameters at the start of a session.
async fn set_limits(connection: &mut Connection, response_timeout: Duration) -> Result<(), DbError> {
    let statement_timeout = statement_timeout(response_timeout).as_millis().to_string();
    let settings = [
        ("statement_timeout", statement_timeout.as_str()),
        ("lock_timeout", &LOCK_TIMEOUT.as_millis().to_string()),
        ("idle_in_transaction_session_timeout", &PAUSE_TIMEOUT.as_millis().to_string()),
        // Between two transactions the directory is read, which may take long. The cycle lock comes with a limit.
        ("idle_session_timeout", "0"),
        ("transaction_timeout", "0"),
        // They also keep the connection open in firewalls.
        ("tcp_keepalives_idle", &(UNREACHABLE_TIMEOUT / 2).as_secs().to_string()),
        ("tcp_keepalives_interval", "10"),
        ("tcp_keepalives_count", "6"),
        // Keepalive probes wait until the answers to earlier data have arrived.
        ("tcp_user_timeout", &UNREACHABLE_TIMEOUT.as_millis().to_string()),
        // The message of a trigger may name users.
        ("client_min_messages", "error"),
        ("default_transaction_isolation", "read committed"),
        // To compile a statement takes longer than to run one of ours.
        ("jit", "off"),
        // A backslash in a literal is a backslash.
        ("standard_conforming_strings", "on"),
    ];
    set(connection, &settings).await?;
    // The server checks during a statement whether the client is still there; not every system supports it.
    match set(connection, &[("client_connection_check_interval", "10000")]).await {
        Err(lost @ DbError::Lost(_)) => Err(lost),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Slightly shorter than our timeout, so that the server can still report it.
pub(super) fn statement_timeout(response_timeout: Duration) -> Duration {
    response_timeout * 9 / 10
}

async fn set(connection: &mut Connection, settings: &[(&str, &str)]) -> Result<(), DbError> {
    let mut statement = Statement::new("SELECT set_config(s.name, v.column2, false) FROM (");
    statement.push_values(settings, |row, (name, value)| {
        row.push_bind(*name).push_bind(*value);
    });
    // Older servers lack some of them.
    statement.push(") AS v JOIN pg_settings s ON s.name = v.column1");
    connection.rows(statement).await.map(drop)
}
