//! The records of a learner database that `status` and the daemon show.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::status::{FailingUser, HeldUser, LearnerCounts, Selected};
use crate::model::{Cause, Outcome, Reason, RowSubject, Trigger, UnreadableRow};
use crate::store::cycles::{CycleRow, OF_ALL_USERS, cycle_row};
use crate::store::db::{DbError, Dialect, SqlRow, Statement, parse_column};
use crate::store::error::StoreError;
use crate::store::handle::Store;

/// Up to as many users are read one by one, which also finds rows that cannot be read. The reasons of more are only
/// counted, so that the answer does not take longer.
const MAX_READ: u64 = 500;
/// How many of more users are listed: held, failing and skipped ones each.
const FIRST: u32 = 100;
/// How many cycles are read to find the last one that can be read, and the last complete one.
const RECENT_CYCLES: u32 = 100;

/// How many users have a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonTally {
    /// The reason.
    pub reason: Reason,
    /// The number of users.
    pub users: u64,
    /// The earliest beginning.
    pub since: Option<Timestamp>,
}

/// Users by reason, and the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserListing<U> {
    /// Every reason with its number of users, in alphabetical order.
    pub tallies: Vec<ReasonTally>,
    /// All users in order of object id, or the first.
    pub users: Vec<U>,
}

/// The cycles of all users. A run for one user is not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CycleHistory {
    /// The last one, which may be running.
    pub last: Option<CycleRow>,
    /// The last one with an outcome.
    pub last_ended: Option<CycleRow>,
    /// The last success.
    pub last_success: Option<CycleRow>,
    /// The last one that was neither interrupted nor is running, if it failed.
    pub last_failure: Option<CycleRow>,
    /// The start of the first of the failures that last.
    pub failing_since: Option<Timestamp>,
    /// The end of the first of the successes that last.
    pub ok_since: Option<Timestamp>,
    /// The last sign of a daemon.
    pub daemon_seen_at: Option<Timestamp>,
}

/// The last pause and the last resume, as far as the audit log can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PauseTimes {
    /// The last pause.
    pub paused_at: Option<Timestamp>,
    /// The system user who paused.
    pub paused_by: Option<String>,
    /// The last resume.
    pub resumed_at: Option<Timestamp>,
}

/// The records about one source.
#[derive(Clone, Debug)]
pub struct SourceOverview {
    /// The cycles.
    pub cycles: CycleHistory,
    /// The pauses.
    pub pauses: PauseTimes,
    /// The learners.
    pub learners: LearnerCounts,
    /// The held users.
    pub held: UserListing<HeldUser>,
    /// How many held users are approved.
    pub approved: u64,
    /// The failing and the skipped users.
    pub failing: UserListing<FailingUser>,
    /// How many users in conflict may have new accounts.
    pub recreated: u64,
    /// The rows that cannot be read.
    pub unreadable: Vec<UnreadableRow>,
}

/// The numbers of users by reason, from an index.
struct Tallies {
    /// The reasons of ours.
    tallies: Vec<ReasonTally>,
    /// A sum over all users.
    counted: u64,
    /// Whether a hand has written another reason.
    has_unknown: bool,
}

impl Store {
    /// The records about `source`; with `all`, every held and failing user is listed.
    pub async fn overview(&self, source: &str, all: bool) -> Result<SourceOverview, StoreError> {
        let cycles = self.cycle_history(source).await?;
        let pauses = self.pause_times().await?;
        let learners = self.learner_counts(source).await?;
        let (held, approved) = self.held_listing(source, all).await?;
        let (failing, recreated) = self.failing_listing(source, all).await?;
        self.inspect_links_and_groups(source).await?;
        // After all other reads, which collect the rows that they leave out.
        let unreadable = self.unreadable_rows();
        Ok(SourceOverview { cycles, pauses, learners, held, approved, failing, recreated, unreadable })
    }

