//! Parses a date with a format, as .NET's `DateTime.ParseExact` does.

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};

use super::format::{DateFormat, FRACTION_DIGITS, FormatToken};
use super::{DAYS, DateTimeKind, MONTHS, UtcDateTime, starts_with_name};

/// Two-digit years up to this one are in this century, as in Windows and .NET 8.
const LAST_TWO_DIGIT_YEAR: i32 = 49;

/// .NET's `DateTimeStyles`: allowed white space and assumed time zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent flags in .NET as well")]
pub(crate) struct DateTimeStyles {
    leading_white: bool,
    trailing_white: bool,
    inner_white: bool,
    /// A time without a date is on the first day of the calendar instead of today.
    no_current_date: bool,
    to_universal: bool,
    assume_local: bool,
    assume_universal: bool,
    roundtrip: bool,
}

impl DateTimeStyles {
    /// The styles of the service, where a mapping gives none.
    pub(in crate::expression) fn service_default() -> Self {
        Self { leading_white: true, trailing_white: true, roundtrip: true, ..Self::default() }
    }

    /// Parses names of .NET's enumeration, separated by commas.
    pub(in crate::expression) fn parse(text: &str) -> Result<Self, String> {
        let mut styles = Self::default();
        for name in text.split([',', '|']) {
            let name = name.trim();
            let name = name.strip_prefix("DateTimeStyles.").unwrap_or(name);
            match name.to_ascii_lowercase().as_str() {
                "none" => {}
                "allowleadingwhite" => styles.leading_white = true,
                "allowtrailingwhite" => styles.trailing_white = true,
                "allowinnerwhite" => styles.inner_white = true,
                "allowwhitespaces" => {
                    (styles.leading_white, styles.trailing_white, styles.inner_white) = (true, true, true);
                }
                "nocurrentdatedefault" => styles.no_current_date = true,
                "adjusttouniversal" => styles.to_universal = true,
                "assumelocal" => styles.assume_local = true,
                "assumeuniversal" => styles.assume_universal = true,
                "roundtripkind" => styles.roundtrip = true,
                _ => return Err(format!("`{name}` is not a DateTimeStyles value")),
            }
        }
        let zoned = styles.assume_local || styles.assume_universal || styles.to_universal;
        if styles.assume_local && styles.assume_universal || styles.roundtrip && zoned {
            return Err(format!("the DateTimeStyles `{text}` contradict each other"));
        }
        Ok(styles)
    }

    fn zone(self, stated: Option<StatedOffset>) -> DateTimeKind {
        match stated {
            _ if self.to_universal && (stated.is_some() || self.assume_local || self.assume_universal) => {
                DateTimeKind::Utc
            }
            Some(StatedOffset { zulu: true, .. }) if self.roundtrip => DateTimeKind::Utc,
            Some(_) => DateTimeKind::Local,
            None if self.assume_local || self.assume_universal => DateTimeKind::Local,
            None => DateTimeKind::Unspecified,
        }
    }
}

/// The offset that a text states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StatedOffset {
    offset: SignedDuration,
    zulu: bool,
}

const ZULU: StatedOffset = StatedOffset { offset: SignedDuration::ZERO, zulu: true };

/// The fields parsed so far.
#[derive(Debug, Default)]
struct ParsedFields {
    year: Option<i32>,
    month: Option<i32>,
    day: Option<i32>,
    hour: Option<i32>,
    minute: Option<i32>,
    second: Option<i32>,
    nanosecond: i32,
    weekday: Option<usize>,
    is_afternoon: Option<bool>,
    twelve_hours: bool,
    stated: Option<StatedOffset>,
}

