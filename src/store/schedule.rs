//! The table `sync_schedule`: when the next cycle of each source is due, and for which of its daemons.
//!
//! The server's clock judges. The daemon that ran the last cycle runs the next one. Another daemon takes over when no
//! cycle has begun some time after the planned time, or when the daemon that runs a cycle is not seen for as long. Each
//! daemon records this time itself, because their configurations may differ. After a failed cycle the daemons change
//! places, because the cause may be on one machine alone.
//!
//! A file has one daemon for each source, whose turn it always is.

use std::time::Duration;

use jiff::Timestamp;

use super::cycle_lock::milliseconds;
use super::daemons::{is_alive, time_after, was_recently};
use super::db::{Connection, Dialect, Statement};
use super::error::StoreError;
use super::handle::Store;
use crate::model::DaemonPlace;

/// Excludes other daemons that claim a cycle.
const CLAIM_LOCK: &str = "SELECT 1 FROM sync_schedule FOR UPDATE";

/// How often a daemon asks whether the cycle of another one has ended, as a part of the grace.
const GRACE_PARTS: u32 = 4;

/// The limits of a wait for a daemon that is not alive, by the configuration of the one that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnLimits {
    /// How long another daemon may be late or silent that has not recorded it.
    pub grace: Duration,
    /// The longest wait. A later time does not count: no daemon keeps it, or it was recorded by mistake.
    pub longest: Duration,
}

/// Whether it is the turn of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A cycle is due, perhaps after a daemon in another place.
    Due(Option<Succession>),
    /// It is not.
    NotDue {
        /// How long to wait before asking again.
        wait: Duration,
        /// When the next cycle is due; `None` while one runs.
        next_cycle_at: Option<Timestamp>,
        /// Whether another daemon runs it.
        is_standby: bool,
    },
}

/// Another daemon ran the last cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Succession {
    /// Its machine.
    pub host: String,
    /// Its process, unless it was stopped in order.
    pub pid: Option<i64>,
    /// Whether its last cycle failed, so that it leaves the next one to others.
    pub has_failed: bool,
    /// How long it may be late.
    pub grace: Duration,
}

/// A row of `sync_schedule`, as one daemon finds it.
#[derive(Clone, Debug)]
struct ScheduleRow {
    /// How long until the planned time; negative after it, `None` while a cycle runs.
    remaining: Option<i64>,
    next_cycle_at: Option<Timestamp>,
    /// Whether this daemon ran the last cycle.
    is_own: bool,
    /// Whether that cycle failed.
    has_failed: bool,
    /// Whether the daemon that ran it is alive.
    is_alive: bool,
    /// Whether a daemon in another place is alive.
    has_others: bool,
    host: String,
    pid: Option<i64>,
    /// How long the daemon that ran it may be late or silent.
    grace: Duration,
    /// How long it waits, if it has recorded that.
    planned_wait: Option<i64>,
}

impl ScheduleRow {
    fn turn(self, longest: Duration) -> Turn {
        let Self { remaining, next_cycle_at, is_own, has_failed, is_alive, has_others, host, pid, grace, planned_wait } =
            self;
        let due = Turn::Due((!is_own).then_some(Succession { host, pid, has_failed, grace }));
        // The clock of the server may have been set back a little since.
        let planned = planned_wait.map(|wait| wait.saturating_add(milliseconds(grace)));
        let longest = planned.filter(|_| is_alive || is_own).unwrap_or(milliseconds(longest));
        let Some(remaining) = remaining.filter(|remaining| *remaining <= longest) else {
            let is_running = next_cycle_at.is_none() && !is_own && is_alive;
            let not_due = Turn::NotDue { wait: grace / GRACE_PARTS, next_cycle_at: None, is_standby: true };
            return if is_running { not_due } else { due };
        };
        let is_standby = if has_failed { is_own && has_others } else { !is_own };
        let wait = remaining.saturating_add(if is_standby { milliseconds(grace) } else { 0 });
        match u64::try_from(wait) {
            Ok(wait @ 1..) => Turn::NotDue { wait: Duration::from_millis(wait), next_cycle_at, is_standby },
            Ok(0) | Err(_) => due,
        }
    }
}

impl Store {
    /// Whether a cycle of `source` is due for the daemon at `place`.
    pub async fn turn(&self, source: &str, place: &DaemonPlace, limits: TurnLimits) -> Result<Turn, StoreError> {
        read_turn(&mut *self.connection().await, source, place, limits).await
    }

