//! The daemon: the schedule and signals request cycles, and one loop runs them, one at a time.

mod credential_watch;
mod database_records;
mod event_loop;
mod listener;
mod notifications;
mod presence;
mod record_writer;
mod reload;
mod signals;
mod source_locks;
mod status_reporter;
mod systemd;
mod timer;
mod turns;
mod unrecorded_plan;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_cron_scheduler::JobSchedulerError;

use self::credential_watch::{CredentialWatch, FileStates};
use self::database_records::DaemonRecord;
use self::event_loop::{OwedCycle, PendingCycle};
use self::listener::HttpListener;
use self::notifications::Notifications;
use self::presence::Presence;
use self::reload::Reloaded;
use self::signals::Signals;
use self::source_locks::SourceLocks;
use self::status_reporter::{ObservedSummary, StatusReporter};
use self::timer::CycleTimer;
use self::turns::AskedTurn;
use self::unrecorded_plan::UnrecordedPlan;
use crate::config::Config;
use crate::cycle::{CycleRequest, Report};
use crate::http::Metrics;
use crate::model::{Clock, LockHolder, Trigger};
use crate::progress::Progress;
use crate::runtime::lock::{Lock, LockError};
use crate::runtime::locked_cycle::{CycleClaim, LockedCycleError};
use crate::runtime::preflight::{Preflight, PreflightError};
use crate::runtime::status::{DatabaseObservation, StatusSummary};
use crate::runtime::{App, AppError};
use crate::store::{DatabaseState, Store, StoreError, Succession};

/// The holder of a lock, as other processes see it.
const COMMAND: &str = "learner-sync run";
/// How long the loop waits for the learner database. Signals and the watchdog wait meanwhile.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);

