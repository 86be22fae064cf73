//! The state of the daemon: one truth for systemd, the journal and `status`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::record_writer::RecordWriter;
use super::systemd;
use crate::config::Config;
use crate::model::{Clock, ProvisioningState, StateReport};
use crate::runtime::preflight::PreflightError;
use crate::runtime::status::{
    CycleNumbers, DatabaseObservation, RecordPlaces, RecordedFinding, StatusRecord, StatusSummary, disk_problem,
    with_hint,
};
use crate::runtime::{App, Paths};
use crate::store::{Access, Store};

/// How often the disk is inspected.
const DISK_INTERVAL: Duration = Duration::from_secs(10);
/// How long the disk may take to answer.
const DISK_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the learner database is observed while it cannot be read.
const OBSERVATION_INTERVAL: Duration = Duration::from_mins(1);
/// How long the learner database may take to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// An observation counts the rows of whole tables.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// The learner database as an observation has found it, or why it cannot be read.
pub(super) type ObservedSummary = Result<StatusSummary, String>;

/// Reads the learner database for its state.
pub(super) async fn observe_database(app: &App) -> ObservedSummary {
    let describe = |error| with_hint(&PreflightError::from(error));
    let opened = tokio::time::timeout(OPEN_TIMEOUT, Store::open(app.learners.clone(), Access::ReadOnly)).await;
    let opened = opened.map_err(|_| "the learner database is locked or does not answer".to_owned())?;
    let read = DatabaseObservation::read(&app.config, opened.map_err(describe)?, false);
    let read = tokio::time::timeout(READ_TIMEOUT, read).await;
    let read = read.map_err(|_| "the learner database is locked, or does not answer in time".to_owned())?;
    let DatabaseObservation { summary, store, .. } = read.map_err(describe)?;
    // Only read, so nothing is lost.
    let _ = store.close().await;
    Ok(summary)
}

/// An inspection of the disk, in a task of its own because a disk may not answer.
struct DiskProbe {
    task: JoinHandle<Option<String>>,
    /// When it next counts as unanswered.
    deadline: Instant,
}

/// Keeps the facts that the daemon knows, and publishes the state that they make.
pub(super) struct StatusReporter {
    writer: RecordWriter,
    record: StatusRecord,
    published: watch::Sender<StatusRecord>,
    clock: Clock,
    /// The last state that was logged.
    logged: Option<ProvisioningState>,
    /// Why the learner database failed in the last cycle.
    cycle_problem: Option<RecordedFinding>,
    /// The last cycle in the learner database, if it had ended, after the last cycle of the daemon.
    known_cycle: Option<EndedCycle>,
    /// Why the learner database cannot be read.
    database_problem: Option<RecordedFinding>,
    /// When to observe the learner database again; `None` while it can be read.
    observation_due: Option<Instant>,
    /// Why the disk is unusable.
    disk_problem: Option<RecordedFinding>,
    interval: tokio::time::Interval,
    probe: Option<DiskProbe>,
}