    /// The cycles of `source`.
    pub async fn cycle_history(&self, source: &str) -> Result<CycleHistory, StoreError> {
        let unreadable = |row: &SqlRow, column| UnreadableRow {
            subject: RowSubject::History,
            column,
            place: format!("id = {}", row.get::<i64, _>("id").unwrap_or_default()),
            repair: format!("DELETE FROM sync_cycles WHERE id = {}", row.get::<i64, _>("id").unwrap_or_default()),
        };
        let statement = Statement::new(format!(
            "SELECT * FROM sync_cycles WHERE source = $1 AND {OF_ALL_USERS} ORDER BY id DESC LIMIT {RECENT_CYCLES}"
        ));
        let recent: Vec<CycleRow> = self.query_readable(statement.bind(source), cycle_row, unreadable).await?;
        let last = recent.first().cloned();
        let last_ended = recent.iter().find(|row| row.outcome.is_some()).cloned();
        let complete = recent.iter().find(|row| !matches!(row.outcome, None | Some(Outcome::Interrupted)));
        let last_failure = complete.filter(|row| row.outcome == Some(Outcome::Failed)).cloned();
        let recent_success = recent.iter().find(|row| row.outcome == Some(Outcome::Success)).cloned();
        let last_success = match recent_success {
            None => self.last_success(source).await?,
            found => found,
        };
        // Failures and interruptions do not end a series of failures.
        let lasting = [Outcome::Failed, Outcome::Interrupted];
        let failing_since = match last_failure {
            Some(_) => self.first_since(source, "min(started_at)", Outcome::Failed, &lasting).await?,
            None => None,
        };
        let ok_since = self.first_since(source, "min(finished_at)", Outcome::Success, &[Outcome::Success]).await?;
        let daemon = Statement::new(
            r#"SELECT coalesce(finished_at, started_at) FROM sync_cycles WHERE source = $1 AND "trigger" <> $2
               ORDER BY id DESC LIMIT 1"#,
        );
        let daemon = daemon.bind(source).bind(Trigger::Command.as_str());
        let daemon = self.connection().await.optional_row(daemon).await?;
        // A time that cannot be read is reported by another read.
        let daemon_seen_at = daemon.and_then(|row| row.time(0, "sync_cycles.started_at").ok());
        Ok(CycleHistory { last, last_ended, last_success, last_failure, failing_since, ok_since, daemon_seen_at })
    }

    /// `time` of the cycles with `outcome` since the last one that ended in none of the outcomes `lasting`.
    async fn first_since(
        &self,
        source: &str,
        time: &str,
        outcome: Outcome,
        lasting: &[Outcome],
    ) -> Result<Option<Timestamp>, StoreError> {
        let lasting: Vec<&str> = lasting.iter().map(|outcome| outcome.as_str()).collect();
        let statement = Statement::new(format!(
            "SELECT {time} FROM sync_cycles WHERE source = $1 AND outcome = $2 AND {OF_ALL_USERS} AND id >
                 (SELECT coalesce(max(id), 0) FROM sync_cycles
                  WHERE source = $1 AND {OF_ALL_USERS} AND outcome IS NOT NULL AND outcome NOT IN ('{}'))",
            lasting.join("', '"),
        ));
        let statement = statement.bind(source).bind(outcome.as_str());
        Ok(self.connection().await.row(statement).await?.optional_time(0, "sync_cycles.started_at").unwrap_or_default())
    }

    async fn pause_times(&self) -> Result<PauseTimes, StoreError> {
        let last = async |action: &str| {
            let statement =
                Statement::new("SELECT at, actor FROM audit_log WHERE action = $1 ORDER BY id DESC LIMIT 1")
                    .bind(action);
            let row = unless_denied(self.connection().await.optional_row(statement).await)?;
            let time = row.as_ref().and_then(|row| row.time(0, "audit_log.at").ok());
            Ok::<_, StoreError>((time, row.and_then(|row| Some(row.foreign_text(1).ok()??.into_owned()))))
        };
        let ((paused_at, paused_by), (resumed_at, _)) = (last("pause").await?, last("resume").await?);
        Ok(PauseTimes { paused_at, paused_by, resumed_at })
    }

    /// Also counts the approved users, whose changes the next cycle applies.
    async fn held_listing(&self, source: &str, all: bool) -> Result<(UserListing<HeldUser>, u64), StoreError> {
        let approved = "count(*) FILTER (WHERE approved_at IS NOT NULL)";
        let Tallies { tallies, counted: approved, .. } = self.tallies("sync_held", "since", approved, source).await?;
        if all || is_short(&tallies) {
            let users = self.held_users(source).await?;
            let tallies = tally(users.iter().map(|user| (user.reason, user.since)));
            return Ok((UserListing { tallies, users }, approved));
        }
        Ok((UserListing { tallies, users: self.first_held_users(source, Some(FIRST)).await? }, approved))
    }

