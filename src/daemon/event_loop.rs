//! The loop: at most one cycle runs, at most one request waits, and a stop ends it between two batches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::MissedTickBehavior;

use super::credential_watch::file_states;
use super::signals::{SignalRequest, Signals};
use super::status_reporter::{Looked, look};
use super::systemd::{self, Watchdog};
use super::timer::{draw_wait, first_wait};
use super::{COMMAND, CycleEnded, DATABASE_TIMEOUT, Daemon, DaemonError};
use crate::cycle::{CycleRequest, DatabaseFailure, Report, StopSignal, stopped};
use crate::model::{Outcome, Trigger, chain};
use crate::runtime::locked_cycle::{LockedCycleError, RunOptions, run_locked_cycle};
use crate::runtime::preflight::PreflightError;
use crate::runtime::status::with_hint;
use crate::store::{Access, Store};

/// How often the progress of a running cycle is published.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How long a stop waits for the look after a cycle.
const LOOK_TIME_AT_STOP: Duration = Duration::from_secs(10);

impl Daemon {
    /// Serves requests until a stop, and lets the running cycle finish its batch.
    pub(super) async fn serve(&mut self, signals: &mut Signals) -> Result<(), DaemonError> {
        let mut watchdog = Watchdog::new();
        let mut progress = tokio::time::interval(PROGRESS_INTERVAL);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let stopping = *self.stop.borrow();
            if stopping && self.running.is_none() {
                if let Some(reload) = self.reloading.take() {
                    reload.abort();
                }
                if let Some(look) = self.looking.take() {
                    look.abort();
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
                    self.look_after_cycle(stopping);
                    if !stopping && self.pending.is_none() {
                        self.schedule_next(None).await?;
                    }
                }
                reloaded = task_result(&mut self.reloading) => {
                    self.reloading = None;
                    self.finish_reload(reloaded).await?;
                }
                looked = task_result(&mut self.looking) => {
                    self.looking = None;
                    self.finish_look(looked);
                }
                () = self.status_reporter.probed(&self.app) => {
                    if self.status_reporter.needs_look() && self.running.is_none() && self.looking.is_none() {
                        self.request_look();
                    }
                }
                _ = progress.tick(), if self.running.is_some() => {
                    let words = self.progress.state().in_words(Instant::now(), (self.app.clock)());
                    self.status_reporter.progressed(words);
                }
                () = self.credentials.changed(&self.app), if self.credential_failed && self.running.is_none() => {
                    tracing::info!("a credential file has changed; a cycle starts at once");
                    self.request_cycle(Trigger::Schedule, false);
                }
                failure = self.listener.changed() => self.status_reporter.listener_changed(failure),
                signal = signals.next() => match signal {
                    SignalRequest::Cycle => self.serve_signal(false).await,
                    SignalRequest::FullCycle => self.serve_signal(true).await,
                    SignalRequest::Look => self.request_look(),
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

    async fn serve_signal(&mut self, full: bool) {
        tracing::info!(cycle.full = full, "a signal requests a cycle");
        self.request_cycle(Trigger::Signal, full);
        self.record(DaemonRecord::Signal { full, at: (self.app.clock)() }).await;
    }

    /// Starts a look at the learner database, or lets another one follow the present one.
    pub(super) fn request_look(&mut self) {
        if self.looking.is_some() {
            self.look_again = true;
            return;
        }
        let app = Arc::clone(&self.app);
        self.looking = Some(tokio::spawn(async move { look(&app).await }));
    }

    fn finish_look(&mut self, looked: Result<Looked, JoinError>) {
        if let Ok(looked) = looked {
            self.status_reporter.looked(looked);
        }
        self.look_after_cycle |= self.running.is_some();
        if std::mem::take(&mut self.look_again) {
            self.request_look();
        }
    }

    /// Repeats a look that was requested while the cycle ran.
    fn look_after_cycle(&mut self, stopping: bool) {
        if let Some(look) = self.looking.take() {
            // It may have read the cycle as a running one.
            look.abort();
            self.look_after_cycle = true;
        }
        if std::mem::take(&mut self.look_after_cycle) && !stopping {
            self.look_again = false;
            self.request_look();
        }
    }

    pub(super) fn request_cycle(&mut self, trigger: Trigger, full: bool) {
        let request = CycleRequest { trigger, full };
        let request = self.pending.map_or(request, |pending| merge(pending, request));
        self.pending = Some(request);
        if self.running.is_some() {
            tracing::info!(cycle.full = request.full, "a cycle is running; one more follows it");
        }
    }

    async fn start_cycle(&mut self, request: CycleRequest) {
        self.timer.disarm().await;
        self.status_reporter.cycle_started();
        self.progress = Arc::clone(self.app.directory.progress());
        let (app, stop, mut look_stop) = (Arc::clone(&self.app), self.stop.subscribe(), self.stop.subscribe());
        // It waits for the lock: a requested cycle must not be lost because `sync` is running.
        let options = RunOptions { request, wait: true, force: false, command: COMMAND, actor: None, only: None };
        self.running = Some(tokio::spawn(async move {
            let entra = app.config.entra.clone();
            let credentials = tokio::task::spawn_blocking(move || file_states(&entra)).await.unwrap_or_default();
            let result = run_locked_cycle(&app, options, stop).await;
            let looked = tokio::select! {
                looked = look(&app) => Some(looked),
                () = stopped_for(LOOK_TIME_AT_STOP, &mut look_stop) => None,
            };
            CycleEnded { result, looked, credentials }
        }));
    }

    fn finish_cycle(&mut self, ended: Result<CycleEnded, JoinError>) {
        let (result, looked) = match ended {
            Ok(CycleEnded { result, looked, credentials }) => {
                self.credentials.read(credentials);
                (Some(result), looked)
            }
            Err(_) => (None, None),
        };
        self.count(result.as_ref());
        let refused = matches!(&result, Some(Ok(Report { refused: true, .. })));
        self.refusals = if refused { self.refusals.saturating_add(1) } else { 0 };
        self.credential_failed |= matches!(&result, Some(Ok(Report { credential_failed: true, .. })));
        // A skipped cycle is not a failed one.
        self.longest_wait = None;
        let was_read = matches!(&looked, Some(Ok(_)));
        let lasts = |failure| failure == DatabaseFailure::Lasting || !was_read;
        let mut not_begun = None;
        let (failure, trouble) = match result {
            Some(Ok(Report { outcome: Outcome::Failed, error, database_failure, .. })) => {
                self.count_failure();
                let error = error.unwrap_or_default();
                (Some(error.clone()), database_failure.filter(|failure| lasts(*failure)).map(|_| error))
            }
            Some(Ok(Report { outcome: Outcome::Interrupted, .. }) | Err(LockedCycleError::Stopped)) => (None, None),
            Some(Ok(_)) => {
                self.first_failures = None;
                self.credential_failed = false;
                (None, None)
            }
            Some(Err(LockedCycleError::Paused)) => {
                tracing::info!("provisioning is paused; the cycle is skipped");
                (None, None)
            }
            Some(Err(LockedCycleError::Disabled)) => {
                tracing::info!("provisioning.users = false; the cycle is skipped");
                (None, None)
            }
            Some(Err(error)) => {
                tracing::error!("cannot start a cycle: {}", chain(&error));
                let failure = match &error {
                    LockedCycleError::Preflight(PreflightError::Store(error)) | LockedCycleError::Store(error) => {
                        DatabaseFailure::of(error)
                    }
                    _ => DatabaseFailure::Lasting,
                };
                let text = match &error {
                    LockedCycleError::Preflight(error) => with_hint(error),
                    error => chain(error),
                };
                self.count_failure();
                not_begun = Some(text.clone());
                (Some(text.clone()), lasts(failure).then_some(text))
            }
            None => {
                self.count_failure();
                tracing::error!("the cycle panicked; the next one repeats it");
                (Some("the cycle panicked".to_owned()), None)
            }
        };
        self.status_reporter.cycle_ended(failure, trouble, not_begun, looked);
    }

    /// Shortens the wait for the next cycle if this is one of the first failures after the start.
    fn count_failure(&mut self) {
        self.first_failures = self.first_failures.map(|failures| failures.saturating_add(1));
        self.longest_wait = self.first_failures.and_then(first_wait);
    }

    /// Counts a cycle for the metrics; `None` after a panic.
    fn count(&self, result: Option<&Result<Report, LockedCycleError>>) {
        use LockedCycleError::{Disabled, Paused, Stopped};
        match result {
            Some(Ok(report)) => self.listener.metrics().cycle_ended(report),
            Some(Err(Paused | Disabled | Stopped)) => {}
            Some(Err(_)) | None => self.listener.metrics().cycle_lost(),
        }
    }

    /// Draws the time of the next cycle, but not later than after `longest`.
    pub(super) async fn schedule_next(&mut self, longest: Option<Duration>) -> Result<(), DaemonError> {
        let now = (self.app.clock)();
        let drawn = draw_wait(&self.app.config.schedule, self.refusals);
        let wait = longest.into_iter().chain(self.longest_wait).fold(drawn, Duration::min);
        self.timer.arm(wait).await?;
        let next = SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_add(wait).ok()).unwrap_or(now);
        self.record(DaemonRecord::NextCycle(Some(next))).await;
        self.status_reporter.scheduled(next);
        tracing::info!(next_cycle.at = %format!("{next:.0}"), "waiting");
        Ok(())
    }

    /// Writes a detail into the learner database, in a task of its own; a failure is only logged.
    pub(super) async fn record(&self, record: DaemonRecord) {
        let what = match record {
            DaemonRecord::NextCycle(_) => "the time of the next cycle",
            DaemonRecord::Reload { .. } => "the reload",
            DaemonRecord::Signal { .. } => "the signal",
        };
        let app = Arc::clone(&self.app);
        let written = tokio::spawn(async move {
            let store = Store::open(&app.learners, Access::ReadWrite).await?;
            match record {
                DaemonRecord::NextCycle(at) => store.set_next_cycle_at(at).await?,
                // The sender of a signal is unknown.
                DaemonRecord::Reload { rejected, at } => {
                    let detail = match rejected {
                        None => json!({ "outcome": "applied" }),
                        Some(error) => json!({ "outcome": "rejected", "error": error }),
                    };
                    store.audit("SIGHUP", "reload", Some(&detail.to_string()), at).await?;
                }
                DaemonRecord::Signal { full, at } => {
                    let actor = if full { "SIGUSR2" } else { "SIGUSR1" };
                    let detail = json!({ "full": full }).to_string();
                    store.audit(actor, "signal", Some(&detail), at).await?;
                }
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
#[derive(Clone, Debug)]
pub(super) enum DaemonRecord {
    /// When the next cycle is due, for `status`.
    NextCycle(Option<Timestamp>),
    /// The configuration was reloaded, or rejected for this reason.
    Reload { rejected: Option<String>, at: Timestamp },
    /// A signal requested a cycle.
    Signal { full: bool, at: Timestamp },
}

/// Resolves when the daemon has been stopping for this time.
async fn stopped_for(time: Duration, stop: &mut StopSignal) {
    stopped(stop).await;
    tokio::time::sleep(time).await;
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
