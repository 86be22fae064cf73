//! The daemon: schedule and signals ask for a cycle, one loop runs one at a time.
//!
//! tokio-cron-scheduler only rings: its jobs run without an overlap guard, and its shutdown neither waits nor
//! cancels, so no work is done in them. A cycle runs in a task of its own, whose panic the loop survives.

mod claims;
mod service;
mod signals;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use self::claims::Claims;
use self::signals::{Signal, Signals};
use crate::app::{App, AppError, daemon_lock_path, database_path, source, source_lock_paths};
use crate::config::{self, Config};
use crate::cycle::Report;
use crate::lock::{Holder, Lock, LockError};
use crate::model::{Clock, Outcome, Trigger, chain};
use crate::premises;
use crate::session::{self, RunOptions, SessionError};
use crate::store::{Access, DatabaseState, Store, StoreError};

/// What others see as the holder of a lock.
const COMMAND: &str = "learner-sync run";
/// How long the loop waits for the learner database.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is told of a database that a reload cannot look at.
const UNSEEN: &str = "whether the configuration fits the learner database cannot be seen now";
/// However often Entra refuses, it is asked again after this.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// The daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration cannot be used: exit code 78.
    #[error(transparent)]
    App(#[from] AppError),
    /// Another daemon holds the state directory, or the lock cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Another daemon keeps this application in this database: exit code 75.
    #[error("another daemon keeps this application in this learner database already: {0}")]
    Claimed(Holder),
    /// The learner database or a directory cannot be used.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Nobody can tell whether another daemon keeps a new application.
    #[error(
        "whether another daemon keeps this application cannot be seen, for the learner database cannot be read: send \
         SIGHUP again when it can"
    )]
    Unclaimable,
    /// No signals or no timer to be had from the system.
    #[error("the system refuses signals")]
    System(#[from] std::io::Error),
    /// The scheduler failed.
    #[error("the scheduler failed")]
    Scheduler(#[from] JobSchedulerError),
}

impl DaemonError {
    /// What the administrator can do.
    fn hint(&self) -> Option<String> {
        match self {
            Self::Session(SessionError::Store(error)) => error.hint(),
            Self::Session(SessionError::Premises(error)) => error.hint(),
            _ => None,
        }
    }
}

/// What is asked for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    trigger: Trigger,
    full: bool,
}

struct Daemon {
    environment: BTreeMap<String, String>,
    clock: Clock,
    app: Arc<App>,
    claims: Claims,
    scheduler: JobScheduler,
    armed: Option<uuid::Uuid>,
    /// When it rings.
    next: Option<Timestamp>,
    due: (mpsc::Sender<()>, mpsc::Receiver<()>),
    stop: watch::Sender<bool>,
    pending: Option<Pending>,
    running: Option<JoinHandle<Result<Report, SessionError>>>,
    failing_since: Option<Timestamp>,
    /// How the last cycle went, in words.
    standing: String,
    /// How many cycles in a row Entra has refused.
    refusals: u32,
}

/// Runs cycles until SIGTERM or SIGINT: one at once, then by schedule and signal.
///
/// # Errors
/// When it cannot start. Cycles that fail are logged, and the next one carries on.
pub async fn run(config: Config, environment: BTreeMap<String, String>, clock: Clock) -> Result<(), DaemonError> {
    // First of all: a signal that comes while starting must not kill what it was to wake.
    let mut signals = Signals::listen()?;
    // Before anything is written: what is wrong with the configuration leaves nothing behind.
    let app = Arc::new(App::new(config, &environment, clock)?);
    let config = &app.config;
    premises::inspect(config).await.map_err(SessionError::from)?;
    if let Some(holder) = Lock::holder(&daemon_lock_path(config)) {
        return Err(LockError::Held(holder).into());
    }
    // A database that cannot be opened at all is a mistake to be told now, not after the first half hour.
    let store = Store::open(&app.learners, Access::ReadWrite).await.map_err(SessionError::from)?;
    let state = store.state().await.map_err(SessionError::from)?;
    let failing_since = store.failing_since(&source(config, &state)).await.map_err(SessionError::from)?;
    store.close().await.map_err(SessionError::from)?;
    let mut claims = Claims::default();
    claim(&mut claims, config, &state)?;
    premises::prepare(config).await.map_err(SessionError::from)?;
    let _lock = Lock::take(&daemon_lock_path(config), COMMAND)?;

    let scheduler = JobScheduler::new().await?;
    scheduler.start().await?;
    let mut daemon = Daemon {
        environment,
        clock,
        app,
        claims,
        scheduler,
        armed: None,
        next: None,
        due: mpsc::channel(1),
        stop: watch::Sender::new(false),
        pending: Some(Pending { trigger: Trigger::Startup, full: false }),
        running: None,
        failing_since,
        standing: String::new(),
        refusals: 0,
    };
    service::ready();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
    daemon.serve(&mut signals).await?;
    service::stopping();
    daemon.announce_next(None).await;
    if let Err(error) = daemon.scheduler.shutdown().await {
        tracing::debug!("the scheduler does not shut down: {error}");
    }
    tracing::info!("stopped");
    Ok(())
}

