//! The time of the next cycle while the learner database does not take it: other daemons of the source, and `status` on
//! other machines, read it there.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::database_records::{DaemonRecord, write};
use crate::model::chain;
use crate::runtime::App;

/// The wait before the second attempt. It doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How long an attempt may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A planned time that is not recorded yet. Dropping it ends the attempts.
pub(super) struct UnrecordedPlan {
    due: Instant,
    has_failed: bool,
    /// When this daemon started.
    started: Instant,
    attempt_at: Instant,
    wait: Duration,
    attempt: Option<JoinHandle<Option<Option<Timestamp>>>>,
}

impl UnrecordedPlan {
    /// The plan to begin the next cycle after `due_in`; `has_failed` is the result of the last one.
    pub(super) fn new(due_in: Duration, has_failed: bool, started: Instant) -> Self {
        let now = Instant::now();
        let (due, attempt_at) = (now + due_in, now + FIRST_WAIT);
        Self { due, has_failed, started, attempt_at, wait: FIRST_WAIT, attempt: None }
    }

    /// Resolves once the learner database has the plan, or another daemon has begun a cycle: the time that it has.
    /// Dropping the future loses nothing.
    pub(super) async fn recorded(&mut self, app: &Arc<App>) -> Option<Timestamp> {
        loop {
            let Some(attempt) = &mut self.attempt else {
                tokio::time::sleep_until(self.attempt_at).await;
                let wait = self.due.saturating_duration_since(Instant::now());
                let record = DaemonRecord::NextCycle { wait, has_failed: self.has_failed };
                self.attempt = Some(tokio::spawn(attempt_to_write(Arc::clone(app), record, self.started)));
                continue;
            };
            let written = attempt.await;
            self.attempt = None;
            if let Ok(Some(planned)) = written {
                return planned;
            }
            self.wait = (self.wait * 2).min(LONGEST_WAIT);
            self.attempt_at = Instant::now() + self.wait;
        }
    }
}

impl Drop for UnrecordedPlan {
    fn drop(&mut self) {
        // A later plan may be recorded at any time.
        if let Some(attempt) = &self.attempt {
            attempt.abort();
        }
    }
}

/// `None` when the learner database does not take the record; the first attempt has logged why.
async fn attempt_to_write(app: Arc<App>, record: DaemonRecord, started: Instant) -> Option<Option<Timestamp>> {
    match tokio::time::timeout(TIMEOUT, write(app, record, started)).await {
        Ok(Ok(planned)) => Some(planned),
        Ok(Err(error)) => {
            tracing::debug!("cannot record the time of the next cycle: {}", chain(&error));
            None
        }
        Err(_) => {
            tracing::debug!("cannot record the time of the next cycle: the learner database does not answer");
            None
        }
    }
}
