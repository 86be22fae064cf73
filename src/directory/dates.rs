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
    /// The earliest and the latest time at the start that an answer implies.
    between: Option<(Timestamp, Timestamp)>,
    fault: Option<ClockFault>,
}

impl Seen {
    fn since(start: Instant) -> Self {
        Self { start, answered: false, between: None, fault: None }
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
                    seen.between = Some(extend(seen.between, date, sent, received));
                }
            }
        });
    }

    /// Graph's time at the start; `None` before the first answer.
    pub(super) fn at_start(&self) -> Option<Result<GraphTime, ClockFault>> {
        self.change(|seen| {
            let Seen { start: _, answered, between, fault } = seen;
            answered.then(|| match (fault, between.map(graph_time)) {
                (Some(fault), _) => Err(*fault),
                (None, None) => Err(ClockFault::Missing),
                (None, Some(GraphTime { earliest, latest })) if latest.duration_since(earliest) > CLOCK_TOLERANCE => {
                    Err(ClockFault::Contradictory)
                }
                (None, Some(at_start)) => Ok(at_start),
            })
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Adds the time at the start that an answer implies. Its date lacks the fraction of a second, and was written at some time
/// between `sent` and `received`, which count from the start: one second is certainly past, a later one possible.
fn extend(
    between: Option<(Timestamp, Timestamp)>,
    date: Timestamp,
    sent: Duration,
    received: Duration,
) -> (Timestamp, Timestamp) {
    let before = |seconds: u64| {
        let seconds = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        date.checked_sub(seconds).unwrap_or(date)
    };
    let possible = before(sent.as_secs());
    let certain = before(received.as_secs() + u64::from(received.subsec_nanos() > 0));
    let (earliest, latest) = between.unwrap_or((possible, certain));
    (earliest.min(possible), latest.max(certain))
}

/// Answers of one clock differ by a second at most, and agree on the earliest second that all of them allow.
fn graph_time((earliest, latest): (Timestamp, Timestamp)) -> GraphTime {
    GraphTime { earliest, latest: latest.max(earliest) }
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
        // Less the fraction of a second since the start.
        assert_eq!(later("Mon, 02 Mar 2026 08:05:01 GMT"), dated("Mon, 02 Mar 2026 08:05:00 GMT"));
        assert_eq!(later("Mon, 02 Mar 2026 08:05:02 GMT"), Some(Err(ClockFault::Contradictory)));
        assert_eq!(later("Mon, 02 Mar 2026 07:00:00 GMT"), Some(Err(ClockFault::Contradictory)));
    }

    #[test]
    fn the_time_at_the_start_does_not_depend_on_how_long_the_answers_took() {
        let start: Timestamp = "2026-03-02T08:00:00.002Z".parse().unwrap();
        // Milliseconds after the start at which each request is sent, its date is written, and its answer is received. Some
        // dates are written just after a second of Graph begins, before one begins here.
        for answers in [
            &[[0, 3, 5]][..],
            &[[690, 695, 700]],
            &[[20, 999, 999], [1, 2, 3]],
            &[[998, 998, 998], [999, 999, 999], [20, 25, 30]],
            &[[0, 3, 5], [800, 900, 1050], [4000, 4500, 5100]],
            &[[0, 900, 2700], [59_998, 59_999, 59_999]],
        ] {
            let mut seen = None;
            for [sent, written, received] in answers.iter().map(|answer| answer.map(Duration::from_millis)) {
                let date = Timestamp::from_second((start + written).as_second()).unwrap();
                seen = Some(extend(seen, date, sent, received));
            }
            let expected = GraphTime::at("2026-03-02T08:00:00Z".parse().unwrap());
            assert_eq!(seen.map(graph_time), Some(expected), "{answers:?}");
        }
    }
}
