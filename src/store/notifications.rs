//! The table `sync_notifications`: the last message about each cause of each source, and whether it was accepted.
//!
//! It is in the learner database and not in the state directory, because daemons on several machines must not send one
//! message twice, and because a restored database brings the state that belongs to its holds and failures.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::db::{Connection, DbError, SqlRow, SqlValue, Statement, parse_json_column};
use super::error::StoreError;
use super::handle::Store;
use crate::model::{
    EntraId, Notification, NotificationCause, NotificationChannel, NotificationRow, NotificationRows, NotifiedUser,
    UnsentNotification,
};

/// The document in the column `message`.
#[derive(Deserialize, Serialize)]
struct StoredMessage {
    at: Timestamp,
    since: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    count: u64,
    users: Vec<StoredUser>,
    error: Option<String>,
    hosts: Option<[String; 2]>,
    channels: Vec<String>,
}

#[derive(Deserialize, Serialize)]
struct StoredUser {
    id: String,
    name: Option<String>,
}

impl Store {
    /// What is kept about the causes of `source`. A row that a hand has damaged, or that a newer version wrote, is left
    /// out: the next message about its cause replaces it.
    pub async fn notifications(&self, source: &str) -> Result<NotificationRows, StoreError> {
        read_rows(&mut *self.connection().await, source).await
    }

    /// Writes the rows that `decide` makes of the present ones, in one transaction that excludes other daemons.
    pub async fn decide_notifications(
        &self,
        source: &str,
        decide: impl FnOnce(&NotificationRows) -> Vec<NotificationRow>,
    ) -> Result<NotificationRows, StoreError> {
        self.write(async |connection| {
            let mut rows = read_rows(connection, source).await?;
            for row in decide(&rows) {
                write_row(connection, source, &row).await?;
                rows.insert(row.cause, row);
            }
            Ok(rows)
        })
        .await
    }

    /// Takes a message for an attempt that ends before `until`. Returns whether no other daemon has taken it since it was
    /// read as `unsent`.
    pub async fn take_notification(
        &self,
        source: &str,
        cause: NotificationCause,
        unsent: &UnsentNotification,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let statement = Statement::new(
            "UPDATE sync_notifications SET attempts = attempts + 1, next_attempt_at = $1
             WHERE source = $2 AND cause = $3 AND attempts = $4 AND notified_at = $5 AND next_attempt_at IS NOT NULL",
        );
        let statement = statement.bind(until).bind(source).bind(cause.to_string()).bind(attempts(unsent.attempts));
        let statement = statement.bind(unsent.notification.at);
        self.write(async |connection| Ok(connection.execute(statement).await? == 1)).await
    }

    /// Drops the unsent messages of `source`.
    pub async fn drop_unsent_notifications(&self, source: &str) -> Result<(), StoreError> {
        let mut statement = Statement::new("UPDATE sync_notifications SET message = ");
        statement.push_bind(message(None)).push(", attempts = 0, next_attempt_at = NULL, error = NULL WHERE source = ");
        statement.push_bind(source).push(" AND next_attempt_at IS NOT NULL");
        self.write(async |connection| Ok(connection.execute(statement).await.map(drop)?)).await
    }

    /// Records the result of an attempt at the message of the time `at`; `None` when every channel has accepted it.
    pub async fn record_attempt(
        &self,
        source: &str,
        cause: NotificationCause,
        at: Timestamp,
        left: Option<&UnsentNotification>,
    ) -> Result<(), StoreError> {
        let mut statement = Statement::new("UPDATE sync_notifications SET message = ");
        statement.push_bind(message(left)).push(", attempts = ");
        statement.push_bind(attempts(left.map_or(0, |left| left.attempts)));
        statement.push(", next_attempt_at = ").push_bind(left.map(|left| left.next_attempt_at));
        statement.push(", error = ").push_bind(left.and_then(|left| left.error.as_deref()));
        statement.push(" WHERE source = ").push_bind(source).push(" AND cause = ").push_bind(cause.to_string());
        // A newer message about the cause has attempts of its own.
        // One that was dropped meanwhile stays dropped.
        statement.push(" AND next_attempt_at IS NOT NULL AND notified_at = ").push_bind(at);
        self.write(async |connection| Ok(connection.execute(statement).await.map(drop)?)).await
    }
}

