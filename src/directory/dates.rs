//! The `Date` headers of Graph's answers: a clock that does not depend on that of this machine.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{AGE, DATE, HeaderMap};

use crate::model::{CLOCK_TOLERANCE, ClockFault, GraphTime};

/// A date outside of these years comes from a machine without a clock.
const YEARS: std::ops::Range<i16> = 2020..2100;

/// The dates of the answers since a start.
#[derive(Debug)]
pub(super) struct Dates(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    start: Instant,
    answered: bool,
    bounds: Option<Bounds>,
    fault: Option<ClockFault>,
}

/// The time at the start according to the answers, in whole seconds.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// The earliest time that an answer allows, if it was dated as soon as it was requested and then delayed.
    earliest: Timestamp,
    /// The latest of the times that are certainly past by an answer.
    past: Timestamp,
    /// The times that are still possible by an answer: the first and the last of them.
    possible: (Timestamp, Timestamp),
}

impl Seen {
    fn since(start: Instant) -> Self {
        Self { start, answered: false, bounds: None, fault: None }
    }
}

impl Dates {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Seen::since(Instant::now())))
    }

    /// Forgets all earlier answers.
    pub(super) fn start_over(&self) {
        self.change(|seen| *seen = Seen::since(Instant::now()));
    }

    /// Adds the date of an answer that was received now, to a request with our token.
    pub(super) fn add(&self, headers: &HeaderMap, sent: Instant) {
        // A cache repeats the date at which it received the answer.
        let date = (!headers.contains_key(AGE)).then(|| parse_date(headers));
        self.change(|seen| {
            seen.answered = true;
            match date {
                None => {}
                Some(Err(fault)) => drop(seen.fault.get_or_insert(fault)),
                Some(Ok(date)) => {
                    let (sent, received) = (sent.saturating_duration_since(seen.start), seen.start.elapsed());
                    let answer = Bounds::of(date, sent, received);
                    seen.bounds = Some(seen.bounds.map_or(answer, |bounds| bounds.merged(answer)));
                }
            }
        });
    }

    /// Graph's time at the start; `None` before the first answer.
    pub(super) fn at_start(&self) -> Option<Result<GraphTime, ClockFault>> {
        self.change(|seen| {
            let Seen { start: _, answered, bounds, fault } = seen;
            answered.then(|| match (fault, bounds) {
                (Some(fault), _) => Err(*fault),
                (None, None) => Err(ClockFault::Missing),
                (None, Some(bounds)) => bounds.graph_time().ok_or(ClockFault::Contradictory),
            })
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Bounds {
    /// The time that an answer implies. Its date lacks the fraction of a second, and was written at some time between `sent` and
    /// `received`, which count from the start.
    fn of(date: Timestamp, sent: Duration, received: Duration) -> Self {
        let before = |seconds: u64| {
            let seconds = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            date.checked_sub(seconds).unwrap_or(date)
        };
        let possible = before(sent.as_secs());
        Self {
            // A quick answer is not delayed, also when a second begins before it arrives.
            earliest: before(sent.as_secs() + received.saturating_sub(sent).as_secs()),
            past: before(received.as_secs() + u64::from(received.subsec_nanos() > 0)),
            possible: (possible, possible),
        }
    }

    fn merged(self, other: Self) -> Self {
        Self {
            earliest: self.earliest.min(other.earliest),
            past: self.past.max(other.past),
            possible: (self.possible.0.min(other.possible.0), self.possible.1.max(other.possible.1)),
        }
    }

    /// `None` when the answers differ by more than the tolerance, however long they took.
    fn graph_time(self) -> Option<GraphTime> {
        let Self { earliest, past, possible: (first, last) } = self;
        // The answers of one clock agree on the first second that is possible by each of them.
        let latest = if past <= first { first } else { last };
        (past.duration_since(first) <= CLOCK_TOLERANCE).then_some(GraphTime { earliest, latest })
    }
}

/// The one date of an answer.
pub(super) fn parse_date(headers: &HeaderMap) -> Result<Timestamp, ClockFault> {
    let mut values = headers.get_all(DATE).iter();
    let value = values.next().ok_or(ClockFault::Missing)?;
    if values.next().is_some() {
        return Err(ClockFault::Repeated);
    }
    let zoned = value.to_str().ok().and_then(|text| DateTimeParser::new().parse_zoned_datetime(text).ok());
    let zoned = zoned.filter(|zoned| YEARS.contains(&zoned.year()));
    zoned.map(|zoned| zoned.timestamp()).ok_or(ClockFault::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(answers: &[&[(&'static str, &str)]]) -> Option<Result<String, ClockFault>> {
        let dates = Dates::new();
        for answer in answers {
            let headers = answer.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            dates.add(&headers.collect(), Instant::now());
        }
        dates.at_start().map(|at| at.map(|GraphTime { latest, .. }| format!("{latest:.0}")))
    }

    #[test]
    fn only_a_plain_date_of_our_time_counts() {
        const EIGHT: &str = "Mon, 02 Mar 2026 08:00:00 GMT";
        let dated = |date: &str| seen(&[&[("date", date)]]);
        assert_eq!(seen(&[]), None);
        assert_eq!(dated(EIGHT), Some(Ok("2026-03-02T08:00:00Z".to_owned())));
        assert_eq!(seen(&[&[]]), Some(Err(ClockFault::Missing)));
        assert_eq!(seen(&[&[("date", EIGHT), ("age", "0")]]), Some(Err(ClockFault::Missing)));
        assert_eq!(seen(&[&[("date", EIGHT), ("date", EIGHT)]]), Some(Err(ClockFault::Repeated)));
        for unreadable in [
            "",
            "soon",
            "0",
            "1772438400",
            "2026-03-02T08:00:00Z",
            "Thu, 01 Jan 1970 00:00:00 GMT",
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "Mon, 31 Feb 2026 08:00:00 GMT",
        ] {
            assert_eq!(dated(unreadable), Some(Err(ClockFault::Unreadable)), "{unreadable}");
        }
        // A cached answer among others is ignored; a date that is wrong makes all of them doubtful.
        let plain: &[_] = &[("date", EIGHT)];
        assert_eq!(seen(&[plain, &[("date", "soon"), ("age", "9")]]), dated(EIGHT));
        assert_eq!(seen(&[plain, &[("date", "soon")]]), Some(Err(ClockFault::Unreadable)));
        assert_eq!(seen(&[plain, &[]]), Some(Err(ClockFault::Missing)));
        let later = |date: &'static str| seen(&[plain, &[("date", date)], plain]);
        // Less the fraction of a second since the start, they differ by five minutes.
        assert_eq!(later("Mon, 02 Mar 2026 08:05:01 GMT"), dated("Mon, 02 Mar 2026 08:05:01 GMT"));
        assert_eq!(later("Mon, 02 Mar 2026 08:05:02 GMT"), Some(Err(ClockFault::Contradictory)));
        assert_eq!(later("Mon, 02 Mar 2026 07:00:00 GMT"), Some(Err(ClockFault::Contradictory)));
    }

    /// The earliest and the latest time at the start, in seconds from 08:00:00, by answers of clocks that are this many
    /// seconds ahead. Each request is sent, its date written, and its answer received this many milliseconds after the start.
    fn bounds(answers: &[(i64, [u64; 3])]) -> Option<(i64, i64)> {
        let eight: Timestamp = "2026-03-02T08:00:00Z".parse().unwrap();
        let start = eight + Duration::from_millis(2);
        let answers = answers.iter().map(|(ahead, times)| {
            let [sent, written, received] = times.map(Duration::from_millis);
            let at = start + written + SignedDuration::from_secs(*ahead);
            Bounds::of(Timestamp::from_second(at.as_second()).unwrap(), sent, received)
        });
        let GraphTime { earliest, latest } = answers.reduce(Bounds::merged).unwrap().graph_time()?;
        Some((earliest.duration_since(eight).as_secs(), latest.duration_since(eight).as_secs()))
    }

    #[test]
    fn the_time_at_the_start_does_not_depend_on_when_quick_answers_are_received() {
        // Some dates are written just after a second of Graph begins, before one begins here.
        for times in [
            &[[0, 3, 5]][..],
            &[[690, 695, 700]],
            &[[990, 996, 1001]],
            &[[20, 999, 999], [1, 2, 3]],
            &[[998, 998, 998], [999, 999, 999], [20, 25, 30]],
            &[[0, 3, 5], [800, 900, 1050], [4000, 4500, 4900]],
        ] {
            let answers: Vec<_> = times.iter().map(|times| (0, *times)).collect();
            assert_eq!(bounds(&answers), Some((0, 0)), "{times:?}");
        }
    }

    #[test]
    fn an_answer_that_may_be_delayed_moves_no_bound_towards_the_other() {
        for (answers, expected) in [
            // The date is as old as the answer, or as new, and nothing says which.
            (&[(0, [0, 5, 100_000])][..], Some((-100, 0))),
            (&[(0, [0, 100_000, 100_005])], Some((0, 100))),
            (&[(0, [0, 50_000, 100_000])], Some((-50, 50))),
            // Another answer of the same clock says it.
            (&[(0, [0, 3, 5]), (0, [10, 100_000, 100_005])], Some((0, 0))),
            (&[(0, [0, 3, 5]), (0, [10, 20, 100_000])], Some((-99, 0))),
            // The other clock may be right.
            (&[(0, [0, 3, 5]), (60, [10, 20, 30])], Some((0, 60))),
            (&[(0, [0, 3, 5]), (60, [10, 50_000, 50_005])], Some((0, 110))),
            (&[(0, [0, 3, 5]), (60, [10, 20, 50_000])], Some((0, 60))),
            (&[(0, [0, 3, 5]), (-60, [10, 20, 50_000])], Some((-109, 0))),
            (&[(0, [0, 3, 5]), (300, [10, 20, 30])], Some((0, 300))),
            (&[(0, [0, 3, 5]), (302, [10, 20, 30])], None),
            // An answer does not contradict itself.
            (&[(0, [0, 5, 400_000])], Some((-400, 0))),
        ] {
            assert_eq!(bounds(answers), expected, "{answers:?}");
        }
    }
}
