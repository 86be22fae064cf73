//! The table `sync_state`: what the database records about itself.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::db::{Connection, DbError, SqlRow, Statement, parse_json_column};
use super::error::StoreError;
use super::handle::Store;
use crate::model::{ClockFinding, EntraId, Generation};

/// The record of the database about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseState {
    /// Renewed by every transaction that writes learners.
    pub generation: Generation,
    /// Whether an administrator paused provisioning.
    pub paused: bool,
    /// The sources that may use this database beside another one.
    pub admitted_sources: BTreeSet<String>,
    /// The sources that took over the learners of another one and have not completed a cycle since.
    pub taken_over_sources: BTreeSet<String>,
    /// The object id of the enterprise application, by the configured id.
    pub applications: BTreeMap<String, String>,
    /// The last check of the credential.
    pub credential: Option<CredentialCheck>,
    /// How the last cycle found the clocks.
    pub clock: Option<ClockFinding>,
    /// Whether every link could be read, and none was damaged by hand since.
    pub links_inspected: bool,
}

/// The check of the credential in a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialCheck {
    /// The time of the check.
    pub looked_at: Timestamp,
    /// When the credential expires; none when that is unknown.
    pub ends_at: Option<Timestamp>,
}

impl DatabaseState {
    /// The source of the application that is configured as `application`: with its object id if a cycle has looked it up,
    /// otherwise with the configured id.
    pub fn source(&self, tenant: &str, application: EntraId) -> String {
        let configured = application.to_string();
        let object_id = self.applications.get(&configured).unwrap_or(&configured);
        format!("{tenant}/{object_id}")
    }

    /// Every source that this application may have, one for each id under which it was configured.
    pub fn spellings(&self, tenant: &str, application: EntraId) -> BTreeSet<String> {
        let configured = application.to_string();
        let object_id = self.applications.get(&configured).unwrap_or(&configured);
        let others = self.applications.iter().filter(|(_, known)| *known == object_id).map(|(other, _)| other);
        others.chain([object_id, &configured]).map(|application| format!("{tenant}/{application}")).collect()
    }
}

/// Sources by name.
pub(super) type Sources = BTreeSet<String>;
/// Object ids by configured id.
pub(super) type Applications = BTreeMap<String, String>;

/// A column of `sync_state` that holds a JSON document of this type.
pub(super) struct JsonColumn<T>(&'static str, PhantomData<T>);

pub(super) const ADMITTED_SOURCES: JsonColumn<Sources> = JsonColumn("sync_state.admitted_sources", PhantomData);
pub(super) const TAKEN_OVER_SOURCES: JsonColumn<Sources> = JsonColumn("sync_state.taken_over_sources", PhantomData);
pub(super) const APPLICATIONS: JsonColumn<Applications> = JsonColumn("sync_state.applications", PhantomData);

/// Changes the document in a column of `sync_state`. The caller has begun the transaction.
pub(super) async fn edit<T: DeserializeOwned + Serialize>(
    connection: &mut Connection,
    JsonColumn(column, _): JsonColumn<T>,
    change: impl FnOnce(&mut T),
) -> Result<(), DbError> {
    let name = column.trim_start_matches("sync_state.");
    let row = connection.row(Statement::new(format!("SELECT {name} FROM sync_state"))).await?;
    let mut document = json_column(&row, 0, column)?;
    change(&mut document);
    let statement = Statement::new(format!("UPDATE sync_state SET {name} = $1"));
    connection.execute(statement.bind(serde_json::json!(document).to_string())).await.map(drop)
}

fn json_column<T: DeserializeOwned>(row: &SqlRow, index: usize, column: &'static str) -> Result<T, DbError> {
    parse_json_column(row.text(index, column)?, column)
}

impl Store {
    /// The record of the database about itself.
    pub async fn state(&self) -> Result<DatabaseState, StoreError> {
        let statement = Statement::new(
            "SELECT generation, paused, admitted_sources, applications, credential_looked_at, credential_ends_at,
                    taken_over_sources, clock, links_inspected
             FROM sync_state",
        );
        let row = self.connection().await.row(statement).await?;
        // The next cycle writes these times again.
        let time = |index| row.optional_time(index, "sync_state").unwrap_or_default();
        let (looked_at, ends_at) = (time(4), time(5));
        Ok(DatabaseState {
            generation: row.parsed(0, "sync_state.generation")?,
            paused: row.get(1).map_err(|_| DbError::Unreadable { column: "sync_state.paused" })?,
            admitted_sources: json_column(&row, 2, "sync_state.admitted_sources")?,
            applications: json_column(&row, 3, "sync_state.applications")?,
            taken_over_sources: json_column(&row, 6, "sync_state.taken_over_sources")?,
            clock: row.optional_text(7, "sync_state").unwrap_or_default().and_then(ClockFinding::from_text),
            links_inspected: row.get(8).unwrap_or(false),
            credential: looked_at.map(|looked_at| CredentialCheck { looked_at, ends_at }),
        })
    }

    /// Records the object id of the application that is configured as `configured`, so that `status` and `log` know the
    /// source without a request to Graph.
    pub async fn remember_application(&self, configured: &str, object_id: &str) -> Result<(), StoreError> {
        if self.state().await?.applications.get(configured).is_some_and(|known| known == object_id) {
            return Ok(());
        }
        self.write(async |connection| {
            let remember = |applications: &mut Applications| {
                applications.insert(configured.to_owned(), object_id.to_owned());
            };
            Ok(edit(connection, APPLICATIONS, remember).await?)
        })
        .await
    }

    /// Records a check of the credential.
    pub async fn record_credential_check(&self, check: CredentialCheck) -> Result<(), StoreError> {
        let CredentialCheck { looked_at, ends_at } = check;
        let statement = Statement::new("UPDATE sync_state SET credential_looked_at = $1, credential_ends_at = $2");
        let statement = statement.bind(looked_at).bind(ends_at);
        self.write(async |connection| Ok(connection.execute(statement).await.map(drop)?)).await
    }
}
