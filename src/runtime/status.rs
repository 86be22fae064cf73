//! The state of provisioning, for `status` and the daemon alike.
//!
//! A [`StatusSummary`] has the numbers of the learner database, a [`StatusRecord`] is the file in which the daemon records
//! what it knows, and a [`Situation`] makes the state of both.

mod daemons;
mod observation;
mod record;
mod room;
mod summary;

use std::time::Duration;

use jiff::Timestamp;

pub use self::daemons::{KnownDaemon, daemon_warnings};
pub use self::observation::{DatabaseObservation, DiskObservation, disk_problem, notify_daemon, with_hint};
pub use self::record::{RecordPlaces, RecordedFinding, StatusRecord};
pub use self::room::{LowRoom, database_room, low_room, state_room};
pub use self::summary::{CycleNumbers, LearnerNumbers, ReasonNumbers, StatusSummary, UnsentMessage};
pub(crate) use self::summary::{by_reason, total};
use super::app::signed;
use crate::config::Config;
use crate::model::{DaemonFacts, Finding, Outcome, StateFacts};

/// Everything that the state depends on.
#[derive(Clone, Debug)]
pub struct Situation {
    /// The longest wait between two cycles.
    pub max_interval: Duration,
    /// Whether the configuration lets cycles run.
    pub enabled: bool,
    /// The numbers of the learner database, where they are known.
    pub summary: Option<StatusSummary>,
    /// The daemon.
    pub daemon: DaemonFacts,
    /// Whether a cycle is running.
    pub is_cycle_running: bool,
    /// Why the learner database or the disk is unusable.
    pub trouble: Option<Finding>,
    /// Why the last cycle of the daemon failed, if the learner database may not show it.
    pub failure: Option<Finding>,
    /// Why the last reload was rejected.
    pub rejected: Option<Finding>,
}

impl Situation {
    /// The situation of a configuration, of which nothing else is known.
    pub fn new(config: &Config) -> Self {
        Self {
            max_interval: config.schedule.max_interval.max(config.schedule.min_interval),
            enabled: config.provisioning.users,
            summary: None,
            daemon: DaemonFacts::default(),
            is_cycle_running: false,
            trouble: None,
            failure: None,
            rejected: None,
        }
    }

    /// The facts that make the state.
    pub fn facts(&self, now: Timestamp) -> StateFacts {
        let Self { max_interval, enabled, summary, daemon, is_cycle_running, trouble, failure, rejected } = self;
        let summary = summary.as_ref();
        let is_cycle_running = *is_cycle_running || summary.is_some_and(|summary| summary.runs_elsewhere);
        let last = summary.and_then(|summary| summary.last_cycle.as_ref());
        let is_open = last.is_some_and(|last| last.outcome.is_none());
        let was_interrupted = last.is_some_and(|last| last.outcome.as_deref() == Some(Outcome::Interrupted.as_str()));
        let seen_at = summary.and_then(|summary| summary.daemon_seen_at).max(daemon.seen_at);
        StateFacts {
            now,
            max_interval: signed(*max_interval),
            has_run: summary.is_none() || last.is_some() || failure.is_some(),
            running: is_cycle_running.then(|| running(last.filter(|_| is_open))),
            trouble: trouble.clone(),
            failing: failure.clone().or_else(|| summary?.failing()),
            last_cycle_at: last.and_then(|last| summary?.last_ended_at.or(Some(last.started_at))),
            last_by_daemon: summary.is_some_and(|summary| summary.last_by_daemon),
            resumed_at: summary.and_then(|summary| summary.resumed_at),
            daemon: DaemonFacts { seen_at, ..daemon.clone() },
            interrupted: last.filter(|_| was_interrupted || is_open && !is_cycle_running).map(|last| {
                let text = match &last.error {
                    Some(error) => format!("the last cycle ended early: {error}"),
                    None => "the last cycle was stopped before its end".to_owned(),
                };
                Finding::new(last.finished_at.or(Some(last.started_at)), text)
            }),
            paused: paused(*enabled, summary),
            rejected: rejected.clone(),
            held: summary.and_then(StatusSummary::held_users),
            partial: summary.and_then(StatusSummary::failing_users),
            ok_since: summary.and_then(|summary| summary.ok_since.or(summary.last_ended_at)),
        }
    }
}

fn running(open: Option<&CycleNumbers>) -> Finding {
    match open {
        Some(CycleNumbers { cycle, trigger, started_at, .. }) => {
            Finding::new(Some(*started_at), format!("cycle {cycle} is running ({trigger})"))
        }
        None => Finding::new(None, "a cycle is running"),
    }
}

fn paused(enabled: bool, summary: Option<&StatusSummary>) -> Option<Finding> {
    if !enabled {
        return Some(Finding::new(None, "provisioning is disabled: provisioning.users = false"));
    }
    let summary = summary.filter(|summary| summary.paused)?;
    Some(Finding::new(summary.paused_at, "provisioning is paused until `learner-sync resume`"))
}
