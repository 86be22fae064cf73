//! The loop: at most one cycle runs, at most one request waits, and a stop ends it between two batches.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::MissedTickBehavior;

use super::credential_watch::file_states;
use super::signals::{SignalRequest, Signals};
use super::status_reporter::{ObservedSummary, observe_database};
use super::systemd::{self, Watchdog};
use super::timer::first_wait;
use super::turns::AfterCycle;
use super::unrecorded_plan::UnrecordedPlan;
use super::{COMMAND, CycleEnded, Daemon, DaemonError, DaemonRecord};
use crate::cycle::{CycleRequest, DatabaseFailure, Report, StopSignal, stopped};
use crate::model::{Outcome, Trigger, chain};
use crate::notify::CycleResult;
use crate::runtime::locked_cycle::{CycleClaim, LockedCycleError, RunOptions, run_locked_cycle};
use crate::runtime::preflight::PreflightError;
use crate::runtime::status::with_hint;
use crate::runtime::{App, CycleNews, is_shared, take_over_after};
use crate::store::{Succession, host_name};

/// How often the progress of a running cycle is published.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How long a stop waits for the observation after a cycle.
const OBSERVATION_TIME_AT_STOP: Duration = Duration::from_secs(10);

impl Daemon {
    /// Serves requests from the end of the start to the end of the stop.
    pub(super) async fn serve_until_stop(&mut self, signals: &mut Signals) -> Result<(), DaemonError> {
        self.status_reporter.publish();
        self.listener.tried().await;
        systemd::notify_ready();
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
        self.serve(signals).await?;
        systemd::notify_stopping();
        self.listener.stop().await;
        self.notifications.stop().await;
        self.presence.stop().await;
        self.unrecorded_plan = None;
        self.record(DaemonRecord::Stopped).await;
        self.status_reporter.stopped();
        self.timer.shut_down().await;
        tracing::info!("stopped");
        Ok(())
    }

