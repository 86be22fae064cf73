//! Custom and standard date format strings of .NET, read once and then used to read and to write dates.
//!
//! <https://learn.microsoft.com/dotnet/standard/base-types/custom-date-and-time-format-strings>

/// .NET refuses more digits of a second; it has no more.
pub(super) const FRACTION_DIGITS: usize = 7;

/// A format string, in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DateFormat {
    pub(super) tokens: Vec<FormatToken>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FormatToken {
    /// A letter of the format language and how often it stands there, such as `yyyy`.
    Field(char, usize),
    /// `Z`: a literal when writing; when reading it says that the time is in UTC.
    Zulu,
    /// Anything that stands for itself.
    Literal(char),
}

impl DateFormat {
    pub(in crate::expression) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut letters = text.chars();
        if let (Some(letter), None) = (letters.next(), letters.next()) {
            let pattern =
                standard(letter).ok_or("a single letter stands for a standard format, and there is no such")?;
            return Self::custom(pattern);
        }
        Self::custom(text)
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
                // `%d` is the day, where `d` alone would be a standard format.
                '%' if letters.get(next + 1).is_some_and(|letter| *letter != '%') => 1,
                '%' => return Err("a `%` stands before one letter"),
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
        'y' if repeated > 9 => Err("a year has not so many digits"),
        'K' if repeated > 1 => Err("`K` stands alone"),
        _ => Ok(FormatToken::Field(letter, repeated)),
    }
}

/// Pushes what stands between quotes; returns how many letters that took.
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

/// What a standard format means in the invariant culture.
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
    fn formats_are_taken_apart() {
        use FormatToken::{Field, Literal, Zulu};
        let tokens = |text| DateFormat::parse(text).unwrap().tokens;
        assert_eq!(tokens("yyyy-Md"), [Field('y', 4), Literal('-'), Field('M', 1), Field('d', 1)]);
        assert_eq!(tokens("%d"), [Field('d', 1)]);
        assert_eq!(tokens("'at' h"), [Literal('a'), Literal('t'), Literal(' '), Field('h', 1)]);
        assert_eq!(tokens("\"d\\\"\"\\m"), [Literal('d'), Literal('"'), Literal('m')]);
        assert_eq!(tokens("ssZ"), [Field('s', 2), Zulu]);
    }

    #[test]
    fn bad_formats_are_refused() {
        for text in ["x", "yyyy'T", "yyyy\\", "ffffffff", "MM%", "%%d", "KK", "'a\\"] {
            assert!(DateFormat::parse(text).is_err(), "{text}");
        }
    }
}
