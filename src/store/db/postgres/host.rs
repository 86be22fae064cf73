//! The hosts that a database URL names, and how one of them is reached.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use super::encoding::Encoding;
use super::pooler::{SharedSessions, connect_marked, has_mark, probe_sharing};
use super::session::{ReadOnlyCause, configure_session};
use super::{OLDEST_VERSION, PostgresServer};
use crate::files::{self, SecretKind};
use crate::store::db::connection::{Connection, PostgresSession, no_answer};
use crate::store::db::error::{DbError, EngineReport};

/// How long a host may take until its session can be used.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A host of the database that cannot be used.
#[derive(Debug)]
pub struct PassedHost {
    /// The database, its server and the role.
    pub name: String,
    /// The reason.
    pub fault: HostFault,
}

/// Why a host cannot be used.
#[derive(Debug)]
pub enum HostFault {
    /// Every transaction is read-only.
    ReadOnly(ReadOnlyCause),
    /// There is no connection.
    Unreachable(EngineReport),
    /// The version of the server, which is too old.
    TooOld(String),
    /// The session cannot be configured.
    Failed(DbError),
}

impl HostFault {
    /// Whether there is no session that can be used, so that the host may be the primary.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::ReadOnly(_) => false,
            Self::Unreachable(_) | Self::TooOld(_) | Self::Failed(_) => true,
        }
    }
}

/// One URL for each host of `url`, in order, and whether `target_session_attrs=any` lets a session read from each of them.
/// The configuration has checked the URL.
pub(super) fn split_hosts(url: &str) -> (Vec<String>, bool) {
    const TARGET: &str = "target_session_attrs=";
    let (location, options) = url.split_once('?').unwrap_or((url, ""));
    let (targets, options): (Vec<&str>, Vec<&str>) =
        options.split('&').filter(|option| !option.is_empty()).partition(|option| option.starts_with(TARGET));
    let any = targets.iter().any(|target| target.ends_with("=any"));
    let query = if options.is_empty() { String::new() } else { format!("?{}", options.join("&")) };
    let (scheme, location) = location.split_once("://").unwrap_or(("postgres", location));
    let (authority, database) = location.split_once('/').unwrap_or((location, ""));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    (hosts.split(',').map(|host| format!("{scheme}://{user}{host}/{database}{query}")).collect(), any)
}

/// Connects to the host of `url`, and configures the session. Returns why it cannot write, if so.
pub(super) async fn connect_to_host(
    server: &PostgresServer,
    url: &str,
) -> Result<(Connection, Option<ReadOnlyCause>), PassedHost> {
    let unreachable = |error| HostFault::Unreachable(EngineReport::new(error));
    let options = match connect_options(url) {
        Ok(options) => options,
        Err(error) => return Err(PassedHost { name: "with this URL".to_owned(), fault: unreachable(error) }),
    };
    let name = session_name(&options);
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, open_session(server, options, &name)).await;
    connected
        .unwrap_or_else(|_| Err(unreachable(no_answer(CONNECT_TIMEOUT))))
        .map_err(|fault| PassedHost { name, fault })
}

async fn open_session(
    server: &PostgresServer,
    options: PgConnectOptions,
    name: &str,
) -> Result<(Connection, Option<ReadOnlyCause>), HostFault> {
    let unreachable = |error| HostFault::Unreachable(EngineReport::new(error));
    let options = match server.password.as_ref().map(|source| source.read(SecretKind::Password)).transpose() {
        Ok(Some(password)) => options.password(password.expose_secret()),
        Ok(None) => options,
        Err(problem) => return Err(unreachable(sqlx::Error::Configuration(problem.into()))),
    };
    // A statement with a thousand placeholders is useless in a log.
    let options = options.application_name("learner-sync").disable_statement_logging();
    let mut connection = connect_marked(&options).await.map_err(unreachable)?;
    let version = connection.server_version_num().unwrap_or(0);
    if version < OLDEST_VERSION * 10_000 {
        return Err(HostFault::TooOld(format!("{}.{}", version / 10_000, version % 10_000)));
    }
    let response_timeout = server.response_timeout;
    let (name, encoding) = (name.to_owned(), Encoding::default());
    let is_direct = has_mark(&mut connection).await.map_err(unreachable)?;
    let shared = match is_direct || !probe_sharing(&mut connection, &options).await {
        true => None,
        false => Some(SharedSessions::new(response_timeout, version)),
    };
    let session = PostgresSession { connection, response_timeout, name, lost: false, encoding, shared };
    let mut connection = Connection::Postgres(session);
    let read_only = configure_session(&mut connection, response_timeout).await.map_err(HostFault::Failed)?;
    Ok((connection, read_only))
}

/// Parses `url`. sqlx keeps the brackets of an IPv6 address, and calls the user `anonymous` where the URL names none; it
/// searches the password file with both. PostgreSQL means the address and the system user.
fn connect_options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
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
fn session_name(options: &PgConnectOptions) -> String {
    let user = options.get_username();
    let database = options.get_database().unwrap_or(user);
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    format!("{database} at {place} as {user}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_has_no_brackets_and_the_default_user_is_the_system_user() {
        let remote = connect_options("postgres://sync@[::1]:5433/training?sslmode=require").unwrap();
        assert_eq!((remote.get_host(), remote.get_port(), remote.get_username()), ("::1", 5433, "sync"));
        let system_user = files::user_name(rustix::process::geteuid().as_raw()).unwrap();
        let local = connect_options("postgres://localhost/training?host=/run/postgresql").unwrap();
        assert_eq!(local.get_username(), system_user);
        assert_eq!(local.get_socket().unwrap().to_str(), Some("/run/postgresql"));
    }

    #[test]
    fn each_host_has_a_url_with_its_own_port() {
        let (urls, any) = split_hosts(
            "postgres://sync@db1,db2:5433,[2001:db8::1]:5434,%2Frun%2Fpg:5435/training?sslmode=verify-full\
             &target_session_attrs=read-write&sslrootcert=/etc/ca.pem",
        );
        assert!(!any);
        let parsed: Vec<PgConnectOptions> = urls.iter().map(|url| connect_options(url).unwrap()).collect();
        let names: Vec<String> = parsed.iter().map(session_name).collect();
        assert_eq!(
            names,
            [
                "training at db1:5432 as sync",
                "training at db2:5433 as sync",
                "training at 2001:db8::1:5434 as sync",
                "training at /run/pg as sync",
            ]
        );
        assert_eq!(parsed[3].get_port(), 5435);
        for url in &urls {
            assert!(url.ends_with("/training?sslmode=verify-full&sslrootcert=/etc/ca.pem"), "{url}");
        }
        assert_eq!(
            split_hosts("postgres://localhost/training?target_session_attrs=any"),
            (vec!["postgres://localhost/training".to_owned()], true)
        );
        let one = "postgres://sync@localhost:5433/training?host=/run/postgresql";
        assert_eq!(split_hosts(one), (vec![one.to_owned()], false));
    }
}
