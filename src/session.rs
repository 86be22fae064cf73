//! One cycle under the lock: what the daemon, `sync` and `provision` have in common.

mod user;

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};

pub use self::user::{FoundUser, UserArgument, find};
use crate::app::{App, cache_path, cycle_lock_path};
use crate::cycle::{self, CycleContext, CycleOptions, Report, Stop};
use crate::directory::DirectoryError;
use crate::failpoint::{Step, reached};
use crate::lock::{Holder, Lock, LockError};
use crate::model::{LearnerId, Trigger, chain};
use crate::premises::{self, PremisesError};
use crate::store::{Access, Store, StoreError};

/// How often a lock on a server is asked for again.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(500);

/// How a cycle is asked for.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions<'a> {
    /// By whom.
    pub trigger: Trigger,
    /// Whether the cache is ignored.
    pub full: bool,
    /// Whether to wait for the lock.
    pub wait: bool,
    /// Whether it runs though provisioning is paused.
    pub force: bool,
    /// The command that others see as the holder of the lock.
    pub command: &'static str,
    /// Who runs it by hand, for the audit log; the daemon is nobody.
    pub actor: Option<&'a str>,
    /// For whom; without it for everybody.
    pub only: Option<UserArgument<'a>>,
}

/// No cycle was begun.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Another cycle runs: exit code 75.
    #[error("another cycle holds the lock: {0}")]
    Locked(Holder),
    /// An administrator paused provisioning.
    #[error("provisioning is paused; `learner-sync resume` switches it on again")]
    Paused,
    /// The configuration switches it off.
    #[error("provisioning.users = false: there is nothing to provision")]
    Off,
    /// The process was asked to stop before the lock was free.
    #[error("stopped by a signal")]
    Stopped,
    /// What is on disk cannot be used.
    #[error(transparent)]
    Premises(#[from] PremisesError),
    /// The learner database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The user that was asked for cannot be looked up.
    #[error(transparent)]
    Directory(Box<DirectoryError>),
    /// There is no such user.
    #[error("Entra ID has no user {0:?}, and no learner of this application has that user name")]
    NoSuchUser(String),
    /// The learner cannot be given to the user.
    #[error("not relinked: {0}")]
    NotRelinked(String),
}

impl From<DirectoryError> for SessionError {
    fn from(error: DirectoryError) -> Self {
        Self::Directory(Box::new(error))
    }
}

impl From<LockError> for SessionError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Held(holder) => Self::Locked(holder),
            LockError::Unusable { path, source } => {
                Self::Premises(PremisesError::Path { what: "the lock file", path, source })
            }
        }
    }
}

/// Runs one cycle.
///
/// # Errors
/// When none was begun, or the database went away before its end could be written down.
pub async fn run(app: &App, ask: RunOptions<'_>, mut stop: Stop) -> Result<Report, SessionError> {
    let RunOptions { trigger, full, wait, force, command, actor, only } = ask;
    if !app.config.provisioning.users {
        return Err(SessionError::Off);
    }
    premises::prepare(&app.config).await?;
    let path = cycle_lock_path(&app.config);
    let _lock = if wait {
        tokio::select! {
            lock = Lock::wait(&path, command) => lock?,
            () = cycle::stopped(&mut stop) => return Err(SessionError::Stopped),
        }
    } else {
        Lock::take(&path, command)?
    };
    reached(Step::LockTaken);
    // Opened anew for each cycle: a database restored from a backup is another file.
    let store = Store::open(&app.learners, Access::ReadWrite).await?;
    alone(&store, command, wait, &mut stop).await?;
    if !force && store.state().await?.paused {
        return Err(SessionError::Paused);
    }
    let cache = cache_path(&app.config);
    let parts = CycleContext { directory: &app.directory, store: &store, cache: Some(&cache), rules: &app.rules };
    let found = match only {
        Some(named) => Some(find(app, &store, named).await?),
        None => None,
    };
    let now = (app.clock)();
    if let Some(actor) = actor {
        let (action, detail) = audited(full, force, found.as_ref());
        store.audit(actor, action, Some(&detail.to_string()), now).await?;
    }
    let only = found.as_ref().map(FoundUser::only);
    let ended = cycle::run(parts, CycleOptions { trigger, full, now, only }, stop).await;
    let retention = SignedDuration::try_from(app.config.log.retention).unwrap_or(SignedDuration::MAX);
    if let Ok(before) = now.checked_sub(retention) {
        match store.expire(before).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "rows of the provisioning log have outlived log.retention"),
            Err(error) => tracing::warn!("the provisioning log cannot be shortened: {}", chain(&error)),
        }
    }
    reached(Step::LogExpired);
    // The process may end at once; the file is then whole without its log.
    if let Err(error) = store.close().await {
        tracing::warn!("the learner database does not close: {}", chain(&error));
    }
    reached(Step::DatabaseClosed);
    Ok(ended?)
}

/// Makes sure that no other machine runs a cycle on the same server; waits for it, if that was asked for.
async fn alone(store: &Store, command: &str, wait: bool, stop: &mut Stop) -> Result<(), SessionError> {
    let mut told = false;
    while let Some(holder) = store.take_cycle_lock(command).await? {
        if !wait {
            return Err(SessionError::Locked(holder));
        }
        if !told {
            tracing::info!("waiting for {holder}");
            told = true;
        }
        // To wait in the server would keep a statement open for as long as the other cycle takes.
        tokio::select! {
            () = tokio::time::sleep(BETWEEN_ATTEMPTS) => {}
            () = cycle::stopped(stop) => return Err(SessionError::Stopped),
        }
    }
    Ok(())
}

/// What the audit log says of a run by hand.
fn audited(full: bool, force: bool, found: Option<&FoundUser>) -> (&'static str, Value) {
    match found {
        None => ("sync", json!({ "full": full, "force": force })),
        Some(FoundUser { user, relink: None }) => ("provision", json!({ "person": user.to_string(), "force": force })),
        Some(FoundUser { user, relink: Some(relink) }) => {
            let detail =
                json!({ "person": user.to_string(), "learner": learner_as_json(relink.learner), "force": force });
            ("relink", detail)
        }
    }
}

/// An id of a learner as the learners table has it: a number, or a text.
pub fn learner_as_json(learner: LearnerId) -> Value {
    match learner {
        LearnerId::Number(number) => number.into(),
        LearnerId::Uuid(_) => learner.to_string().into(),
    }
}
