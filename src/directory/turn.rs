//! Lets signals, the deadline and other requests run while the rows of a page are mapped.

use std::time::{Duration, Instant};

/// Mapping a page takes milliseconds, unless a pattern of the mapping takes up to a fifth of a second for each user.
const LENGTH: Duration = Duration::from_millis(10);

/// The time since other work could run.
pub(super) struct Turn(Instant);

impl Turn {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }

    /// Yields when the turn has lasted long enough.
    pub(super) async fn offer(&mut self) {
        if self.0.elapsed() >= LENGTH {
            tokio::task::yield_now().await;
            self.0 = Instant::now();
        }
    }
}
