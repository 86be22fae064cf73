//! The hosts of a learner database, for `check`.

use std::collections::BTreeSet;

use super::server::no_host;
use crate::store::db::postgres::connect_to_each;
use crate::store::db::{Connection, DbError, HostFault, PassedHost, ReadOnlyCause, Statement};
use crate::store::error::{StoreError, describe_fault, unreachable_hint};
use crate::store::handle::Store;
use crate::store::location::DatabaseLocation;

/// The hosts of a learner database, as `check` shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostReport {
    /// The file, or each host with its role.
    pub description: String,
    /// Whether several servers accept writes. At most one of them is the primary.
    pub is_split: bool,
    /// Advice on an unreachable host.
    pub hint: Option<String>,
}

/// A host as it is now.
struct HostView {
    name: String,
    details: String,
    /// The start of the server, by which two names of one server are recognised.
    started: String,
    /// Why it does not accept writes, if so.
    fault: Option<HostFault>,
}

impl Store {
    /// Checks that the database at `place` accepts writes, and describes its hosts. The rights of the role are not checked;
    /// a file always passes.
    ///
    /// # Errors
    /// No host accepts writes.
    pub async fn inspect_hosts(place: &DatabaseLocation) -> Result<HostReport, StoreError> {
        let server = match place {
            DatabaseLocation::File(path) => {
                return Ok(HostReport { description: path.display().to_string(), is_split: false, hint: None });
            }
            DatabaseLocation::Server(server) => server,
        };
        let mut views = Vec::new();
        for connected in connect_to_each(server).await {
            views.push(match connected {
                Ok((connection, read_only)) => inspect_host(connection, read_only).await,
                Err(PassedHost { name, fault }) => {
                    HostView { name, details: describe_fault(&fault), started: String::new(), fault: Some(fault) }
                }
            });
        }
        let writable = views.iter().filter(|view| view.fault.is_none());
        let servers = writable.map(|view| view.started.as_str()).collect::<BTreeSet<_>>().len();
        if servers == 0 {
            let passed = views.into_iter().filter_map(|view| Some(PassedHost { name: view.name, fault: view.fault? }));
            return Err(no_host(server, passed.collect()));
        }
        let descriptions: Vec<String> =
            views.iter().map(|HostView { name, details, .. }| format!("{name}: {details}")).collect();
        let hint = unreachable_hint(views.iter().filter_map(|view| view.fault.as_ref()));
        Ok(HostReport { description: descriptions.join("; "), is_split: servers > 1, hint })
    }
}

async fn inspect_host(mut connection: Connection, read_only: Option<ReadOnlyCause>) -> HostView {
    let name = connection.server_name().to_owned();
    let role = match &read_only {
        None => "primary",
        Some(ReadOnlyCause::Standby) => "standby",
        Some(ReadOnlyCause::Setting(_)) => "read-only",
    };
    match details(&mut connection, role).await {
        Ok((details, started)) => {
            // Only read, so nothing is lost.
            let _ = connection.close().await;
            HostView { name, details, started, fault: read_only.map(HostFault::ReadOnly) }
        }
        Err(error) => {
            let fault = HostFault::Failed(error);
            HostView { name, details: describe_fault(&fault), started: String::new(), fault: Some(fault) }
        }
    }
}

async fn details(connection: &mut Connection, role: &str) -> Result<(String, String), DbError> {
    let statement = Statement::new(
        "SELECT current_setting('server_version'),
                coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false),
                inet_client_addr() IS NULL, pg_postmaster_start_time()::text",
    );
    let row = connection.row(statement).await?;
    let (version, encrypted, local): (String, bool, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let encryption = match (encrypted, local) {
        (true, _) => ", encrypted",
        (false, true) => "",
        (false, false) => ", not encrypted",
    };
    Ok((format!("PostgreSQL {version}, {role}{encryption}"), row.get(3)?))
}
