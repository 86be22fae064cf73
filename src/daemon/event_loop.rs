//! The loop: at most one cycle runs, at most one request waits, and a stop ends it between two batches.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::{JoinError, JoinHandle};

use super::signals::{SignalRequest, Signals};
use super::systemd::{self, Watchdog};
use super::timer::draw_wait;
use super::{COMMAND, DATABASE_TIMEOUT, Daemon, DaemonError};
use crate::cycle::{CycleRequest, Report};
use crate::model::{Outcome, Trigger, chain};
use crate::runtime::locked_cycle::{LockedCycleError, RunOptions, run_locked_cycle};
use crate::store::{Access, Store};

type CycleResult = Result<Result<Report, LockedCycleError>, JoinError>;

impl Daemon {
    /// Serves requests until a stop, and lets the running cycle finish its batch.
    pub(super) async fn serve(&mut self, signals: &mut Signals) -> Result<(), DaemonError> {
        let mut watchdog = Watchdog::new();
        loop {
            let stopping = *self.stop.borrow();
            if stopping && self.running.is_none() {
                if let Some(reload) = self.reloading.take() {
                    reload.abort();
                }
                return Ok(());
            }
            if !stopping
                && self.running.is_none()
                && let Some(request) = self.pending.take()
            {
                self.start_cycle(request).await;
            }
            tokio::select! {
                result = task_result(&mut self.running) => {
                    self.running = None;
                    self.finish_cycle(result);
                    if !stopping && self.pending.is_none() {
                        self.schedule_next(None).await?;
                    }
                }
                reloaded = task_result(&mut self.reloading) => {
                    self.reloading = None;
                    self.finish_reload(reloaded).await?;
                }
                signal = signals.next() => match signal {
                    SignalRequest::Cycle => self.request_cycle(Trigger::Signal, false),
                    SignalRequest::FullCycle => self.request_cycle(Trigger::Signal, true),
                    SignalRequest::Reload => self.request_reload(),
                    SignalRequest::Stop => {
                        systemd::notify_stopping();
                        tracing::info!(cycle.running = self.running.is_some(), "stopping");
                        self.stop.send_replace(true);
                    }
                },
                () = self.timer.fired() => self.request_cycle(Trigger::Schedule, false),
                () = watchdog.notified() => {}
            }
        }
    }

    fn request_cycle(&mut self, trigger: Trigger, full: bool) {
        let request = CycleRequest { trigger, full };
        let request = self.pending.map_or(request, |pending| merge(pending, request));
        self.pending = Some(request);
        if self.running.is_some() {
            tracing::info!(cycle.full = request.full, "a cycle is running; one more follows it");
        }
    }

    async fn start_cycle(&mut self, request: CycleRequest) {
        self.timer.disarm().await;
        self.show_status("a cycle is running");
        let (app, stop) = (Arc::clone(&self.app), self.stop.subscribe());
        // It waits for the lock: a requested cycle must not be lost because `sync` is running.
        let options = RunOptions { request, wait: true, force: false, command: COMMAND, actor: None, only: None };
        self.running = Some(tokio::spawn(async move { run_locked_cycle(&app, options, stop).await }));
    }

    fn finish_cycle(&mut self, result: CycleResult) {
        let now = (self.app.clock)();
        let refused = matches!(&result, Ok(Ok(Report { refused: true, .. })));
        self.refusals = if refused { self.refusals.saturating_add(1) } else { 0 };
        let failure = match result {
            Ok(Ok(Report { outcome: Outcome::Failed, error, .. })) => error.unwrap_or_default(),
            Ok(Ok(report)) => {
                self.failing_since = None;
                return self.set_status(format!("last cycle at {now:.0}: {}", report.summary()));
            }
            Ok(Err(LockedCycleError::Paused)) => {
                tracing::info!("provisioning is paused; the cycle is skipped");
                return self.set_status("paused".to_owned());
            }
            Ok(Err(LockedCycleError::Disabled)) => {
                tracing::info!("provisioning.users = false; the cycle is skipped");
                return self.set_status("provisioning.users = false".to_owned());
            }
            Ok(Err(LockedCycleError::Stopped)) => return,
            Ok(Err(error)) => {
                let error = chain(&error);
                tracing::error!("cannot start a cycle: {error}");
                error
            }
            Err(_) => {
                tracing::error!("the cycle panicked; the next one repeats it");
                "the cycle panicked".to_owned()
            }
        };
        let since = *self.failing_since.get_or_insert(now);
        self.set_status(format!("failing since {since:.0}: {failure}"));
    }

    fn set_status(&mut self, status: String) {
        self.show_status(&status);
        self.status = status;
    }

    /// Shows `text` to systemd, together with a rejected reload until one succeeds.
    pub(super) fn show_status(&self, text: &str) {
        match &self.reload_error {
            None => systemd::notify_status(text),
            Some(error) => systemd::notify_status(&format!("{text}; configuration not reloaded: {error}")),
        }
    }

    /// Draws the time of the next cycle, but not later than after `longest`.
    pub(super) async fn schedule_next(&mut self, longest: Option<Duration>) -> Result<(), DaemonError> {
        let now = (self.app.clock)();
        let drawn = draw_wait(&self.app.config.schedule, self.refusals);
        let wait = longest.map_or(drawn, |longest| longest.min(drawn));
        self.timer.arm(wait).await?;
        let next = SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_add(wait).ok()).unwrap_or(now);
        self.record(DaemonRecord::NextCycle(Some(next))).await;
        self.show_status(&format!("{}; next cycle at {next:.0}", self.status));
        tracing::info!(next_cycle.at = %format!("{next:.0}"), "waiting");
        Ok(())
    }

    /// Writes a detail into the learner database, in a task of its own; a failure is only logged.
    pub(super) async fn record(&self, record: DaemonRecord) {
        let what = match record {
            DaemonRecord::NextCycle(_) => "the time of the next cycle",
            DaemonRecord::Reload(_) => "the reload",
        };
        let app = Arc::clone(&self.app);
        let written = tokio::spawn(async move {
            let store = Store::open(&app.learners, Access::ReadWrite).await?;
            match record {
                DaemonRecord::NextCycle(at) => store.set_next_cycle_at(at).await?,
                // The sender of a signal is unknown.
                DaemonRecord::Reload(at) => store.audit("SIGHUP", "reload", None, at).await?,
            }
            store.close().await
        });
        match tokio::time::timeout(DATABASE_TIMEOUT, written).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!("cannot record {what}: {}", chain(&error)),
            Ok(Err(_)) => tracing::warn!("cannot record {what}: the task panicked"),
            Err(_) => tracing::warn!("cannot record {what}: the learner database is locked or does not answer"),
        }
    }
}

/// A detail that the daemon writes into the learner database outside of cycles.
#[derive(Clone, Copy, Debug)]
pub(super) enum DaemonRecord {
    /// When the next cycle is due, for `status`.
    NextCycle(Option<Timestamp>),
    /// The configuration was reloaded.
    Reload(Timestamp),
}

/// Resolves when the task ends; never, when there is none.
async fn task_result<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// Several requests make one cycle. It is full if one of them is. Its trigger is the signal if there was one, because
/// `resync --wait` waits for such a cycle.
fn merge(earlier: CycleRequest, later: CycleRequest) -> CycleRequest {
    let trigger = if later.trigger == Trigger::Signal { later.trigger } else { earlier.trigger };
    CycleRequest { trigger, full: earlier.full || later.full }
}