impl Daemon {
    async fn serve(&mut self, signals: &mut Signals) -> Result<(), DaemonError> {
        let mut watchdog = service::Watchdog::new();
        loop {
            let stopping = *self.stop.borrow();
            if let (None, Some(pending), false) = (&self.running, self.pending, stopping) {
                self.begin(pending).await;
            }
            tokio::select! {
                ended = ended(&mut self.running) => {
                    self.running = None;
                    self.end(ended);
                    if *self.stop.borrow() {
                        return Ok(());
                    }
                    if self.pending.is_none() {
                        self.arm(None).await?;
                    }
                }
                signal = signals.next() => match signal {
                    Signal::Cycle => self.ask(Pending { trigger: Trigger::Signal, full: false }),
                    Signal::FullCycle => self.ask(Pending { trigger: Trigger::Signal, full: true }),
                    Signal::Reload => self.reload().await?,
                    Signal::Stop => {
                        service::stopping();
                        tracing::info!(cycle.running = self.running.is_some(), "stopping");
                        self.stop.send_replace(true);
                        if self.running.is_none() {
                            return Ok(());
                        }
                    }
                },
                Some(()) = self.due.1.recv() => self.ask(Pending { trigger: Trigger::Schedule, full: false }),
                () = watchdog.due() => {}
            }
        }
    }

    /// However often it is asked, it is one more cycle; a full one wins.
    fn ask(&mut self, asked: Pending) {
        let full = asked.full || self.pending.is_some_and(|pending| pending.full);
        // Whoever sent the signal waits for a cycle that says so.
        let trigger = match self.pending {
            Some(pending) if asked.trigger != Trigger::Signal => pending.trigger,
            _ => asked.trigger,
        };
        self.pending = Some(Pending { trigger, full });
        if self.running.is_some() {
            tracing::info!(cycle.full = full, "a cycle is running; one more follows it");
        }
    }

    async fn begin(&mut self, pending: Pending) {
        let Pending { trigger, full } = pending;
        self.pending = None;
        self.disarm().await;
        service::status("a cycle is running");
        let (app, stop) = (Arc::clone(&self.app), self.stop.subscribe());
        // It waits for the lock: what was asked for by a signal must not be lost to a `sync` that runs just now.
        let ask = RunOptions { trigger, full, wait: true, force: false, command: COMMAND, actor: None, only: None };
        self.running = Some(tokio::spawn(async move { session::run(&app, ask, stop).await }));
    }

    fn end(&mut self, ended: Result<Result<Report, SessionError>, JoinError>) {
        let now = (self.clock)();
        let refused = matches!(&ended, Ok(Ok(Report { refused: true, .. })));
        self.refusals = if refused { self.refusals.saturating_add(1) } else { 0 };
        let failure = match ended {
            Ok(Ok(Report { outcome: Outcome::Failed, error, .. })) => error.unwrap_or_default(),
            Ok(Ok(report)) => {
                self.failing_since = None;
                self.tell(format!("last cycle at {now:.0}: {}", report.summary()));
                return;
            }
            Ok(Err(SessionError::Paused)) => {
                tracing::info!("provisioning is paused; the cycle is skipped");
                self.tell("paused".to_owned());
                return;
            }
            Ok(Err(SessionError::Off)) => {
                tracing::info!("provisioning.users = false; the cycle is skipped");
                self.tell("provisioning.users = false".to_owned());
                return;
            }
            Ok(Err(SessionError::Stopped)) => return,
            Ok(Err(error)) => {
                let error = chain(&error);
                tracing::error!("no cycle: {error}");
                error
            }
            Err(panic) => {
                tracing::error!("the cycle panicked; the next one repeats it: {panic}");
                "the cycle panicked".to_owned()
            }
        };
        let since = *self.failing_since.get_or_insert(now);
        self.tell(format!("failing since {since:.0}: {failure}"));
    }

