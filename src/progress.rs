//! How far a running cycle is, for the one who watches it. No decision depends on it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::model::words;

words! {
    /// The part of a cycle that runs.
    Stage {
        /// Before the first request.
        Starting = "starting",
        /// Another cycle holds the lock.
        WaitingForLock = "waiting for another cycle to end",
        /// The connection to the learner database was lost.
        Reconnecting = "connecting to the learner database again",
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

impl ProgressState {
    /// The state for people, such as `reading users: 12000 read, 1200 per second`. `now` and `wall` are the same instant.
    pub fn in_words(&self, now: Instant, wall: Timestamp) -> String {
        let Self { stage, since, users_read, written, to_write, throttled_until } = *self;
        let took = now.saturating_duration_since(since).as_secs_f64();
        let per_second = |count: u64| (took >= 1.0).then(|| count as f64 / took);
        let rate = |rate: f64| format!("{rate:.0} per second");
        let mut parts = vec![stage.to_string()];
        match stage {
            Stage::ReadingUsers if users_read > 0 => {
                parts[0].push_str(&format!(": {users_read} read"));
                parts.extend(per_second(users_read).map(rate));
            }
            Stage::Writing => {
                parts[0].push_str(&format!(": {written} of {to_write}"));
                let speed = per_second(written).filter(|speed| *speed > 0.0);
                parts.extend(speed.map(rate));
                parts.extend(speed.map(|speed| time_left(to_write.saturating_sub(written) as f64 / speed)));
            }
            _ => {}
        }
        let pause = throttled_until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero());
        let resumes = pause.and_then(|pause| wall.checked_add(SignedDuration::try_from(pause).ok()?).ok());
        parts.extend(resumes.map(|at| format!("throttled by Graph until {at:.0}")));
        parts.join(", ")
    }
}

fn time_left(left: f64) -> String {
    match left.ceil() as u64 {
        1 => "1 second left".to_owned(),
        seconds if seconds < 120 => format!("{seconds} seconds left"),
        seconds => format!("{} minutes left", seconds.div_ceil(60)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_says_what_is_known() {
        let (since, wall) = (Instant::now(), "2026-01-02T03:04:05Z".parse().unwrap());
        let state =
            |stage| ProgressState { stage, since, users_read: 0, written: 0, to_write: 0, throttled_until: None };
        let words = |state: ProgressState, after: u64| state.in_words(since + Duration::from_secs(after), wall);
        assert_eq!(words(state(Stage::Planning), 1), "planning");
        assert_eq!(words(state(Stage::ReadingUsers), 1), "reading users");
        let reading = ProgressState { users_read: 12_000, ..state(Stage::ReadingUsers) };
        assert_eq!(words(reading, 0), "reading users: 12000 read");
        assert_eq!(words(reading, 10), "reading users: 12000 read, 1200 per second");
        let throttled = ProgressState { throttled_until: Some(since + Duration::from_secs(40)), ..reading };
        let until = "reading users: 12000 read, 1200 per second, throttled by Graph until 2026-01-02T03:04:35Z";
        assert_eq!(words(throttled, 10), until);
        assert_eq!(words(throttled, 40), "reading users: 12000 read, 300 per second");
        let writing = ProgressState { written: 4000, to_write: 12_000, ..state(Stage::Writing) };
        assert_eq!(words(writing, 4), "writing learners: 4000 of 12000, 1000 per second, 8 seconds left");
        let slow = ProgressState { written: 40, ..writing };
        assert_eq!(words(slow, 4), "writing learners: 40 of 12000, 10 per second, 20 minutes left");
        let begun = ProgressState { written: 0, ..writing };
        assert_eq!(words(begun, 4), "writing learners: 0 of 12000");
    }
}
