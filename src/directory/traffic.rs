//! Counts the requests to Graph since the start of the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The counters of all requests to Graph. A reload of the configuration keeps them.
#[derive(Debug, Default)]
pub struct GraphTraffic(Mutex<TrafficCounts>);

/// The counts at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficCounts {
    /// Requests by the status of the answer; `None` without an answer. A `$batch` counts as one.
    pub requests: BTreeMap<Option<u16>, u64>,
    /// Repeated requests, and repeated parts of a `$batch`.
    pub retries: u64,
    /// How long requests were paused because Graph asked for it.
    pub throttled: Duration,
}

impl GraphTraffic {
    /// The counts so far.
    pub fn counts(&self) -> TrafficCounts {
        self.lock().clone()
    }

    pub(super) fn add_request(&self, status: Option<u16>) {
        *self.lock().requests.entry(status).or_default() += 1;
    }

    pub(super) fn add_retry(&self) {
        self.lock().retries += 1;
    }

    pub(super) fn add_pause(&self, pause: Duration) {
        let mut counts = self.lock();
        counts.throttled = counts.throttled.saturating_add(pause);
    }

    fn lock(&self) -> MutexGuard<'_, TrafficCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
