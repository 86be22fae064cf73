//! The table `sync_daemons`: the daemons of each source, and when each was last seen.
//!
//! Times are the server's, so that machines with different clocks agree on them.

use std::time::Duration;

use jiff::Timestamp;

use super::cycle_lock::milliseconds;
use super::db::{Dialect, SqlRow, Statement};
use super::error::StoreError;
use super::handle::Store;
use crate::model::DaemonPlace;

/// How long the row of a daemon stays that was not stopped in order.
const KEPT: Duration = Duration::from_hours(7 * 24);

/// What a daemon records about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Where it runs.
    pub place: DaemonPlace,
    /// The process.
    pub pid: u32,
    /// The version of the program.
    pub version: String,
    /// A hash of the configuration that decides about learners.
    pub rules_hash: String,
    /// How long it has been running.
    pub running_for: Duration,
    /// How long it may be late or silent before others take over: it is seen more often than that.
    pub overdue_after: Duration,
}

/// A row of `sync_daemons`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonRow {
    /// Where it runs.
    pub place: DaemonPlace,
    /// The process.
    pub pid: i64,
    /// The version of the program.
    pub version: String,
    /// A hash of the configuration that decides about learners.
    pub rules_hash: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it was last seen.
    pub seen_at: Timestamp,
    /// Whether it was seen lately; `None` for a file, whose only machine knows better.
    pub is_alive: Option<bool>,
    /// Whether it ran the last cycle that a daemon ran.
    pub ran_last: bool,
}

/// The present time of the database, `$` and a number of milliseconds later.
pub(super) fn time_after(dialect: Dialect, milliseconds: &str) -> String {
    match dialect {
        Dialect::Sqlite => format!("strftime('%Y-%m-%dT%H:%M:%SZ', 'now', ({milliseconds} / 1000.0) || ' seconds')"),
        Dialect::Postgres => format!("clock_timestamp() + {milliseconds} * interval '1 millisecond'"),
    }
}

/// The condition that a time is at most so many `milliseconds` ago. A time in the future comes from another server, whose
/// clock was ahead, and says nothing.
pub(super) fn was_recently(dialect: Dialect, milliseconds: &str) -> String {
    let (since, until) = (time_after(dialect, &format!("(-{milliseconds})")), time_after(dialect, milliseconds));
    format!("BETWEEN {since} AND {until}")
}

/// The condition that the daemon of the row `row` is alive. Each daemon is judged by its own interval, which may differ
/// from that of the judge.
pub(super) fn is_alive(dialect: Dialect, row: &str) -> String {
    format!("{row}.seen_at {}", was_recently(dialect, &format!("{row}.overdue_after_ms")))
}

