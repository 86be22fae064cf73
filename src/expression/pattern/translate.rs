//! Translates a regular expression from .NET's syntax to that of `fancy-regex`.
//!
//! Literals are escaped so that both agree: an escaped `<` is a literal in .NET but the start of a word in `fancy-regex`;
//! `{` is a literal unless it starts a count; `$` also matches before a final line break.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::class;

/// Enough for any real pattern, and bounds the recursion of the compiler.
const MAX_DEPTH: usize = 100;

/// `$` and `\Z`: the end, or before a final line break.
pub(super) const END: &str = r"(?=\n?\z)";

pub(super) type Letters = Peekable<IntoIter<char>>;

/// The capture groups of a pattern in the order of their parentheses, with their names.
#[derive(Clone, Debug, Default)]
pub(super) struct CaptureGroups {
    names: Vec<Option<String>>,
}

impl CaptureGroups {
    /// The position of the group with this name or number. .NET numbers unnamed groups first.
    pub(super) fn index(&self, name: &str) -> Option<usize> {
        if let Some(position) = self.names.iter().position(|known| known.as_deref() == Some(name)) {
            return Some(position + 1);
        }
        match name.parse::<usize>().ok()? {
            0 => Some(0),
            number => {
                let numbered = |is_named: bool| {
                    let groups = self.names.iter().enumerate();
                    groups.filter(move |(_, known)| known.is_some() == is_named).map(|(position, _)| position + 1)
                };
                numbered(false).chain(numbered(true)).nth(number - 1)
            }
        }
    }

    /// The number of groups, without the whole match.
    pub(super) fn count(&self) -> usize {
        self.names.len()
    }
}

/// The options that change the syntax.
#[derive(Clone, Copy, Debug, Default)]
struct PatternOptions {
    multiline: bool,
    white_space: bool,
}

enum PatternPart {
    Text(String),
    /// A reference to a group by its number or name in .NET.
    Reference(String),
}

struct Translator {
    letters: Letters,
    parts: Vec<PatternPart>,
    groups: CaptureGroups,
    /// The options of the open groups; the last is in force.
    options: Vec<PatternOptions>,
}

/// The translated pattern and its groups.
///
/// # Errors
/// The invalid or unsupported part.
pub(super) fn translate(pattern: &str) -> Result<(String, CaptureGroups), String> {
    let letters = pattern.chars().collect::<Vec<_>>().into_iter().peekable();
    let mut translator = Translator {
        letters,
        parts: Vec::new(),
        groups: CaptureGroups::default(),
        options: vec![PatternOptions::default()],
    };
    translator.run()?;
    let Translator { parts, groups, .. } = translator;
    let mut translated = String::new();
    for part in parts {
        match part {
            PatternPart::Text(text) => translated.push_str(&text),
            PatternPart::Reference(name) => {
                let index = groups.index(&name).ok_or_else(|| format!("there is no group `{name}`"))?;
                // In parentheses, or a following digit would extend the number.
                translated.push_str(&format!(r"(?:\{index})"));
            }
        }
    }
    Ok((translated, groups))
}

impl Translator {
    fn run(&mut self) -> Result<(), String> {
        while let Some(letter) = self.letters.next() {
            match letter {
                '\\' => self.escape()?,
                '[' => {
                    let class = class::translate(&mut self.letters, 0)?;
                    self.push(class);
                }
                '(' => self.open()?,
                ')' => {
                    self.options.pop();
                    if self.options.is_empty() {
                        return Err("unmatched `)`".to_owned());
                    }
                    self.push(")");
                }
                '$' if !self.in_force().multiline => self.push(format!("(?:{END})")),
                '{' => self.count()?,
                '*' | '+' | '?' => self.quantifier(letter.to_string())?,
                '^' | '$' | '.' | '|' => self.push(letter.to_string()),
                letter if letter.is_whitespace() && self.in_force().white_space => {}
                '#' if self.in_force().white_space => {
                    self.letters.by_ref().find(|letter| *letter == '\n');
                }
                letter => self.push(literal(letter)),
            }
        }
        if self.options.len() > 1 { Err("a `)` is missing".to_owned()) } else { Ok(()) }
    }

    /// Translates the text after a `(`.
    fn open(&mut self) -> Result<(), String> {
        if self.options.len() > MAX_DEPTH {
            return Err(format!("groups are nested more than {MAX_DEPTH} deep"));
        }
        let options = self.in_force();
        if self.letters.next_if_eq(&'?').is_none() {
            self.groups.names.push(None);
            self.options.push(options);
            self.push("(");
            return Ok(());
        }
        match self.letters.next() {
            Some(letter @ (':' | '=' | '!' | '>')) => self.push(format!("(?{letter}")),
            Some('<') if matches!(self.letters.peek(), Some('=' | '!')) => {
                let kind = self.letters.next().map(String::from).unwrap_or_default();
                self.push(format!("(?<{kind}"));
            }
            Some('<') => self.named('>')?,
            Some('\'') => self.named('\'')?,
            Some('#') => {
                self.letters.by_ref().find(|letter| *letter == ')').ok_or("a comment is not closed")?;
                return Ok(());
            }
            Some('(') => return Err("conditions `(?(..)..)` are not supported".to_owned()),
            Some(letter) => return self.options(letter),
            None => return Err("a `)` is missing".to_owned()),
        }
        self.options.push(options);
        Ok(())
    }

