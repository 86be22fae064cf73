//! Regular expressions in .NET's dialect, on top of `regex` and `fancy-regex`.
//!
//! `translate` rewrites the syntax that differs. Unsupported syntax is refused when the expression is compiled: balancing
//! groups, conditions, groups named by a number, one name for two groups, the option `n`, and named Unicode blocks
//! (`\p{IsGreek}`).
//!
//! The size of a pattern, the length of a subject and the steps of an evaluation are limited: a pattern that explodes on
//! one value rejects that user, and the cycle goes on.

mod class;
mod engine;
mod replacement;
mod size;
mod translate;

use std::ops::Range;
use std::sync::OnceLock;

use super::steps::Steps;
use engine::{Captures, Engine};
use translate::{CaptureGroups, END, translate};

/// Bytes of a subject. Attributes of Entra ID are far shorter.
const MAX_SUBJECT: usize = 16 << 10;

/// Groups of a pattern. Compiling many takes seconds.
const MAX_GROUPS: usize = 100;

/// Bytes of a compiled pattern: `[\w.+-]{1,64}@[\w.-]{1,253}` needs more than 12 MiB.
const MAX_COMPILED: usize = 24 << 20;

/// Compiling takes about ten milliseconds for each MiB.
const MAX_COMPILED_FOR_ONE_USER: usize = 1 << 20;

/// Bytes of a text that a function produces.
pub(crate) const MAX_PRODUCED: usize = 256 << 10;

/// Why a search or a replacement failed. It is logged, so it contains nothing of the text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LimitExceeded(pub(crate) &'static str);

pub(crate) const TOO_LONG: LimitExceeded = LimitExceeded("a text exceeds 256 KiB");

/// A compiled regular expression.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    /// For a text that does not end with a line break: there, `$` matches at the end alone.
    engine: Engine,
    /// For a text that does. `None` if the pattern has no such `$`.
    before_line_break: Option<Box<LateEngine>>,
    groups: CaptureGroups,
}

/// An engine that is built when a text needs it.
#[derive(Clone, Debug)]
struct LateEngine {
    translated: String,
    engine: OnceLock<Option<Engine>>,
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::compile(text, |translated| translated, MAX_COMPILED)
    }

    /// A pattern that is compiled anew for each user.
    pub(crate) fn parse_for_one_user(text: &str) -> Result<Self, String> {
        Self::compile(text, |translated| translated, MAX_COMPILED_FOR_ONE_USER)
    }

    /// A pattern that must match the whole text.
    pub(crate) fn parse_whole(text: &str) -> Result<Self, String> {
        Self::compile(text, |translated| format!(r"\A(?:{translated})\z"), MAX_COMPILED)
    }

    fn compile(text: &str, framed: impl FnOnce(String) -> String, max_compiled: usize) -> Result<Self, String> {
        let (translated, groups) =
            translate(text).map_err(|reason| format!("`{text}` is not a valid regular expression: {reason}"))?;
        if groups.count() > MAX_GROUPS {
            return Err(format!(
                "`{text}` is not a supported regular expression: it has more than {MAX_GROUPS} groups"
            ));
        }
        let translated = framed(translated);
        let engine = Engine::build(&translated.replace(END, r"\z"), max_compiled)
            .map_err(|reason| format!("`{text}` is not a supported regular expression: {reason}"))?;
        let before_line_break =
            translated.contains(END).then(|| Box::new(LateEngine { translated, engine: OnceLock::new() }));
        Ok(Self { engine, before_line_break, groups })
    }

    pub(crate) fn has_group(&self, name: &str) -> bool {
        self.groups.index(name).is_some()
    }

    pub(crate) fn matches(&self, subject: &str, steps: &Steps) -> Result<bool, LimitExceeded> {
        Ok(self.search(subject, 0, steps)?.is_some())
    }

    /// Replaces every match; `replacement` may name groups.
    pub(crate) fn replace(&self, subject: &str, replacement: &str, steps: &Steps) -> Result<String, LimitExceeded> {
        let parts = replacement::parse(replacement, &self.groups);
        let mut replaced = String::new();
        let mut copied = 0;
        self.each_match(subject, steps, |captures, range| {
            replaced.push_str(&subject[copied..range.start]);
            replaced.extend(parts.iter().map(|part| part.text(captures, subject, &range)));
            copied = range.end;
            within_limit(&replaced)
        })?;
        replaced.push_str(&subject[copied..]);
        within_limit(&replaced)?;
        Ok(replaced)
    }

    /// Replaces what `group` captured in every match.
    pub(crate) fn replace_group(
        &self,
        subject: &str,
        group: &str,
        replacement: &str,
        steps: &Steps,
    ) -> Result<String, LimitExceeded> {
        let index = self.groups.index(group).ok_or(NO_GROUP)?;
        let mut replaced = String::new();
        let mut copied = 0;
        self.each_match(subject, steps, |captures, _| {
            // A group in a look-around can lie before the part that was already replaced.
            if let Some(captured) = captures.get(index).filter(|captured| captured.start >= copied) {
                replaced.push_str(&subject[copied..captured.start]);
                replaced.push_str(replacement);
                copied = captured.end;
            }
            within_limit(&replaced)
        })?;
        replaced.push_str(&subject[copied..]);
        within_limit(&replaced)?;
        Ok(replaced)
    }

    /// The text that `group` captures in the first match.
    pub(crate) fn extract(&self, subject: &str, group: &str, steps: &Steps) -> Result<Option<String>, LimitExceeded> {
        let index = self.groups.index(group).ok_or(NO_GROUP)?;
        let found = self.search(subject, 0, steps)?;
        Ok(found.and_then(|captures| captures.get(index).map(|captured| subject[captured].to_owned())))
    }

    /// Calls `visit` with each match and its range. As in .NET, an empty match may directly follow another
    /// match: `.*` matches `ab` twice.
    fn each_match(
        &self,
        subject: &str,
        steps: &Steps,
        mut visit: impl FnMut(&Captures, Range<usize>) -> Result<(), LimitExceeded>,
    ) -> Result<(), LimitExceeded> {
        let mut from = 0;
        while let Some(captures) = self.search(subject, from, steps)? {
            let Some(whole) = captures.get(0) else { break };
            let Range { start, end } = whole;
            visit(&captures, whole)?;
            from = if start < end {
                end
            } else {
                match subject[end..].chars().next() {
                    Some(letter) => end + letter.len_utf8(),
                    None => break,
                }
            };
        }
        Ok(())
    }

    fn search(&self, subject: &str, from: usize, steps: &Steps) -> Result<Option<Captures>, LimitExceeded> {
        if subject.len() > MAX_SUBJECT {
            return Err(LimitExceeded("the text is too long for a regular expression"));
        }
        let engine = match &self.before_line_break {
            Some(late) if subject.ends_with('\n') => late.engine().ok_or_else(|| steps.exhaust())?,
            _ => &self.engine,
        };
        engine.search(subject, from, steps)
    }
}

