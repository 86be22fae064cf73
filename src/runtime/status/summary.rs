//! The numbers of the learner database, without names of people.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::KnownDaemon;
use crate::model::{ClockFinding, Finding, NotificationRows, Outcome, Trigger};
use crate::plan::Counts;
use crate::store::{
    CycleHistory, CycleRow, DatabaseState, LearnerCounts, PauseTimes, ReasonTally, SourceOverview, Store,
};

/// A cycle and its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CycleNumbers {
    /// Its number.
    pub cycle: i64,
    /// Tenant and enterprise application.
    pub source: String,
    /// The trigger.
    pub trigger: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended; none while it runs.
    pub finished_at: Option<Timestamp>,
    /// Its outcome; none while it runs.
    pub outcome: Option<String>,
    /// Its numbers.
    #[serde(flatten)]
    pub counts: Counts,
    /// Requests to Graph.
    pub requests: u64,
    /// Why it ended early.
    pub error: Option<String>,
    /// Whether it provisioned only one user.
    #[serde(default)]
    pub single_user: bool,
    /// Whether it compared all learners; none when it ended early.
    #[serde(default)]
    pub full_comparison: Option<bool>,
    /// Tells it from another cycle with its number; not shown.
    #[serde(skip)]
    pub writer_id: Option<String>,
}

impl CycleNumbers {
    /// Whether it decided about every user.
    pub fn is_complete(&self) -> bool {
        let outcome = self.outcome.as_deref();
        [Outcome::Success, Outcome::Partial, Outcome::Held].iter().any(|complete| outcome == Some(complete.as_str()))
    }
}

impl From<&CycleRow> for CycleNumbers {
    fn from(row: &CycleRow) -> Self {
        let CycleRow { id, source, trigger, started_at, finished_at, outcome, counts, requests, error, .. } = row;
        let CycleRow { single_user, full_comparison, writer_id, .. } = row;
        Self {
            cycle: id.0,
            source: source.clone(),
            trigger: trigger.as_str().to_owned(),
            started_at: *started_at,
            finished_at: *finished_at,
            outcome: outcome.map(|outcome| outcome.as_str().to_owned()),
            counts: *counts,
            requests: *requests,
            error: error.clone(),
            single_user: *single_user,
            full_comparison: *full_comparison,
            writer_id: writer_id.clone(),
        }
    }
}

/// The learners by their state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnerNumbers {
    /// Active, linked or not.
    pub active: u64,
    /// Inactive, linked or not.
    pub inactive: u64,
    /// Linked to the enterprise application.
    pub linked: u64,
    /// Active, and not linked to the enterprise application.
    pub active_unlinked: u64,
}

/// How many users have a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonNumbers {
    /// The reason.
    pub reason: String,
    /// The number of users.
    pub users: u64,
    /// The earliest beginning.
    pub since: Option<Timestamp>,
}

impl From<&ReasonTally> for ReasonNumbers {
    fn from(ReasonTally { reason, users, since }: &ReasonTally) -> Self {
        Self { reason: reason.as_str().to_owned(), users: *users, since: *since }
    }
}

/// A message that was tried and not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsentMessage {
    /// Its event.
    pub event: String,
    /// When it was decided.
    pub at: Timestamp,
    /// How often it was tried.
    pub attempts: u64,
    /// When it is tried again.
    pub next_attempt_at: Timestamp,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

impl UnsentMessage {
    /// The messages of `rows` that were tried in vain, the oldest first.
    pub fn of(rows: &NotificationRows) -> Vec<Self> {
        let tried = rows.values().filter_map(|row| Some((row.cause, row.unsent.as_ref()?)));
        let tried = tried.filter(|(_, unsent)| unsent.error.is_some());
        let mut messages: Vec<Self> = tried
            .map(|(cause, unsent)| Self {
                event: cause.event().as_str().to_owned(),
                at: unsent.notification.at,
                attempts: unsent.attempts,
                next_attempt_at: unsent.next_attempt_at,
                error: unsent.error.clone(),
            })
            .collect();
        messages.sort_by_key(|message| message.at);
        messages
    }
}

/// The numbers of the learner database for one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusSummary {
    /// Tenant and enterprise application.
    pub source: String,
    /// The version of the tables.
    pub schema_version: i64,
    /// Whether an administrator paused provisioning.
    pub paused: bool,
    /// The last pause.
    pub paused_at: Option<Timestamp>,
    /// The last resume.
    pub resumed_at: Option<Timestamp>,
    /// The last cycle of all users, which may be running.
    pub last_cycle: Option<CycleNumbers>,
    /// When the last cycle of all users ended.
    pub last_ended_at: Option<Timestamp>,
    /// Whether a daemon requested the last cycle.
    pub last_by_daemon: bool,
    /// The last success.
    pub last_success: Option<CycleNumbers>,
    /// Since when cycles fail.
    pub failing_since: Option<Timestamp>,
    /// Why the last complete cycle failed, if it did.
    pub failure: Option<String>,
    /// Since when every cycle is a success.
    pub ok_since: Option<Timestamp>,
    /// The last sign of a daemon.
    pub daemon_seen_at: Option<Timestamp>,
    /// The next cycle, as a daemon planned it.
    pub next_cycle_at: Option<Timestamp>,
    /// The daemons on all machines.
    #[serde(default)]
    pub daemons: Vec<KnownDaemon>,
    /// Whether a process with another connection runs a cycle.
    #[serde(default)]
    pub runs_elsewhere: bool,
    /// The learners.
    pub learners: LearnerNumbers,
    /// The held users.
    pub held: Vec<ReasonNumbers>,
    /// The failing users.
    pub failing: Vec<ReasonNumbers>,
    /// The skipped users with a record.
    pub skipped: Vec<ReasonNumbers>,
    /// The held users whose changes are approved.
    #[serde(default)]
    pub approved: u64,
    /// Users in conflict who may have new accounts.
    pub recreated: u64,
    /// Rows that cannot be read.
    pub unreadable: u64,
    /// When the credential expires.
    pub credential_ends_at: Option<Timestamp>,
    /// How the last cycle found the clocks.
    pub clock: Option<String>,
    /// The messages that were tried and not accepted.
    #[serde(default)]
    pub unsent_messages: Vec<UnsentMessage>,
}

