//! The time that a cycle may spend reading the directory, over all its steps.

use std::time::Duration;

use tokio::time::Instant;

use super::CycleError;

/// The latest end of reading the directory.
pub(super) struct Deadline {
    at: Instant,
    span: Duration,
}

impl Deadline {
    /// A deadline `span` from now. `span` is configured and far too short to overflow the clock.
    pub(super) fn within(span: Duration) -> Self {
        Self { at: Instant::now() + span, span }
    }

    /// The result of `work`, when it finishes in time.
    ///
    /// # Errors
    /// [`CycleError::Deadline`]; `work` is then dropped.
    pub(super) async fn keep<T>(&self, work: impl Future<Output = T>) -> Result<T, CycleError> {
        tokio::time::timeout_at(self.at, work).await.map_err(|_| CycleError::Deadline(self.span))
    }
}
