//! Writes a date with a format.

use super::format::{DateFormat, FormatToken};
use super::{ABBREVIATED, DAYS, DateTimeKind, MONTHS, UtcDateTime};

/// The hour from 1 to 12, and AM or PM.
pub(super) fn twelve_hours(hour: i8) -> (i8, &'static str) {
    let half = if hour < 12 { "AM" } else { "PM" };
    (if hour % 12 == 0 { 12 } else { hour % 12 }, half)
}

impl UtcDateTime {
    pub(in crate::expression) fn write(self, format: &DateFormat) -> String {
        let mut text = String::new();
        for token in &format.tokens {
            match token {
                FormatToken::Literal(letter) => text.push(*letter),
                FormatToken::Zulu => text.push('Z'),
                // Trailing zeros are dropped; the decimal point too if nothing is left.
                FormatToken::Field('F', digits) => match fraction(self, *digits).trim_end_matches('0') {
                    "" if text.ends_with('.') => drop(text.pop()),
                    decimals => text.push_str(decimals),
                },
                FormatToken::Field(letter, count) => text.push_str(&self.field(*letter, *count)),
            }
        }
        text
    }

    fn field(self, letter: char, count: usize) -> String {
        let time = self.civil;
        let two = |number: i8| format!("{number:0width$}", width = count.min(2));
        let name = |name: &str| if count == ABBREVIATED { name[..ABBREVIATED].to_owned() } else { name.to_owned() };
        match letter {
            'd' if count > 2 => name(DAYS[usize::from(time.weekday().to_monday_zero_offset().unsigned_abs())]),
            'd' => two(time.day()),
            'f' => fraction(self, count),
            'g' => "A.D.".to_owned(),
            'H' => two(time.hour()),
            'h' => two(twelve_hours(time.hour()).0),
            'K' => match self.zone {
                DateTimeKind::Unspecified => String::new(),
                DateTimeKind::Utc => "Z".to_owned(),
                DateTimeKind::Local => "+00:00".to_owned(),
            },
            'M' if count > 2 => name(MONTHS[usize::from(time.month().unsigned_abs()) - 1]),
            'M' => two(time.month()),
            'm' => two(time.minute()),
            's' => two(time.second()),
            't' => twelve_hours(time.hour()).1[..count.min(2)].to_owned(),
            'y' if count > 2 => format!("{:0count$}", time.year()),
            'y' => format!("{:0count$}", time.year() % 100),
            'z' if count > 2 => "+00:00".to_owned(),
            'z' => format!("+{:0count$}", 0),
            _ => String::new(),
        }
    }
}

/// The first `digits` decimals of the second.
fn fraction(moment: UtcDateTime, digits: usize) -> String {
    let decimals = format!("{:09}", moment.civil.subsec_nanosecond());
    decimals.chars().take(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_written() {
        let moment = UtcDateTime::parse("2031-07-04T15:05:09.0450000+02:00").unwrap();
        for (format, expected) in [
            ("d/M/yy", "4/7/31"),
            ("ddd dddd MMM MMMM", "Fri Friday Jul July"),
            ("yyyy yyyyy %y", "2031 02031 31"),
            ("H:m:s hh tt t", "13:5:9 01 PM P"),
            ("ss.fff ss.ff ss.FFF ss.F", "09.045 09.04 09.045 09"),
            ("z zz zzz", "+0 +00 +00:00"),
            ("yyyyMMddHHmmssZ", "20310704130509Z"),
            ("'week of' dd \\d gg", "week of 04 d A.D."),
            ("s", "2031-07-04T13:05:09"),
            ("u", "2031-07-04 13:05:09Z"),
            ("R", "Fri, 04 Jul 2031 13:05:09 GMT"),
            ("G", "07/04/2031 13:05:09"),
        ] {
            assert_eq!(moment.write(&DateFormat::parse(format).unwrap()), expected, "{format}");
        }
        let midnight = UtcDateTime::parse("2031-07-04").unwrap();
        assert_eq!(midnight.write(&DateFormat::parse("h tt K|").unwrap()), "12 AM Z|");
    }
}