impl StatusSummary {
    /// The numbers of `overview`, of a database with this `state`.
    pub fn new(source: &str, state: &DatabaseState, overview: &SourceOverview) -> Self {
        let SourceOverview { cycles, pauses, learners, held, approved, failing, recreated, unreadable } = overview;
        let CycleHistory { last, last_ended, last_success, last_failure, failing_since, ok_since, daemon_seen_at } =
            cycles;
        let PauseTimes { paused_at, paused_by: _, resumed_at } = *pauses;
        let LearnerCounts { active, inactive, linked, active_unlinked } = *learners;
        let (failing, skipped): (Vec<_>, Vec<_>) = failing.tallies.iter().partition(|tally| tally.reason.is_failure());
        let numbers = |tallies: Vec<&ReasonTally>| tallies.into_iter().map(ReasonNumbers::from).collect();
        Self {
            source: source.to_owned(),
            schema_version: Store::SCHEMA_VERSION,
            paused: state.paused,
            paused_at: paused_at.filter(|_| state.paused),
            resumed_at: resumed_at.filter(|_| !state.paused),
            last_cycle: last.as_ref().map(CycleNumbers::from),
            last_ended_at: last_ended.as_ref().and_then(|row| row.finished_at),
            last_by_daemon: last_ended.as_ref().or(last.as_ref()).is_some_and(|row| row.trigger != Trigger::Command),
            last_success: last_success.as_ref().map(CycleNumbers::from),
            failing_since: *failing_since,
            failure: last_failure.as_ref().map(|row| row.error.clone().unwrap_or_default()),
            ok_since: ok_since.filter(|_| last_ended.as_ref().is_some_and(|row| row.outcome == Some(Outcome::Success))),
            daemon_seen_at: *daemon_seen_at,
            // The caller knows the daemons and the messages.
            unsent_messages: Vec::new(),
            next_cycle_at: None,
            daemons: Vec::new(),
            runs_elsewhere: false,
            learners: LearnerNumbers { active, inactive, linked, active_unlinked },
            held: numbers(held.tallies.iter().collect()),
            failing: numbers(failing),
            skipped: numbers(skipped),
            approved: *approved,
            recreated: *recreated,
            unreadable: unreadable.len() as u64,
            credential_ends_at: state.credential.and_then(|check| check.ends_at),
            clock: state.clock.map(ClockFinding::to_text),
        }
    }

    pub(super) fn failing(&self) -> Option<Finding> {
        let failure = self.failure.clone()?;
        Some(Finding::new(self.failing_since, failure))
    }

    pub(super) fn held_users(&self) -> Option<Finding> {
        let users = total(&self.held);
        let is_one = users == 1;
        (users > 0).then(|| {
            let what =
                if is_one { "user is held until its change is" } else { "users are held until their changes are" };
            let (reasons, approved) = (by_reason(&self.held), self.approved);
            let text = match approved {
                0 => format!("{users} {what} approved: {reasons}"),
                _ if approved == users => format!("the next cycle applies the approved changes: {reasons}"),
                _ => format!("{users} {what} approved, {approved} of them approved so far: {reasons}"),
            };
            Finding::new(earliest(&self.held), text)
        })
    }

    pub(super) fn failing_users(&self) -> Option<Finding> {
        let (users, rows) = (total(&self.failing), self.unreadable);
        if users > 0 {
            let what = if users == 1 { "user fails" } else { "users fail" };
            return Some(Finding::new(
                earliest(&self.failing),
                format!("{users} {what}: {}", by_reason(&self.failing)),
            ));
        }
        let what = if rows == 1 { "row" } else { "rows" };
        (rows > 0).then(|| Finding::new(None, format!("{rows} {what} of the bookkeeping cannot be read")))
    }
}

/// The number of users of all reasons.
pub(crate) fn total(reasons: &[ReasonNumbers]) -> u64 {
    reasons.iter().map(|reason| reason.users).sum()
}

fn earliest(reasons: &[ReasonNumbers]) -> Option<Timestamp> {
    reasons.iter().filter_map(|reason| reason.since).min()
}

/// `2 conflict, 1 unreadable`.
pub(crate) fn by_reason(reasons: &[ReasonNumbers]) -> String {
    let each = reasons.iter().map(|ReasonNumbers { reason, users, .. }| format!("{users} {reason}"));
    each.collect::<Vec<_>>().join(", ")
}