impl LateEngine {
    /// `None` if no engine accepts the pattern.
    fn engine(&self) -> Option<&Engine> {
        self.engine.get_or_init(|| Engine::build(&self.translated, MAX_COMPILED).ok()).as_ref()
    }
}

const NO_GROUP: LimitExceeded = LimitExceeded("the regular expression has no group of this name");

fn within_limit(text: &str) -> Result<(), LimitExceeded> {
    if text.len() > MAX_PRODUCED { Err(TOO_LONG) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::expression::steps::TOO_MANY_STEPS;

    fn replaced(subject: &str, pattern: &str, replacement: &str) -> String {
        Pattern::parse(pattern).unwrap().replace(subject, replacement, &Steps::for_one_user()).unwrap()
    }

    #[test]
    fn matches_are_replaced_as_in_dotnet() {
        for (subject, pattern, replacement, expected) in [
            ("ab12", r"\d", "#", "ab##"),
            ("ab", ".*", "x", "xx"),
            ("ab", "x*", "-", "-a-b-"),
            ("é1", "", ".", ".é.1."),
            ("ab\n", "b$", "c", "ac\n"),
            ("ab\n\n", "b$", "c", "ab\n\n"),
            ("ab\n", r"\n?$", "|", "ab||"),
            ("ab", r"(?=b$|\n\Z)", "|", "a|b"),
            ("b\nb\n", "(?m)b$", "c", "c\nc\n"),
            ("a\nb", "(?m)^|$", "|", "|a|\n|b|"),
            ("a<b>", r"[\<\>]", "", "ab"),
            ("a<b>", r"\<b\>", "", "a"),
            ("12a٣", r"\d+", "n", "nan"),
            ("Zoë_1 x", r"\w+", "w", "w w"),
            ("ada lovelace", r"(?<first>\w+) (?<last>\w+)", "${last}, ${first}", "lovelace, ada"),
            ("2029-07", r"(\d+)-(\d+)", "$2/$1 $$ $& $3", "07/2029 $ 2029-07 $3"),
            ("aXbX", "X(?!b)", "y", "aXby"),
            ("price: 30", r"(?<=: *)\d+", "n", "price: n"),
            ("abab", r"(ab)\1", "x", "x"),
            ("a{b}", "{b}", "", "a"),
            ("K", "(?i)k", "x", "x"),
        ] {
            assert_eq!(replaced(subject, pattern, replacement), expected, "{pattern}");
        }
    }

    #[test]
    fn groups_are_replaced_and_extracted() {
        let pattern = Pattern::parse(r"(?<letter>[a-z])(\d)?").unwrap();
        assert_eq!(pattern.replace_group("a1b2c", "letter", "$1", &Steps::for_one_user()).unwrap(), "$11$12$1");
        assert_eq!(pattern.replace_group("a1b2c", "1", "", &Steps::for_one_user()).unwrap(), "abc");
        assert_eq!(pattern.extract("-b2", "1", &Steps::for_one_user()).unwrap().as_deref(), Some("2"));
        assert_eq!(pattern.extract("-b", "1", &Steps::for_one_user()).unwrap(), None);
        assert_eq!(pattern.extract("--", "letter", &Steps::for_one_user()).unwrap(), None);
        assert!(pattern.extract("--", "digit", &Steps::for_one_user()).is_err() && !pattern.has_group("3"));
    }

    #[test]
    fn whole_matches_try_all_alternatives() {
        for (pattern, subject, expected) in [
            ("a|ab", "ab", true),
            ("[1-9][0-9]", "42", true),
            ("[1-9][0-9]", "142", false),
            (r".*\@example\.org", "ada@example.org", true),
            (r".*\@example\.org", "ada@example.org.invalid", false),
            ("b$", "b\n", false),
            (r"b\n$", "b\n", true),
        ] {
            let found = Pattern::parse_whole(pattern).unwrap().matches(subject, &Steps::for_one_user()).unwrap();
            assert_eq!(found, expected, "{pattern} on {subject}");
        }
    }

    #[test]
    fn patterns_and_searches_are_limited() {
        for pattern in [r"\w{5000}{50}", "(", r"(?<a>x)(?<a>y)", r"(?(1)a|b)", "a**", &"(".repeat(2_000)] {
            let refused = Pattern::parse(pattern).unwrap_err();
            assert!(refused.contains("regular expression: "), "{refused}");
        }
        let wild = Pattern::parse("^(?:a|aa|(?=b)b)+c$").unwrap();
        assert!(matches!(wild.replace(&"a".repeat(500), "", &Steps::for_one_user()), Err(LimitExceeded(_))));
        let digits = Pattern::parse("^(\\d+)+$").unwrap();
        assert!(digits.replace(&"1".repeat(MAX_SUBJECT + 1), "", &Steps::for_one_user()).is_err());
        let growing = Pattern::parse("").unwrap();
        assert_eq!(growing.replace(&"a".repeat(10_000), &"b".repeat(1_000), &Steps::for_one_user()), Err(TOO_LONG));
    }

    #[test]
    fn the_steps_of_an_evaluation_are_limited() {
        let long = "a".repeat(MAX_SUBJECT);
        for pattern in [
            r"(?:(?=[^z]*z)x|a)+?(?=[^z]*z)b|a",
            r"(?=(?:(?=[^z]*$)a)+)a",
            r"(?<=(?:[^z]*))a(?=[^y]*y)|a",
            r"(a)(?=.*\1z)|a",
            r"(?>a+)z|(?=a)a",
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(pattern.replace(&long, "", &Steps::for_one_user()), Err(TOO_MANY_STEPS));
            // The same pattern on a text of usual length.
            pattern.replace(&"a".repeat(64), "", &Steps::for_one_user()).unwrap();
        }
        // Each alone takes few steps.
        let (pattern, steps) = (Pattern::parse("(?=a+)(a+)+$").unwrap(), Steps::for_one_user());
        let short = "a".repeat(40);
        assert!((0..1_000_000).any(|_| pattern.replace(&short, "", &steps) == Err(TOO_MANY_STEPS)));
        for (pattern, is_linear) in
            [("[a-z]+", true), (r"\w+@(?<host>[^.]+)", true), ("(?=a)b", false), (r"(a)\1", false)]
        {
            assert_eq!(
                matches!(Pattern::parse(pattern).unwrap().engine, Engine::Linear { .. }),
                is_linear,
                "{pattern}"
            );
        }
        // A match for each character of a long value.
        let pattern = Pattern::parse("[^a-z]|a").unwrap();
        assert_eq!(pattern.replace(&long[..2_000], "b", &Steps::for_one_user()), Ok("b".repeat(2_000)));
    }

    #[test]
    fn searches_in_linear_time_are_limited() {
        for (pattern, letter, length) in [
            ("(?:a?){1000}a{1000}", "a", 16_000),
            (".*[^A-Z]|[A-Z]", "A", 16_000),
            (r"[\s\S]{1,500}@|a", "a", 16_000),
            ("(?:a|b|c|d|e){1,300}$", "a", 16_000),
            ("(?:[ab]*[bc]*){100}z|a", "a", 16_000),
            ("[ab]*a[ab]{300}z|a|b", "ab", 8_000),
            (r"(?:\w?){8}@|é", "é", 8_000),
            (&format!("{}z|a", "(a?)".repeat(90)), "a", 16_000),
            // The parts without look-around of a pattern that backtracks.
            ("(?=a)(?:a?){1000}a{1000}", "a", 8_000),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(
                pattern.replace(&letter.repeat(length), "x", &Steps::for_one_user()),
                Err(TOO_MANY_STEPS),
                "{pattern:?}"
            );
        }
        for pattern in [
            "(?:a?){4000}a{4000}",
            "(?=a)(?:a?){4000}a{4000}b",
            "((a{100}){10}){10}",
            r"(?=a)\w{900}",
            r"^.{0,2500}$",
            r"\d{1,2500}",
        ] {
            let refused = Pattern::parse(pattern).unwrap_err();
            assert!(refused.contains("it is too large; use smaller counts"), "{refused}");
        }
        assert!(Pattern::parse_whole(".{0,2500}").is_err() && Pattern::parse_for_one_user(r"\w{100}").is_err());
        assert!(Pattern::parse(&"(a)".repeat(101)).unwrap_err().contains("more than 100 groups"));
        // Patterns that administrators write, on texts as long as an attribute can be.
        for pattern in [
            r"^[\w.+-]{1,64}@(?:[\w-]+\.)+[a-z]{2,24}$",
            "^[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,255}\\.[A-Za-z]{2,24}$",
            r"^[\w.+-]{1,64}@[\w.-]{1,253}$",
            r"\w",
            r"\d{1,255}",
            r"^[\p{L}\s'-]{1,256}$",
            r"(\p{L})(?=.*\d)|.{0,64}$",
            r"^.{0,2048}$",
            r"(?i)^[^@\s]{1,2048}\Z",
            r"^\S{1,1024}$",
        ] {
            let whole = Pattern::parse_whole(pattern).unwrap();
            let text: String = "Ab1".chars().cycle().take(1_024).collect();
            whole.replace(&text, "x", &Steps::for_one_user()).unwrap();
        }
    }

    proptest! {
        #[test]
        fn no_pattern_and_no_text_makes_a_search_panic(
            pattern in r"([a-cA-C01(){}|.^$?*+,:<=>!'#-]|\\[dwsbBAGzZknpx1u0.<-]|\[\^?|\]|\(\?<n>|\(\?[im:=!>]){0,12}",
            subject in "[a-cA-C01 \né-]{0,20}",
            replacement in "[$0-3{}n&_+'` ]{0,8}",
        ) {
            if let Ok(pattern) = Pattern::parse(&pattern) {
                let steps = Steps::for_one_user();
                let _ = pattern.replace(&subject, &replacement, &steps);
                let _ = pattern.replace_group(&subject, "n", &replacement, &steps);
                let _ = pattern.extract(&subject, "1", &steps);
            }
        }

        #[test]
        fn the_end_is_the_end_unless_a_line_break_is_last(
            pattern in r"([a-c\n(){}|.^$?*+,:=!]|\$|\\[zZnsS]|\(\?[m:=!]){0,10}",
            subject in "[a-c\n]{0,8}[a-c]?",
        ) {
            let Ok((translated, _)) = translate(&pattern) else { return Ok(()) };
            let (Ok(exact), Ok(pattern)) = (Engine::build(&translated, MAX_COMPILED), Pattern::parse(&pattern)) else {
                return Ok(());
            };
            let (all, some) = (Steps::for_one_user(), Steps::for_one_user());
            let (expected, found) = (exact.search(&subject, 0, &all), pattern.search(&subject, 0, &some));
            prop_assert_eq!(found.ok(), expected.ok(), "{} on {:?}", translated, subject);
        }

        #[test]
        fn both_engines_find_the_same(
            pattern in r"([a-cA-C01(){}|.^$?*+,:<=>!'#-]|\\[dwsbBAzn.<-]|\[\^?|\]|\(\?<n>|\(\?[im:]){0,8}",
            subject in "[a-cA-C01 \né-]{0,12}",
        ) {
            let Ok((translated, _)) = translate(&pattern) else { return Ok(()) };
            let (Ok(linear @ Engine::Linear { .. }), Ok(other)) =
                (Engine::build(&translated, MAX_COMPILED), Engine::backtracking(&translated, MAX_COMPILED))
            else {
                return Ok(());
            };
            let found = |engine: &Engine| engine.search(&subject, 0, &Steps::for_one_user()).ok();
            prop_assert_eq!(found(&linear), found(&other), "{} on {:?}", translated, subject);
        }
    }
}
