//! Observing the learner database and the disk.

use rustix::process::{Pid, Signal, kill_process};

use super::room::{DiskRoom, database_room, low_room, rooms, state_room};
use super::{KnownDaemon, StatusSummary, UnsentMessage};
use crate::config::Config;
use crate::model::{LockHolder, chain};
use crate::runtime::Paths;
use crate::runtime::app::configured_source;
use crate::runtime::lock::Lock;
use crate::runtime::preflight::{self, PreflightError, on_database_disk, on_state_disk};
use crate::store::{Access, LearnerDatabase, SourceOverview, Store, StoreError};

/// The learner database as it is now.
#[derive(Debug)]
pub struct DatabaseObservation {
    /// The numbers.
    pub summary: StatusSummary,
    /// The records, with names.
    pub overview: SourceOverview,
    /// The process that has the cycle lock.
    pub holder: Option<LockHolder>,
    /// The open database.
    pub store: Store,
}

impl DatabaseObservation {
    /// Opens and reads the learner database; with `all`, every held and failing user. Unless it `has_run`, one without
    /// tables counts as empty.
    ///
    /// # Errors
    /// When it cannot be opened or read.
    pub async fn open(
        config: &Config,
        learners: LearnerDatabase,
        has_run: bool,
        all: bool,
    ) -> Result<Self, StoreError> {
        let store = match Store::open(learners, Access::ReadOnly).await {
            Err(StoreError::Missing { .. } | StoreError::Older { found: 0, .. }) if !has_run => {
                Store::in_memory().await?
            }
            opened => opened?,
        };
        Self::read(config, store, all).await
    }

    /// Reads an open learner database.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read(config: &Config, store: Store, all: bool) -> Result<Self, StoreError> {
        let state = store.state().await?;
        let source = configured_source(config, &state);
        let mut abandoned = None;
        // A cycle may end, and another one begin, between the two reads: an open row is abandoned only if it is still open
        // after nobody had the lock.
        let (overview, summary, holder, is_open) = loop {
            let overview = store.overview(&source, all).await?;
            let summary = StatusSummary::new(&source, &state, &overview);
            let last = summary.last_cycle.as_ref().filter(|last| last.outcome.is_none());
            let open = last.map(|last| (last.cycle, last.started_at));
            let holder = cycle_holder(config, &store).await?;
            if open.is_none() || holder.is_some() || open == abandoned {
                break (overview, summary, holder, open.is_some());
            }
            abandoned = open;
        };
        let daemons = store.daemons(&source).await?;
        // Behind a pooler in transaction mode no cycle has the lock.
        let is_claimed = is_open && store.shares_sessions().await && store.is_cycle_claimed(&source).await?;
        let summary = StatusSummary {
            daemons: daemons.into_iter().map(KnownDaemon::from).collect(),
            next_cycle_at: store.next_cycle_at(&source).await?,
            unsent_messages: UnsentMessage::of(&store.notifications(&source).await?),
            runs_elsewhere: is_open && (holder.is_some() || is_claimed),
            ..summary
        };
        Ok(Self { summary, overview, holder, store })
    }
}

/// The process that runs a cycle, on this machine or on another one.
async fn cycle_holder(config: &Config, store: &Store) -> Result<Option<LockHolder>, StoreError> {
    match Lock::holder(&Paths::new(config).cycle_lock).await {
        Ok(Some(here)) => Ok(Some(here)),
        Ok(None) | Err(_) => store.cycle_holder().await,
    }
}

/// The problem and what to do, in one line.
pub fn with_hint(error: &PreflightError) -> String {
    let text = chain(error);
    match error.hint() {
        Some(hint) => format!("{text}; {hint}"),
        None => text,
    }
}

/// Why the files of `config` cannot be written, as far as that can be seen without opening them. `exists` says that the
/// learner database has been used before.
pub fn disk_problem(config: &Config, exists: bool) -> Option<String> {
    preflight::inspect_disk(config, exists).err().map(|error| with_hint(&error))
}

/// The disks of a configuration as they are now.
#[derive(Debug, Default)]
pub struct DiskObservation {
    /// The daemon of this configuration.
    pub daemon: Option<LockHolder>,
    /// Why the files cannot be written.
    pub problem: Option<String>,
    /// One line for each disk with little room.
    pub warnings: Vec<String>,
}

impl DiskObservation {
    /// Observes the disks, for a thread that may wait for them. `exists` says that the learner database has been used
    /// before.
    pub(crate) fn read(config: &Config, exists: bool) -> Self {
        Self {
            daemon: Lock::holder_blocking(&Paths::daemon_lock_in(&config.state.directory)),
            problem: disk_problem(config, exists),
            warnings: warnings(rooms(config)),
        }
    }

    /// Like [`DiskObservation::read`], beside the event loop and each disk by itself.
    pub(crate) async fn observe(config: &Config, exists: bool) -> Self {
        let daemon = Lock::holder(&Paths::daemon_lock_in(&config.state.directory)).await;
        // The lock is in the state directory, which is inspected as well.
        let daemon = daemon.unwrap_or_default();
        let problem = preflight::inspect_disks(config, exists).await.err();
        let rooms = [
            on_database_disk(config, database_room).await.map(Option::flatten),
            on_state_disk(config, state_room).await,
        ];
        let rooms = rooms.into_iter().filter_map(Result::ok).flatten();
        Self { daemon, problem: problem.as_ref().map(with_hint), warnings: warnings(rooms) }
    }
}

fn warnings(rooms: impl IntoIterator<Item = DiskRoom>) -> Vec<String> {
    low_room(rooms).into_iter().map(|room| room.detail).collect()
}

/// Notifies the daemon of `config`, if one runs here, that a command has changed the learner database.
pub async fn notify_daemon(config: &Config) {
    let holder = match Lock::holder(&Paths::new(config).daemon_lock).await {
        Ok(holder) => holder,
        Err(error) => {
            tracing::warn!("cannot notify the daemon: {}", chain(&error));
            return;
        }
    };
    let pid = holder.and_then(|holder| Pid::from_raw(i32::try_from(holder.pid?).ok()?));
    if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Signal::URG)) {
        tracing::debug!("cannot signal the daemon: {error}");
    }
}