    fn named(&mut self, end: char) -> Result<(), String> {
        let name: String = std::iter::from_fn(|| self.letters.next_if(|letter| *letter != end)).collect();
        self.letters.next().ok_or("the name of a group is not closed")?;
        if name.contains('-') {
            return Err("balancing groups are not supported".to_owned());
        }
        if name.starts_with(|letter: char| letter.is_ascii_digit()) {
            return Err(format!("a group cannot be named by a number: `{name}`"));
        }
        if name.is_empty() || !name.chars().all(is_word) {
            return Err(format!("`{name}` is not a valid group name"));
        }
        if self.groups.index(&name).is_some() {
            return Err(format!("two groups are named `{name}`"));
        }
        self.groups.names.push(Some(name));
        // All groups are referred to by position.
        self.push("(");
        Ok(())
    }

    /// Translates `(?im-s)` or `(?im-s:` after the `?`.
    fn options(&mut self, first: char) -> Result<(), String> {
        let mut options = self.in_force();
        let (mut on, mut off, mut is_on) = (String::new(), String::new(), true);
        let mut letter = Some(first);
        let is_group = loop {
            match letter {
                Some('-') => is_on = false,
                Some('x') => options.white_space = is_on,
                Some(letter @ ('i' | 'm' | 's')) => {
                    if letter == 'm' {
                        options.multiline = is_on;
                    }
                    if is_on { &mut on } else { &mut off }.push(letter);
                }
                Some('n') if !is_on => {}
                Some('n') => return Err("the option `n` is not supported".to_owned()),
                Some(')') => break false,
                Some(':') => break true,
                _ => return Err("unknown kind of group after `(?`".to_owned()),
            }
            letter = self.letters.next();
        };
        let minus = if off.is_empty() { "" } else { "-" };
        if is_group {
            self.options.push(options);
            self.push(format!("(?{on}{minus}{off}:"));
        } else {
            if let Some(in_force) = self.options.last_mut() {
                *in_force = options;
            }
            if !(on.is_empty() && off.is_empty()) {
                self.push(format!("(?{on}{minus}{off})"));
            }
        }
        Ok(())
    }

    /// Translates the text after a `\`.
    fn escape(&mut self) -> Result<(), String> {
        let letter = self.letters.next().ok_or("nothing follows the last `\\`")?;
        match letter {
            'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'b' | 'B' | 'A' | 'G' | 'z' => self.push(format!("\\{letter}")),
            'Z' => self.push(format!("(?:{END})")),
            'p' | 'P' => {
                let property = property(letter, &mut self.letters)?;
                self.push(property);
            }
            'k' => {
                let end = match self.letters.next() {
                    Some('<') => '>',
                    Some('\'') => '\'',
                    _ => return Err("`\\k` must be followed by a name in `<` and `>`".to_owned()),
                };
                let name = std::iter::from_fn(|| self.letters.next_if(|letter| *letter != end)).collect();
                self.letters.next().ok_or("the name of a group is not closed")?;
                self.parts.push(PatternPart::Reference(name));
            }
            '1'..='9' => {
                let more = std::iter::from_fn(|| self.letters.next_if(char::is_ascii_digit));
                let number = std::iter::once(letter).chain(more).collect();
                self.parts.push(PatternPart::Reference(number));
            }
            letter => {
                let escaped = character(letter, &mut self.letters)?;
                self.push(literal(escaped));
            }
        }
        Ok(())
    }

    /// Translates a `{`: the start of a count, or a literal.
    fn count(&mut self) -> Result<(), String> {
        let mut ahead = self.letters.clone();
        let text: String =
            std::iter::from_fn(|| ahead.next_if(|letter| letter.is_ascii_digit() || *letter == ',')).collect();
        let (least, most) = text.split_once(',').unwrap_or((&text, ""));
        if ahead.next() != Some('}') || least.is_empty() || most.contains(',') {
            self.push(r"\{");
            return Ok(());
        }
        self.letters = ahead;
        self.quantifier(format!("{{{text}}}"))
    }

