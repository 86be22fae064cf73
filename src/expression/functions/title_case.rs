//! `PCase`: capitalizes words.

use std::collections::BTreeSet;

use unicode_normalization::char::is_combining_mark;

use super::text::{each, single};
use crate::expression::evaluate::{Call, Evaluated};

/// `PCase(source, wordSeparators)`.
pub(super) fn p_case(call: Call<'_>) -> Evaluated<'_> {
    let source = call.value(0)?;
    match call.text(1)?.filter(|separators| !separators.is_empty()) {
        // A word starts after a separator, with any character.
        Some(separators) => {
            let separators: BTreeSet<char> = separators.chars().collect();
            each(source, |text| capitalize(text, |letter, _| !separators.contains(&letter)))
        }
        // As .NET's `ToTitleCase`: a word starts with a letter and continues with letters, digits and marks. Unlike
        // there, but like in the service, an apostrophe ends it.
        None => each(source, |text| {
            capitalize(text, |letter, within| {
                letter.is_alphabetic() || within && (letter.is_numeric() || is_combining_mark(letter))
            })
        }),
    }
}

/// Writes the first letter of each word in upper case and all others in lower case. `continues` says whether a word
/// goes on after a character; it also receives whether the character itself continued one.
fn capitalize(text: &str, continues: impl Fn(char, bool) -> bool) -> String {
    let mut within = false;
    let cased = |letter: char| {
        let cased = if within { single(letter.to_lowercase(), letter) } else { single(letter.to_uppercase(), letter) };
        within = continues(letter, within);
        cased
    };
    text.chars().map(cased).collect()
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
