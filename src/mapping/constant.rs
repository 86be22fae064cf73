//! Arguments that are read as something else than text: numbers, intervals, patterns, formats.
//!
//! A constant one is read when the mapping is compiled, so that a slip in it is found before a user is looked at
//! and no cycle compiles a pattern twice. One that depends on the user is read at each evaluation.

use super::dates::{Format, Interval, Moment, Styles};
use super::words::{CompareType, Encoding};
use crate::entra::pattern::Pattern;

/// What an argument is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Interval,
    Date,
    Styles,
    Format,
    Encoding,
    CompareType,
    Pattern,
}

/// An argument of a function that is not just text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) index: usize,
    pub(super) kind: Kind,
    /// Whether the function is senseless without it.
    pub(super) required: bool,
}

/// An argument that must be there.
pub(super) const fn needs(index: usize, kind: Kind) -> Slot {
    Slot { index, kind, required: true }
}

/// An argument that may be left out.
pub(super) const fn takes(index: usize, kind: Kind) -> Slot {
    Slot { index, kind, required: false }
}

/// A whole number: anything that 64 bits hold, with or without a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Integer(pub(super) i128);

/// A constant argument, read.
#[derive(Clone, Debug)]
pub(super) enum Constant {
    Integer(Integer),
    Interval(Interval),
    Date(Moment),
    Styles(Styles),
    Format(Format),
    Encoding(Encoding),
    CompareType(CompareType),
    Pattern(Box<Pattern>),
}

/// What can be read from an argument.
pub(super) trait Readable: Clone {
    /// What the argument has to be, for the message that it is not.
    const EXPECTED: &str;

    /// What `text` says, or what is wrong with it: only shown when the text stands in the mapping itself.
    fn read(text: &str) -> Result<Self, String>;

    /// The constant, when it is of this kind.
    fn of(constant: &Constant) -> Option<&Self>;
}

impl Kind {
    /// Reads a constant argument.
    pub(super) fn read(self, text: &str) -> Result<Constant, String> {
        Ok(match self {
            Self::Integer => Constant::Integer(Integer::read(text)?),
            Self::Interval => Constant::Interval(Interval::read(text)?),
            Self::Date => Constant::Date(Moment::read(text)?),
            Self::Styles => Constant::Styles(Styles::read(text)?),
            Self::Format => Constant::Format(Format::read(text)?),
            Self::Encoding => Constant::Encoding(Encoding::read(text)?),
            Self::CompareType => Constant::CompareType(CompareType::read(text)?),
            Self::Pattern => Constant::Pattern(Box::new(Pattern::read(text)?)),
        })
    }

    /// What the argument has to be.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Integer => Integer::EXPECTED,
            Self::Interval => Interval::EXPECTED,
            Self::Date => Moment::EXPECTED,
            Self::Styles => Styles::EXPECTED,
            Self::Format => Format::EXPECTED,
            Self::Encoding => Encoding::EXPECTED,
            Self::CompareType => CompareType::EXPECTED,
            Self::Pattern => Pattern::EXPECTED,
        }
    }

    /// Whether the constant may be a bare word such as `vbTextCompare`.
    pub(super) fn is_word(self) -> bool {
        matches!(self, Self::Encoding | Self::CompareType)
    }
}

impl Constant {
    /// The one spelling of a constant that is a bare word.
    pub(super) fn word(&self) -> Option<&'static str> {
        match self {
            Self::Encoding(encoding) => Some(encoding.as_str()),
            Self::CompareType(compare) => Some(compare.as_str()),
            _ => None,
        }
    }
}

/// Implements [`Readable::of`].
macro_rules! of {
    ($variant:ident) => {
        fn of(constant: &Constant) -> Option<&Self> {
            match constant {
                Constant::$variant(read) => Some(read),
                _ => None,
            }
        }
    };
}

impl Readable for Integer {
    const EXPECTED: &str = "a whole number";

    /// Decimals are cut off, as Visual Basic does where a whole number is wanted; `&HF7` is fifteen times sixteen and 7.
    fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let hexadecimal = text.strip_prefix("&H").or_else(|| text.strip_prefix("&h"));
        let whole = match (hexadecimal, text.split_once('.')) {
            (Some(digits), _) if !digits.starts_with(['+', '-']) => i128::from_str_radix(digits, 16).ok(),
            (None, Some((whole, decimals))) if decimals.bytes().all(|byte| byte.is_ascii_digit()) => whole.parse().ok(),
            (None, None) => text.parse().ok(),
            _ => None,
        };
        let fits = |number: &i128| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(number);
        whole.filter(fits).map(Self).ok_or_else(|| format!("`{text}` is no whole number"))
    }

    of!(Integer);
}

impl Readable for Interval {
    const EXPECTED: &str = "an interval such as \"d\"";

    fn read(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    of!(Interval);
}

impl Readable for Moment {
    const EXPECTED: &str = "a date";

    fn read(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|reason| format!("`{text}` is no date that CDate reads: {reason}"))
    }

    of!(Date);
}

impl Readable for Styles {
    const EXPECTED: &str = "the name of a DateTimeStyles value";

    fn read(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    of!(Styles);
}

impl Readable for Format {
    const EXPECTED: &str = "a date format";

    fn read(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|reason| format!("`{text}` is no date format: {reason}"))
    }

    of!(Format);
}

impl Readable for Encoding {
    const EXPECTED: &str = "an encoding: UTF8, ASCII or Unicode";

    fn read(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    of!(Encoding);
}

impl Readable for CompareType {
    const EXPECTED: &str = "vbTextCompare or vbBinaryCompare";

    fn read(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    of!(CompareType);
}

impl Readable for Pattern {
    const EXPECTED: &str = "a regular expression";

    fn read(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    of!(Pattern);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_in_every_spelling() {
        let read = |text| Integer::read(text).ok().map(|Integer(number)| number);
        for (text, expected) in [
            ("12", Some(12)),
            (" -3 ", Some(-3)),
            ("7.9", Some(7)),
            ("&HfF", Some(255)),
            ("18446744073709551615", Some(18_446_744_073_709_551_615)),
            ("18446744073709551616", None),
            ("", None),
            ("seven", None),
            ("1e3", None),
            ("1.x", None),
            ("&H-1", None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
