//! One cycle under the lock: preflight, lock, open, cycle, expire, close.

use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch;

use super::app::{App, configured_source, signed};
use super::lock::{Lock, LockError};
use super::preflight::{LOCK_FILE, Preflight, PreflightError};
use super::registration::{daemon_place, turn_limits};
use super::user_lookup::{UserArgument, UserLookupError, find_user};
use crate::cycle::{self, CycleContext, CycleOptions, CycleRequest, Report, RunAudit, SingleUser, StopSignal};
use crate::failpoint::{Step, reached};
use crate::files;
use crate::model::{CycleTime, LockHolder, Outcome, chain};
use crate::progress::Stage;
use crate::store::{DatabaseLocation, LearnerDatabase, Store, StoreError, Succession, Turn};

/// How often a lock is tried again. Neither kind of lock can be awaited: a lock file blocks its thread, and a server
/// would keep a statement open for as long as the other cycle runs.
const LOCK_RETRY: Duration = Duration::from_millis(200);

/// How a cycle is run.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions<'a> {
    /// The request.
    pub request: CycleRequest,
    /// Whether to wait for the lock.
    pub wait: bool,
    /// Whether to run although provisioning is paused.
    pub force: bool,
    /// The command that others see as the holder of the lock.
    pub command: &'static str,
    /// How the daemon takes turns with others of its source; `None` for a command.
    pub claim: Option<CycleClaim>,
    /// Where to leave the daemon from which this one took over.
    pub took_over: Option<&'a OnceLock<Succession>>,
    /// The administrator, for the audit log; `None` for the daemon.
    pub actor: Option<&'a str>,
    /// Restricts the cycle to one user.
    pub only: Option<UserArgument<'a>>,
}

/// The claim of a daemon to a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CycleClaim {
    /// The cycle runs only if it is still due: the schedule requested it.
    IfDue,
    /// It runs in any case.
    Always,
}

/// No cycle was started.
#[derive(Debug, thiserror::Error)]
pub enum LockedCycleError {
    /// Another cycle is running: exit code 75.
    #[error("another cycle holds the lock: {0}")]
    Locked(LockHolder),
    /// An administrator paused provisioning.
    #[error("provisioning is paused until `learner-sync resume`")]
    Paused,
    /// The configuration disables provisioning.
    #[error("provisioning is disabled: provisioning.users = false")]
    Disabled,
    /// Another daemon has run the cycle, and asks for the next one no earlier than after this time.
    #[error("another daemon has run this cycle")]
    NotDue(Duration),
    /// The process was asked to stop before the lock was free.
    #[error("stopped by a signal")]
    Stopped,
    /// Something on disk cannot be used.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The learner database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The named user was not found, or cannot be linked.
    #[error(transparent)]
    User(Box<UserLookupError>),
}

impl From<UserLookupError> for LockedCycleError {
    fn from(error: UserLookupError) -> Self {
        Self::User(Box::new(error))
    }
}

impl From<LockError> for LockedCycleError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Held(holder) => Self::Locked(holder),
            LockError::Unusable { path, source } => {
                Self::Preflight(PreflightError::Path { what: LOCK_FILE, path, source })
            }
        }
    }
}

/// Runs one cycle.
///
/// # Errors
/// When none was started, or the database failed before the end of the cycle was recorded.
pub async fn run_locked_cycle(
    app: &App,
    options: RunOptions<'_>,
    mut stop: StopSignal,
) -> Result<Report, LockedCycleError> {
    if !app.config.provisioning.users {
        return Err(LockedCycleError::Disabled);
    }
    let locked = lock_database(app, options.command, options.wait, &mut stop).await?;
    let ended = run_in(app, options, stop, &locked).await;
    locked.close().await;
    ended
}

