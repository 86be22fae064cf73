//! Parses a date without a format: ISO 8601 and the notations common in the United States.
//!
//! .NET's `DateTime.Parse` accepts more: times without a date, dates without a year, other calendars. For those a mapping
//! needs `FormatDateTime` with a format.

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};

use super::{ABBREVIATED, DAYS, DateTimeKind, MONTHS, UtcDateTime, starts_with_name};

/// # Errors
/// The problem, without a quotation of the text.
pub(super) fn parse_date(text: &str) -> Result<UtcDateTime, &'static str> {
    let mut rest = text.trim();
    if let Some((_, after)) = name(rest, &DAYS) {
        rest = after.trim_start_matches(',').trim_start();
    }
    let (date, after) = read_date(rest).ok_or("no date at the start")?;
    let (time, after) = read_time(after).ok_or("invalid time after the date")?;
    let (offset, after) = read_offset(after).ok_or("invalid offset from UTC")?;
    if !after.trim().is_empty() {
        return Err("unexpected text after the date");
    }
    let civil = DateTime::from_parts(date, time);
    UtcDateTime::with_offset(civil, offset, DateTimeKind::Utc).ok_or("outside the calendar")
}

fn read_date(text: &str) -> Option<(Date, &str)> {
    if let Some((month, rest)) = name(text, &MONTHS) {
        let (day, rest) = digits(rest.trim_start(), 1, 2)?;
        let (year, rest) = digits(rest.trim_start_matches([',', ' ']), 4, 4)?;
        return Some((day_of(year, i16::try_from(month).ok()? + 1, day)?, rest));
    }
    let (first, rest) = digits(text, 1, 4)?;
    let is_year = text.len() - rest.len() == 4;
    if let Some((month, rest)) = name(rest.trim_start_matches(['-', ' ']), &MONTHS) {
        let (year, rest) = digits(rest.trim_start_matches(['-', ' ']), 4, 4)?;
        return Some((day_of(year, i16::try_from(month).ok()? + 1, first)?, rest));
    }
    let separator = rest.chars().next().filter(|sign| matches!(sign, '-' | '/' | '.'))?;
    let (second, rest) = digits(&rest[1..], 1, 2)?;
    let rest = rest.strip_prefix(separator)?;
    if is_year {
        let (day, rest) = digits(rest, 1, 2)?;
        Some((day_of(first, second, day)?, rest))
    } else {
        let (year, rest) = digits(rest, 4, 4)?;
        Some((day_of(year, first, second)?, rest))
    }
}

fn day_of(year: i16, month: i16, day: i16) -> Option<Date> {
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

/// The time; midnight when it is missing.
fn read_time(text: &str) -> Option<(Time, &str)> {
    let start = text.strip_prefix(['T', 't']).unwrap_or(text).trim_start();
    // Anything else can only be an offset.
    if !start.starts_with(|letter: char| letter.is_ascii_digit()) {
        return (start.len() == text.trim_start().len()).then_some((Time::midnight(), text));
    }
    let (hour, rest) = digits(start, 1, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(':')?, 2, 2)?;
    let (second, rest) = match rest.strip_prefix(':') {
        Some(rest) => digits(rest, 2, 2)?,
        None => (0, rest),
    };
    let (nanosecond, rest) = match rest.strip_prefix('.') {
        Some(decimals) => {
            let found = decimals.bytes().take_while(u8::is_ascii_digit).count();
            let nanosecond = format!("{:0<9}", &decimals[..found.min(9)]).parse().ok()?;
            (nanosecond, decimals.get(found..).filter(|_| found > 0)?)
        }
        None => (0, rest),
    };
    let half = rest.trim_start().get(..2).map(str::to_ascii_uppercase);
    let (hour, rest) = match half.as_deref() {
        Some("AM" | "PM") if !(1..=12).contains(&hour) => return None,
        Some("AM") => (hour % 12, &rest.trim_start()[2..]),
        Some("PM") => (hour % 12 + 12, &rest.trim_start()[2..]),
        _ => (hour, rest),
    };
    let small = |number: i16| i8::try_from(number).ok();
    Some((Time::new(small(hour)?, small(minute)?, small(second)?, nanosecond).ok()?, rest))
}

/// The offset from UTC; zero when it is missing.
fn read_offset(text: &str) -> Option<(SignedDuration, &str)> {
    let text = text.trim_start();
    for zulu in ["Z", "z", "GMT", "UTC"] {
        if let Some(rest) = text.strip_prefix(zulu) {
            return Some((SignedDuration::ZERO, rest));
        }
    }
    let sign = match text.chars().next() {
        Some('+') => 1,
        Some('-') => -1,
        _ => return Some((SignedDuration::ZERO, text)),
    };
    let ((hours, minutes), rest) = match digits(&text[1..], 4, 4) {
        Some((both, rest)) => ((both / 100, both % 100), rest),
        None => {
            let (hours, rest) = digits(&text[1..], 1, 2)?;
            let (minutes, rest) = rest.strip_prefix(':').map_or(Some((0, rest)), |rest| digits(rest, 2, 2))?;
            ((hours, minutes), rest)
        }
    };
    let total = i64::from(hours) * 60 + i64::from(minutes);
    // .NET allows offsets of at most 14 hours.
    (minutes < 60 && total <= 14 * 60).then(|| (SignedDuration::from_mins(sign * total), rest))
}

/// The index of a full or abbreviated name, and the rest of the text.
fn name<'a>(text: &'a str, names: &[&str]) -> Option<(usize, &'a str)> {
    let found = starts_with_name(text, names, false).or_else(|| starts_with_name(text, names, true))?;
    let rest = if text.len() - found.1.len() == ABBREVIATED { found.1.trim_start_matches('.') } else { found.1 };
    (!rest.starts_with(char::is_alphabetic)).then_some((found.0, rest))
}

