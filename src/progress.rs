//! How far a running cycle is, for the one who watches it. No decision depends on it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::model::words;

words! {
    /// The part of a cycle that runs.
    Stage {
        /// Before the first request.
        Starting = "starting",
        /// Another cycle holds the lock.
        WaitingForLock = "waiting for another cycle to end",
        /// The application is read.
        ReadingApplication = "reading the enterprise application",
        /// The learners are read.
        ReadingLearners = "reading the learner database",
        /// The assignments, the groups and the accounts are read.
        ReadingUsers = "reading users",
        /// The leavers are read again.
        ConfirmingLeavers = "confirming leavers",
        /// The decisions are made.
        Planning = "planning",
        /// The changes are written.
        Writing = "writing learners",
        /// The cycle is recorded.
        Finishing = "finishing",
    }
}

/// How far a cycle is. Shared by the cycle and the watcher.
#[derive(Debug)]
pub struct Progress(Mutex<ProgressState>);

/// How far a cycle is at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressState {
    /// The part of the cycle that runs.
    pub stage: Stage,
    /// When this part began.
    pub since: Instant,
    /// The users read in this part.
    pub users_read: u64,
    /// The learners written.
    pub written: u64,
    /// The learners to write.
    pub to_write: u64,
    /// The time until which no request is sent, because Graph throttles.
    pub throttled_until: Option<Instant>,
}

impl Progress {
    /// A cycle that has not begun.
    pub fn new() -> Self {
        Self(Mutex::new(ProgressState {
            stage: Stage::Starting,
            since: Instant::now(),
            users_read: 0,
            written: 0,
            to_write: 0,
            throttled_until: None,
        }))
    }

    /// How far the cycle is now.
    pub fn state(&self) -> ProgressState {
        *self.lock()
    }

    /// The next part begins.
    pub fn enter(&self, stage: Stage) {
        let mut state = self.lock();
        if state.stage != stage {
            (state.stage, state.since, state.users_read) = (stage, Instant::now(), 0);
        }
    }

    /// So many more users were read.
    pub fn add_users(&self, users: u64) {
        self.lock().users_read += users;
    }

    /// Writing begins.
    pub fn begin_writing(&self, to_write: u64) {
        self.enter(Stage::Writing);
        let mut state = self.lock();
        (state.written, state.to_write) = (0, to_write);
    }

    /// So many more learners were written.
    pub fn add_written(&self, learners: u64) {
        self.lock().written += learners;
    }

    /// Graph asks for a pause of all requests.
    pub fn throttle_for(&self, wait: Duration) {
        let mut state = self.lock();
        state.throttled_until = state.throttled_until.max(Instant::now().checked_add(wait));
    }

    fn lock(&self) -> MutexGuard<'_, ProgressState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}