/// Runs one cycle in a locked database.
async fn run_in(
    app: &App,
    options: RunOptions<'_>,
    stop: StopSignal,
    locked: &LockedDatabase,
) -> Result<Report, LockedCycleError> {
    let LockedDatabase { store, preflight, lock: _ } = locked;
    if !options.force && store.state().await?.paused {
        return Err(LockedCycleError::Paused);
    }
    if let Some(claim) = options.claim {
        claim_cycle(app, store, claim, options.took_over).await?;
    }
    let now = (app.clock)();
    let found = match options.only {
        Some(argument) => {
            let user = store.with_signs_of_life(find_user(app, store, argument)).await?;
            let audit = options.actor.map(|actor| run_audit(&user, options.force, actor));
            Some(SingleUser { audit, ..user })
        }
        None => None,
    };
    if let (None, Some(actor)) = (&found, options.actor) {
        let detail = json!({ "full": options.request.full, "force": options.force });
        store.audit(actor, "sync", Some(&detail.to_string()), now).await?;
    }
    let context =
        CycleContext { directory: &app.directory, store, cache: Some(&preflight.paths.cache), rules: &app.rules };
    let RunOptions { request, force, .. } = options;
    let cycle = cycle::run(context, CycleOptions { request, now, only: found.as_ref(), force }, stop);
    let ended = store.with_signs_of_life(cycle).await;
    let time = ended.as_ref().map_or_else(|_| CycleTime::new(now, None, None), |report| report.time);
    expire_log(store, app.config.log.retention, time).await;
    reached(Step::LogExpired);
    record_use(app, &preflight.paths.state_directory, ended.as_ref().ok(), now).await;
    Ok(ended?)
}

/// Records that a cycle has completed in the learner database, so that a missing file is not created again.
async fn record_use(app: &App, state_directory: &Path, report: Option<&Report>, now: Timestamp) {
    let is_complete = |report: &Report| matches!(report.outcome, Outcome::Success | Outcome::Partial | Outcome::Held);
    if let LearnerDatabase { place: DatabaseLocation::File(path), used: Some(used), .. } = &app.learners
        && report.is_some_and(is_complete)
    {
        used.note();
        let (used, path) = (used.clone(), path.clone());
        let recorded = files::on_disk(state_directory, move |_| used.record(&path, now)).await;
        if let Err(error) = recorded.map_err(io::Error::from).flatten() {
            tracing::warn!("cannot record in state.directory that the learner database is in use: {error}");
        }
    }
}

/// Records that the daemon begins a cycle.
async fn claim_cycle(
    app: &App,
    store: &Store,
    claim: CycleClaim,
    took_over: Option<&OnceLock<Succession>>,
) -> Result<(), LockedCycleError> {
    let limits = turn_limits(&app.config.schedule);
    let source = configured_source(&app.config, &store.state().await?);
    let condition = (claim == CycleClaim::IfDue).then_some(limits);
    match store.claim_cycle(&source, &daemon_place(&app.config), condition).await? {
        Turn::NotDue { wait, .. } => Err(LockedCycleError::NotDue(wait)),
        Turn::Due(None) => Ok(()),
        Turn::Due(Some(Succession { host, pid, has_failed: true, grace: _ })) => {
            tracing::info!(
                predecessor.host = host,
                predecessor.pid = pid,
                "the last cycle failed on another machine; this daemon runs the next one"
            );
            Ok(())
        }
        Turn::Due(Some(succession @ Succession { has_failed: false, .. })) => {
            let Succession { host, pid, has_failed: _, grace } = &succession;
            tracing::warn!(
                predecessor.host = host,
                predecessor.pid = pid,
                predecessor.late_seconds = grace.as_secs(),
                "standby took over: the daemon that ran the last cycle did not run this one in time"
            );
            // It is set once, because a cycle is claimed once.
            let _ = took_over.map(|took_over| took_over.set(succession));
            Ok(())
        }
    }
}

/// The learner database, with the locks that keep every cycle out until it is closed.
#[derive(Debug)]
#[must_use]
pub struct LockedDatabase {
    /// The open database.
    pub store: Store,
    /// The paths.
    pub preflight: Preflight,
    // Last, because it is released after the database is closed.
    lock: Lock,
}

impl LockedDatabase {
    /// Closes the database, and then releases the locks.
    pub async fn close(self) {
        // The process may end at once; the last to close an SQLite file completes it from its log.
        if let Err(error) = self.store.close().await {
            tracing::warn!("cannot close the learner database: {}", chain(&error));
        }
        reached(Step::DatabaseClosed);
        self.lock.release().await;
    }
}

