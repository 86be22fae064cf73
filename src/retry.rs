//! Waiting for a service that asks to be left alone: exponential backoff with jitter, `Retry-After` honoured.
//!
//! The cycle itself never retries, because the schedule is its retry; only single requests do, here.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::Timestamp;

use crate::model::chain;

/// No wait is shorter, whatever `Retry-After` says.
const FLOOR: Duration = Duration::from_secs(1);
/// Waits by backoff grow up to this.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// All waits for one request together, when the service is there and asks for time: as long as its deadline allows.
pub const PATIENT: Duration = Duration::MAX;
/// A request is tried at most so often, however short the waits are that a service asks for.
const MOST_ATTEMPTS: usize = 10;
/// So many times what the service asks for is believed; one that goes on asking for a second has been seen.
const BELIEVED: usize = 2;
/// All waits for one request together, when waiting seldom helps: nothing listens, no such host, an inner error.
pub const BRIEF: Duration = Duration::from_secs(8);

/// The wait that a service asked for, which may be too short to be meant.
pub fn at_least(asked: Duration) -> Duration {
    asked.max(FLOOR)
}

/// How patient to be with an answer of this HTTP status; `None` when it is final.
pub fn patience(status: u16) -> Option<Duration> {
    match status {
        429 | 502 | 503 | 504 => Some(PATIENT),
        500 => Some(BRIEF),
        _ => None,
    }
}

/// What became of one attempt.
#[derive(Debug)]
pub enum Attempt<T, E> {
    /// It ended, well or not; another attempt would not change that.
    Ended(Result<T, E>),
    /// It may go better later.
    Again {
        /// What to report when there is no later.
        error: E,
        /// How long the service asked to wait.
        after: Option<Duration>,
        /// How long all waits together may be.
        patience: Duration,
    },
}

/// The waits between the attempts of one request.
#[derive(Debug)]
pub struct Waits {
    backoff: backon::ExponentialBackoff,
    deadline: Duration,
    waits: usize,
    waited: Duration,
    tried: Duration,
}

impl Waits {
    /// A request that has not waited yet, and after `deadline`, attempts and waits together, is not tried again.
    pub fn new(deadline: Duration) -> Self {
        let backoff = ExponentialBuilder::new()
            .with_min_delay(FLOOR)
            .with_max_delay(LONGEST_BACKOFF)
            .with_jitter()
            // Without a seed of its own every process would wait for the same times.
            .with_jitter_seed(rand::random())
            .without_max_times()
            .build();
        Self { backoff, deadline, waits: 0, waited: Duration::ZERO, tried: Duration::ZERO }
    }

    /// An attempt took so long.
    pub fn tried(&mut self, took: Duration) {
        self.tried = self.tried.saturating_add(took);
    }

    /// The next wait: what the service asked for, else the backoff; `None` when it was tried often enough, or all waits
    /// would be longer than `patience`, or lead beyond the deadline.
    pub fn next(&mut self, asked: Option<Duration>, patience: Duration) -> Option<Duration> {
        let backoff = self.backoff.next().unwrap_or(LONGEST_BACKOFF);
        let wait = match asked.map(at_least) {
            Some(asked) if self.waits < BELIEVED => asked,
            Some(asked) => asked.max(backoff),
            None => backoff,
        };
        self.waits += 1;
        if self.waits >= MOST_ATTEMPTS {
            return None;
        }
        self.waited = self.waited.saturating_add(wait);
        (self.waited <= patience && self.waited.saturating_add(self.tried) <= self.deadline).then_some(wait)
    }
}

impl Waits {
    /// The result of the request, when `attempt` ended it or the patience is at its end. Otherwise waits, so that
    /// it can be tried again.
    pub async fn settle<T, E: std::error::Error>(
        &mut self,
        what: &str,
        attempt: Attempt<T, E>,
    ) -> Option<Result<T, E>> {
        let (error, after, patience) = match attempt {
            Attempt::Ended(result) => return Some(result),
            Attempt::Again { error, after, patience } => (error, after, patience),
        };
        let Some(wait) = self.next(after, patience) else { return Some(Err(error)) };
        tracing::warn!(request = what, retry.wait_ms = wait.as_millis() as u64, "{}; trying again", chain(&error));
        tokio::time::sleep(wait).await;
        None
    }
}

/// Reads a `Retry-After` value: seconds, whole or with decimals (Graph sends both), or an HTTP date.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(date.duration_since(now).try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_in_every_form_seen() {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let read = |value| retry_after(value, now);
        assert_eq!(read("10"), Some(Duration::from_secs(10)));
        assert_eq!(read("2.128"), Some(Duration::from_millis(2128)));
        assert_eq!(read("Fri, 02 Jan 2026 03:04:35 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Fri, 02 Jan 2026 03:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("-1"), None);
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn a_service_that_asks_for_a_second_again_and_again_is_not_asked_every_second() {
        let mut waits = Waits::new(Duration::from_secs(120));
        let all: Vec<Duration> = std::iter::from_fn(|| waits.next(Some(Duration::ZERO), PATIENT)).collect();
        assert_eq!(all[..2], [FLOOR, FLOOR]);
        assert!(all.len() < MOST_ATTEMPTS && all[2] >= 2 * FLOOR, "{all:?}");
        let mut waits = Waits::new(Duration::from_secs(86_400));
        assert_eq!(std::iter::from_fn(|| waits.next(None, PATIENT)).count(), MOST_ATTEMPTS - 1);
    }

    #[test]
    fn waits_have_a_floor_and_a_deadline() {
        const DEADLINE: Duration = Duration::from_secs(120);
        let mut waits = Waits::new(DEADLINE);
        assert_eq!(waits.next(Some(Duration::ZERO), PATIENT), Some(FLOOR));
        assert_eq!(waits.next(Some(Duration::from_secs(119)), PATIENT), Some(Duration::from_secs(119)));
        assert_eq!(waits.next(Some(Duration::ZERO), PATIENT), None);
        for (patience, tried, most) in [(PATIENT, 0, 120), (PATIENT, 60, 60), (PATIENT, 120, 0), (BRIEF, 60, 8)] {
            let mut waits = Waits::new(DEADLINE);
            waits.tried(Duration::from_secs(tried));
            let all: Duration = std::iter::from_fn(|| waits.next(None, patience)).sum();
            assert!(all <= Duration::from_secs(most) && (most == 0 || !all.is_zero()), "{tried}: {all:?}");
        }
    }
}