    /// Records that the daemon at `place` begins a cycle of `source`. With `limits`, only if it is its turn; without,
    /// another daemon asks in vain until the cycle has ended. The caller holds the cycle lock.
    pub async fn claim_cycle(
        &self,
        source: &str,
        place: &DaemonPlace,
        limits: Option<TurnLimits>,
    ) -> Result<Turn, StoreError> {
        self.write_under(CLAIM_LOCK, async |connection| {
            let turn = match limits {
                Some(limits) => read_turn(connection, source, place, limits).await?,
                None => Turn::Due(None),
            };
            if matches!(turn, Turn::Due(_)) {
                let statement = Statement::new(format!(
                    "INSERT INTO sync_schedule (source, next_cycle_at, began_at, failed, host, state_directory)
                     VALUES ($1, NULL, {}, $2, $3, $4)
                     ON CONFLICT (source) DO UPDATE SET next_cycle_at = NULL, planned_wait_ms = NULL,
                         began_at = excluded.began_at, failed = excluded.failed, host = excluded.host,
                         state_directory = excluded.state_directory",
                    time_after(connection.dialect(), "0")
                ));
                let statement = statement.bind(source).bind(false).bind(&place.host).bind(&place.state_directory);
                connection.execute(statement).await?;
            }
            Ok(turn)
        })
        .await
    }

    /// Plans the next cycle of `source` after `wait`, as the daemon at `place`; `has_failed` is the result of its last
    /// one. Returns the planned time; `None` when another daemon has begun a cycle since.
    pub async fn plan_next_cycle(
        &self,
        source: &str,
        place: &DaemonPlace,
        wait: Duration,
        has_failed: bool,
    ) -> Result<Option<Timestamp>, StoreError> {
        let planned = {
            let mut connection = self.connection().await;
            let statement = Statement::new(format!(
                "INSERT INTO sync_schedule (source, next_cycle_at, planned_wait_ms, failed, host, state_directory)
                 VALUES ($1, {}, $2, $3, $4, $5)
                 ON CONFLICT (source) DO UPDATE SET next_cycle_at = excluded.next_cycle_at,
                         planned_wait_ms = excluded.planned_wait_ms, failed = excluded.failed
                     WHERE sync_schedule.host = excluded.host
                       AND sync_schedule.state_directory = excluded.state_directory
                 RETURNING next_cycle_at",
                time_after(connection.dialect(), "$2")
            ));
            let statement = statement.bind(source).bind(milliseconds(wait)).bind(has_failed);
            let row = connection.optional_row(statement.bind(&place.host).bind(&place.state_directory)).await?;
            row.map(|row| row.time(0, "sync_schedule.next_cycle_at")).transpose()?
        };
        if planned.is_some() {
            self.publish_next_cycle(planned).await?;
        }
        Ok(planned)
    }

    /// Removes the planned time of the daemon at `place` from `sync_state`, because it stops.
    pub async fn withdraw_next_cycle(&self, source: &str, place: &DaemonPlace) -> Result<(), StoreError> {
        let statement = Statement::new(
            "SELECT 1 FROM sync_schedule WHERE source = $1 AND NOT (host = $2 AND state_directory = $3)",
        );
        let statement = statement.bind(source).bind(&place.host).bind(&place.state_directory);
        let other = self.connection().await.optional_row(statement).await?;
        if other.is_none() {
            self.publish_next_cycle(None).await?;
        }
        Ok(())
    }

    /// For other programs, which read it there.
    async fn publish_next_cycle(&self, at: Option<Timestamp>) -> Result<(), StoreError> {
        let statement = Statement::new("UPDATE sync_state SET next_cycle_at = $1").bind(at);
        self.write(async |connection| Ok(connection.execute(statement).await.map(drop)?)).await
    }

    /// When the next cycle of `source` is planned; `None` while one runs.
    pub async fn next_cycle_at(&self, source: &str) -> Result<Option<Timestamp>, StoreError> {
        let statement = Statement::new("SELECT next_cycle_at FROM sync_schedule WHERE source = $1").bind(source);
        let row = self.connection().await.optional_row(statement).await?;
        // The next cycle writes this time again.
        Ok(row.and_then(|row| row.optional_time(0, "sync_schedule.next_cycle_at").unwrap_or_default()))
    }
}