async fn read_rows(connection: &mut Connection, source: &str) -> Result<NotificationRows, StoreError> {
    let statement = Statement::new(
        "SELECT cause, notified_at, covers, open, message, attempts, next_attempt_at, error
         FROM sync_notifications WHERE source = $1",
    );
    let rows = connection.rows(statement.bind(source)).await?;
    Ok(rows.iter().filter_map(|row| notification_row(row).ok()).map(|row| (row.cause, row)).collect())
}

fn notification_row(row: &SqlRow) -> Result<NotificationRow, DbError> {
    let cause = row.parsed(0, "sync_notifications.cause")?;
    let notified_at = row.time(1, "sync_notifications.notified_at")?;
    Ok(NotificationRow {
        cause,
        notified_at,
        covers: row.optional_time(2, "sync_notifications.covers")?,
        is_open: row.get(3)?,
        // A damaged message is lost, but not the time of the last one.
        unsent: unsent(row, cause, notified_at).unwrap_or_default(),
    })
}

fn unsent(row: &SqlRow, cause: NotificationCause, at: Timestamp) -> Result<Option<UnsentNotification>, DbError> {
    const COLUMN: &str = "sync_notifications.message";
    let Some(next_attempt_at) = row.optional_time(6, "sync_notifications.next_attempt_at")? else { return Ok(None) };
    let stored: StoredMessage = parse_json_column(row.json(4, COLUMN)?, COLUMN)?;
    let StoredMessage { at: _, since, ends_at, count, users, error, hosts, channels } = stored;
    let users = users.into_iter().filter_map(|StoredUser { id, name }| {
        let id: EntraId = id.parse().ok()?;
        Some(NotifiedUser { id, name })
    });
    let users = users.collect();
    let channels: BTreeSet<NotificationChannel> = channels.iter().filter_map(|channel| channel.parse().ok()).collect();
    Ok(Some(UnsentNotification {
        notification: Notification { cause, at, since, ends_at, count, users, error, hosts },
        channels,
        attempts: row.count(5, "sync_notifications.attempts")?,
        next_attempt_at,
        error: row.optional_text(7, "sync_notifications.error")?.map(str::to_owned),
    }))
}

async fn write_row(connection: &mut Connection, source: &str, row: &NotificationRow) -> Result<(), StoreError> {
    let NotificationRow { cause, notified_at, covers, is_open, unsent } = row;
    let statement = Statement::new(
        "INSERT INTO sync_notifications (source, cause, notified_at, covers, open, message, attempts, next_attempt_at, error)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (source, cause) DO UPDATE SET notified_at = excluded.notified_at, covers = excluded.covers,
             open = excluded.open, message = excluded.message, attempts = excluded.attempts,
             next_attempt_at = excluded.next_attempt_at, error = excluded.error",
    );
    let unsent = unsent.as_ref();
    let statement = statement.bind(source).bind(cause.to_string()).bind(*notified_at).bind(*covers).bind(*is_open);
    let statement = statement.bind(message(unsent)).bind(attempts(unsent.map_or(0, |unsent| unsent.attempts)));
    let statement = statement.bind(unsent.map(|unsent| unsent.next_attempt_at));
    connection.execute(statement.bind(unsent.and_then(|unsent| unsent.error.as_deref()))).await?;
    Ok(())
}

/// The column `message`; the JSON null where there is none.
fn message(unsent: Option<&UnsentNotification>) -> SqlValue<'static> {
    let document = unsent.map(|UnsentNotification { notification, channels, .. }| {
        let Notification { cause: _, at, since, ends_at, count, users, error, hosts } = notification.clone();
        let users = users.into_iter().map(|NotifiedUser { id, name }| StoredUser { id: id.to_string(), name });
        StoredMessage {
            at,
            since,
            ends_at,
            count,
            users: users.collect(),
            error,
            hosts,
            channels: channels.iter().map(|channel| channel.to_string()).collect(),
        }
    });
    SqlValue::Json(serde_json::json!(document).to_string().into())
}

fn attempts(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
