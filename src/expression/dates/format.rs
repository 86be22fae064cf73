//! Custom and standard date format strings of .NET, parsed once to parse and write dates.
//!
//! <https://learn.microsoft.com/dotnet/standard/base-types/custom-date-and-time-format-strings>

/// .NET allows no more decimals of a second.
pub(super) const FRACTION_DIGITS: usize = 7;

/// A parsed format string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DateFormat {
    pub(super) tokens: Vec<FormatToken>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FormatToken {
    /// A letter of the format language and its count, such as `yyyy`.
    Field(char, usize),
    /// `Z`: a literal when writing; UTC when parsing.
    Zulu,
    Literal(char),
}

impl DateFormat {
    pub(in crate::expression) fn parse(text: &str) -> Result<Self, String> {
        let mut letters = text.chars();
        let custom = match (letters.next(), letters.next()) {
            (Some(letter), None) => standard(letter).ok_or("unknown standard format"),
            _ => Ok(text),
        };
        custom.and_then(Self::custom).map_err(|reason| format!("`{text}` is not a date format: {reason}"))
    }

    fn custom(text: &str) -> Result<Self, &'static str> {
        let letters: Vec<char> = text.chars().collect();
        let mut tokens = Vec::new();
        let mut next = 0;
        while let Some(&letter) = letters.get(next) {
            let repeated = letters[next..].iter().take_while(|other| **other == letter).count();
            next += match letter {
                'd' | 'F' | 'f' | 'g' | 'H' | 'h' | 'K' | 'M' | 'm' | 's' | 't' | 'y' | 'z' => {
                    tokens.push(field(letter, repeated)?);
                    repeated
                }
                'Z' => {
                    tokens.push(FormatToken::Zulu);
                    1
                }
                '\'' | '"' => quoted(&letters[next..], letter, &mut tokens)?,
                '\\' => {
                    let escaped = letters.get(next + 1).ok_or("nothing follows the last `\\`")?;
                    tokens.push(FormatToken::Literal(*escaped));
                    2
                }
                // `%d` is the day; a single `d` would be a standard format.
                '%' if letters.get(next + 1).is_some_and(|letter| *letter != '%') => 1,
                '%' => return Err("`%` must be followed by a letter"),
                other => {
                    tokens.push(FormatToken::Literal(other));
                    1
                }
            };
        }
        Ok(Self { tokens })
    }
}

fn field(letter: char, repeated: usize) -> Result<FormatToken, &'static str> {
    match letter {
        'F' | 'f' if repeated > FRACTION_DIGITS => Err("a second has at most 7 decimals"),
        'y' if repeated > 9 => Err("a year has at most 9 digits"),
        'K' if repeated > 1 => Err("`K` cannot be repeated"),
        _ => Ok(FormatToken::Field(letter, repeated)),
    }
}

/// Pushes the quoted literals and returns the number of characters consumed.
fn quoted(letters: &[char], quote: char, tokens: &mut Vec<FormatToken>) -> Result<usize, &'static str> {
    let mut next = 1;
    loop {
        match letters.get(next) {
            Some(letter) if *letter == quote => return Ok(next + 1),
            Some('\\') => {
                next += 1;
                tokens.push(FormatToken::Literal(*letters.get(next).ok_or("a closing quote is missing")?));
            }
            Some(letter) => tokens.push(FormatToken::Literal(*letter)),
            None => return Err("a closing quote is missing"),
        }
        next += 1;
    }
}

/// The custom format that a standard format stands for, in the invariant culture.
fn standard(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "MM/dd/yyyy",
        'D' => "dddd, dd MMMM yyyy",
        'f' => "dddd, dd MMMM yyyy HH:mm",
        'F' | 'U' => "dddd, dd MMMM yyyy HH:mm:ss",
        'g' => "MM/dd/yyyy HH:mm",
        'G' => "MM/dd/yyyy HH:mm:ss",
        'M' | 'm' => "MMMM dd",
        'O' | 'o' => "yyyy'-'MM'-'dd'T'HH':'mm':'ss.fffffffK",
        'R' | 'r' => "ddd, dd MMM yyyy HH':'mm':'ss 'GMT'",
        's' => "yyyy'-'MM'-'dd'T'HH':'mm':'ss",
        't' => "HH:mm",
        'T' => "HH:mm:ss",
        'u' => "yyyy'-'MM'-'dd HH':'mm':'ss'Z'",
        'Y' | 'y' => "yyyy MMMM",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_split_into_tokens() {
        use FormatToken::{Field, Literal, Zulu};
        let tokens = |text| DateFormat::parse(text).unwrap().tokens;
        assert_eq!(tokens("yyyy-Md"), [Field('y', 4), Literal('-'), Field('M', 1), Field('d', 1)]);
        assert_eq!(tokens("%d"), [Field('d', 1)]);
        assert_eq!(tokens("'at' h"), [Literal('a'), Literal('t'), Literal(' '), Field('h', 1)]);
        assert_eq!(tokens("\"d\\\"\"\\m"), [Literal('d'), Literal('"'), Literal('m')]);
        assert_eq!(tokens("ssZ"), [Field('s', 2), Zulu]);
    }

    #[test]
    fn invalid_formats_are_refused() {
        for text in ["x", "yyyy'T", "yyyy\\", "ffffffff", "MM%", "%%d", "KK", "'a\\"] {
            assert!(DateFormat::parse(text).is_err(), "{text}");
        }
    }
}