/// The daemon cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration is unusable: exit code 78.
    #[error(transparent)]
    App(#[from] AppError),
    /// Another daemon uses the state directory, or the lock file is unusable.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Another daemon provisions the same application into the same database: exit code 75.
    #[error("another daemon already provisions this application into this learner database: {0}")]
    SourceLocked(LockHolder),
    /// The learner database or the state directory is unusable.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// A reload names another application while the learner database is unavailable.
    #[error(
        "cannot check whether another daemon provisions this application, because the learner database is unavailable; \
         send SIGHUP again when it is back"
    )]
    SourceUnknown,
    /// A file of the configuration cannot be read in time.
    #[error("the configuration, or a file that it names, does not answer")]
    ReloadTimedOut,
    /// A defect ended the reload.
    #[error("the reload panicked")]
    ReloadPanicked,
    /// The system refuses signal handlers.
    #[error("cannot listen for signals")]
    Signals(#[from] std::io::Error),
    /// The scheduler failed.
    #[error("the scheduler failed")]
    Scheduler(#[from] JobSchedulerError),
}

struct Daemon {
    environment: BTreeMap<String, String>,
    app: Arc<App>,
    source_locks: SourceLocks,
    timer: CycleTimer,
    /// The next cycle, when it is to follow at once.
    pending: Option<PendingCycle>,
    /// A requested cycle that the learner database has prevented. The next one serves the request.
    owed: Option<OwedCycle>,
    /// The time of the next cycle, while the learner database does not have it.
    unrecorded_plan: Option<UnrecordedPlan>,
    /// A cycle runs in a task of its own, so that the loop survives its panic.
    running: Option<JoinHandle<CycleEnded>>,
    /// How far it is. A reload makes another directory for later cycles.
    progress: Arc<Progress>,
    /// The timer has fired, and the learner database is asked whether a cycle is due.
    asking: Option<JoinHandle<AskedTurn>>,
    /// Whether another daemon ran the last cycle.
    is_standby: bool,
    presence: Presence,
    /// A reload reads files and the database in a task of its own: either may not answer.
    reloading: Option<JoinHandle<Result<Reloaded, DaemonError>>>,
    /// Whether another reload is to follow the present one.
    reload_again: bool,
    /// An observation of what a command has changed in the learner database.
    observing: Option<JoinHandle<ObservedSummary>>,
    /// Whether another observation is to follow the present one.
    observe_again: bool,
    /// Whether an observation follows the running cycle: its own one may be older than the last change.
    observe_after_cycle: bool,
    stop: watch::Sender<bool>,
    /// How many cycles in a row Entra has refused.
    refusals: u32,
    /// Whether a changed credential file starts a cycle: the credential ended a cycle, and none has succeeded since.
    credential_failed: bool,
    /// How many cycles have failed since the start; `None` since one has not.
    first_failures: Option<u32>,
    /// The longest wait after the last cycle, if it failed soon after the start.
    longest_wait: Option<Duration>,
    /// Whether the last cycle was skipped, because provisioning is paused or disabled.
    skips: bool,
    /// Whether the journal already says so, and stays silent until that changes.
    skips_quietly: bool,
    credentials: CredentialWatch,
    status_reporter: StatusReporter,
    listener: HttpListener,
    notifications: Notifications,
}

/// The result of a cycle, and the learner database after it.
struct CycleEnded {
    requested: PendingCycle,
    result: Result<Report, LockedCycleError>,
    /// `None` when the daemon stops first.
    observed: Option<ObservedSummary>,
    /// The credential files before it.
    credentials: FileStates,
    /// The daemon from which this one took over.
    took_over: Option<Succession>,
}

/// Runs cycles until SIGTERM or SIGINT: one at once, then by schedule and signal.
///
/// # Errors
/// When it cannot start. A failed cycle is logged, and the next one carries on.
pub async fn run(config: Config, environment: BTreeMap<String, String>, clock: Clock) -> Result<(), DaemonError> {
    // First, so that an early SIGUSR1 or SIGHUP does not kill the process.
    let mut signals = Signals::listen()?;
    let started = tokio::select! {
        started = tokio::spawn(start(config, environment, clock)) => started,
        () = signals.stop() => {
            tracing::info!("stopped before the start was complete");
            return Ok(());
        }
    };
    let (mut daemon, lock) = started.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    let ended = daemon.serve_until_stop(&mut signals).await;
    let Daemon { source_locks, .. } = daemon;
    tokio::join!(source_locks.release(), lock.release());
    ended
}

/// Reads and locks everything that the daemon needs. This happens in a task of its own, because a disk or a server may not
/// answer.
async fn start(
    config: Config,
    environment: BTreeMap<String, String>,
    clock: Clock,
) -> Result<(Daemon, Lock), DaemonError> {
    let http_token = config.http_token().map_err(AppError::from)?;
    let app = Arc::new(App::new(config, &environment, clock)?);
    let preflight = Preflight::inspect(&app.config, &app.learners).await?;
    if let Some(holder) = Lock::holder(&preflight.paths.daemon_lock).await? {
        return Err(LockError::Held(holder).into());
    }
    // An unusable database fails the start, not the first cycle.
    let (state, summary) = read_database(&app, &preflight).await.map_err(PreflightError::from)?;
    let timer = CycleTimer::start().await?;
    let mut source_locks = SourceLocks::default();
    source_locks.lock_sources(&app.config, &state).await?;
    let lock = match lock_state_directory(&preflight).await {
        Ok(lock) => lock,
        Err(error) => {
            source_locks.release().await;
            return Err(error);
        }
    };
    let status_reporter = StatusReporter::new(&app, &environment, summary);
    let metrics = Metrics::new(Arc::clone(app.directory.traffic()));
    let mut listener = HttpListener::new(metrics, status_reporter.published(), &app);
    listener.configure(&app, http_token).await;
    let progress = Arc::clone(app.directory.progress());
    let notifications = Notifications::start(&app);
    let daemon = Daemon {
        environment,
        app,
        source_locks,
        timer,
        pending: Some(PendingCycle {
            request: CycleRequest { trigger: Trigger::Startup, full: false },
            claim: CycleClaim::Always,
        }),
        owed: None,
        unrecorded_plan: None,
        running: None,
        progress,
        asking: None,
        is_standby: false,
        presence: Presence::new(),
        reloading: None,
        reload_again: false,
        observing: None,
        observe_again: false,
        observe_after_cycle: false,
        stop: watch::Sender::new(false),
        refusals: 0,
        credential_failed: false,
        first_failures: Some(0),
        longest_wait: None,
        skips: false,
        skips_quietly: false,
        credentials: CredentialWatch::new(),
        status_reporter,
        listener,
        notifications,
    };
    Ok((daemon, lock))
}

async fn lock_state_directory(preflight: &Preflight) -> Result<Lock, DaemonError> {
    preflight.create_directories().await?;
    Ok(Lock::acquire(&preflight.paths.daemon_lock, COMMAND).await?)
}

async fn read_database(app: &App, preflight: &Preflight) -> Result<(DatabaseState, StatusSummary), StoreError> {
    // A cycle of an older version, such as `sync` by hand, must end before its tables are migrated.
    let store = match Lock::holder(&preflight.paths.cycle_lock).await {
        Ok(None) => Store::open_inspected(&preflight.database).await?,
        Ok(Some(_)) | Err(_) => Store::open_unmigrated(&preflight.database).await?,
    };
    let state = store.state().await?;
    let DatabaseObservation { summary, store, .. } = DatabaseObservation::read(&app.config, store, false).await?;
    store.close().await?;
    Ok((state, summary))
}
