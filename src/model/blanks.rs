//! White space as people see it: every character without ink, many of which come from copied text.

use std::borrow::Cow;

use super::foreign_text::is_visible;

/// Whether a character has no ink: white space, or a character that only affects its neighbours or their direction.
fn is_blank(character: char) -> bool {
    if character.is_ascii_graphic() {
        return false;
    }
    // The blank of Braille is a symbol by category.
    character.is_whitespace() || !is_visible(character) || character == '\u{2800}'
}

/// `text` without blanks at its ends.
pub fn trim_blanks(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// A user name or an address in the form in which equal ones are the same text: without blanks at its ends, and in
/// ASCII lower case. Other letters keep their case, because no two databases fold them alike.
pub fn fold(text: &str) -> Cow<'_, str> {
    let text = trim_blanks(text);
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) { text.to_ascii_lowercase().into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_trimmed_and_ascii_letters_folded() {
        for (text, folded) in [
            (" Ada@X\t", "ada@x"),
            ("\u{A0}\u{3000}ada\u{200B}\u{2060}\u{FEFF}\u{AD}\r\n", "ada"),
            ("\u{202A}ada@x\u{202C}", "ada@x"),
            ("Ada\u{A0}Lovelace", "ada\u{A0}lovelace"),
            ("İSTANBUL", "İstanbul"),
            ("STRAẞE", "straẞe"),
            ("\u{200B} \u{200E}", ""),
            ("", ""),
        ] {
            assert_eq!(fold(text), folded, "{text:?}");
        }
        assert!("aÉ_-李é".chars().all(|character| !is_blank(character)));
    }
}
