//! How many requests are on their way at once, and when Graph wants none at all.
//!
//! Requests made while Graph throttles count against the caller and lengthen the throttling, so one that is asked to
//! wait makes all of them wait, and fewer go side by side afterwards:
//! <https://learn.microsoft.com/graph/throttling>

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// So many answers without throttling allow one more request at once.
const STREAK: usize = 20;

/// Lets requests through.
#[derive(Debug)]
pub(super) struct Throttle {
    most: usize,
    semaphore: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Permits that exist, handed out or not.
    permits: usize,
    /// Permits that should exist.
    target: usize,
    /// Answers in a row without throttling.
    streak: usize,
    /// Nothing is sent before this.
    resume_at: Option<Instant>,
}

/// One request on its way.
pub(super) struct Turn<'t> {
    throttle: &'t Throttle,
    permit: Option<SemaphorePermit<'t>>,
}

impl Throttle {
    /// At most `most` requests at once.
    pub(super) fn new(most: usize) -> Self {
        let state = State { permits: most, target: most, streak: 0, resume_at: None };
        Self { most, semaphore: Semaphore::new(most), state: Mutex::new(state) }
    }

    /// Waits until a request may go.
    pub(super) async fn turn(&self) -> Turn<'_> {
        // It is never closed.
        let permit = self.semaphore.acquire().await.ok();
        while let Some(at) = self.pause() {
            tokio::time::sleep_until(at).await;
        }
        Turn { throttle: self, permit }
    }

    /// Graph asks for time: nothing is sent for so long, and half as much at once after that.
    pub(super) fn pause_for(&self, wait: Duration) {
        let now = Instant::now();
        let mut state = self.state();
        // What was on its way already belongs to the same burst.
        if state.resume_at.is_none_or(|at| at <= now) {
            state.target = (state.target / 2).max(1);
        }
        state.resume_at = state.resume_at.max(Some(now + wait));
        state.streak = 0;
    }

    /// An answer without throttling.
    pub(super) fn passed(&self) {
        let mut state = self.state();
        state.streak += 1;
        if state.streak >= STREAK && state.target < self.most {
            state.streak = 0;
            state.target += 1;
            if state.permits < state.target {
                state.permits += 1;
                self.semaphore.add_permits(1);
            }
        }
    }

    fn pause(&self) -> Option<Instant> {
        self.state().resume_at.filter(|at| *at > Instant::now())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
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
        let mut turns = Vec::new();
        while let Ok(turn) = tokio::time::timeout(Duration::from_millis(1), throttle.turn()).await {
            turns.push(turn);
        }
        turns.len()
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_throttled_makes_all_wait_and_fewer_go_at_once() {
        let throttle = Throttle::new(8);
        assert_eq!(at_once(&throttle).await, 8);
        let begun = Instant::now();
        throttle.pause_for(Duration::from_secs(5));
        throttle.pause_for(Duration::from_secs(3));
        drop(throttle.turn().await);
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
        // What was over the new bound goes away as it comes back.
        for _ in 0..8 {
            drop(throttle.turn().await);
        }
        assert_eq!(at_once(&throttle).await, 4);
        throttle.pause_for(Duration::ZERO);
        throttle.pause_for(Duration::ZERO);
        for _ in 0..8 {
            drop(throttle.turn().await);
        }
        assert_eq!(at_once(&throttle).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn it_grows_again_step_by_step_and_not_beyond_the_bound() {
        let throttle = Throttle::new(4);
        throttle.pause_for(Duration::ZERO);
        for _ in 0..4 {
            drop(throttle.turn().await);
        }
        assert_eq!(at_once(&throttle).await, 2);
        for expected in [3, 4, 4] {
            (0..STREAK).for_each(|_| throttle.passed());
            assert_eq!(at_once(&throttle).await, expected);
        }
    }
}
