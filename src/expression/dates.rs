//! Dates of the provisioning service: .NET's `DateTime` in UTC, years 1 to 9999, invariant culture.
//!
//! Values of the language are texts. A date function parses its arguments (`general`, or `exact` with a format) and
//! prints its result (`write` with a format, or the service's own notation).

mod arithmetic;
mod exact;
mod format;
mod general;
mod write;

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};

pub(super) use arithmetic::DateInterval;
pub(super) use exact::DateTimeStyles;
pub(super) use format::DateFormat;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Names of months and days are abbreviated to their first three letters.
const ABBREVIATED: usize = 3;

/// File times count steps of 100 ns from here.
const FILE_TIME_EPOCH: DateTime = date(1601, 1, 1).at(0, 0, 0, 0);

const NANOSECONDS_PER_TICK: i128 = 100;
const TICKS_PER_SECOND: i128 = 10_000_000;

/// .NET's `DateTimeKind`: the time zone that a date, now in UTC, was given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DateTimeKind {
    Unspecified,
    Utc,
    /// The time zone of the service, which is UTC as well.
    Local,
}

/// A date and time in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UtcDateTime {
    pub(super) civil: DateTime,
    zone: DateTimeKind,
}

impl UtcDateTime {
    /// `None` before the year 1, where .NET has no dates.
    fn new(civil: DateTime, zone: DateTimeKind) -> Option<Self> {
        (civil.year() >= 1).then_some(Self { civil, zone })
    }

    /// The date of a clock that is `offset` ahead of UTC.
    fn with_offset(civil: DateTime, offset: SignedDuration, zone: DateTimeKind) -> Option<Self> {
        Self::new(civil.checked_sub(offset).ok()?, zone)
    }

    pub(super) fn from_timestamp(now: jiff::Timestamp) -> Option<Self> {
        Self::new(jiff::tz::Offset::UTC.to_datetime(now), DateTimeKind::Utc)
    }

    /// Parses a text as `CDate` does.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        general::parse_date(text).map_err(|reason| format!("`{text}` is not a date that CDate can read: {reason}"))
    }

    /// Parses the result of [`Self::printed`].
    pub(super) fn from_printed(text: &str) -> Option<Self> {
        // Every text with a slash that `CDate` accepts is in this notation or means the same date.
        text.contains('/').then(|| general::parse_date(text).ok())?
    }

    /// The notation of the service: `M/d/yyyy h:mm:ss tt`.
    pub(super) fn printed(self) -> String {
        let time = self.civil;
        let (hour, half) = write::twelve_hours(time.hour());
        format!(
            "{}/{}/{:04} {hour}:{:02}:{:02} {half}",
            time.month(),
            time.day(),
            time.year(),
            time.minute(),
            time.second()
        )
    }

    /// The date of a file time of Active Directory, between the years 1601 and 9999.
    pub(super) fn from_file_time(ticks: i128) -> Option<Self> {
        let (seconds, rest) = (ticks.div_euclid(TICKS_PER_SECOND), ticks.rem_euclid(TICKS_PER_SECOND));
        let nanoseconds = i32::try_from(rest * NANOSECONDS_PER_TICK).ok()?;
        let since = SignedDuration::new(i64::try_from(seconds).ok()?, nanoseconds);
        if ticks < 0 {
            return None;
        }
        Self::new(FILE_TIME_EPOCH.checked_add(since).ok()?, DateTimeKind::Utc)
    }

    pub(super) fn file_time(self) -> Option<i128> {
        let ticks = self.civil.duration_since(FILE_TIME_EPOCH).as_nanos().div_euclid(NANOSECONDS_PER_TICK);
        (ticks >= 0).then_some(ticks)
    }
}

/// The index of the name at the start of `text`, ignoring case, and the rest of the text.
fn starts_with_name<'a>(text: &'a str, names: &[&str], abbreviated: bool) -> Option<(usize, &'a str)> {
    let length = |name: &str| if abbreviated { ABBREVIATED } else { name.len() };
    names.iter().enumerate().find_map(|(index, name)| {
        let head = text.get(..length(name))?;
        head.eq_ignore_ascii_case(&name[..length(name)]).then(|| (index, &text[head.len()..]))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn file_times() {
        let printed = |ticks| UtcDateTime::from_file_time(ticks).map(UtcDateTime::printed);
        assert_eq!(printed(0).as_deref(), Some("1/1/1601 12:00:00 AM"));
        assert_eq!(printed(133_000_000_000_000_000).as_deref(), Some("6/18/2022 4:26:40 AM"));
        assert_eq!(printed(-1), None);
        assert_eq!(printed(i128::from(i64::MAX)), None);
        assert_eq!(printed(i128::MAX), None);
        for ticks in [0, 1, 9_999_999, 133_000_000_000_000_001] {
            assert_eq!(UtcDateTime::from_file_time(ticks).and_then(UtcDateTime::file_time), Some(ticks));
        }
        assert_eq!(UtcDateTime::parse("1600-12-31").unwrap().file_time(), None);
    }

    #[test]
    fn printed_dates_can_be_parsed() {
        for text in ["1/2/0001 12:00:00 AM", "12/31/9999 11:59:59 PM", "7/4/2031 12:05:09 PM"] {
            assert_eq!(UtcDateTime::from_printed(text).map(UtcDateTime::printed).as_deref(), Some(text));
        }
        assert_eq!(UtcDateTime::from_printed("2031-07-04"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_a_date_panic(
            text in "([0-9]{1,4}|[-/: .,+TZ]|Jan|march|Mon|tuesday|AM|pm|é){0,12}",
            format in "([dfFghHKmMstyzZ]{1,9}|[-/: .,%'\"é]|\\\\){0,8}",
            count in any::<i64>(),
        ) {
            let now = UtcDateTime::parse("2031-07-04").unwrap();
            let dates = [UtcDateTime::parse(&text).ok(), UtcDateTime::from_file_time(count.into())];
            for date in dates.into_iter().flatten() {
                for interval in ["yyyy", "q", "m", "d", "w", "ww", "h", "n", "s"] {
                    let interval = DateInterval::parse(interval).unwrap();
                    let _ = date.add(interval, count.into()).map(|moved| now.until(moved, interval));
                }
                let printed = date.printed();
                prop_assert_eq!(UtcDateTime::from_printed(&printed).map(UtcDateTime::printed), Some(printed));
            }
            if let Ok(format) = DateFormat::parse(&format) {
                let written = now.write(&format);
                let _ = UtcDateTime::read_exactly(&written, &format, DateTimeStyles::service_default(), now);
                let _ = UtcDateTime::read_exactly(&text, &format, DateTimeStyles::service_default(), now);
            }
        }
    }
}