/// The number of `least` to `most` digits, and the rest of the text.
fn digits(text: &str, least: usize, most: usize) -> Option<(i16, &str)> {
    let found = text.bytes().take_while(u8::is_ascii_digit).count();
    if !(least..=most).contains(&found) {
        return None;
    }
    Some((text[..found].parse().ok()?, &text[found..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_notations() {
        for (text, expected) in [
            ("2029-07-04", "7/4/2029 12:00:00 AM"),
            ("2029-7-4", "7/4/2029 12:00:00 AM"),
            ("2029/07/04 13:05", "7/4/2029 1:05:00 PM"),
            ("2029-07-04+02:00", "7/3/2029 10:00:00 PM"),
            ("2029-07-04-0530", "7/4/2029 5:30:00 AM"),
            ("2029-07-04Z", "7/4/2029 12:00:00 AM"),
            ("2029-07-04T13:05:09Z", "7/4/2029 1:05:09 PM"),
            ("2029-07-04T13:05:09.1234567+01:00", "7/4/2029 12:05:09 PM"),
            ("2029-07-04 23:59:59-08:00", "7/5/2029 7:59:59 AM"),
            ("7/4/2029", "7/4/2029 12:00:00 AM"),
            ("7/4/2029 12:05:09 AM", "7/4/2029 12:05:09 AM"),
            (" 07/04/2029 1:05 pm ", "7/4/2029 1:05:00 PM"),
            ("7-4-2029", "7/4/2029 12:00:00 AM"),
            ("4 July 2029", "7/4/2029 12:00:00 AM"),
            ("4-Jul-2029", "7/4/2029 12:00:00 AM"),
            ("Jul. 4, 2029", "7/4/2029 12:00:00 AM"),
            ("July 4, 2029 8:00 AM", "7/4/2029 8:00:00 AM"),
            ("Wed, 04 Jul 2029 13:05:09 GMT", "7/4/2029 1:05:09 PM"),
            ("9999-12-31", "12/31/9999 12:00:00 AM"),
        ] {
            assert_eq!(parse_date(text).map(UtcDateTime::printed).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "soon",
            "2029",
            "2029-13-01",
            "2029-02-29",
            "13/1/2029",
            "7/4/29",
            "2029-07-04T",
            "2029-07-04T25:00",
            "2029-07-04 13:05 PM",
            "2029-07-04 10:00:60",
            "2029-07-04 10:00:00.",
            "2029-07-04+25:00",
            "2029-07-04+01:60",
            "July. 4, 2029",
            "2029-07-04 x",
            "20290704",
            "0001-01-01+01:00",
            "9999-12-31T23:59:59-01:00",
            "0000-01-01",
            "Jul",
            "4 Julian 2029",
            "é",
        ] {
            assert!(parse_date(text).is_err(), "{text}");
        }
    }
}
