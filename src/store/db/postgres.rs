//! The specifics of PostgreSQL: how a server is reached, and how a session is configured before it is used.

mod encoding;
mod errors;
mod host;
mod pooler;
mod session;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio::time::error::Elapsed;

pub(super) use self::encoding::{ANSWER, Encoding, question};
pub(super) use self::errors::{
    Subject, classify, is_forgotten_statement, is_loss, message_without_values, server_error, subject,
};
pub use self::host::{HostFault, PassedHost};
use self::host::{connect_to_host, split_hosts};
pub(super) use self::pooler::SharedSessions;
pub use self::session::ReadOnlyCause;
use super::access::Access;
use super::connection::Connection;
use crate::files::SecretSource;

/// The oldest version that is tested.
pub(crate) const OLDEST_VERSION: u32 = 13;

/// How long a server may be silent during a brief read.
const BRIEF_TIMEOUT: Duration = Duration::from_secs(6);

/// How long a host may be silent before the next one is tried as well. An unreachable host would otherwise delay
/// each command by its whole timeout.
const HEAD_START: Duration = Duration::from_millis(500);

/// How long a reader waits for the primary once a standby can be read from.
const STANDBY_WAIT: Duration = Duration::from_secs(2);

/// A database on a PostgreSQL server.
#[derive(Clone, Debug)]
pub struct PostgresServer {
    /// `postgres://user@host:port,host:port/database?sslmode=...&sslrootcert=...&target_session_attrs=...`, without a
    /// password.
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

/// Connects to the first host that serves `access`. The hosts are tried in the order of the URL.
///
/// # Errors
/// All hosts, in order, each with the reason.
pub(crate) async fn connect(server: &PostgresServer, access: Access) -> Result<Connection, Vec<PassedHost>> {
    let (urls, any) = split_hosts(&server.url);
    let server = &match access {
        // The limit of each statement follows from it.
        Access::ReadBriefly => PostgresServer { response_timeout: BRIEF_TIMEOUT, ..server.clone() },
        Access::ReadWrite | Access::ReadOnly | Access::ReadAnyHost => server.clone(),
    };
    let is_read_anywhere = match access {
        Access::ReadWrite => false,
        Access::ReadOnly | Access::ReadBriefly => urls.len() == 1,
        Access::ReadAnyHost => any || urls.len() == 1,
    };
    let mut untried = urls.iter().enumerate();
    let mut tried = FuturesUnordered::new();
    let mut passed = BTreeMap::new();
    // The first host that can only be read from.
    let mut readable: Option<(usize, Connection)> = None;
    let mut deadline = None;
    loop {
        if let Some((position, url)) = untried.next() {
            tried.push(async move { (position, connect_for(access, server, url).await) });
        }
        let until = if untried.len() > 0 {
            Some(Instant::now() + HEAD_START)
        } else {
            readable.as_ref().map(|_| *deadline.get_or_insert_with(|| Instant::now() + STANDBY_WAIT))
        };
        let Ok(ended) = within_deadline(until, tried.next()).await else {
            if untried.len() > 0 { continue } else { break }
        };
        let Some((position, connected)) = ended else { break };
        let host = match connected {
            Ok((connection, None)) => return Ok(connection),
            Ok((connection, Some(_))) if is_read_anywhere => return Ok(connection),
            Ok((connection, Some(cause))) => {
                let name = connection.server_name().to_owned();
                let is_first = readable.as_ref().is_none_or(|(other, _)| position < *other);
                if access != Access::ReadWrite && is_first {
                    readable = Some((position, connection));
                }
                PassedHost { name, fault: HostFault::ReadOnly(cause) }
            }
            Err(host) => host,
        };
        tracing::debug!("a host of the learner database is passed over: {}: {:?}", host.name, host.fault);
        passed.insert(position, host);
    }
    let Some((_, connection)) = readable else { return Err(passed.into_values().collect()) };
    let reason = match tried.is_empty() {
        true => "no host of the learner database accepts writes".to_owned(),
        false => {
            format!("the other hosts of the learner database have not answered for {} s", STANDBY_WAIT.as_secs())
        }
    };
    tracing::warn!("{reason}; reading from {}, which may lack the last changes", connection.server_name());
    Ok(connection)
}

/// Connects to the host of `url`. The server itself refuses the writes of a session that only reads.
async fn connect_for(
    access: Access,
    server: &PostgresServer,
    url: &str,
) -> Result<(Connection, Option<ReadOnlyCause>), PassedHost> {
    let (mut connection, cause) = connect_to_host(server, url).await?;
    if access != Access::ReadWrite && !connection.keep_read_only() {
        make_read_only(&mut connection).await?;
    }
    Ok((connection, cause))
}

async fn make_read_only(connection: &mut Connection) -> Result<(), PassedHost> {
    let done = connection.script("SET default_transaction_read_only = on").await;
    let name = || connection.server_name().to_owned();
    done.map_err(|error| PassedHost { name: name(), fault: HostFault::Failed(error) })
}

/// Awaits `work`, until `deadline` if there is one.
async fn within_deadline<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, work).await,
        None => Ok(work.await),
    }
}

/// Connects to every host, in the order of the URL, also to those that cannot write.
pub(crate) async fn connect_to_each(
    server: &PostgresServer,
) -> Vec<Result<(Connection, Option<ReadOnlyCause>), PassedHost>> {
    let (urls, _) = split_hosts(&server.url);
    join_all(urls.iter().map(|url| connect_to_host(server, url))).await
}
