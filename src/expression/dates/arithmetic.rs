//! `DateAdd` and `DateDiff`, with the rules of Visual Basic.

use jiff::{SignedDuration, Span};

use super::UtcDateTime;

const SECONDS_PER_MINUTE: i64 = 60;
const SECONDS_PER_HOUR: i64 = 60 * SECONDS_PER_MINUTE;
const SECONDS_PER_DAY: i64 = 24 * SECONDS_PER_HOUR;
const DAYS_PER_WEEK: i64 = 7;

/// The unit of `DateAdd` and `DateDiff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DateInterval {
    Year,
    Quarter,
    Month,
    Day,
    /// Adds days, counts spans of seven days.
    Weekday,
    /// Adds seven days, counts Sundays.
    Week,
    Hour,
    Minute,
    Second,
}

impl DateInterval {
    /// Accepts the documented intervals and the three others of Visual Basic, in any case.
    pub(in crate::expression) fn parse(text: &str) -> Result<Self, String> {
        Ok(match text.trim().to_ascii_lowercase().as_str() {
            "yyyy" => Self::Year,
            "q" => Self::Quarter,
            "m" => Self::Month,
            "d" | "y" => Self::Day,
            "w" => Self::Weekday,
            "ww" => Self::Week,
            "h" => Self::Hour,
            "n" => Self::Minute,
            "s" => Self::Second,
            _ => return Err(format!("`{text}` is not an interval; write yyyy, m, d, ww, h, n (minutes) or s")),
        })
    }
}

impl UtcDateTime {
    /// Adds `count` intervals. The 31st of a shorter month becomes its last day. `None` outside the calendar.
    pub(in crate::expression) fn add(self, interval: DateInterval, count: i128) -> Option<Self> {
        let count = i64::try_from(count).ok()?;
        let seconds = |length: i64| Some(SignedDuration::from_secs(count.checked_mul(length)?));
        let civil = match interval {
            DateInterval::Year => self.civil.checked_add(Span::new().try_years(count).ok()?),
            DateInterval::Quarter => self.civil.checked_add(Span::new().try_months(count.checked_mul(3)?).ok()?),
            DateInterval::Month => self.civil.checked_add(Span::new().try_months(count).ok()?),
            DateInterval::Day | DateInterval::Weekday => self.civil.checked_add(seconds(SECONDS_PER_DAY)?),
            DateInterval::Week => self.civil.checked_add(seconds(DAYS_PER_WEEK * SECONDS_PER_DAY)?),
            DateInterval::Hour => self.civil.checked_add(seconds(SECONDS_PER_HOUR)?),
            DateInterval::Minute => self.civil.checked_add(seconds(SECONDS_PER_MINUTE)?),
            DateInterval::Second => self.civil.checked_add(seconds(1)?),
        };
        Self::new(civil.ok()?, self.zone)
    }