async fn read_turn(
    connection: &mut Connection,
    source: &str,
    place: &DaemonPlace,
    limits: TurnLimits,
) -> Result<Turn, StoreError> {
    if connection.dialect() == Dialect::Sqlite {
        return Ok(Turn::Due(None));
    }
    let seen = was_recently(Dialect::Postgres, "coalesce(d.overdue_after_ms, $4)");
    let others_seen = is_alive(Dialect::Postgres, "o");
    let statement = Statement::new(format!(
        "SELECT (extract(epoch FROM s.next_cycle_at - clock_timestamp()) * 1000)::bigint, s.next_cycle_at,
                s.host = $2 AND s.state_directory = $3, s.failed,
                coalesce(greatest(d.seen_at, s.began_at) {seen}, false),
                EXISTS (SELECT 1 FROM sync_daemons o WHERE o.source = s.source AND {others_seen}
                                                       AND (o.host, o.state_directory) <> ($2, $3)),
                s.host, d.pid, coalesce(d.overdue_after_ms, $4), s.planned_wait_ms
         FROM sync_schedule s LEFT JOIN sync_daemons d
           ON d.source = s.source AND d.host = s.host AND d.state_directory = s.state_directory
         WHERE s.source = $1"
    ));
    let statement = statement.bind(source).bind(&place.host).bind(&place.state_directory);
    let Some(row) = connection.optional_row(statement.bind(milliseconds(limits.grace))).await? else {
        return Ok(Turn::Due(None));
    };
    let row = ScheduleRow {
        remaining: row.get(0)?,
        next_cycle_at: row.optional_time(1, "sync_schedule.next_cycle_at")?,
        is_own: row.get(2)?,
        has_failed: row.get(3)?,
        is_alive: row.get(4)?,
        has_others: row.get(5)?,
        host: row.get(6)?,
        pid: row.get(7)?,
        grace: Duration::from_millis(u64::try_from(row.get::<i64, _>(8)?).unwrap_or_default()),
        planned_wait: row.get(9)?,
    };
    Ok(row.turn(limits.longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(60);
    const LONGEST: Duration = Duration::from_hours(1);

    fn row(remaining: Option<i64>) -> ScheduleRow {
        ScheduleRow {
            remaining: remaining.map(|seconds| seconds * 1000),
            next_cycle_at: remaining.map(|_| Timestamp::UNIX_EPOCH),
            is_own: true,
            has_failed: false,
            is_alive: true,
            has_others: true,
            host: "one".to_owned(),
            pid: Some(7),
            grace: GRACE,
            planned_wait: remaining.map(|_| 3_000_000),
        }
    }

    /// The seconds to wait; `None` when a cycle is due.
    fn wait(row: ScheduleRow) -> Option<u64> {
        match row.turn(LONGEST) {
            Turn::Due(_) => None,
            Turn::NotDue { wait, .. } => Some(wait.as_secs()),
        }
    }

    #[test]
    fn the_daemon_of_the_last_cycle_waits_for_its_time_and_another_one_for_60_seconds_more() {
        let other = |remaining| ScheduleRow { is_own: false, ..row(Some(remaining)) };
        let seconds = [100, 1, 0, -1, -59, -60, -5000];
        assert_eq!(seconds.map(|left| wait(row(Some(left)))), [Some(100), Some(1), None, None, None, None, None]);
        assert_eq!(
            seconds.map(|left| wait(other(left))),
            [Some(160), Some(61), Some(60), Some(59), Some(1), None, None]
        );
        assert_eq!(row(Some(0)).turn(LONGEST), Turn::Due(None));
        let succession = Succession { host: "one".to_owned(), pid: Some(7), has_failed: false, grace: GRACE };
        assert_eq!(other(-60).turn(LONGEST), Turn::Due(Some(succession)));
    }

    #[test]
    fn a_cycle_of_another_daemon_runs_until_that_daemon_is_silent() {
        assert_eq!(wait(row(None)), None);
        assert_eq!(wait(ScheduleRow { is_own: false, ..row(None) }), Some(15));
        assert_eq!(wait(ScheduleRow { is_own: false, is_alive: false, ..row(None) }), None);
    }

    #[test]
    fn the_daemons_change_places_after_a_failed_cycle() {
        let failed = |is_own, has_others| ScheduleRow { has_failed: true, is_own, has_others, ..row(Some(10)) };
        assert_eq!(wait(failed(true, true)), Some(70));
        assert_eq!(wait(failed(false, true)), Some(10));
        assert_eq!(wait(failed(true, false)), Some(10), "a daemon alone does not wait longer");
    }

    #[test]
    fn a_time_later_than_a_daemon_planned_does_not_count() {
        for is_own in [true, false] {
            assert_eq!(wait(ScheduleRow { is_own, ..row(Some(3601)) }), None);
            let unknown = ScheduleRow { is_own, planned_wait: None, ..row(Some(3601)) };
            assert_eq!(wait(unknown), None);
        }
    }

    #[test]
    fn a_daemon_with_longer_intervals_is_judged_by_its_own_while_it_lives() {
        let slow = || ScheduleRow {
            is_own: false,
            grace: Duration::from_secs(300),
            planned_wait: Some(9_000_000),
            ..row(Some(8000))
        };
        assert_eq!(wait(slow()), Some(8300));
        assert_eq!(wait(ScheduleRow { is_alive: false, ..slow() }), None, "nobody keeps this time");
        assert_eq!(wait(ScheduleRow { remaining: Some(-200_000), ..slow() }), Some(100));
        assert_eq!(wait(ScheduleRow { remaining: None, next_cycle_at: None, ..slow() }), Some(75));
    }
}