impl UtcDateTime {
    /// Parses `text` with `format`. Missing parts of the date come from `now`.
    pub(in crate::expression) fn read_exactly(
        text: &str,
        format: &DateFormat,
        styles: DateTimeStyles,
        now: Self,
    ) -> Option<Self> {
        let mut rest = text;
        if styles.leading_white || styles.inner_white {
            rest = rest.trim_start();
        }
        let mut fields = ParsedFields::default();
        let mut tokens = format.tokens.iter().peekable();
        while let Some(token) = tokens.next() {
            if styles.inner_white {
                rest = rest.trim_start();
            }
            rest = match token {
                FormatToken::Literal(' ') if styles.inner_white => rest,
                // In `.F`, the point may be missing together with the decimals.
                FormatToken::Literal('.')
                    if !rest.starts_with('.') && matches!(tokens.peek(), Some(FormatToken::Field('F', _))) =>
                {
                    tokens.next();
                    rest
                }
                FormatToken::Literal(letter) => rest.strip_prefix(*letter)?,
                FormatToken::Zulu => {
                    fields.stated = Some(ZULU);
                    rest.strip_prefix(['Z', 'z']).or_else(|| rest.strip_prefix("GMT"))?
                }
                FormatToken::Field(letter, count) => fields.read(*letter, *count, rest)?,
            };
        }
        if styles.trailing_white || styles.inner_white {
            rest = rest.trim_start();
        }
        if rest.is_empty() { fields.moment(styles, now) } else { None }
    }
}

impl ParsedFields {
    /// Parses one field at the start of `rest` and returns the text after it.
    fn read<'a>(&mut self, letter: char, count: usize, rest: &'a str) -> Option<&'a str> {
        match letter {
            'd' if count > 2 => {
                let (index, rest) = starts_with_name(rest, &DAYS, count == 3)?;
                self.weekday = Some(index);
                Some(rest)
            }
            'd' => number(rest, count, &mut self.day),
            'F' => self.fraction(rest, count, false),
            'f' => self.fraction(rest, count, true),
            'g' => rest.strip_prefix("A.D.").or_else(|| rest.strip_prefix("AD")),
            'H' => number(rest, count.min(2), &mut self.hour),
            'h' => {
                self.twelve_hours = true;
                number(rest, count.min(2), &mut self.hour)
            }
            'K' => match rest.chars().next() {
                Some('Z' | 'z') => {
                    self.stated = Some(ZULU);
                    Some(&rest[1..])
                }
                Some('+' | '-') => self.offset(rest, 3),
                _ => Some(rest),
            },
            'M' if count > 2 => {
                let (index, rest) = starts_with_name(rest, &MONTHS, count == 3)?;
                put(&mut self.month, i32::try_from(index + 1).ok()?)?;
                Some(rest)
            }
            'M' => number(rest, count, &mut self.month),
            'm' => number(rest, count.min(2), &mut self.minute),
            's' => number(rest, count.min(2), &mut self.second),
            't' => self.half(rest, count),
            'y' if count > 2 => number(rest, count, &mut self.year),
            'y' => {
                let mut year = None;
                let rest = number(rest, count, &mut year)?;
                let century = if year? > LAST_TWO_DIGIT_YEAR { 1900 } else { 2000 };
                put(&mut self.year, year? + century)?;
                Some(rest)
            }
            'z' => self.offset(rest, count),
            _ => None,
        }
    }

    /// Decimals of the second: exactly `count`, or at most.
    fn fraction<'a>(&mut self, rest: &'a str, count: usize, exactly: bool) -> Option<&'a str> {
        let found = rest.bytes().take(count).take_while(u8::is_ascii_digit).count();
        if exactly && found < count {
            return None;
        }
        let digits = format!("{:0<9}", &rest[..found.min(FRACTION_DIGITS)]);
        self.nanosecond = digits.parse().ok()?;
        Some(&rest[found..])
    }

    fn half<'a>(&mut self, rest: &'a str, count: usize) -> Option<&'a str> {
        let length = count.min(2);
        let word = rest.get(..length)?;
        let is = |half: &str| word.eq_ignore_ascii_case(&half[..length]);
        let is_afternoon = match (is("AM"), is("PM")) {
            (true, _) => false,
            (_, true) => true,
            _ => return None,
        };
        self.is_afternoon = Some(is_afternoon);
        Some(&rest[length..])
    }

    /// `+h`, `+hh`, `+hh:mm` or `+hhmm`.
    fn offset<'a>(&mut self, rest: &'a str, count: usize) -> Option<&'a str> {
        let sign = match rest.chars().next()? {
            '+' => 1,
            '-' => -1,
            _ => return None,
        };
        let (mut hours, mut minutes) = (None, None);
        let mut rest = number(&rest[1..], if count == 2 { 2 } else { 1 }, &mut hours)?;
        if count > 2 {
            rest = number(rest.strip_prefix(':').unwrap_or(rest), 2, &mut minutes)?;
        }
        let (hours, minutes) = (hours?, minutes.unwrap_or(0));
        let total = sign * i64::from(hours * 60 + minutes);
        // .NET allows offsets of at most 14 hours.
        if minutes > 59 || total.abs() > 14 * 60 {
            return None;
        }
        self.stated = Some(StatedOffset { offset: SignedDuration::from_mins(total), zulu: false });
        Some(rest)
    }

    /// Combines the fields.
    fn moment(self, styles: DateTimeStyles, now: UtcDateTime) -> Option<UtcDateTime> {
        let hour = self.hour()?;
        let Self { year, month, day, hour: _, minute, second, nanosecond, weekday, .. } = self;
        let today = if styles.no_current_date { Date::constant(1, 1, 1) } else { now.civil.date() };
        let date = match (year, month, day) {
            (None, None, None) => today,
            (year, month, day) => {
                let year = year.unwrap_or_else(|| i32::from(now.civil.year()));
                let month = i8::try_from(month.unwrap_or(1)).ok()?;
                Date::new(i16::try_from(year).ok()?, month, i8::try_from(day.unwrap_or(1)).ok()?).ok()?
            }
        };
        let found = usize::from(date.weekday().to_monday_zero_offset().unsigned_abs());
        if weekday.is_some_and(|stated| stated != found) {
            return None;
        }
        let small = |field: Option<i32>| i8::try_from(field.unwrap_or(0)).ok();
        // jiff accepts a leap second; .NET does not.
        let second = small(second).filter(|second| *second < 60)?;
        let time = Time::new(i8::try_from(hour).ok()?, small(minute)?, second, nanosecond).ok()?;
        let offset = self.stated.map_or(SignedDuration::ZERO, |stated| stated.offset);
        UtcDateTime::with_offset(DateTime::from_parts(date, time), offset, styles.zone(self.stated))
    }

    /// The hour from 0 to 23.
    fn hour(&self) -> Option<i32> {
        let hour = self.hour.unwrap_or(0);
        match (self.twelve_hours, self.is_afternoon) {
            (true, _) if hour > 12 => None,
            (true, Some(true)) => Some(if hour == 12 { 12 } else { hour + 12 }),
            // Without AM or PM, .NET assumes AM.
            (true, _) => Some(if hour == 12 { 0 } else { hour }),
            (false, Some(true)) if hour < 12 => None,
            (false, Some(false)) if hour >= 12 => None,
            (false, _) => Some(hour),
        }
    }
}

