//! What only PostgreSQL knows: how a server is reached, and what a session is told before it is used.

mod alone;
mod errors;
mod look;

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

pub(super) use self::alone::take_cycle_lock;
pub(super) use self::errors::{
    about_the_disk, advice, explanation, is_busy, is_denied, is_loss, refusal, untold, words,
};
pub(super) use self::look::{RIGHTS, UNUSABLE_SCHEMAS, missing_rights};
use super::connection::{Connection, Session, within};
use super::layout::Layout;
use super::sql::Statement;
use super::transaction::PATIENCE as PATIENCE_WITH_LOCKS;
use super::{StoreError, schema};
use crate::files;
use crate::model::Table;

/// The oldest version that this was tried with; all from it on are looked after by their makers, or were lately.
pub(super) const OLDEST: u32 = 13;

/// How long to wait until a server has let us in.
const PATIENCE_WITH_A_DOOR: Duration = Duration::from_secs(15);

/// A learner database on a server.
#[derive(Clone, Debug)]
pub struct Server {
    /// `postgres://user@host:port/database`, with `sslmode`, `sslrootcert` or `host` behind a question mark, and without
    /// a password.
    pub url: String,
    /// Where the configuration says so, such as `learner-sync.toml:12:16`.
    pub url_place: String,
    /// The password. Without one, that of the password file of PostgreSQL.
    pub password: Option<SecretString>,
    /// How long the server may be silent until it is given up.
    pub patience: Duration,
}

impl Server {
    /// How long a server may be silent: longer than any statement of ours takes on a million learners.
    pub const PATIENCE: Duration = Duration::from_secs(120);
}

/// Opens a database to write; makes the tables when they are missing.
pub(super) async fn open_to_write(
    server: &Server,
    external: Option<&Table>,
) -> Result<(Connection, Layout), StoreError> {
    let mut connection = connect(server).await?;
    let layout = schema::migrate(&mut connection, external).await?;
    Ok((connection, layout))
}

/// Opens a database to read only.
pub(super) async fn open_to_read(
    server: &Server,
    external: Option<&Table>,
) -> Result<(Connection, Layout), StoreError> {
    let mut connection = connect_to_read(server).await?;
    let layout = schema::check(&mut connection, external).await?;
    Ok((connection, layout))
}

/// The same, whatever is in it.
pub(super) async fn connect_to_read(server: &Server) -> Result<Connection, StoreError> {
    let mut connection = connect(server).await?;
    connection.script("SET default_transaction_read_only = on").await?;
    Ok(connection)
}

/// A session that is told how long it may take, and nothing else.
pub(super) async fn connect(server: &Server) -> Result<Connection, StoreError> {
    let Server { url, url_place, password, patience } = server;
    let no_connection = |server, source: sqlx::Error| StoreError::NoConnection {
        server,
        place: url_place.clone(),
        source: source.into(),
    };
    let options = options(url).map_err(|source| no_connection("of this URL".to_owned(), source))?;
    let options = match password {
        Some(password) => options.password(password.expose_secret()),
        None => options,
    };
    // Statements are no help in a log.
    let options = options.application_name("learner-sync").disable_statement_logging();
    let name = name(&options);
    let connection = within(PATIENCE_WITH_A_DOOR, options.connect()).await;
    let connection = connection.map_err(|source| no_connection(name.clone(), source))?;
    let version = connection.server_version_num().unwrap_or(0);
    if version < OLDEST * 10_000 {
        let found = format!("{}.{}", version / 10_000, version % 10_000);
        return Err(StoreError::TooOld { server: name, place: url_place.clone(), found });
    }
    let mut connection = Connection::Postgres(Session::new(connection, *patience, name));
    settle(&mut connection, *patience).await?;
    Ok(connection)
}

/// What `url` says. An address of IPv6 stands in brackets in a URL alone, and who names no user is the one of the system:
/// sqlx knows neither, and looks into the password file of PostgreSQL with what it knows.
fn options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    // Its word for nobody.
    const NOBODY: &str = "anonymous";
    let options: PgConnectOptions = url.parse()?;
    let mut more = Vec::new();
    if let Some(address) = options.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        more.push(format!("host={address}"));
    }
    if options.get_username() == NOBODY
        && let Some(user) = files::user_name(rustix::process::geteuid().as_raw())
    {
        more.push(format!("user={}", percent_encoding::utf8_percent_encode(&user, percent_encoding::NON_ALPHANUMERIC)));
    }
    if more.is_empty() {
        return Ok(options);
    }
    let before = if url.contains('?') { '&' } else { '?' };
    format!("{url}{before}{}", more.join("&")).parse()
}

/// `learners at db.example.org:5432 as learner-sync`
fn name(options: &PgConnectOptions) -> String {
    let user = options.get_username();
    let database = options.get_database().unwrap_or(user);
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    format!("{database} at {place} as {user}")
}

/// Tells the session how long it may take, whatever the server or the role is set to.
async fn settle(connection: &mut Connection, patience: Duration) -> Result<(), StoreError> {
    // The server gives up a little earlier than we do, so that it can still tell.
    let statement_timeout = (patience * 9 / 10).as_millis().to_string();
    let settings = [
        ("statement_timeout", statement_timeout.as_str()),
        ("lock_timeout", &PATIENCE_WITH_LOCKS.as_millis().to_string()),
        // Between two statements of a transaction we never think for long: who stops there is stopped, with all locks.
        ("idle_in_transaction_session_timeout", "60000"),
        // Between two transactions we read the directory, for as long as that takes.
        ("idle_session_timeout", "0"),
        ("transaction_timeout", "0"),
        // A machine that is gone lets go of the cycle within two minutes, and a firewall sees that we are there.
        ("tcp_keepalives_idle", "60"),
        ("tcp_keepalives_interval", "10"),
        ("tcp_keepalives_count", "6"),
        // What a trigger of the platform has to say may name users.
        ("client_min_messages", "error"),
        ("default_transaction_isolation", "read committed"),
        // A backslash in a literal is a backslash.
        ("standard_conforming_strings", "on"),
    ];
    set(connection, &settings).await?;
    // The server looks now and then whether we are there while it works for us; not every system can.
    match set(connection, &[("client_connection_check_interval", "10000")]).await.map_err(StoreError::from) {
        Err(StoreError::Lost(error)) => Err(StoreError::Lost(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

async fn set(connection: &mut Connection, settings: &[(&str, &str)]) -> Result<(), sqlx::Error> {
    let mut statement = Statement::new("SELECT set_config(s.name, v.column2, false) FROM (");
    statement.push_values(settings, |row, (name, value)| {
        row.push_bind(*name).push_bind(*value);
    });
    // Older servers do not know them all.
    statement.push(") AS v JOIN pg_settings s ON s.name = v.column1");
    connection.rows(statement).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_brackets_and_nobody_is_anonymous() {
        let at = options("postgres://sync@[::1]:5433/learners?sslmode=require").unwrap();
        assert_eq!((at.get_host(), at.get_port(), at.get_username()), ("::1", 5433, "sync"));
        let system = files::user_name(rustix::process::geteuid().as_raw()).unwrap();
        let here = options("postgres://localhost/learners?host=/run/postgresql").unwrap();
        assert_eq!(here.get_username(), system);
        assert_eq!(here.get_socket().unwrap().to_str(), Some("/run/postgresql"));
    }
}
