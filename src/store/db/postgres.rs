//! The specifics of PostgreSQL: how a server is reached, and how a session is configured before it is used.

mod encoding;
mod errors;

use std::time::Duration;

use secrecy::ExposeSecret as _;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

pub(super) use self::encoding::{ANSWER, Encoding, question};
pub(super) use self::errors::{Subject, classify, is_loss, message_without_values, server_error, subject};
use super::connection::{Connection, PostgresSession, within};
use super::error::{DbError, EngineReport};
use super::statement::Statement;
use super::transaction::LOCK_TIMEOUT;
use crate::files::{self, SecretKind, SecretSource};

/// The oldest version that is tested.
pub(crate) const OLDEST_VERSION: u32 = 13;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A database on a PostgreSQL server.
#[derive(Clone, Debug)]
pub struct PostgresServer {
    /// `postgres://user@host:port/database?sslmode=...&sslrootcert=...&host=...`, without a password.
    pub url: String,
    /// Where the configuration names the URL, such as `learner-sync.toml:12:16`.
    pub url_place: String,
    /// The password, read for each connection. Without one, PostgreSQL's own password file is read.
    pub password: Option<SecretSource>,
    /// How long the server may be silent before the connection counts as lost.
    pub response_timeout: Duration,
}

impl PostgresServer {
    /// Longer than any statement takes on a million rows.
    pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(120);
}

/// No session with a server.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// There is no connection to `database`.
    Unreachable { database: String, cause: EngineReport },
    /// The server of `database` runs version `found`.
    TooOld { database: String, found: String },
    /// The session cannot be configured.
    Failed(DbError),
}

/// Connects, and sets the limits of the session.
pub(crate) async fn connect(server: &PostgresServer) -> Result<Connection, ConnectError> {
    let PostgresServer { url, url_place: _, password, response_timeout } = server;
    let unreachable =
        |database, error: sqlx::Error| ConnectError::Unreachable { database, cause: EngineReport::new(error) };
    let options = options(url).map_err(|error| unreachable("with this URL".to_owned(), error))?;
    let options = match password.as_ref().map(|source| source.read(SecretKind::Password)).transpose() {
        Ok(Some(password)) => options.password(password.expose_secret()),
        Ok(None) => options,
        Err(problem) => return Err(unreachable(name(&options), sqlx::Error::Configuration(problem.into()))),
    };
    // A statement with a thousand placeholders is useless in a log.
    let options = options.application_name("learner-sync").disable_statement_logging();
    let name = name(&options);
    let connection = within(CONNECT_TIMEOUT, options.connect()).await;
    let connection = connection.map_err(|error| unreachable(name.clone(), error))?;
    let version = connection.server_version_num().unwrap_or(0);
    if version < OLDEST_VERSION * 10_000 {
        let found = format!("{}.{}", version / 10_000, version % 10_000);
        return Err(ConnectError::TooOld { database: name, found });
    }
    let encoding = Encoding::default();
    let session = PostgresSession { connection, response_timeout: *response_timeout, name, lost: false, encoding };
    let mut connection = Connection::Postgres(session);
    configure_session(&mut connection, *response_timeout).await.map_err(ConnectError::Failed)?;
    read_encoding(&mut connection).await.map_err(ConnectError::Failed)?;
    Ok(connection)
}

async fn read_encoding(connection: &mut Connection) -> Result<(), DbError> {
    let row = connection.row(Statement::new("SELECT getdatabaseencoding()::text")).await?;
    let name: &str = row.get(0)?;
    if let Connection::Postgres(session) = connection {
        session.encoding = Encoding::named(name);
    }
    if name == "SQL_ASCII" {
        // The server would refuse to send a value that is not UTF-8, and no cycle could read the table.
        connection.script("SET client_encoding = 'SQL_ASCII'").await?;
    }
    Ok(())
}

/// Like [`connect`], for a session that cannot write.
pub(crate) async fn connect_to_read(server: &PostgresServer) -> Result<Connection, ConnectError> {
    let mut connection = connect(server).await?;
    connection.script("SET default_transaction_read_only = on").await.map_err(ConnectError::Failed)?;
    Ok(connection)
}

/// Parses `url`. sqlx keeps the brackets of an IPv6 address, and calls the user `anonymous` where the URL names none; it
/// searches the password file with both. PostgreSQL means the address and the system user.
fn options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    const NO_USER: &str = "anonymous";
    let options: PgConnectOptions = url.parse()?;
    let mut more = Vec::new();
    if let Some(address) = options.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        more.push(format!("host={address}"));
    }
    if options.get_username() == NO_USER
        && let Some(user) = files::user_name(rustix::process::geteuid().as_raw())
    {
        more.push(format!("user={}", percent_encoding::utf8_percent_encode(&user, percent_encoding::NON_ALPHANUMERIC)));
    }
    if more.is_empty() {
        return Ok(options);
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{}", more.join("&")).parse()
}

/// `database at db.example.org:5432 as user`
fn name(options: &PgConnectOptions) -> String {
    let user = options.get_username();
    let database = options.get_database().unwrap_or(user);
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    format!("{database} at {place} as {user}")
}

/// Sets the limits of the session, whatever the defaults of the server or the role are.
async fn configure_session(connection: &mut Connection, response_timeout: Duration) -> Result<(), DbError> {
    // Slightly shorter than ours, so that the server can still report it.
    let statement_timeout = (response_timeout * 9 / 10).as_millis().to_string();
    let settings = [
        ("statement_timeout", statement_timeout.as_str()),
        ("lock_timeout", &LOCK_TIMEOUT.as_millis().to_string()),
        // There is never a long pause within a transaction. A process that hangs there loses the session and its locks.
        ("idle_in_transaction_session_timeout", "60000"),
        // Between two transactions the directory is read, which may take long.
        ("idle_session_timeout", "0"),
        ("transaction_timeout", "0"),
        // Frees the cycle lock of a dead machine within two minutes, and keeps the connection open in firewalls.
        ("tcp_keepalives_idle", "60"),
        ("tcp_keepalives_interval", "10"),
        ("tcp_keepalives_count", "6"),
        // The message of a trigger may name users.
        ("client_min_messages", "error"),
        ("default_transaction_isolation", "read committed"),
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

async fn set(connection: &mut Connection, settings: &[(&str, &str)]) -> Result<(), DbError> {
    let mut statement = Statement::new("SELECT set_config(s.name, v.column2, false) FROM (");
    statement.push_values(settings, |row, (name, value)| {
        row.push_bind(*name).push_bind(*value);
    });
    // Older servers lack some of them.
    statement.push(") AS v JOIN pg_settings s ON s.name = v.column1");
    connection.rows(statement).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_has_no_brackets_and_the_default_user_is_the_system_user() {
        let remote = options("postgres://sync@[::1]:5433/training?sslmode=require").unwrap();
        assert_eq!((remote.get_host(), remote.get_port(), remote.get_username()), ("::1", 5433, "sync"));
        let system_user = files::user_name(rustix::process::geteuid().as_raw()).unwrap();
        let local = options("postgres://localhost/training?host=/run/postgresql").unwrap();
        assert_eq!(local.get_username(), system_user);
        assert_eq!(local.get_socket().unwrap().to_str(), Some("/run/postgresql"));
    }
}
