//! Arguments that are more than text: numbers, dates, intervals, formats, patterns.
//!
//! A constant argument is parsed when the expression is compiled: mistakes are found at the start, and no cycle compiles
//! a pattern twice. An argument that depends on the user is parsed at each evaluation.

use super::dates::{DateFormat, DateInterval, DateTimeStyles, UtcDateTime};
use super::keyword::{CompareType, Encoding};
use super::pattern::Pattern;

/// The type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConstantKind {
    Integer,
    DateInterval,
    Date,
    DateTimeStyles,
    DateFormat,
    Encoding,
    CompareType,
    Pattern,
}

/// An argument of a function that is more than text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameter {
    pub(super) index: usize,
    pub(super) kind: ConstantKind,
    pub(super) required: bool,
}

/// A required argument.
pub(super) const fn needs(index: usize, kind: ConstantKind) -> Parameter {
    Parameter { index, kind, required: true }
}

/// An optional argument.
pub(super) const fn accepts(index: usize, kind: ConstantKind) -> Parameter {
    Parameter { index, kind, required: false }
}

/// A whole number of 64 bits, signed or unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Integer(pub(super) i128);

/// A parsed constant argument.
#[derive(Clone, Debug)]
pub(crate) enum ConstantArgument {
    Integer(Integer),
    DateInterval(DateInterval),
    Date(UtcDateTime),
    DateTimeStyles(DateTimeStyles),
    DateFormat(DateFormat),
    Encoding(Encoding),
    CompareType(CompareType),
    Pattern(Box<Pattern>),
}

/// A type that an argument can be parsed to.
pub(super) trait ArgumentType: Clone {
    /// Completes the message "must be ..."; it names the expected form.
    const EXPECTED: &str;

    /// # Errors
    /// What is wrong with `text`. It quotes the text, so it is shown only for constants, never for values of a user.
    fn parse_argument(text: &str) -> Result<Self, String>;

    /// The constant, if it has this type.
    fn from_constant(constant: &ConstantArgument) -> Option<&Self>;
}

impl ConstantKind {
    /// Parses a constant argument.
    pub(super) fn parse(self, text: &str) -> Result<ConstantArgument, String> {
        Ok(match self {
            Self::Integer => ConstantArgument::Integer(Integer::parse_argument(text)?),
            Self::DateInterval => ConstantArgument::DateInterval(DateInterval::parse_argument(text)?),
            Self::Date => ConstantArgument::Date(UtcDateTime::parse_argument(text)?),
            Self::DateTimeStyles => ConstantArgument::DateTimeStyles(DateTimeStyles::parse_argument(text)?),
            Self::DateFormat => ConstantArgument::DateFormat(DateFormat::parse_argument(text)?),
            Self::Encoding => ConstantArgument::Encoding(Encoding::parse_argument(text)?),
            Self::CompareType => ConstantArgument::CompareType(CompareType::parse_argument(text)?),
            Self::Pattern => ConstantArgument::Pattern(Box::new(Pattern::parse_argument(text)?)),
        })
    }

    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Integer => Integer::EXPECTED,
            Self::DateInterval => DateInterval::EXPECTED,
            Self::Date => UtcDateTime::EXPECTED,
            Self::DateTimeStyles => DateTimeStyles::EXPECTED,
            Self::DateFormat => DateFormat::EXPECTED,
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

impl ConstantArgument {
    /// The canonical spelling of a constant that is a bare word.
    pub(super) fn word(&self) -> Option<&'static str> {
        match self {
            Self::Encoding(encoding) => Some(encoding.as_str()),
            Self::CompareType(compare) => Some(compare.as_str()),
            _ => None,
        }
    }
}

/// Implements [`ArgumentType::from_constant`].
macro_rules! from_constant {
    ($variant:ident) => {
        fn from_constant(constant: &ConstantArgument) -> Option<&Self> {
            match constant {
                ConstantArgument::$variant(constant) => Some(constant),
                _ => None,
            }
        }
    };
}

impl ArgumentType for Integer {
    const EXPECTED: &str = "a whole number";

    /// Decimals are cut off, as in Visual Basic. `&HF7` is hexadecimal.
    fn parse_argument(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let hexadecimal = text.strip_prefix("&H").or_else(|| text.strip_prefix("&h"));
        let whole = match (hexadecimal, text.split_once('.')) {
            (Some(digits), _) if !digits.starts_with(['+', '-']) => i128::from_str_radix(digits, 16).ok(),
            (None, Some((whole, decimals))) if decimals.bytes().all(|byte| byte.is_ascii_digit()) => whole.parse().ok(),
            (None, None) => text.parse().ok(),
            _ => None,
        };
        let fits = |number: &i128| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(number);
        whole.filter(fits).map(Self).ok_or_else(|| format!("`{text}` is not a whole number"))
    }

    from_constant!(Integer);
}

impl ArgumentType for DateInterval {
    const EXPECTED: &str = "an interval such as \"d\"";

    fn parse_argument(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    from_constant!(DateInterval);
}

impl ArgumentType for UtcDateTime {
    const EXPECTED: &str = "a date";

    fn parse_argument(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|reason| format!("`{text}` is not a date that CDate can read: {reason}"))
    }

    from_constant!(Date);
}

impl ArgumentType for DateTimeStyles {
    const EXPECTED: &str = "the name of a DateTimeStyles value";

    fn parse_argument(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    from_constant!(DateTimeStyles);
}

impl ArgumentType for DateFormat {
    const EXPECTED: &str = "a date format";

    fn parse_argument(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|reason| format!("`{text}` is not a date format: {reason}"))
    }

    from_constant!(DateFormat);
}

impl ArgumentType for Encoding {
    const EXPECTED: &str = "an encoding: UTF8, ASCII or Unicode";

    fn parse_argument(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    from_constant!(Encoding);
}

impl ArgumentType for CompareType {
    const EXPECTED: &str = "vbTextCompare or vbBinaryCompare";

    fn parse_argument(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    from_constant!(CompareType);
}

impl ArgumentType for Pattern {
    const EXPECTED: &str = "a regular expression";

    fn parse_argument(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    from_constant!(Pattern);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers() {
        let read = |text| Integer::parse_argument(text).ok().map(|Integer(number)| number);
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