    /// The number of intervals from this date to `later`. Years, quarters, months and weeks count their starts in
    /// between; all others count full spans.
    pub(in crate::expression) fn until(self, later: Self, interval: DateInterval) -> i64 {
        let (from, to) = (self.civil, later.civil);
        let seconds = to.duration_since(from).as_secs();
        let years = i64::from(to.year()) - i64::from(from.year());
        let steps = |per_year: i64, index: fn(i8) -> i8| {
            years * per_year + i64::from(index(to.month())) - i64::from(index(from.month()))
        };
        match interval {
            DateInterval::Year => years,
            DateInterval::Quarter => steps(4, |month| (month - 1) / 3),
            DateInterval::Month => steps(12, |month| month),
            DateInterval::Day => seconds / SECONDS_PER_DAY,
            DateInterval::Weekday => seconds / SECONDS_PER_DAY / DAYS_PER_WEEK,
            DateInterval::Week => {
                // Each date moves back to the last Sunday and keeps its time.
                let since_sunday = |date: jiff::civil::DateTime| i64::from(date.weekday().to_sunday_zero_offset());
                let moved = seconds + SECONDS_PER_DAY * (since_sunday(from) - since_sunday(to));
                moved / SECONDS_PER_DAY / DAYS_PER_WEEK
            }
            DateInterval::Hour => seconds / SECONDS_PER_HOUR,
            DateInterval::Minute => seconds / SECONDS_PER_MINUTE,
            DateInterval::Second => seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> UtcDateTime {
        UtcDateTime::parse(text).unwrap()
    }

    #[test]
    fn adding() {
        for (start, interval, count, expected) in [
            ("2024-02-29", "yyyy", 1, "2/28/2025 12:00:00 AM"),
            ("2024-01-31", "m", 1, "2/29/2024 12:00:00 AM"),
            ("2024-03-31", "m", -13, "2/28/2023 12:00:00 AM"),
            ("2024-11-30", "q", 1, "2/28/2025 12:00:00 AM"),
            ("2024-12-31T23:00:00Z", "d", 1, "1/1/2025 11:00:00 PM"),
            ("2024-12-31", "y", 1, "1/1/2025 12:00:00 AM"),
            ("2024-12-31", "W", 1, "1/1/2025 12:00:00 AM"),
            ("2024-12-31", "ww", -2, "12/17/2024 12:00:00 AM"),
            ("2024-03-10", "h", 49, "3/12/2024 1:00:00 AM"),
            ("2024-03-10", "n", 1441, "3/11/2024 12:01:00 AM"),
            ("2024-03-10", "s", -1, "3/9/2024 11:59:59 PM"),
        ] {
            let moved = date(start).add(DateInterval::parse(interval).unwrap(), count).unwrap();
            assert_eq!(moved.printed(), expected, "{start} {interval} {count}");
        }
    }

    #[test]
    fn adding_stays_within_the_calendar() {
        for interval in ["yyyy", "q", "m", "d", "w", "ww", "h", "n", "s"] {
            let interval = DateInterval::parse(interval).unwrap();
            for count in [i128::MAX, i128::from(i64::MAX), i128::from(i64::MIN), -400_000_000_000] {
                assert_eq!(date("2024-03-10").add(interval, count), None, "{interval:?} {count}");
            }
        }
        assert_eq!(date("9999-12-31T23:59:59Z").add(DateInterval::Second, 1), None);
        assert_eq!(date("0001-01-01").add(DateInterval::Second, -1), None);
    }

    #[test]
    fn differences() {
        for (interval, from, to, expected) in [
            ("yyyy", "2023-12-31", "2024-01-01", 1),
            ("q", "2023-12-31", "2024-01-01", 1),
            ("q", "2024-01-01", "2024-03-31", 0),
            ("m", "2024-05-31", "2023-04-30", -13),
            ("d", "2024-05-02T12:00:00Z", "2024-05-01T13:00:00Z", 0),
            ("d", "2024-05-01", "2024-06-01", 31),
            ("w", "2024-05-01", "2024-05-14", 1),
            // A Saturday and the Sunday after it; a Sunday and the Saturday after it.
            ("ww", "2024-05-04", "2024-05-05", 1),
            ("ww", "2024-05-05", "2024-05-11", 0),
            ("ww", "2024-05-05", "2024-05-04", -1),
            ("h", "2024-05-01T00:59:00Z", "2024-05-01T02:00:00Z", 1),
            ("n", "2024-05-01T00:00:59Z", "2024-05-01T00:02:00Z", 1),
            ("s", "2024-05-01", "2024-05-02T00:00:01Z", 86_401),
        ] {
            let counted = date(from).until(date(to), DateInterval::parse(interval).unwrap());
            assert_eq!(counted, expected, "{interval} {from} {to}");
        }
    }

    #[test]
    fn unknown_intervals_are_refused() {
        for text in ["", "day", "dd", "min"] {
            assert!(DateInterval::parse(text).unwrap_err().contains("yyyy, m, d"));
        }
    }
}
