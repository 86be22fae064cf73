//! How long a cycle may spend on the directory, over all the pieces in which it does.

use std::time::Duration;

use tokio::time::Instant;

use super::CycleError;

/// When the directory has to be read at the latest.
pub(super) struct Deadline {
    at: Instant,
    span: Duration,
}

impl Deadline {
    /// From now on. `span` is a configured one, far from where the clock overflows.
    pub(super) fn within(span: Duration) -> Self {
        Self { at: Instant::now() + span, span }
    }

    /// The result of `work`, when it is there in time.
    ///
    /// # Errors
    /// [`CycleError::Deadline`]; `work` is dropped where it stands then.
    pub(super) async fn keep<T>(&self, work: impl Future<Output = T>) -> Result<T, CycleError> {
        tokio::time::timeout_at(self.at, work).await.map_err(|_| CycleError::Deadline(self.span))
    }
}
