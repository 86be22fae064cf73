//! Retries of single requests: exponential backoff with jitter, `Retry-After` honoured.
//!
//! The cycle itself never retries, because the schedule is its retry.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::Timestamp;

use crate::model::chain;

/// The shortest wait, whatever `Retry-After` says.
const MIN_WAIT: Duration = Duration::from_secs(1);
/// The backoff grows up to this wait.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// The most attempts of one request, however short its waits are.
const MAX_ATTEMPTS: usize = 10;
/// The first waits follow `Retry-After` exactly. Later ones are at least as long as the backoff, because a service may
/// go on asking for one second.
const TRUSTED_RETRY_AFTERS: usize = 2;

/// How long the waits of one request may be in total. The request deadline limits them in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryBudget {
    /// Eight seconds, for failures that a retry seldom cures: connection refused, unknown host, internal error.
    Short,
    /// The whole request deadline, for a service that is there and asks for time.
    Full,
    /// A time that the service documents.
    Within(Duration),
}

impl RetryBudget {
    /// The budget for an answer with this HTTP status; `None` when the status is final.
    pub fn for_status(status: u16) -> Option<Self> {
        match status {
            429 | 502 | 503 | 504 => Some(Self::Full),
            500 => Some(Self::Short),
            _ => None,
        }
    }

    /// The longest total wait.
    pub fn limit(self) -> Duration {
        match self {
            Self::Short => Duration::from_secs(8),
            Self::Full => Duration::MAX,
            Self::Within(limit) => limit,
        }
    }
}

/// The wait that a service asked for, raised to the minimum.
pub fn at_least_min_wait(asked: Duration) -> Duration {
    asked.max(MIN_WAIT)
}

/// The result of one attempt.
#[derive(Debug)]
pub enum Attempt<T, E> {
    /// Success, or a failure that another attempt would not change.
    Done(Result<T, E>),
    /// A failure that may pass.
    Retry {
        /// The error to report when no attempt is left.
        error: E,
        /// The wait that the service asked for.
        after: Option<Duration>,
        /// How long all waits may be in total.
        budget: RetryBudget,
    },
}

/// The waits between the attempts of one request.
#[derive(Debug)]
pub struct RetryWaits {
    backoff: backon::ExponentialBackoff,
    deadline: Duration,
    waits: usize,
    waited: Duration,
    in_attempts: Duration,
}

impl RetryWaits {
    /// The waits of a request that is not retried once attempts and waits together exceed `deadline`.
    pub fn new(deadline: Duration) -> Self {
        let backoff = ExponentialBuilder::new()
            .with_min_delay(MIN_WAIT)
            .with_max_delay(MAX_BACKOFF)
            .with_jitter()
            // Without a random seed, all processes would wait for the same times.
            .with_jitter_seed(rand::random())
            .without_max_times()
            .build();
        Self { backoff, deadline, waits: 0, waited: Duration::ZERO, in_attempts: Duration::ZERO }
    }

    /// Counts the duration of an attempt towards the deadline.
    pub fn add_attempt(&mut self, duration: Duration) {
        self.in_attempts = self.in_attempts.saturating_add(duration);
    }

    /// The next wait: `asked` by the service, otherwise the backoff. `None` when the attempts, the budget or the deadline
    /// are used up.
    pub fn next_wait(&mut self, asked: Option<Duration>, budget: RetryBudget) -> Option<Duration> {
        let backoff = self.backoff.next().unwrap_or(MAX_BACKOFF);
        let wait = match asked.map(at_least_min_wait) {
            Some(asked) if self.waits < TRUSTED_RETRY_AFTERS => asked,
            Some(asked) => asked.max(backoff),
            None => backoff,
        };
        self.waits += 1;
        if self.waits >= MAX_ATTEMPTS {
            return None;
        }
        self.waited = self.waited.saturating_add(wait);
        let within_deadline = self.waited.saturating_add(self.in_attempts) <= self.deadline;
        (self.waited <= budget.limit() && within_deadline).then_some(wait)
    }

    /// The result of the request, when `attempt` is final or no wait is left. Otherwise waits and returns `None`: the
    /// caller tries again.
    pub async fn finish_or_wait<T, E: std::error::Error>(
        &mut self,
        what: &str,
        attempt: Attempt<T, E>,
    ) -> Option<Result<T, E>> {
        let (error, after, budget) = match attempt {
            Attempt::Done(result) => return Some(result),
            Attempt::Retry { error, after, budget } => (error, after, budget),
        };
        let Some(wait) = self.next_wait(after, budget) else { return Some(Err(error)) };
        tracing::warn!(request = what, retry.wait_ms = wait.as_millis() as u64, "{}; retrying", chain(&error));
        tokio::time::sleep(wait).await;
        None
    }
}

/// Parses a `Retry-After` value: seconds, whole or decimal (Graph sends both), or an HTTP date.
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
    fn retry_after_is_parsed_in_every_known_form() {
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
    fn a_repeated_short_retry_after_falls_back_to_the_backoff() {
        let mut waits = RetryWaits::new(Duration::from_secs(120));
        let all: Vec<Duration> =
            std::iter::from_fn(|| waits.next_wait(Some(Duration::ZERO), RetryBudget::Full)).collect();
        assert_eq!(all[..2], [MIN_WAIT, MIN_WAIT]);
        assert!(all.len() < MAX_ATTEMPTS && all[2] >= 2 * MIN_WAIT, "{all:?}");
        let mut waits = RetryWaits::new(Duration::from_secs(86_400));
        assert_eq!(std::iter::from_fn(|| waits.next_wait(None, RetryBudget::Full)).count(), MAX_ATTEMPTS - 1);
    }

    #[test]
    fn waits_have_a_minimum_and_stay_within_budget_and_deadline() {
        const DEADLINE: Duration = Duration::from_secs(120);
        const FULL: RetryBudget = RetryBudget::Full;
        let mut waits = RetryWaits::new(DEADLINE);
        assert_eq!(waits.next_wait(Some(Duration::ZERO), FULL), Some(MIN_WAIT));
        assert_eq!(waits.next_wait(Some(Duration::from_secs(119)), FULL), Some(Duration::from_secs(119)));
        assert_eq!(waits.next_wait(Some(Duration::ZERO), FULL), None);
        let within = RetryBudget::Within(Duration::from_secs(52));
        for (budget, in_attempts, most) in
            [(FULL, 0, 120), (FULL, 60, 60), (FULL, 120, 0), (within, 0, 52), (RetryBudget::Short, 60, 8)]
        {
            let mut waits = RetryWaits::new(DEADLINE);
            waits.add_attempt(Duration::from_secs(in_attempts));
            let all: Duration = std::iter::from_fn(|| waits.next_wait(None, budget)).sum();
            assert!(all <= Duration::from_secs(most) && (most == 0 || !all.is_zero()), "{budget:?}: {all:?}");
        }
    }
}
