//! `PCase`: capitalizes words.

use super::text::{each, single};
use crate::expression::evaluate::{Call, Evaluated};

/// `PCase(source, wordSeparators)`.
pub(super) fn p_case(call: Call<'_>) -> Evaluated<'_> {
    let source = call.value(0)?;
    match call.text(1)?.filter(|separators| !separators.is_empty()) {
        Some(separators) => each(source, |text| by_separators(text, &separators)),
        None => each(source, by_letters),
    }
}

/// A word starts after a separator, with any character.
fn by_separators(text: &str, separators: &str) -> String {
    let mut starts = true;
    let cased = |letter| {
        let cased = if starts { upper(letter) } else { lower(letter) };
        starts = separators.contains(letter);
        cased
    };
    text.chars().map(cased).collect()
}

/// As .NET's `ToTitleCase`: a word starts with a letter and continues with letters, digits and marks. Unlike there, but
/// like in the service, an apostrophe ends it.
fn by_letters(text: &str) -> String {
    let mut within = false;
    let cased = |letter: char| {
        let cased = if within { lower(letter) } else { upper(letter) };
        within = letter.is_alphabetic() || within && is_inner(letter);
        cased
    };
    text.chars().map(cased).collect()
}

/// Digits and combining marks continue a word.
fn is_inner(letter: char) -> bool {
    letter.is_numeric() || unicode_normalization::char::is_combining_mark(letter)
}

fn upper(letter: char) -> char {
    single(letter.to_uppercase(), letter)
}

fn lower(letter: char) -> char {
    single(letter.to_lowercase(), letter)
}

#[cfg(test)]
mod tests {
    use crate::expression::tests::check;

    #[test]
    fn words_are_capitalized() {
        check(
            &[("surname", "o'BRIEN-åKESSON (ab)"), ("city", "saint_george's 3RD")],
            &[
                ("PCase([surname])", "O'Brien-Åkesson (Ab)"),
                ("PCase([city])", "Saint_George'S 3Rd"),
                ("PCase([surname], \" \")", "O'brien-åkesson (ab)"),
                ("PCase([surname], \"-'\")", "O'Brien-Åkesson (ab)"),
                ("PCase([city], \" _\")", "Saint_George's 3rd"),
                ("PCase(\"a1b ße\")", "A1b ße"),
                ("PCase(\"a\", \"\")", "A"),
                ("PCase([country])", "null"),
            ],
        );
    }
}