/// Parses exactly `count` digits; for a count of 1, one or two.
fn number<'a>(rest: &'a str, count: usize, field: &mut Option<i32>) -> Option<&'a str> {
    let (least, most) = if count == 1 { (1, 2) } else { (count, count) };
    let found = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if found < least {
        return None;
    }
    put(field, rest[..found].parse().ok()?)?;
    Some(&rest[found..])
}

/// Sets a field. A field that appears twice must have the same value.
fn put(field: &mut Option<i32>, value: i32) -> Option<()> {
    (field.is_none() || *field == Some(value)).then(|| *field = Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, format: &str, styles: &str) -> Option<String> {
        let styles =
            if styles.is_empty() { DateTimeStyles::service_default() } else { DateTimeStyles::parse(styles).unwrap() };
        let now = UtcDateTime::parse("2031-07-04T15:00:00Z").unwrap();
        let moment = UtcDateTime::read_exactly(text, &DateFormat::parse(format).unwrap(), styles, now)?;
        Some(moment.write(&DateFormat::parse("yyyy-MM-ddTHH:mm:ss.FFFFFFFK").unwrap()))
    }

    #[test]
    fn matching_dates() {
        for (text, format, styles, expected) in [
            ("4/7/2029", "d/M/yyyy", "", "2029-07-04T00:00:00"),
            (" 04.07.29 ", "dd.MM.yy", "", "2029-07-04T00:00:00"),
            ("050350", "ddMMyy", "", "1950-03-05T00:00:00"),
            ("7/4/2029 12:30 am", "M/d/yyyy h:mm tt", "", "2029-07-04T00:30:00"),
            ("7/4/2029 12:30P", "M/d/yyyy h:mmt", "", "2029-07-04T12:30:00"),
            ("2029-07-04-07:00", "yyyy-MM-ddzzz", "", "2029-07-04T07:00:00+00:00"),
            ("2029-07-04 +0530", "yyyy-MM-dd zzz", "", "2029-07-03T18:30:00+00:00"),
            ("2029-07-04T01:02:03.5Z", "yyyy-MM-ddTHH:mm:ss.fK", "", "2029-07-04T01:02:03.5Z"),
            ("20290704010203.25Z", "yyyyMMddHHmmss.FFFZ", "", "2029-07-04T01:02:03.25Z"),
            ("20290704010203Z", "yyyyMMddHHmmss.FFFZ", "", "2029-07-04T01:02:03Z"),
            ("2029-07-04T01:02:03+02:00", "yyyy-MM-ddTHH:mm:ssK", "AdjustToUniversal", "2029-07-03T23:02:03Z"),
            ("2029-07-04", "yyyy-MM-dd", "AssumeUniversal, AdjustToUniversal", "2029-07-04T00:00:00Z"),
            ("2029-07-04", "yyyy-MM-dd", "AssumeLocal", "2029-07-04T00:00:00+00:00"),
            ("4  July2029", "d MMMM yyyy", "AllowWhiteSpaces", "2029-07-04T00:00:00"),
            ("Wed, 4 jul 2029", "ddd, d MMM yyyy", "", "2029-07-04T00:00:00"),
            ("13:05", "HH:mm", "", "2031-07-04T13:05:00"),
            ("13:05", "HH:mm", "NoCurrentDateDefault", "0001-01-01T13:05:00"),
            ("May 2029", "MMMM yyyy", "", "2029-05-01T00:00:00"),
            ("2029-07-04T01:02:03", "s", "", "2029-07-04T01:02:03"),
        ] {
            assert_eq!(read(text, format, styles).as_deref(), Some(expected), "{text} {format}");
        }
    }

    #[test]
    fn other_dates_are_refused() {
        for (text, format, styles) in [
            ("", "yyyy-MM-dd", ""),
            ("2029-7-4", "yyyy-MM-dd", ""),
            ("2029-07-04x", "yyyy-MM-dd", ""),
            (" 2029-07-04", "yyyy-MM-dd", "None"),
            ("2029-02-30", "yyyy-MM-dd", ""),
            ("2029-07-04 13:00", "yyyy-MM-dd hh:mm", ""),
            ("2029-07-04 13:00 AM", "yyyy-MM-dd HH:mm tt", ""),
            ("2029-07-04 10:00:60", "yyyy-MM-dd HH:mm:ss", ""),
            ("Thu 4 Jul 2029", "ddd d MMM yyyy", ""),
            ("2029-07-04+15:00", "yyyy-MM-ddzzz", ""),
            ("0001-01-01+14:00", "yyyy-MM-ddzzz", ""),
            ("0000-01-01", "yyyy-MM-dd", ""),
            ("2029 2030", "yyyy yyyy", ""),
            ("é", "dd", ""),
        ] {
            assert_eq!(read(text, format, styles), None, "{text} {format}");
        }
    }

    #[test]
    fn styles_are_parsed_by_name() {
        assert!(
            DateTimeStyles::parse("DateTimeStyles.RoundtripKind | allowLeadingWhite, AllowTrailingWhite")
                == Ok(DateTimeStyles::service_default())
        );
        assert!(DateTimeStyles::parse("AssumeUTC").is_err());
        assert!(DateTimeStyles::parse("RoundtripKind, AssumeLocal").is_err());
    }
}
