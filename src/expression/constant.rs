//! Arguments that are more than text: numbers, dates, intervals, formats, patterns.
//!
//! A constant argument is parsed when the expression is compiled: mistakes are found at the start, and no cycle compiles
//! a pattern twice. An argument that depends on the user is parsed at each evaluation.

use super::dates::{DateFormat, DateInterval, DateTimeStyles, UtcDateTime};
use super::keyword::{CompareType, Encoding};
use super::pattern::Pattern;

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

/// A type that an argument can be parsed to.
pub(super) trait ArgumentType: Clone {
    /// Completes the message "must be ..."; it names the expected form.
    const EXPECTED: &str;

    /// # Errors
    /// The problem with `text`. It quotes the text, so it is shown only for constants, never for values of a user.
    fn parse_argument(text: &str) -> Result<Self, String>;

    /// The constant, if it has this type.
    fn from_constant(constant: &ConstantArgument) -> Option<&Self>;
}

/// Declares the types of arguments: the variant, the type, and the words that complete the message "must be ...".
macro_rules! argument_types {
    ($($variant:ident($type:ty) = $expected:literal,)+) => {
        /// The type of an argument.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum ConstantKind { $($variant,)+ }

        /// A parsed constant argument.
        #[derive(Clone, Debug)]
        pub(crate) enum ConstantArgument { $($variant($type),)+ }

        impl ConstantKind {
            /// Parses a constant argument.
            pub(super) fn parse(self, text: &str) -> Result<ConstantArgument, String> {
                match self { $(Self::$variant => <$type>::parse(text).map(ConstantArgument::$variant),)+ }
            }

            /// Completes the message "must be ...".
            pub(super) fn expected(self) -> &'static str {
                match self { $(Self::$variant => $expected,)+ }
            }
        }

        $(impl ArgumentType for $type {
            const EXPECTED: &str = $expected;

            fn parse_argument(text: &str) -> Result<Self, String> {
                Self::parse(text)
            }

            fn from_constant(constant: &ConstantArgument) -> Option<&Self> {
                match constant {
                    ConstantArgument::$variant(constant) => Some(constant),
                    _ => None,
                }
            }
        })+
    };
}

argument_types! {
    Integer(Integer) = "a whole number",
    DateInterval(DateInterval) = "an interval such as \"d\"",
    Date(UtcDateTime) = "a date",
    DateTimeStyles(DateTimeStyles) = "the name of a DateTimeStyles value",
    DateFormat(DateFormat) = "a date format",
    Encoding(Encoding) = "an encoding: UTF8, ASCII or Unicode",
    CompareType(CompareType) = "vbTextCompare or vbBinaryCompare",
    Pattern(Pattern) = "a regular expression",
}

impl ConstantKind {
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

impl Integer {
    /// Decimals are cut off, as in Visual Basic. `&HF7` is hexadecimal.
    fn parse(text: &str) -> Result<Self, String> {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers() {
        let read = |text| Integer::parse(text).ok().map(|Integer(number)| number);
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
