//! When a message is tried again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::model::{CLOCK_TOLERANCE, DAY};

const FIRST_WAIT: Duration = Duration::from_mins(1);
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// A message that was not accepted for so long is given up.
const KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The wait after so many attempts: doubled each time, up to an hour.
pub fn wait_after(attempts: u64) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_WAIT)
}

/// Whether a message that is to be tried at `next` is tried now. A time that no wait explains was recorded by a wrong
/// clock.
pub fn is_due(next: Timestamp, now: Timestamp) -> bool {
    let left = next.duration_since(now);
    let longest = SignedDuration::try_from(LONGEST_WAIT).unwrap_or(DAY) + CLOCK_TOLERANCE;
    left <= SignedDuration::ZERO || left > longest
}

/// Whether a message of the time `at` is given up.
pub fn is_too_old(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) > KEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour() {
        let minutes = |attempts| wait_after(attempts).as_secs() / 60;
        assert_eq!([0, 1, 2, 3, 6, 7, 8, u64::MAX].map(minutes), [1, 1, 2, 4, 32, 60, 60, 60]);
    }

    #[test]
    fn a_message_waits_for_its_time_unless_a_clock_was_wrong() {
        let now: Timestamp = "2026-03-02T08:00:00Z".parse().unwrap();
        let minutes = SignedDuration::from_mins;
        for (ahead, due) in [(-1, true), (0, true), (1, false), (60, false), (65, false), (66, true), (500_000, true)] {
            assert_eq!(is_due(now + minutes(ahead), now), due, "{ahead}");
        }
        assert!(!is_too_old(now - DAY * 7, now) && is_too_old(now - DAY * 8, now));
    }
}