/// Takes the cycle lock for `command`, waiting for it if `wait` is set, and opens the learner database.
///
/// # Errors
/// When a cycle runs, or something on disk cannot be used.
pub async fn lock_database(
    app: &App,
    command: &str,
    wait: bool,
    stop: &mut StopSignal,
) -> Result<LockedDatabase, LockedCycleError> {
    let mut preflight = Preflight::inspect(&app.config, &app.learners).await?;
    preflight.create_directories().await?;
    // Keeps other cycles of this machine out.
    let mut waited = false;
    let lock = loop {
        match Lock::acquire(&preflight.paths.cycle_lock, command).await {
            Err(LockError::Held(holder)) => {
                app.directory.progress().enter(Stage::WaitingForLock);
                wait_for_lock(holder, wait, &mut waited, stop).await?;
            }
            acquired => break acquired?,
        }
    };
    let opened = async {
        if waited {
            // The file may have been replaced meanwhile.
            preflight = Preflight::inspect(&app.config, &app.learners).await?;
        }
        reached(Step::LockTaken);
        Ok((open_locked(app, command, wait, stop, &preflight).await?, preflight))
    };
    match opened.await {
        Ok((store, preflight)) => Ok(LockedDatabase { store, preflight, lock }),
        Err(error) => {
            lock.release().await;
            Err(error)
        }
    }
}

/// Opens the learner database, and takes the cycle lock of its server.
async fn open_locked(
    app: &App,
    command: &str,
    wait: bool,
    stop: &mut StopSignal,
    preflight: &Preflight,
) -> Result<Store, LockedCycleError> {
    // Opened for each cycle: after a restore the path names another file.
    let store = Store::open_inspected(&preflight.database).await?;
    // Keeps cycles of other machines out, when the learners are on a server.
    let mut waited = false;
    while let Some(holder) = store.take_cycle_lock(command).await? {
        app.directory.progress().enter(Stage::WaitingForLock);
        wait_for_lock(holder, wait, &mut waited, stop).await?;
    }
    if store.shares_sessions().await {
        tracing::warn!(
            "the advisory lock is not usable behind a pooler in transaction mode; fencing still protects every write, but \
             cycles of two machines may overlap, and one of them starts over"
        );
    }
    Ok(store)
}

/// For a command that a signal kills: its transaction is written as a whole or not at all.
pub fn never_stopped() -> StopSignal {
    watch::channel(false).1
}

/// Waits until the lock of `holder` should be tried again, if it may `wait`.
async fn wait_for_lock(
    holder: LockHolder,
    wait: bool,
    waited: &mut bool,
    stop: &mut StopSignal,
) -> Result<(), LockedCycleError> {
    if !wait {
        return Err(LockedCycleError::Locked(holder));
    }
    if !std::mem::replace(waited, true) {
        tracing::info!("waiting for {holder}");
    }
    tokio::select! {
        () = tokio::time::sleep(LOCK_RETRY) => Ok(()),
        () = cycle::stopped(stop) => Err(LockedCycleError::Stopped),
    }
}

fn run_audit(SingleUser { user, relink, audit: _ }: &SingleUser, force: bool, actor: &str) -> RunAudit {
    let (action, detail) = match relink {
        None => ("provision", json!({ "user": user.to_string(), "force": force })),
        Some(relink) => {
            let learner = relink.learner.to_json();
            ("relink", json!({ "user": user.to_string(), "learner": learner, "force": force }))
        }
    };
    RunAudit { actor: actor.to_owned(), action, detail }
}

/// Deletes the rows of the provisioning log that are older than `log.retention` by both clocks.
async fn expire_log(store: &Store, retention: Duration, time: CycleTime) {
    let Some(before) = time.before(signed(retention)) else { return };
    match store.expire(before).await {
        Ok(0) => {}
        Ok(rows) => tracing::info!(rows, "deleted expired provisioning log rows"),
        Err(error) => tracing::warn!("cannot delete expired provisioning log rows: {}", chain(&error)),
    }
}