impl StatusReporter {
    pub(super) fn new(app: &App, environment: &BTreeMap<String, String>, summary: StatusSummary) -> Self {
        let (config, now) = (&app.config, (app.clock)());
        let paths = Paths::new(config);
        let record = StatusRecord {
            version: StatusRecord::VERSION,
            config: std::path::absolute(&config.path).unwrap_or_else(|_| config.path.clone()),
            lock: paths.daemon_lock,
            pid: std::process::id(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            settings: Some(config.settings_to_record()),
            database: app.learners.place.to_string(),
            started_at: now,
            written_at: now,
            stopped_at: None,
            loaded_at: now,
            rejected: None,
            trouble: None,
            failure: None,
            not_begun: None,
            http: None,
            is_cycle_running: false,
            progress: None,
            next_cycle_at: None,
            is_standby: false,
            max_interval: longest_interval(config),
            enabled: config.provisioning.users,
            state: String::new(),
            since: None,
            reason: String::new(),
            summary: Some(summary),
        };
        let places = RecordPlaces::new(&config.path, Some(&paths.state_directory), environment);
        let mut interval = tokio::time::interval(DISK_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self {
            writer: RecordWriter::new(move |record| places.write(record)),
            published: watch::Sender::new(record.clone()),
            record,
            clock: app.clock,
            logged: None,
            cycle_problem: None,
            known_cycle: None,
            database_problem: None,
            observation_due: None,
            disk_problem: None,
            interval,
            probe: None,
        }
    }

    /// The record as it is now and after each change.
    pub(super) fn published(&self) -> watch::Receiver<StatusRecord> {
        self.published.subscribe()
    }

    /// The HTTP listener listens, or does not for this reason.
    pub(super) fn listener_changed(&mut self, failure: Option<String>) {
        if failure.as_ref() != self.record.http.as_ref().map(|found| &found.reason) {
            self.record.http = keep_since(self.record.http.take(), failure, (self.clock)());
            self.publish();
        }
    }

    pub(super) fn cycle_started(&mut self) {
        self.record.is_cycle_running = true;
        self.record.next_cycle_at = None;
        self.publish();
    }

    /// A cycle has ended, or could not begin. `failure` says why it failed, `problem` why the learner database did, and
    /// `not_begun` why there was no cycle.
    pub(super) fn cycle_ended(
        &mut self,
        failure: Option<String>,
        problem: Option<String>,
        not_begun: Option<String>,
        observed: Option<ObservedSummary>,
    ) {
        let now = (self.clock)();
        self.record.is_cycle_running = false;
        self.record.progress = None;
        self.record.not_begun = not_begun.map(|reason| RecordedFinding::new(now, reason));
        // The learner database usually has it, with the time of the first failure.
        let is_shown = matches!(&observed, Some(Ok(summary)) if summary.failure.is_some());
        let before = (self.record.failure.take(), self.cycle_problem.take());
        // Before the problem of this cycle, which an observation does not end.
        if let Some(observed) = observed {
            self.set_summary(observed);
        }
        self.record.failure = keep_since(before.0, failure.filter(|_| !is_shown), now);
        self.cycle_problem = keep_since(before.1, problem, now);
        self.known_cycle = self.record.summary.as_ref().and_then(ended_cycle);
        self.publish();
    }

    /// How far the running cycle is.
    pub(super) fn progressed(&mut self, words: String) {
        if self.record.progress.as_ref() != Some(&words) {
            self.record.progress = Some(words);
            self.publish();
        }
    }

    pub(super) fn observed(&mut self, observed: ObservedSummary) {
        self.set_summary(observed);
        self.publish();
    }

    fn set_summary(&mut self, observed: ObservedSummary) {
        let before = self.database_problem.take();
        match observed {
            Ok(summary) => {
                let was_paused = self.record.summary.as_ref().is_some_and(|summary| summary.paused);
                // The state may have another word before and after it.
                match (was_paused, summary.paused) {
                    (false, true) => tracing::info!("provisioning was paused"),
                    (true, false) => tracing::info!("provisioning was resumed"),
                    (true, true) | (false, false) => {}
                }
                // A command ran a later cycle, which the summary has. Times are not compared: the clocks may differ.
                let is_later = ended_cycle(&summary).is_some_and(|cycle| Some(cycle) != self.known_cycle);
                if is_later {
                    self.record.failure = None;
                }
                // The cycle may have failed for the reason that the last observation found.
                if is_later || before.is_some() {
                    self.cycle_problem = None;
                }
                self.record.summary = Some(summary);
                self.observation_due = None;
            }
            Err(error) => {
                self.database_problem = keep_since(before, Some(error), (self.clock)());
                self.observation_due = Some(Instant::now() + OBSERVATION_INTERVAL);
            }
        }
    }

    /// Whether the learner database should be observed again.
    pub(super) fn needs_observation(&self) -> bool {
        self.observation_due.is_some_and(|due| due <= Instant::now())
    }

    pub(super) fn reloaded(&mut self, config: &Config) {
        self.record.loaded_at = (self.clock)();
        self.record.rejected = None;
        self.record.settings = Some(config.settings_to_record());
        self.record.max_interval = longest_interval(config);
        self.record.enabled = config.provisioning.users;
        self.publish();
    }

    pub(super) fn reload_rejected(&mut self, error: String) {
        self.record.rejected = Some(RecordedFinding::new((self.clock)(), error));
        self.publish();
    }

    /// Whether no cycle runs until an administrator resumes provisioning.
    pub(super) fn is_paused(&self) -> bool {
        !self.record.enabled || self.record.summary.as_ref().is_some_and(|summary| summary.paused)
    }

    pub(super) fn scheduled(&mut self, next: Timestamp) {
        self.record.next_cycle_at = Some(next);
        self.publish();
    }

    pub(super) fn next_cycle_at(&self) -> Option<Timestamp> {
        self.record.next_cycle_at
    }

    /// Whether another daemon runs the cycles, for the metrics.
    pub(super) fn set_standby(&mut self, is_standby: bool) {
        if std::mem::replace(&mut self.record.is_standby, is_standby) != is_standby {
            self.publish();
        }
    }

    /// Whether another daemon runs the cycles, as the learner database said last.
    pub(super) fn is_standby(&self) -> bool {
        self.record.is_standby
    }

    /// Whether the last observation found a cycle of another process.
    pub(super) fn shows_other_cycle(&self) -> bool {
        self.record.summary.as_ref().is_some_and(|summary| summary.runs_elsewhere)
    }

    /// Writes the last record.
    pub(super) fn stopped(&mut self) {
        self.record.next_cycle_at = None;
        self.record.is_cycle_running = false;
        self.record.stopped_at = Some((self.clock)());
        self.write();
        self.writer.finish();
    }

    /// Resolves after each inspection of the disk. Dropping the future loses nothing.
    pub(super) async fn probed(&mut self, app: &Arc<App>) {
        loop {
            let problem = match &mut self.probe {
                Some(DiskProbe { task, deadline }) => tokio::select! {
                    problem = task => problem.unwrap_or_default(),
                    () = tokio::time::sleep_until(*deadline) => {
                        *deadline = Instant::now() + DISK_TIMEOUT;
                        Some("the disk does not answer".to_owned())
                    }
                },
                None => {
                    self.interval.tick().await;
                    let app = Arc::clone(app);
                    let task = tokio::task::spawn_blocking(move || disk_problem(&app.config, true));
                    self.probe = Some(DiskProbe { task, deadline: Instant::now() + DISK_TIMEOUT });
                    continue;
                }
            };
            if self.probe.as_ref().is_some_and(|probe| probe.task.is_finished()) {
                self.probe = None;
            }
            let before = self.disk_problem.take();
            let passed = before.is_some() && problem.is_none();
            self.disk_problem = keep_since(before.clone(), problem, (self.clock)());
            if passed {
                // The cycle may have failed for the same reason.
                self.cycle_problem = None;
                self.observation_due = self.observation_due.map(|_| Instant::now());
            }
            // Time alone makes a state as well: a cycle may hang.
            let report = self.record.situation(true).facts((self.clock)()).report();
            if self.disk_problem != before || self.logged != Some(report.state) {
                self.publish();
            }
            return;
        }
    }

    /// Writes the record, and notifies systemd and the journal.
    pub(super) fn publish(&mut self) {
        let problems = [&self.disk_problem, &self.database_problem, &self.cycle_problem];
        self.record.trouble = problems.into_iter().flatten().next().cloned();
        let report = self.record.situation(true).facts((self.clock)()).report();
        self.record.set_state(&report);
        self.write();
        self.published.send_replace(self.record.clone());
        systemd::notify_status(&self.line(&report));
        let StateReport { state, since: _, reason } = &report;
        if self.logged.replace(*state) == Some(*state) {
            return;
        }
        if state.exit_code() == 0 {
            tracing::info!(%state, "state {state}: {reason}");
        } else {
            tracing::warn!(%state, "state {state}: {reason}");
        }
    }

    fn write(&mut self) {
        self.record.written_at = (self.clock)();
        self.writer.write(self.record.clone());
    }

    /// The line that `systemctl status` shows.
    fn line(&self, StateReport { state, since, reason }: &StateReport) -> String {
        let StatusRecord { rejected, http, next_cycle_at, is_cycle_running, progress, summary, .. } = &self.record;
        let mut line = state.to_string();
        if let Some(since) = since {
            line.push_str(&format!(" since {since:.0}"));
        }
        line.push_str(&format!(": {reason}"));
        if let Some(last) = summary.as_ref().and_then(|summary| summary.last_cycle.as_ref()) {
            line.push_str(&last_cycle(last));
        }
        if *is_cycle_running && *state != ProvisioningState::Running {
            line.push_str("; a cycle is running");
        }
        if let Some(progress) = progress {
            line.push_str(&format!("; {progress}"));
        }
        if let Some(rejected) = rejected.as_ref().filter(|_| *state != ProvisioningState::ReloadRejected) {
            line.push_str(&format!("; configuration not reloaded: {}", rejected.reason));
        }
        if let Some(http) = http {
            line.push_str(&format!("; {}", http.reason));
        }
        if let Some(next) = next_cycle_at.filter(|_| !self.is_paused()) {
            line.push_str(&format!("; next cycle at {next:.0}"));
        }
        line
    }
}

fn last_cycle(last: &CycleNumbers) -> String {
    let (Some(outcome), Some(at)) = (&last.outcome, last.finished_at) else { return String::new() };
    format!("; last cycle at {at:.0}: {outcome}, {}", last.counts.in_words())
}

/// Number, writer and end of a cycle. After a failover another cycle may have the number.
type EndedCycle = (i64, Option<String>, Timestamp);

/// The last cycle, if it has ended.
fn ended_cycle(summary: &StatusSummary) -> Option<EndedCycle> {
    let last = summary.last_cycle.as_ref().filter(|last| last.outcome.is_some())?;
    Some((last.cycle, last.writer_id.clone(), last.finished_at?))
}

/// A finding that lasts keeps its beginning.
fn keep_since(before: Option<RecordedFinding>, reason: Option<String>, now: Timestamp) -> Option<RecordedFinding> {
    let since = before.and_then(|before| before.since).unwrap_or(now);
    reason.map(|reason| RecordedFinding::new(since, reason))
}

fn longest_interval(config: &Config) -> u64 {
    config.schedule.max_interval.max(config.schedule.min_interval).as_secs()
}