impl Store {
    /// Records that a daemon of `source` is alive. Replaces the row of a daemon that ran in the same place, and deletes
    /// the rows of daemons that have long ended.
    pub async fn record_daemon(&self, source: &str, daemon: &Registration) -> Result<(), StoreError> {
        let Registration { place, pid, version, rules_hash, running_for, overdue_after } = daemon;
        let DaemonPlace { host, state_directory } = place;
        let mut connection = self.connection().await;
        let dialect = connection.dialect();
        let expired = Statement::new(format!(
            "DELETE FROM sync_daemons WHERE host = $1 AND state_directory = $2 AND source <> $3 OR seen_at < {}",
            time_after(dialect, "$4")
        ));
        let expired = expired.bind(host).bind(state_directory).bind(source).bind(-milliseconds(KEPT));
        connection.execute(expired).await?;
        let statement = Statement::new(format!(
            "INSERT INTO sync_daemons (source, host, state_directory, pid, version, rules_hash, started_at, seen_at,
                                       overdue_after_ms)
             VALUES ($1, $2, $3, $4, $5, $6, {}, {}, $8)
             ON CONFLICT (source, host, state_directory) DO UPDATE SET pid = excluded.pid, version = excluded.version,
                 rules_hash = excluded.rules_hash, started_at = excluded.started_at, seen_at = excluded.seen_at,
                 overdue_after_ms = excluded.overdue_after_ms",
            time_after(dialect, "$7"),
            time_after(dialect, "0"),
        ));
        let statement = statement.bind(source).bind(host).bind(state_directory).bind(i64::from(*pid));
        let statement = statement.bind(version).bind(rules_hash).bind(-milliseconds(*running_for));
        connection.execute(statement.bind(milliseconds(*overdue_after))).await?;
        Ok(())
    }

    /// Whether another daemon of `source` is alive and ran the last cycle.
    pub async fn is_standby(&self, source: &str, place: &DaemonPlace) -> Result<bool, StoreError> {
        let mut connection = self.connection().await;
        if connection.dialect() == Dialect::Sqlite {
            return Ok(false);
        }
        let statement = Statement::new(format!(
            "SELECT EXISTS (SELECT 1 FROM sync_daemons d WHERE source = $1 AND (host, state_directory) <> ($2, $3)
                                                           AND {})
                AND EXISTS (SELECT 1 FROM sync_schedule WHERE source = $1 AND (host, state_directory) <> ($2, $3))",
            is_alive(Dialect::Postgres, "d")
        ));
        let statement = statement.bind(source).bind(&place.host).bind(&place.state_directory);
        Ok(connection.row(statement).await?.get(0)?)
    }

    /// The daemons of `source`.
    pub async fn daemons(&self, source: &str) -> Result<Vec<DaemonRow>, StoreError> {
        let mut connection = self.connection().await;
        let dialect = connection.dialect();
        let statement = Statement::new(format!(
            "SELECT d.host, d.state_directory, d.pid, d.version, d.rules_hash, d.started_at, d.seen_at, {},
                    EXISTS (SELECT 1 FROM sync_schedule s WHERE s.source = d.source AND s.host = d.host
                                                            AND s.state_directory = d.state_directory)
             FROM sync_daemons d WHERE d.source = $1 ORDER BY d.host, d.state_directory",
            is_alive(dialect, "d")
        ));
        let rows = connection.rows(statement.bind(source)).await?;
        let is_server = dialect == Dialect::Postgres;
        // A row that a hand has damaged is replaced by the next sign of its daemon.
        Ok(rows.iter().filter_map(|row| daemon_row(row, is_server).ok()).collect())
    }

    /// Whether a living daemon has begun a cycle of `source` and not ended it.
    pub async fn is_cycle_claimed(&self, source: &str) -> Result<bool, StoreError> {
        let mut connection = self.connection().await;
        let statement = Statement::new(format!(
            "SELECT EXISTS (SELECT 1 FROM sync_schedule s JOIN sync_daemons d
                                ON d.source = s.source AND d.host = s.host AND d.state_directory = s.state_directory
                            WHERE s.source = $1 AND s.next_cycle_at IS NULL AND {})",
            is_alive(connection.dialect(), "d")
        ));
        Ok(connection.row(statement.bind(source)).await?.get(0)?)
    }

    /// Removes a daemon that stops.
    pub async fn remove_daemon(&self, place: &DaemonPlace) -> Result<(), StoreError> {
        let statement = Statement::new("DELETE FROM sync_daemons WHERE host = $1 AND state_directory = $2");
        let statement = statement.bind(&place.host).bind(&place.state_directory);
        self.connection().await.execute(statement).await?;
        Ok(())
    }
}

fn daemon_row(row: &SqlRow, is_server: bool) -> Result<DaemonRow, StoreError> {
    let text = |index: usize| row.text(index, "sync_daemons").map(str::to_owned);
    Ok(DaemonRow {
        place: DaemonPlace { host: text(0)?, state_directory: text(1)? },
        pid: row.get(2)?,
        version: text(3)?,
        rules_hash: text(4)?,
        started_at: row.time(5, "sync_daemons.started_at")?,
        seen_at: row.time(6, "sync_daemons.seen_at")?,
        is_alive: if is_server { Some(row.get(7)?) } else { None },
        ran_last: row.get(8)?,
    })
}