    /// Shows how it stands in `systemctl status`, and keeps it, so that the next run can be shown with it.
    fn tell(&mut self, standing: String) {
        service::status(&standing);
        self.standing = standing;
    }

    /// Draws the time of the next cycle and has the scheduler ring then; not later than `at_the_latest`.
    async fn arm(&mut self, at_the_latest: Option<Timestamp>) -> Result<(), DaemonError> {
        self.disarm().await;
        let config::ScheduleConfig { min_interval, max_interval, full_every: _ } = self.app.config.schedule;
        let now = (self.clock)();
        let drawn = longer_after(self.refusals, draw(min_interval, max_interval));
        let left = at_the_latest.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        let wait = left.map_or(drawn, |left| left.min(drawn));
        let due = self.due.0.clone();
        let job = Job::new_one_shot_async(wait, move |_, _| {
            let due = due.clone();
            Box::pin(async move {
                // Full means that it has rung already.
                let _ = due.try_send(());
            })
        })?;
        self.armed = Some(self.scheduler.add(job).await?);
        let next = now + SignedDuration::try_from(wait).unwrap_or_default();
        self.next = Some(next);
        self.announce_next(Some(next)).await;
        service::status(&format!("{}; next cycle at {next:.0}", self.standing));
        tracing::info!(next_cycle.at = %format!("{next:.0}"), "waiting");
        Ok(())
    }

    async fn disarm(&mut self) {
        if let Some(job) = self.armed.take() {
            // One that has rung is gone already.
            if let Err(error) = self.scheduler.remove(&job).await {
                tracing::debug!("the timer is gone: {error}");
            }
        }
        while self.due.1.try_recv().is_ok() {}
    }

    /// Writes down, for `status`, when the next cycle is due.
    async fn announce_next(&self, at: Option<Timestamp>) {
        self.write_down("the time of the next cycle", async |store| store.set_next_cycle_at(at).await).await;
    }

    /// Writes something small into the learner database. The loop must turn, for signals and the watchdog, so it
    /// does not wait as long as a cycle would for somebody who keeps the database locked.
    async fn write_down(&self, what: &str, write: impl AsyncFnOnce(&Store) -> Result<(), StoreError>) {
        let learners = &self.app.learners;
        let written = async {
            let store = Store::open(learners, Access::ReadWrite).await?;
            write(&store).await?;
            store.close().await
        };
        match tokio::time::timeout(PATIENCE, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("{what} cannot be written down: {}", chain(&error)),
            Err(_) => {
                tracing::warn!("{what} cannot be written down: the learner database is locked, or does not answer")
            }
        }
    }

    /// Reads the configuration again. A bad one changes nothing.
    async fn reload(&mut self) -> Result<(), DaemonError> {
        service::reloading();
        let read = match self.read_again() {
            Ok(app) => self.admit(&app).await.map(|()| app),
            Err(error) => Err(error.into()),
        };
        match read {
            Ok(app) => {
                for warning in &app.config.warnings {
                    tracing::warn!("{warning}");
                }
                // Whoever reloads every few minutes must not put the next cycle off for ever.
                let same = app.config.schedule == self.app.config.schedule;
                self.app = Arc::new(app);
                tracing::info!("the configuration is read again");
                self.note_reload().await;
                if self.running.is_none() {
                    self.arm(self.next.filter(|_| same)).await?;
                }
            }
            Err(error) => {
                let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
                tracing::error!("the configuration stays as it was: {}{hint}", chain(&error));
            }
        }
        service::ready();
        Ok(())
    }

