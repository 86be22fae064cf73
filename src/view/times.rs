//! Times as options and the fields of the status page give them.

use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::{Span, Timestamp, tz::TimeZone};

const FORMS: &str = "2026-01-02 or 2026-01-02 03:04 in local time, 2026-01-02T03:04:05Z, or an age such as 2h or 7d";

/// A time whose meaning depends on the time zone and the present time.
#[derive(Clone, Debug)]
pub(crate) enum GivenTime {
    Instant(Timestamp),
    Local(DateTime),
    Age(Span),
}

impl FromStr for GivenTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The parsers of jiff also accept shorter numbers, other separators and negative ages.
        let has_form = |form: &str| {
            let fits =
                |(form, letter): (char, char)| if form == '0' { letter.is_ascii_digit() } else { form == letter };
            text.chars().count() == form.len() && form.chars().zip(text.chars()).all(fits)
        };
        let local = |form: &str, format: &str| {
            let time = has_form(form).then(|| DateTime::strptime(format, text).ok()).flatten()?;
            Some(Self::Local(time))
        };
        let day = || {
            let day = has_form("0000-00-00").then(|| Date::strptime("%Y-%m-%d", text).ok()).flatten()?;
            Some(Self::Local(day.at(0, 0, 0, 0)))
        };
        let instant = || {
            let begins = text.get(..19).is_some_and(|begin| {
                let begin: String =
                    begin.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
                begin == "0000-00-00T00:00:00"
            });
            // An annotation in brackets belongs to RFC 9557.
            if !begins || text.contains('[') {
                return None;
            }
            text.parse().ok().map(Self::Instant)
        };
        let age = || {
            let is_age = text.starts_with(|letter: char| letter.is_ascii_digit())
                && text.chars().all(|letter| letter.is_ascii_digit() || letter.is_ascii_lowercase());
            let age: Span = is_age.then(|| text.parse().ok()).flatten()?;
            Some(Self::Age(age))
        };
        day()
            .or_else(|| local("0000-00-00 00:00", "%Y-%m-%d %H:%M"))
            .or_else(|| local("0000-00-00 00:00:00", "%Y-%m-%d %H:%M:%S"))
            .or_else(instant)
            .or_else(age)
            .ok_or_else(|| format!("not a time; write {FORMS}"))
    }
}

impl GivenTime {
    /// The instant. A local time that a change of the clocks skips is the one an hour later; one that occurs twice is the
    /// first.
    pub(crate) fn at(&self, now: Timestamp, local: &TimeZone) -> Result<Timestamp, String> {
        let instant = match self {
            Self::Instant(at) => Ok(*at),
            Self::Local(time) => local.to_timestamp(*time),
            // A day of an age has 24 hours.
            Self::Age(age) => now.to_zoned_datetime(TimeZone::UTC).checked_sub(*age).map(|at| at.timestamp()),
        };
        instant.map_err(|_| format!("the time is out of range; write {FORMS}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_local_times_instants_and_ages_are_times() {
        let now: Timestamp = "2026-01-10T12:00:00Z".parse().unwrap();
        let local = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let at = |text: &str| {
            let given: GivenTime = text.parse().map_err(|_| ())?;
            given.at(now, &local).map(|at| at.to_string()).map_err(|_| ())
        };
        for (text, expected) in [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05.5Z", "2026-01-02T03:04:05.5Z"),
            ("2026-01-02T03:04:05-01:00", "2026-01-02T04:04:05Z"),
            ("2026-01-02", "2026-01-01T23:00:00Z"),
            ("2026-01-02 03:04", "2026-01-02T02:04:00Z"),
            ("2026-01-02 03:04:05", "2026-01-02T02:04:05Z"),
            ("2026-01-02 23:59", "2026-01-02T22:59:00Z"),
            // Skipped, and twice.
            ("2026-03-29 02:30", "2026-03-29T01:30:00Z"),
            ("2026-10-25 02:30", "2026-10-25T00:30:00Z"),
            ("7d", "2026-01-03T12:00:00Z"),
            ("90m", "2026-01-10T10:30:00Z"),
            ("1h30m", "2026-01-10T10:30:00Z"),
        ] {
            assert_eq!(at(text), Ok(expected.to_owned()), "{text}");
        }
        for text in [
            "yesterday",
            "2026-01-02T03:04:05",
            "2026-01-02 03",
            "2026-01-02 25:00",
            "2026-02-30",
            "",
            "03:04",
            "-2h",
            "2h ago",
            "P7D",
            "7",
            "2026-1-2",
            "2026-01-02 3:04",
            "2026-01-02 03:04Z",
            "20260102T030405Z",
            "9999999999d",
            "2026-01-02T03:04:05Z[UTC]",
            "2026-01-02 ",
            " 7d",
            "2026-01-02 03:04:05 am",
            "10000-01-01",
            "2026-01-0२",
        ] {
            assert_eq!(at(text), Err(()), "{text}");
        }
    }
}