    /// Also counts the users in conflict who may have new accounts.
    async fn failing_listing(&self, source: &str, all: bool) -> Result<(UserListing<FailingUser>, u64), StoreError> {
        let (conflict, recreated) = (Reason::Conflict.as_str(), Cause::Recreated.as_str());
        let recreated = format!("count(*) FILTER (WHERE reason = '{conflict}' AND cause = '{recreated}')");
        let Tallies { tallies, counted: recreated, has_unknown } =
            self.tallies("sync_failures", "first_at", &recreated, source).await?;
        if all || is_short(&tallies) {
            self.failing(source).await?;
            let users = self.failing_users(source).await?;
            let tallies = tally(users.iter().map(|user| (user.reason, user.first_at)));
            return Ok((UserListing { tallies, users }, recreated));
        }
        let only = |fails: bool| {
            let selected = tallies.iter().filter(move |tally| tally.reason.is_failure() == fails);
            Selected::Only(selected.clone().map(|tally| tally.reason).collect(), users_of(selected))
        };
        let mut selections = vec![only(true)];
        // A reason that is not one of ours is found among all others, and reported.
        selections.push(if has_unknown { Selected::Other(Reason::FAILURES.to_vec()) } else { only(false) });
        selections.retain(|selected| !matches!(selected, Selected::Only(_, 0)));
        let users = self.first_failing_users(source, FIRST, &selections).await?;
        Ok((UserListing { tallies, users }, recreated))
    }

    /// The users by reason, and the sum of `count` over all of them. A reason that is not one of ours is left out:
    /// reading its row reports it.
    async fn tallies(&self, table: &str, since: &str, count: &str, source: &str) -> Result<Tallies, StoreError> {
        let mut connection = self.connection().await;
        // Failing users have an index of their own. Held users are read in one pass, in the order of the file: the rows of a
        // hundred thousand take a while.
        let order = match (connection.dialect(), table) {
            (Dialect::Sqlite, "sync_held") => "NOT INDEXED",
            _ => "",
        };
        let statement = Statement::new(format!(
            "SELECT reason, count(*), min({since}), {count} FROM {table} {order} WHERE source = $1
             GROUP BY reason ORDER BY reason"
        ));
        let rows = connection.rows(statement.bind(source)).await?;
        let tally = |row: &SqlRow| {
            let reason = row.foreign_text(0).ok().flatten()?;
            Some(ReasonTally {
                reason: parse_column(&reason, "reason").ok()?,
                users: row.get::<i64, _>(1).ok()?.unsigned_abs(),
                since: row.optional_time(2, "since").unwrap_or_default(),
            })
        };
        let counted = rows.iter().filter_map(|row| Some(row.get::<i64, _>(3).ok()?.unsigned_abs())).sum();
        let tallies: Vec<ReasonTally> = rows.iter().filter_map(tally).collect();
        Ok(Tallies { has_unknown: tallies.len() < rows.len(), tallies, counted })
    }
}

/// A role that runs cycles on a server need not read the audit log.
fn unless_denied<T: Default>(read: Result<T, DbError>) -> Result<T, DbError> {
    match read {
        Err(DbError::Denied(_)) => Ok(T::default()),
        read => read,
    }
}

fn is_short(tallies: &[ReasonTally]) -> bool {
    users_of(tallies.iter()) <= MAX_READ
}

fn users_of<'t>(tallies: impl Iterator<Item = &'t ReasonTally>) -> u64 {
    tallies.map(|tally| tally.users).sum()
}

fn tally(users: impl Iterator<Item = (Reason, Timestamp)>) -> Vec<ReasonTally> {
    let mut tallies: BTreeMap<&str, ReasonTally> = BTreeMap::new();
    for (reason, since) in users {
        let tally = tallies.entry(reason.as_str()).or_insert(ReasonTally { reason, users: 0, since: Some(since) });
        tally.users += 1;
        tally.since = tally.since.min(Some(since));
    }
    tallies.into_values().collect()
}