    /// Serves requests until a stop, and lets the running cycle finish its batch.
    async fn serve(&mut self, signals: &mut Signals) -> Result<(), DaemonError> {
        let mut watchdog = Watchdog::new();
        let mut progress = tokio::time::interval(PROGRESS_INTERVAL);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let stopping = *self.stop.borrow();
            if stopping && self.running.is_none() {
                if let Some(reload) = self.reloading.take() {
                    reload.abort();
                }
                if let Some(observation) = self.observing.take() {
                    observation.abort();
                }
                if let Some(asking) = self.asking.take() {
                    asking.abort();
                }
                return Ok(());
            }
            if !stopping
                && self.running.is_none()
                && let Some(pending) = self.pending.take()
            {
                self.start_cycle(pending).await;
            }
            tokio::select! {
                result = task_result(&mut self.running) => {
                    self.running = None;
                    let after = self.finish_cycle(result);
                    self.observe_after_cycle(stopping);
                    if !stopping && self.pending.is_none() {
                        self.schedule_next(after).await?;
                    }
                }
                asked = task_result(&mut self.asking) => {
                    self.asking = None;
                    self.take_turn(asked).await?;
                }
                is_standby = self.presence.given(&self.app) => {
                    self.status_reporter.set_standby(is_standby);
                    self.serve_owed();
                    if self.status_reporter.shows_other_cycle() && self.running.is_none() && self.observing.is_none() {
                        self.request_observation();
                    }
                }
                planned = plan_recorded(&mut self.unrecorded_plan, &self.app) => {
                    self.unrecorded_plan = None;
                    if let Some(next) = planned {
                        self.status_reporter.scheduled(next);
                    }
                }
                reloaded = task_result(&mut self.reloading) => {
                    self.reloading = None;
                    self.finish_reload(reloaded).await?;
                }
                observed = task_result(&mut self.observing) => {
                    self.observing = None;
                    self.finish_observation(observed);
                }
                () = self.status_reporter.probed(&self.app) => {
                    if self.status_reporter.needs_observation() && self.running.is_none() && self.observing.is_none() {
                        self.request_observation();
                    }
                }
                _ = progress.tick(), if self.running.is_some() => {
                    let words = self.progress.state().in_words(Instant::now(), (self.app.clock)());
                    self.status_reporter.progressed(words);
                }
                () = self.credentials.changed(&self.app), if self.credential_failed && self.running.is_none() => {
                    tracing::info!("a credential file has changed; a cycle starts at once");
                    self.request_cycle(Trigger::Schedule, false, CycleClaim::Always);
                }
                failure = self.listener.changed() => self.status_reporter.listener_changed(failure),
                signal = signals.next() => match signal {
                    SignalRequest::Cycle => self.serve_signal(false).await,
                    SignalRequest::FullCycle => self.serve_signal(true).await,
                    SignalRequest::Observe => self.request_observation(),
                    SignalRequest::Reload => self.request_reload(),
                    SignalRequest::Stop => {
                        systemd::notify_stopping();
                        tracing::info!(cycle.running = self.running.is_some(), "stopping");
                        self.stop.send_replace(true);
                    }
                },
                () = self.timer.fired() => self.ask_turn(),
                () = watchdog.notified() => {}
            }
        }
    }

    async fn serve_signal(&mut self, full: bool) {
        tracing::info!(cycle.full = full, "a signal requests a cycle");
        self.request_cycle(Trigger::Signal, full, CycleClaim::Always);
        self.record(DaemonRecord::Signal { full, at: (self.app.clock)() }).await;
    }

    /// Starts an observation of the learner database, or lets another one follow the present one.
    pub(super) fn request_observation(&mut self) {
        if self.observing.is_some() {
            self.observe_again = true;
            return;
        }
        let app = Arc::clone(&self.app);
        self.observing = Some(tokio::spawn(async move { observe_database(&app).await }));
    }

    fn finish_observation(&mut self, observed: Result<ObservedSummary, JoinError>) {
        if let Ok(observed) = observed {
            self.status_reporter.observed(observed);
        }
        self.observe_after_cycle |= self.running.is_some();
        if std::mem::take(&mut self.observe_again) {
            self.request_observation();
        }
    }

    /// Repeats an observation that was requested while the cycle ran.
    fn observe_after_cycle(&mut self, stopping: bool) {
        if let Some(observation) = self.observing.take() {
            // It may have read the cycle as a running one.
            observation.abort();
            self.observe_after_cycle = true;
        }
        if std::mem::take(&mut self.observe_after_cycle) && !stopping {
            self.observe_again = false;
            self.request_observation();
        }
    }

    pub(super) fn request_cycle(&mut self, trigger: Trigger, full: bool, claim: CycleClaim) {
        let requested = PendingCycle { request: CycleRequest { trigger, full }, claim };
        let owed = self.owed.take().map(|owed| owed.cycle);
        let pending = owed.into_iter().chain(self.pending).fold(requested, |later, earlier| merge(earlier, later));
        self.pending = Some(pending);
        if self.running.is_some() {
            tracing::info!(cycle.full = pending.request.full, "a cycle is running; one more follows it");
        }
    }

    /// The learner database answers again: begins the requested cycle that it has kept from beginning. One that has
    /// failed is not repeated before its time, because it has asked Graph.
    fn serve_owed(&mut self) {
        if self.running.is_none() && self.pending.is_none() && self.owed.is_some_and(|owed| !owed.has_begun) {
            self.pending = self.owed.take().map(|owed| owed.cycle);
        }
    }

    async fn start_cycle(&mut self, requested: PendingCycle) {
        let PendingCycle { request, claim } = requested;
        self.unrecorded_plan = None;
        self.timer.disarm().await;
        if let Some(asking) = self.asking.take() {
            asking.abort();
        }
        self.status_reporter.cycle_started();
        self.progress = Arc::clone(self.app.directory.progress());
        let (app, stop, mut observation_stop) = (Arc::clone(&self.app), self.stop.subscribe(), self.stop.subscribe());
        // It waits for the lock: a requested cycle must not be lost because `sync` is running.
        let claim = Some(claim);
        self.running = Some(tokio::spawn(async move {
            let took_over = OnceLock::new();
            let options = RunOptions {
                request,
                wait: true,
                force: false,
                command: COMMAND,
                claim,
                took_over: Some(&took_over),
                actor: None,
                only: None,
            };
            let entra = app.config.entra.clone();
            let credentials = tokio::task::spawn_blocking(move || file_states(&entra)).await.unwrap_or_default();
            let result = run_locked_cycle(&app, options, stop).await;
            let observed = tokio::select! {
                observed = observe_database(&app) => Some(observed),
                () = stopped_for(OBSERVATION_TIME_AT_STOP, &mut observation_stop) => None,
            };
            CycleEnded { requested, result, observed, credentials, took_over: took_over.into_inner() }
        }));
    }

    fn finish_cycle(&mut self, ended: Result<CycleEnded, JoinError>) -> AfterCycle {
        let (result, observed, requested, took_over) = match ended {
            Ok(CycleEnded { requested, result, observed, credentials, took_over }) => {
                self.credentials.read(credentials);
                (Some(result), observed, Some(requested), took_over)
            }
            Err(_) => (None, None, None, None),
        };
        let is_scheduled = requested.is_none_or(|requested| requested.request.trigger == Trigger::Schedule);
        // The schedule repeats any other cycle.
        let requested = requested.filter(|requested| requested.claim == CycleClaim::Always);
        let owed = |failure, has_begun| {
            let cycle = requested.filter(|_| failure == Some(DatabaseFailure::Passing))?;
            Some(OwedCycle { cycle, has_begun })
        };
        let is_completed =
            matches!(&result, Some(Ok(Report { outcome: Outcome::Success | Outcome::Partial | Outcome::Held, .. })));
        let was_skipped = std::mem::take(&mut self.skips);
        self.skips = matches!(&result, Some(Err(LockedCycleError::Paused | LockedCycleError::Disabled)));
        // The answer to a signal is always logged, but of the skips by schedule only the first.
        self.skips_quietly = self.skips && was_skipped && is_scheduled;
        self.count(result.as_ref());
        let refused = matches!(&result, Some(Ok(Report { refused: true, .. })));
        self.refusals = if refused { self.refusals.saturating_add(1) } else { 0 };
        self.credential_failed |= matches!(&result, Some(Ok(Report { credential_failed: true, .. })));
        // A skipped cycle is not a failed one.
        self.longest_wait = None;
        let was_read = matches!(&observed, Some(Ok(_)));
        let lasts = |failure| failure == DatabaseFailure::Lasting || !was_read;
        let mut not_begun = None;
        let mut after = AfterCycle::Plan { has_failed: false };
        self.is_standby = false;
        let (failure, problem) = match result {
            Some(Ok(Report { outcome: Outcome::Failed, error, database_failure, .. })) => {
                self.count_failure();
                self.ask_again_soon(database_failure);
                self.owed = owed(database_failure, true);
                after = AfterCycle::Plan { has_failed: true };
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
                self.log_skip("provisioning is paused; the cycle is skipped");
                (None, None)
            }
            Some(Err(LockedCycleError::NotDue(wait))) => {
                tracing::info!("another daemon has run this cycle; it is skipped");
                after = AfterCycle::Standby(wait);
                (None, None)
            }
            Some(Err(LockedCycleError::Disabled)) => {
                after = AfterCycle::Wait;
                self.log_skip("provisioning.users = false; the cycle is skipped");
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
                self.ask_again_soon(Some(failure));
                self.owed = owed(Some(failure), false);
                after = AfterCycle::Wait;
                not_begun = Some(text.clone());
                (Some(text.clone()), lasts(failure).then_some(text))
            }
            None => {
                self.count_failure();
                after = AfterCycle::Plan { has_failed: true };
                tracing::error!("the cycle panicked; the next one repeats it");
                (Some("the cycle panicked".to_owned()), None)
            }
        };
        // A skipped cycle has nothing to tell.
        if failure.is_some() || is_completed || took_over.is_some() {
            let since = observed.as_ref().and_then(|observed| observed.as_ref().ok()?.failing_since);
            self.notify(failure.clone().map(|error| CycleResult::Failed { since, error }), is_completed, took_over);
        }
        self.status_reporter.cycle_ended(failure, problem, not_begun, observed);
        after
    }

    /// Decides about messages, in the task that sends them.
    fn notify(&self, failed: Option<CycleResult>, is_completed: bool, took_over: Option<Succession>) {
        let otherwise = if is_completed { CycleResult::Completed } else { CycleResult::Unknown };
        let news = CycleNews {
            result: failed.unwrap_or(otherwise),
            took_over: took_over.map(|late| [late.host, host_name()]),
            is_standby: self.status_reporter.is_standby(),
        };
        self.notifications.cycle_ended(&self.app, news);
    }

    fn log_skip(&self, text: &str) {
        if self.skips_quietly {
            tracing::debug!("{text}");
        } else {
            tracing::info!("{text}");
        }
    }

    /// Shortens the wait for the next cycle if a server was unavailable: it may fail over within seconds, and the daemon
    /// that ran the cycles may be lost with it. Graph is not asked before the server answers.
    fn ask_again_soon(&mut self, failure: Option<DatabaseFailure>) {
        let is_passing = failure == Some(DatabaseFailure::Passing) && is_shared(&self.app.config);
        if is_passing && self.first_failures.is_none() {
            self.longest_wait = Some(take_over_after(&self.app.config.schedule));
        }
    }

    /// Shortens the wait for the next cycle if this is one of the first failures after the start.
    fn count_failure(&mut self) {
        self.first_failures = self.first_failures.map(|failures| failures.saturating_add(1));
        self.longest_wait = self.first_failures.and_then(first_wait);
    }

    /// Counts a cycle for the metrics; `None` after a panic.
    fn count(&self, result: Option<&Result<Report, LockedCycleError>>) {
        use LockedCycleError::{Disabled, NotDue, Paused, Stopped};
        match result {
            Some(Ok(report)) => self.listener.metrics().cycle_ended(report),
            Some(Err(Paused | Disabled | NotDue(_) | Stopped)) => {}
            Some(Err(_)) | None => self.listener.metrics().cycle_lost(),
        }
    }
}

/// A requested cycle.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingCycle {
    pub(super) request: CycleRequest,
    pub(super) claim: CycleClaim,
}

/// A requested cycle that is to be repeated.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwedCycle {
    pub(super) cycle: PendingCycle,
    /// Whether it began, and failed later.
    pub(super) has_begun: bool,
}

/// Resolves when the plan is recorded; never, when there is none to record.
async fn plan_recorded(plan: &mut Option<UnrecordedPlan>, app: &Arc<App>) -> Option<Timestamp> {
    match plan {
        Some(plan) => plan.recorded(app).await,
        None => std::future::pending().await,
    }
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
fn merge(earlier: PendingCycle, later: PendingCycle) -> PendingCycle {
    let (first, second) = (earlier.request, later.request);
    let trigger = if second.trigger == Trigger::Signal { second.trigger } else { first.trigger };
    let request = CycleRequest { trigger, full: first.full || second.full };
    // One of them runs in any case.
    let claim = if later.claim == CycleClaim::Always { later.claim } else { earlier.claim };
    PendingCycle { request, claim }
}
