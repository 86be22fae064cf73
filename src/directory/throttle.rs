//! Limits concurrent requests, and pauses all of them while Graph throttles.
//!
//! Requests made while Graph throttles prolong the throttling. One throttled request therefore pauses all of them, and
//! halves the concurrency afterwards: <https://learn.microsoft.com/graph/throttling>

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// This many successes in a row allow one more concurrent request.
const SUCCESSES_TO_GROW: usize = 20;

#[derive(Debug)]
pub(super) struct Throttle {
    limit: usize,
    semaphore: Semaphore,
    state: Mutex<ThrottleState>,
}

#[derive(Debug)]
struct ThrottleState {
    /// Existing permits, whether in use or not.
    permits: usize,
    /// The number of permits that should exist.
    target: usize,
    /// Successes since the last throttling or growth.
    successes: usize,
    /// The end of the current pause.
    resume_at: Option<Instant>,
}

/// The permission to send one request.
pub(super) struct RequestPermit<'t> {
    throttle: &'t Throttle,
    permit: Option<SemaphorePermit<'t>>,
}

impl Throttle {
    /// A throttle for at most `limit` concurrent requests.
    pub(super) fn new(limit: usize) -> Self {
        let state = ThrottleState { permits: limit, target: limit, successes: 0, resume_at: None };
        Self { limit, semaphore: Semaphore::new(limit), state: Mutex::new(state) }
    }

    /// Waits until a request may be sent.
    pub(super) async fn acquire(&self) -> RequestPermit<'_> {
        // The semaphore is never closed.
        let permit = self.semaphore.acquire().await.ok();
        while let Some(at) = self.pause_end() {
            tokio::time::sleep_until(at).await;
        }
        RequestPermit { throttle: self, permit }
    }

    /// Pauses all requests for `wait` and halves the concurrency. Returns how much longer they are paused than before.
    pub(super) fn pause_for(&self, wait: Duration) -> Duration {
        let now = Instant::now();
        let mut state = self.state();
        // During a pause, more throttled answers belong to the same burst.
        if state.resume_at.is_none_or(|at| at <= now) {
            state.target = (state.target / 2).max(1);
        }
        let before = state.resume_at.unwrap_or(now).max(now);
        state.resume_at = state.resume_at.max(Some(now + wait));
        state.successes = 0;
        (now + wait).saturating_duration_since(before)
    }

    /// Counts an answer without throttling.
    pub(super) fn record_success(&self) {
        let mut state = self.state();
        state.successes += 1;
        if state.successes >= SUCCESSES_TO_GROW && state.target < self.limit {
            state.successes = 0;
            state.target += 1;
            if state.permits < state.target {
                state.permits += 1;
                self.semaphore.add_permits(1);
            }
        }
    }

    fn pause_end(&self) -> Option<Instant> {
        self.state().resume_at.filter(|at| *at > Instant::now())
    }

    fn state(&self) -> MutexGuard<'_, ThrottleState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RequestPermit<'_> {
    fn drop(&mut self) {
        let mut state = self.throttle.state();
        if state.permits > state.target
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            state.permits -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn at_once(throttle: &Throttle) -> usize {
        let mut permits = Vec::new();
        while let Ok(permit) = tokio::time::timeout(Duration::from_millis(1), throttle.acquire()).await {
            permits.push(permit);
        }
        permits.len()
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_pauses_all_requests_and_halves_the_concurrency() {
        let throttle = Throttle::new(8);
        assert_eq!(at_once(&throttle).await, 8);
        let begun = Instant::now();
        assert_eq!(throttle.pause_for(Duration::from_secs(5)), Duration::from_secs(5));
        assert_eq!(throttle.pause_for(Duration::from_secs(3)), Duration::ZERO);
        drop(throttle.acquire().await);
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
        // Surplus permits disappear when they are returned.
        for _ in 0..8 {
            drop(throttle.acquire().await);
        }
        assert_eq!(at_once(&throttle).await, 4);
        throttle.pause_for(Duration::ZERO);
        throttle.pause_for(Duration::ZERO);
        for _ in 0..8 {
            drop(throttle.acquire().await);
        }
        assert_eq!(at_once(&throttle).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn concurrency_grows_again_step_by_step_up_to_the_limit() {
        let throttle = Throttle::new(4);
        throttle.pause_for(Duration::ZERO);
        for _ in 0..4 {
            drop(throttle.acquire().await);
        }
        assert_eq!(at_once(&throttle).await, 2);
        for expected in [3, 4, 4] {
            (0..SUCCESSES_TO_GROW).for_each(|_| throttle.record_success());
            assert_eq!(at_once(&throttle).await, expected);
        }
    }
}
