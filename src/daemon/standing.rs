//! The state of the daemon: one truth for systemd, the journal and `status`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::systemd;
use crate::config::Config;
use crate::model::{Clock, ProvisioningState, StateReport};
use crate::runtime::preflight::PreflightError;
use crate::runtime::status::{
    CycleNumbers, DatabaseLook, RecordPlaces, RecordedFinding, StatusRecord, StatusSummary, disk_trouble, with_hint,
};
use crate::runtime::{App, Paths};

/// How often the disk is looked at, and the learner database while it cannot be read.
const DISK_INTERVAL: Duration = Duration::from_secs(10);
/// A stop waits for the look after a cycle.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// The learner database as a look has found it, or why it cannot be read.
pub(super) type Looked = Result<StatusSummary, String>;

/// Reads the learner database for its state.
pub(super) async fn look(app: &App) -> Looked {
    // The start created its tables.
    let opened = DatabaseLook::open(&app.config, app.learners.clone(), true, false);
    let opened = tokio::time::timeout(LOOK_TIMEOUT, opened).await;
    let looked = opened.map_err(|_| "the learner database is locked or does not answer".to_owned())?;
    let DatabaseLook { summary, store, .. } = looked.map_err(|error| with_hint(&PreflightError::from(error)))?;
    // Only read, so nothing is lost.
    let _ = store.close().await;
    Ok(summary)
}

/// The facts that the daemon knows, and the state that it has shown.
pub(super) struct Standing {
    places: RecordPlaces,
    record: StatusRecord,
    published: watch::Sender<StatusRecord>,
    clock: Clock,
    /// The last state that was logged.
    logged: Option<ProvisioningState>,
    /// Why the learner database failed in the last cycle.
    cycle_trouble: Option<RecordedFinding>,
    /// Why the learner database cannot be read.
    look_trouble: Option<RecordedFinding>,
    /// What is wrong with the disk.
    disk_trouble: Option<RecordedFinding>,
    is_write_failure_logged: bool,
    interval: tokio::time::Interval,
    /// A disk may not answer, so that a task looks at it.
    probe: Option<JoinHandle<Option<String>>>,
}