    /// Makes sure that a new configuration fits what is there, as at a start, and that no other daemon keeps its
    /// application.
    async fn admit(&mut self, new: &App) -> Result<(), DaemonError> {
        let state = match tokio::time::timeout(PATIENCE, look(new)).await {
            Ok(Ok(state)) => Some(state),
            Ok(Err(error)) if is_misconfiguration(&error) && !is_away(&new.config) => return Err(error.into()),
            // It comes back, and the administrator need not wait for that.
            Ok(Err(error)) => {
                tracing::warn!("{UNSEEN}: {}", chain(&error));
                None
            }
            Err(_) => {
                tracing::warn!("{UNSEEN}: it is locked, or does not answer");
                None
            }
        };
        let (new, old) = (&new.config, &self.app.config);
        if (&new.entra.tenant_id, new.app.enterprise_app) == (&old.entra.tenant_id, old.app.enterprise_app) {
            return Ok(());
        }
        match state {
            Some(state) => claim(&mut self.claims, new, &state),
            // On a server there is nothing to claim.
            None if database_path(new).is_none() => Ok(()),
            None => Err(DaemonError::Unclaimable),
        }
    }

    /// Who sent the signal cannot be told.
    async fn note_reload(&self) {
        let at = (self.clock)();
        self.write_down("the reload", async |store| store.audit("SIGHUP", "reload", None, at).await).await;
    }

    fn read_again(&self) -> Result<App, AppError> {
        let old = &self.app.config;
        let path: PathBuf = old.path.clone();
        let mut new = config::load(&path, &self.environment)?;
        let needing_restart = config::changed_keys_needing_restart(old, &new);
        if !needing_restart.is_empty() {
            tracing::warn!("these keys take effect after a restart: {}", needing_restart.join(", "));
        }
        new.learners.database = old.learners.database.clone();
        new.learners.password_file = old.learners.password_file.clone();
        new.state = old.state.clone();
        new.log = old.log.clone();
        App::new(new, &self.environment, self.clock)
    }
}

/// Looks at what a start would look at, and writes nothing.
async fn look(new: &App) -> Result<DatabaseState, SessionError> {
    premises::inspect(&new.config).await?;
    let store = Store::open(&new.learners, Access::ReadOnly).await?;
    let state = store.state().await?;
    store.close().await?;
    Ok(state)
}

/// Whether a start would end with it, with exit code 78.
fn is_misconfiguration(error: &SessionError) -> bool {
    match error {
        SessionError::Premises(error) => error.is_misconfiguration(),
        SessionError::Store(error) => premises::is_misconfiguration(error),
        _ => false,
    }
}

/// Whether there is no file to compare with, as while its disk is not mounted.
fn is_away(config: &Config) -> bool {
    database_path(config).is_some_and(|path| path.try_exists().is_ok_and(|exists| !exists))
}

/// Resolves when the running cycle ends; never, when none runs.
async fn ended(
    running: &mut Option<JoinHandle<Result<Report, SessionError>>>,
) -> Result<Result<Report, SessionError>, JoinError> {
    match running {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// Claims the application of `config`, under every id that it has in the learner database.
fn claim(claims: &mut Claims, config: &Config, state: &DatabaseState) -> Result<(), DaemonError> {
    claims.hold(source_lock_paths(config, state)).map_err(|error| match error {
        LockError::Held(holder) => DaemonError::Claimed(holder),
        error => error.into(),
    })
}

/// Twice as long for each refusal in a row, up to an hour: somebody has to mend something, and then sends a signal.
fn longer_after(refusals: u32, wait: Duration) -> Duration {
    wait.max(wait.saturating_mul(2_u32.saturating_pow(refusals)).min(LONGEST_WAIT))
}

/// At random between the two, so that many machines do not ask at the same time.
fn draw(min: Duration, max: Duration) -> Duration {
    rand::random_range(min..=max.max(min))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_lengthen_the_wait_up_to_an_hour_and_never_shorten_it() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert_eq!(longer_after(0, minutes(25)), minutes(25));
        assert_eq!(longer_after(1, minutes(25)), minutes(50));
        assert_eq!(longer_after(2, minutes(25)), minutes(60));
        assert_eq!(longer_after(40, minutes(25)), minutes(60));
        assert_eq!(longer_after(3, minutes(90)), minutes(90));
    }
}