    /// Translates a quantifier with its lazy `?`. .NET has no possessive quantifiers.
    fn quantifier(&mut self, text: String) -> Result<(), String> {
        self.push(text);
        if self.letters.next_if_eq(&'?').is_some() {
            self.push("?");
        }
        match self.letters.peek() {
            Some('*' | '+' | '?') => Err("a quantifier follows another one".to_owned()),
            _ => Ok(()),
        }
    }

    fn in_force(&self) -> PatternOptions {
        self.options.last().copied().unwrap_or_default()
    }

    fn push(&mut self, text: impl Into<String>) {
        self.parts.push(PatternPart::Text(text.into()));
    }
}

/// A literal character outside a class.
fn literal(letter: char) -> String {
    if r"\.+*?()|[]{}^$#".contains(letter) { format!("\\{letter}") } else { letter.to_string() }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Translates `\p{Lu}` after the `\`.
pub(super) fn property(letter: char, letters: &mut Letters) -> Result<String, String> {
    let name: String = match letters.next() {
        Some('{') => std::iter::from_fn(|| letters.next_if(|letter| *letter != '}')).collect(),
        _ => String::new(),
    };
    letters.next();
    if (1..=2).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        Ok(format!("\\{letter}{{{name}}}"))
    } else {
        Err(format!("`\\{letter}` needs a Unicode category such as {{Lu}}"))
    }
}

/// The character of an escape sequence, after the `\`.
pub(super) fn character(letter: char, letters: &mut Letters) -> Result<char, String> {
    let unknown = || format!("`\\{letter}` is not an escape sequence");
    let code = match letter {
        'a' => 0x07,
        'e' => 0x1b,
        'f' => 0x0c,
        'n' => return Ok('\n'),
        'r' => return Ok('\r'),
        't' => return Ok('\t'),
        'v' => 0x0b,
        'x' => hexadecimal(letters, 2).ok_or_else(unknown)?,
        'u' => hexadecimal(letters, 4).ok_or_else(unknown)?,
        'c' => {
            let control = letters.next().filter(char::is_ascii_alphabetic).ok_or_else(unknown)?;
            u32::from(control.to_ascii_uppercase()) - u32::from('@')
        }
        '0'..='7' => {
            let more = std::iter::from_fn(|| letters.next_if(|letter| ('0'..='7').contains(letter)));
            std::iter::once(letter).chain(more.take(2)).fold(0, |code, digit| code * 8 + digit.to_digit(8).unwrap_or(0))
        }
        letter if is_word(letter) => return Err(unknown()),
        letter => return Ok(letter),
    };
    char::from_u32(code).ok_or_else(unknown)
}

fn hexadecimal(letters: &mut Letters, digits: usize) -> Option<u32> {
    (0..digits).try_fold(0, |code, _| Some(code * 16 + letters.next()?.to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_syntax_is_translated() {
        for (pattern, expected) in [
            (r"a\:\;\<\-", r"a:;<-"),
            ("^a$", r"^a(?:(?=\n?\z))"),
            ("(?m)^a$", "(?m)^a$"),
            ("(?m:a$)$", r"(?m:a$)(?:(?=\n?\z))"),
            ("(?<n>a)(b)\\1", r"(a)(b)(?:\2)"),
            ("(?'n'a)\\k<n>0", r"(a)(?:\1)0"),
            ("a{2}b{2,}c{,2}d{x}", r"a{2}b{2,}c\{,2\}d\{x\}"),
            ("(?x) a # all\n b", "ab"),
            ("(?x-i:a b)c d", "(?-i:ab)c d"),
            ("a(?#none)b", "ab"),
            (r"\x41\u0042\cA\t\0601", "AB\u{1}\t01"),
            ("]}", r"\]\}"),
            (r"a+?\Z", r"a+?(?:(?=\n?\z))"),
        ] {
            assert_eq!(translate(pattern).unwrap().0, expected, "{pattern}");
        }
    }

    #[test]
    fn unsupported_syntax_is_refused() {
        for (pattern, words) in [
            ("a\\", "nothing follows"),
            (r"\h", "not an escape sequence"),
            (r"\_", "not an escape sequence"),
            (r"\x4", "not an escape sequence"),
            (r"\ud800", "not an escape sequence"),
            ("(a", "missing"),
            ("a)", "unmatched"),
            ("(?<a-b>x)", "balancing"),
            ("(?<1>x)", "number"),
            ("(?<>x)", "not a valid group name"),
            ("(?<a", "not closed"),
            ("(?P<a>x)", "unknown kind of group"),
            ("(?n)a", "option `n`"),
            ("a*+", "follows another"),
            (r"(a)\2", "no group `2`"),
            (r"\k<b>", "no group `b`"),
            (r"\p{IsGreek}", "Unicode category"),
            ("[a", "closing `]`"),
        ] {
            let reason = translate(pattern).unwrap_err();
            assert!(reason.contains(words), "{pattern}: {reason}");
        }
    }
}