impl Standing {
    pub(super) fn new(app: &App, environment: &BTreeMap<String, String>, summary: StatusSummary) -> Self {
        let (config, now) = (&app.config, (app.clock)());
        let paths = Paths::new(config);
        let record = StatusRecord {
            version: StatusRecord::VERSION,
            config: std::path::absolute(&config.path).unwrap_or_else(|_| config.path.clone()),
            lock: paths.daemon_lock,
            pid: std::process::id(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
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
            next_cycle_at: None,
            max_interval: longest_interval(config),
            enabled: config.provisioning.users,
            state: String::new(),
            since: None,
            reason: String::new(),
            summary: Some(summary),
        };
        let mut interval = tokio::time::interval(DISK_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self {
            places: RecordPlaces::new(&config.path, Some(&paths.state_directory), environment),
            published: watch::Sender::new(record.clone()),
            record,
            clock: app.clock,
            logged: None,
            cycle_trouble: None,
            look_trouble: None,
            disk_trouble: None,
            is_write_failure_logged: false,
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
            self.tell();
        }
    }

    pub(super) fn cycle_started(&mut self) {
        self.record.is_cycle_running = true;
        self.record.next_cycle_at = None;
        self.tell();
    }

    /// A cycle has ended, or could not begin. `failure` says why it failed, `trouble` why the learner database did, and
    /// `not_begun` why there was no cycle.
    pub(super) fn cycle_ended(
        &mut self,
        failure: Option<String>,
        trouble: Option<String>,
        not_begun: Option<String>,
        looked: Option<Looked>,
    ) {
        let now = (self.clock)();
        self.record.is_cycle_running = false;
        self.record.not_begun = not_begun.map(|reason| RecordedFinding::new(now, reason));
        // The learner database usually has it, with the time of the first failure.
        let is_shown = matches!(&looked, Some(Ok(summary)) if summary.failure.is_some());
        self.record.failure = keep_since(self.record.failure.take(), failure.filter(|_| !is_shown), now);
        // Before the trouble of this cycle, which a look does not end.
        if let Some(looked) = looked {
            self.set_summary(looked);
        }
        self.cycle_trouble = keep_since(self.cycle_trouble.take(), trouble, now);
        self.tell();
    }

    pub(super) fn looked(&mut self, looked: Looked) {
        self.set_summary(looked);
        self.tell();
    }

    fn set_summary(&mut self, looked: Looked) {
        let before = self.look_trouble.take();
        match looked {
            Ok(summary) => {
                let was_paused = self.record.summary.as_ref().is_some_and(|summary| summary.paused);
                // The state may have another word before and after it.
                match (was_paused, summary.paused) {
                    (false, true) => tracing::info!("provisioning was paused"),
                    (true, false) => tracing::info!("provisioning was resumed"),
                    (true, true) | (false, false) => {}
                }
                self.record.summary = Some(summary);
                if before.is_some() {
                    // The cycle may have failed for the same reason.
                    self.cycle_trouble = None;
                }
            }
            Err(error) => self.look_trouble = keep_since(before, Some(error), (self.clock)()),
        }
    }

    /// Whether the learner database should be looked at again.
    pub(super) fn needs_look(&self) -> bool {
        self.look_trouble.is_some()
    }

    pub(super) fn reloaded(&mut self, config: &Config) {
        self.record.loaded_at = (self.clock)();
        self.record.rejected = None;
        self.record.max_interval = longest_interval(config);
        self.record.enabled = config.provisioning.users;
        self.tell();
    }

    pub(super) fn reload_rejected(&mut self, error: String) {
        self.record.rejected = Some(RecordedFinding::new((self.clock)(), error));
        self.tell();
    }

    /// Whether no cycle runs until an administrator resumes provisioning.
    pub(super) fn is_paused(&self) -> bool {
        !self.record.enabled || self.record.summary.as_ref().is_some_and(|summary| summary.paused)
    }

    pub(super) fn scheduled(&mut self, next: Timestamp) {
        self.record.next_cycle_at = Some(next);
        self.tell();
    }

    pub(super) fn stopped(&mut self) {
        self.record.next_cycle_at = None;
        self.record.is_cycle_running = false;
        self.record.stopped_at = Some((self.clock)());
        self.write();
    }

    /// Resolves after each look at the disk. Dropping the future loses nothing.
    pub(super) async fn probed(&mut self, app: &Arc<App>) {
        loop {
            let trouble = match &mut self.probe {
                Some(probe) => tokio::select! {
                    trouble = probe => trouble.unwrap_or_default(),
                    () = tokio::time::sleep(DISK_INTERVAL * 3) => Some("the disk does not answer".to_owned()),
                },
                None => {
                    self.interval.tick().await;
                    let app = Arc::clone(app);
                    self.probe = Some(tokio::task::spawn_blocking(move || disk_trouble(&app.config, true)));
                    continue;
                }
            };
            if self.probe.as_ref().is_some_and(JoinHandle::is_finished) {
                self.probe = None;
            }
            let before = self.disk_trouble.take();
            let passed = before.is_some() && trouble.is_none();
            self.disk_trouble = keep_since(before.clone(), trouble, (self.clock)());
            if passed {
                // The cycle may have failed for the same reason.
                self.cycle_trouble = None;
            }
            // Time alone makes a state as well: a cycle may hang.
            let report = self.record.situation(true).facts((self.clock)()).report();
            if self.disk_trouble != before || self.logged != Some(report.state) {
                self.tell();
            }
            return;
        }
    }

    /// Writes the record, and tells systemd and the journal.
    pub(super) fn tell(&mut self) {
        let troubles = [&self.disk_trouble, &self.look_trouble, &self.cycle_trouble];
        self.record.trouble = troubles.into_iter().flatten().next().cloned();
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
        match self.places.write(&self.record) {
            Ok(()) => self.is_write_failure_logged = false,
            Err(error) if !self.is_write_failure_logged => {
                self.is_write_failure_logged = true;
                tracing::warn!("cannot write the status record for `learner-sync status`: {error}");
            }
            Err(_) => {}
        }
    }

    /// The line that `systemctl status` shows.
    fn line(&self, StateReport { state, since, reason }: &StateReport) -> String {
        let StatusRecord { rejected, http, next_cycle_at, is_cycle_running, summary, .. } = &self.record;
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
        if let Some(rejected) = rejected.as_ref().filter(|_| *state != ProvisioningState::ReloadRejected) {
            line.push_str(&format!("; configuration not reloaded: {}", rejected.reason));
        }
        if let Some(http) = http {
            line.push_str(&format!("; {}", http.reason));
        }
        if let Some(next) = next_cycle_at {
            line.push_str(&format!("; next cycle at {next:.0}"));
        }
        line
    }
}

fn last_cycle(last: &CycleNumbers) -> String {
    let (Some(outcome), Some(at)) = (&last.outcome, last.finished_at) else { return String::new() };
    format!("; last cycle at {at:.0}: {outcome}, {}", last.in_words())
}

/// A finding that lasts keeps its beginning.
fn keep_since(before: Option<RecordedFinding>, reason: Option<String>, now: Timestamp) -> Option<RecordedFinding> {
    let since = before.and_then(|before| before.since).unwrap_or(now);
    reason.map(|reason| RecordedFinding::new(since, reason))
}

fn longest_interval(config: &Config) -> u64 {
    config.schedule.max_interval.max(config.schedule.min_interval).as_secs()
}
