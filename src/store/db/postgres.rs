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

pub(super) use self::encoding::{ANSWER, Encoding, question};
pub(super) use self::errors::{
    Subject, classify, is_forgotten_statement, is_loss, message_without_values, server_error, subject,
};
pub use self::host::{HostFault, PassedHost};
use self::host::{connect_to_host, split};
pub(super) use self::pooler::SharedSessions;
pub use self::session::ReadOnlyCause;
use super::connection::Connection;
use crate::files::SecretSource;

/// The oldest version that is tested.
pub(crate) const OLDEST_VERSION: u32 = 13;

/// How long a host may be silent before the next one is tried as well. A host that is away would otherwise delay each
/// command by its whole timeout.
const HEAD_START: Duration = Duration::from_millis(500);

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

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To write, on a server that accepts writes.
    Write,
    /// To read: on a server that accepts writes if there is one, else on a standby.
    Read,
}

/// Connects to the first host that serves `purpose`. The hosts are tried in the order of the URL.
///
/// # Errors
/// All hosts, in order, each with the reason.
pub(crate) async fn connect(server: &PostgresServer, purpose: Purpose) -> Result<Connection, Vec<PassedHost>> {
    let (urls, any) = split(&server.url);
    let is_read_anywhere = purpose == Purpose::Read && (any || urls.len() == 1);
    let mut untried = urls.iter().enumerate();
    let mut tried = FuturesUnordered::new();
    let mut passed = BTreeMap::new();
    // The first host that can only be read from.
    let mut readable: Option<(usize, Connection)> = None;
    loop {
        if let Some((position, url)) = untried.next() {
            tried.push(async move { (position, connect_to_host(server, url).await) });
        }
        let ended = if untried.len() == 0 {
            tried.next().await
        } else {
            match tokio::time::timeout(HEAD_START, tried.next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            }
        };
        let Some((position, connected)) = ended else { break };
        let host = match connected {
            Ok((connection, None)) => return prepare_for(purpose, connection).await,
            Ok((connection, Some(_))) if is_read_anywhere => return prepare_for(purpose, connection).await,
            Ok((connection, Some(cause))) => {
                let name = connection.server_name().to_owned();
                let is_first = readable.as_ref().is_none_or(|(other, _)| position < *other);
                if purpose == Purpose::Read && is_first {
                    readable = Some((position, connection));
                }
                PassedHost { name, fault: HostFault::ReadOnly(cause) }
            }
            Err(host) => host,
        };
        tracing::debug!("a host of the learner database is passed over: {}: {:?}", host.name, host.fault);
        passed.insert(position, host);
    }
    match readable {
        Some((_, connection)) => {
            tracing::warn!(
                "no host of the learner database accepts writes; reading from {}, which may lack the last changes",
                connection.server_name()
            );
            prepare_for(purpose, connection).await
        }
        None => Err(passed.into_values().collect()),
    }
}

/// Makes the server itself refuse writes of a session that only reads.
async fn prepare_for(purpose: Purpose, mut connection: Connection) -> Result<Connection, Vec<PassedHost>> {
    if purpose == Purpose::Read
        && !connection.keep_read_only()
        && let Err(error) = connection.script("SET default_transaction_read_only = on").await
    {
        let name = connection.server_name().to_owned();
        return Err(vec![PassedHost { name, fault: HostFault::Failed(error) }]);
    }
    Ok(connection)
}

/// Connects to every host, in the order of the URL, also to those that cannot write.
pub(crate) async fn connect_to_each(
    server: &PostgresServer,
) -> Vec<Result<(Connection, Option<ReadOnlyCause>), PassedHost>> {
    let (urls, _) = split(&server.url);
    join_all(urls.iter().map(|url| connect_to_host(server, url))).await
}
